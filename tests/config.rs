//! The configuration as files: what loads, what is refused and in which words, and what makes two of them the same.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be read fails its test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;
use pullgate::door::DoorLimits;
use pullgate::door::registry::RegistryDoorSettings;
use pullgate::net::registry::{Credentials, RegistryConfig};
use pullgate::oci::{Digest, Repository};
use pullgate::process::config::{CacheSettings, Config, ConfigErrors};
use pullgate::pull::policy::{DefaultAction, Mode, Requirement, Scope, SignedRepository};
use pullgate::signature::SourceName;
use pullgate::trust::{Salt, SigningAlgorithm, Validity};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config")
}

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn load(path: &Path) -> Config {
    Config::load_at(path, now()).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_setting_arrives() {
    let folder = fixtures().join("valid/design");
    let config = load(&folder.join("pullgate.toml"));
    assert_eq!(config.path, folder.join("pullgate.toml"));
    assert_eq!(config.daemon.state, Path::new("/var/lib/pullgate"));
    assert_eq!(
        config.daemon.metrics,
        Some(SocketAddr::from(([127, 0, 0, 1], 9464)))
    );
    assert_eq!(config.daemon.drain, Duration::from_secs(5));
    assert_eq!(
        config.cache,
        CacheSettings {
            positive: Duration::from_secs(7200),
            negative: Duration::from_secs(10),
            verdicts: 5000,
            permits: 50_000,
        }
    );
    assert_eq!(
        config.limits,
        DoorLimits {
            pull: Duration::from_secs(20),
            blob: Duration::from_secs(3600),
            connections: 64
        }
    );

    let door = config.doors.get::<RegistryDoorSettings>().unwrap();
    assert_eq!(door.listen, SocketAddr::from(([127, 0, 0, 1], 5443)));
    let tls = door.tls.clone().unwrap();
    assert_eq!(
        (tls.certificate, tls.key),
        (folder.join("tls/gate.pem"), folder.join("tls/gate.key"))
    );
    assert_eq!(door.default_registry.as_deref(), Some("docker.io"));

    let [registry] = &config.registries[..] else {
        panic!("{:?}", config.registries)
    };
    assert_eq!(registry.host, "phx.ocir.io");
    let endpoints: Vec<&str> = registry.endpoints.iter().map(url::Url::as_str).collect();
    assert_eq!(
        endpoints,
        [
            "https://mirror.example/ocir",
            "http://127.0.0.1:5000/",
            "https://phx.ocir.io/"
        ]
    );
    assert_eq!(
        registry.ca,
        Some(std::fs::read(folder.join("ca/corp.pem")).unwrap())
    );
    assert_eq!(registry.credentials, Credentials::File(folder.join("auth.json")));
    assert_eq!(
        registry.signatures,
        [SourceName("directory"), SourceName("referrers")]
    );
}

#[test]
fn a_registry_without_endpoint_is_reached_at_its_host() {
    let config = load(&fixtures().join("valid/endpoints.toml"));
    let [hub, other, third] = &config.registries[..] else {
        panic!("{:?}", config.registries)
    };
    let endpoints = |registry: &RegistryConfig| -> Vec<String> {
        registry.endpoints.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        endpoints(hub),
        ["https://m.example/", "https://registry-1.docker.io/"]
    );
    assert_eq!(hub.signatures, SourceName::DEFAULT);
    assert_eq!(hub.credentials, Credentials::Passthrough);
    assert_eq!(endpoints(other), ["https://registry.example:8443/"]);
    assert_eq!(other.signatures, [SourceName("directory")]);
    assert_eq!(
        third.credentials,
        Credentials::Helper("docker-credential-pass".to_owned())
    );
}

#[test]
fn every_rule_arrives_from_every_file() {
    let config = load(&fixtures().join("valid/design/pullgate.toml"));
    let policy = &config.policy;
    assert_eq!(policy.default_action(), DefaultAction::Reject);
    let scopes: Vec<&str> = policy.rules().iter().map(|rule| rule.scope.as_str()).collect();
    assert_eq!(
        scopes,
        [
            "*.dev.example/**",
            "evil.example/**",
            "mirror.example/**",
            "phx.ocir.io/ansh81vru1zp/project01/**",
            "registry.k8s.io/pause",
        ]
    );
    let [accept, reject, mirror, project, pause] = policy.rules() else {
        unreachable!()
    };
    assert!(matches!(accept.requirement, Requirement::InsecureAcceptAnything));
    assert!(matches!(reject.requirement, Requirement::Reject));
    let Requirement::Signed(mirrored) = &mirror.requirement else {
        panic!("{mirror:?}")
    };
    assert_eq!(mirror.mode, Mode::Enforce);
    assert_eq!(mirrored.threshold, NonZeroUsize::MIN);
    assert_eq!(
        mirrored.signed_repository,
        Some(SignedRepository::Prefix("upstream".to_owned()))
    );
    let Requirement::Signed(signed) = &project.requirement else {
        panic!("{project:?}")
    };
    assert_eq!(project.mode, Mode::Warn);
    assert_eq!(signed.threshold.get(), 2);
    assert_eq!(
        signed.signed_repository,
        Some(SignedRepository::Exact("project01/acme".to_owned()))
    );
    let names: Vec<&str> = signed
        .authorities
        .iter()
        .map(|authority| authority.facts().name())
        .collect();
    assert_eq!(names, ["release", "qa"]);
    let Requirement::Digest(digests) = &pause.requirement else {
        panic!("{pause:?}")
    };
    assert_eq!(digests, &[Digest::sha256(b"")].into());
    assert!(policy.denies(&Digest::Sha256([0; 32])) && policy.denies(&Digest::Sha256([0x11; 32])));
    assert!(!policy.denies(&Digest::sha256(b"")));

    let keys: Vec<_> = policy.keys().collect();
    let [qa, release] = keys[..] else {
        panic!("{keys:?}")
    };
    assert_eq!(qa.schemes, SigningAlgorithm::every_scheme(Salt::Any));
    assert_eq!((qa.validity, &qa.ids), (Validity::default(), &BTreeMap::new()));
    assert_eq!(
        release.schemes,
        [SigningAlgorithm::Sha256RsaPkcsPss.scheme(Salt::Digest)].into()
    );
    assert_eq!(
        release.ids,
        BTreeMap::from([
            ("kms_key_id", "ocid1.key.oc1.phx.vault.abc".to_owned()),
            (
                "kms_key_version_id",
                "ocid1.keyversion.oc1.phx.vault.abc".to_owned()
            ),
        ])
    );
    assert_eq!(
        release.validity,
        Validity {
            not_before: Some("2016-01-01T00:00:00Z".parse().unwrap()),
            not_after: Some("2927-01-01T00:00:00Z".parse().unwrap()),
            revoked: false,
        }
    );
    assert_ne!(qa.public_key.fingerprint(), release.public_key.fingerprint());
}

#[test]
fn the_installed_default_loads_and_lets_nothing_through() {
    let config = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/pullgate.toml"));
    assert_eq!(config.policy.default_action(), DefaultAction::Reject);
    assert!(config.policy.rules().is_empty() && config.policy.keys().len() == 0);
    assert!(
        config
            .doors
            .get::<RegistryDoorSettings>()
            .unwrap()
            .listen
            .ip()
            .is_loopback()
    );
}

/// `BLESS=1` writes the expected texts anew: then read the difference.
fn compare(expected: &Path, text: &str) {
    let here = format!("{}/", fixtures().display());
    let text = text.replace(&here, "");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(expected, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(expected).unwrap(),
        text,
        "{}",
        expected.display()
    );
}

/// Each `<name>.toml` in the folder with its `<name>.txt`; each folder's `pullgate.toml` with its `expected.txt`.
fn cases(folder: &str) -> Vec<(PathBuf, PathBuf)> {
    let entries = std::fs::read_dir(fixtures().join(folder)).unwrap();
    let mut cases: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            if path.is_dir() {
                Some((path.join("pullgate.toml"), path.join("expected.txt")))
            } else {
                let expected = path.with_extension("txt");
                path.extension()
                    .is_some_and(|extension| extension == "toml")
                    .then_some((path, expected))
            }
        })
        .collect();
    cases.sort();
    cases
}

