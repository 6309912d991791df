//! `[registry.oracle]`: Oracle's Artifacts API as a place where signatures are.

use std::path::PathBuf;
use std::sync::Arc;

use super::registries;
use crate::base::error_chain::chain;
use crate::base::strict_toml::problem::{Report, Reported};
use crate::base::strict_toml::table::{Table, TextOrTable};
use crate::base::strict_toml::value::Text;
use crate::net::oracle::{
    EndpointError, Identity, InstancePrincipal, MetadataService, Ocid, OracleRegistryConfig, Region,
    RegionEndpoints, Service, ServiceEndpoint,
};

/// Reads the table. `ca` is the registry's own.
pub(super) fn read(
    mut table: Table<'_>,
    ca: Result<Option<Vec<u8>>, Reported>,
) -> Result<OracleRegistryConfig, Reported> {
    let report = table.report();
    let endpoint = url(&mut table, "endpoint", |text| {
        ServiceEndpoint::new(text, Service::Artifacts)
    });
    let region = match table.text("region") {
        Ok(Some(text)) => text
            .parse::<Region>("write its id: `region = \"us-phoenix-1\"`", report)
            .map(|region| Some((region, text))),
        Ok(None) => Ok(None),
        Err(reported) => Err(reported),
    };
    let compartment_id = compartment(&mut table);
    let in_subtree = subtree(&mut table, &compartment_id);
    let federation = url(&mut table, "federation_endpoint", |text| {
        ServiceEndpoint::new(text, Service::Federation)
    });
    let metadata = url(&mut table, "metadata_endpoint", MetadataService::new);
    let identity = identity(&mut table, federation, metadata);
    let artifacts = match (endpoint, region, &identity, &compartment_id) {
        (Ok(Some(_)), Ok(Some((_, text))), _, _) => Err(report.problem(
            text.at,
            "`endpoint` and `region` say the same thing twice",
            Some("keep `endpoint` for a place of its own, `region` for Oracle's".to_owned()),
        )),
        (Ok(Some(endpoint)), Ok(None), _, _) => Ok(endpoint),
        (Ok(None), Ok(region), Ok(identity), Ok(compartment_id)) => {
            of_region(&table, region, identity, compartment_id.as_ref())
        }
        (Err(_), _, _, _) | (_, Err(_), _, _) | (_, _, Err(_), _) | (_, _, _, Err(_)) => Err(report.again()),
    };
    table.finish();
    Ok(OracleRegistryConfig {
        artifacts: artifacts?,
        compartment_id: compartment_id?,
        in_subtree: in_subtree?,
        identity: identity?,
        ca: ca?,
    })
}

