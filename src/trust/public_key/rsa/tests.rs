use rsa::pkcs1::UintRef;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _, LineEnding};
use rsa::signature::{SignatureEncoding as _, Signer as _};

use super::*;
use crate::trust::public_key::PublicKey;
use crate::trust::scheme::Scheme;

const PUBLIC: &[u8] = include_bytes!("../../../../tests/fixtures/keys/rsa-2048.public.pem");
const PRIVATE: &str = include_str!("../../../../tests/fixtures/keys/rsa-2048.private.pem");
const MESSAGE: &[u8] = b"sha256:289676fac4febfea1de58adff7e2c1a5a8ec97945559927c94d9153ffef1d603";

/// An odd number of so many bits.
fn odd(bits: usize) -> Vec<u8> {
    let mut bytes = vec![0xFF; bits.div_ceil(8)];
    bytes[0] = u8::try_from(0xFF_u32 >> (8 * bits.div_ceil(8) - bits)).unwrap();
    bytes
}

fn new(modulus: &[u8], exponent: &[u8]) -> Result<RsaKey, KeyError> {
    RsaKey::from_pkcs1(&RsaPublicKeyRef {
        modulus: UintRef::new(modulus).unwrap(),
        public_exponent: UintRef::new(exponent).unwrap(),
    })
}

fn refusal(modulus: &[u8], exponent: &[u8]) -> KeyError {
    new(modulus, exponent).unwrap_err()
}

fn private() -> rsa::PrivateKey {
    rsa::PrivateKey::from_pkcs8_pem(PRIVATE).unwrap()
}

fn sign<D: Digest + FixedOutputReset>(salt: usize, message: &[u8]) -> Vec<u8> {
    let scheme = rsa::Pss {
        blinded: true,
        digest: D::new(),
        salt_len: Some(salt),
    };
    rsa::traits::SignatureScheme::sign(scheme, Some(&mut rand::rng()), &private(), &D::digest(message))
        .unwrap()
}

const fn pss(hash: HashAlgorithm, salt: Salt) -> Scheme {
    Scheme::RsaPss { hash, salt }
}

#[test]
fn moduli_of_2048_to_8192_bits_load_and_others_do_not() {
    let exponent = [1, 0, 1];
    for bits in [2048, 2049, 2055, 2056, 3072, 4096, 8191, 8192] {
        assert_eq!(new(&odd(bits), &exponent).unwrap().bits, bits);
    }
    let out_of_bounds = |bits| KeyError::Bits {
        bits,
        min: 2048,
        max: 8192,
    };
    for bits in [1, 8, 512, 1024, 2040, 2047, 8193, 8200, 16384] {
        assert_eq!(refusal(&odd(bits), &exponent), out_of_bounds(bits));
    }
    assert_eq!(refusal(&[0], &exponent), out_of_bounds(0));
    let mut even = odd(2048);
    *even.last_mut().unwrap() = 0xFE;
    assert_eq!(refusal(&even, &exponent), KeyError::EvenModulus);
    let file = include_bytes!("../../../../tests/fixtures/keys/rsa-1024.public.pem");
    assert_eq!(PublicKey::from_pem(file).unwrap_err(), out_of_bounds(1024));
}

#[test]
fn odd_exponents_of_65537_to_33_bits_load_and_others_do_not() {
    let modulus = odd(2048);
    for exponent in [65_537, 65_539, 4_294_967_295, 4_294_967_297, (1 << 33) - 1] {
        new(&modulus, &u64::to_be_bytes(exponent)).unwrap();
    }
    for exponent in [0, 1, 2, 3, 17, 257, 65_535, 65_536] {
        let expected = KeyError::SmallExponent {
            exponent,
            min: 65_537,
        };
        assert_eq!(refusal(&modulus, &exponent.to_be_bytes()), expected);
    }
    for exponent in [65_538, 4_294_967_296, (1 << 33) - 2] {
        let expected = KeyError::EvenExponent { exponent };
        assert_eq!(refusal(&modulus, &exponent.to_be_bytes()), expected);
    }
    let large = KeyError::LargeExponent { max: (1 << 33) - 1 };
    for exponent in [1_u64 << 33, (1 << 33) + 1, u64::MAX] {
        assert_eq!(refusal(&modulus, &exponent.to_be_bytes()), large);
    }
    // As long as the modulus; and 2^64 + 65537, which would be 65537 if the upper bits were dropped.
    assert_eq!(refusal(&modulus, &odd(2047)), large);
    assert_eq!(refusal(&modulus, &[1, 0, 0, 0, 0, 0, 1, 0, 1]), large);
}

