//! Loads every configuration that a page shows, and compares the tables of `docs/configuration.md` with the loader.

use std::collections::BTreeSet;
use std::path::Path;

use pullgate::process::config::{Config, ConfigErrors};
use rcgen::{CertifiedKey, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use tempfile::TempDir;
use toml::Value;

use crate::markdown::{Block, Page, page, pages};

const LEAST: &str = "[policy]\ndefault = \"reject\"\n";

#[test]
fn every_configuration_loads_without_a_warning() {
    let mut loaded = 0;
    for page in pages() {
        for block in page.blocks.iter().filter(|block| block.language == "toml") {
            let first = block.text.lines().next().unwrap_or_default();
            let Some(path) = first.strip_prefix("# ").and_then(|rest| rest.strip_prefix('/')) else {
                // The example belongs to a command: tests/docs/commands.rs writes it into the folder of the command.
                assert!(
                    first.starts_with("# ") && !first.contains('/'),
                    "{}: names no file",
                    block.place
                );
                continue;
            };
            if let Some(path) = path.strip_prefix("etc/pullgate/") {
                load(block, path);
                loaded += 1;
            } else {
                block
                    .text
                    .parse::<toml::Table>()
                    .unwrap_or_else(|error| panic!("{}: {error}", block.place));
            }
        }
    }
    assert!(loaded >= 6, "{loaded}");
}

/// Loads a block as the file that its first line names, together with all files that it refers to.
fn load(block: &Block, path: &str) {
    let folder = TempDir::new().unwrap();
    let main = folder.path().join("pullgate.toml");
    let table = block
        .text
        .parse::<toml::Table>()
        .unwrap_or_else(|error| panic!("{}: {error}", block.place));
    let mut text = block.text.clone();
    let mut named_from = folder.path().to_owned();
    if path.starts_with("policy.d/") {
        put(
            folder.path(),
            path.split_whitespace().next().unwrap(),
            &block.text,
        );
        text = format!("include = [\"policy.d/*.toml\"]\n{LEAST}");
        named_from.push("policy.d");
    } else if let Some(rest) = path.strip_prefix("pullgate.toml") {
        // A part of a file is loaded with the tables that every file must have.
        assert!(matches!(rest, "" | ", a part"), "{}: `{path}`", block.place);
        if !rest.is_empty() {
            text.push_str(LEAST);
        }
        std::fs::create_dir_all(folder.path().join("policy.d")).unwrap();
    } else {
        panic!("{}: `{path}` is not a configuration file", block.place);
    }
    if path != "pullgate.toml" {
        text.push_str(&other_keys(folder.path(), &table));
    }
    put_files(&named_from, &Value::Table(table));
    std::fs::write(&main, text).unwrap();
    let config = Config::load(&main).unwrap_or_else(|errors| panic!("{}: {errors}", block.place));
    // A node has groups that this machine may not have.
    let mut warnings = config.warnings.iter().map(ToString::to_string);
    let warning = warnings.find(|warning| !warning.contains("there is no group"));
    assert_eq!(warning, None, "{}", block.place);
}

/// Returns tables for the keys that the rules of a part name and that another file of the node defines.
fn other_keys(folder: &Path, table: &toml::Table) -> String {
    let tables = |name: &str| table.get(name).and_then(Value::as_array).into_iter().flatten();
    let names = |value: &Value| value.as_str().map(str::to_owned);
    let named = tables("rule")
        .filter_map(|rule| rule.get("keys")?.as_array())
        .flatten()
        .filter_map(names);
    let here: BTreeSet<String> = tables("key").filter_map(|key| names(key.get("name")?)).collect();
    let others: BTreeSet<String> = named.filter(|name| !here.contains(name)).collect();
    let mut text = String::new();
    for name in others {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        put(folder, &format!("others/{name}.pem"), &pair.public_key_pem());
        text.push_str(&format!(
            "\n[[key]]\nname = \"{name}\"\npublic_key = \"others/{name}.pem\"\n"
        ));
    }
    text
}

/// Writes a loadable file at every path that the configuration names.
fn put_files(folder: &Path, value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| put_files(folder, item)),
        Value::Table(table) => {
            for (key, value) in table {
                match (key.as_str(), value) {
                    ("public_key", Value::String(path)) => {
                        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
                        put(folder, path, &pair.public_key_pem());
                    }
                    ("certificate" | "ca", Value::String(path)) => put(folder, path, &certified().cert.pem()),
                    ("key", Value::String(path)) => {
                        put(folder, path, &certified().signing_key.serialize_pem())
                    }
                    ("file", Value::String(path)) => put(folder, path, "{\"auths\":{}}"),
                    _ => put_files(folder, value),
                }
            }
        }
        Value::Boolean(_) | Value::Datetime(_) | Value::Float(_) | Value::Integer(_) | Value::String(_) => {}
    }
}

