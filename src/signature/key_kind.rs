//! The kinds of keys that signature formats use. `trust` verifies more kinds than the formats of this release can carry.

use crate::trust::{KeyKind, PublicKey};

/// A key of a kind with which no format makes signatures: a rule that names it could never be satisfied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key is an {kind} key, and no signature format uses such keys yet")]
pub struct UnusedKeyKind {
    /// The kind of the key.
    pub kind: KeyKind,
}

/// Checks that a format uses keys of this kind.
///
/// # Errors
/// [`UnusedKeyKind`] where none does.
pub fn check_key_kind(key: &PublicKey) -> Result<(), UnusedKeyKind> {
    match key.kind() {
        // Oracle's image signature.
        KeyKind::Rsa => Ok(()),
        kind @ (KeyKind::Ecdsa(_) | KeyKind::Ed25519) => Err(UnusedKeyKind { kind }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_keys_alone_are_used_and_the_others_are_named() {
        let check = |pem: &[u8]| check_key_kind(&PublicKey::from_pem(pem).unwrap());
        assert_eq!(
            check(include_bytes!("../../tests/fixtures/keys/rsa-2048.public.pem")),
            Ok(())
        );
        for (pem, text) in [
            (
                &include_bytes!("../../tests/fixtures/keys/ec-p256.public.pem")[..],
                "the key is an ECDSA P-256 key, and no signature format uses such keys yet",
            ),
            (
                include_bytes!("../../tests/fixtures/keys/ed25519.public.pem"),
                "the key is an Ed25519 key, and no signature format uses such keys yet",
            ),
        ] {
            assert_eq!(check(pem).unwrap_err().to_string(), text);
        }
    }
}
