use proptest::prelude::*;
use rsa::pkcs8::EncodePublicKey as _;
use rsa::pkcs8::der::Encode as _;
use rsa::pkcs8::der::pem::LineEnding;

use super::*;
use crate::trust::PublicKey;

const PUBLIC: &str = include_str!("../../../tests/fixtures/keys/rsa-2048.public.pem");
const PKCS1: &str = include_str!("../../../tests/fixtures/keys/rsa-2048.public-pkcs1.pem");
const CERTIFICATE: &str = include_str!("../../../tests/fixtures/keys/rsa-2048.certificate.pem");
const PRIVATE: &str = include_str!("../../../tests/fixtures/keys/rsa-2048.private.pem");

fn error(pem: impl AsRef<[u8]>) -> KeyError {
    PublicKey::from_pem(pem.as_ref()).unwrap_err()
}

#[test]
fn reads_every_spelling_of_one_key_as_one_key() {
    // `openssl pkey -pubin -in rsa-2048.public.pem -outform DER | sha256sum`
    let expected = "sha256:59d9bb5bf531ff81cee5d778421402776fe015073c3172f634ca65573b18437c";
    let one_line = {
        let body: String = PUBLIC.lines().filter(|line| !line.starts_with('-')).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----")
    };
    for pem in [
        PUBLIC,
        PKCS1,
        // Its validity ended in 2002: the configuration says when a key may be used, not the certificate.
        CERTIFICATE,
        &PUBLIC.replace('\n', "\r\n"),
        PUBLIC.trim_end(),
        &format!("{PUBLIC}\n \t\n"),
        &format!("Certificate:\n    Data:\n        Version: 3 (0x2)\n{CERTIFICATE}"),
        &one_line,
    ] {
        let key = PublicKey::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(
            (key.fingerprint().to_string().as_str(), key.bits()),
            (expected, 2048),
            "{pem}"
        );
    }
}

