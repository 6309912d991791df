//! `[[registry]]`: how the gate reaches a registry that image names contain.

use std::collections::BTreeMap;

use super::{endpoints, oracle};
use crate::base::files;
use crate::base::limits::CREDENTIALS_BYTES;
use crate::base::strict_toml::problem::{Report, Reported, SourceSpan};
use crate::base::strict_toml::table::{Table, Text};
use crate::base::strict_toml::value::TextOrTable;
use crate::door::registry::settings::registry_host;
use crate::net::oracle::OracleRegistryConfig;
use crate::net::registry::{Credentials, RegistryConfig};
use crate::pull::find;
use crate::signature::SourceName;

/// Every `[[registry]]`, with the place of its host.
#[derive(Debug, Default)]
pub(super) struct ConfiguredRegistries {
    registries: Vec<RegistryConfig>,
    oracle: Vec<(String, OracleRegistryConfig)>,
    hosts: BTreeMap<String, SourceSpan>,
}

impl ConfiguredRegistries {
    /// Reads one `[[registry]]`.
    pub(super) fn add(&mut self, mut table: Table<'_>) {
        let report = table.report();
        let text = table.required_text("host", "\"registry.example\"");
        let host = text.and_then(|text| registry_host(text, report));
        let registry = read(&mut table, host);
        let oracle = match (table.table("oracle", "`[registry.oracle]`"), &registry) {
            (Ok(None), _) => Ok(None),
            (Ok(Some(inner)), Ok(registry)) => oracle::read(inner, Ok(registry.ca.clone())).map(Some),
            (Ok(Some(inner)), Err(_reported)) => {
                oracle::read(inner, Err(report.already_reported())).map(Some)
            }
            (Err(reported), _) => Err(reported),
        };
        let oracle = match (oracle, &registry) {
            (Ok(oracle), Ok(registry)) => check_oracle(&table, registry, oracle),
            (oracle, Err(_reported)) => oracle,
            (Err(reported), _) => Err(reported),
        };
        table.finish();
        let (Ok(text), Ok(host)) = (text, host) else {
            return;
        };
        if let Some(first) = self.hosts.get(host) {
            let hint = Some("merge the two tables, or remove one".to_owned());
            report.duplicate(
                text.span,
                *first,
                format!("the registry `{host}` has two tables"),
                hint,
            );
            return;
        }
        self.hosts.insert(host.to_owned(), text.span);
        if let (Ok(registry), Ok(oracle)) = (registry, oracle) {
            self.oracle
                .extend(oracle.map(|oracle| (registry.host.clone(), oracle)));
            self.registries.push(registry);
        }
    }

    /// Returns every registry and every `[registry.oracle]`, sorted by host.
    pub(super) fn sorted(mut self) -> (Vec<RegistryConfig>, Vec<(String, OracleRegistryConfig)>) {
        self.registries.sort_by(|one, other| one.host.cmp(&other.host));
        self.oracle.sort_by(|(one, _), (other, _)| one.cmp(other));
        (self.registries, self.oracle)
    }
}

/// Checks that `[registry.oracle]` and `"oracle-api"` in `signatures` come together: one without the other has no effect.
fn check_oracle(
    table: &Table<'_>,
    registry: &RegistryConfig,
    oracle: Option<OracleRegistryConfig>,
) -> Result<Option<OracleRegistryConfig>, Reported> {
    let named = registry.signatures.contains(&find::oracle_api::NAME);
    match (named, oracle) {
        (true, None) => Err(table.report().problem(
            table.value_span("signatures"),
            "`oracle-api` needs the table `[registry.oracle]`",
            Some("add `[registry.oracle]` with `region`, `compartment_id` and `auth`, or remove `\"oracle-api\"`".to_owned()),
        )),
        (false, Some(_)) => Err(table.report().problem(
            table.key_span("oracle"),
            "`[registry.oracle]` has no effect: `signatures` does not name `oracle-api`",
            Some("add `\"oracle-api\"` to `signatures`, or remove the table".to_owned()),
        )),
        (true, Some(oracle)) => Ok(Some(oracle)),
        (false, None) => Ok(None),
    }
}

fn read(table: &mut Table<'_>, host: Result<&str, Reported>) -> Result<RegistryConfig, Reported> {
    let endpoints = endpoints::endpoints(table, host);
    let ca = endpoints::ca(table);
    let credentials = credentials(table);
    let signatures = signatures(table);
    Ok(RegistryConfig {
        host: host?.to_owned(),
        endpoints: endpoints?,
        ca: ca?,
        credentials: credentials?,
        signatures: signatures?,
    })
}

fn credentials(table: &mut Table<'_>) -> Result<Credentials, Reported> {
    let report = table.report();
    let mut inner = match table.text_or_table("credentials", "`credentials`")? {
        None => return Ok(Credentials::Passthrough),
        Some(TextOrTable::Text(text)) => {
            let words = ["passthrough", "anonymous"];
            return Ok(match text.choice("credentials", &words, |word| word, report)? {
                "anonymous" => Credentials::Anonymous,
                _ => Credentials::Passthrough,
            });
        }
        Some(TextOrTable::Table(inner)) => inner,
    };
    let file = inner.text("file");
    let helper = inner.text("helper");
    let at = inner.span();
    let path = file.map(|file| file.map(|file| (inner.path(file.text), file.span)));
    inner.finish();
    match (path?, helper?) {
        (Some((path, place)), None) => {
            // The file is read again at each use. Reading it now finds a wrong path before the first pull.
            files::read(&path, CREDENTIALS_BYTES)
                .map_err(|error| report.problem(place, error.to_string(), error.hint()))?;
            Ok(Credentials::File(path))
        }
        (None, Some(helper)) => check_helper(helper, report),
        (Some(_), Some(_)) | (None, None) => {
            let hint =
                Some("write `{ file = \"auth.json\" }` or `{ helper = \"docker-credential-…\" }`".to_owned());
            Err(report.problem(at, "`credentials` must name either a file or a helper", hint))
        }
    }
}

fn check_helper(helper: Text<'_>, report: &Report) -> Result<Credentials, Reported> {
    let name = helper.text.rsplit('/').next().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let absolute = helper.text.starts_with('/');
    // Docker runs only programs with this prefix (github.com/docker/docker-credential-helpers).
    let named = name
        .strip_prefix("docker-credential-")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain));
    if !named || (helper.text.contains('/') && !absolute) {
        let hint = Some(
            "write the name of a program `docker-credential-…` on `PATH`, or its absolute path".to_owned(),
        );
        return Err(report.problem(
            helper.span,
            format!("`{}` is not a credential helper", helper.text.escape_debug()),
            hint,
        ));
    }
    if absolute && !std::path::Path::new(helper.text).is_file() {
        return Err(report.problem(
            helper.span,
            format!("there is no file `{}`", helper.text),
            Some("name the file of the program".to_owned()),
        ));
    }
    Ok(Credentials::Helper(helper.text.to_owned()))
}

fn signatures(table: &mut Table<'_>) -> Result<Vec<SourceName>, Reported> {
    let report = table.report();
    let sources = table.each("signatures", |text| {
        if text.text == "tag" {
            let message = "`tag` is now part of `referrers`";
            return Err(report.outdated(text.span, message, "name `\"referrers\"` alone"));
        }
        text.choice("signatures", &find::source_names(), SourceName::as_str, report)
    })?;
    Ok(sources.unwrap_or_else(|| SourceName::DEFAULT.to_vec()))
}
