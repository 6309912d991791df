//! Where a request may go. Every hop of every request is checked here: as it is written in the URL, and again after
//! its name was resolved. A registry that lies (in a redirect, a token realm, a next page, a DNS answer) must not make
//! the gate ask the machine's own metadata service, its neighbours or the gate itself (CVE-2020-15157 and the class
//! of request forgery).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use url::{Host, Url};

/// Addresses at which clouds hand out a machine's identity, outside the link-local ranges that are refused anyway:
/// AWS and Oracle (IPv6), Google (IPv6), Azure's wire server, Alibaba.
const METADATA: [IpAddr; 5] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

/// Where Oracle's instances find theirs (SDK 2.189.0, `auth/signers/instance_principals_security_token_signer.py`).
const ORACLE_METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
];

/// The name of Google's metadata service: a proxy would resolve it where we cannot see the address.
const METADATA_NAME: &str = "metadata.google.internal";

/// Why a request may not go somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Forbidden {
    /// From TLS to plain text.
    #[error("it leads from https to http")]
    Downgrade,
    /// A URL without a host.
    #[error("the URL names no host")]
    Host,
    /// `169.254.0.0/16` or `fe80::/10`.
    #[error("the address is link-local")]
    LinkLocal,
    /// A cloud's metadata service.
    #[error("the address is a metadata service")]
    Metadata,
    /// Multicast, broadcast, reserved.
    #[error("the address is not of one machine")]
    NotUnicast,
    /// One of the gate's own listeners.
    #[error("it is the gate itself")]
    Own,
    /// Loopback or private, named by a registry that is neither.
    #[error("a public registry led to a private address")]
    Private,
    /// The name of this machine's proxy, named by a registry.
    #[error("it is the proxy itself")]
    Proxy,
    /// Neither http nor https.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// `0.0.0.0/8` or `::`.
    #[error("the address is unspecified")]
    Unspecified,
    /// A name or password in the URL.
    #[error("the URL holds a user name or password")]
    Userinfo,
}

/// The rules for one kind of connection. Connections are pooled by host name, so that kinds with different rules for
/// the addresses of a name need pools of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectPolicy {
    /// Never through a proxy: the name or address is of this machine.
    pub(crate) direct: bool,
    /// The port, where one of the gate's listeners has the same: then addresses of this machine are refused.
    pub(crate) own_port: Option<u16>,
    /// May be loopback or private.
    pub(crate) private: bool,
}

/// The rules.
#[derive(Debug)]
pub(crate) struct Guard {
    own: Vec<SocketAddr>,
    proxies: Vec<String>,
}

impl Guard {
    /// `own` are the gate's listeners; `proxies` the proxies' host names, whose addresses are the administrator's word.
    pub(crate) fn new(own: Vec<SocketAddr>, proxies: Vec<String>) -> Self {
        Self { own, proxies }
    }

    /// Judges a URL as it is written, and says by which rules its name must be resolved. `private`: it is configured,
    /// or a private registry named it.
    pub(crate) fn check(&self, url: &Url, private: bool) -> Result<ConnectPolicy, Forbidden> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Forbidden::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden::Userinfo);
        }
        let port = url.port_or_known_default().ok_or(Forbidden::Scheme)?;
        let own_port = self.own.iter().any(|own| own.port() == port).then_some(port);
        let lane = ConnectPolicy {
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
                if name == "localhost" || name.ends_with(".localhost") {
                    return if private {
                        Ok(ConnectPolicy { direct: true, ..lane })
                    } else {
                        Err(Forbidden::Private)
                    };
                }
                return if private || !self.proxies.contains(&name) {
                    Ok(lane)
                } else {
                    Err(Forbidden::Proxy)
                };
            }
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
        };
        self.address(literal, lane)?;
        Ok(ConnectPolicy {
            direct: embedded(literal).is_loopback(),
            ..lane
        })
    }

    /// The one way to this machine's own metadata service, for whoever has its identity from there, and for nobody else:
    /// `url` is on exactly the origin that `service` names, and that is one of the two addresses that Oracle's has, as
    /// they are written (no name leads there), on the port of plain http. Never through a proxy. Of any other service
    /// (a stand-in of it) the usual rules hold.
    pub(crate) fn to_metadata_service(&self, url: &Url, service: &Url) -> Result<ConnectPolicy, Forbidden> {
        if !same_origin(url, service) {
            return Err(Forbidden::Metadata);
        }
        let is_plain = url.scheme() == "http" && url.port_or_known_default() == Some(80);
        let is_bare = url.username().is_empty() && url.password().is_none();
        let address = match url.host().ok_or(Forbidden::Host)? {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
        };
        if is_plain && is_bare && address.is_some_and(|address| ORACLE_METADATA.contains(&address)) {
            return Ok(ConnectPolicy {
                direct: true,
                own_port: None,
                private: false,
            });
        }
        let lane = self.check(url, true)?;
        Ok(ConnectPolicy { direct: true, ..lane })
    }

    /// Judges one address, written in a URL or found for a name.
    pub(crate) fn address(&self, address: IpAddr, lane: ConnectPolicy) -> Result<(), Forbidden> {
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
        if link_local(address) {
            return Err(Forbidden::LinkLocal);
        }
        // 240.0.0.0/4 holds the broadcast address and nothing that is routed.
        if address.is_multicast() || matches!(address, IpAddr::V4(v4) if v4.octets()[0] >= 240) {
            return Err(Forbidden::NotUnicast);
        }
        if let Some(port) = lane.own_port
            && self
                .own
                .iter()
                .any(|own| own.port() == port && listens(own.ip(), address))
        {
            return Err(Forbidden::Own);
        }
        if !lane.private && is_private(address) {
            return Err(Forbidden::Private);
        }
        Ok(())
    }

    /// Whether this name is the proxy's: its addresses are what the administrator meant, private or not.
    pub(crate) fn is_proxy(&self, name: &str) -> bool {
        self.proxies.iter().any(|proxy| proxy == name)
    }
}

/// Loopback or private: RFC 1918, RFC 6598 (shared), RFC 2544 (benchmarks), RFC 6890 (192.0.0.0/24), RFC 4193
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

/// The host names of the proxies that the environment names, in lower case.
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

/// Same scheme, host and port. [`Url::origin`] would do; this does not allocate.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Host and, where it is written, port: how errors name whom we asked.
pub(crate) fn host_of(url: &Url) -> String {
    struct Authority<'a>(&'a Url);
    impl fmt::Display for Authority<'_> {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0.host_str().unwrap_or("-"))?;
            self.0.port().map_or(Ok(()), |port| write!(formatter, ":{port}"))
        }
    }
    Authority(url).to_string()
}

/// The IPv4 address inside an IPv6 one, where the kernel or a translator would take it out again: mapped
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

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// Whether a listener bound to `own` hears what is sent to `address`.
fn listens(own: IpAddr, address: IpAddr) -> bool {
    let own = embedded(own);
    if own.is_unspecified() || own.is_loopback() {
        address.is_loopback() || (own.is_unspecified() && is_of_this_machine(address))
    } else {
        own == address
    }
}

/// Only an address of this machine can be bound.
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
