//! HTTPS, with certificates of a file or of a generated authority.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Certificates and key, all PEM.
#[derive(Clone)]
pub struct Tls {
    /// The chain, leaf first.
    pub certificate: String,
    pub key: String,
    /// The authority that clients must trust.
    pub authority: String,
}

impl Tls {
    /// Generates an authority, and its certificate for these names and addresses.
    pub fn generate(names: &[String]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "an authority of tests");
        let pair = KeyPair::generate().expect("a key pair");
        let authority = CertifiedIssuer::self_signed(params, pair).expect("a certificate");
        let mut params = CertificateParams::new(names).expect("names of hosts");
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "a stand-in of Oracle's cloud");
        // OpenSSL 3 refuses leaf certificates without an authority key identifier.
        params.use_authority_key_identifier_extension = true;
        let pair = KeyPair::generate().expect("a key pair");
        let leaf = params.signed_by(&pair, &authority).expect("a certificate");
        Self {
            certificate: leaf.pem(),
            key: pair.serialize_pem(),
            authority: authority.pem(),
        }
    }

    pub(super) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let invalid =
            |error| io::Error::new(io::ErrorKind::InvalidInput, format!("no chain and key: {error}"));
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(invalid)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(invalid)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