/// The API of the region that the table names, or the profile.
fn of_region(
    table: &Table<'_>,
    region: Option<(Region, Text<'_>)>,
    identity: &Identity,
    compartment_id: Option<&Ocid>,
) -> Result<ServiceEndpoint, Reported> {
    let named = identity.profile_tenancy_and_region();
    let of_profile = named.as_ref().and_then(|(_, region)| region.clone());
    let (region, at) = match (region, of_profile) {
        (Some((region, text)), _) => (region, text.at),
        (None, Some(region)) => (region, table.at()),
        (None, None) => return Err(table.missing("region", "\"us-phoenix-1\"")),
    };
    // Where the table of regions does not know it, an OCID says the realm.
    let realm_of = named.map(|(tenancy, _)| tenancy).or(compartment_id.cloned());
    let place = match realm_of {
        Some(ocid) => RegionEndpoints::new(region, &ocid),
        None => RegionEndpoints::known(region),
    };
    place.and_then(|place| place.artifacts()).map_err(|error| {
        let hint = Some("add `endpoint = \"https://artifacts.….oci.…\"` in its place".to_owned());
        table.report().problem(at, error.to_string(), hint)
    })
}

fn compartment(table: &mut Table<'_>) -> Result<Option<Ocid>, Reported> {
    let report = table.report();
    let Some(text) = table.text("compartment_id")? else {
        return Ok(None);
    };
    let hint =
        "name the compartment that the repositories are in: `ocid1.compartment.…`, or the tenancy's own OCID";
    let ocid = text.parse::<Ocid>(hint, report)?;
    if matches!(ocid.kind(), "compartment" | "tenancy") {
        Ok(Some(ocid))
    } else {
        let message = format!("`{ocid}` is no compartment");
        Err(report.problem(text.at, message, Some(hint.to_owned())))
    }
}

fn subtree(table: &mut Table<'_>, compartment_id: &Result<Option<Ocid>, Reported>) -> Result<bool, Reported> {
    let key = "compartment_id_in_subtree";
    let in_subtree = table.boolean(key)?.unwrap_or(false);
    let of_tenancy = match compartment_id {
        Ok(Some(ocid)) => ocid.kind() == "tenancy",
        Ok(None) => false,
        Err(_reported) => true,
    };
    if in_subtree && !of_tenancy {
        let hint = "set `compartment_id` to the tenancy's OCID, or take the setting out".to_owned();
        return Err(table.report().problem(
            table.at_value(key),
            "Oracle looks through subcompartments from the tenancy alone",
            Some(hint),
        ));
    }
    Ok(in_subtree)
}

fn identity(
    table: &mut Table<'_>,
    federation: Result<Option<ServiceEndpoint>, Reported>,
    metadata: Result<Option<MetadataService>, Reported>,
) -> Result<Arc<Identity>, Reported> {
    let report = table.report();
    let example = "{ config_file = \"oci/config\", profile = \"DEFAULT\" }";
    let mut inner = match table.text_or_table("auth", "`auth`")? {
        None => return Err(table.missing("auth", example)),
        Some(TextOrTable::Text(text)) => {
            text.choice("auth", &[INSTANCE], |word| word, report)?;
            let metadata = match metadata? {
                Some(named) => Some(named),
                None => of_environment(text, report)?,
            };
            return Ok(Arc::new(Identity::instance(InstancePrincipal {
                metadata,
                federation: federation?,
            })));
        }
        Some(TextOrTable::Table(inner)) => inner,
    };
    let file = inner.required_text("config_file", "\"oci/config\"");
    let profile = inner.text("profile");
    let path = file.map(|file| (inner.path(file.text), file.at));
    inner.finish();
    for (key, is_there) in [
        ("federation_endpoint", matches!(federation, Ok(Some(_)))),
        ("metadata_endpoint", matches!(metadata, Ok(Some(_)))),
    ] {
        if is_there {
            let hint = Some(format!("take it out, or write `auth = \"{INSTANCE}\"`"));
            let message = format!("`{key}` means nothing with a configuration file");
            return Err(report.problem(table.at_key(key), message, hint));
        }
    }
    let (path, at) = path?;
    let profile = profile?.map_or(DEFAULT_PROFILE, |text| text.text);
    // It is read again when it changed; that it can be read now shows a wrong path before the first pull does.
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let identity = Identity::profile(path, profile, home.map(PathBuf::from));
    identity.map(Arc::new).map_err(|error| {
        let hint = "let the daemon's user read the file and the key that it names; relative paths start at the \
                    folder of the file that names them";
        report.problem(at, chain(&error), Some(hint.to_owned()))
    })
}

/// What Oracle's own tools read for the same.
fn of_environment(text: Text<'_>, report: &Report) -> Result<Option<MetadataService>, Reported> {
    let Some(value) = std::env::var_os(METADATA_VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let service = MetadataService::new(&value.to_string_lossy());
    service.map(Some).map_err(|error| {
        let hint = Some(format!(
            "unset the variable `{METADATA_VARIABLE}`, or set it to a URL"
        ));
        report.problem(text.at, format!("`{METADATA_VARIABLE}`: {error}"), hint)
    })
}

/// A URL, over TLS where it leaves this machine: a request may carry a token.
fn url<T>(
    table: &mut Table<'_>,
    key: &'static str,
    read: impl Fn(&str) -> Result<T, EndpointError>,
) -> Result<Option<T>, Reported> {
    let Some(text) = table.text(key)? else {
        return Ok(None);
    };
    let report = table.report();
    let example = || Some(format!("write `{key} = \"https://host.example\"`"));
    let made = read(text.text).map_err(|error| report.problem(text.at, error.to_string(), example()))?;
    // The metadata service is the only one that is there, and it speaks plain http.
    if key == "metadata_endpoint" {
        return Ok(Some(made));
    }
    // That it is a URL was seen above.
    let url = text.text.parse::<url::Url>().ok();
    if url.as_ref().is_some_and(registries::link_local) {
        let message = format!("`{}` is a link-local address", text.text.escape_debug());
        let hint = Some("the gate never asks those: cloud metadata lives there".to_owned());
        return Err(report.problem(text.at, message, hint));
    }
    if url.is_some_and(|url| url.scheme() == "http" && !registries::loopback(&url)) {
        let message = "requests that identify this node do not go in the clear";
        let hint = Some("use https; plain http is for 127.0.0.1 alone".to_owned());
        return Err(report.problem(text.at, message, hint));
    }
    Ok(Some(made))
}

const INSTANCE: &str = "instance-principal";

const DEFAULT_PROFILE: &str = "DEFAULT";

const METADATA_VARIABLE: &str = "OCI_METADATA_BASE_URL";
