//! Trusted keys: PEM in, verification out. A key that does not load is an error of the configuration, never "no key".
//!
//! [`PublicKey`] is read from a file and knows its kind; [`TrustedKey`] adds the settings of the administrator, and is so
//! far the one kind of [`Authority`] that a rule may name. A signature check yields a [`Signer`], which nothing else can
//! make.

mod algorithm;
mod authority;
mod authority_facts;
mod fingerprint;
mod key_error;
mod public_key;
mod scheme;
mod signer;
mod spki;
mod trusted_key;
mod validity;

pub use self::algorithm::{SigningAlgorithm, UnknownAlgorithm};
pub use self::authority::Authority;
pub use self::authority_facts::AuthorityFacts;
pub use self::fingerprint::Fingerprint;
pub use self::key_error::KeyError;
pub use self::public_key::{KeyKind, PublicKey, SignatureMismatch};
pub use self::scheme::{Curve, HashAlgorithm, Salt, Scheme};
pub use self::signer::{SignedBytes, Signer, SignerId};
pub use self::trusted_key::TrustedKey;
pub use self::validity::{JudgedAt, SignerUnusable, Validity};
