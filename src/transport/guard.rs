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
pub(crate) struct Lane {
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
    pub(crate) fn check(&self, url: &Url, private: bool) -> Result<Lane, Forbidden> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Forbidden::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden::Userinfo);
        }
        let port = url.port_or_known_default().ok_or(Forbidden::Scheme)?;
        let own_port = self.own.iter().any(|own| own.port() == port).then_some(port);
        let lane = Lane {
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
                        Ok(Lane { direct: true, ..lane })
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
        Ok(Lane {
            direct: embedded(literal).is_loopback(),
            ..lane
        })
    }

    /// The one way to this machine's own metadata service, for whoever has its identity from there, and for nobody else:
    /// `url` is on exactly the origin that `service` names, and that is one of the two addresses that Oracle's has, as
    /// they are written (no name leads there), on the port of plain http. Never through a proxy. Of any other service
    /// (a stand-in of it) the usual rules hold.
    pub(crate) fn to_metadata_service(&self, url: &Url, service: &Url) -> Result<Lane, Forbidden> {
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
            return Ok(Lane {
                direct: true,
                own_port: None,
                private: false,
            });
        }
        let lane = self.check(url, true)?;
        Ok(Lane { direct: true, ..lane })
    }

    /// Judges one address, written in a URL or found for a name.
    pub(crate) fn address(&self, address: IpAddr, lane: Lane) -> Result<(), Forbidden> {
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
mod tests {
    use std::net::SocketAddr;

    use url::Url;

    use super::{Forbidden, Guard, Lane, host_of, is_private, proxy_host, same_origin};

    fn guard() -> Guard {
        let own: Vec<SocketAddr> = ["127.0.0.1:5443", "0.0.0.0:9464", "[::]:9465", "192.0.2.7:9466"]
            .map(|own| own.parse().unwrap())
            .into();
        Guard::new(own, vec!["proxy.corp.example".to_owned()])
    }

    fn check(url: &str, private: bool) -> Result<Lane, Forbidden> {
        guard().check(&Url::parse(url).unwrap(), private)
    }

    #[test]
    fn nothing_goes_to_addresses_that_no_registry_has() {
        for (url, why) in [
            ("http://169.254.169.254/latest/meta-data", Forbidden::LinkLocal),
            ("https://169.254.0.1/", Forbidden::LinkLocal),
            ("http://[::ffff:169.254.169.254]/", Forbidden::LinkLocal),
            ("http://[::ffff:a9fe:a9fe]/", Forbidden::LinkLocal),
            ("http://[::169.254.169.254]/", Forbidden::LinkLocal),
            ("http://[64:ff9b::a9fe:a9fe]/", Forbidden::LinkLocal),
            ("http://[2002:a9fe:a9fe::1]/", Forbidden::LinkLocal),
            ("http://[fe80::1]/", Forbidden::LinkLocal),
            ("http://[febf::1]/", Forbidden::LinkLocal),
            // The same address as browsers and libcurl also read it.
            ("http://2852039166/", Forbidden::LinkLocal),
            ("http://0xa9fea9fe/", Forbidden::LinkLocal),
            ("http://0251.0376.0251.0376/", Forbidden::LinkLocal),
            ("http://169.254.43518/", Forbidden::LinkLocal),
            ("http://[fd00:ec2::254]/", Forbidden::Metadata),
            ("http://[fd00:c1::a9fe:a9fe]/opc/v2/instance", Forbidden::Metadata),
            ("http://[fd20:ce::254]/", Forbidden::Metadata),
            ("http://168.63.129.16/", Forbidden::Metadata),
            ("http://[::ffff:100.100.100.200]/", Forbidden::Metadata),
            ("http://metadata.google.internal/", Forbidden::Metadata),
            ("http://Metadata.Google.Internal./", Forbidden::Metadata),
            ("http://0.0.0.0/", Forbidden::Unspecified),
            ("http://0.1.2.3/", Forbidden::Unspecified),
            ("http://[::]/", Forbidden::Unspecified),
            ("http://[::ffff:0.0.0.0]/", Forbidden::Unspecified),
            ("http://224.0.0.1/", Forbidden::NotUnicast),
            ("http://255.255.255.255/", Forbidden::NotUnicast),
            ("http://[ff02::1]/", Forbidden::NotUnicast),
            ("ftp://registry.example/", Forbidden::Scheme),
            ("file:///etc/passwd", Forbidden::Scheme),
            ("unix:/run/containerd.sock", Forbidden::Scheme),
            ("https://user@registry.example/", Forbidden::Userinfo),
            ("https://:secret@registry.example/", Forbidden::Userinfo),
            ("http://127.0.0.1:5443/", Forbidden::Own),
            ("http://127.8.8.8:5443/", Forbidden::Own),
            ("http://[::1]:5443/", Forbidden::Own),
            ("http://[::ffff:127.0.0.1]:5443/", Forbidden::Own),
            ("http://127.0.0.1:9464/", Forbidden::Own),
            ("http://127.0.0.1:9465/", Forbidden::Own),
            ("http://192.0.2.7:9466/", Forbidden::Own),
        ] {
            assert_eq!(check(url, true), Err(why), "{url}");
        }
    }

    #[test]
    fn a_public_registry_leads_to_public_places_alone() {
        for url in [
            "http://127.0.0.1:8080/",
            "http://localhost:8080/",
            "http://evil.localhost/",
            "http://LOCALHOST./",
            "https://10.1.2.3/",
            "https://172.31.0.1/",
            "https://192.168.0.1/",
            "https://100.64.0.1/",
            "https://198.18.0.1/",
            "https://192.0.0.8/",
            "https://[::1]/",
            "https://[fc00::1]/",
            "https://[fd12::1]/",
            "https://[fec0::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[64:ff9b::10.0.0.1]/",
        ] {
            assert_eq!(check(url, false), Err(Forbidden::Private), "{url}");
            assert!(check(url, true).is_ok(), "{url}");
        }
        assert_eq!(
            check("http://proxy.corp.example:3128/", false),
            Err(Forbidden::Proxy)
        );
        for url in [
            "https://192.0.2.7/",
            "https://[2001:db8::1]/",
            "https://cdn.example/",
            "http://100.128.0.1/",
        ] {
            assert!(check(url, false).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_name_on_an_own_port_is_resolved_under_the_rule_against_ourselves() {
        let lane = check("http://localhost:5443/", true).unwrap();
        assert_eq!(
            lane,
            Lane {
                direct: true,
                own_port: Some(5443),
                private: true
            }
        );
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(
                guard().address(address.parse().unwrap(), lane),
                Err(Forbidden::Own),
                "{address}"
            );
        }
        let other = check("http://localhost:5000/", true).unwrap();
        assert_eq!(guard().address("127.0.0.1".parse().unwrap(), other), Ok(()));
        let public = check("https://cdn.example/", false).unwrap();
        assert_eq!(
            guard().address("10.0.0.1".parse().unwrap(), public),
            Err(Forbidden::Private)
        );
        assert_eq!(
            guard().address("169.254.169.254".parse().unwrap(), public),
            Err(Forbidden::LinkLocal)
        );
    }

    #[test]
    fn the_metadata_service_is_reached_by_its_own_way_alone() {
        let url = |text: &str| Url::parse(text).unwrap();
        let to = |text: &str, service: &str| guard().to_metadata_service(&url(text), &url(service));
        let direct = Lane {
            direct: true,
            own_port: None,
            private: false,
        };
        for service in [
            "http://169.254.169.254/opc/v2",
            "http://[fd00:c1::a9fe:a9fe]/opc/v2",
        ] {
            let leaf = format!("{service}/identity/cert.pem");
            assert_eq!(to(&leaf, service), Ok(direct), "{leaf}");
            // The same URL by the way of everybody else, configured or not.
            for private in [false, true] {
                assert!(check(&leaf, private).is_err(), "{leaf}");
            }
        }
        for (text, service, why) in [
            // Another place than the one that was named.
            (
                "http://169.254.169.254/",
                "http://127.0.0.1:1/opc/v2",
                Forbidden::Metadata,
            ),
            (
                "http://127.0.0.1:1/",
                "http://169.254.169.254/opc/v2",
                Forbidden::Metadata,
            ),
            (
                "https://169.254.169.254/",
                "http://169.254.169.254/",
                Forbidden::Metadata,
            ),
            // What is near it, or another way to write it.
            (
                "http://169.254.169.253/",
                "http://169.254.169.253/",
                Forbidden::LinkLocal,
            ),
            (
                "http://169.254.169.254:8080/",
                "http://169.254.169.254:8080/",
                Forbidden::LinkLocal,
            ),
            (
                "https://169.254.169.254/",
                "https://169.254.169.254/",
                Forbidden::LinkLocal,
            ),
            (
                "http://u:p@169.254.169.254/",
                "http://169.254.169.254/",
                Forbidden::Userinfo,
            ),
            (
                "http://[::ffff:169.254.169.254]/",
                "http://[::ffff:169.254.169.254]/",
                Forbidden::LinkLocal,
            ),
            (
                "http://[fd00:ec2::254]/",
                "http://[fd00:ec2::254]/",
                Forbidden::Metadata,
            ),
            (
                "http://metadata.google.internal/",
                "http://metadata.google.internal/",
                Forbidden::Metadata,
            ),
            // The gate itself.
            ("http://127.0.0.1:5443/", "http://127.0.0.1:5443/", Forbidden::Own),
        ] {
            assert_eq!(to(text, service), Err(why), "{text}");
        }
        // A stand-in: without a proxy, and no name of it leads to the real one.
        let lane = to(
            "http://metadata.test:8000/opc/v2/x",
            "http://metadata.test:8000/opc/v2",
        )
        .unwrap();
        assert!(lane.direct);
        assert_eq!(
            guard().address("169.254.169.254".parse().unwrap(), lane),
            Err(Forbidden::LinkLocal)
        );
    }

    #[test]
    fn an_address_of_another_machine_on_our_port_is_not_us() {
        assert!(check("http://192.0.2.200:9464/", true).is_ok());
        assert!(check("http://192.0.2.8:9466/", true).is_ok());
        assert!(!is_private("100.63.255.255".parse().unwrap()));
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(same_origin(
            &url("https://r.example/a"),
            &url("https://R.example:443/b?c")
        ));
        for other in [
            "http://r.example/",
            "https://r.example:444/",
            "https://s.example/",
        ] {
            assert!(!same_origin(&url("https://r.example/"), &url(other)), "{other}");
        }
        assert_eq!(host_of(&url("https://r.example:5000/x")), "r.example:5000");
        assert_eq!(host_of(&url("https://[::1]/x")), "[::1]");
    }

    #[test]
    fn proxies_are_read_as_the_environment_spells_them() {
        for (value, host) in [
            ("http://Proxy.corp:3128", Some("proxy.corp")),
            ("proxy.corp:3128", Some("proxy.corp")),
            ("http://user:secret@proxy.corp./", Some("proxy.corp")),
            ("", None),
        ] {
            assert_eq!(proxy_host(value).as_deref(), host, "{value}");
        }
    }
}
