//! A format of one line of text: the signed text, the name of the key, and its signature.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use pullgate::oci::{Digest, DigestError, Repository};
use pullgate::signature::{
    Candidate, Claim, ClaimedIdentity, ExpectedIdentity, Format, FormatName, Layers, Location,
    RequiredRepository, SignatureError,
};
use pullgate::trust::{Authority, HashAlgorithm, Salt, Scheme, SignedBytes, SigningAlgorithm};

use super::super::support::signer;

pub static TOY: Toy = Toy { name: "toy" };
pub static OTHER_TOY: Toy = Toy { name: "other-toy" };
pub const SCHEME: Scheme = Scheme::RsaPss {
    hash: HashAlgorithm::Sha256,
    salt: Salt::Any,
};
pub const TOY_TYPE: &str = "application/vnd.example.toy";

#[derive(Debug)]
pub struct Toy {
    name: &'static str,
}

/// Returns a record by the key of this name.
pub fn record(digest: &Digest, repository: Option<&str>, key: &str) -> String {
    let message = format!("{digest} {}", repository.unwrap_or("-"));
    let signature = signer::get(key).sign(SigningAlgorithm::Sha256RsaPkcsPss, message.as_bytes());
    format!("{message} {key} {}", hex::encode(signature))
}

impl Format for Toy {
    fn name(&self) -> FormatName {
        FormatName(self.name)
    }

    fn locations(&self) -> &'static [Location] {
        &[
            Location::Artifact {
                artifact_type: TOY_TYPE,
                layers: Layers::Each(&[TOY_TYPE]),
            },
            Location::File { suffix: ".toy.json" },
            Location::Service { name: "toy" },
        ]
    }

    fn max_bytes(&self) -> usize {
        1024
    }

    fn expected_identity(&self, pulled: &Repository, required: &RequiredRepository) -> ExpectedIdentity {
        ExpectedIdentity::Path(match required {
            RequiredRepository::AsPulled => pulled.path().to_owned(),
            RequiredRepository::Named(name) => name.clone(),
        })
    }

    fn verify(
        &self,
        candidate: &Candidate,
        authorities: &[Arc<Authority>],
        _now: Timestamp,
    ) -> Result<Claim, SignatureError> {
        let text = String::from_utf8_lossy(&candidate.unverified).into_owned();
        let malformed = || SignatureError::Malformed(text.clone());
        let because = |error: &dyn fmt::Display| SignatureError::Malformed(format!("{text}: {error}"));
        let [digest, path, name, signature] = text.split(' ').collect::<Vec<_>>()[..] else {
            return Err(malformed());
        };
        let signature = hex::decode(signature).map_err(|error| because(&error))?;
        let message = format!("{digest} {path}");
        let signed = SignedBytes {
            scheme: SCHEME,
            message: message.as_bytes(),
            signature: &signature,
        };
        let named = authorities.iter().find_map(|authority| match authority.as_ref() {
            Authority::Key(key) if &*key.name == name => Some(key),
            Authority::Key(_) => None,
        });
        let signer = named
            .ok_or_else(malformed)?
            .verify(signed)
            .map_err(|error| because(&error))?;
        Ok(Claim {
            digest: digest.parse().map_err(|error: DigestError| because(&error))?,
            identity: match path {
                "-" => ClaimedIdentity::Nothing,
                path => ClaimedIdentity::Path(path.to_owned()),
            },
            signer,
        })
    }
}
