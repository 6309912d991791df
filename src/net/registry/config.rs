//! How a registry is reached: what one `[[registry]]` of the configuration says, and the defaults.

use std::path::PathBuf;

use url::Url;

use super::error::RegistryError;
use crate::base::printable::excerpt;
use crate::signature::SourceName;

/// The host that serves the registry which images call `docker.io`.
const HUB: &str = "registry-1.docker.io";

/// One `[[registry]]`: the endpoints of a registry that images name, and how requests to them are made.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// The registry as image names write it: host, and port where the name has one.
    pub host: String,
    /// The endpoints in the order in which they are tried: mirrors first, the registry's own endpoint last. Never
    /// empty.
    pub endpoints: Vec<Url>,
    /// PEM certificates that are trusted beside the system's, already read.
    pub ca: Option<Vec<u8>>,
    /// The credentials that the registry is shown.
    pub credentials: Credentials,
    /// The sources of signatures, in the order in which they are searched. Never empty.
    pub signatures: Vec<SourceName>,
}

impl RegistryConfig {
    /// Returns the settings for a registry without a `[[registry]]`: `https://<host>` (Docker Hub at its own endpoint),
    /// the client's own credentials, signatures in the registry itself and in the state directory.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] when the host does not form a URL.
    pub fn default_for(host: &str) -> Result<Self, RegistryError> {
        let refused = |why: &str| RegistryError::Refused {
            host: excerpt(host),
            why: why.to_owned(),
        };
        let server = if host == "docker.io" { HUB } else { host };
        let endpoint = Url::parse(&format!("https://{server}"));
        let endpoint = endpoint.map_err(|error| refused(&format!("it is not a host name: {error}")))?;
        // A client chose this text as a host: it must not add a path, a query or a password to the URL.
        if endpoint.path() != "/"
            || endpoint.query().is_some()
            || endpoint.fragment().is_some()
            || host.contains('@')
        {
            return Err(refused("it is not a host name"));
        }
        Ok(Self {
            host: host.to_owned(),
            endpoints: vec![endpoint],
            ca: None,
            credentials: Credentials::Passthrough,
            signatures: SourceName::DEFAULT.to_vec(),
        })
    }
}

/// The credentials that a registry is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// No credentials.
    Anonymous,
    /// A file in Docker's format (`auth.json`, `config.json`), read at each use so that a login takes effect.
    File(PathBuf),
    /// A `docker-credential-*` program on `PATH` or by absolute path.
    Helper(String),
    /// The client's own `Authorization`, unchanged; the origin's challenge goes back to the client.
    Passthrough,
}
