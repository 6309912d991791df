//! The guard judges where a request may go. It checks each hop of each request twice: the URL as it is written, and each
//! address that its name resolves to. A malicious registry (by a redirect, a token realm, a next page, a DNS answer) must
//! not make pullgate contact the machine's metadata service, its neighbours or pullgate itself (CVE-2020-15157 and the
//! class of server-side request forgery).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use url::{Host, Url};

/// Addresses at which clouds hand out a machine's identity, outside the link-local ranges, which are refused anyway: AWS
/// and Oracle (IPv6), Google (IPv6), Azure's wire server, Alibaba.
const METADATA: [IpAddr; 5] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

/// The metadata service of Oracle's instances (SDK 2.189.0,
/// `auth/signers/instance_principals_security_token_signer.py`).
const ORACLE_METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
];

/// The name of Google's metadata service. A proxy would resolve it, so that the guard would not see the address.
const METADATA_NAME: &str = "metadata.google.internal";

/// Why a request is forbidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Forbidden {
    /// It would leave TLS for plain text.
    #[error("it leads from https to http")]
    Downgrade,
    /// The URL has no host.
    #[error("the URL has no host")]
    Host,
    /// `169.254.0.0/16` or `fe80::/10`.
    #[error("the address is link-local")]
    LinkLocal,
    /// The address of a cloud's metadata service.
    #[error("the address is a metadata service")]
    Metadata,
    /// A multicast, broadcast or reserved address.
    #[error("the address does not belong to one machine")]
    NotUnicast,
    /// One of pullgate's own listeners.
    #[error("it is pullgate itself")]
    Own,
    /// A loopback or private address, named by a registry that has neither.
    #[error("a public registry led to a private address")]
    Private,
    /// The host name of this machine's proxy, named by a registry.
    #[error("it is the proxy itself")]
    Proxy,
    /// A scheme other than http and https.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// `0.0.0.0/8` or `::`.
    #[error("the address is unspecified")]
    Unspecified,
    /// A user name or password in the URL.
    #[error("the URL holds a user name or password")]
    Userinfo,
}

/// The rules for one kind of connection. Connections are pooled by host name, so that kinds with different rules for the
/// addresses of a name must not share a pool: the rules are part of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectPolicy {
    /// Whether the connection bypasses the proxy, because the name or address belongs to this machine.
    pub(crate) direct: bool,
    /// The port, if one of pullgate's listeners has the same one: then addresses of this machine are refused.
    pub(crate) own_port: Option<u16>,
    /// Whether the address may be loopback or private.
    pub(crate) private: bool,
}

/// Judges where requests may go.
#[derive(Debug)]
pub(crate) struct Guard {
    own_listeners: Vec<SocketAddr>,
    proxies: Vec<String>,
}

impl Guard {
    /// Creates a guard for pullgate's own listeners and the host names of the proxies, whose addresses the administrator
    /// chose.
    pub(crate) fn new(own_listeners: Vec<SocketAddr>, proxies: Vec<String>) -> Self {
        Self {
            own_listeners,
            proxies,
        }
    }

    /// Judges a URL as it is written, and returns the rules for the addresses of its name. `private` says that the URL is
    /// configured or was named by a private registry.
    pub(crate) fn check(&self, url: &Url, private: bool) -> Result<ConnectPolicy, Forbidden> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Forbidden::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden::Userinfo);
        }
        let port = url.port_or_known_default().ok_or(Forbidden::Scheme)?;
        let own_port = self
            .own_listeners
            .iter()
            .any(|own| own.port() == port)
            .then_some(port);
        let policy = ConnectPolicy {
            direct: false,
            own_port,
            private,
        };
        let literal = match url.host().ok_or(Forbidden::Host)? {
            Host::Domain(name) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                if name == METADATA_NAME {
                    return Err(Forbidden::Metadata);
                }
                if is_localhost(&name) {
                    return if private {
                        Ok(ConnectPolicy {
                            direct: true,
                            ..policy
                        })
                    } else {
                        Err(Forbidden::Private)
                    };
                }
                return if private || !self.proxies.contains(&name) {
                    Ok(policy)
                } else {
                    Err(Forbidden::Proxy)
                };
            }
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
        };
        self.check_address(literal, policy)?;
        Ok(ConnectPolicy {
            direct: embedded(literal).is_loopback(),
            ..policy
        })
    }

    /// Judges a request to this machine's own metadata service. Only the client that gets its identity there calls this
    /// method. `url` must be on exactly the origin of `service`, which must be one of the two addresses of Oracle's
    /// service as literals (a name never leads there), on the port of plain http; the connection bypasses the proxy. The
    /// usual rules hold for any other service (a stand-in in tests).
    pub(crate) fn to_metadata_service(&self, url: &Url, service: &Url) -> Result<ConnectPolicy, Forbidden> {
        if !same_origin(url, service) {
            return Err(Forbidden::Metadata);
        }
        let is_plain = url.scheme() == "http" && url.port_or_known_default() == Some(80);
        let is_bare = url.username().is_empty() && url.password().is_none();
        if is_plain
            && is_bare
            && literal_address(url).is_some_and(|address| ORACLE_METADATA.contains(&address))
        {
            return Ok(ConnectPolicy {
                direct: true,
                own_port: None,
                private: false,
            });
        }
        let policy = self.check(url, true)?;
        Ok(ConnectPolicy {
            direct: true,
            ..policy
        })
    }

    /// Judges one address, of a URL or of a resolved name.
    pub(crate) fn check_address(&self, address: IpAddr, policy: ConnectPolicy) -> Result<(), Forbidden> {
        if METADATA.contains(&address) {
            return Err(Forbidden::Metadata);
        }
        let address = embedded(address);
        if METADATA.contains(&address) {
            return Err(Forbidden::Metadata);
        }
        if address.is_unspecified() || matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0) {
            return Err(Forbidden::Unspecified);
        }
        if is_link_local(address) {
            return Err(Forbidden::LinkLocal);
        }
        // 240.0.0.0/4 holds the broadcast address and reserved ones.
        if address.is_multicast() || matches!(address, IpAddr::V4(v4) if v4.octets()[0] >= 240) {
            return Err(Forbidden::NotUnicast);
        }
        if let Some(port) = policy.own_port
            && self
                .own_listeners
                .iter()
                .any(|own| own.port() == port && listens(own.ip(), address))
        {
            return Err(Forbidden::Own);
        }
        if !policy.private && is_private(address) {
            return Err(Forbidden::Private);
        }
        Ok(())
    }

    /// Whether a name is the proxy's, whose addresses the administrator chose, private or not.
    pub(crate) fn is_proxy(&self, name: &str) -> bool {
        self.proxies.iter().any(|proxy| proxy == name)
    }
}

