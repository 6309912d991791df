//! `[[registry]]`: where a registry that images name is reached, and how.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use url::{Host, Url};

use super::{files, oracle};
use crate::base::limits::{CERTIFICATE_BYTES, CREDENTIALS_BYTES};
use crate::base::strict_toml::problem::{At, Report, Reported};
use crate::base::strict_toml::table::{Table, TextOrTable};
use crate::base::strict_toml::value::Text;
use crate::door::registry::settings::registry_host;
use crate::net::oracle::OracleRegistryConfig;
use crate::net::registry::{Credentials, RegistryConfig};
use crate::pull::find;
use crate::signature::SourceName;

/// Every registry.
#[derive(Debug, Default)]
pub(super) struct Registries {
    registries: Vec<RegistryConfig>,
    oracle: Vec<(String, OracleRegistryConfig)>,
    hosts: BTreeMap<String, At>,
}

impl Registries {
    /// Reads one `[[registry]]`.
    pub(super) fn add(&mut self, mut table: Table<'_>) {
        let report = table.report();
        let text = table.required_text("host", "\"registry.example\"");
        let host = text.and_then(|text| registry_host(text, report));
        let registry = read(&mut table, host);
        let oracle = match (table.table("oracle", "`[registry.oracle]`"), &registry) {
            (Ok(None), _) => Ok(None),
            (Ok(Some(inner)), Ok(registry)) => oracle::read(inner, Ok(registry.ca.clone())).map(Some),
            (Ok(Some(inner)), Err(_reported)) => oracle::read(inner, Err(report.again())).map(Some),
            (Err(reported), _) => Err(reported),
        };
        let oracle = match (oracle, &registry) {
            (Ok(oracle), Ok(registry)) => used(&table, registry, oracle),
            (oracle, Err(_reported)) => oracle,
            (Err(reported), _) => Err(reported),
        };
        table.finish();
        let (Ok(text), Ok(host)) = (text, host) else {
            return;
        };
        if let Some(first) = self.hosts.get(host) {
            let hint = Some("put them together, or take one out".to_owned());
            report.twice(
                text.at,
                *first,
                format!("the registry `{host}` is described twice"),
                hint,
            );
            return;
        }
        self.hosts.insert(host.to_owned(), text.at);
        if let (Ok(registry), Ok(oracle)) = (registry, oracle) {
            self.oracle
                .extend(oracle.map(|oracle| (registry.host.clone(), oracle)));
            self.registries.push(registry);
        }
    }

    /// Every registry, and every `[registry.oracle]`, by host.
    pub(super) fn sorted(mut self) -> (Vec<RegistryConfig>, Vec<(String, OracleRegistryConfig)>) {
        self.registries.sort_by(|one, other| one.host.cmp(&other.host));
        self.oracle.sort_by(|(one, _), (other, _)| one.cmp(other));
        (self.registries, self.oracle)
    }
}

/// The table where `signatures` names it, and there alone: half of a setting would look for nothing.
fn used(
    table: &Table<'_>,
    registry: &RegistryConfig,
    oracle: Option<OracleRegistryConfig>,
) -> Result<Option<OracleRegistryConfig>, Reported> {
    let named = registry.signatures.contains(&find::oracle_api::NAME);
    match (named, oracle) {
        (true, None) => Err(table.report().problem(
            table.at_value("signatures"),
            "`oracle-api` needs to know where Oracle's API is and as whom it is asked",
            Some("add `[registry.oracle]` with `region`, `compartment_id` and `auth`".to_owned()),
        )),
        (false, Some(_)) => Err(table.report().problem(
            table.at_key("oracle"),
            "`[registry.oracle]` is never asked",
            Some("add `\"oracle-api\"` to `signatures`, or take the table out".to_owned()),
        )),
        (true, Some(oracle)) => Ok(Some(oracle)),
        (false, None) => Ok(None),
    }
}

