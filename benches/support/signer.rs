//! A key that signs as `pullgate sign` does, and public keys without a private half.

use jiff::Timestamp;
use pullgate::signature::oracle::{OracleMessage, Record};
use pullgate::tool::sign::{PrivateKey, sign};
use pullgate::trust::SigningAlgorithm;
use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _, LineEnding};
use rsa::{BoxedUint, PublicKey};

/// A private key.
pub struct Signer(PrivateKey);

impl Signer {
    pub fn new(bits: usize) -> Self {
        Self(PrivateKey::generate(bits).unwrap())
    }

    /// Returns the public half in the `rsa` crate's type.
    pub fn public(&self) -> PublicKey {
        PublicKey::from_public_key_pem(self.0.public_pem()).unwrap()
    }

    pub fn public_pem(&self) -> &str {
        self.0.public_pem()
    }

    /// Returns a valid record of an image.
    pub fn record(&self, digest: &str, repository: &str, algorithm: SigningAlgorithm) -> Record {
        let message = OracleMessage {
            description: String::new(),
            image_digest: digest.parse().unwrap(),
            kms_key_id: self.0.fingerprint().to_string(),
            kms_key_version_id: self.0.fingerprint().to_string(),
            metadata: String::new(),
            region: "local".to_owned(),
            repository_name: repository.to_owned(),
            signing_algorithm: algorithm,
        };
        sign(&message, &self.0, Timestamp::now()).unwrap()
    }
}

/// Returns a public key of 2048 bits without a private half: its modulus is a random odd number. It takes as long to load as
/// a real key, and generating a hundred real keys would take a minute.
pub fn stranger_pem() -> String {
    let mut modulus: [u8; 256] = rand::random();
    modulus[0] |= 0x80;
    modulus[255] |= 1;
    let modulus = BoxedUint::from_be_slice(&modulus, 2048).unwrap();
    let key = PublicKey::new(modulus, BoxedUint::from(65_537_u64)).unwrap();
    key.to_public_key_pem(LineEnding::LF).unwrap()
}
