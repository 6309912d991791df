use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P521_SHA256_ASN1_SIGNING, ECDSA_P521_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
};
use rsa::pkcs8::der::asn1::BitString;
use rsa::pkcs8::der::{Any, Tag};

use super::*;
use crate::trust::public_key::PublicKey;
use crate::trust::scheme::Scheme;
use crate::trust::spki::from_der;

const MESSAGE: &[u8] = b"a payload";

fn pair(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    EcdsaKeyPair::generate(algorithm).unwrap()
}

fn spki(pair: &EcdsaKeyPair) -> SubjectPublicKeyInfoOwned {
    from_der(pair.public_key().as_der().unwrap().as_ref()).unwrap()
}

fn sign(pair: &EcdsaKeyPair) -> Vec<u8> {
    let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap();
    signature.as_ref().to_vec()
}

fn refusal(spki: &SubjectPublicKeyInfoOwned) -> KeyError {
    PublicKey::from_spki(spki).unwrap_err()
}

#[test]
fn each_curve_verifies_with_its_own_hash_and_with_sha256() {
    for (algorithm, curve, made) in [
        (
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            Curve::P256,
            HashAlgorithm::Sha256,
        ),
        (
            &ECDSA_P384_SHA384_ASN1_SIGNING,
            Curve::P384,
            HashAlgorithm::Sha384,
        ),
        (
            &ECDSA_P521_SHA256_ASN1_SIGNING,
            Curve::P521,
            HashAlgorithm::Sha256,
        ),
        (
            &ECDSA_P521_SHA512_ASN1_SIGNING,
            Curve::P521,
            HashAlgorithm::Sha512,
        ),
    ] {
        let pair = pair(algorithm);
        let key = PublicKey::from_spki(&spki(&pair)).unwrap();
        assert_eq!(key.kind().to_string(), format!("ECDSA {curve}"));
        assert_eq!(key.bits(), curve.bits());
        let signature = sign(&pair);
        for tried in HashAlgorithm::ALL {
            let expected = if tried == made {
                Ok(())
            } else {
                Err(SignatureMismatch)
            };
            let verified = key.verify(Scheme::Ecdsa(tried), MESSAGE, &signature);
            assert_eq!(verified, expected, "{curve} with {made:?}, as {tried:?}");
        }
        let altered = key.verify(Scheme::Ecdsa(made), b"another payload", &signature);
        assert_eq!(altered, Err(SignatureMismatch));
    }
}

#[test]
fn a_hash_that_no_format_pairs_with_the_curve_does_not_verify() {
    let pair = pair(&ECDSA_P521_SHA384_ASN1_SIGNING);
    let key = PublicKey::from_spki(&spki(&pair)).unwrap();
    let scheme = Scheme::Ecdsa(HashAlgorithm::Sha384);
    assert!(!key.accepts(scheme));
    assert_eq!(key.verify(scheme, MESSAGE, &sign(&pair)), Err(SignatureMismatch));
}

#[test]
fn a_signature_has_one_form() {
    let asn1 = pair(&ECDSA_P256_SHA256_ASN1_SIGNING);
    let key = PublicKey::from_spki(&spki(&asn1)).unwrap();
    let verify = |signature: &[u8]| key.verify(Scheme::Ecdsa(HashAlgorithm::Sha256), MESSAGE, signature);
    let good = sign(&asn1);
    assert_eq!(verify(&good), Ok(()));
    for damaged in [
        &good[..good.len() - 1],
        &good[1..],
        &[good.as_slice(), &[0]].concat(),
        &[],
    ] {
        assert_eq!(verify(damaged), Err(SignatureMismatch));
    }
    // IEEE P1363: both numbers, one after the other. cosign accepts it; here one signature has one encoding.
    let fixed = pair(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let key = PublicKey::from_spki(&spki(&fixed)).unwrap();
    let signature = sign(&fixed);
    assert_eq!(signature.len(), 64);
    assert_eq!(
        key.verify(Scheme::Ecdsa(HashAlgorithm::Sha256), MESSAGE, &signature),
        Err(SignatureMismatch)
    );
}

#[test]
fn a_key_is_an_uncompressed_point_of_a_named_curve() {
    let good = spki(&pair(&ECDSA_P256_SHA256_ASN1_SIGNING));
    let point = good.subject_public_key.raw_bytes().to_vec();
    let with_point = |point: &[u8]| SubjectPublicKeyInfoOwned {
        subject_public_key: BitString::from_bytes(point).unwrap(),
        ..good.clone()
    };
    PublicKey::from_spki(&with_point(&point)).unwrap();
    // Compressed, the same key would have another fingerprint, and count twice.
    let parity = 2 + point[64] % 2;
    assert_eq!(
        refusal(&with_point(&[&[parity], &point[1..33]].concat())),
        KeyError::CompressedPoint
    );
    let mut off = point.clone();
    off[64] ^= 1;
    // 6 and 7 begin the hybrid form of SEC 1, which RFC 5480 does not allow.
    let hybrid = [&[6 + point[64] % 2], &point[1..]].concat();
    for other in [
        &off,
        &hybrid,
        &point[..64],
        &[point.as_slice(), &[0]].concat(),
        // The point at infinity, under which any signature would verify in a lax implementation.
        &[0],
        &[],
    ] {
        assert_eq!(
            refusal(&with_point(other)),
            KeyError::NotOnCurve { curve: "P-256" }
        );
    }
}

#[test]
fn other_curves_are_refused_each_with_its_sentence() {
    let good = spki(&pair(&ECDSA_P256_SHA256_ASN1_SIGNING));
    let with_parameters = |parameters: Option<Any>| {
        let mut spki = good.clone();
        spki.algorithm.parameters = parameters;
        refusal(&spki)
    };
    let on = |curve: &str| with_parameters(Some((&ObjectIdentifier::new_unwrap(curve)).into()));
    for (curve, expected, words) in [
        (
            "1.3.132.0.33",
            KeyError::P224,
            "P-224, which has less than 128 bits",
        ),
        (
            "1.3.132.0.10",
            KeyError::Secp256k1,
            "secp256k1, which NIST approves for blockchains",
        ),
        (
            // brainpoolP256r1
            "1.3.36.3.3.2.8.1.1.7",
            KeyError::UnknownCurve {
                curve: "1.3.36.3.3.2.8.1.1.7".to_owned(),
            },
            "P-256, P-384 and P-521 are known",
        ),
        // The point of one curve under the name of another.
        (
            "1.3.132.0.34",
            KeyError::NotOnCurve { curve: "P-384" },
            "not a point of the curve P-384",
        ),
    ] {
        let error = on(curve);
        assert_eq!(error, expected);
        assert!(error.to_string().contains(words), "{error}");
    }
    // Without a name: absent, NULL, or the numbers of a curve (CVE-2020-0601).
    for parameters in [
        None,
        Some(Any::null()),
        Some(Any::new(Tag::Sequence, []).unwrap()),
    ] {
        assert_eq!(with_parameters(parameters), KeyError::CurveParameters);
    }
}
