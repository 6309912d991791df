use super::*;
use crate::base::limits::KEY_BYTES;
use crate::trust::KeyError;

macro_rules! key_file {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/fixtures/keys/", $name))
    };
}

const PKCS8: &str = key_file!("rsa-2048.private.pem");
const OLD: &str = key_file!("rsa-2048.private-pkcs1-encrypted.pem");
const SCRYPT: &str = key_file!("rsa-2048.private-encrypted-scrypt.pem");

/// `openssl pkey -pubout -outform DER | openssl md5 -c`
const FINGERPRINT: &str = "92:45:df:54:bf:17:b7:ab:13:09:74:e9:a5:37:9c:d4";

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn refused(pem: &str, pass_phrase: Option<&str>) -> RequestKeyError {
    let pass_phrase = pass_phrase.map(secret);
    RequestKey::from_pem(pem.as_bytes(), pass_phrase.as_ref()).unwrap_err()
}

#[test]
fn one_key_is_read_in_every_common_format() {
    for (name, pem) in [
        ("PKCS#8", PKCS8),
        ("PKCS#1", key_file!("rsa-2048.private-pkcs1.pem")),
        ("PBES2, AES-256", key_file!("rsa-2048.private-encrypted.pem")),
        (
            "PBES2, PRF SHA-1",
            key_file!("rsa-2048.private-encrypted-sha1.pem"),
        ),
        ("PBES2, 3DES", key_file!("rsa-2048.private-encrypted-des3.pem")),
        ("PBES2, scrypt", SCRYPT),
        ("DEK-Info AES-256", OLD),
        ("DEK-Info AES-192", key_file!("rsa-2048.private-pkcs1-aes192.pem")),
        ("DEK-Info AES-128", key_file!("rsa-2048.private-pkcs1-aes128.pem")),
        ("DEK-Info 3DES", key_file!("rsa-2048.private-pkcs1-des3.pem")),
    ] {
        for pem in [
            pem.to_owned(),
            // As Oracle's console generates it.
            format!("{pem}OCI_API_KEY\n"),
            format!("{}\nOCI_API_KEY", pem.trim_end()),
            pem.replace('\n', "\r\n"),
            format!("Bag Attributes\n    friendlyName: mine\n{pem}\n\n"),
        ] {
            let key = RequestKey::from_pem(pem.as_bytes(), Some(&secret("test"))).unwrap_or_else(|error| {
                panic!("{name}: {error:?}");
            });
            assert_eq!(key.fingerprint().to_string(), FINGERPRINT, "{name}");
        }
    }
}

