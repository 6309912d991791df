//! The lies: at which point of a pull, what is said instead of the truth, and the reason that the pull is blocked for.

use std::sync::OnceLock;
use std::time::Duration;

use pullgate::base::limits::CANDIDATES;
use pullgate::base::reason::Reason;
use pullgate::oci::{Descriptor, Digest, MediaType};
use pullgate::signature::oracle::ARTIFACT_TYPE;
use serde_json::json;

use crate::support::HOST;
use crate::support::liar::{Answer, Request, headers};

const MANIFEST: &str = MediaType::OciManifest.as_str();
const INDEX: &str = MediaType::OciIndex.as_str();

/// What a lie may know of the truth: `acme/app:v1`, signed, in an honest registry behind the liar.
pub struct Truth {
    pub image: Descriptor,
    pub manifest: Vec<u8>,
    /// Where the gate listens.
    pub gate: OnceLock<String>,
    /// Where the liar itself listens.
    pub liar: OnceLock<String>,
}

impl Truth {
    fn manifest_with(&self, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let mut manifest = serde_json::from_slice(&self.manifest).unwrap();
        change(&mut manifest);
        manifest.to_string().into_bytes()
    }
}

/// One lie.
pub struct Lie {
    pub name: &'static str,
    pub blocked: Reason,
    /// Lines of the `[[registry]]` table.
    pub registry: &'static str,
    pub tell: Box<dyn Tell>,
}

/// What is answered to a request.
pub trait Tell: Fn(&Request, &Truth) -> Answer + Send + Sync {}

impl<T: Fn(&Request, &Truth) -> Answer + Send + Sync> Tell for T {}

