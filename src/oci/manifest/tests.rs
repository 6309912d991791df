mod media_type;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ChildKind, Document, ManifestError, MediaType};
use crate::base::limits::{CHILDREN, MANIFEST_BYTES};
use crate::oci::json::JsonError;
use crate::oci::{Blob, Digest};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

fn parse_text(text: &str, content_type: Option<&str>) -> Result<Document, ManifestError> {
    Document::parse(&Blob::from_bytes(text.to_owned().into()), content_type)
}

fn parse(document: &Value, content_type: Option<&str>) -> Result<Document, ManifestError> {
    parse_text(&document.to_string(), content_type)
}

fn descriptor(media_type: &str, content: &str) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::sha256(content.as_bytes()), "size": content.len() })
}

fn image(media_type: &str) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": media_type,
        "config": descriptor("application/vnd.oci.image.config.v1+json", "config"),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "one"), descriptor("application/x", "two")],
    })
}

fn index(media_type: &str) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": media_type,
        "manifests": [descriptor(OCI_MANIFEST, "a"), descriptor(OCI_INDEX, "b"), descriptor("application/unheard-of", "c")],
    })
}

fn without(mut document: Value, key: &str) -> Value {
    document.as_object_mut().unwrap().remove(key);
    document
}

fn with(mut document: Value, key: &str, value: Value) -> Value {
    document[key] = value;
    document
}

fn unclear(content_type: &str, media_type: &str) -> Result<Document, ManifestError> {
    Err(ManifestError::MediaType {
        content_type: content_type.to_owned(),
        media_type: media_type.to_owned(),
    })
}

fn field(text: &str) -> Result<Document, ManifestError> {
    Err(ManifestError::Field(text.to_owned()))
}

#[test]
fn each_kind_is_read_with_its_children() {
    for media_type in MediaType::ALL {
        let name = media_type.as_str();
        let is_index = [OCI_INDEX, DOCKER_LIST].contains(&name);
        let document = if is_index { index(name) } else { image(name) };
        let parsed = parse(&document, Some(name)).unwrap();
        assert_eq!(parsed.media_type(), media_type);
        let children: Vec<_> = parsed
            .children()
            .map(|(child, kind)| (child.digest, kind))
            .collect();
        let expected =
            |contents: [&str; 3], kind| contents.map(|content| (Digest::sha256(content.as_bytes()), kind));
        if is_index {
            assert!(matches!(parsed, Document::Index(_)));
            assert_eq!(children, expected(["a", "b", "c"], ChildKind::Manifest));
        } else {
            assert!(matches!(parsed, Document::Image(_)));
            assert_eq!(children, expected(["config", "one", "two"], ChildKind::Blob));
        }
    }
}

#[test]
fn a_subject_is_read_and_is_not_a_child() {
    let document = with(
        image(OCI_MANIFEST),
        "subject",
        descriptor(OCI_MANIFEST, "subject"),
    );
    let Ok(Document::Image(manifest)) = parse(&document, None) else {
        panic!("no image")
    };
    let digest = Digest::sha256(b"subject");
    assert_eq!(manifest.subject.as_ref().unwrap().digest, digest);
    assert!(
        Document::Image(manifest)
            .children()
            .all(|(child, _)| child.digest != digest)
    );
}

#[test]
fn the_artifact_type_falls_back_to_that_of_the_configuration() {
    let artifact_type = |document| match parse(&document, None) {
        Ok(Document::Image(manifest)) => manifest.artifact_type,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        artifact_type(image(OCI_MANIFEST)),
        "application/vnd.oci.image.config.v1+json"
    );
    let mut artifact = with(
        image(OCI_MANIFEST),
        "artifactType",
        json!("application/vnd.example"),
    );
    artifact["config"] = json!({
        "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}"), "size": 2, "data": "e30=",
    });
    assert_eq!(artifact_type(artifact.clone()), "application/vnd.example");
    assert_eq!(
        artifact_type(without(artifact.clone(), "artifactType")),
        "application/vnd.oci.empty.v1+json"
    );
    for hostile in ["", "x", "a/b\n"] {
        let document = with(artifact.clone(), "artifactType", json!(hostile));
        assert_eq!(
            parse(&document, None),
            field("`artifactType` is not a media type")
        );
    }
}

