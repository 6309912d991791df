//! How the tool reaches Oracle's services: as whom, in which region, where. The options and variables are those of
//! Oracle's client.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::output::{CliError, Exit};
use crate::base::files;
use crate::base::limits::CERTIFICATE_BYTES;
use crate::net::oracle::{
    ApiError, Authentication, CallError, Identity, IdentityError, InstancePrincipal, MetadataService, Ocid,
    OracleClient, Profile, Region, RegionEndpoints, Service, ServiceEndpoint,
};

/// Arguments of every verb that asks Oracle's services.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Oracle's cloud")]
pub(super) struct Cloud {
    /// The OCI configuration file; when left out OCI_CLI_CONFIG_FILE, then `~/.oci/config`, then OCI_CONFIG_FILE
    #[arg(long, value_name = "PATH")]
    config_file: Option<PathBuf>,

    /// The profile in it; when left out OCI_CLI_PROFILE, then `DEFAULT`
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// How requests are signed; when left out OCI_CLI_AUTH, then as the profile says
    #[arg(long, value_name = "HOW", value_enum)]
    auth: Option<AuthMethod>,

    /// The region; when left out OCI_CLI_REGION, then that of the profile
    #[arg(long, value_name = "NAME")]
    pub(super) region: Option<String>,

    /// Where the services are reached, if not at the region's own hosts; when left out OCI_CLI_ENDPOINT
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,

    /// A PEM file of certificates that are trusted beside the system's; when left out OCI_CLI_CERT_BUNDLE
    #[arg(long, value_name = "PATH")]
    cert_bundle: Option<PathBuf>,

    /// Give up after so many seconds, however often was asked
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// How requests are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum AuthMethod {
    /// With the API key of a user.
    ApiKey,
    /// With the token of `oci session authenticate`.
    SecurityToken,
    /// As the instance that this runs on.
    InstancePrincipal,
}

/// A client, and where it asks.
pub(super) struct Opened {
    pub(super) client: OracleClient,
    pub(super) deadline: Instant,
    region: Option<Region>,
    /// Of whom the realm is, where the region does not tell.
    tenancy: Option<Ocid>,
    endpoint: Option<String>,
}

impl Cloud {
    /// The client. What is wrong with the options, the file and the key shows here, before anything is sent.
    pub(super) fn open(&self) -> Result<Opened, CliError> {
        let region = self.region.clone().or_else(|| variable("OCI_CLI_REGION"));
        let region = region.map(|text| text.parse::<Region>()).transpose();
        let region = region.map_err(|error| usage("the region is not one").because(error))?;
        let endpoint = self.endpoint.clone().or_else(|| variable("OCI_CLI_ENDPOINT"));
        let (identity, own_region, tenancy) = match self.auth()? {
            Some(AuthMethod::InstancePrincipal) => (instance()?, None, None),
            auth @ (Some(AuthMethod::ApiKey | AuthMethod::SecurityToken) | None) => self.profile(auth)?,
        };
        let ca = self
            .cert_bundle
            .clone()
            .or_else(|| variable("OCI_CLI_CERT_BUNDLE").map(PathBuf::from));
        let ca = ca.map(|path| {
            files::read_argument(&path, CERTIFICATE_BYTES)
                .map_err(|error| usage("the certificates can't be read").because(error))
        });
        let ca = ca.transpose()?;
        let ca = ca.as_ref().map(|pem| pem.as_slice());
        let client = OracleClient::new(Arc::new(identity), Vec::new(), ca).map_err(|error| {
            CliError::new(
                "could not set up the client of Oracle's services",
                Exit::CouldNotTell,
            )
            .because(error)
        })?;
        Ok(Opened {
            client,
            deadline: Instant::now() + Duration::from_secs(self.timeout),
            region: region.or(own_region),
            tenancy,
            endpoint,
        })
    }

