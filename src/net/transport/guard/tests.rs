use std::net::SocketAddr;

use url::Url;

use super::{
    ConnectPolicy, Forbidden, Guard, endpoint_is_private, host_is_link_local, host_is_loopback, host_of,
    is_private, proxy_host, same_origin,
};

fn guard() -> Guard {
    let own: Vec<SocketAddr> = ["127.0.0.1:5443", "0.0.0.0:9464", "[::]:9465", "192.0.2.7:9466"]
        .map(|own| own.parse().unwrap())
        .into();
    Guard::new(own, vec!["proxy.corp.example".to_owned()])
}

fn check(url: &str, private: bool) -> Result<ConnectPolicy, Forbidden> {
    guard().check(&Url::parse(url).unwrap(), private)
}

#[test]
fn addresses_that_a_registry_cannot_have_are_refused() {
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
fn a_public_registry_leads_to_public_addresses_only() {
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
fn the_addresses_of_a_name_on_an_own_port_are_checked_against_our_listeners() {
    let lane = check("http://localhost:5443/", true).unwrap();
    assert_eq!(
        lane,
        ConnectPolicy {
            direct: true,
            own_port: Some(5443),
            private: true
        }
    );
    for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(
            guard().check_address(address.parse().unwrap(), lane),
            Err(Forbidden::Own),
            "{address}"
        );
    }
    let other = check("http://localhost:5000/", true).unwrap();
    assert_eq!(guard().check_address("127.0.0.1".parse().unwrap(), other), Ok(()));
    let public = check("https://cdn.example/", false).unwrap();
    assert_eq!(
        guard().check_address("10.0.0.1".parse().unwrap(), public),
        Err(Forbidden::Private)
    );
    assert_eq!(
        guard().check_address("169.254.169.254".parse().unwrap(), public),
        Err(Forbidden::LinkLocal)
    );
}

#[test]
fn the_metadata_service_is_reached_only_by_its_own_method() {
    let url = |text: &str| Url::parse(text).unwrap();
    let to = |text: &str, service: &str| guard().to_metadata_service(&url(text), &url(service));
    let direct = ConnectPolicy {
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
        // Neighbours of the address, and other spellings of it.
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
        guard().check_address("169.254.169.254".parse().unwrap(), lane),
        Err(Forbidden::LinkLocal)
    );
}

#[test]
fn an_address_of_another_machine_on_an_own_port_is_allowed() {
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
fn proxies_are_read_in_each_form_of_the_environment() {
    for (value, host) in [
        ("http://Proxy.corp:3128", Some("proxy.corp")),
        ("proxy.corp:3128", Some("proxy.corp")),
        ("http://user:secret@proxy.corp./", Some("proxy.corp")),
        ("", None),
    ] {
        assert_eq!(proxy_host(value).as_deref(), host, "{value}");
    }
}

#[tokio::test]
async fn an_endpoint_is_private_where_its_address_is() {
    for (url, private) in [
        ("http://127.0.0.1:5000/", true),
        ("http://[::1]:5000/", true),
        ("http://localhost:5000/", true),
        ("https://10.1.2.3/", true),
        ("https://192.0.2.7/", false),
        ("https://[2001:db8::1]/", false),
    ] {
        assert_eq!(endpoint_is_private(&url.parse().unwrap()).await, private, "{url}");
    }
}

/// The configuration's own rules saw neither a trailing dot nor an IPv4 address inside an IPv6 one.
#[test]
fn the_host_of_a_url_is_link_local_or_loopback_in_every_spelling() {
    let is = |rule: fn(&Url) -> bool, url: &str| rule(&url.parse().unwrap());
    for url in [
        "http://169.254.169.254/",
        "http://169.254.1/",
        "http://[fe80::1]/",
        "http://[febf::1]/",
        "http://[::ffff:169.254.1.1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
    ] {
        assert!(is(host_is_link_local, url), "{url}");
        assert!(!is(host_is_loopback, url), "{url}");
    }
    for url in [
        "http://127.0.0.1:8080/",
        "http://127.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://a.localhost/",
    ] {
        assert!(is(host_is_loopback, url), "{url}");
        assert!(!is(host_is_link_local, url), "{url}");
    }
    for url in [
        "http://10.0.0.1/",
        "http://[fec0::1]/",
        "http://notlocalhost/",
        "http://localhost.example/",
        // A translator's, not this machine's.
        "http://[64:ff9b::7f00:1]/",
        "http://[::127.0.0.1]/",
    ] {
        assert!(
            !is(host_is_loopback, url) && !is(host_is_link_local, url),
            "{url}"
        );
    }
}
