//! Signer kind: a configured public key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::authority_facts::AuthorityFacts;
use super::public_key::{PublicKey, SignatureMismatch};
use super::scheme::{Salt, Scheme};
use super::signer::{SignedBytes, Signer, SignerId};
use super::validity::{JudgedAt, Validity};
use crate::base::canonical_hash::CanonicalHash;

/// A public key that the administrator trusts, and its settings.
#[derive(Clone, Debug)]
pub struct TrustedKey {
    /// The name by which rules refer to the key.
    pub name: Arc<str>,
    /// The key itself.
    pub public_key: PublicKey,
    /// The schemes that the key may be used with. Never empty.
    pub schemes: BTreeSet<Scheme>,
    /// The ids under which records refer to the key, by the setting that gives them. Each format defines its own
    /// settings; where one is set, a record of that format must name it.
    pub ids: BTreeMap<&'static str, String>,
    /// When the key may be used.
    pub validity: Validity,
}

impl TrustedKey {
    /// A key that is always valid and that records refer to by none but its own fingerprint.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, public_key: PublicKey, schemes: BTreeSet<Scheme>) -> Self {
        Self {
            name: name.into(),
            public_key,
            schemes,
            ids: BTreeMap::new(),
            validity: Validity::default(),
        }
    }

    /// Verifies a signature under this key. The settings of the key choose the scheme, whatever a record says.
    ///
    /// # Errors
    /// [`SignatureMismatch`], also for a scheme that the key may not be used with.
    pub fn verify(&self, signed: SignedBytes<'_>) -> Result<Signer, SignatureMismatch> {
        if !self.schemes.contains(&signed.scheme) {
            return Err(SignatureMismatch);
        }
        Signer::verify(&self.name, &self.public_key, self.validity, JudgedAt::Now, signed)
    }

    /// The id of each signer that this key makes.
    #[must_use]
    pub fn signer_id(&self) -> SignerId {
        SignerId::from_key(&self.public_key)
    }
}

impl AuthorityFacts for TrustedKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "key"
    }

    fn shown(&self) -> (&'static str, String) {
        ("fingerprint", self.public_key.fingerprint().to_string())
    }

    fn validity(&self) -> Validity {
        self.validity
    }

    fn hash_into(&self, hash: &mut CanonicalHash) {
        let Self {
            name,
            public_key,
            schemes,
            ids,
            validity:
                Validity {
                    not_before,
                    not_after,
                    revoked,
                },
        } = self;
        // A verdict names the key that signed.
        hash.text(name);
        hash.bytes(public_key.spki());
        hash.set(schemes.iter().map(|scheme| {
            CanonicalHash::digest(|hash| {
                hash.text(scheme.algorithm_name());
                hash.optional(scheme.salt().map(Salt::as_str));
            })
        }));
        hash.set(ids.iter().map(|(setting, id)| {
            CanonicalHash::digest(|hash| {
                hash.text(setting);
                hash.text(id);
            })
        }));
        hash.instant(*not_before);
        hash.instant(*not_after);
        hash.number(usize::from(*revoked));
    }
}

#[cfg(test)]
mod tests {
    use rsa::pkcs8::DecodePrivateKey as _;
    use sha2::Sha256;

    use super::*;
    use crate::trust::SigningAlgorithm;

    fn trusted(name: &str, pem: &[u8], schemes: BTreeSet<Scheme>) -> TrustedKey {
        TrustedKey::new(name, PublicKey::from_pem(pem).unwrap(), schemes)
    }

    #[test]
    fn a_key_verifies_the_schemes_of_its_settings_alone() {
        let pem = include_str!("../../tests/fixtures/keys/rsa-2048.private.pem");
        let private = rsa::PrivateKey::from_pkcs8_pem(pem).unwrap();
        let signature = private.pss_sign::<Sha256>(b"message").unwrap();
        let sha256 = SigningAlgorithm::Sha256RsaPkcsPss;
        let signed = SignedBytes {
            scheme: sha256.scheme(Salt::Any),
            message: b"message",
            signature: &signature,
        };
        let verify = |schemes| {
            let public = include_bytes!("../../tests/fixtures/keys/rsa-2048.public.pem");
            trusted("release", public, schemes).verify(signed)
        };
        let signer = verify(SigningAlgorithm::every_scheme(Salt::Any)).unwrap();
        assert_eq!(signer.name(), "release");
        for refused in [
            BTreeSet::new(),
            BTreeSet::from([SigningAlgorithm::Sha512RsaPkcsPss.scheme(Salt::Any)]),
            // The signature would verify with this setting too, and it is not the one that was asked for.
            BTreeSet::from([sha256.scheme(Salt::Digest)]),
        ] {
            assert_eq!(verify(refused).unwrap_err(), SignatureMismatch);
        }
    }

    #[test]
    fn one_key_under_two_names_and_in_two_spellings_is_one_signer() {
        let spki = include_bytes!("../../tests/fixtures/keys/rsa-2048.public.pem");
        let pkcs1 = include_bytes!("../../tests/fixtures/keys/rsa-2048.public-pkcs1.pem");
        let other = include_bytes!("../../tests/fixtures/keys/ed25519.public.pem");
        let one = trusted("one", spki, SigningAlgorithm::every_scheme(Salt::Any));
        let two = trusted("two", pkcs1, BTreeSet::new());
        assert_eq!(one.signer_id(), two.signer_id());
        assert_ne!(
            one.signer_id(),
            trusted("other", other, BTreeSet::new()).signer_id()
        );
    }
}
