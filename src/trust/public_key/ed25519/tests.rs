use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rsa::pkcs8::der::Any;
use rsa::pkcs8::der::asn1::BitString;

use super::*;
use crate::trust::public_key::PublicKey;
use crate::trust::scheme::Scheme;
use crate::trust::spki::from_der;

const MESSAGE: &[u8] = b"a payload";

fn spki(pair: &Ed25519KeyPair) -> SubjectPublicKeyInfoOwned {
    from_der(pair.public_key().as_der().unwrap().as_ref()).unwrap()
}

/// The refusal of a key of these bytes.
fn refusal(point: &[u8]) -> KeyError {
    let good = spki(&Ed25519KeyPair::generate().unwrap());
    let spki = SubjectPublicKeyInfoOwned {
        subject_public_key: BitString::from_bytes(point).unwrap(),
        ..good
    };
    PublicKey::from_spki(&spki).unwrap_err()
}

#[test]
fn a_signature_verifies_over_its_own_message_and_in_its_own_length() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let key = PublicKey::from_spki(&spki(&pair)).unwrap();
    assert_eq!((key.kind().to_string().as_str(), key.bits()), ("Ed25519", 255));
    let verify = |message: &[u8], signature: &[u8]| key.verify(Scheme::Ed25519, message, signature);
    let signature = pair.sign(MESSAGE).as_ref().to_vec();
    assert_eq!(verify(MESSAGE, &signature), Ok(()));
    assert_eq!(verify(b"another payload", &signature), Err(SignatureMismatch));
    for damaged in [&signature[..63], &[signature.as_slice(), &[0]].concat(), &[]] {
        assert_eq!(verify(MESSAGE, damaged), Err(SignatureMismatch));
    }
}

#[test]
fn a_key_has_no_parameters_and_32_bytes() {
    let mut with_null = spki(&Ed25519KeyPair::generate().unwrap());
    with_null.algorithm.parameters = Some(Any::null());
    let malformed = |error| {
        matches!(
            error,
            KeyError::Der {
                what: "SubjectPublicKeyInfo",
                ..
            }
        )
    };
    assert!(malformed(PublicKey::from_spki(&with_null).unwrap_err()));
    for point in [&[0x55; 31][..], &[0x55; 33], &[]] {
        assert!(malformed(refusal(point)));
    }
}

#[test]
fn a_key_that_anyone_can_sign_for_is_refused() {
    // The neutral element as key: R = neutral, s = 0 satisfies the equation for any message. aws-lc-rs agrees.
    let neutral = SMALL_ORDER[1];
    let forged = [neutral.as_slice(), &[0; 32]].concat();
    let lax = ParsedPublicKey::new(&ED25519, neutral).unwrap();
    lax.verify_sig(b"any message", &forged).unwrap();

    for y in SMALL_ORDER {
        assert_eq!(refusal(&y), KeyError::SmallOrder);
        let mut negative = y;
        negative[31] |= 0x80;
        assert_eq!(refusal(&negative), KeyError::SmallOrder);
    }
}

#[test]
fn a_key_has_one_encoding() {
    // The prime 2^255 - 19 and the 18 numbers above it that fit: the same as 0 to 18.
    for low in 0xED..=0xFF {
        let mut y = [0xFF; 32];
        y[0] = low;
        for last in [0x7F, 0xFF] {
            y[31] = last;
            assert_eq!(
                refusal(&y),
                KeyError::NotOnCurve {
                    curve: "edwards25519"
                }
            );
        }
    }
}
