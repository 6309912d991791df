//! The operation and service of a request: the services share a port and are distinguished by `Host`.

use serde::{Deserialize, Serialize};

use super::http::Request;

/// The operations, by the names in Oracle's API references; the last two are not in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Operation {
    CreateContainerImageSignature,
    DeleteContainerImageSignature,
    GetContainerImage,
    GetContainerImageSignature,
    ListContainerImageSignatures,
    ListContainerImages,
    LookupContainerImageByUri,
    UpdateContainerImageSignature,
    Sign,
    Verify,
    GetKey,
    GetKeyVersion,
    ListKeyVersions,
    ListKeys,
    /// `POST /v1/x509` of the authentication service.
    Federate,
    /// The instance metadata service.
    Metadata,
}

/// The service of a host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// Any service, for an address in place of a name: the path decides.
    Any,
    Artifacts,
    Auth,
    /// A vault's cryptographic endpoint.
    Crypto(String),
    /// A vault's management endpoint.
    Management(String),
}

impl Service {
    /// Returns the service of a host, or `None` for an unknown name.
    pub fn from_host(host: &str, region: &str) -> Option<Self> {
        let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        if name == "localhost" || name.parse::<std::net::Ipv4Addr>().is_ok() {
            return Some(Self::Any);
        }
        let (first, rest) = name.split_once('.')?;
        let in_region = |rest: &str| {
            rest.strip_prefix(region)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        if in_region(rest) {
            return match first {
                "artifacts" => Some(Self::Artifacts),
                "auth" => Some(Self::Auth),
                _ => None,
            };
        }
        in_region(rest.strip_prefix("kms.")?)
            .then_some(first)
            .and_then(|first| {
                let crypto = first
                    .strip_suffix("-crypto")
                    .map(|vault| Self::Crypto(vault.to_owned()));
                crypto.or_else(|| Some(Self::Management(first.strip_suffix("-management")?.to_owned())))
            })
    }

    fn has(&self, operation: Operation) -> bool {
        match operation {
            Operation::Sign | Operation::Verify => matches!(self, Self::Any | Self::Crypto(_)),
            Operation::GetKey
            | Operation::GetKeyVersion
            | Operation::ListKeyVersions
            | Operation::ListKeys => matches!(self, Self::Any | Self::Management(_)),
            Operation::Federate => matches!(self, Self::Any | Self::Auth),
            Operation::Metadata => false,
            Operation::CreateContainerImageSignature
            | Operation::DeleteContainerImageSignature
            | Operation::GetContainerImage
            | Operation::GetContainerImageSignature
            | Operation::ListContainerImageSignatures
            | Operation::ListContainerImages
            | Operation::LookupContainerImageByUri
            | Operation::UpdateContainerImageSignature => matches!(self, Self::Any | Self::Artifacts),
        }
    }

    /// Returns whether a key is in this vault: the fifth field of its OCID names the vault.
    pub fn holds(&self, key: &str) -> bool {
        match self {
            Self::Crypto(vault) | Self::Management(vault) => key.split('.').nth(4) == Some(vault),
            Self::Any | Self::Artifacts | Self::Auth => true,
        }
    }
}

/// Returns the operation, and the OCIDs in the path.
pub fn route(request: &Request, service: &Service) -> Option<(Operation, Vec<String>)> {
    let parts: Vec<&str> = request.path().trim_start_matches('/').split('/').collect();
    let (operation, ids) = match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["20160918", "container", "imageSignatures"]) => {
            (Operation::ListContainerImageSignatures, vec![])
        }
        ("POST", ["20160918", "container", "imageSignatures"]) => {
            (Operation::CreateContainerImageSignature, vec![])
        }
        ("GET", ["20160918", "container", "imageSignatures", id]) => {
            (Operation::GetContainerImageSignature, vec![*id])
        }
        ("PUT", ["20160918", "container", "imageSignatures", id]) => {
            (Operation::UpdateContainerImageSignature, vec![*id])
        }
        ("DELETE", ["20160918", "container", "imageSignatures", id]) => {
            (Operation::DeleteContainerImageSignature, vec![*id])
        }
        ("GET", ["20160918", "container", "images"]) => (Operation::ListContainerImages, vec![]),
        ("GET", ["20160918", "container", "images", id]) => (Operation::GetContainerImage, vec![*id]),
        ("POST", ["20160918", "container", "images", "actions", "lookupImageByUri"]) => {
            (Operation::LookupContainerImageByUri, vec![])
        }
        ("POST", ["20180608", "sign"]) => (Operation::Sign, vec![]),
        ("POST", ["20180608", "verify"]) => (Operation::Verify, vec![]),
        ("GET", ["20180608", "keys"]) => (Operation::ListKeys, vec![]),
        ("GET", ["20180608", "keys", id]) => (Operation::GetKey, vec![*id]),
        ("GET", ["20180608", "keys", id, "keyVersions"]) => (Operation::ListKeyVersions, vec![*id]),
        ("GET", ["20180608", "keys", id, "keyVersions", version]) => {
            (Operation::GetKeyVersion, vec![*id, *version])
        }
        ("POST", ["v1", "x509"]) => (Operation::Federate, vec![]),
        (_, _) => return None,
    };
    service
        .has(operation)
        .then(|| (operation, ids.into_iter().map(str::to_owned).collect()))
}