#[test]
fn refuses_private_keys_with_their_own_sentence() {
    for (pem, label) in [
        (PRIVATE, "PRIVATE KEY"),
        (
            include_str!("../../../tests/fixtures/keys/rsa-2048.private-pkcs1.pem"),
            "RSA PRIVATE KEY",
        ),
        (
            include_str!("../../../tests/fixtures/keys/rsa-2048.private-pkcs1-encrypted.pem"),
            "RSA PRIVATE KEY",
        ),
        (
            include_str!("../../../tests/fixtures/keys/rsa-2048.private-encrypted.pem"),
            "ENCRYPTED PRIVATE KEY",
        ),
        (
            include_str!("../../../tests/fixtures/keys/rsa-2048.private-openssh.pem"),
            "OPENSSH PRIVATE KEY",
        ),
        (
            include_str!("../../../tests/fixtures/keys/ec-p256.private.pem"),
            "PRIVATE KEY",
        ),
        (
            include_str!("../../../tests/fixtures/keys/ec-p256.private-sec1.pem"),
            "EC PRIVATE KEY",
        ),
        // Beside a certificate, after it or before it.
        (&format!("{CERTIFICATE}{PRIVATE}"), "PRIVATE KEY"),
        (&format!("{PRIVATE}{PUBLIC}"), "PRIVATE KEY"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n", "PGP PRIVATE KEY BLOCK"),
    ] {
        let error = error(pem);
        assert_eq!(
            error,
            KeyError::PrivateKey {
                label: label.to_owned()
            }
        );
        assert!(error.to_string().contains("give the public half"), "{error}");
    }
}

#[test]
fn refuses_symmetric_keys_with_their_own_sentence() {
    let vault =
        br#"{"data":{"key-shape":{"algorithm":"AES","curve-id":null,"length":32},"protection-mode":"HSM"}}"#;
    for file in [
        &[0xA5; 16][..],
        &[0; 24],
        &[0xFF; 32],
        vault,
        b"AES_256 key of the vault",
        b"aes256",
        b"{\"KeySpec\":\"SYMMETRIC_DEFAULT\"}",
        b"-----BEGIN AES KEY-----\nAAAA\n-----END AES KEY-----\n",
    ] {
        assert_eq!(
            error(file),
            KeyError::Symmetric,
            "{}",
            String::from_utf8_lossy(file)
        );
    }
    assert!(KeyError::Symmetric.to_string().contains("cannot sign"));
    for file in [
        &[0xA5; 15][..],
        &[0xA5; 33],
        b"{\"kind\":\"asymmetric\",\"name\":\"saes\"}",
        b"aesthetic",
    ] {
        assert_eq!(error(file), KeyError::NotPem, "{}", String::from_utf8_lossy(file));
    }
}

#[test]
fn refuses_files_that_are_not_exactly_one_public_key() {
    let label = |label: &str| KeyError::Label {
        label: label.to_owned(),
    };
    let bare = PUBLIC.replace("PUBLIC KEY", "CERTIFICATE REQUEST");
    for (pem, expected) in [
        (String::new(), KeyError::NotPem),
        ("release key\n".to_owned(), KeyError::NotPem),
        (
            include_str!("../../../tests/fixtures/keys/rsa-2048.public-openssh.txt").to_owned(),
            KeyError::NotPem,
        ),
        // Indented: not RFC 7468.
        (
            PUBLIC.replace("-----BEGIN", " -----BEGIN"),
            KeyError::Pem(rfc7468::Error::Preamble),
        ),
        // Escaped inside JSON: not at the beginning of a line.
        (
            format!("{{\"publicKey\":\"{}\"}}", PUBLIC.replace('\n', "\\n")),
            KeyError::NotPem,
        ),
        (format!("{PUBLIC}{PUBLIC}"), KeyError::ManyBlocks(2)),
        (format!("{PUBLIC}{PKCS1}{CERTIFICATE}"), KeyError::ManyBlocks(3)),
        (PUBLIC.replace('\n', "\r").repeat(2), KeyError::ManyBlocks(2)),
        (format!("{PUBLIC}x"), KeyError::TextAfter),
        (format!("{PUBLIC}\n# the release key\n"), KeyError::TextAfter),
        (bare, label("CERTIFICATE REQUEST")),
        ("-----BEGIN -----\n-----END -----\n".to_owned(), label("")),
        ("-----BEGIN public key-----\n".to_owned(), label("public key")),
        (
            "-----BEGIN \u{1b}[2J\u{7}-----\n".to_owned(),
            label(r"\u{1b}[2J\u{7}"),
        ),
    ] {
        assert_eq!(error(&pem), expected, "{pem}");
    }
}

#[test]
fn reads_a_file_of_just_the_bound_and_none_beyond() {
    let text = "a".repeat(KEY_BYTES - PUBLIC.len() - 1);
    PublicKey::from_pem(format!("{text}\n{PUBLIC}").as_bytes()).unwrap();
    assert_eq!(
        error(format!("{text}a\n{PUBLIC}")),
        KeyError::TooLarge { limit: KEY_BYTES }
    );
}

#[test]
fn refuses_damaged_blocks() {
    let body = |body: &str| format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
    for pem in [
        "-----BEGIN PUBLIC KEY-----".to_owned(),
        "-----BEGIN PUBLIC KEY-----\n".to_owned(),
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n".to_owned(),
        body(""),
        body("\n"),
        body("!!!!"),
        body("AAA"),
        body("AA==BB=="),
        body("Proc-Type: 4,ENCRYPTED\n\nAAAA"),
        PUBLIC.replace("-----END PUBLIC KEY-----", "-----END RSA PUBLIC KEY-----"),
        PUBLIC.replace("-----END PUBLIC KEY-----", ""),
        PUBLIC.replacen('\n', "\n ", 2),
    ] {
        let error = error(&pem);
        assert!(
            matches!(error, KeyError::Pem(_) | KeyError::Der { .. }),
            "{error:?} of {pem}"
        );
    }
    // Cut off inside, and one byte too many: no parser may ignore bytes after the structure.
    for (pem, label, what) in [
        (PUBLIC, "PUBLIC KEY", "SubjectPublicKeyInfo"),
        (PKCS1, "RSA PUBLIC KEY", "RSAPublicKey"),
        (CERTIFICATE, "CERTIFICATE", "certificate"),
    ] {
        let der = decode(pem);
        let longer = [der.as_slice(), &[0]].concat();
        PublicKey::from_pem(encode(label, &der).as_bytes()).unwrap();
        for damaged in [&der[..der.len() - 1], &der[1..], &longer, &[0]] {
            let error = error(encode(label, damaged));
            assert!(
                matches!(error, KeyError::Der { what: named, .. } if named == what),
                "{error:?}"
            );
        }
    }
}

#[test]
fn refuses_an_rsa_identifier_without_its_null_parameters() {
    let malformed = |spki: &SubjectPublicKeyInfoOwned| {
        matches!(
            error(encode("PUBLIC KEY", &spki.to_der().unwrap())),
            KeyError::Der {
                what: "SubjectPublicKeyInfo",
                ..
            }
        )
    };
    let mut spki = from_pem(PUBLIC.as_bytes()).unwrap();
    assert_eq!(spki.algorithm.parameters, Some(Any::null()));
    spki.algorithm.parameters = None;
    assert!(malformed(&spki));
    // Unused bits at the end of the key: it does not consist of whole bytes.
    spki.algorithm.parameters = Some(Any::null());
    let key = decode(PKCS1);
    let mut odd = key.clone();
    *odd.last_mut().unwrap() &= 0xFE;
    spki.subject_public_key = BitString::new(1, odd).unwrap();
    assert!(malformed(&spki));
    spki.subject_public_key = BitString::new(0, key).unwrap();
    PublicKey::from_pem(encode("PUBLIC KEY", &spki.to_der().unwrap()).as_bytes()).unwrap();
}

#[test]
fn a_key_that_the_rsa_crate_writes_is_read() {
    let key = rsa::PublicKey::new(
        rsa::BoxedUint::from_be_slice_vartime(&[0xFF; 256]),
        65_537_u64.into(),
    )
    .unwrap();
    let pem = key.to_public_key_pem(LineEnding::LF).unwrap();
    assert_eq!(PublicKey::from_pem(pem.as_bytes()).unwrap().bits(), 2048);
    assert_eq!(
        PublicKey::from_pem(pem.as_bytes()).unwrap().to_pem().unwrap(),
        pem
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        PublicKey::from_pem(&bytes).unwrap_err();
        for label in ["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"] {
            PublicKey::from_pem(encode(label, &bytes).as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn no_body_makes_it_panic(body in "[A-Za-z0-9+/=\r\n -]{0,200}", label in "(PUBLIC KEY|RSA PUBLIC KEY|CERTIFICATE)") {
        PublicKey::from_pem(format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").as_bytes()).unwrap_err();
    }

    /// One flipped bit anywhere gives another key or an error, never the same key.
    #[test]
    fn a_flipped_bit_never_gives_the_same_key(position in 0..294_usize, bit in 0..8_u8) {
        let before = PublicKey::from_pem(PUBLIC.as_bytes()).unwrap().fingerprint();
        let mut der = decode(PUBLIC);
        der[position] ^= 1 << bit;
        if let Ok(key) = PublicKey::from_pem(encode("PUBLIC KEY", &der).as_bytes()) {
            prop_assert_ne!(key.fingerprint(), before);
        }
    }
}

fn decode(pem: &str) -> Vec<u8> {
    super::decode(only_block(pem.as_bytes()).unwrap()).unwrap()
}

fn encode(label: &str, der: &[u8]) -> String {
    rfc7468::encode_string(label, LineEnding::LF, der).unwrap()
}