#[test]
fn a_required_field_is_required() {
    for (key, document) in [
        ("config", image(OCI_MANIFEST)),
        ("layers", image(DOCKER_MANIFEST)),
        ("manifests", index(OCI_INDEX)),
    ] {
        assert_eq!(
            parse(&without(document.clone(), key), None),
            field(&format!("`{key}` is absent"))
        );
        assert_eq!(
            parse(&with(document, key, json!(null)), None),
            field(&format!("`{key}` is absent"))
        );
    }
    for version in [
        json!(null),
        json!(0),
        json!(3),
        json!(2.0),
        json!(-2),
        json!(1e30),
    ] {
        let document = with(image(OCI_MANIFEST), "schemaVersion", version);
        assert_eq!(
            parse(&document, None),
            field("`schemaVersion` is not 2"),
            "{document}"
        );
    }
    assert_eq!(
        parse(&without(index(OCI_INDEX), "schemaVersion"), None),
        field("`schemaVersion` is not 2")
    );
}

#[test]
fn a_bad_descriptor_is_named() {
    let mut document = image(OCI_MANIFEST);
    document["layers"][1]["size"] = json!(-1);
    assert_eq!(
        parse(&document, None),
        field("`layers[1]`: `size` is not an integer from 0 to 2^63 - 1")
    );
    let mut document = index(OCI_INDEX);
    document["manifests"][0]["digest"] = json!("sha256:../../../etc/passwd");
    assert_eq!(
        parse(&document, None),
        field("`manifests[0]`: after `sha256:` a digest has exactly 64 lower-case hexadecimal digits")
    );
    let document = with(image(OCI_MANIFEST), "subject", json!({}));
    assert_eq!(parse(&document, None), field("`subject`: `mediaType` is absent"));
    let mut document = image(OCI_MANIFEST);
    document["config"]["data"] = json!("e30=");
    assert_eq!(
        parse(&document, None),
        field("`config`: `data` is not base64 of `size` bytes")
    );
}

#[test]
fn a_key_in_another_case_is_refused_at_any_depth() {
    let image_text = image(OCI_MANIFEST).to_string();
    for (key, spelling) in [
        ("mediaType", "mediatype"),
        ("config", "Config"),
        ("layers", "LAYERS"),
        ("digest", "Digest"),
        ("size", "ſize"),
    ] {
        let text = image_text.replacen(&format!("\"{key}\""), &format!("\"{spelling}\""), 1);
        assert_ne!(text, image_text);
        let expected = JsonError::OtherSpelling {
            found: spelling.to_owned(),
            known: key,
        };
        assert_eq!(
            parse_text(&text, Some(OCI_MANIFEST)),
            Err(ManifestError::Json(expected)),
            "{text}"
        );
    }
    // Annotations are people's own.
    let annotated = with(
        image(OCI_MANIFEST),
        "annotations",
        json!({ "Layers": "", "layers": "", "manifests": "", "history": "" }),
    );
    assert!(parse(&annotated, None).is_ok());
}

#[test]
fn json_that_is_not_strict_is_refused() {
    let text = image(OCI_MANIFEST).to_string();
    let json = |error| Err(ManifestError::Json(error));
    let twice = text.replacen('{', "{\"layers\":[],", 1);
    assert_eq!(
        parse_text(&twice, None),
        json(JsonError::DuplicateKey("layers".to_owned()))
    );
    let deep = text.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(40), "]".repeat(40)), 1);
    assert_eq!(parse_text(&deep, None), json(JsonError::TooDeep));
    for hostile in [
        format!("{text}{text}"),
        format!("{text}\0"),
        format!("[{text}]"),
        String::new(),
        "null".to_owned(),
        "[2]".to_owned(),
        text.replacen("\"size\":6", "\"size\":1e999", 1),
        text.replacen("\"size\":6", "\"size\":\"6\"", 1),
        text.replacen("\"schemaVersion\":2", "\"schemaVersion\":\"2\"", 1),
    ] {
        assert_ne!(hostile, text);
        assert!(
            matches!(
                parse_text(&hostile, None),
                Err(ManifestError::Json(JsonError::Syntax(_)))
            ),
            "{hostile}"
        );
    }
    let mut bytes = text.into_bytes();
    let at = bytes.len() - 2;
    bytes[at] = 0xff;
    assert!(matches!(
        Document::parse(&Blob::from_bytes(bytes.into()), None),
        Err(ManifestError::Json(JsonError::Syntax(_)))
    ));
}

