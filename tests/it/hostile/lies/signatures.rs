//! Lies about referrers and records.

use std::time::Duration;

use pullgate::base::limits::CANDIDATES;
use pullgate::base::reason::Reason;
use pullgate::oci::Digest;
use pullgate::signature::oracle::ARTIFACT_TYPE;
use serde_json::json;

use super::{INDEX, Lie, MANIFEST, Truth, content_type_header};
use crate::support::liar::{Answer, Request};

/// Lies about the referrers of the image.
fn about_referrers(
    name: &'static str,
    blocked: Reason,
    tell: impl Fn(&Truth) -> Answer + Send + Sync + 'static,
) -> Lie {
    let tell = Box::new(move |request: &Request, truth: &Truth| {
        if request.is_referrers() {
            tell(truth)
        } else {
            Answer::Honest
        }
    });
    Lie {
        name,
        blocked,
        registry: "",
        tell,
    }
}

/// Lies about the manifest of a referrer.
fn about_referrer(
    name: &'static str,
    blocked: Reason,
    tell: impl Fn(&Truth) -> Answer + Send + Sync + 'static,
) -> Lie {
    let tell = Box::new(move |request: &Request, truth: &Truth| {
        let is_image = request.last() == truth.image.digest.to_string();
        if request.is_manifest() && request.last().starts_with("sha256:") && !is_image {
            tell(truth)
        } else {
            Answer::Honest
        }
    });
    Lie {
        name,
        blocked,
        registry: "",
        tell,
    }
}

/// Lies about the record of a signature.
fn about_record(
    name: &'static str,
    blocked: Reason,
    tell: impl Fn(&Truth) -> Answer + Send + Sync + 'static,
) -> Lie {
    let tell = Box::new(move |request: &Request, truth: &Truth| {
        if request.is_blob() {
            tell(truth)
        } else {
            Answer::Honest
        }
    });
    Lie {
        name,
        blocked,
        registry: "",
        tell,
    }
}

/// Returns an index of referrers with the artifact type of signatures. None of the referrers exists.
fn referrers(count: usize) -> Vec<u8> {
    let manifests: Vec<_> = (0..count)
        .map(|number| {
            let digest = Digest::sha256(&number.to_le_bytes());
            json!({ "mediaType": MANIFEST, "digest": digest, "size": 500, "artifactType": ARTIFACT_TYPE })
        })
        .collect();
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
        .to_string()
        .into_bytes()
}

pub fn lies_about_signatures() -> Vec<Lie> {
    use Reason::{
        DeadlineExceeded, DigestMismatch, LimitExceeded, Malformed, RegistryUnauthorized, SourceUnreachable,
    };
    vec![
        about_referrers("10 000 referrers", LimitExceeded, |_| {
            Answer::ok(INDEX, referrers(10_000))
        }),
        about_referrers("one referrer more than the gate reads", LimitExceeded, |_| {
            Answer::ok(INDEX, referrers(CANDIDATES + 1))
        }),
        about_referrers("pages in a circle", LimitExceeded, |truth| {
            let here = format!("</v2/acme/app/referrers/{}>; rel=\"next\"", truth.image.digest);
            Answer::ok(INDEX, referrers(0)).with("link", &here)
        }),
        about_referrers("the next page at another host", SourceUnreachable, |_| {
            Answer::ok(INDEX, referrers(0)).with("link", "<http://169.254.169.254/>; rel=\"next\"")
        }),
        about_referrers("referrers without end", LimitExceeded, |_| Answer::Endless {
            headers: content_type_header(INDEX),
            announced: None,
        }),
        about_referrers("referrers that drip", DeadlineExceeded, |_| Answer::Drip {
            headers: content_type_header(INDEX),
            body: referrers(1),
            every: Duration::from_millis(100),
        }),
        about_referrers("no answer for the referrers", DeadlineExceeded, |_| {
            Answer::Silence
        }),
        about_referrers("referrers that break off", SourceUnreachable, |_| {
            Answer::Truncated {
                headers: content_type_header(INDEX),
                announced: 1000,
                body: referrers(0),
            }
        }),
        about_referrers(
            "a dropped connection for the referrers",
            SourceUnreachable,
            |_| Answer::Drop,
        ),
        about_referrers("referrers as a web page", Malformed, |_| {
            Answer::ok("text/html", "<html>")
        }),
        about_referrers("referrers as gzip", Malformed, |_| {
            Answer::ok(INDEX, referrers(0)).with("content-encoding", "gzip")
        }),
        about_referrers("referrers with a key twice", Malformed, |_| {
            let twice = String::from_utf8(referrers(0))
                .unwrap()
                .replacen('{', "{\"manifests\":[],", 1);
            Answer::ok(INDEX, twice)
        }),
        about_referrers("a referrer's digest with ../", Malformed, |_| {
            let referrers = String::from_utf8(referrers(1)).unwrap();
            let digest = Digest::sha256(&0_usize.to_le_bytes()).to_string();
            Answer::ok(INDEX, referrers.replace(&digest, "sha256:../../../etc/passwd"))
        }),
        about_referrers("500 for the referrers", SourceUnreachable, |_| {
            Answer::status(500)
        }),
        about_referrers("401 for the referrers", RegistryUnauthorized, |_| {
            Answer::challenge("Basic realm=\"x\"")
        }),
        about_referrers("referrers that do not exist", SourceUnreachable, |_| {
            Answer::ok(INDEX, referrers(3))
        }),
        about_referrer("other bytes for a referrer", DigestMismatch, |_| {
            Answer::ok(MANIFEST, "{}")
        }),
        about_referrer("a referrer that is gone", SourceUnreachable, |_| {
            Answer::status(404)
        }),
        about_referrer("a referrer without end", LimitExceeded, |_| Answer::Endless {
            headers: content_type_header(MANIFEST),
            announced: None,
        }),
        about_record("a record without end", LimitExceeded, |_| Answer::Endless {
            headers: content_type_header("application/octet-stream"),
            announced: None,
        }),
        about_record("a record longer than its descriptor says", LimitExceeded, |_| {
            Answer::ok("application/octet-stream", vec![b'{'; 60_000])
        }),
        about_record("a record that is gone", SourceUnreachable, |_| {
            Answer::status(404)
        }),
        about_record("a record that breaks off", SourceUnreachable, |_| {
            Answer::Truncated {
                headers: Vec::new(),
                announced: 1000,
                body: vec![b'{'; 100],
            }
        }),
        about_record("another record", Malformed, |_| {
            Answer::ok("application/octet-stream", "{}")
        }),
        about_record(
            "a record behind a redirect to link-local",
            SourceUnreachable,
            |_| Answer::redirect("http://169.254.169.254/"),
        ),
    ]
}
