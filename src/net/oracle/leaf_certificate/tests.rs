use super::*;

const LEAF: &[u8] = include_bytes!("../../../../tests/fixtures/oracle/federation/leaf.pem");
const TENANCY: &str = "ocid1.tenancy.oc1..aaaaaaaacatagdyblhcqriqxvorwvajdmlxuvv3d5dz3ba2v7kcvicmivfnq";

#[test]
fn reads_tenancy_and_fingerprint() {
    let leaf = LeafCertificate::from_pem(LEAF).unwrap();
    assert_eq!(leaf.tenancy().as_str(), TENANCY);
    // `openssl x509 -fingerprint -sha1`
    assert_eq!(
        leaf.fingerprint(),
        "D6:DA:AA:95:BA:A4:76:0A:64:C0:67:85:1B:11:0C:5A:F9:85:AC:73"
    );
    let other = include_bytes!("../../../../tests/fixtures/oracle/federation/identity.pem");
    assert_eq!(
        LeafCertificate::from_pem(other).unwrap().tenancy().as_str(),
        TENANCY
    );
}

#[test]
fn refuses_a_certificate_without_tenancy() {
    let no_tenancy = include_bytes!("../../../../tests/fixtures/oracle/federation/no-tenancy.pem");
    assert_eq!(
        LeafCertificate::from_pem(no_tenancy),
        Err(LeafCertificateError::NoTenancy)
    );
    let compartment = include_bytes!("../../../../tests/fixtures/oracle/federation/not-a-tenancy.pem");
    assert!(matches!(
        LeafCertificate::from_pem(compartment),
        Err(LeafCertificateError::Tenancy(OcidError::Kind { .. }))
    ));
    let key = include_bytes!("../../../../tests/fixtures/keys/rsa-2048.public.pem");
    assert_eq!(LeafCertificate::from_pem(key), Err(LeafCertificateError::Label));
    assert!(matches!(
        LeafCertificate::from_pem(b""),
        Err(LeafCertificateError::Pem(_))
    ));
    let damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(
        LeafCertificate::from_pem(damaged),
        Err(LeafCertificateError::Der(_))
    ));
    assert_eq!(
        LeafCertificate::from_pem(&vec![b' '; CERTIFICATE_BYTES + 1]),
        Err(LeafCertificateError::TooLarge {
            limit: CERTIFICATE_BYTES
        })
    );
}

#[test]
fn the_key_must_belong_to_the_certificate() {
    let leaf = LeafCertificate::from_pem(LEAF).unwrap();
    let own = include_bytes!("../../../../tests/fixtures/keys/rsa-2048.private.pem");
    assert_eq!(leaf.check(&RequestKey::from_pem(own, None).unwrap()), Ok(()));
    assert_eq!(
        leaf.check(&RequestKey::generate(2048).unwrap()),
        Err(LeafCertificateError::KeyMismatch)
    );
}