fn certified() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn put(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Loads an invalid configuration and returns its errors.
fn refused(text: &str) -> ConfigErrors {
    let folder = TempDir::new().unwrap();
    let main = folder.path().join("pullgate.toml");
    std::fs::write(&main, text).unwrap();
    Config::load(&main).unwrap_err()
}

fn loaded(text: &str) -> Config {
    let folder = TempDir::new().unwrap();
    let main = folder.path().join("pullgate.toml");
    std::fs::write(&main, text).unwrap();
    Config::load(&main).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The headings of the page, and the text that opens the table in a file. `%` is the place of the table's keys.
const TABLES: [(&str, &str); 13] = [
    ("## The file", "%\n[policy]\ndefault = \"reject\""),
    ("## `[daemon]`", "[daemon]\n%"),
    ("### `admission` and `control`", "[daemon.admission]\n%"),
    ("## `[door.registry]`", "[door.registry]\n%"),
    ("## `[door.cri]`", "[door.cri]\n%"),
    ("### `tls`", "[door.registry.tls]\n%"),
    ("## `[policy]`", "[policy]\n%"),
    ("## `[cache]`", "[cache]\n%"),
    ("## `[limits]`", "[limits]\n%"),
    ("## `[[key]]`", "[[key]]\n%"),
    ("## `[[rule]]`", "[[rule]]\n%"),
    ("## `[[registry]]`", "[[registry]]\n%"),
    ("## `[deny]`", "[deny]\n%"),
];

#[test]
fn every_table_lists_the_keys_that_the_loader_knows() {
    let page = page(Path::new("docs/configuration.md"));
    let credentials = ("### `credentials`", "[[registry]]\n[registry.credentials]\n%");
    let oracle = ("### `[registry.oracle]`", "[[registry]]\n[registry.oracle]\n%");
    for (heading, opened) in TABLES.into_iter().chain([credentials, oracle]) {
        let documented: BTreeSet<String> = keys(&page, heading).collect();
        // The hint of the error about an unknown key lists the known keys.
        let known = refused(&opened.replace('%', "an_unknown_key_of_this_test = 1"))
            .problems
            .into_iter()
            .find(|problem| problem.message.contains("an_unknown_key_of_this_test"))
            .and_then(|problem| problem.hint)
            .unwrap();
        let (_, list) = known
            .split_once(" accepts ")
            .unwrap_or_else(|| panic!("{heading}: {known}"));
        let known: BTreeSet<String> = list
            .split(", ")
            .flat_map(|keys| keys.split(" and "))
            .map(|key| key.trim_matches('`').to_owned())
            .collect();
        assert_eq!(documented, known, "{heading}");
    }
}

fn keys(page: &Page, heading: &str) -> impl Iterator<Item = String> {
    page.table(heading)
        .into_iter()
        .map(|row| row[0].trim_matches('`').to_owned())
}

#[test]
fn the_bounds_equal_those_of_the_loader() {
    let page = page(Path::new("docs/configuration.md"));
    let mut compared = 0;
    for (heading, opened) in TABLES {
        for row in page.table(heading) {
            let (key, default, bounds) = (
                row[0].trim_matches('`'),
                row[1].trim_matches('`'),
                row[2].replace('`', ""),
            );
            if !bounds.contains(" to ") {
                continue;
            }
            // A value of the key's type that is beyond all bounds.
            let beyond = if default.parse::<usize>().is_ok() {
                "999999999999"
            } else {
                "\"9999d\""
            };
            let set = opened.replace(
                '%',
                &format!(
                    "scope = \"a.example/b\"\nrequire = \"signed\"\nformats = [\"oracle\"]\n{key} = {beyond}"
                ),
            );
            let hints: Vec<_> = refused(&set)
                .problems
                .into_iter()
                .filter_map(|problem| problem.hint)
                .collect();
            let wanted = format!("choose a value from {bounds}");
            assert!(hints.contains(&wanted), "{heading} {key}: {wanted}: {hints:?}");
            compared += 1;
        }
    }
    assert_eq!(compared, 9);
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let page = page(Path::new("docs/configuration.md"));
    let least = loaded(LEAST);
    let mut compared = 0;
    for heading in ["## `[daemon]`", "## `[cache]`", "## `[limits]`"] {
        for row in page.table(heading) {
            let (key, default) = (row[0].trim_matches('`'), row[1].as_str());
            let Some(default) = default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) else {
                continue;
            };
            let (_, opened) = TABLES.into_iter().find(|(known, _)| *known == heading).unwrap();
            let value = if default.parse::<usize>().is_ok() {
                default.to_owned()
            } else {
                format!("\"{default}\"")
            };
            let set = opened.replace('%', &format!("{key} = {value}"));
            let config = loaded(&format!("{set}\n{LEAST}"));
            assert_eq!(
                (config.daemon, config.cache, config.limits),
                (least.daemon.clone(), least.cache, least.limits),
                "{heading} {key}"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 9);
}

#[test]
fn a_table_of_a_later_release_does_not_load_and_the_error_says_so() {
    for text in [
        "[door.proxy]\nlisten = \"127.0.0.1:5444\"",
        "[door.docker]\nlisten = \"/run/docker/plugins/pullgate.sock\"",
    ] {
        let errors = refused(&format!("{text}\n{LEAST}"));
        let [problem] = &errors.problems[..] else {
            panic!("{errors}")
        };
        assert!(
            problem.message.ends_with("is not supported by this release"),
            "{problem}"
        );
    }
}