/// Whether an address is loopback or private: RFC 1918, RFC 6598 (shared), RFC 2544 (benchmarks), RFC 6890 (192.0.0.0/24), RFC 4193
/// (unique local), RFC 3879 (site-local).
pub(crate) fn is_private(address: IpAddr) -> bool {
    match embedded(address) {
        IpAddr::V4(v4) => {
            let [first, second, third, _] = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || (first == 100 && (64..128).contains(&second))
                || (first == 198 && (18..20).contains(&second))
                || (first == 192 && second == 0 && third == 0)
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            v6.is_loopback() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0
        }
    }
}

/// Whether a URL's host is an address of `169.254.0.0/16` (RFC 3927) or `fe80::/10` (RFC 4291, 2.5.6), also where such an
/// IPv4 address stands inside an IPv6 one. The guard refuses every one of them; the configuration says so before a request
/// fails.
pub(crate) fn host_is_link_local(url: &Url) -> bool {
    literal_address(url).is_some_and(|address| is_link_local(embedded(address)))
}

/// Whether requests to a URL stay on this machine, so that they may go in the clear: `localhost` and the names below it
/// (RFC 6761, 6.3), and loopback addresses. Narrower than [`embedded`]: the kernel keeps `::ffff:127.0.0.1` on this
/// machine, but sends `64:ff9b::7f00:1` to a translator.
pub(crate) fn host_is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(&name.trim_end_matches('.').to_ascii_lowercase()),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => {
            literal_address(url).is_some_and(|address| address.to_canonical().is_loopback())
        }
    }
}

fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(IpAddr::V4(address)),
        Host::Ipv6(address) => Some(IpAddr::V6(address)),
    }
}

/// Whether a configured endpoint is on this machine or in a private network: only then may it lead to other places there.
/// A name that does not resolve counts as public, which allows less.
pub(crate) async fn endpoint_is_private(url: &Url) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return false;
    };
    match tokio::net::lookup_host((bare_host(host), port)).await {
        Ok(mut found) => found.any(|address| is_private(address.ip())),
        Err(_) => false,
    }
}

/// Returns the host of a URL without the brackets of an IPv6 address.
pub(crate) fn bare_host(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Returns the host names of the proxies in the environment, in lower case.
pub(crate) fn proxies_of_environment() -> Vec<String> {
    [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ]
    .iter()
    .filter_map(|name| std::env::var(name).ok())
    .filter_map(|value| proxy_host(&value))
    .collect()
}

/// Whether two URLs have the same scheme, host and port. Unlike [`Url::origin`], this does not allocate.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Returns the host of a URL and, where it is written, its port, for errors.
pub(crate) fn host_of(url: &Url) -> String {
    struct HostAndPort<'a>(&'a Url);
    impl fmt::Display for HostAndPort<'_> {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0.host_str().unwrap_or("-"))?;
            self.0.port().map_or(Ok(()), |port| write!(formatter, ":{port}"))
        }
    }
    HostAndPort(url).to_string()
}

/// Returns the IPv4 address inside an IPv6 address, where the kernel or a translator would extract it: mapped
/// (`::ffff:0:0/96`), compatible (`::/96`), NAT64 (`64:ff9b::/96`), 6to4 (`2002::/16`).
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(mapped) = v6.to_ipv4_mapped() {
        return IpAddr::V4(mapped);
    }
    let [a, b, c, d, e, f, high, low] = v6.segments();
    let pair = match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0] if high != 0 => (high, low),
        [0x64, 0xff9b, 0, 0, 0, 0] => (high, low),
        [0x2002, high, low, ..] => (high, low),
        _ => return address,
    };
    let [[first, second], [third, fourth]] = [pair.0.to_be_bytes(), pair.1.to_be_bytes()];
    IpAddr::V4(Ipv4Addr::new(first, second, third, fourth))
}

/// Whether an address is link-local: `169.254.0.0/16` (RFC 3927) or `fe80::/10` (RFC 4291).
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match embedded(address) {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// Whether a listener bound to `own` receives connections to `address`.
fn listens(own: IpAddr, address: IpAddr) -> bool {
    let own = embedded(own);
    if own.is_unspecified() || own.is_loopback() {
        address.is_loopback() || (own.is_unspecified() && is_of_this_machine(address))
    } else {
        own == address
    }
}

/// Whether an address belongs to this machine: only such an address can be bound.
fn is_of_this_machine(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn proxy_host(value: &str) -> Option<String> {
    let value = value.trim();
    let url = if value.contains("://") {
        Url::parse(value)
    } else {
        Url::parse(&format!("http://{value}"))
    };
    let url = url.ok()?;
    url.host_str()
        .map(|host| host.trim_end_matches('.').to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
