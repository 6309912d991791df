//! Lies about the manifest of the image.

use std::time::Duration;

use pullgate::base::reason::Reason;
use serde_json::json;

use super::{INDEX, Lie, MANIFEST, about_manifest, content_type_header};
use crate::support::liar::Answer;

pub fn lies_about_manifests() -> Vec<Lie> {
    use Reason::{
        DeadlineExceeded, DigestMismatch, ImageNotFound, LimitExceeded, Malformed, RegistryUnreachable,
    };
    vec![
        about_manifest("other bytes than the digest it names", DigestMismatch, |truth| {
            Answer::ok(MANIFEST, truth.manifest_with(|manifest| manifest["x"] = 1.into()))
                .with("docker-content-digest", &truth.image.digest.to_string())
        }),
        about_manifest("a digest with ../ in its head", Malformed, |truth| {
            Answer::ok(MANIFEST, truth.manifest.clone())
                .with("docker-content-digest", "sha256:../../../etc/passwd")
        }),
        about_manifest("no manifest at all", ImageNotFound, |_| Answer::status(404)),
        about_manifest("a terabyte announced", LimitExceeded, |_| Answer::Endless {
            headers: content_type_header(MANIFEST),
            announced: Some(1 << 40),
        }),
        about_manifest("chunks without end", LimitExceeded, |_| Answer::Endless {
            headers: content_type_header(MANIFEST),
            announced: None,
        }),
        about_manifest("a body that drips", DeadlineExceeded, |truth| Answer::Drip {
            headers: content_type_header(MANIFEST),
            body: truth.manifest.clone(),
            every: Duration::from_millis(100),
        }),
        about_manifest("silence", DeadlineExceeded, |_| Answer::Silence),
        about_manifest("a body that breaks off", RegistryUnreachable, |truth| {
            Answer::Truncated {
                headers: content_type_header(MANIFEST),
                announced: truth.manifest.len(),
                body: truth.manifest[..20].to_vec(),
            }
        }),
        about_manifest("a connection that is dropped", RegistryUnreachable, |_| {
            Answer::Drop
        }),
        about_manifest("another protocol", Malformed, |_| {
            Answer::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())
        }),
        about_manifest("a head without end", Malformed, |_| Answer::EndlessHead),
        about_manifest("a thousand headers", Malformed, |truth| {
            let whole = Answer::ok(MANIFEST, truth.manifest.clone());
            (0..1000).fold(whole, |answer, number| answer.with(&format!("x-{number}"), "y"))
        }),
        about_manifest("a header of a megabyte", Malformed, |truth| {
            Answer::ok(MANIFEST, truth.manifest.clone()).with("x", &"y".repeat(1 << 20))
        }),
        about_manifest("gzip without a request for it", Malformed, |truth| {
            Answer::ok(MANIFEST, truth.manifest.clone()).with("content-encoding", "gzip")
        }),
        about_manifest("an empty body", Malformed, |_| Answer::ok(MANIFEST, "")),
        about_manifest("a web page", Malformed, |_| {
            Answer::ok("text/html", "<html>Log in</html>")
        }),
        about_manifest("an index by its Content-Type", Malformed, |truth| {
            Answer::ok(INDEX, truth.manifest.clone())
        }),
        about_manifest("an index by its mediaType", Malformed, |truth| {
            Answer::ok(
                MANIFEST,
                truth.manifest_with(|manifest| manifest["mediaType"] = INDEX.into()),
            )
        }),
        about_manifest("manifest and index in one", Malformed, |truth| {
            Answer::ok(
                MANIFEST,
                truth.manifest_with(|manifest| manifest["manifests"] = json!([])),
            )
        }),
        about_manifest("schema 1", Malformed, |_| {
            let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
            Answer::ok(
                signed,
                json!({ "schemaVersion": 1, "name": "acme/app", "fsLayers": [] }).to_string(),
            )
        }),
        about_manifest("a key twice", Malformed, |truth| {
            let manifest = String::from_utf8(truth.manifest.clone()).unwrap();
            Answer::ok(MANIFEST, manifest.replacen('{', "{\"layers\":[],", 1))
        }),
        about_manifest("a key twice but for its case", Malformed, |truth| {
            let manifest = String::from_utf8(truth.manifest.clone()).unwrap();
            Answer::ok(MANIFEST, manifest.replacen('{', "{\"Layers\":[],", 1))
        }),
        about_manifest("JSON a hundred thousand deep", Malformed, |_| {
            Answer::ok(MANIFEST, format!("{{\"x\":{}", "[".repeat(100_000)))
        }),
        about_manifest("bytes that are no UTF-8", Malformed, |truth| {
            let manifest = truth.manifest_with(|manifest| manifest["x"] = "?".into());
            let invalid = manifest
                .into_iter()
                .map(|byte| if byte == b'?' { 0xff } else { byte });
            Answer::ok(MANIFEST, invalid.collect::<Vec<_>>())
        }),
        about_manifest("something after the document", Malformed, |truth| {
            Answer::ok(MANIFEST, [truth.manifest.as_slice(), b"{}"].concat())
        }),
        about_manifest("a layer's digest with ../", Malformed, |truth| {
            let escape = "sha256:../../../../etc/passwd";
            Answer::ok(
                MANIFEST,
                truth.manifest_with(|manifest| manifest["layers"][0]["digest"] = escape.into()),
            )
        }),
        about_manifest("500 on every request", RegistryUnreachable, |_| {
            Answer::status(500)
        }),
        about_manifest("503 on every request", RegistryUnreachable, |_| {
            Answer::status(503)
        }),
        about_manifest(
            "too many requests, come back tomorrow",
            RegistryUnreachable,
            |_| Answer::status(429).with("retry-after", "86400"),
        ),
        about_manifest("an unknown status", Malformed, |_| Answer::status(418)),
        about_manifest("a part of the content", Malformed, |truth| Answer::Whole {
            status: 206,
            headers: content_type_header(MANIFEST),
            body: truth.manifest.clone(),
        }),
    ]
}
