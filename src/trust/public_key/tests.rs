use super::*;
use crate::trust::scheme::{HashAlgorithm, Salt};

const RSA: &[u8] = include_bytes!("../../../tests/fixtures/keys/rsa-2048.public.pem");

#[test]
fn two_spellings_are_one_key_and_the_text_names_it() {
    let spki = PublicKey::from_pem(RSA).unwrap();
    let pkcs1 = PublicKey::from_pem(include_bytes!(
        "../../../tests/fixtures/keys/rsa-2048.public-pkcs1.pem"
    ))
    .unwrap();
    assert_eq!(spki.fingerprint(), pkcs1.fingerprint());
    assert_eq!(spki.spki(), pkcs1.spki());
    assert_eq!(spki.to_pem().unwrap().as_bytes(), RSA);
    assert_eq!(pkcs1.to_pem().unwrap().as_bytes(), RSA);
    assert_eq!(
        format!("{spki:?}"),
        "PublicKey(RSA, 2048 bits, sha256:59d9bb5bf531ff81cee5d778421402776fe015073c3172f634ca65573b18437c)"
    );
}

#[test]
fn each_kind_is_read_by_its_algorithm_identifier() {
    for (pem, kind, bits) in [
        (RSA, KeyKind::Rsa, 2048),
        (
            include_bytes!("../../../tests/fixtures/keys/ec-p256.public.pem"),
            KeyKind::Ecdsa(Curve::P256),
            256,
        ),
        (
            include_bytes!("../../../tests/fixtures/keys/ed25519.public.pem"),
            KeyKind::Ed25519,
            255,
        ),
    ] {
        let key = PublicKey::from_pem(pem).unwrap();
        assert_eq!((key.kind(), key.bits()), (kind, bits));
        assert_eq!(key.to_pem().unwrap().as_bytes(), pem, "{kind}");
    }
}

#[test]
fn keys_that_cannot_sign_or_are_not_supported_are_refused_each_with_its_sentence() {
    let pss = include_bytes!("../../../tests/fixtures/keys/rsa-pss-2048.public.pem");
    assert_eq!(PublicKey::from_pem(pss).unwrap_err(), KeyError::PssOnly);
    let dsa = include_bytes!("../../../tests/fixtures/keys/dsa-2048.public.pem");
    let error = PublicKey::from_pem(dsa).unwrap_err();
    assert_eq!(error, KeyError::Dsa);
    assert!(error.to_string().contains("FIPS 186-5"), "{error}");
    let mut spki = spki::from_pem(RSA).unwrap();
    for (algorithm, text) in [
        (
            "1.3.101.110",
            "the key's algorithm is X25519, which agrees on secrets and cannot sign",
        ),
        (
            "1.3.101.111",
            "the key's algorithm is X448, which agrees on secrets and cannot sign",
        ),
        (
            "1.2.840.113549.1.3.1",
            "the key's algorithm is Diffie-Hellman, which agrees on secrets and cannot sign",
        ),
        (
            "1.3.101.113",
            "the key's algorithm is Ed448: RSA, ECDSA and Ed25519 are known",
        ),
        (
            // ML-DSA-44
            "2.16.840.1.101.3.4.3.17",
            "the key's algorithm is `2.16.840.1.101.3.4.3.17`: RSA, ECDSA and Ed25519 are known",
        ),
    ] {
        spki.algorithm.oid = ObjectIdentifier::new_unwrap(algorithm);
        assert_eq!(PublicKey::from_spki(&spki).unwrap_err().to_string(), text);
    }
}

#[test]
fn a_key_accepts_the_schemes_of_its_own_kind() {
    let every = HashAlgorithm::ALL.into_iter().flat_map(|hash| {
        let pss = Salt::ALL.map(|salt| Scheme::RsaPss { hash, salt });
        pss.into_iter()
            .chain([Scheme::RsaPkcs1(hash), Scheme::Ecdsa(hash), Scheme::Ed25519])
    });
    let every: Vec<_> = every.collect();
    for (pem, count) in [
        // PSS with four hashes and two settings of the salt; PKCS#1 v1.5 with three.
        (RSA, 8 + 3),
        (
            &include_bytes!("../../../tests/fixtures/keys/ec-p256.public.pem")[..],
            1,
        ),
        // Once for each hash in the list above.
        (
            include_bytes!("../../../tests/fixtures/keys/ed25519.public.pem"),
            4,
        ),
    ] {
        let key = PublicKey::from_pem(pem).unwrap();
        let accepted = every.iter().filter(|scheme| key.accepts(**scheme)).count();
        assert_eq!(accepted, count, "{}", key.kind());
        for scheme in &every {
            assert_eq!(
                key.verify(*scheme, b"message", b"signature"),
                Err(SignatureMismatch)
            );
        }
    }
}