    fn auth(&self) -> Result<Option<AuthMethod>, CliError> {
        match (self.auth, variable("OCI_CLI_AUTH")) {
            (Some(auth), _) => Ok(Some(auth)),
            (None, None) => Ok(None),
            (None, Some(word)) => AuthMethod::from_str(&word, false)
                .map(Some)
                .map_err(|_names_no_value| {
                    usage(format!(
                        "OCI_CLI_AUTH is `{}`",
                        crate::base::printable::excerpt(&word)
                    ))
                    .hint("this release signs by `api_key`, `security_token` and `instance_principal`")
                }),
        }
    }

    fn profile(
        &self,
        auth: Option<AuthMethod>,
    ) -> Result<(Identity, Option<Region>, Option<Ocid>), CliError> {
        let home = variable("HOME").map(PathBuf::from);
        let path = self.config_path()?;
        let name = self.profile.clone().or_else(|| variable("OCI_CLI_PROFILE"));
        let name = name.unwrap_or_else(|| "DEFAULT".to_owned());
        let unusable = || {
            usage(format!(
                "profile `{}` can't be used",
                crate::base::printable::excerpt(&name)
            ))
            .hint("`oci setup config` writes one; --config-file and --profile name another")
        };
        let profile =
            Profile::read(&path, &name, home.as_deref()).map_err(|error| unusable().because(error))?;
        let has_token = matches!(profile.authentication, Authentication::SessionToken { .. });
        match auth {
            Some(AuthMethod::ApiKey) if has_token => {
                return Err(usage(format!(
                    "profile `{name}` has a session token, and no API key of its own"
                ))
                .hint("leave --auth out, or name another --profile"));
            }
            Some(AuthMethod::SecurityToken) if !has_token => {
                return Err(usage(format!("profile `{name}` has no `security_token_file`"))
                    .hint("`oci session authenticate` makes such a profile"));
            }
            Some(_) | None => {}
        }
        let identity = Identity::profile(path, &name, home).map_err(|error| unusable().because(error))?;
        Ok((identity, profile.region, Some(profile.tenancy)))
    }

    /// As Oracle's client and its SDK look for it.
    fn config_path(&self) -> Result<PathBuf, CliError> {
        let home = variable("HOME").map(PathBuf::from);
        let usual = home.map(|home| home.join(".oci/config"));
        let named = self.config_file.clone().or_else(|| path("OCI_CLI_CONFIG_FILE"));
        named
            .or_else(|| usual.clone().filter(|path| path.is_file()))
            .or_else(|| path("OCI_CONFIG_FILE"))
            .or(usual)
            .ok_or_else(|| {
                usage("there is no home directory to take `.oci/config` from").hint("give --config-file")
            })
    }
}

impl Opened {
    /// The region that is signed, and whose services are asked.
    pub(super) fn region(&self) -> Result<&Region, CliError> {
        self.region
            .as_ref()
            .ok_or_else(|| usage("no region is named").hint("give --region, or a `region` in the profile"))
    }

    pub(super) fn artifacts(&self) -> Result<ServiceEndpoint, CliError> {
        self.reached(Service::Artifacts, None, |place| place.artifacts())
    }

    pub(super) fn kms_crypto(&self, key: &Ocid) -> Result<ServiceEndpoint, CliError> {
        self.reached(Service::Kms, Some(key), |place| place.kms_crypto(key))
    }

    pub(super) fn kms_management(&self, key: &Ocid) -> Result<ServiceEndpoint, CliError> {
        self.reached(Service::Kms, Some(key), |place| place.kms_management(key))
    }

    fn reached(
        &self,
        service: Service,
        key: Option<&Ocid>,
        of: impl FnOnce(&RegionEndpoints) -> Result<ServiceEndpoint, crate::net::oracle::EndpointError>,
    ) -> Result<ServiceEndpoint, CliError> {
        let nowhere = || usage("there is no endpoint to ask");
        if let Some(endpoint) = &self.endpoint {
            return ServiceEndpoint::new(endpoint, service).map_err(|error| nowhere().because(error));
        }
        let region = self.region()?.clone();
        // Where the table of regions does not know it, an OCID says the realm.
        let place = match self.tenancy.as_ref().or(key) {
            Some(ocid) => RegionEndpoints::new(region, ocid),
            None => RegionEndpoints::known(region),
        };
        place
            .and_then(|place| of(&place))
            .map_err(|error| nowhere().because(error))
    }
}