#[test]
fn unusable_keys_are_refused_with_their_reason() {
    for (pem, pass_phrase, expected) in [
        (OLD, None, RequestKeyError::NoPassPhrase),
        (OLD, Some("other"), RequestKeyError::PassPhrase),
        (OLD, Some(""), RequestKeyError::PassPhrase),
        (SCRYPT, None, RequestKeyError::NoPassPhrase),
        (SCRYPT, Some("other"), RequestKeyError::PassPhrase),
        (
            key_file!("rsa-2048.private-pkcs1-camellia.pem"),
            Some("test"),
            RequestKeyError::Cipher("`CAMELLIA-128-CBC`".to_owned()),
        ),
        (
            key_file!("rsa-2048.private-encrypted-pbes1.pem"),
            Some("test"),
            RequestKeyError::Cipher("`1.2.840.113549.1.12.1.3`".to_owned()),
        ),
        (
            key_file!("rsa-2048.private-encrypted-camellia.pem"),
            Some("test"),
            RequestKeyError::Cipher("`1.2.392.200011.61.1.1.1.2`".to_owned()),
        ),
        (key_file!("rsa-2048.public.pem"), None, RequestKeyError::PublicKey),
        (
            key_file!("rsa-2048.public-pkcs1.pem"),
            None,
            RequestKeyError::PublicKey,
        ),
        (key_file!("ec-p256.private.pem"), None, RequestKeyError::NotRsa),
        (
            key_file!("ec-p256.private-sec1.pem"),
            None,
            RequestKeyError::NotRsa,
        ),
        (
            key_file!("rsa-2048.private-openssh.pem"),
            None,
            RequestKeyError::Label {
                label: "OPENSSH PRIVATE KEY".to_owned(),
            },
        ),
        ("", None, RequestKeyError::NotPem),
        ("ssh-rsa AAAA", None, RequestKeyError::NotPem),
        (
            "-----BEGIN PRIVATE KEY-----\n*\n-----END PRIVATE KEY-----",
            None,
            RequestKeyError::Base64,
        ),
    ] {
        assert_eq!(refused(pem, pass_phrase), expected, "{pem}");
    }
    assert!(matches!(
        refused(key_file!("rsa-1024.private.pem"), None),
        RequestKeyError::Weak(KeyError::Bits { bits: 1024, .. })
    ));
    assert!(matches!(
        refused(
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            None
        ),
        RequestKeyError::Pkcs8(_)
    ));
    assert_eq!(
        RequestKey::from_pem(b"\xff", None).unwrap_err(),
        RequestKeyError::NotPem
    );
    assert_eq!(
        RequestKey::from_pem(&vec![b' '; KEY_BYTES + 1], None).unwrap_err(),
        RequestKeyError::TooLarge { limit: KEY_BYTES }
    );
}

#[test]
fn the_file_must_hold_one_complete_block_and_nothing_else() {
    assert_eq!(refused(&PKCS8.repeat(2), None), RequestKeyError::ManyBlocks(2));
    assert_eq!(
        refused(&format!("{PKCS8}{}", key_file!("rsa-2048.certificate.pem")), None),
        RequestKeyError::ManyBlocks(2)
    );
    assert_eq!(
        refused(&format!("{PKCS8}password: x\n"), None),
        RequestKeyError::TextAfter
    );
    assert_eq!(
        refused(&format!("{PKCS8}OCI_API_KEY_2\n"), None),
        RequestKeyError::TextAfter
    );
    assert_eq!(
        refused(&PKCS8[..PKCS8.len() - 10], None),
        RequestKeyError::Unfinished {
            label: "PRIVATE KEY".to_owned()
        }
    );
}

#[test]
fn unknown_header_lines_are_refused() {
    let info = "DEK-Info: AES-256-CBC,41DB3F2E70A0559118D5270AEAE18ADF";
    assert!(OLD.contains(info));
    for pem in [
        OLD.replace("Proc-Type: 4,ENCRYPTED\n", ""),
        OLD.replace(&format!("{info}\n"), ""),
        OLD.replace("4,ENCRYPTED", "4,MIC-CLEAR"),
        OLD.replace(info, &format!("{info}\n{info}")),
        OLD.replace(info, "DEK-Info: AES-256-CBC"),
        OLD.replace(info, "DEK-Info: AES-256-CBC,41DB"),
        OLD.replace(info, "DEK-Info: AES-256-CBC,"),
        OLD.replace(info, "DEK-Info: AES-256-CBC,zz"),
        OLD.replace(info, &format!("{info}00")),
    ] {
        assert_eq!(
            refused(&pem, Some("test")),
            RequestKeyError::EncryptionHeader,
            "{pem}"
        );
    }
}

