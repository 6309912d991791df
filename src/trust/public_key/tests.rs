use rsa::pkcs1::UintRef;

use super::*;

const PUBLIC: &[u8] = include_bytes!("../../../tests/fixtures/keys/rsa-2048.public.pem");
const PRIVATE: &str = include_str!("../../../tests/fixtures/keys/rsa-2048.private.pem");
const MESSAGE: &[u8] = b"sha256:289676fac4febfea1de58adff7e2c1a5a8ec97945559927c94d9153ffef1d603";

/// A number of so many bits, odd.
fn odd(bits: usize) -> Vec<u8> {
    let mut bytes = vec![0xFF; bits.div_ceil(8)];
    bytes[0] = u8::try_from(0xFF_u32 >> (8 * bits.div_ceil(8) - bits)).unwrap();
    bytes
}

fn new(modulus: &[u8], exponent: &[u8]) -> Result<RsaPublicKey, KeyError> {
    RsaPublicKey::new(&RsaPublicKeyRef {
        modulus: UintRef::new(modulus).unwrap(),
        public_exponent: UintRef::new(exponent).unwrap(),
    })
}

fn private() -> rsa::PrivateKey {
    use rsa::pkcs8::DecodePrivateKey as _;
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

#[test]
fn takes_moduli_of_2048_to_8192_bits() {
    let exponent = [1, 0, 1];
    for bits in [2048, 2049, 2055, 2056, 3072, 4096, 8191, 8192] {
        assert_eq!(new(&odd(bits), &exponent).unwrap().bits, bits);
    }
    for bits in [1, 8, 512, 1024, 2040, 2047, 8193, 8200, 16384] {
        let expected = KeyError::Bits {
            bits,
            min: 2048,
            max: 8192,
        };
        assert_eq!(new(&odd(bits), &exponent).unwrap_err(), expected);
    }
    assert_eq!(
        new(&[0], &exponent).unwrap_err(),
        KeyError::Bits {
            bits: 0,
            min: 2048,
            max: 8192
        }
    );
    let mut even = odd(2048);
    *even.last_mut().unwrap() = 0xFE;
    assert_eq!(new(&even, &exponent).unwrap_err(), KeyError::EvenModulus);
    assert_eq!(
        PublicKey::from_pem(include_bytes!("../../../tests/fixtures/keys/rsa-1024.public.pem")).unwrap_err(),
        KeyError::Bits {
            bits: 1024,
            min: 2048,
            max: 8192
        }
    );
}

#[test]
fn takes_odd_exponents_of_65537_to_33_bits() {
    let modulus = odd(2048);
    for exponent in [65_537, 65_539, 4_294_967_295, 4_294_967_297, (1 << 33) - 1] {
        new(&modulus, &u64::to_be_bytes(exponent)).unwrap();
    }
    for exponent in [0, 1, 2, 3, 17, 257, 65_535, 65_536] {
        let expected = KeyError::SmallExponent {
            exponent,
            min: 65_537,
        };
        assert_eq!(new(&modulus, &exponent.to_be_bytes()).unwrap_err(), expected);
    }
    for exponent in [65_538, 4_294_967_296, (1 << 33) - 2] {
        let expected = KeyError::EvenExponent { exponent };
        assert_eq!(new(&modulus, &exponent.to_be_bytes()).unwrap_err(), expected);
    }
    let large = KeyError::LargeExponent { max: (1 << 33) - 1 };
    for exponent in [1_u64 << 33, (1 << 33) + 1, u64::MAX] {
        assert_eq!(new(&modulus, &exponent.to_be_bytes()).unwrap_err(), large);
    }
    // As long as the modulus; and 2^64 + 65537, which would be 65537 where the upper bits are dropped.
    assert_eq!(new(&modulus, &odd(2047)).unwrap_err(), large);
    assert_eq!(new(&modulus, &[1, 0, 0, 0, 0, 0, 1, 0, 1]).unwrap_err(), large);
}

#[test]
fn verifies_its_own_algorithm_alone() {
    let key = PublicKey::from_pem(PUBLIC).unwrap();
    for (made, signature) in [
        (SigningAlgorithm::Sha224RsaPkcsPss, sign::<Sha224>(28, MESSAGE)),
        (SigningAlgorithm::Sha256RsaPkcsPss, sign::<Sha256>(32, MESSAGE)),
        (SigningAlgorithm::Sha384RsaPkcsPss, sign::<Sha384>(48, MESSAGE)),
        (SigningAlgorithm::Sha512RsaPkcsPss, sign::<Sha512>(64, MESSAGE)),
    ] {
        for asked in SigningAlgorithm::ALL {
            let expected = if asked == made {
                Ok(())
            } else {
                Err(SignatureMismatch)
            };
            for salt in [SaltLength::Any, SaltLength::Digest] {
                assert_eq!(
                    key.verify(asked, salt, MESSAGE, &signature),
                    expected,
                    "{made} as {asked}"
                );
            }
        }
        assert_eq!(
            key.verify(made, SaltLength::Any, &MESSAGE[1..], &signature),
            Err(SignatureMismatch)
        );
    }
}

#[test]
fn a_salt_of_another_length_is_taken_only_where_any_is() {
    let key = PublicKey::from_pem(PUBLIC).unwrap();
    let algorithm = SigningAlgorithm::Sha256RsaPkcsPss;
    for salt in [0, 1, 20, 31, 33, 222] {
        let signature = sign::<Sha256>(salt, MESSAGE);
        assert_eq!(
            key.verify(algorithm, SaltLength::Any, MESSAGE, &signature),
            Ok(())
        );
        assert_eq!(
            key.verify(algorithm, SaltLength::Digest, MESSAGE, &signature),
            Err(SignatureMismatch)
        );
    }
}

#[test]
fn a_signature_has_exactly_the_length_of_the_modulus() {
    let key = PublicKey::from_pem(PUBLIC).unwrap();
    let good = sign::<Sha256>(32, MESSAGE);
    let verify = |signature: &[u8]| {
        key.verify(
            SigningAlgorithm::Sha256RsaPkcsPss,
            SaltLength::Any,
            MESSAGE,
            signature,
        )
    };
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
    let modulus = private.n_bytes();
    let key = PublicKey::Rsa(new(&modulus, &private.e_bytes()).unwrap());
    let signature = private.pss_sign::<Sha512>(MESSAGE).unwrap();
    assert_eq!((key.bits(), signature.len()), (2049, 257));
    for salt in [SaltLength::Any, SaltLength::Digest] {
        assert_eq!(
            key.verify(SigningAlgorithm::Sha512RsaPkcsPss, salt, MESSAGE, &signature),
            Ok(())
        );
    }
}

#[test]
fn two_spellings_are_one_key_and_the_text_names_it() {
    let spki = PublicKey::from_pem(PUBLIC).unwrap();
    let pkcs1 = PublicKey::from_pem(include_bytes!(
        "../../../tests/fixtures/keys/rsa-2048.public-pkcs1.pem"
    ))
    .unwrap();
    assert_eq!(spki.fingerprint(), pkcs1.fingerprint());
    assert_eq!(
        format!("{spki:?}"),
        "Rsa(RsaPublicKey(2048 bits, sha256:59d9bb5bf531ff81cee5d778421402776fe015073c3172f634ca65573b18437c))"
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
