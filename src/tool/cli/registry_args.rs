//! How the tool reaches registries: as the configuration says, and with the logins of whoever runs it.

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

/// Where the tool and the daemon keep signatures when no configuration says.
const DEFAULT_STATE: &str = "/var/lib/pullgate";

/// Arguments of every verb that asks a registry.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Reach {
    /// Reach the image's registry over plain HTTP
    #[arg(long)]
    plain_http: bool,

    /// Log in with this file of credentials, in Docker's format
    #[arg(long, value_name = "PATH")]
    authfile: Option<PathBuf>,
}

/// What is asked about an image.
pub(super) struct Reached {
    /// The registries.
    pub(super) client: RegistryClient,
    /// Oracle's API, for the registries of which the configuration says that their signatures are there.
    pub(super) oracle: OracleRegistries,
    /// The folder of local signatures.
    pub(super) signatures: PathBuf,
}

impl Reach {
    /// What is asked about an image. A signing machine has no gate, so where the default configuration is absent, it is
    /// not missed.
    pub(super) fn client(&self, context: &Context, image: &Reference) -> Result<Reached, CliError> {
        let absent =
            context.config_path == std::path::Path::new(DEFAULT_PATH) && !context.config_path.exists();
        let (registries, oracle, own, state) = if absent {
            (Vec::new(), Vec::new(), Vec::new(), PathBuf::from(DEFAULT_STATE))
        } else {
            let config = context.config()?;
            let own = own_listeners(&config);
            (config.registries, config.oracle, own, config.daemon.state)
        };
        let oracle = OracleRegistries::new(&oracle, &own, None)
            .map_err(|error| CliError::new("nothing can be asked", Exit::Usage).because(error))?;
        let registries = self.with_logins(registries, image)?;
        let client = RegistryClient::new(registries, own).map_err(|error| {
            CliError::new("could not set up the client for the registries", Exit::Usage).because(error)
        })?;
        Ok(Reached {
            client,
            oracle,
            signatures: state.join("signatures"),
        })
    }

    /// The configuration, with the logins of whoever runs the tool in the place of the pulling client's.
    pub(super) fn over(&self, config: Config, image: &Reference) -> Config {
        match self.with_logins(config.registries.clone(), image) {
            Ok(registries) => Config { registries, ..config },
            // The host makes no URL: the gate says so itself.
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
                CliError::new(format!("`{host}` can't be reached"), Exit::Usage).because(error)
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
                    CliError::new(format!("`{host}` makes no URL"), Exit::Usage).because(error)
                })?;
                registry.endpoints = vec![plain];
            }
        }
        Ok(registries)
    }
}

/// The doors that a request of ours must not come back through.
pub(super) fn own_listeners(config: &Config) -> Vec<SocketAddr> {
    let doors = config.doors.tcp_addresses();
    doors.chain(config.daemon.metrics).collect()
}

/// Where a login of this user is kept: Podman's places (containers-auth.json(5)), then Docker's.
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