/// Where the manifest is asked for by its tag.
fn of_manifest(
    name: &'static str,
    blocked: Reason,
    tell: impl Fn(&Truth) -> Answer + Send + Sync + 'static,
) -> Lie {
    let tell = Box::new(move |request: &Request, truth: &Truth| {
        if request.is_manifest() && request.last() == "v1" {
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

/// Where the referrers of the image are asked for.
fn of_referrers(
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

/// Where the manifest of the referrer is asked for.
fn of_referrer(
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

/// Where the record is asked for.
fn of_record(
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

/// Where the registry asks for a token: every request is challenged, and this is what the realm says.
fn of_token(
    name: &'static str,
    blocked: Reason,
    realm: impl Fn(&Truth) -> String + Send + Sync + 'static,
    tell: impl Fn(&Truth) -> Answer + Send + Sync + 'static,
) -> Lie {
    let tell = Box::new(move |request: &Request, truth: &Truth| {
        if request.path == "/token" {
            tell(truth)
        } else {
            Answer::challenge(&format!("Bearer realm=\"{}\",service=\"liar\"", realm(truth)))
        }
    });
    Lie {
        name,
        blocked,
        registry: "credentials = \"anonymous\"",
        tell,
    }
}

fn json_of(content_type: &str) -> Vec<(String, String)> {
    headers(&[("content-type", content_type)])
}

fn own(truth: &Truth, path: &str) -> String {
    format!("{}{path}", truth.liar.get().unwrap())
}

pub fn lies_about_manifests() -> Vec<Lie> {
    use Reason::{
        DeadlineExceeded, DigestMismatch, ImageNotFound, LimitExceeded, Malformed, RegistryUnreachable,
    };
    vec![
        of_manifest("other bytes than the digest it names", DigestMismatch, |truth| {
            Answer::ok(MANIFEST, truth.manifest_with(|manifest| manifest["x"] = 1.into()))
                .with("docker-content-digest", &truth.image.digest.to_string())
        }),
        of_manifest("a digest with ../ in its head", Malformed, |truth| {
            Answer::ok(MANIFEST, truth.manifest.clone())
                .with("docker-content-digest", "sha256:../../../etc/passwd")
        }),
        of_manifest("no manifest at all", ImageNotFound, |_| Answer::status(404)),
        of_manifest("a terabyte announced", LimitExceeded, |_| Answer::Endless {
            headers: json_of(MANIFEST),
            announced: Some(1 << 40),
        }),
        of_manifest("chunks without end", LimitExceeded, |_| Answer::Endless {
            headers: json_of(MANIFEST),
            announced: None,
        }),
        of_manifest("a body that drips", DeadlineExceeded, |truth| Answer::Drip {
            headers: json_of(MANIFEST),
            body: truth.manifest.clone(),
            every: Duration::from_millis(100),
        }),
        of_manifest("silence", DeadlineExceeded, |_| Answer::Silence),
        of_manifest("a body that breaks off", RegistryUnreachable, |truth| {
            Answer::Truncated {
                headers: json_of(MANIFEST),
                announced: truth.manifest.len(),
                body: truth.manifest[..20].to_vec(),
            }
        }),
        of_manifest("a connection that is dropped", RegistryUnreachable, |_| {
            Answer::Drop
        }),
        of_manifest("another protocol", Malformed, |_| {
            Answer::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())
        }),
        of_manifest("a head without end", Malformed, |_| Answer::EndlessHead),
        of_manifest("a thousand headers", Malformed, |truth| {
            let whole = Answer::ok(MANIFEST, truth.manifest.clone());
            (0..1000).fold(whole, |answer, number| answer.with(&format!("x-{number}"), "y"))
        }),
        of_manifest("a header of a megabyte", Malformed, |truth| {
            Answer::ok(MANIFEST, truth.manifest.clone()).with("x", &"y".repeat(1 << 20))
        }),
        of_manifest("gzip that nobody asked for", Malformed, |truth| {
            Answer::ok(MANIFEST, truth.manifest.clone()).with("content-encoding", "gzip")
        }),
        of_manifest("an empty body", Malformed, |_| Answer::ok(MANIFEST, "")),
        of_manifest("a web page", Malformed, |_| {
            Answer::ok("text/html", "<html>Log in</html>")
        }),
        of_manifest("an index by its Content-Type", Malformed, |truth| {
            Answer::ok(INDEX, truth.manifest.clone())
        }),
        of_manifest("an index by its mediaType", Malformed, |truth| {
            Answer::ok(
                MANIFEST,
                truth.manifest_with(|manifest| manifest["mediaType"] = INDEX.into()),
            )
        }),
        of_manifest("manifest and index in one", Malformed, |truth| {
            Answer::ok(
                MANIFEST,
                truth.manifest_with(|manifest| manifest["manifests"] = json!([])),
            )
        }),
        of_manifest("schema 1", Malformed, |_| {
            let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
            Answer::ok(
                signed,
                json!({ "schemaVersion": 1, "name": "acme/app", "fsLayers": [] }).to_string(),
            )
        }),
        of_manifest("a key twice", Malformed, |truth| {
            let manifest = String::from_utf8(truth.manifest.clone()).unwrap();
            Answer::ok(MANIFEST, manifest.replacen('{', "{\"layers\":[],", 1))
        }),
        of_manifest("a key twice but for its case", Malformed, |truth| {
            let manifest = String::from_utf8(truth.manifest.clone()).unwrap();
            Answer::ok(MANIFEST, manifest.replacen('{', "{\"Layers\":[],", 1))
        }),
        of_manifest("JSON a hundred thousand deep", Malformed, |_| {
            Answer::ok(MANIFEST, format!("{{\"x\":{}", "[".repeat(100_000)))
        }),
        of_manifest("bytes that are no UTF-8", Malformed, |truth| {
            let manifest = truth.manifest_with(|manifest| manifest["x"] = "?".into());
            let invalid = manifest
                .into_iter()
                .map(|byte| if byte == b'?' { 0xff } else { byte });
            Answer::ok(MANIFEST, invalid.collect::<Vec<_>>())
        }),
        of_manifest("something after the document", Malformed, |truth| {
            Answer::ok(MANIFEST, [truth.manifest.as_slice(), b"{}"].concat())
        }),
        of_manifest("a layer's digest with ../", Malformed, |truth| {
            let escape = "sha256:../../../../etc/passwd";
            Answer::ok(
                MANIFEST,
                truth.manifest_with(|manifest| manifest["layers"][0]["digest"] = escape.into()),
            )
        }),
        of_manifest("a fault of its own", RegistryUnreachable, |_| Answer::status(500)),
        of_manifest("try later, for ever", RegistryUnreachable, |_| {
            Answer::status(503)
        }),
        of_manifest(
            "too many requests, come back tomorrow",
            RegistryUnreachable,
            |_| Answer::status(429).with("retry-after", "86400"),
        ),
        of_manifest("a status nobody knows", Malformed, |_| Answer::status(418)),
        of_manifest("a part of the content", Malformed, |truth| Answer::Whole {
            status: 206,
            headers: json_of(MANIFEST),
            body: truth.manifest.clone(),
        }),
    ]
}

pub fn lies_about_places() -> Vec<Lie> {
    use Reason::{LimitExceeded, Malformed, RegistryUnauthorized, RegistryUnreachable};
    vec![
        of_manifest("a redirect to link-local", RegistryUnreachable, |_| {
            Answer::redirect("http://169.254.169.254/opc/v2/identity/key.pem")
        }),
        of_manifest(
            "a redirect to link-local, spelled as IPv6",
            RegistryUnreachable,
            |_| Answer::redirect("http://[::ffff:169.254.169.254]/opc/v2/"),
        ),
        of_manifest(
            "a redirect to link-local, spelled as a number",
            RegistryUnreachable,
            |_| Answer::redirect("http://2852039166/latest/meta-data"),
        ),
        of_manifest(
            "a redirect to a metadata service by name",
            RegistryUnreachable,
            |_| Answer::redirect("http://metadata.google.internal/computeMetadata/v1/"),
        ),
        of_manifest("a redirect to the gate itself", RegistryUnreachable, |truth| {
            Answer::redirect(&format!(
                "http://{}/v2/acme/app/manifests/v1?ns={HOST}",
                truth.gate.get().unwrap()
            ))
        }),
        of_manifest("a redirect to a file", RegistryUnreachable, |_| {
            Answer::redirect("file:///etc/passwd")
        }),
        of_manifest("a redirect with a password", RegistryUnreachable, |truth| {
            Answer::redirect(&own(truth, "/x").replace("//", "//root:root@"))
        }),
        of_manifest("a redirect in a circle", LimitExceeded, |_| {
            Answer::redirect("/v2/acme/app/manifests/v1")
        }),
        of_manifest("a redirect to nowhere", Malformed, |_| Answer::status(307)),
        of_manifest("401 for ever", RegistryUnauthorized, |_| {
            Answer::challenge("Basic realm=\"x\"")
        }),
        of_manifest("401 with a challenge of rubbish", Malformed, |_| {
            Answer::challenge("\"=,,=\"")
        }),
        of_manifest("403", RegistryUnauthorized, |_| Answer::status(403)),
        of_token(
            "tokens that open nothing",
            RegistryUnauthorized,
            |truth| own(truth, "/token"),
            |_| Answer::ok("application/json", "{\"token\":\"x\"}"),
        ),
        of_token(
            "a realm at the metadata service",
            RegistryUnreachable,
            |_| "http://169.254.169.254/latest/api/token".to_owned(),
            |_| Answer::Drop,
        ),
        of_token(
            "a realm at the gate itself",
            RegistryUnreachable,
            |truth| format!("http://{}/v2/", truth.gate.get().unwrap()),
            |_| Answer::Drop,
        ),
        of_token(
            "a token without end",
            LimitExceeded,
            |truth| own(truth, "/token"),
            |_| Answer::Endless {
                headers: json_of("application/json"),
                announced: None,
            },
        ),
        of_token(
            "a realm that redirects in a circle",
            LimitExceeded,
            |truth| own(truth, "/token"),
            |_| Answer::redirect("/token"),
        ),
        of_token(
            "a token that is none",
            Malformed,
            |truth| own(truth, "/token"),
            |_| Answer::ok("application/json", "{\"token\":{}}"),
        ),
        of_token(
            "a token with a line break in it",
            Malformed,
            |truth| own(truth, "/token"),
            |_| Answer::ok("application/json", "{\"token\":\"x\\r\\nx-injected: 1\"}"),
        ),
    ]
}

/// An index of so many referrers with the artifact type of signatures, none of which exists.
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
        of_referrers("10 000 referrers", LimitExceeded, |_| {
            Answer::ok(INDEX, referrers(10_000))
        }),
        of_referrers("one referrer more than is looked at", LimitExceeded, |_| {
            Answer::ok(INDEX, referrers(CANDIDATES + 1))
        }),
        of_referrers("pages in a circle", LimitExceeded, |truth| {
            let here = format!("</v2/acme/app/referrers/{}>; rel=\"next\"", truth.image.digest);
            Answer::ok(INDEX, referrers(0)).with("link", &here)
        }),
        of_referrers("the next page at another host", SourceUnreachable, |_| {
            Answer::ok(INDEX, referrers(0)).with("link", "<http://169.254.169.254/>; rel=\"next\"")
        }),
        of_referrers("referrers without end", LimitExceeded, |_| Answer::Endless {
            headers: json_of(INDEX),
            announced: None,
        }),
        of_referrers("referrers that drip", DeadlineExceeded, |_| Answer::Drip {
            headers: json_of(INDEX),
            body: referrers(1),
            every: Duration::from_millis(100),
        }),
        of_referrers("silence where signatures are", DeadlineExceeded, |_| {
            Answer::Silence
        }),
        of_referrers("referrers that break off", SourceUnreachable, |_| {
            Answer::Truncated {
                headers: json_of(INDEX),
                announced: 1000,
                body: referrers(0),
            }
        }),
        of_referrers(
            "a dropped connection where signatures are",
            SourceUnreachable,
            |_| Answer::Drop,
        ),
        of_referrers("referrers as a web page", Malformed, |_| {
            Answer::ok("text/html", "<html>")
        }),
        of_referrers("referrers as gzip", Malformed, |_| {
            Answer::ok(INDEX, referrers(0)).with("content-encoding", "gzip")
        }),
        of_referrers("referrers with a key twice", Malformed, |_| {
            let twice = String::from_utf8(referrers(0))
                .unwrap()
                .replacen('{', "{\"manifests\":[],", 1);
            Answer::ok(INDEX, twice)
        }),
        of_referrers("a referrer's digest with ../", Malformed, |_| {
            let referrers = String::from_utf8(referrers(1)).unwrap();
            let digest = Digest::sha256(&0_usize.to_le_bytes()).to_string();
            Answer::ok(INDEX, referrers.replace(&digest, "sha256:../../../etc/passwd"))
        }),
        of_referrers("a fault where signatures are", SourceUnreachable, |_| {
            Answer::status(500)
        }),
        of_referrers("401 where signatures are", RegistryUnauthorized, |_| {
            Answer::challenge("Basic realm=\"x\"")
        }),
        of_referrers("referrers that do not exist", SourceUnreachable, |_| {
            Answer::ok(INDEX, referrers(3))
        }),
        of_referrer("other bytes for a referrer", DigestMismatch, |_| {
            Answer::ok(MANIFEST, "{}")
        }),
        of_referrer("a referrer that is gone", SourceUnreachable, |_| {
            Answer::status(404)
        }),
        of_referrer("a referrer without end", LimitExceeded, |_| Answer::Endless {
            headers: json_of(MANIFEST),
            announced: None,
        }),
        of_record("a record without end", LimitExceeded, |_| Answer::Endless {
            headers: json_of("application/octet-stream"),
            announced: None,
        }),
        of_record("a record longer than its descriptor says", LimitExceeded, |_| {
            Answer::ok("application/octet-stream", vec![b'{'; 60_000])
        }),
        of_record("a record that is gone", SourceUnreachable, |_| {
            Answer::status(404)
        }),
        of_record("a record that breaks off", SourceUnreachable, |_| {
            Answer::Truncated {
                headers: Vec::new(),
                announced: 1000,
                body: vec![b'{'; 100],
            }
        }),
        of_record("another record", Malformed, |_| {
            Answer::ok("application/octet-stream", "{}")
        }),
        of_record(
            "a record behind a redirect to link-local",
            SourceUnreachable,
            |_| Answer::redirect("http://169.254.169.254/"),
        ),
    ]
}
