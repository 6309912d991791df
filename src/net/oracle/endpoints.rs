//! The addresses of Oracle's services.

use std::fmt;

use http::Uri;
use url::Url;

use super::{Ocid, OcidError, Realm, Region};
use crate::base::percent;
use crate::base::printable::excerpt;

/// The services of one region, in its realm's domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionEndpoints {
    region: Region,
    realm: Realm,
}

/// An API, which decides the base path of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Image signatures and images (SDK, `artifacts/artifacts_client.py`).
    Artifacts,
    /// Tokens for instances (SDK, `auth/signers/instance_principals_security_token_signer.py`).
    Federation,
    /// Vault keys, and signing with them (SDK, `key_management/kms_crypto_client.py` and `kms_management_client.py`).
    Kms,
}

/// Scheme, host, port and base path of one service.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceEndpoint(Url);

/// Why an endpoint is invalid or unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The URL has a part that an endpoint must not have.
    #[error("an endpoint cannot have a {0}")]
    Extra(&'static str),
    /// The key's OCID does not contain a vault's host name.
    #[error("could not derive the vault's endpoint from the key")]
    Key(#[source] OcidError),
    /// The scheme is neither http nor https.
    #[error("an endpoint begins with `https://` (or `http://`, where nothing is secret), not with `{0}:`")]
    Scheme(String),
    /// Neither the region nor the realm is in the tables.
    #[error(
        "the region `{region}` and its realm `{realm}` are unknown, and so is the domain of its services: \
         name the endpoint itself"
    )]
    UnknownRealm {
        /// The region.
        region: Region,
        /// The realm of the tenancy; `-` if unknown.
        realm: String,
    },
    /// The text is not a URL with a host.
    #[error("`{0}` is not a URL with a host")]
    Url(String),
}

impl RegionEndpoints {
    /// Finds the region's realm. A region that the table lacks is assumed to be in the realm of `tenancy`. The SDK
    /// assumes `oc1` instead, which would send signed requests to a cloud that they are not meant for.
    ///
    /// # Errors
    /// [`EndpointError::UnknownRealm`].
    pub fn new(region: Region, tenancy: &Ocid) -> Result<Self, EndpointError> {
        let realm = region.realm().or_else(|| Realm::from_name(tenancy.realm()));
        match realm {
            Some(realm) => Ok(Self { region, realm }),
            None => Err(EndpointError::UnknownRealm {
                region,
                realm: tenancy.realm().to_owned(),
            }),
        }
    }

    /// Finds the realm of a region in the table.
    ///
    /// # Errors
    /// [`EndpointError::UnknownRealm`].
    pub fn known(region: Region) -> Result<Self, EndpointError> {
        match region.realm() {
            Some(realm) => Ok(Self { region, realm }),
            None => Err(EndpointError::UnknownRealm {
                region,
                realm: "-".to_owned(),
            }),
        }
    }

    /// Returns the region.
    #[must_use]
    pub const fn region(&self) -> &Region {
        &self.region
    }

    /// Returns the realm.
    #[must_use]
    pub const fn realm(&self) -> Realm {
        self.realm
    }

    /// Returns `https://artifacts.<region>.oci.<domain>/20160918`.
    ///
    /// # Errors
    /// [`EndpointError::Url`]: cannot happen with a region and a realm that were checked.
    pub fn artifacts(&self) -> Result<ServiceEndpoint, EndpointError> {
        let host = format!("artifacts.{}.oci.{}", self.region, self.realm.domain());
        ServiceEndpoint::new(&format!("https://{host}"), Service::Artifacts)
    }

    /// Returns `https://auth.<region>.<domain>/v1/x509`.
    ///
    /// # Errors
    /// As for [`Self::artifacts`].
    pub fn federation(&self) -> Result<ServiceEndpoint, EndpointError> {
        let host = format!("auth.{}.{}", self.region, self.realm.domain());
        ServiceEndpoint::new(&format!("https://{host}"), Service::Federation)
    }

    /// Returns the endpoint where a vault's key signs: `https://<vault>-crypto.kms.<region>[.oci].<domain>/20180608`.
    /// As in Oracle's client, the region is `self`'s, whatever region the key's OCID names.
    ///
    /// # Errors
    /// [`EndpointError::Key`] when the OCID is not a key's.
    pub fn kms_crypto(&self, key: &Ocid) -> Result<ServiceEndpoint, EndpointError> {
        self.kms(key, "crypto")
    }

    /// Returns the endpoint that describes a vault's key:
    /// `https://<vault>-management.kms.<region>[.oci].<domain>/20180608`.
    ///
    /// # Errors
    /// As for [`Self::kms_crypto`].
    pub fn kms_management(&self, key: &Ocid) -> Result<ServiceEndpoint, EndpointError> {
        self.kms(key, "management")
    }

    fn kms(&self, key: &Ocid, side: &str) -> Result<ServiceEndpoint, EndpointError> {
        let vault = key.vault_extension().map_err(EndpointError::Key)?;
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
    /// Returns the path above its operations.
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
    /// Parses an endpoint that the administrator names, such as a private one. The service's base path is appended
    /// unless the URL ends with it already (SDK, `base_client.py`).
    ///
    /// # Errors
    /// As [`EndpointError`] says.
    pub fn new(text: &str, service: Service) -> Result<Self, EndpointError> {
        let mut url = Self::parse_base_url(text)?;
        let base = service.base_path();
        let path = url.path().trim_end_matches('/');
        let path = if path.ends_with(base) {
            path.to_owned()
        } else {
            format!("{path}{base}")
        };
        url.set_path(&path);
        // The HTTP client parses the URL again, by its own rules.
        match url.as_str().parse::<Uri>() {
            Ok(_) => Ok(Self(url)),
            Err(_not_parsed) => Err(EndpointError::Url(excerpt(text))),
        }
    }

    /// Parses an http or https URL that ends with its path.
    pub(super) fn parse_base_url(text: &str) -> Result<Url, EndpointError> {
        let not_a_url = || EndpointError::Url(excerpt(text));
        let url = match Url::parse(text) {
            Ok(url) if url.has_host() => url,
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                return Err(EndpointError::Scheme(excerpt(url.scheme())));
            }
            Ok(_) => return Err(not_a_url()),
            // The message quotes the text, and the parser's own would add nothing.
            Err(_not_parsed) => return Err(not_a_url()),
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EndpointError::Scheme(excerpt(url.scheme())));
        }
        // A password would go into logs, and would never be sent.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::Extra("user name or password"));
        }
        if url.query().is_some() {
            return Err(EndpointError::Extra("query"));
        }
        if url.fragment().is_some() {
            return Err(EndpointError::Extra("fragment"));
        }
        Ok(url)
    }

    /// Returns the URL.
    #[must_use]
    pub const fn as_url(&self) -> &Url {
        &self.0
    }

    /// Returns whether requests go over plain http: signed, but readable on the way.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// Returns the URL of a resource below the base path. The parts of `path` are words of the API and OCIDs, whose
    /// characters have no meaning in a path. In the query's values, all but the unreserved characters are
    /// percent-encoded, as the SDK does.
    pub(super) fn url_for(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.0.clone();
        let mut whole = self.0.path().to_owned();
        for part in path {
            whole.push('/');
            whole.push_str(part);
        }
        url.set_path(&whole);
        let pairs: Vec<String> = query
            .iter()
            .map(|(key, value)| format!("{key}={}", percent::encode(value)))
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