/// The SCRYPT fixture's parameters are `02 02 40 00` (N), `02 01 08` (r), `02 01 01` (p).
#[test]
fn a_costly_key_derivation_is_not_started() {
    let block = pem::only_block(SCRYPT.as_bytes()).unwrap();
    let der = block.decode().unwrap();
    let place = der
        .windows(10)
        .position(|window| window == [2, 2, 0x40, 0, 2, 1, 8, 2, 1, 1])
        .unwrap();
    for (offset, byte) in [(2, 0x00), (2, 0x7f), (6, 0x7f), (9, 0x7f)] {
        let mut other = der.to_vec();
        other[place + offset] = byte;
        let result = from_encrypted_pkcs8(&other, Some(&secret("test"))).map(|_| ());
        // A leading zero byte is not minimal DER. The other costs are within the bounds.
        match (offset, byte) {
            (2, 0x00) => assert!(matches!(result, Err(RequestKeyError::Pkcs8(_))), "{result:?}"),
            (2, 0x7f) => assert_eq!(result, Err(RequestKeyError::PassPhrase)),
            (6, 0x7f) => assert_eq!(result, Err(RequestKeyError::PassPhrase)),
            _ => assert_eq!(result, Err(RequestKeyError::Cost)),
        }
    }
    let kdf = |cost_parameter, block_size| {
        let pkcs8::EncryptedPrivateKeyInfoRef {
            encryption_algorithm, ..
        } = pkcs8::EncryptedPrivateKeyInfoRef::try_from(der.as_slice()).unwrap();
        let mut parameters = encryption_algorithm
            .pbes2()
            .unwrap()
            .kdf
            .scrypt()
            .unwrap()
            .to_owned();
        parameters.cost_parameter = cost_parameter;
        parameters.block_size = block_size;
        check_cost(&pkcs8::pkcs5::pbes2::Kdf::Scrypt(parameters))
    };
    assert_eq!(kdf(1 << 14, 8), Ok(()));
    assert_eq!(kdf(1 << 18, 8), Ok(()));
    for (cost, block) in [(0, 8), (1, 8), (1 << 19, 8), (u64::MAX, u16::MAX)] {
        assert_eq!(kdf(cost, block), Err(RequestKeyError::Cost), "{cost} {block}");
    }
    let pbkdf2 = |iterations| {
        let mut parameters = pkcs8::pkcs5::pbes2::Pbkdf2Params::hmac_sha256(1, b"saltsalt").unwrap();
        parameters.iteration_count = iterations;
        check_cost(&pkcs8::pkcs5::pbes2::Kdf::Pbkdf2(parameters))
    };
    assert_eq!(pbkdf2(PBKDF2_ITERATIONS), Ok(()));
    assert_eq!(pbkdf2(PBKDF2_ITERATIONS + 1), Err(RequestKeyError::Cost));
}

#[test]
fn a_mismatch_names_both_fingerprints() {
    let key = RequestKey::from_pem(PKCS8.as_bytes(), None).unwrap();
    assert_eq!(key.check(FINGERPRINT.parse().unwrap()), Ok(()));
    let other = "3b:41:99:fb:f2:9e:d9:d6:50:eb:17:83:bb:da:8a:a2";
    let mismatch = key.check(other.parse().unwrap()).unwrap_err();
    assert!(mismatch.to_string().contains(FINGERPRINT) && mismatch.to_string().contains(other));
}

#[test]
fn debug_output_hides_key_and_pass_phrase() {
    let key = RequestKey::from_pem(PKCS8.as_bytes(), None).unwrap();
    assert_eq!(
        format!("{key:?}"),
        format!("RequestKey {{ fingerprint: {FINGERPRINT}, .. }}")
    );
    let line = PKCS8.lines().nth(3).unwrap();
    for error in [
        refused(&PKCS8.replace(line, "!"), None),
        refused(&PKCS8.replace(line, ""), None),
        refused(OLD, Some("hunter2")),
    ] {
        let text = format!("{error:?} {}", crate::base::error_chain::chain(&error));
        assert!(!text.contains("hunter2") && !text.contains("MII"), "{text}");
    }
}

#[test]
fn a_session_key_is_one_of_at_least_2048_bits() {
    assert!(RequestKey::generate(2048).unwrap().public_der().len() > 256);
    assert!(matches!(
        RequestKey::generate(1024),
        Err(RequestKeyError::Weak(_))
    ));
}