#[test]
fn what_is_invalid_is_refused_in_these_words() {
    let cases = cases("invalid");
    assert!(cases.len() >= 20, "{}", cases.len());
    for (main, expected) in cases {
        let Err(errors) = Config::load_at(&main, now()) else {
            panic!("{} loads", main.display())
        };
        check_form(&errors);
        compare(&expected, &format!("{errors}\n"));
    }
}

#[test]
fn what_is_valid_loads_with_these_warnings() {
    let cases = cases("valid");
    assert!(cases.len() >= 3, "{}", cases.len());
    for (main, expected) in cases {
        let warnings: Vec<String> = load(&main)
            .warnings
            .iter()
            .map(|warning| format!("{warning}\n"))
            .collect();
        compare(&expected, &warnings.join("\n"));
    }
}

fn check_form(errors: &ConfigErrors) {
    assert!(!errors.problems.is_empty());
    for problem in &errors.problems {
        assert!(problem.line > 0 && problem.column > 0, "{problem:?}");
        assert!(
            !problem.message.ends_with('.') && !problem.message.is_empty(),
            "{problem:?}"
        );
        assert!(
            !problem
                .to_string()
                .chars()
                .any(|each| each.is_control() && !matches!(each, '\n' | '\t'))
        );
    }
}

/// These files in a folder of their own.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

