use proptest::prelude::*;

use super::{Reference, ReferenceError, Repository, Tag, is_path_part, normalised_registry};
use crate::oci::{Digest, DigestError};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn names_are_normalised_as_docker_does() {
    for (familiar, normalised) in [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("library/nginx", "docker.io/library/nginx:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/acme/app:v1", "docker.io/acme/app:v1"),
        ("acme/app", "docker.io/acme/app:latest"),
        ("docker.io/library", "docker.io/library/library:latest"),
        // A colon without a slash is a tag, never a port.
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("localhost", "docker.io/library/localhost:latest"),
        ("example.com", "docker.io/library/example.com:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:5000", "localhost:5000/app:5000"),
        ("example:5000/app", "example:5000/app:latest"),
        (
            "ghcr.io/acme/team/app:V1.0-rc_2",
            "ghcr.io/acme/team/app:V1.0-rc_2",
        ),
        ("127.0.0.1:5000/a--b__c.d/e", "127.0.0.1:5000/a--b__c.d/e:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("[2001:db8::1]/app", "[2001:db8::1]/app:latest"),
        ("xn--7o8h.com/app", "xn--7o8h.com/app:latest"),
    ] {
        let parsed: Reference = familiar.parse().unwrap();
        assert_eq!(parsed.to_string(), normalised, "{familiar}");
    }
}

#[test]
fn a_digest_is_kept_beside_a_tag_and_needs_none() {
    let both: Reference = format!("nginx:1.27@{DIGEST}").parse().unwrap();
    assert_eq!(both.tag, Some("1.27".parse().unwrap()));
    assert_eq!(both.digest, Some(DIGEST.parse().unwrap()));
    let alone: Reference = format!("ghcr.io/acme/app@{DIGEST}").parse().unwrap();
    assert_eq!((alone.tag, alone.digest), (None, Some(DIGEST.parse().unwrap())));
}

#[test]
fn one_registry_has_one_name() {
    for (spelling, name) in [
        ("GHCR.io", "ghcr.io"),
        ("ghcr.io:443", "ghcr.io"),
        ("quay.io:8443", "quay.io:8443"),
        ("quay.io:80", "quay.io:80"),
        ("Docker.IO", "docker.io"),
        ("docker.io:443", "docker.io"),
        ("INDEX.docker.io:443", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("registry.hub.docker.com", "docker.io"),
        ("LOCALHOST", "localhost"),
        ("localhost:443", "localhost"),
        // `foo` alone is not a host in an image name, so `foo:443` is this registry's only spelling.
        ("foo:443", "foo:443"),
        ("Foo:5000", "foo:5000"),
        ("[0:0::1]:443", "[::1]"),
        ("[2001:DB8:0::1]:5000", "[2001:db8::1]:5000"),
        ("10.0.0.1:5000", "10.0.0.1:5000"),
    ] {
        assert_eq!(normalised_registry(spelling).as_deref(), Ok(name), "{spelling}");
        assert_eq!(normalised_registry(name).as_deref(), Ok(name), "{name}");
    }
}

#[test]
fn what_is_not_a_registry_is_refused() {
    let long_label = format!("{}.io", "a".repeat(64));
    let long_host = format!("{}io", "a.".repeat(126));
    for hostile in [
        "",
        ".",
        "docker.io.",
        "docker..io",
        ".docker.io",
        "foo",
        "Foo",
        "-a.io",
        "a-.io",
        "a_b.io",
        "a b.io",
        "a.io:",
        ":5000",
        "a.io:0",
        "a.io:0443",
        "a.io:+443",
        "a.io:65536",
        "a.io:https",
        "a.io:1:2",
        "user@a.io",
        "a.io/b",
        "a.io?ns=b",
        "a.io#b",
        "a.io\0",
        "a.io\n",
        "a%2eio",
        "é.io",
        "ｄocker.io",
        "127.1",
        "127.1:5000",
        "0x7f.0.0.1",
        "0x7f000001:5000",
        "0177.0.0.1",
        "2130706433:5000",
        "1.2.3.4.5",
        "256.0.0.1",
        "127.0.0.01",
        "a.0x",
        "[::1",
        "::1",
        "[]",
        "[::1]x",
        "[::1]:",
        "[fe80::1%eth0]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[127.0.0.1]",
        "[[::1]]",
        "[::1]:5000:1",
        "..",
        "../..",
        &long_label,
        &format!("{long_host}x"),
    ] {
        assert!(normalised_registry(hostile).is_err(), "{hostile:?}");
    }
    assert_eq!(long_host.len(), 254);
    assert!(normalised_registry(&long_host[2..]).is_ok());
}

#[test]
fn what_is_not_a_repository_is_refused() {
    let long = "a".repeat(256);
    for hostile in [
        "",
        "ghcr.io/",
        "ghcr.io//a",
        "ghcr.io/a/",
        "/a",
        "a//b",
        "ghcr.io/..",
        "ghcr.io/../../etc/passwd",
        "ghcr.io/a/../b",
        "ghcr.io/./a",
        "ghcr.io/A",
        "ghcr.io/a/B",
        "nginX",
        "a..b",
        "a._b",
        "a___b",
        "a-_b",
        "-a",
        "a-",
        "_a",
        "a.",
        "a b",
        "a\0b",
        "a\n",
        "a%2fb",
        "a?b",
        "a#b",
        "a\\b",
        "é",
        "éé/nginx",
        "a/*",
        &long,
    ] {
        assert!(
            matches!(hostile.parse::<Reference>(), Err(ReferenceError::Repository(_))),
            "{hostile:?}"
        );
        assert!(
            matches!(hostile.parse::<Repository>(), Err(ReferenceError::Repository(_))),
            "{hostile:?}"
        );
    }
    for hostile in [
        "Foo/bar",
        "docker.io./nginx",
        "a.io:x/b",
        "https://ghcr.io/a",
        "../a",
        "./a",
        "./../a",
    ] {
        assert!(
            matches!(hostile.parse::<Reference>(), Err(ReferenceError::Registry(_))),
            "{hostile:?}"
        );
    }
    // A repository has no tag.
    assert!(matches!(
        "nginx:1".parse::<Repository>(),
        Err(ReferenceError::Repository(_))
    ));
}

#[test]
fn what_is_not_a_tag_is_refused() {
    let longest = "a".repeat(128);
    assert_eq!(longest.parse::<Tag>().unwrap().as_str(), longest);
    let long = "a".repeat(129);
    for hostile in [
        "", "-a", ".a", "a:b", "a/b", "a@b", "a b", "a\n", "a\0", "..", "é", "a+b", &long,
    ] {
        assert_eq!(
            hostile.parse::<Tag>(),
            Err(ReferenceError::Tag(hostile.escape_debug().to_string())),
            "{hostile:?}"
        );
    }
    for hostile in ["nginx:", "ghcr.io/a:", "ghcr.io/a:b:c", "ghcr.io/a:b/c"] {
        assert!(
            matches!(hostile.parse::<Reference>(), Err(ReferenceError::Tag(_))),
            "{hostile:?}"
        );
    }
}

#[test]
fn what_is_not_a_digest_is_refused() {
    for (hostile, error) in [
        ("nginx@".to_owned(), DigestError::Algorithm),
        (
            "nginx@md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(),
            DigestError::Algorithm,
        ),
        (
            "nginx@sha256:../../x".to_owned(),
            DigestError::Encoded {
                algorithm: "sha256",
                digits: 64,
            },
        ),
        (
            format!("nginx@{DIGEST}@{DIGEST}"),
            DigestError::Encoded {
                algorithm: "sha256",
                digits: 64,
            },
        ),
    ] {
        assert_eq!(
            hostile.parse::<Reference>(),
            Err(ReferenceError::Digest(error)),
            "{hostile}"
        );
    }
}

#[test]
fn an_identifier_is_no_name() {
    let identifier = "0123456789abcdef".repeat(4);
    assert_eq!(identifier.parse::<Reference>(), Err(ReferenceError::Identifier));
    // As upstream: with a tag it is a name.
    assert!(format!("{identifier}:latest").parse::<Reference>().is_ok());
}

#[test]
fn a_name_with_its_host_has_255_characters_at_most() {
    let path = "a".repeat(255 - "ghcr.io/".len());
    assert!(Repository::new("ghcr.io", &path).is_ok());
    assert!(matches!(
        Repository::new("ghcr.io", &format!("{path}a")),
        Err(ReferenceError::Repository(_))
    ));
    // The part that Docker Hub adds counts.
    let path = "a".repeat(255 - "docker.io/library/".len());
    assert!(Repository::new("docker.io", &path).is_ok());
    assert!(matches!(
        Repository::new("docker.io", &format!("{path}a")),
        Err(ReferenceError::Repository(_))
    ));
}

#[test]
fn a_namespace_and_a_path_are_normalised_like_a_name() {
    for (namespace, path, name) in [
        ("docker.io", "library/nginx", "docker.io/library/nginx"),
        ("docker.io", "nginx", "docker.io/library/nginx"),
        ("registry-1.docker.io:443", "nginx", "docker.io/library/nginx"),
        ("LOCALHOST:5001", "test/app", "localhost:5001/test/app"),
    ] {
        assert_eq!(Repository::new(namespace, path).unwrap().to_string(), name);
    }
    for hostile in ["../x", "a/../b", "a:b", "a@b", "", "a//b", "A"] {
        assert!(
            matches!(
                Repository::new("ghcr.io", hostile),
                Err(ReferenceError::Repository(_))
            ),
            "{hostile:?}"
        );
    }
}

#[test]
fn a_referrers_tag_is_the_digest_cut_to_length() {
    let sha256: Digest = DIGEST.parse().unwrap();
    assert_eq!(Tag::from_subject(&sha256).as_str(), DIGEST.replace(':', "-"));
    let sha512 = Digest::Sha512([0xab; 64]);
    assert_eq!(
        Tag::from_subject(&sha512).as_str(),
        format!("sha512-{}", "ab".repeat(32))
    );
}

#[test]
fn an_error_quotes_no_control_characters() {
    let error = "ghcr.io/a\nfake: line"
        .parse::<Reference>()
        .unwrap_err()
        .to_string();
    assert!(!error.contains('\n'), "{error}");
}

/// The regular expressions of `github.com/distribution/reference` for what is lower-case.
const HOST: &str = r"([a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\.){1,3}[a-z]{2,6}(:[1-9][0-9]{0,3})?";
const PATH: &str = r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}){0,4}";
const TAG: &str = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}";

