//! Keys that sign as Oracle's client and OCI Vault do, written apart from `pullgate sign`: so that the gate is held
//! against the format and not against its own signer. Every field can be made to lie.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pullgate::fakes::registry::EmbeddedRegistry;
use pullgate::oci::{Descriptor, Digest, MediaType};
use pullgate::signature::oracle::ARTIFACT_TYPE;
use pullgate::trust::SigningAlgorithm;
use rsa::PrivateKey;
use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
use rsa::pss::SigningKey;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

/// The keys that every configuration knows; `stranger` signs too and is known to none.
pub const NAMES: [&str; 3] = ["release", "qa", "old"];

/// A private key.
pub struct Signer {
    private: PrivateKey,
}

/// One of [`NAMES`], or `stranger`. Made once for all tests.
pub fn get(name: &str) -> &'static Signer {
    static KEYS: OnceLock<BTreeMap<&'static str, Signer>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let made = NAMES.iter().chain(["stranger"].iter()).map(|name| {
            std::thread::spawn(move || (*name, PrivateKey::new(&mut rand::rng(), 2048).unwrap()))
        });
        let made: Vec<_> = made.collect();
        made.into_iter()
            .map(|thread| thread.join().unwrap())
            .map(|(name, private)| (name, Signer { private }))
            .collect()
    });
    &keys[name]
}

/// What is signed, and what the record says of it. They agree until a test makes them lie.
#[derive(Clone)]
pub struct Claims {
    pub message: BTreeMap<&'static str, String>,
    pub algorithm: SigningAlgorithm,
}

impl Signer {
    pub fn public_pem(&self) -> String {
        self.private
            .to_public_key()
            .to_public_key_pem(LineEnding::LF)
            .unwrap()
    }

    /// `sha256:<hex>` over the DER of the public key: how a key outside any vault is named.
    pub fn fingerprint(&self) -> String {
        let der = self.private.to_public_key().to_public_key_der().unwrap();
        format!("sha256:{}", hex::encode(Sha256::digest(der.as_bytes())))
    }

    /// What this key would say of an image.
    pub fn claims(&self, digest: &Digest, repository: &str) -> Claims {
        let algorithm = SigningAlgorithm::Sha256RsaPkcsPss;
        let message = BTreeMap::from([
            ("description", String::new()),
            ("imageDigest", digest.to_string()),
            ("kmsKeyId", self.fingerprint()),
            ("kmsKeyVersionId", self.fingerprint()),
            ("metadata", String::new()),
            ("region", "us-phoenix-1".to_owned()),
            ("repositoryName", repository.to_owned()),
            ("signingAlgorithm", algorithm.to_string()),
        ]);
        Claims { message, algorithm }
    }

    /// A good record.
    pub fn record(&self, digest: &Digest, repository: &str) -> Value {
        self.signed(&self.claims(digest, repository))
    }

    /// Signs these claims, whatever they say.
    pub fn signed(&self, claims: &Claims) -> Value {
        let message = serde_json::to_string(&claims.message).unwrap();
        json!({
            "kmsKeyId": claims.message["kmsKeyId"],
            "kmsKeyVersionId": claims.message["kmsKeyVersionId"],
            "message": BASE64_STANDARD.encode(&message),
            "signature": BASE64_STANDARD.encode(self.sign(claims.algorithm, message.as_bytes())),
            "signingAlgorithm": claims.message["signingAlgorithm"],
        })
    }

    /// A raw RSA-PSS signature, salt as long as the hash.
    pub fn sign(&self, algorithm: SigningAlgorithm, message: &[u8]) -> Vec<u8> {
        let (key, rng) = (self.private.clone(), &mut rand::rng());
        match algorithm {
            SigningAlgorithm::Sha224RsaPkcsPss => SigningKey::<Sha224>::new(key)
                .sign_with_rng(rng, message)
                .to_vec(),
            SigningAlgorithm::Sha256RsaPkcsPss => SigningKey::<Sha256>::new(key)
                .sign_with_rng(rng, message)
                .to_vec(),
            SigningAlgorithm::Sha384RsaPkcsPss => SigningKey::<Sha384>::new(key)
                .sign_with_rng(rng, message)
                .to_vec(),
            SigningAlgorithm::Sha512RsaPkcsPss => SigningKey::<Sha512>::new(key)
                .sign_with_rng(rng, message)
                .to_vec(),
        }
    }
}

/// The manifest of a referrer that carries this record.
pub fn referrer(subject: &Descriptor, record: &str) -> String {
    let named = |media_type: &str, bytes: &[u8]| json!({ "mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len() });
    json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciManifest.as_str(),
        "artifactType": ARTIFACT_TYPE,
        "config": named("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [named(ARTIFACT_TYPE, record.as_bytes())],
        "subject": { "mediaType": subject.media_type, "digest": subject.digest, "size": subject.size },
    })
    .to_string()
}

/// Stores a record as a referrer of its subject. Where the registry has no referrers API, [`list`] makes it findable.
pub fn attach(
    registry: &EmbeddedRegistry,
    repository: &str,
    subject: &Descriptor,
    record: &str,
) -> Descriptor {
    registry.put_blob(repository, "{}").unwrap();
    registry.put_blob(repository, record.to_owned()).unwrap();
    let media_type = MediaType::OciManifest.as_str();
    let stored = registry
        .put_manifest(repository, None, media_type, referrer(subject, record))
        .unwrap();
    Descriptor {
        artifact_type: Some(ARTIFACT_TYPE.to_owned()),
        ..stored
    }
}

/// Puts referrers under the fallback tag of their subject (distribution-spec 1.1, "Referrers Tag Schema").
pub fn list(registry: &EmbeddedRegistry, repository: &str, subject: &Descriptor, referrers: &[Descriptor]) {
    let tag = subject.digest.to_string().replace(':', "-");
    registry.put_index(repository, &tag, referrers).unwrap();
}
