//! Where Oracle's services are reached.

use std::fmt;

use http::Uri;
use url::Url;

use super::{Ocid, OcidError, Realm, Region};
use crate::base::printable::excerpt;

/// One region's services, in one realm's domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionEndpoints {
    region: Region,
    realm: Realm,
}

/// Which API an endpoint is of: each has its base path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Image signatures and images (SDK, `artifacts/artifacts_client.py`).
    Artifacts,
    /// Tokens for instances (SDK, `auth/signers/instance_principals_security_token_signer.py`).
    Federation,
    /// Vault keys and signing with them (SDK, `key_management/kms_crypto_client.py` and `kms_management_client.py`).
    Kms,
}

/// Scheme, host, port and base path of one service.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceEndpoint(Url);

/// Why there is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegionEndpointsError {
    /// A URL with something that an endpoint has not.
    #[error("an endpoint has no {0}")]
    Extra(&'static str),
    /// A key OCID from which no vault's host can be made.
    #[error("no vault endpoint can be made of the key")]
    Key(#[source] OcidError),
    /// Neither http nor https.
    #[error(
        "an endpoint begins with `https://` (or, where nothing is secret, `http://`), and not with `{0}:`"
    )]
    Scheme(String),
    /// A region that is not in the table, and no realm beside it that is.
    #[error(
        "the region `{region}` is not known here, nor the realm `{realm}`, so its domain is not: \
         name the endpoint itself"
    )]
    UnknownRealm {
        /// The region.
        region: Region,
        /// The realm that was to stand in.
        realm: String,
    },
    /// Not a URL.
    #[error("`{0}` is not a URL with a host")]
    Url(String),
}

impl RegionEndpoints {
    /// A region in its realm. A region that the table does not know is taken to be in the realm of `tenancy`. The SDK
    /// takes `oc1` then; that would send signed requests to a cloud that they were not meant for.
    ///
    /// # Errors
    /// [`PlaceError::UnknownRealm`].
    pub fn new(region: Region, tenancy: &Ocid) -> Result<Self, RegionEndpointsError> {
        let realm = region.realm().or_else(|| Realm::named(tenancy.realm()));
        match realm {
            Some(realm) => Ok(Self { region, realm }),
            None => Err(RegionEndpointsError::UnknownRealm {
                region,
                realm: tenancy.realm().to_owned(),
            }),
        }
    }

    /// A region that the table knows.
    ///
    /// # Errors
    /// [`PlaceError::UnknownRealm`].
    pub fn known(region: Region) -> Result<Self, RegionEndpointsError> {
        match region.realm() {
            Some(realm) => Ok(Self { region, realm }),
            None => Err(RegionEndpointsError::UnknownRealm {
                region,
                realm: "-".to_owned(),
            }),
        }
    }

    /// The region.
    #[must_use]
    pub const fn region(&self) -> &Region {
        &self.region
    }

    /// The realm.
    #[must_use]
    pub const fn realm(&self) -> Realm {
        self.realm
    }

    /// `https://artifacts.<region>.oci.<domain>/20160918`.
    ///
    /// # Errors
    /// [`PlaceError::Url`]: cannot happen with a region and a realm that were checked.
    pub fn artifacts(&self) -> Result<ServiceEndpoint, RegionEndpointsError> {
        let host = format!("artifacts.{}.oci.{}", self.region, self.realm.domain());
        ServiceEndpoint::new(&format!("https://{host}"), Service::Artifacts)
    }

    /// `https://auth.<region>.<domain>/v1/x509`.
    ///
    /// # Errors
    /// As for [`Self::artifacts`].
    pub fn federation(&self) -> Result<ServiceEndpoint, RegionEndpointsError> {
        let host = format!("auth.{}.{}", self.region, self.realm.domain());
        ServiceEndpoint::new(&format!("https://{host}"), Service::Federation)
    }

    /// Where a key of a vault signs: `https://<vault>-crypto.kms.<region>[.oci].<domain>/20180608`. As Oracle's client
    /// does, in this place's region, whatever region the key's OCID names.
    ///
    /// # Errors
    /// [`PlaceError::Key`] when the OCID is no key's.
    pub fn kms_crypto(&self, key: &Ocid) -> Result<ServiceEndpoint, RegionEndpointsError> {
        self.kms(key, "crypto")
    }

    /// Where a key of a vault is described: `https://<vault>-management.kms.<region>[.oci].<domain>/20180608`.
    ///
    /// # Errors
    /// As for [`Self::kms_crypto`].
    pub fn kms_management(&self, key: &Ocid) -> Result<ServiceEndpoint, RegionEndpointsError> {
        self.kms(key, "management")
    }