fn read(table: &mut Table<'_>, host: Result<&str, Reported>) -> Result<RegistryConfig, Reported> {
    let endpoints = endpoints(table, host);
    let ca = ca(table);
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

/// Mirrors first, the endpoint last.
fn endpoints(table: &mut Table<'_>, host: Result<&str, Reported>) -> Result<Vec<Url>, Reported> {
    let report = table.report();
    let read = |text: Text<'_>| endpoint(text, report).map(|url| (url, text.at));
    let mirrors = table.each("mirrors", read);
    let own = table.text("endpoint").and_then(|text| text.map(read).transpose());
    let mut urls: Vec<Url> = Vec::new();
    let (mirrors, own) = (mirrors?.unwrap_or_default(), own?);
    let default = own.is_none();
    for (url, at) in mirrors.into_iter().chain(own) {
        if urls.contains(&url) {
            let hint = Some("mirrors come first, the endpoint last: name each place once".to_owned());
            return Err(report.problem(at, format!("`{url}` is asked twice"), hint));
        }
        urls.push(url);
    }
    if default {
        let known = RegistryConfig::default_for(host?).map_err(|error| {
            report.problem(
                table.at_value("host"),
                error.to_string(),
                Some("add `endpoint = \"https://…\"`".to_owned()),
            )
        })?;
        urls.extend(
            known
                .endpoints
                .into_iter()
                .filter(|url| !urls.contains(url))
                .collect::<Vec<_>>(),
        );
    }
    Ok(urls)
}

fn endpoint(text: Text<'_>, report: &Report) -> Result<Url, Reported> {
    let refused = |why: &str, hint: &str| {
        Err(report.problem(
            text.at,
            format!("`{}` {why}", redacted(text.text)),
            Some(hint.to_owned()),
        ))
    };
    let url = match text.text.parse::<Url>() {
        Ok(url) => url,
        Err(error) => {
            return refused(
                &format!("is not a URL: {error}"),
                "write it as `https://registry.example`",
            );
        }
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refused(
            "is neither http nor https",
            "write it as `https://registry.example`",
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refused(
            "holds credentials",
            "name them in `credentials = { file = \"auth.json\" }`",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refused(
            "holds a query or a fragment",
            "write it as `https://registry.example`",
        );
    }
    if link_local(&url) {
        return refused(
            "is a link-local address",
            "the gate never asks those: cloud metadata lives there",
        );
    }
    if url.scheme() == "http" && !loopback(&url) {
        let hint = Some("use https; with `ca` where its certificate is private".to_owned());
        report.warning(
            text.at,
            format!(
                "`{}` is asked without TLS: credentials go in the clear",
                text.text
            ),
            hint,
        );
    }
    Ok(url)
}

/// What stands before `@` may be a password.
fn redacted(text: &str) -> String {
    let shown = match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        (Some(_) | None, None) => text.to_owned(),
    };
    shown.escape_debug().to_string()
}

pub(super) fn loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        None => false,
    }
}

/// 169.254.0.0/16 (RFC 3927) and fe80::/10 (RFC 4291, 2.5.6).
pub(super) fn link_local(url: &Url) -> bool {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical(),
        Some(Host::Domain(_)) | None => return false,
    };
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn ca(table: &mut Table<'_>) -> Result<Option<Vec<u8>>, Reported> {
    let Some(text) = table.text("ca")? else {
        return Ok(None);
    };
    let path = table.path(text.text);
    let report = table.report();
    let pem = files::read(&path, CERTIFICATE_BYTES)
        .map_err(|error| report.problem(text.at, error.to_string(), error.hint()))?;
    let why = match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if certificates.is_empty() => "holds no certificate".to_owned(),
        Ok(_) => return Ok(Some(pem)),
        Err(error) => format!("is not PEM: {error}"),
    };
    let hint = Some("name a PEM file that holds the authority's certificate".to_owned());
    Err(report.problem(text.at, format!("`{}` {why}", path.display()), hint))
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
    let at = inner.at();
    let path = file.map(|file| file.map(|file| (inner.path(file.text), file.at)));
    inner.finish();
    match (path?, helper?) {
        (Some((path, place)), None) => {
            // It is read again at each use; that it can be read now shows a wrong path before the first pull does.
            files::read(&path, CREDENTIALS_BYTES)
                .map_err(|error| report.problem(place, error.to_string(), error.hint()))?;
            Ok(Credentials::File(path))
        }
        (None, Some(helper)) => check_helper(helper, report),
        (Some(_), Some(_)) | (None, None) => {
            let hint =
                Some("write `{ file = \"auth.json\" }` or `{ helper = \"docker-credential-…\" }`".to_owned());
            Err(report.problem(at, "`credentials` names one file or one helper", hint))
        }
    }
}

fn check_helper(helper: Text<'_>, report: &Report) -> Result<Credentials, Reported> {
    let name = helper.text.rsplit('/').next().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let absolute = helper.text.starts_with('/');
    // Docker runs no program of another name (github.com/docker/docker-credential-helpers).
    let named = name
        .strip_prefix("docker-credential-")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain));
    if !named || (helper.text.contains('/') && !absolute) {
        let hint =
            Some("write `docker-credential-…`, as it stands on `PATH`, or its absolute path".to_owned());
        return Err(report.problem(
            helper.at,
            format!("`{}` is not a credential helper", helper.text.escape_debug()),
            hint,
        ));
    }
    if absolute && !std::path::Path::new(helper.text).is_file() {
        return Err(report.problem(
            helper.at,
            format!("there is no file `{}`", helper.text),
            Some("name the program's file".to_owned()),
        ));
    }
    Ok(Credentials::Helper(helper.text.to_owned()))
}

fn signatures(table: &mut Table<'_>) -> Result<Vec<SourceName>, Reported> {
    let report = table.report();
    let sources = table.each("signatures", |text| {
        text.choice("signatures", &find::source_names(), SourceName::as_str, report)
    })?;
    Ok(sources.unwrap_or_else(|| SourceName::DEFAULT.to_vec()))
}
