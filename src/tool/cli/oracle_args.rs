//! Access to Oracle's services: identity, region and endpoint. The options and environment variables are those of Oracle's
//! client.

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

/// Arguments of every verb that sends requests to Oracle's services.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Oracle's cloud")]
pub(super) struct OracleArgs {
    /// OCI configuration file. Default: OCI_CLI_CONFIG_FILE, then `~/.oci/config`, then OCI_CONFIG_FILE
    #[arg(long, value_name = "PATH")]
    config_file: Option<PathBuf>,

    /// Profile in that file. Default: OCI_CLI_PROFILE, then `DEFAULT`
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// How to sign requests. Default: OCI_CLI_AUTH, then the method of the profile
    #[arg(long, value_name = "HOW", value_enum)]
    auth: Option<AuthMethod>,

    /// Region. Default: OCI_CLI_REGION, then the region of the profile
    #[arg(long, value_name = "NAME")]
    pub(super) region: Option<String>,

    /// Endpoint of the services. Default: OCI_CLI_ENDPOINT, then the hosts of the region
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,

    /// PEM file of certificates to trust in addition to the system's. Default: OCI_CLI_CERT_BUNDLE
    #[arg(long, value_name = "PATH")]
    cert_bundle: Option<PathBuf>,

    /// Give up after this time, including all repeated requests
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// Method of signing requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum AuthMethod {
    /// With the API key of a user.
    ApiKey,
    /// With the token of `oci session authenticate`.
    SecurityToken,
    /// As the instance that the tool runs on.
    InstancePrincipal,
}

/// A client with its deadline and its endpoints.
pub(super) struct OracleSession {
    pub(super) client: OracleClient,
    pub(super) deadline: Instant,
    region: Option<Region>,
    /// Tenancy whose OCID gives the realm of a region that the table of regions does not list.
    tenancy: Option<Ocid>,
    endpoint: Option<String>,
}

impl OracleArgs {
    /// Sets up the client. Problems in the options, the file and the key are reported here, before any request is sent.
    pub(super) fn session(&self) -> Result<OracleSession, CliError> {
        let region = self.region.clone().or_else(|| variable("OCI_CLI_REGION"));
        let region = region.map(|text| text.parse::<Region>()).transpose();
        let region = region.map_err(|error| usage_error("the region is not valid").because(error))?;
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
                .map_err(|error| usage_error("could not read the certificates").because(error))
        });
        let ca = ca.transpose()?;
        let ca = ca.as_ref().map(|pem| pem.as_slice());
        let client = OracleClient::new(Arc::new(identity), Vec::new(), ca).map_err(|error| {
            CliError::new(
                "could not set up the client for Oracle's services",
                Exit::CouldNotTell,
            )
            .because(error)
        })?;
        Ok(OracleSession {
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
                    usage_error(format!(
                        "OCI_CLI_AUTH is `{}`, which is not a supported method",
                        crate::base::printable::excerpt(&word)
                    ))
                    .hint("set it to `api_key`, `security_token` or `instance_principal`")
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
            usage_error(format!(
                "could not use the profile `{}`",
                crate::base::printable::excerpt(&name)
            ))
            .hint(
                "create a profile with `oci setup config`, or name another with --config-file and --profile",
            )
        };
        let profile =
            Profile::read(&path, &name, home.as_deref()).map_err(|error| unusable().because(error))?;
        let has_token = matches!(profile.authentication, Authentication::SessionToken { .. });
        match auth {
            Some(AuthMethod::ApiKey) if has_token => {
                return Err(usage_error(format!(
                    "profile `{name}` has a session token and no API key of its own"
                ))
                .hint("omit --auth, or name another --profile"));
            }
            Some(AuthMethod::SecurityToken) if !has_token => {
                return Err(
                    usage_error(format!("profile `{name}` has no `security_token_file`"))
                        .hint("create such a profile with `oci session authenticate`"),
                );
            }
            Some(_) | None => {}
        }
        let identity = Identity::profile(path, &name, home).map_err(|error| unusable().because(error))?;
        Ok((identity, profile.region, Some(profile.tenancy)))
    }

    /// Finds the configuration file as Oracle's client and its SDK do.
    fn config_path(&self) -> Result<PathBuf, CliError> {
        let home = variable("HOME").map(PathBuf::from);
        let usual = home.map(|home| home.join(".oci/config"));
        let named = self.config_file.clone().or_else(|| path("OCI_CLI_CONFIG_FILE"));
        named
            .or_else(|| usual.clone().filter(|path| path.is_file()))
            .or_else(|| path("OCI_CONFIG_FILE"))
            .or(usual)
            .ok_or_else(|| {
                usage_error("could not find `.oci/config`: HOME is not set").hint("give --config-file")
            })
    }
}

impl OracleSession {
    /// Returns the region that the message names and whose services receive the requests.
    pub(super) fn region(&self) -> Result<&Region, CliError> {
        self.region.as_ref().ok_or_else(|| {
            usage_error("no region is set").hint("give --region, or set `region` in the profile")
        })
    }

