//! The lies: the request that is answered with a lie, the lie itself, and the reason for which the gate blocks the pull.

pub mod manifests;
pub mod places;
pub mod signatures;

use std::sync::OnceLock;

use pullgate::base::reason::Reason;
use pullgate::oci::{Descriptor, MediaType};

use crate::support::liar::{Answer, Request, headers};

const MANIFEST: &str = MediaType::OciManifest.as_str();
const INDEX: &str = MediaType::OciIndex.as_str();

/// The facts that a lie can use: the signed image `acme/app:v1` in an honest registry behind the hostile one.
pub struct Truth {
    pub image: Descriptor,
    pub manifest: Vec<u8>,
    /// The gate's address.
    pub gate: OnceLock<String>,
    /// The hostile registry's own URL.
    pub liar: OnceLock<String>,
}

impl Truth {
    fn manifest_with(&self, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let mut manifest = serde_json::from_slice(&self.manifest).unwrap();
        change(&mut manifest);
        manifest.to_string().into_bytes()
    }
}

/// A lie.
pub struct Lie {
    pub name: &'static str,
    pub blocked: Reason,
    /// More lines for the `[[registry]]` table.
    pub registry: &'static str,
    pub tell: Box<dyn Tell>,
}

/// Answers a request.
pub trait Tell: Fn(&Request, &Truth) -> Answer + Send + Sync {}

impl<T: Fn(&Request, &Truth) -> Answer + Send + Sync> Tell for T {}

/// Lies about the manifest that is requested by its tag.
fn about_manifest(
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

/// Lies about a token. The registry answers every other request with a challenge that names the realm.
fn about_token(
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

fn content_type_header(content_type: &str) -> Vec<(String, String)> {
    headers(&[("content-type", content_type)])
}

fn own_url(truth: &Truth, path: &str) -> String {
    format!("{}{path}", truth.liar.get().unwrap())
}
