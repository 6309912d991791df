//! Access to registries: through the endpoints of the configuration, with the credentials of the user that runs the tool.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use url::Url;

use super::Context;
use super::output::{CliError, Exit};
use crate::net::oracle::OracleRegistries;
use crate::net::registry::{Credentials, RegistryClient, RegistryConfig};
use crate::oci::Reference;
use crate::process::config::{Config, DEFAULT_PATH};

/// State directory of the daemon when no configuration names one.
const DEFAULT_STATE: &str = "/var/lib/pullgate";

/// Arguments of every verb that sends requests to a registry.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct RegistryArgs {
    /// Use plain HTTP for the image's registry
    #[arg(long)]
    plain_http: bool,

    /// Log in with the credentials in this file, which has Docker's format
    #[arg(long, value_name = "PATH")]
    authfile: Option<PathBuf>,
}

/// The places that hold signature records of an image.
pub(super) struct ImageSources {
    /// Client for the registries.
    pub(super) client: RegistryClient,
    /// Oracle's API, for each registry whose `signatures` setting names it.
    pub(super) oracle: OracleRegistries,
    /// Directory of local signature records.
    pub(super) signatures: PathBuf,
}

impl RegistryArgs {
    /// Sets up access to an image's records. A machine that only signs has no gate, so a missing default configuration is
    /// not an error.
    pub(super) fn client(&self, context: &Context, image: &Reference) -> Result<ImageSources, CliError> {
        let (registries, oracle, own, state) = if lacks_default_config(context) {
            (Vec::new(), Vec::new(), Vec::new(), PathBuf::from(DEFAULT_STATE))
        } else {
            let config = context.config()?;
            let own = own_listeners(&config);
            (config.registries, config.oracle, own, config.daemon.state)
        };
        let oracle = OracleRegistries::new(&oracle, &own, None).map_err(|error| {
            CliError::new("could not set up the client for Oracle's API", Exit::Usage).because(error)
        })?;
        let registries = self.with_logins(registries, image)?;
        let client = RegistryClient::new(registries, own).map_err(|error| {
            CliError::new("could not set up the client for the registries", Exit::Usage).because(error)
        })?;
        Ok(ImageSources {
            client,
            oracle,
            signatures: state.join("signatures"),
        })
    }

    /// Replaces the credentials that a pulling client would pass through with those of the user that runs the tool.
    pub(super) fn apply_to(&self, config: Config, image: &Reference) -> Config {
        match self.with_logins(config.registries.clone(), image) {
            Ok(registries) => Config { registries, ..config },
            // The host does not form a URL. The gate reports that with its own error.
            Err(_) => config,
        }
    }

    fn with_logins(
        &self,
        mut registries: Vec<RegistryConfig>,
        image: &Reference,
    ) -> Result<Vec<RegistryConfig>, CliError> {
        let host = image.repository.registry();
        if registries.iter().all(|registry| registry.host != host) {
            let default = RegistryConfig::default_for(host).map_err(|error| {
                CliError::new(format!("could not reach `{host}`"), Exit::Usage).because(error)
            })?;
            registries.push(default);
        }
        let login = self.authfile.clone().or_else(default_authfile);
        for registry in &mut registries {
            if let (Credentials::Passthrough, Some(file)) = (&registry.credentials, &login) {
                registry.credentials = Credentials::File(file.clone());
            }
            if self.authfile.is_some() && registry.host == host {
                registry.credentials = login.clone().map_or(Credentials::Anonymous, Credentials::File);
            }
            if self.plain_http && registry.host == host {
                let plain = Url::parse(&format!("http://{host}/")).map_err(|error| {
                    CliError::new(format!("`{host}` does not form a URL"), Exit::Usage).because(error)
                })?;
                registry.endpoints = vec![plain];
            }
        }
        Ok(registries)
    }
}

/// Returns whether the default configuration does not exist. An error other than "not found" is reported: the tool then
/// continues without the configuration, which an ordinary user may not be allowed to read.
fn lacks_default_config(context: &Context) -> bool {
    if context.config_path != std::path::Path::new(DEFAULT_PATH) {
        return false;
    }
    match context.config_path.try_exists() {
        Ok(exists) => !exists,
        Err(error) => {
            context.say(&format!(
                "note: could not read `{DEFAULT_PATH}` ({error}); continuing without the configuration"
            ));
            true
        }
    }
}

/// Lists the daemon's own listeners, which the tool's requests must not reach.
pub(super) fn own_listeners(config: &Config) -> Vec<SocketAddr> {
    let doors = config.doors.tcp_addresses();
    doors.chain(config.daemon.metrics).collect()
}

/// Finds this user's credentials: first in Podman's locations (containers-auth.json(5)), then in Docker's.
fn default_authfile() -> Option<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let candidates = [
        variable("REGISTRY_AUTH_FILE"),
        variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
        variable("DOCKER_CONFIG").map(|folder| folder.join("config.json")),
        variable("HOME").map(|folder| folder.join(".docker/config.json")),
    ];
    candidates.into_iter().flatten().find(|path| path.is_file())
}
