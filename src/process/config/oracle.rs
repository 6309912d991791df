//! `[registry.oracle]`: access to Oracle's Artifacts API, which keeps signatures.

use std::path::PathBuf;
use std::sync::Arc;

use super::endpoints::url;
use crate::base::error_chain::chain;
use crate::base::strict_toml::problem::{Report, Reported};
use crate::base::strict_toml::table::{Table, Text};
use crate::base::strict_toml::value::TextOrTable;
use crate::net::oracle::{
    Identity, InstancePrincipal, MetadataService, Ocid, OracleRegistryConfig, Region, RegionEndpoints,
    Service, ServiceEndpoint,
};

/// Reads the table. `ca` holds the certificates of its registry.
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
            text.span,
            "`endpoint` and `region` exclude each other",
            Some("keep `region` for Oracle's own API, or `endpoint` for another URL".to_owned()),
        )),
        (Ok(Some(endpoint)), Ok(None), _, _) => Ok(endpoint),
        (Ok(None), Ok(region), Ok(identity), Ok(compartment_id)) => {
            endpoint_of_region(&table, region, identity, compartment_id.as_ref())
        }
        (Err(_), _, _, _) | (_, Err(_), _, _) | (_, _, Err(_), _) | (_, _, _, Err(_)) => {
            Err(report.already_reported())
        }
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

/// Returns the API of the region that the table names, or the profile.
fn endpoint_of_region(
    table: &Table<'_>,
    region: Option<(Region, Text<'_>)>,
    identity: &Identity,
    compartment_id: Option<&Ocid>,
) -> Result<ServiceEndpoint, Reported> {
    let named = identity.profile_tenancy_and_region();
    let of_profile = named.as_ref().and_then(|(_, region)| region.clone());
    let (region, at) = match (region, of_profile) {
        (Some((region, text)), _) => (region, text.span),
        (None, Some(region)) => (region, table.span()),
        (None, None) => return Err(table.missing("region", "\"us-phoenix-1\"")),
    };
    // The realm of a region that is not in the built-in table is taken from an OCID.
    let realm_of = named.map(|(tenancy, _)| tenancy).or(compartment_id.cloned());
    let place = match realm_of {
        Some(ocid) => RegionEndpoints::new(region, &ocid),
        None => RegionEndpoints::known(region),
    };
    place.and_then(|place| place.artifacts()).map_err(|error| {
        let hint = Some("replace it by `endpoint = \"https://artifacts.….oci.…\"`".to_owned());
        table.report().problem(at, error.to_string(), hint)
    })
}

fn compartment(table: &mut Table<'_>) -> Result<Option<Ocid>, Reported> {
    let report = table.report();
    let Some(text) = table.text("compartment_id")? else {
        return Ok(None);
    };
    let hint = "name the compartment of the repositories, `ocid1.compartment.…`, or the OCID of the tenancy";
    let ocid = text.parse::<Ocid>(hint, report)?;
    if matches!(ocid.kind(), "compartment" | "tenancy") {
        Ok(Some(ocid))
    } else {
        let message = format!("`{ocid}` is not the OCID of a compartment");
        Err(report.problem(text.span, message, Some(hint.to_owned())))
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
        let hint = "set `compartment_id` to the OCID of the tenancy, or remove the setting".to_owned();
        return Err(table.report().problem(
            table.value_span(key),
            "Oracle searches subcompartments only from the tenancy",
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
                None => metadata_of_environment(text, report)?,
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
    let path = file.map(|file| (inner.path(file.text), file.span));
    inner.finish();
    for (key, is_there) in [
        ("federation_endpoint", matches!(federation, Ok(Some(_)))),
        ("metadata_endpoint", matches!(metadata, Ok(Some(_)))),
    ] {
        if is_there {
            let hint = Some(format!("remove it, or write `auth = \"{INSTANCE}\"`"));
            let message = format!("`{key}` has no effect with a configuration file");
            return Err(report.problem(table.key_span(key), message, hint));
        }
    }
    let (path, at) = path?;
    let profile = profile?.map_or(DEFAULT_PROFILE, |text| text.text);
    // The file is read again when it changes. Reading it now finds a wrong path before the first pull.
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let identity = Identity::profile(path, profile, home.map(PathBuf::from));
    identity.map(Arc::new).map_err(|error| {
        let hint = "give the daemon's user read access to the file and to the key that it names; relative paths start at the \
                    folder of the file that names them";
        report.problem(at, chain(&error), Some(hint.to_owned()))
    })
}

/// Reads the environment variable that Oracle's own tools read for this.
fn metadata_of_environment(text: Text<'_>, report: &Report) -> Result<Option<MetadataService>, Reported> {
    let Some(value) = std::env::var_os(METADATA_VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let service = MetadataService::new(&value.to_string_lossy());
    service.map(Some).map_err(|error| {
        let hint = Some(format!(
            "unset the variable `{METADATA_VARIABLE}`, or set it to a URL"
        ));
        report.problem(text.span, format!("`{METADATA_VARIABLE}`: {error}"), hint)
    })
}

const INSTANCE: &str = "instance-principal";

const DEFAULT_PROFILE: &str = "DEFAULT";

const METADATA_VARIABLE: &str = "OCI_METADATA_BASE_URL";
