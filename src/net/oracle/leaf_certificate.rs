//! The certificate of an instance (SDK 2.189.0, `auth/auth_utils.py` and `auth/federation_client.py`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pem_rfc7468 as rfc7468;
use sha1::{Digest as _, Sha1};
use x509_cert::Certificate;
use x509_cert::der::{self, Any, Decode as _, Encode as _, Tag, Tagged as _};

use crate::base::limits::CERTIFICATE_BYTES;
use crate::net::oracle::{Ocid, OcidError, RequestKey};

/// The certificate that the metadata service gives an instance. It is not verified here: Oracle's token service
/// verifies it when a token is requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafCertificate {
    der: Vec<u8>,
    public_der: Vec<u8>,
    tenancy: Ocid,
}

/// Why an instance's certificate is unusable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeafCertificateError {
    /// The content of the PEM block is not a certificate.
    #[error("the certificate is malformed")]
    Der(#[from] der::Error),
    /// The key belongs to another certificate.
    #[error(
        "the key does not belong to the certificate: the metadata service may have renewed one of them in between"
    )]
    KeyMismatch,
    /// The text is not PEM.
    #[error("not a PEM certificate")]
    Pem(#[from] rfc7468::Error),
    /// The label of the PEM block is not `CERTIFICATE`.
    #[error("the PEM block is not a certificate")]
    Label,
    /// The subject lacks an attribute that names the tenancy.
    #[error("the certificate's subject does not name a tenancy (`opc-tenant:` or `opc-identity:`)")]
    NoTenancy,
    /// The subject's tenancy is not the OCID of a tenancy.
    #[error("the tenancy in the certificate's subject is invalid")]
    Tenancy(#[from] OcidError),
    /// The file is larger than any certificate.
    #[error("longer than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
}

impl LeafCertificate {
    /// Parses the metadata service's response for `identity/cert.pem`.
    ///
    /// # Errors
    /// As [`LeafCertificateError`] says.
    pub fn from_pem(unverified: &[u8]) -> Result<Self, LeafCertificateError> {
        let der = certificate_der(unverified)?;
        let certificate = Certificate::from_der(&der)?;
        let tbs = certificate.tbs_certificate();
        let tenancy = tbs
            .subject()
            .iter()
            .filter_map(|attribute| text(&attribute.value))
            .find_map(|text| {
                TENANCY_PREFIXES
                    .iter()
                    .find_map(|prefix| text.strip_prefix(prefix))
            })
            .ok_or(LeafCertificateError::NoTenancy)?
            .parse::<Ocid>()?
            .expect_kind("tenancy")?;
        Ok(Self {
            public_der: tbs.subject_public_key_info().to_der()?,
            der,
            tenancy,
        })
    }

    /// Returns the tenancy that the instance belongs to.
    #[must_use]
    pub const fn tenancy(&self) -> &Ocid {
        &self.tenancy
    }

    /// Returns the SHA-1 of the certificate as pairs of upper-case hex digits, separated by colons. It names the
    /// certificate and proves nothing.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let pairs: Vec<String> = Sha1::digest(&self.der)
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        pairs.join(":")
    }

    /// Returns the certificate as a token request holds it: the DER in base64 on one line.
    #[must_use]
    pub fn body(&self) -> String {
        STANDARD.encode(&self.der)
    }

    /// Checks that `key` belongs to the certificate. The two are read one after the other, and may be renewed in
    /// between.
    ///
    /// # Errors
    /// [`LeafCertificateError::KeyMismatch`].
    pub fn check(&self, key: &RequestKey) -> Result<(), LeafCertificateError> {
        if key.public_der() == self.public_der {
            Ok(())
        } else {
            Err(LeafCertificateError::KeyMismatch)
        }
    }
}

/// Returns the DER of the one certificate in a PEM file.
pub(crate) fn certificate_der(unverified: &[u8]) -> Result<Vec<u8>, LeafCertificateError> {
    if unverified.len() > CERTIFICATE_BYTES {
        return Err(LeafCertificateError::TooLarge {
            limit: CERTIFICATE_BYTES,
        });
    }
    let mut der = Vec::new();
    let mut decoder = rfc7468::Decoder::new_detect_wrap(unverified)?;
    if decoder.type_label() != "CERTIFICATE" {
        return Err(LeafCertificateError::Label);
    }
    decoder.decode_to_end(&mut der)?;
    Ok(der)
}

/// Returns the text of an attribute of a string type that holds ASCII unchanged. Tenancies have no other type.
fn text(value: &Any) -> Option<&str> {
    let is_text = [
        Tag::Ia5String,
        Tag::PrintableString,
        Tag::TeletexString,
        Tag::Utf8String,
    ]
    .contains(&value.tag());
    std::str::from_utf8(value.value()).ok().filter(|_| is_text)
}

/// The prefixes of a subject's attribute that names the tenancy.
const TENANCY_PREFIXES: [&str; 2] = ["opc-tenant:", "opc-identity:"];

#[cfg(test)]
mod tests;