fn instance() -> Result<Identity, CliError> {
    let unusable = |name: &str| usage(format!("{name} can't be used"));
    let metadata = variable("OCI_METADATA_BASE_URL").map(|text| MetadataService::new(&text));
    let federation =
        variable("OCI_CLI_FEDERATION_ENDPOINT").map(|text| ServiceEndpoint::new(&text, Service::Federation));
    Ok(Identity::instance(InstancePrincipal {
        metadata: metadata
            .transpose()
            .map_err(|error| unusable("OCI_METADATA_BASE_URL").because(error))?,
        federation: federation
            .transpose()
            .map_err(|error| unusable("OCI_CLI_FEDERATION_ENDPOINT").because(error))?,
    }))
}

/// What a service did not give, as the tool says it.
pub(super) fn refused(what: impl Into<String>, error: ApiError) -> CliError {
    let (exit, hint) = match &error {
        ApiError::Call(CallError::NotFound { .. }) => (
            Exit::No,
            Some(
                "compare OCID and region; reading wants the policy `read repos` (keys: `use keys`), changing `manage repos`",
            ),
        ),
        ApiError::Call(CallError::Unauthorized { .. }) => (
            Exit::CouldNotTell,
            Some("is the API key uploaded for this user, and the profile the one that is meant?"),
        ),
        ApiError::Identity {
            source: IdentityError::ConfigFile(_) | IdentityError::Profile(_),
            ..
        } => (Exit::Usage, None),
        ApiError::Call(CallError::Operation { .. }) => (Exit::Usage, None),
        ApiError::Call(CallError::Unreachable { .. } | CallError::DeadlineExceeded { .. }) => (
            Exit::CouldNotTell,
            Some("try again; --region and --endpoint say where is asked, --timeout how long"),
        ),
        ApiError::Identity { .. }
        | ApiError::Call(
            CallError::Clock { .. }
            | CallError::Malformed { .. }
            | CallError::PageLoop { .. }
            | CallError::Protocol { .. }
            | CallError::Refused { .. }
            | CallError::Service { .. }
            | CallError::Signing { .. }
            | CallError::TooLarge { .. },
        ) => (Exit::CouldNotTell, None),
    };
    let told = CliError::new(what, exit).because(error);
    match hint {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

/// An OCID of this kind, as an argument.
pub(super) fn key_id(text: &str) -> Result<Ocid, String> {
    let ocid = of_kind(text, "key")?;
    match ocid.vault_extension() {
        Ok(_) => Ok(ocid),
        Err(error) => Err(error.to_string()),
    }
}

/// An OCID of this kind, as an argument.
pub(super) fn key_version_id(text: &str) -> Result<Ocid, String> {
    of_kind(text, "keyversion")
}

/// An OCID of this kind, as an argument.
pub(super) fn signature_id(text: &str) -> Result<Ocid, String> {
    of_kind(text, "containerimagesignature")
}

/// An OCID of this kind, as an argument.
pub(super) fn image_id(text: &str) -> Result<Ocid, String> {
    of_kind(text, "containerimage")
}

/// A compartment, or the tenancy, which is the root of them.
pub(super) fn compartment_id(text: &str) -> Result<Ocid, String> {
    of_kind(text, "compartment").or_else(|error| of_kind(text, "tenancy").map_err(|_other| error))
}

fn of_kind(text: &str, kind: &'static str) -> Result<Ocid, String> {
    text.parse::<Ocid>()
        .and_then(|ocid| ocid.expect_kind(kind))
        .map_err(|error| error.to_string())
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)
        .and_then(|value: OsString| value.into_string().ok())
        .filter(|value| !value.is_empty())
}

/// A variable that names a path, of which a shell has not expanded `~`.
fn path(name: &str) -> Option<PathBuf> {
    let text = variable(name)?;
    match (text.strip_prefix("~/"), variable("HOME")) {
        (Some(below), Some(home)) => Some(PathBuf::from(home).join(below)),
        (Some(_) | None, _) => Some(PathBuf::from(text)),
    }
}

fn usage(message: impl Into<String>) -> CliError {
    CliError::new(message, Exit::Usage)
}