#[test]
fn a_descriptor_is_not_an_array() {
    // A derived reader would take the fields in order.
    let array = json!(["application/x", Digest::sha256(b""), 0]);
    for document in [
        with(image(OCI_MANIFEST), "config", array.clone()),
        with(image(OCI_MANIFEST), "layers", json!([array.clone()])),
        with(index(OCI_INDEX), "manifests", json!([array])),
    ] {
        assert!(
            matches!(
                parse(&document, None),
                Err(ManifestError::Json(JsonError::Syntax(_)))
            ),
            "{document}"
        );
    }
}

#[test]
fn children_are_counted() {
    let many = |count: usize| vec![descriptor("application/x", ""); count];
    let refused = Err(ManifestError::TooManyChildren { limit: CHILDREN });
    assert!(parse(&with(index(OCI_INDEX), "manifests", json!(many(CHILDREN))), None).is_ok());
    for count in [CHILDREN + 1, CHILDREN * 5] {
        assert_eq!(
            parse(&with(index(OCI_INDEX), "manifests", json!(many(count))), None),
            refused
        );
    }
    // The configuration counts.
    assert!(
        parse(
            &with(image(OCI_MANIFEST), "layers", json!(many(CHILDREN - 1))),
            None
        )
        .is_ok()
    );
    assert_eq!(
        parse(&with(image(OCI_MANIFEST), "layers", json!(many(CHILDREN))), None),
        refused
    );
    // Nothing at all is fine.
    assert_eq!(
        parse(&with(index(OCI_INDEX), "manifests", json!([])), None)
            .unwrap()
            .children()
            .count(),
        0
    );
    assert_eq!(
        parse(&with(image(OCI_MANIFEST), "layers", json!([])), None)
            .unwrap()
            .children()
            .count(),
        1
    );
}

#[test]
fn length_is_bounded() {
    let text = image(OCI_MANIFEST).to_string();
    let padded = |length: usize| format!("{text}{}", " ".repeat(length - text.len()));
    assert!(parse_text(&padded(MANIFEST_BYTES), None).is_ok());
    assert_eq!(
        parse_text(&padded(MANIFEST_BYTES + 1), None),
        Err(ManifestError::TooLong {
            limit: MANIFEST_BYTES
        })
    );
}

proptest! {
    #[test]
    fn what_was_written_is_read(sizes in prop::collection::vec(0..=i64::MAX, 0..8), kind in prop::sample::select(MediaType::ALL.to_vec())) {
        let children: Vec<_> = sizes
            .iter()
            .map(|size| json!({ "mediaType": "application/x", "digest": Digest::sha256(&size.to_be_bytes()), "size": size }))
            .collect();
        let is_index = [OCI_INDEX, DOCKER_LIST].contains(&kind.as_str());
        let document = if is_index {
            with(index(kind.as_str()), "manifests", json!(children))
        } else {
            with(image(kind.as_str()), "layers", json!(children))
        };
        let parsed = parse(&document, Some(kind.as_str())).unwrap();
        let read: Vec<_> = parsed.children().skip(usize::from(!is_index)).map(|(child, _)| (child.size, child.digest)).collect();
        let written: Vec<_> = sizes.iter().map(|size| (u64::try_from(*size).unwrap(), Digest::sha256(&size.to_be_bytes()))).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn a_changed_byte_never_makes_another_kind(at in 0_usize..400, byte: u8, is_index: bool) {
        let kind = if is_index { OCI_INDEX } else { OCI_MANIFEST };
        let mut bytes = if is_index { index(kind) } else { image(kind) }.to_string().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(document) = Document::parse(&Blob::from_bytes(bytes.into()), Some(kind)) {
            prop_assert_eq!(document.media_type().as_str(), kind);
            prop_assert_eq!(matches!(document, Document::Index(_)), is_index);
        }
    }
}
