use proptest::prelude::*;

use super::*;

const TENANCY: &str = "ocid1.tenancy.oc1..aaaaaaaacatagdyblhcqriqxvorwvajdmlxuvv3d5dz3ba2v7kcvicmivfnq";
const KEY: &str =
    "ocid1.key.oc1.phx.bgxjkmty6zcls.aby2uv7hsy74clk4cuxus26pahllhhetwhug45ir2eih2uzpainijj4e74yg";

fn endpoints(region: &str) -> RegionEndpoints {
    RegionEndpoints::new(region.parse().unwrap(), &TENANCY.parse().unwrap()).unwrap()
}

#[test]
fn each_service_has_its_own_host() {
    let key = KEY.parse().unwrap();
    let phoenix = endpoints("phx");
    assert_eq!(
        phoenix.artifacts().unwrap().to_string(),
        "https://artifacts.us-phoenix-1.oci.oraclecloud.com/20160918"
    );
    assert_eq!(
        phoenix.federation().unwrap().to_string(),
        "https://auth.us-phoenix-1.oraclecloud.com/v1/x509"
    );
    assert_eq!(
        phoenix.kms_crypto(&key).unwrap().to_string(),
        "https://bgxjkmty6zcls-crypto.kms.us-phoenix-1.oraclecloud.com/20180608"
    );
    assert_eq!(
        endpoints("us-sanjose-1")
            .kms_management(&key)
            .unwrap()
            .to_string(),
        "https://bgxjkmty6zcls-management.kms.us-sanjose-1.oci.oraclecloud.com/20180608"
    );
    assert_eq!(
        endpoints("uk-gov-cardiff-1").artifacts().unwrap().to_string(),
        "https://artifacts.uk-gov-cardiff-1.oci.oraclegovcloud.uk/20160918"
    );
    for region in KMS_WITHOUT_OCI {
        assert!(
            !endpoints(region)
                .kms_crypto(&key)
                .unwrap()
                .to_string()
                .contains(".oci.")
        );
    }
}

#[test]
fn a_key_without_vault_has_no_endpoint() {
    for text in [TENANCY, "ocid1.key.oc1.phx.unique"] {
        assert!(matches!(
            endpoints("phx").kms_crypto(&text.parse().unwrap()),
            Err(EndpointError::Key(_))
        ));
    }
}

#[test]
fn an_unknown_region_is_in_the_tenancys_realm_and_none_is_guessed() {
    let region: Region = "xx-newtown-7".parse().unwrap();
    let government = "ocid1.tenancy.oc4..aaaa".parse().unwrap();
    assert_eq!(
        RegionEndpoints::new(region.clone(), &government)
            .unwrap()
            .artifacts()
            .unwrap()
            .to_string(),
        "https://artifacts.xx-newtown-7.oci.oraclegovcloud.uk/20160918"
    );
    assert_eq!(
        RegionEndpoints::new(region.clone(), &"ocid1.tenancy.oc999..aaaa".parse().unwrap()),
        Err(EndpointError::UnknownRealm {
            region,
            realm: "oc999".to_owned()
        })
    );
}

#[test]
fn a_named_endpoint_gets_the_base_path_once() {
    for (text, expected) in [
        ("https://artifacts.example", "https://artifacts.example/20160918"),
        ("https://artifacts.example/", "https://artifacts.example/20160918"),
        (
            "https://artifacts.example/20160918",
            "https://artifacts.example/20160918",
        ),
        (
            "https://artifacts.example/20160918/",
            "https://artifacts.example/20160918",
        ),
        ("http://127.0.0.1:43881", "http://127.0.0.1:43881/20160918"),
        ("https://[::1]:8443/way/in", "https://[::1]:8443/way/in/20160918"),
        (
            "https://artifacts.example:443",
            "https://artifacts.example/20160918",
        ),
    ] {
        let endpoint = ServiceEndpoint::new(text, Service::Artifacts).unwrap();
        assert_eq!(endpoint.to_string(), expected, "{text}");
        assert_eq!(
            ServiceEndpoint::new(expected, Service::Artifacts),
            Ok(endpoint.clone())
        );
        assert_eq!(endpoint.is_plain(), text.starts_with("http:"));
    }
    for (text, expected) in [
        ("", EndpointError::Url(String::new())),
        (
            "artifacts.example",
            EndpointError::Url("artifacts.example".to_owned()),
        ),
        ("https://", EndpointError::Url("https://".to_owned())),
        ("ftp://artifacts.example", EndpointError::Scheme("ftp".to_owned())),
        ("file:///etc/passwd", EndpointError::Scheme("file".to_owned())),
        ("unix:/run/x", EndpointError::Scheme("unix".to_owned())),
        (
            "https://a:b@artifacts.example",
            EndpointError::Extra("user name or password"),
        ),
        ("https://artifacts.example?x", EndpointError::Extra("query")),
        ("https://artifacts.example#x", EndpointError::Extra("fragment")),
    ] {
        assert_eq!(
            ServiceEndpoint::new(text, Service::Artifacts),
            Err(expected),
            "{text}"
        );
    }
}

#[test]
fn a_query_is_encoded_as_in_the_sdk() {
    let url = endpoints("phx").artifacts().unwrap().url_for(
        &["container", "imageSignatures"],
        &[
            ("repositoryName", "project01/acme"),
            ("imageDigest", "sha256:00"),
            ("page", "a+b c&d=e#%é"),
        ],
    );
    assert_eq!(
        url.as_str(),
        "https://artifacts.us-phoenix-1.oci.oraclecloud.com/20160918/container/imageSignatures\
         ?repositoryName=project01%2Facme&imageDigest=sha256%3A00&page=a%2Bb%20c%26d%3De%23%25%C3%A9"
    );
}

proptest! {
    #[test]
    fn a_query_value_survives_encoding(value in "\\PC{0,40}", other in "\\PC{0,40}") {
        let url = endpoints("phx").artifacts().unwrap().url_for(&["x"], &[("a", &value), ("b", &other)]);
        // `form_urlencoded` decodes `+` as a space, so every `+` must be encoded.
        let read: Vec<_> = url.query_pairs().into_owned().collect();
        prop_assert_eq!(read, [("a".to_owned(), value), ("b".to_owned(), other)]);
        prop_assert_eq!(url.fragment(), None);
    }

    #[test]
    fn any_text_is_refused_or_ends_with_the_base_path(text in "(https?://)?\\PC{0,30}") {
        if let Ok(endpoint) = ServiceEndpoint::new(&text, Service::Kms) {
            prop_assert!(endpoint.as_url().path().ends_with("/20180608"));
        }
    }
}
