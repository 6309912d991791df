//! TLS of the registry door, with a chain and a key from PEM files. HTTP/2 is not offered: it has no reason phrase.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::TlsFiles;
use crate::base::files::{FileError, read_async};
use crate::base::limits::CERTIFICATE_BYTES;

/// Why the TLS files could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("`{path}` does not hold a certificate that matches the key")]
    Chain {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("`{path}` holds no certificate")]
    NoCertificate { path: PathBuf },
    #[error("`{path}` is not valid PEM")]
    Pem {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error(transparent)]
    File(#[from] FileError),
    #[error("could not set up TLS")]
    Versions(#[source] rustls::Error),
}

/// Reads the files. Serves TLS 1.2 and 1.3, and asks for no client certificate.
pub(super) async fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let bytes = read_async(&files.certificate, CERTIFICATE_BYTES).await?;
    let pem = |path: &Path| {
        let path = path.to_owned();
        |source| TlsError::Pem { path, source }
    };
    let chain = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem(&files.certificate))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate {
            path: files.certificate.clone(),
        });
    }
    let key = PrivateKeyDer::from_pem_slice(&read_async(&files.key, CERTIFICATE_BYTES).await?)
        .map_err(pem(&files.key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|source| TlsError::Chain {
            path: files.certificate.clone(),
            source,
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
