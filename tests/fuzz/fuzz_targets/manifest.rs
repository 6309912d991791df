//! What is read as a manifest is one to a plain reader too, with the same children, and never two things at once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::base::limits::CHILDREN;
use pullgate::oci::{Blob, ChildKind, Document, MediaType};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Some((selector, bytes)) = bytes.split_first() else {
        return;
    };
    let said = MediaType::ALL.get(usize::from(*selector)).copied();
    let blob = Blob::from_bytes(bytes.to_vec().into());
    let Ok(document) = Document::parse(&blob, said.map(MediaType::as_str)) else {
        return;
    };
    assert!(said.is_none_or(|said| said == document.media_type()));
    // What a registry says is taken from the document where the registry says nothing.
    let plain: Value = serde_json::from_slice(bytes).expect("strict JSON is JSON");
    if let Some(written) = plain["mediaType"].as_str() {
        assert_eq!(written, document.media_type().as_str());
        assert_eq!(Document::parse(&blob, None).as_ref(), Ok(&document));
    }
    assert_eq!(plain["schemaVersion"], 2);
    let object = plain.as_object().expect("a manifest is an object");
    let has = |name: &str| object.keys().any(|key| key.eq_ignore_ascii_case(name));
    assert!(!has("manifests") || !(has("layers") || has("config")));
    let list = |key: &str| plain[key].as_array().map_or_else(Vec::new, Clone::clone);
    let expected = match &document {
        Document::Image(_) => [vec![plain["config"].clone()], list("layers")].concat(),
        Document::Index(_) => list("manifests"),
        other => panic!("a kind that is not known here: {other:?}"),
    };
    let children: Vec<_> = document.children().collect();
    assert!(children.len() <= CHILDREN);
    assert_eq!(children.len(), expected.len());
    for ((child, kind), expected) in children.into_iter().zip(expected) {
        assert_eq!(expected["digest"], child.digest.to_string());
        assert_eq!(expected["mediaType"], child.media_type);
        assert_eq!(expected["size"], child.size);
        assert_eq!(kind == ChildKind::Manifest, has("manifests"));
        if let Some(data) = &child.unverified_data {
            assert_eq!(u64::try_from(data.len()), Ok(child.size));
        }
    }
});