    pub(super) fn artifacts(&self) -> Result<ServiceEndpoint, CliError> {
        self.endpoint(Service::Artifacts, None, |endpoints| endpoints.artifacts())
    }

    pub(super) fn kms_crypto(&self, key: &Ocid) -> Result<ServiceEndpoint, CliError> {
        self.endpoint(Service::Kms, Some(key), |endpoints| endpoints.kms_crypto(key))
    }

    pub(super) fn kms_management(&self, key: &Ocid) -> Result<ServiceEndpoint, CliError> {
        self.endpoint(Service::Kms, Some(key), |endpoints| endpoints.kms_management(key))
    }

    fn endpoint(
        &self,
        service: Service,
        key: Option<&Ocid>,
        select: impl FnOnce(&RegionEndpoints) -> Result<ServiceEndpoint, crate::net::oracle::EndpointError>,
    ) -> Result<ServiceEndpoint, CliError> {
        let no_endpoint = || usage_error("could not determine the endpoint");
        if let Some(endpoint) = &self.endpoint {
            return ServiceEndpoint::new(endpoint, service).map_err(|error| no_endpoint().because(error));
        }
        let region = self.region()?.clone();
        // For a region that the table does not list, an OCID gives the realm.
        let endpoints = match self.tenancy.as_ref().or(key) {
            Some(ocid) => RegionEndpoints::new(region, ocid),
            None => RegionEndpoints::known(region),
        };
        endpoints
            .and_then(|endpoints| select(&endpoints))
            .map_err(|error| no_endpoint().because(error))
    }
}

fn instance() -> Result<Identity, CliError> {
    let unusable = |name: &str| usage_error(format!("could not use {name}"));
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

/// Describes a failed call to Oracle's services, with exit code and hint.
pub(super) fn api_error(message: impl Into<String>, error: ApiError) -> CliError {
    let (exit, hint) = match &error {
        ApiError::Call(CallError::NotFound { .. }) => (
            Exit::No,
            Some(
                "check the OCID and the region; reading needs the policy `read repos` (keys: `use keys`), changing needs `manage repos`",
            ),
        ),
        ApiError::Call(CallError::Unauthorized { .. }) => (
            Exit::CouldNotTell,
            Some("check that the API key is uploaded for this user and that the profile is the intended one"),
        ),
        ApiError::Identity {
            source: IdentityError::ConfigFile(_) | IdentityError::Profile(_),
            ..
        } => (Exit::Usage, None),
        ApiError::Call(CallError::Operation { .. }) => (Exit::Usage, None),
        ApiError::Call(
            CallError::CutOff { .. } | CallError::DeadlineExceeded { .. } | CallError::Unreachable { .. },
        ) => (
            Exit::CouldNotTell,
            Some("try again, and check --region, --endpoint and --timeout"),
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
    let described = CliError::new(message, exit).because(error);
    match hint {
        Some(hint) => described.hint(hint),
        None => described,
    }
}

/// Parses the OCID of a key in an argument.
pub(super) fn key_id(text: &str) -> Result<Ocid, String> {
    let ocid = parse_kind(text, "key")?;
    match ocid.vault_extension() {
        Ok(_) => Ok(ocid),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses the OCID of a key version in an argument.
pub(super) fn key_version_id(text: &str) -> Result<Ocid, String> {
    parse_kind(text, "keyversion")
}

/// Parses the OCID of a signature record in an argument.
pub(super) fn signature_id(text: &str) -> Result<Ocid, String> {
    parse_kind(text, "containerimagesignature")
}

/// Parses the OCID of an image in an argument.
pub(super) fn image_id(text: &str) -> Result<Ocid, String> {
    parse_kind(text, "containerimage")
}

/// Parses the OCID of a compartment in an argument. The tenancy is the root compartment.
pub(super) fn compartment_id(text: &str) -> Result<Ocid, String> {
    parse_kind(text, "compartment").or_else(|error| parse_kind(text, "tenancy").map_err(|_other| error))
}

fn parse_kind(text: &str, kind: &'static str) -> Result<Ocid, String> {
    text.parse::<Ocid>()
        .and_then(|ocid| ocid.expect_kind(kind))
        .map_err(|error| error.to_string())
}

/// Reads an environment variable; an empty one counts as unset.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)
        .and_then(|value: OsString| value.into_string().ok())
        .filter(|value| !value.is_empty())
}

/// Reads an environment variable that names a path, and expands a leading `~/`.
fn path(name: &str) -> Option<PathBuf> {
    let text = variable(name)?;
    match (text.strip_prefix("~/"), variable("HOME")) {
        (Some(below), Some(home)) => Some(PathBuf::from(home).join(below)),
        (Some(_) | None, _) => Some(PathBuf::from(text)),
    }
}

fn usage_error(message: impl Into<String>) -> CliError {
    CliError::new(message, Exit::Usage)
}
