//! URLs of registries and of Oracle's services, and the certificates that they are trusted by.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use url::Url;

use crate::base::files;
use crate::base::limits::CERTIFICATE_BYTES;
use crate::base::strict_toml::problem::{Report, Reported};
use crate::base::strict_toml::table::{Table, Text};
use crate::net::oracle::EndpointError;
use crate::net::registry::RegistryConfig;
use crate::net::transport::guard::{host_is_link_local, host_is_loopback};

/// Reads the URLs of a registry: the mirrors first, the endpoint last.
pub(super) fn endpoints(table: &mut Table<'_>, host: Result<&str, Reported>) -> Result<Vec<Url>, Reported> {
    let report = table.report();
    let read = |text: Text<'_>| endpoint(text, report).map(|url| (url, text.span));
    let mirrors = table.each("mirrors", read);
    let own = table.text("endpoint").and_then(|text| text.map(read).transpose());
    let mut urls: Vec<Url> = Vec::new();
    let (mirrors, own) = (mirrors?.unwrap_or_default(), own?);
    let default = own.is_none();
    for (url, at) in mirrors.into_iter().chain(own) {
        if urls.contains(&url) {
            let hint = Some("name each URL once: mirrors are tried first, the endpoint last".to_owned());
            return Err(report.problem(
                at,
                format!("`{url}` appears twice among mirrors and endpoint"),
                hint,
            ));
        }
        urls.push(url);
    }
    if default {
        let known = RegistryConfig::default_for(host?).map_err(|error| {
            report.problem(
                table.value_span("host"),
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
            text.span,
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
            "contains credentials",
            "put them in a file, and set `credentials = { file = \"auth.json\" }`",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refused(
            "contains a query or a fragment",
            "write it as `https://registry.example`",
        );
    }
    if host_is_link_local(&url) {
        return refused(
            "is a link-local address",
            "use another address: the gate never connects to link-local addresses, which serve cloud metadata",
        );
    }
    if url.scheme() == "http" && !host_is_loopback(&url) {
        let hint = Some("use https, with `ca` for a private certificate authority".to_owned());
        report.warning(
            text.span,
            format!(
                "`{}` does not use TLS: credentials are sent in clear text",
                text.text
            ),
            hint,
        );
    }
    Ok(url)
}

/// Reads the PEM file of the certificates that are trusted beside those of the system.
pub(super) fn ca(table: &mut Table<'_>) -> Result<Option<Vec<u8>>, Reported> {
    let Some(text) = table.text("ca")? else {
        return Ok(None);
    };
    let path = table.path(text.text);
    let report = table.report();
    let pem = files::read(&path, CERTIFICATE_BYTES)
        .map_err(|error| report.problem(text.span, error.to_string(), error.hint()))?;
    let why = match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if certificates.is_empty() => "does not contain a certificate".to_owned(),
        Ok(_) => return Ok(Some(pem.to_vec())),
        Err(error) => format!("is not PEM: {error}"),
    };
    let hint = Some("name a PEM file with the certificate of the authority".to_owned());
    Err(report.problem(text.span, format!("`{}` {why}", path.display()), hint))
}

/// Reads the URL of a service of Oracle. A request may carry a token, so a URL that leaves this machine uses TLS.
pub(super) fn url<T>(
    table: &mut Table<'_>,
    key: &'static str,
    read: impl Fn(&str) -> Result<T, EndpointError>,
) -> Result<Option<T>, Reported> {
    let Some(text) = table.text(key)? else {
        return Ok(None);
    };
    let report = table.report();
    let example = || Some(format!("write `{key} = \"https://host.example\"`"));
    let made = read(text.text).map_err(|error| report.problem(text.span, error.to_string(), example()))?;
    // The metadata service of the cloud has a link-local address and speaks plain http.
    if key == "metadata_endpoint" {
        return Ok(Some(made));
    }
    // `read` has checked that it is a URL.
    let url = text.text.parse::<Url>().ok();
    if url.as_ref().is_some_and(host_is_link_local) {
        let message = format!("`{}` is a link-local address", text.text.escape_debug());
        let hint = Some("use another address: the gate never connects to link-local addresses, which serve cloud metadata".to_owned());
        return Err(report.problem(text.span, message, hint));
    }
    if url.is_some_and(|url| url.scheme() == "http" && !host_is_loopback(&url)) {
        let message = format!("`{key}` must use TLS: its requests carry credentials of this node");
        let hint = Some("use https; http is accepted for this machine only".to_owned());
        return Err(report.problem(text.span, message, hint));
    }
    Ok(Some(made))
}

/// Replaces the part before `@`, which may be a password.
fn redacted(text: &str) -> String {
    let shown = match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        (Some(_) | None, None) => text.to_owned(),
    };
    shown.escape_debug().to_string()
}
