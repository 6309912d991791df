//! Signers: the proof that a trusted key made a signature.

use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::public_key::{PublicKey, SignatureMismatch};
use super::scheme::Scheme;
use super::validity::{JudgedAt, SignerUnusable, Validity};

/// The signer that a threshold counts. Two names of one public key are one signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignerId([u8; 32]);

impl SignerId {
    /// Derives the id from the SubjectPublicKeyInfo. The prefix keeps keys apart from signers of other kinds.
    pub(super) fn from_key(key: &PublicKey) -> Self {
        let hash = Sha256::new_with_prefix(b"pullgate signer key\0");
        Self(hash.chain_update(key.spki()).finalize().into())
    }
}

/// A signature over some bytes. Nothing of it is verified.
#[derive(Clone, Copy, Debug)]
pub struct SignedBytes<'a> {
    /// The scheme under which the signature is to be verified.
    pub scheme: Scheme,
    /// The bytes that were signed.
    pub message: &'a [u8],
    /// The raw signature.
    pub signature: &'a [u8],
}

/// A trusted signer whose signature verified. Only a signature check of this layer makes one, so a format cannot claim
/// that an authority signed something.
///
/// A caller can pass a signer on, and cannot make one: its fields are private.
///
/// ```
/// use pullgate::trust::Signer;
/// fn pass_on(signer: Signer) -> Signer {
///     signer
/// }
/// ```
///
/// ```compile_fail
/// use pullgate::trust::Signer;
/// fn forge(signer: Signer) -> Signer {
///     Signer { ..signer }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Signer {
    id: SignerId,
    name: Arc<str>,
    validity: Validity,
    judged_at: JudgedAt,
}

impl Signer {
    /// Verifies the signature under `key`, whose settings name and restrict the signer.
    ///
    /// # Errors
    /// [`SignatureMismatch`], whatever is wrong with the signature.
    pub(super) fn verify(
        name: &Arc<str>,
        key: &PublicKey,
        validity: Validity,
        judged_at: JudgedAt,
        signed: SignedBytes<'_>,
    ) -> Result<Self, SignatureMismatch> {
        key.verify(signed.scheme, signed.message, signed.signature)?;
        Ok(Self {
            id: SignerId::from_key(key),
            name: Arc::clone(name),
            validity,
            judged_at,
        })
    }

    /// The id that a threshold counts.
    #[must_use]
    pub const fn id(&self) -> SignerId {
        self.id
    }

    /// The name that the configuration gives to the signer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks that the signer counts at `now`, or at the time of the signature where that is proven.
    ///
    /// # Errors
    /// [`SignerUnusable`] names the window or the revocation.
    pub fn check(&self, now: Timestamp) -> Result<(), SignerUnusable> {
        match self.judged_at {
            JudgedAt::Now => self.validity.check(now),
            JudgedAt::SigningTime(signed_at) => self.validity.check(signed_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use rsa::pkcs8::DecodePrivateKey as _;
    use sha2::Sha256;

    use super::*;
    use crate::trust::{HashAlgorithm, Salt};

    const SCHEME: Scheme = Scheme::RsaPss {
        hash: HashAlgorithm::Sha256,
        salt: Salt::Any,
    };

    fn key() -> PublicKey {
        PublicKey::from_pem(include_bytes!("../../tests/fixtures/keys/rsa-2048.public.pem")).unwrap()
    }

    fn verify(validity: Validity, judged_at: JudgedAt) -> Signer {
        let pem = include_str!("../../tests/fixtures/keys/rsa-2048.private.pem");
        let private = rsa::PrivateKey::from_pkcs8_pem(pem).unwrap();
        let signed = SignedBytes {
            scheme: SCHEME,
            message: b"message",
            signature: &private.pss_sign::<Sha256>(b"message").unwrap(),
        };
        Signer::verify(&"release".into(), &key(), validity, judged_at, signed).unwrap()
    }

    #[test]
    fn a_signature_that_does_not_verify_makes_no_signer() {
        let signed = SignedBytes {
            scheme: SCHEME,
            message: b"message",
            signature: &[0; 256],
        };
        let made = Signer::verify(
            &"release".into(),
            &key(),
            Validity::default(),
            JudgedAt::Now,
            signed,
        );
        assert_eq!(made.unwrap_err(), SignatureMismatch);
    }

    #[test]
    fn a_proven_signing_time_is_judged_in_place_of_now_and_revocation_always() {
        let end = "2026-06-01T00:00:00Z".parse().unwrap();
        let (before, after): (Timestamp, Timestamp) = (
            "2026-01-01T00:00:00Z".parse().unwrap(),
            "2026-12-01T00:00:00Z".parse().unwrap(),
        );
        let validity = Validity {
            not_after: Some(end),
            ..Validity::default()
        };
        let by_now = verify(validity, JudgedAt::Now);
        assert_eq!(by_now.check(before), Ok(()));
        assert_eq!(by_now.check(after), Err(SignerUnusable::Expired(end)));
        assert_eq!(
            verify(validity, JudgedAt::SigningTime(before)).check(after),
            Ok(())
        );
        assert_eq!(
            verify(validity, JudgedAt::SigningTime(after)).check(before),
            Err(SignerUnusable::Expired(end))
        );
        let revoked = Validity {
            revoked: true,
            ..validity
        };
        assert_eq!(
            verify(revoked, JudgedAt::SigningTime(before)).check(before),
            Err(SignerUnusable::Revoked)
        );
    }
}
