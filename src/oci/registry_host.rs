//! The one answer to "is this a registry host", and the one spelling of each host.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::base::printable::excerpt;

/// A text that is not the host of a registry, or not one that image names can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a registry host")]
pub struct RegistryHostError(String);

/// Returns the one spelling of a registry's host and port, which stand before the first `/` of an image name.
///
/// Rules are looked up by this spelling, so a second spelling of a host would be a way past a rule. This goes further
/// than Docker, which keeps all of these apart:
/// - Hosts are lower-case: DNS ignores case (RFC 4343).
/// - `:443` is the port of `https` and is dropped. Any other port is another registry: a rule for `quay.io/**` does not
///   apply to `quay.io:8443/…`.
/// - The other names of Docker Hub become `docker.io`.
/// - IPv6 addresses are written as RFC 5952 says.
///
/// # Errors
/// [`RegistryHostError`] for a host that no image name can have, and also for
/// - a trailing dot (`docker.io.`), which DNS takes for the same host;
/// - IPv4 addresses in any spelling but four decimal numbers (`0x7f.1`, `127.1`), and IPv4 inside IPv6;
/// - a port with leading zeros, or 0;
/// - a single label other than `localhost`, without a port: in an image name it would be a part of a path on Docker
///   Hub, so no rule could name it.
pub fn normalised_registry(text: &str) -> Result<String, RegistryHostError> {
    let refused = || RegistryHostError(excerpt(text));
    if text.len() > NAME_LENGTH {
        return Err(refused());
    }
    let (host, port) = split_port(text);
    let host = normalised_host(host).ok_or_else(refused)?;
    // `foo:443` keeps its port: `foo` alone would not be read as a host again.
    let stands_alone = host == "localhost" || host.contains(['.', '[']);
    match port {
        None if stands_alone => Ok(without_alias(host)),
        Some("443") if stands_alone => Ok(without_alias(host)),
        Some(port) if is_port(port) => Ok(format!("{host}:{port}")),
        None | Some(_) => Err(refused()),
    }
}

/// Splits the registry off a name. A name that begins with no host is on Docker Hub.
pub(super) fn split_host(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest)) if is_registry_host(first) => (first, rest),
        Some(_) | None => (DOCKER_HUB, name),
    }
}

/// Whether the first part of a name is meant as a host, which need not be a valid one. As Docker decides it
/// (`github.com/distribution/reference`, `splitDockerDomain`): a host has a `.`, a `:` or an upper-case letter, which
/// paths do not have, or it is `localhost`.
pub(crate) fn is_registry_host(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.contains(|letter: char| letter.is_ascii_uppercase())
}

/// Splits at the colon before the port, which is not one of those inside an IPv6 address.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    }
}

/// Returns the one spelling of a host, if the text is a host.
fn normalised_host(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().ok()?;
        // `[::ffff:10.0.0.1]` would be a second name of `10.0.0.1`, and `[::10.0.0.1]` may be one. Docker accepts neither.
        return address
            .to_ipv4()
            .is_none_or(|_| address.is_loopback())
            .then(|| format!("[{address}]"));
    }
    let host = host.to_ascii_lowercase();
    if host.len() > HOST_LENGTH || !host.split('.').all(is_label) {
        return None;
    }
    // URL parsers take a host whose last label is a number for an IPv4 address, in octal, in hexadecimal and with
    // parts left out (WHATWG URL, "ends in a number"): only the one canonical spelling may reach them.
    let last = host.rsplit('.').next().unwrap_or(&host);
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_number && host.parse::<Ipv4Addr>().is_err() {
        return None;
    }
    Some(host)
}

/// Whether this is one label of a host name (RFC 1123 2.1; Docker's `domainNameComponent`).
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= LABEL_LENGTH
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether this is a port, written as a number is: `+80` and `0443` are refused.
fn is_port(text: &str) -> bool {
    text.parse::<u16>()
        .is_ok_and(|port| port != 0 && port.to_string() == text)
}

/// Joins the names of Docker Hub into the one that rules use.
fn without_alias(host: String) -> String {
    if DOCKER_HUB_ALIASES.contains(&host.as_str()) {
        DOCKER_HUB.to_owned()
    } else {
        host
    }
}

/// The registry of names that begin with no host.
pub(super) const DOCKER_HUB: &str = "docker.io";

/// Other hosts that serve Docker Hub: the name of its first index, which Docker itself normalises; the host that
/// answers its requests; and a host that old build scripts use.
const DOCKER_HUB_ALIASES: [&str; 3] = [
    "index.docker.io",
    "registry-1.docker.io",
    "registry.hub.docker.com",
];

/// Longest name, with its host: what clients accept (distribution-spec 1.1, "Pulling manifests").
pub(crate) const NAME_LENGTH: usize = 255;

/// Longest host name as text (RFC 1035 2.3.4).
const HOST_LENGTH: usize = 253;

/// Longest label of a host name (RFC 1035 2.3.4).
const LABEL_LENGTH: usize = 63;

#[cfg(test)]
mod tests {
    use super::{is_registry_host, split_host};

    /// The inputs on which earlier answers differed: upper-case letters outside ASCII, which neither hosts nor paths have.
    #[test]
    fn the_first_part_of_a_name_is_a_host_as_docker_decides_it() {
        for host in [
            "localhost",
            "a.b",
            "a:1",
            "LOCALHOST",
            "Quay",
            "[::1]",
            ".",
            ":",
            "127.1",
        ] {
            assert!(is_registry_host(host), "{host}");
            assert_eq!(split_host(&format!("{host}/app")), (host, "app"));
        }
        for part in ["library", "local-host", "", "É", "a_b", "*"] {
            assert!(!is_registry_host(part), "{part}");
            let name = format!("{part}/app");
            assert_eq!(split_host(&name), ("docker.io", name.as_str()));
        }
        // A name of one part is a path, whatever it looks like.
        assert_eq!(split_host("quay.io"), ("docker.io", "quay.io"));
    }
}
