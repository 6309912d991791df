//! The kind of a document: header, field and structure must agree.

use super::*;

#[test]
fn content_type_and_media_type_agree() {
    let docker = image(DOCKER_MANIFEST);
    let oci = image(OCI_MANIFEST);
    let bare = without(oci.clone(), "mediaType");
    for said in [
        OCI_MANIFEST,
        "Application/VND.oci.image.manifest.v1+JSON",
        "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
        " application/vnd.oci.image.manifest.v1+json ;x",
    ] {
        assert_eq!(
            parse(&oci, Some(said)).unwrap().media_type(),
            MediaType::OciManifest,
            "{said}"
        );
        assert_eq!(
            parse(&bare, Some(said)).unwrap().media_type(),
            MediaType::OciManifest,
            "{said}"
        );
        assert_eq!(parse(&docker, Some(said)), unclear(said, DOCKER_MANIFEST));
    }
    for said in [
        None,
        Some("application/json"),
        Some("application/octet-stream"),
        Some("TEXT/plain; charset=utf-8"),
        Some(""),
    ] {
        assert_eq!(
            parse(&oci, said).unwrap().media_type(),
            MediaType::OciManifest,
            "{said:?}"
        );
        assert_eq!(
            parse(&docker, said).unwrap().media_type(),
            MediaType::DockerManifest,
            "{said:?}"
        );
        assert_eq!(parse(&bare, said), unclear(said.unwrap_or("-"), "-"));
        assert_eq!(
            parse(&with(oci.clone(), "mediaType", json!(null)), said),
            unclear(said.unwrap_or("-"), "-")
        );
    }
    // Docker's own types are never left out.
    assert_eq!(parse(&bare, Some(DOCKER_MANIFEST)), unclear(DOCKER_MANIFEST, "-"));
    assert_eq!(
        parse(&without(index(DOCKER_LIST), "mediaType"), Some(DOCKER_LIST)),
        unclear(DOCKER_LIST, "-")
    );
    for said in [
        "text/html",
        "application/vnd.oci.image.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json, text/plain",
    ] {
        assert_eq!(parse(&oci, Some(said)), unclear(said, OCI_MANIFEST));
    }
    for written in [
        "",
        "text/html",
        "APPLICATION/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.manifest.v1+json;x",
    ] {
        assert_eq!(
            parse(
                &with(oci.clone(), "mediaType", json!(written)),
                Some(OCI_MANIFEST)
            ),
            unclear(OCI_MANIFEST, written)
        );
        assert_eq!(
            parse(&with(oci.clone(), "mediaType", json!(written)), None),
            unclear("-", written)
        );
    }
}

#[test]
fn a_type_is_known_by_its_content_type() {
    for media_type in MediaType::ALL {
        let said = format!("{}; charset=utf-8", media_type.as_str().to_uppercase());
        assert_eq!(MediaType::from_content_type(&said), Some(media_type));
    }
    for other in [
        "",
        ";",
        "application/json",
        "application/vnd.oci.image.layer.v1.tar",
    ] {
        assert_eq!(MediaType::from_content_type(other), None);
    }
}

#[test]
fn a_document_of_two_kinds_is_refused() {
    let children = json!([descriptor(OCI_MANIFEST, "a")]);
    for kind in [OCI_MANIFEST, OCI_INDEX] {
        for (document, key) in [
            (image(kind), "manifests"),
            (index(kind), "layers"),
            (index(kind), "config"),
        ] {
            for value in [children.clone(), json!(null), json!([]), json!("x")] {
                for spelling in [
                    key.to_owned(),
                    key.to_uppercase(),
                    key.replace('s', "ſ"),
                    key.replace("ma", "Ma"),
                ] {
                    let both = with(document.clone(), &spelling, value.clone());
                    assert_eq!(parse(&both, Some(kind)), Err(ManifestError::Ambiguous), "{both}");
                }
            }
        }
    }
    // One kind by its media type, the other by what it holds.
    assert_eq!(parse(&image(OCI_INDEX), None), Err(ManifestError::Ambiguous));
    assert_eq!(parse(&index(OCI_MANIFEST), None), Err(ManifestError::Ambiguous));
    assert_eq!(parse(&image(DOCKER_LIST), None), Err(ManifestError::Ambiguous));
    assert_eq!(
        parse(&without(index(OCI_INDEX), "mediaType"), Some(OCI_MANIFEST)),
        Err(ManifestError::Ambiguous)
    );
    assert_eq!(
        parse(&without(image(OCI_INDEX), "mediaType"), Some(OCI_INDEX)),
        Err(ManifestError::Ambiguous)
    );
}

#[test]
fn schema_1_is_named() {
    let plain = json!({ "schemaVersion": 1, "name": "x", "tag": "y", "fsLayers": [], "history": [] });
    for said in SCHEMA_1_SAID {
        assert_eq!(parse(&plain, said), Err(ManifestError::Schema1), "{said:?}");
        assert_eq!(
            parse(&without(without(plain.clone(), "fsLayers"), "history"), said),
            Err(ManifestError::Schema1),
            "{said:?}"
        );
    }
    for key in ["fsLayers", "history", "FSLayers"] {
        assert_eq!(
            parse(&with(image(OCI_MANIFEST), key, json!(null)), None),
            Err(ManifestError::Schema1),
            "{key}"
        );
    }
    for written in super::super::SCHEMA_1 {
        assert_eq!(parse(&image(written), None), Err(ManifestError::Schema1));
        assert_eq!(
            parse(&image(OCI_MANIFEST), Some(written)),
            Err(ManifestError::Schema1)
        );
    }
}

const SCHEMA_1_SAID: [Option<&str>; 5] = [
    None,
    Some("application/vnd.docker.distribution.manifest.v1+json"),
    Some("application/vnd.docker.distribution.manifest.v1+prettyjws; charset=utf-8"),
    Some("application/json"),
    Some(DOCKER_MANIFEST),
];