    fn kms(&self, key: &Ocid, side: &str) -> Result<ServiceEndpoint, RegionEndpointsError> {
        let vault = key.vault_extension().map_err(RegionEndpointsError::Key)?;
        let region = self.region.as_str();
        let oci = if KMS_WITHOUT_OCI.contains(&region) {
            ""
        } else {
            ".oci"
        };
        let domain = self.realm.domain();
        ServiceEndpoint::new(
            &format!("https://{vault}-{side}.kms.{region}{oci}.{domain}"),
            Service::Kms,
        )
    }
}

impl Service {
    /// The path below which its operations are.
    #[must_use]
    pub const fn base_path(self) -> &'static str {
        match self {
            Self::Artifacts => "/20160918",
            Self::Federation => "/v1/x509",
            Self::Kms => "/20180608",
        }
    }
}

impl ServiceEndpoint {
    /// An endpoint that the administrator names: a private one, or a test's. The service's base path is appended where
    /// the URL does not end with it (SDK, `base_client.py`).
    ///
    /// # Errors
    /// As [`PlaceError`] says.
    pub fn new(text: &str, service: Service) -> Result<Self, RegionEndpointsError> {
        let mut url = Self::checked(text)?;
        let base = service.base_path();
        let path = url.path().trim_end_matches('/');
        let path = if path.ends_with(base) {
            path.to_owned()
        } else {
            format!("{path}{base}")
        };
        url.set_path(&path);
        // What the HTTP client will make of it.
        match url.as_str().parse::<Uri>() {
            Ok(_) => Ok(Self(url)),
            Err(_not_parsed) => Err(RegionEndpointsError::Url(excerpt(text))),
        }
    }

    /// The URL of something that is reached by http or https, with a path and nothing after it.
    pub(super) fn checked(text: &str) -> Result<Url, RegionEndpointsError> {
        let not_a_url = || RegionEndpointsError::Url(excerpt(text));
        let url = match Url::parse(text) {
            Ok(url) if url.has_host() => url,
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                return Err(RegionEndpointsError::Scheme(excerpt(url.scheme())));
            }
            Ok(_) => return Err(not_a_url()),
            // The parser's word would add nothing: the text stands there.
            Err(_not_parsed) => return Err(not_a_url()),
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(RegionEndpointsError::Scheme(excerpt(url.scheme())));
        }
        // A password would go into logs, and nothing here would send it.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RegionEndpointsError::Extra("user name or password"));
        }
        if url.query().is_some() {
            return Err(RegionEndpointsError::Extra("query"));
        }
        if url.fragment().is_some() {
            return Err(RegionEndpointsError::Extra("fragment"));
        }
        Ok(url)
    }

    /// The whole of it.
    #[must_use]
    pub const fn as_url(&self) -> &Url {
        &self.0
    }

    /// Whether requests go over plain http: signed, and readable on the way.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// Something below the base path. `path` is of words of the API and OCIDs, which hold nothing that means something
    /// in a path; of a query's values everything but unreserved characters is percent-encoded, as the SDK does.
    pub(super) fn below(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.0.clone();
        let mut whole = self.0.path().to_owned();
        for part in path {
            whole.push('/');
            whole.push_str(part);
        }
        url.set_path(&whole);
        let pairs: Vec<String> = query
            .iter()
            .map(|(key, value)| format!("{key}={}", percent_encoded(value)))
            .collect();
        if !pairs.is_empty() {
            url.set_query(Some(&pairs.join("&")));
        }
        url
    }
}

impl fmt::Display for ServiceEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str())
    }
}

impl fmt::Debug for ServiceEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Everything but the unreserved characters of RFC 3986 as `%XX`.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// Regions whose vault endpoints have no `.oci` (oci-cli 3.95.1, `artifacts_cli_extended.py`, lines 746-753).
const KMS_WITHOUT_OCI: [&str; 23] = [
    "ap-melbourne-1",
    "ap-mumbai-1",
    "ap-osaka-1",
    "ap-seoul-1",
    "ap-sydney-1",
    "ap-tokyo-1",
    "ca-montreal-1",
    "ca-toronto-1",
    "eu-amsterdam-1",
    "eu-frankfurt-1",
    "eu-zurich-1",
    "me-jeddah-1",
    "sa-saopaulo-1",
    "uk-gov-london-1",
    "uk-london-1",
    "us-ashburn-1",
    "us-gov-ashburn-1",
    "us-gov-chicago-1",
    "us-gov-phoenix-1",
    "us-langley-1",
    "us-luke-1",
    "us-phoenix-1",
    "us-seattle-1",
];

#[cfg(test)]
mod tests;
