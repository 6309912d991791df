//! Trusted keys: PEM in, verification out. A key that does not load is an error of the configuration, never "no key".

mod algorithm;
mod fingerprint;
mod key_error;
mod public_key;
mod scheme;
mod spki;

use std::collections::BTreeSet;

use jiff::Timestamp;

pub use self::algorithm::{SigningAlgorithm, UnknownAlgorithm};
pub use self::fingerprint::Fingerprint;
pub use self::key_error::KeyError;
pub use self::public_key::{KeyKind, PublicKey, SignatureMismatch};
pub use self::scheme::{Curve, HashAlgorithm, Salt, Scheme};

/// A key that the administrator trusts, and what for.
#[derive(Clone, Debug)]
pub struct TrustedKey {
    /// The name rules use.
    pub name: String,
    /// The key itself.
    pub public_key: PublicKey,
    /// What it may be used with; never empty.
    pub algorithms: BTreeSet<SigningAlgorithm>,
    /// The salt lengths that are taken.
    pub salt: Salt,
    /// The Vault key that this is the public half of. When set, a record must name it.
    pub kms_key_id: Option<String>,
    /// The Vault key version that this is the public half of. When set, a record must name it.
    pub kms_key_version_id: Option<String>,
    /// Before this instant it verifies nothing.
    pub not_before: Option<Timestamp>,
    /// At this instant and after it verifies nothing.
    pub not_after: Option<Timestamp>,
    /// Taken out: verifies nothing.
    pub revoked: bool,
}

/// Why a key may not be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyUnusable {
    /// Its window is over.
    #[error("the key's window ended at {0}")]
    Expired(Timestamp),
    /// Its window has not begun.
    #[error("the key's window begins at {0}")]
    NotYetValid(Timestamp),
    /// It was taken out.
    #[error("the key is revoked")]
    Revoked,
}

impl TrustedKey {
    /// Whether the key may be used at `now`. Revocation speaks first: it does not pass with time.
    ///
    /// # Errors
    /// Which of window and revocation says no.
    pub fn usable(&self, now: Timestamp) -> Result<(), KeyUnusable> {
        if self.revoked {
            return Err(KeyUnusable::Revoked);
        }
        match (self.not_before, self.not_after) {
            (Some(begin), _) if now < begin => Err(KeyUnusable::NotYetValid(begin)),
            (_, Some(end)) if now >= end => Err(KeyUnusable::Expired(end)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyUnusable, PublicKey, Salt, SigningAlgorithm, TrustedKey};

    fn key() -> TrustedKey {
        TrustedKey {
            name: "release".to_owned(),
            public_key: PublicKey::from_pem(include_bytes!("../tests/fixtures/keys/rsa-2048.public.pem"))
                .unwrap(),
            algorithms: SigningAlgorithm::ALL.into(),
            salt: Salt::Any,
            kms_key_id: None,
            kms_key_version_id: None,
            not_before: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            not_after: Some("2027-01-01T00:00:00Z".parse().unwrap()),
            revoked: false,
        }
    }

    #[test]
    fn the_window_holds_its_first_instant_and_not_its_last() {
        let key = key();
        let (begin, end) = (key.not_before.unwrap(), key.not_after.unwrap());
        for (now, expected) in [
            (
                "2025-12-31T23:59:59.999999999Z",
                Err(KeyUnusable::NotYetValid(begin)),
            ),
            ("2026-01-01T00:00:00Z", Ok(())),
            ("2026-12-31T23:59:59.999999999Z", Ok(())),
            ("2027-01-01T00:00:00Z", Err(KeyUnusable::Expired(end))),
        ] {
            assert_eq!(key.usable(now.parse().unwrap()), expected, "{now}");
        }
    }

    #[test]
    fn a_key_without_window_is_always_usable_and_a_revoked_one_never() {
        let open = TrustedKey {
            not_before: None,
            not_after: None,
            ..key()
        };
        let revoked = TrustedKey {
            revoked: true,
            ..key()
        };
        for now in [
            "1970-01-01T00:00:00Z",
            "2026-06-01T00:00:00Z",
            "9999-01-01T00:00:00Z",
        ] {
            assert_eq!(open.usable(now.parse().unwrap()), Ok(()), "{now}");
            assert_eq!(
                revoked.usable(now.parse().unwrap()),
                Err(KeyUnusable::Revoked),
                "{now}"
            );
        }
    }
}
