//! The certificate of an instance (SDK 2.189.0, `auth/auth_utils.py` and `auth/federation_client.py`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pem_rfc7468 as rfc7468;
use sha1::{Digest as _, Sha1};
use x509_cert::Certificate;
use x509_cert::der::{self, Any, Decode as _, Encode as _, Tag, Tagged as _};

use crate::base::limits::CERTIFICATE_BYTES;
use crate::net::oracle::{Ocid, OcidError, RequestKey};

/// What an instance's metadata service says that the instance is, as far as a token is asked for with it. Whether it
/// is true is for Oracle's service to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafCertificate {
    der: Vec<u8>,
    public_der: Vec<u8>,
    tenancy: Ocid,
}

/// Why there is no certificate to ask for a token with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FederationError {
    /// The block's content is not a certificate.
    #[error("the certificate is malformed")]
    Der(#[from] der::Error),
    /// The key belongs to another certificate.
    #[error(
        "the key is not the certificate's: the metadata service may have renewed one of them; read both again"
    )]
    Key,
    /// Not one PEM block `CERTIFICATE`.
    #[error("not a PEM certificate")]
    Pem(#[from] rfc7468::Error),
    /// A PEM block with another label.
    #[error("the PEM block is no certificate")]
    Label,
    /// The subject names no tenancy.
    #[error("the certificate's subject names no tenancy (`opc-tenant:` or `opc-identity:`)")]
    NoTenancy,
    /// The subject's tenancy is no OCID of one.
    #[error("the tenancy in the certificate's subject is none")]
    Tenancy(#[from] OcidError),
    /// Larger than any certificate.
    #[error("longer than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
}

impl LeafCertificate {
    /// Reads what the metadata service answers at `identity/cert.pem`.
    ///
    /// # Errors
    /// As [`FederationError`] says.
    pub fn from_pem(unverified: &[u8]) -> Result<Self, FederationError> {
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
            .ok_or(FederationError::NoTenancy)?
            .parse::<Ocid>()?
            .of_kind("tenancy")?;
        Ok(Self {
            public_der: tbs.subject_public_key_info().to_der()?,
            der,
            tenancy,
        })
    }

    /// The tenancy that the instance belongs to.
    #[must_use]
    pub const fn tenancy(&self) -> &Ocid {
        &self.tenancy
    }

    /// The SHA-1 of the certificate: pairs of upper-case hex digits with colons between them. A name, not a proof.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let pairs: Vec<String> = Sha1::digest(&self.der)
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        pairs.join(":")
    }

    /// The certificate as a request for a token holds it: its DER as base64 on one line.
    #[must_use]
    pub fn body(&self) -> String {
        STANDARD.encode(&self.der)
    }

    /// Whether this is the certificate's key. The two are read one after the other, and may be renewed in between.
    ///
    /// # Errors
    /// [`FederationError::Key`].
    pub fn check(&self, key: &RequestKey) -> Result<(), FederationError> {
        if key.public_der() == self.public_der {
            Ok(())
        } else {
            Err(FederationError::Key)
        }
    }
}

/// The DER of the one certificate of a PEM file.
pub(crate) fn certificate_der(unverified: &[u8]) -> Result<Vec<u8>, FederationError> {
    if unverified.len() > CERTIFICATE_BYTES {
        return Err(FederationError::TooLarge {
            limit: CERTIFICATE_BYTES,
        });
    }
    let mut der = Vec::new();
    let mut decoder = rfc7468::Decoder::new_detect_wrap(unverified)?;
    if decoder.type_label() != "CERTIFICATE" {
        return Err(FederationError::Label);
    }
    decoder.decode_to_end(&mut der)?;
    Ok(der)
}

/// The text of an attribute, in any of the string types that hold ASCII as it is. Others name no tenancy.
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

/// What stands before the tenancy in an attribute of the subject.
const TENANCY_PREFIXES: [&str; 2] = ["opc-tenant:", "opc-identity:"];

#[cfg(test)]
mod tests;
