//! A certificate for the loopback origin.

use std::path::{Path, PathBuf};

/// The certificate and key files of an origin. The certificate is self-signed.
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Tls {
    pub fn new(folder: &Path) -> Self {
        let certified =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let files = Self {
            certificate: folder.join("origin.pem"),
            key: folder.join("origin.key"),
        };
        std::fs::write(&files.certificate, certified.cert.pem()).unwrap();
        std::fs::write(&files.key, certified.signing_key.serialize_pem()).unwrap();
        files
    }
}