#[test]
fn a_file_in_the_usual_folder_that_nothing_includes_is_told_of() {
    let policy = "[policy]\ndefault = \"reject\"\n";
    let included = format!("include = [\"policy.d/*.toml\"]\n{policy}");
    for (main, warned) in [(policy, true), (included.as_str(), false)] {
        let folder = folder(&[
            ("pullgate.toml", main),
            ("policy.d/a.toml", ""),
            ("policy.d/b.txt", ""),
        ]);
        let warnings = load(&folder.path().join("pullgate.toml")).warnings;
        let told = warnings.iter().any(|warning| {
            let text = warning.to_string();
            text.contains("policy.d/a.toml` is ignored") && text.contains("add `include")
        });
        assert_eq!(told, warned, "{warnings:?}");
    }
}

#[test]
fn a_door_before_itself_does_not_load() {
    let main =
        "[policy]\ndefault = \"reject\"\n\n[door.cri]\nlisten = \"/run/a.sock\"\nruntime = \"/run/a.sock\"\n";
    let folder = folder(&[("pullgate.toml", main)]);
    let errors = Config::load_at(&folder.path().join("pullgate.toml"), now()).unwrap_err();
    assert!(
        errors.to_string().contains("`runtime` is the door's own socket"),
        "{errors}"
    );
}

#[test]
fn what_is_not_a_readable_text_is_refused_by_its_name() {
    let long = format!("# {}\n", "x".repeat(1024 * 1024));
    let policy = "[policy]\ndefault = \"reject\"\n";
    for (main, included, expected) in [
        (
            long.as_bytes(),
            None,
            "pullgate.toml: has more than 1048576 bytes",
        ),
        (
            b"a = 1\nb = \"\xff\"\n",
            None,
            "pullgate.toml: is not UTF-8: see line 2",
        ),
        (
            policy.as_bytes(),
            Some(long.as_bytes()),
            "more.toml` has more than 1048576 bytes",
        ),
        (
            policy.as_bytes(),
            Some(b"\xff\n"),
            "more.toml` is not UTF-8: see line 1",
        ),
    ] {
        let folder = folder(&[]);
        let path = folder.path().join("pullgate.toml");
        let include: &[u8] = if included.is_some() {
            b"include = [\"more.toml\"]\n"
        } else {
            b""
        };
        std::fs::write(&path, [include, main].concat()).unwrap();
        std::fs::write(folder.path().join("more.toml"), included.unwrap_or_default()).unwrap();
        let errors = Config::load_at(&path, now()).unwrap_err();
        let [problem] = &errors.problems[..] else {
            panic!("{errors}")
        };
        assert!(errors.to_string().contains(expected), "{errors}");
        assert_eq!(problem.line, usize::from(included.is_some()), "{problem}");
    }
    let folder = folder(&[]);
    let errors = Config::load_at(&folder.path().join("nowhere.toml"), now()).unwrap_err();
    assert!(
        errors.to_string().contains("nowhere.toml: there is no such file"),
        "{errors}"
    );
    let errors = Config::load_at(folder.path(), now()).unwrap_err();
    assert!(errors.to_string().contains("is not a file"), "{errors}");
}

#[test]
fn a_key_file_that_is_too_large_is_not_read() {
    let main = "[policy]\ndefault = \"reject\"\n[[key]]\nname = \"a\"\npublic_key = \"large.pem\"\n";
    let folder = folder(&[("pullgate.toml", main), ("large.pem", &"#".repeat(64 * 1024 + 1))]);
    let errors = Config::load_at(&folder.path().join("pullgate.toml"), now()).unwrap_err();
    assert!(
        errors
            .to_string()
            .contains("large.pem` has more than 65536 bytes"),
        "{errors}"
    );
}

#[test]
fn files_are_read_once_in_the_order_of_their_names() {
    let main = "include = [\"d/20.toml\", \"d/*.toml\", \"d/1*.toml\"]\n[policy]\ndefault = \"reject\"\n";
    let wrong = "wrong = 1\n";
    let folder = folder(&[
        ("pullgate.toml", main),
        ("d/30.toml", wrong),
        ("d/20.toml", wrong),
        ("d/10.toml", wrong),
        ("d/.40.toml", wrong),
        ("d/50.toml~", wrong),
    ]);
    let errors = Config::load_at(&folder.path().join("pullgate.toml"), now()).unwrap_err();
    let names: Vec<_> = errors
        .problems
        .iter()
        .map(|problem| problem.file.file_name().unwrap())
        .collect();
    assert_eq!(names, ["20.toml", "10.toml", "30.toml"]);
}