proptest! {
    #[test]
    fn every_name_that_docker_allows_is_read(host in HOST, path in PATH, tag in TAG) {
        let parsed: Reference = format!("{host}/{path}:{tag}").parse().unwrap();
        prop_assert_eq!(parsed.tag.as_ref().unwrap().as_str(), tag);
        prop_assert!(parsed.repository.path().ends_with(&path));
    }

    #[test]
    fn what_is_printed_is_read_as_the_same(text in "([a-zA-Z0-9._:@/\\[\\]-]{0,40})|([a-z.:]{1,8}/[a-z/.:]{1,9})|(\\PC{0,20})") {
        if let Ok(parsed) = text.parse::<Reference>() {
            let printed = parsed.to_string();
            prop_assert_eq!(&printed.parse::<Reference>().unwrap(), &parsed);
            // Nothing that could leave its place in a URL or a path.
            let repository = parsed.repository.to_string();
            prop_assert!(!repository.contains("..") && !repository.contains("//") && repository.len() <= 255);
            prop_assert!(repository.is_ascii() && repository == repository.to_ascii_lowercase());
            prop_assert_eq!(repository.parse::<Repository>().unwrap(), parsed.repository);
        }
    }

    #[test]
    fn case_and_default_port_make_no_other_registry(host in HOST, path in PATH) {
        let host = host.split(':').next().unwrap();
        let plain = Repository::new(host, &path).unwrap();
        for spelling in [host.to_uppercase(), format!("{host}:443")] {
            prop_assert_eq!(Repository::new(&spelling, &path).unwrap(), plain.clone());
        }
        let dotted = format!("{host}.");
        prop_assert!(Repository::new(&dotted, &path).is_err());
    }

    #[test]
    fn a_part_is_what_the_specification_says(part in "[a-z0-9._-]{0,8}") {
        // Another way to say the same expression: split at words, look at what is left.
        let ends = |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric());
        let allowed = |separator: &str| matches!(separator, "" | "." | "_" | "__") || separator.chars().all(|c| c == '-');
        let expected = ends(&part) && part.split(|c: char| c.is_ascii_alphanumeric()).all(allowed);
        prop_assert_eq!(is_path_part(&part), expected);
    }
}
