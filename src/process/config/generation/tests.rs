use crate::process::config::Config;
use crate::pull::policy::Generation;

const RELEASE: &str = include_str!("../../../../tests/fixtures/config/keys/release.pem");
const QA: &str = include_str!("../../../../tests/fixtures/config/keys/qa.pem");

/// The generation of a configuration of these files, in a folder of its own, with two keys.
fn generation(files: &[(&str, &str)]) -> Generation {
    let folder = tempfile::tempdir().unwrap();
    let keys = [("keys/release.pem", RELEASE), ("keys/qa.pem", QA)];
    for (name, text) in keys.iter().chain(files) {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let config =
        Config::load(&folder.path().join("pullgate.toml")).unwrap_or_else(|errors| panic!("{errors}"));
    config.policy.generation()
}

const BASE: &str = r#"
[policy]
default = "reject"

[[key]]
name = "release"
public_key = "keys/release.pem"
not_after = 2027-01-01T00:00:00Z

[[key]]
name = "qa"
public_key = "keys/qa.pem"

[[rule]]
scope = "registry.example/a/**"
require = "signed"
formats = ["oracle"]
keys = ["release", "qa"]

[[rule]]
scope = "registry.example/b"
require = "digest"
digests = ["sha256:0000000000000000000000000000000000000000000000000000000000000000"]

[[registry]]
host = "registry.example"
endpoint = "https://registry.example"
mirrors = ["https://m.example", "https://n.example"]

[deny]
digests = ["sha256:1111111111111111111111111111111111111111111111111111111111111111"]
"#;

#[test]
fn the_same_meaning_is_the_same_generation() {
    let base = generation(&[("pullgate.toml", BASE)]);
    let copied = [
        ("keys/other-name.pem", QA),
        (
            "pullgate.toml",
            &BASE.replace("keys/qa.pem", "keys/other-name.pem"),
        ),
    ];
    assert_eq!(generation(&copied), base, "the path of a key");
    for (from, to, what) in [
        ("\n[", "\n\n# a comment\n[", "comments and lines"),
        (" = ", "=", "spaces"),
        (
            r#"["release", "qa"]"#,
            r#"["qa", "release"]"#,
            "the order of keys",
        ),
        (
            "2027-01-01T00:00:00Z",
            "2027-01-01T02:00:00+02:00",
            "the spelling of an instant",
        ),
        (
            r#"require = "signed""#,
            "require = \"signed\"\nthreshold = 1\nmode = \"enforce\"",
            "defaults of rules",
        ),
        (
            "keys/qa.pem\"",
            "keys/qa.pem\"\nrevoked = false\nsalt = \"any\"",
            "defaults of keys",
        ),
        (
            r#"host = "registry.example""#,
            "host = \"registry.example\"\ncredentials = \"passthrough\"",
            "defaults of registries",
        ),
        (
            "[deny]",
            "[daemon]\nstate = \"/elsewhere\"\n[cache]\npositive = \"1s\"\n[deny]",
            "the process",
        ),
    ] {
        let other = BASE.replace(from, to);
        assert_ne!(other, BASE, "{what}");
        assert_eq!(generation(&[("pullgate.toml", &other)]), base, "{what}");
    }

    let at = BASE.find("[[rule]]").unwrap();
    let main = format!("include = [\"policy.d/*.toml\"]\n{}", &BASE[..at]);
    assert_eq!(
        generation(&[("pullgate.toml", &main), ("policy.d/x.toml", &BASE[at..])]),
        base,
        "two files"
    );

    let second = BASE[at + 1..].find("[[rule]]").unwrap() + at + 1;
    let registry = BASE.find("[[registry]]").unwrap();
    let swapped = format!(
        "{}{}{}{}",
        &BASE[..at],
        &BASE[second..registry],
        &BASE[at..second],
        &BASE[registry..]
    );
    assert_ne!(swapped, BASE);
    assert_eq!(
        generation(&[("pullgate.toml", &swapped)]),
        base,
        "the order of rules"
    );
}

#[test]
fn another_meaning_is_another_generation() {
    let mut seen = vec![("the base", generation(&[("pullgate.toml", BASE)]))];
    for (from, to, what) in [
        (
            r#"default = "reject""#,
            r#"default = "insecure-accept-anything""#,
            "default",
        ),
        ("keys/qa.pem\"", "keys/release.pem\"", "a public key"),
        ("keys/qa.pem\"", "keys/qa.pem\"\nrevoked = true", "revoked"),
        ("keys/qa.pem\"", "keys/qa.pem\"\nsalt = \"digest\"", "salt"),
        (
            "keys/qa.pem\"",
            "keys/qa.pem\"\nalgorithms = [\"SHA_512_RSA_PKCS_PSS\"]",
            "algorithms",
        ),
        (
            "keys/qa.pem\"",
            "keys/qa.pem\"\nkms_key_id = \"ocid1.key.a\"",
            "kms_key_id",
        ),
        (
            "keys/qa.pem\"",
            "keys/qa.pem\"\nkms_key_version_id = \"ocid1.key.a\"",
            "kms_key_version_id",
        ),
        (
            "keys/qa.pem\"",
            "keys/qa.pem\"\nnot_after = 2028-01-01T00:00:00Z",
            "not_after",
        ),
        (
            "keys/qa.pem\"",
            "keys/qa.pem\"\nnot_before = 2028-01-01T00:00:00Z",
            "not_before",
        ),
        (
            "2027-01-01T00:00:00Z",
            "2027-01-01T00:00:00.000000001Z",
            "a nanosecond",
        ),
        ("registry.example/a/**", "registry.example/a/*", "scope"),
        (r#"["release", "qa"]"#, r#"["release"]"#, "keys of a rule"),
        (
            r#"["release", "qa"]"#,
            "[\"release\", \"qa\"]\nthreshold = 2",
            "threshold",
        ),
        (
            r#"["release", "qa"]"#,
            "[\"release\", \"qa\"]\nmode = \"warn\"",
            "mode",
        ),
        (
            r#"["release", "qa"]"#,
            "[\"release\", \"qa\"]\nnamespaces = [\"prod\"]",
            "namespaces",
        ),
        (
            r#"["release", "qa"]"#,
            "[\"release\", \"qa\"]\nlabels = [\"tier=web\"]",
            "labels",
        ),
        (
            r#"["release", "qa"]"#,
            "[\"release\", \"qa\"]\nsigned_repository = \"c\"",
            "signed_repository",
        ),
        (
            r#"["release", "qa"]"#,
            "[\"release\", \"qa\"]\nsigned_repository = \"c/**\"",
            "a prefix",
        ),
        (
            r#"["release", "qa"]"#,
            "[\"release\", \"qa\"]\nsigned_repository = \"**\"",
            "an empty prefix",
        ),
        ("sha256:0", "sha256:2", "a digest of a rule"),
        ("sha256:1", "sha256:2", "a denied digest"),
        (
            "[deny]\n",
            "[[rule]]\nscope = \"registry.example/c\"\nrequire = \"reject\"\n[deny]\n",
            "a rule more",
        ),
        (
            r#"["https://m.example", "https://n.example"]"#,
            r#"["https://n.example", "https://m.example"]"#,
            "the order of mirrors",
        ),
        (
            r#""https://registry.example""#,
            r#""https://registry.example:444""#,
            "endpoint",
        ),
        (
            r#"host = "registry.example""#,
            r#"host = "other.example""#,
            "host",
        ),
        (
            r#"host = "registry.example""#,
            "host = \"registry.example\"\nsignatures = [\"directory\", \"referrers\"]",
            "sources",
        ),
        (
            r#"host = "registry.example""#,
            "host = \"registry.example\"\ncredentials = \"anonymous\"",
            "credentials",
        ),
    ] {
        let text = BASE.replacen(from, to, 1);
        assert_ne!(text, BASE, "{what}");
        let generation = generation(&[("pullgate.toml", &text)]);
        for (other, known) in &seen {
            assert_ne!(generation, *known, "{what} and {other}");
        }
        seen.push((what, generation));
    }
}

#[test]
fn where_oracles_api_is_asked_and_as_what_is_in_it() {
    let instance = "region = \"us-phoenix-1\"\nauth = \"instance-principal\"";
    let file = "region = \"us-phoenix-1\"\nauth = { config_file = \"oci/config\" }";
    let tenancy = "compartment_id = \"ocid1.tenancy.oc1..aaaaaaaa\"";
    let mut seen = Vec::new();
    for table in [
        instance.to_owned(),
        instance.replace("phoenix", "ashburn"),
        format!("{instance}\n{tenancy}"),
        format!("{instance}\n{tenancy}\ncompartment_id_in_subtree = true"),
        format!("{instance}\nmetadata_endpoint = \"http://127.0.0.1/opc/v2\""),
        format!("{instance}\nfederation_endpoint = \"https://auth.example\""),
        file.to_owned(),
    ] {
        let text = BASE.replace(
            "[deny]",
            &format!("[[registry]]\nhost = \"phx.ocir.io\"\nsignatures = [\"oracle-api\"]\n[registry.oracle]\n{table}\n[deny]"),
        );
        let generation = generation(&[
            ("pullgate.toml", &text),
            ("oci/config", CONFIG),
            ("oci/key.pem", PRIVATE),
        ]);
        assert!(!seen.contains(&generation), "{table}");
        seen.push(generation);
    }
}

const PRIVATE: &str = include_str!("../../../../tests/fixtures/keys/rsa-2048.private.pem");

const CONFIG: &str = "[DEFAULT]\ntenancy=ocid1.tenancy.oc1..aaaaaaaa\nuser=ocid1.user.oc1..aaaaaaaa\n\
                      fingerprint=92:45:df:54:bf:17:b7:ab:13:09:74:e9:a5:37:9c:d4\nkey_file=key.pem\n";