#[test]
fn a_prefix_takes_what_the_scope_matched() {
    for (signed, scope, pulled, expected) in [
        (
            "upstream",
            "mirror.example/hub/**",
            "mirror.example/hub/library/nginx",
            "upstream/library/nginx",
        ),
        (
            "upstream",
            "mirror.example/hub/**",
            "mirror.example/hub",
            "upstream",
        ),
        ("a/b", "mirror.example/**", "mirror.example/c", "a/b/c"),
        ("a", "mirror.example/*/x/**", "mirror.example/y/x/z", "a/z"),
        ("a", "*.example/**", "mirror.example/y/z", "a/y/z"),
        (
            "",
            "phx.ocir.io/namespace/**",
            "phx.ocir.io/namespace/project01/acme",
            "project01/acme",
        ),
        ("", "phx.ocir.io/namespace/**", "phx.ocir.io/namespace", ""),
    ] {
        let scope: Scope = scope.parse().unwrap();
        let pulled: Repository = pulled.parse().unwrap();
        let prefix = SignedRepository::Prefix(signed.to_owned());
        assert_eq!(prefix.expected(&scope, &pulled), expected, "{scope} {pulled}");
        let exact = SignedRepository::Exact("one".to_owned());
        assert_eq!(exact.expected(&scope, &pulled), "one");
    }
}

#[test]
fn a_file_that_is_something_else_is_refused_soon_and_in_few_words() {
    let keys: String = (0..5000).map(|number| format!("k{number}=1\n")).collect();
    let nested = format!("a = {}", "[".repeat(500_000));
    let tables = format!("[{}]", "a.".repeat(300_000));
    let inline = format!("a = {}", "{a=".repeat(300_000));
    for text in [
        &keys,
        &nested,
        &tables,
        &inline,
        &"=\n".repeat(20_000),
        &"\"".repeat(1_000_000),
        &"\0".repeat(1_000_000),
    ] {
        let folder = folder(&[("pullgate.toml", text)]);
        let begin = Instant::now();
        let errors = Config::load_at(&folder.path().join("pullgate.toml"), now()).unwrap_err();
        let start = &text[..10.min(text.len())];
        assert!(
            (1..=1001).contains(&errors.problems.len()),
            "{start:?}: {}",
            errors.problems.len()
        );
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "{start:?}: {:?}",
            begin.elapsed()
        );
        assert!(errors.to_string().len() < 1_000_000, "{start:?}");
    }
}

proptest! {
    /// Whatever becomes of a good file, what is said of it points into it.
    #[test]
    fn what_is_said_of_a_damaged_file_points_into_it(
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0..40_usize, "[\\[\\]{}=\"#.,\\na-z0-9é\t-]{0,4}"), 1..6),
    ) {
        let path = fixtures().join("valid/design/pullgate.toml");
        let mut text: Vec<char> = std::fs::read_to_string(path).unwrap().chars().collect();
        for (place, length, new) in cuts {
            let start = place.index(text.len() + 1);
            let end = text.len().min(start + length);
            text.splice(start..end, new.chars());
        }
        let text: String = text.into_iter().collect();
        let folder = folder(&[("pullgate.toml", &text)]);
        let path = folder.path().join("pullgate.toml");
        // The files that it names are missing: it is never valid.
        let errors = Config::load_at(&path, now()).unwrap_err();
        prop_assert!(!errors.problems.is_empty());
        for problem in &errors.problems {
            prop_assert_eq!(&problem.file, &path);
            let line = text.split('\n').nth(problem.line - 1).unwrap();
            prop_assert!(problem.column <= line.chars().count() + 1, "{}", problem);
            prop_assert!(problem.indent + problem.width <= problem.line_text.chars().count().max(1) + 1, "{}", problem);
        }
    }
}

#[test]
fn a_revoked_key_is_revoked_under_every_name_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let pem = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys/rsa-2048.public.pem");
    std::fs::copy(pem, folder.path().join("key.pem")).unwrap();
    let file = folder.path().join("pullgate.toml");
    let key =
        |name: &str, more: &str| format!("[[key]]\nname = \"{name}\"\npublic_key = \"key.pem\"\n{more}\n");
    let rule = "[[rule]]\nscope = \"registry.example/**\"\nrequire = \"signed\"\nformats = [\"oracle\"]\nkeys = [\"copy\"]\n";
    let text = format!(
        "[policy]\ndefault = \"reject\"\n{}{}{rule}",
        key("copy", ""),
        key("leaked", "revoked = true")
    );
    std::fs::write(&file, text).unwrap();
    let config = load(&file);
    assert!(config.policy.keys().all(|key| key.validity.revoked));
    let Requirement::Signed(signed) = &config.policy.rules()[0].requirement else {
        panic!()
    };
    assert!(signed.authorities[0].facts().validity().revoked);
}