#[test]
fn a_pss_signature_verifies_with_its_own_hash_alone() {
    let key = PublicKey::from_pem(PUBLIC).unwrap();
    for (made, signature) in [
        (HashAlgorithm::Sha224, sign::<Sha224>(28, MESSAGE)),
        (HashAlgorithm::Sha256, sign::<Sha256>(32, MESSAGE)),
        (HashAlgorithm::Sha384, sign::<Sha384>(48, MESSAGE)),
        (HashAlgorithm::Sha512, sign::<Sha512>(64, MESSAGE)),
    ] {
        for tried in HashAlgorithm::ALL {
            let expected = if tried == made {
                Ok(())
            } else {
                Err(SignatureMismatch)
            };
            for salt in Salt::ALL {
                let verified = key.verify(pss(tried, salt), MESSAGE, &signature);
                assert_eq!(verified, expected, "{made:?} as {tried:?}");
            }
            let pkcs1 = key.verify(Scheme::RsaPkcs1(tried), MESSAGE, &signature);
            assert_eq!(pkcs1, Err(SignatureMismatch), "{made:?} as PKCS#1 v1.5");
        }
        let altered = key.verify(pss(made, Salt::Any), &MESSAGE[1..], &signature);
        assert_eq!(altered, Err(SignatureMismatch));
    }
}

#[test]
fn a_pkcs1_signature_verifies_with_its_own_hash_alone() {
    let key = PublicKey::from_pem(PUBLIC).unwrap();
    let sha224 = SigningKey::<Sha224>::new(private()).sign(MESSAGE).to_vec();
    let sha256 = SigningKey::<Sha256>::new(private()).sign(MESSAGE).to_vec();
    let sha384 = SigningKey::<Sha384>::new(private()).sign(MESSAGE).to_vec();
    let sha512 = SigningKey::<Sha512>::new(private()).sign(MESSAGE).to_vec();
    for (made, signature) in [
        (HashAlgorithm::Sha224, sha224),
        (HashAlgorithm::Sha256, sha256),
        (HashAlgorithm::Sha384, sha384),
        (HashAlgorithm::Sha512, sha512),
    ] {
        for tried in HashAlgorithm::ALL {
            // SHA-224 is not verified at all.
            let expected = if tried == made && made != HashAlgorithm::Sha224 {
                Ok(())
            } else {
                Err(SignatureMismatch)
            };
            let verified = key.verify(Scheme::RsaPkcs1(tried), MESSAGE, &signature);
            assert_eq!(verified, expected, "{made:?} as {tried:?}");
            let as_pss = key.verify(pss(tried, Salt::Any), MESSAGE, &signature);
            assert_eq!(as_pss, Err(SignatureMismatch), "{made:?} as PSS");
        }
        for altered in [&signature[..255], &[&[0], signature.as_slice()].concat(), &[]] {
            let verified = key.verify(Scheme::RsaPkcs1(made), MESSAGE, altered);
            assert_eq!(verified, Err(SignatureMismatch));
        }
        let other = key.verify(Scheme::RsaPkcs1(made), &MESSAGE[1..], &signature);
        assert_eq!(other, Err(SignatureMismatch));
    }
}

#[test]
fn a_salt_of_another_length_verifies_only_with_the_setting_any() {
    let key = PublicKey::from_pem(PUBLIC).unwrap();
    for salt in [0, 1, 20, 31, 33, 222] {
        let signature = sign::<Sha256>(salt, MESSAGE);
        let verify = |setting| key.verify(pss(HashAlgorithm::Sha256, setting), MESSAGE, &signature);
        assert_eq!(verify(Salt::Any), Ok(()));
        assert_eq!(verify(Salt::Digest), Err(SignatureMismatch));
    }
}

#[test]
fn a_pss_signature_has_exactly_the_length_of_the_modulus() {
    let key = PublicKey::from_pem(PUBLIC).unwrap();
    let good = sign::<Sha256>(32, MESSAGE);
    let verify = |signature: &[u8]| key.verify(pss(HashAlgorithm::Sha256, Salt::Any), MESSAGE, signature);
    assert_eq!(verify(&good), Ok(()));
    for signature in [
        &good[..255],
        &good[1..],
        &[good.as_slice(), &[0]].concat(),
        &[&[0], good.as_slice()].concat(),
        &[],
        &[0; 256],
        &[0xFF; 256],
        &vec![0; 1 << 20],
    ] {
        assert_eq!(verify(signature), Err(SignatureMismatch));
    }
}

#[test]
fn a_modulus_of_one_bit_more_than_whole_bytes_verifies() {
    // The encoded message is then one byte shorter than the modulus (RFC 8017, 8.1.2, step 2c).
    let private = rsa::PrivateKey::new(&mut rand::rng(), 2049).unwrap();
    let pem = private.to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
    let key = PublicKey::from_pem(pem.as_bytes()).unwrap();
    let signature = private.pss_sign::<Sha512>(MESSAGE).unwrap();
    assert_eq!((key.bits(), signature.len()), (2049, 257));
    for salt in Salt::ALL {
        assert_eq!(
            key.verify(pss(HashAlgorithm::Sha512, salt), MESSAGE, &signature),
            Ok(())
        );
    }
    let signature = SigningKey::<Sha256>::new(private).sign(MESSAGE).to_vec();
    assert_eq!(
        key.verify(Scheme::RsaPkcs1(HashAlgorithm::Sha256), MESSAGE, &signature),
        Ok(())
    );
}

#[test]
fn counts_bits() {
    for (bytes, bits) in [
        (&[][..], 0),
        (&[0], 0),
        (&[0, 0], 0),
        (&[1], 1),
        (&[0x80], 8),
        (&[0, 1, 0], 9),
        (&[0x7F, 0xFF], 15),
    ] {
        assert_eq!(bit_length(bytes), bits, "{bytes:?}");
    }
}
