use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;
use toml::de::DeTable;

use super::edit::{apply, edits};
use super::{ReplaceError, plan, write};
use crate::process::config::Config;
use crate::pull::policy::Generation;

const RELEASE: &str = include_str!("../../../../tests/fixtures/config/keys/release.pem");

fn migrated(text: &str) -> String {
    let (tree, errors) = DeTable::parse_recoverable(text);
    assert!(errors.is_empty(), "{text}: {errors:?}");
    let after = apply(text, &edits(text, tree.get_ref()));
    let (tree, errors) = DeTable::parse_recoverable(&after);
    assert!(errors.is_empty(), "{after}: {errors:?}");
    assert!(
        edits(&after, tree.get_ref()).is_empty(),
        "not idempotent: {after}"
    );
    after
}

#[test]
fn a_signed_rule_names_the_format_of_earlier_releases() {
    for (before, after) in [
        (
            "[[rule]]\nrequire = \"signed\"\nkeys = [\"a\"]\n",
            "[[rule]]\nrequire = \"signed\"\nformats = [\"oracle\"]\nkeys = [\"a\"]\n",
        ),
        // The layout of the lines around it, and a comment on the line above.
        (
            "[[rule]]\n  scope     = \"a\"\n  require   = \"signed\" # why\n  threshold = 2\n",
            "[[rule]]\n  scope     = \"a\"\n  require   = \"signed\" # why\n  formats   = [\"oracle\"]\n  threshold = 2\n",
        ),
        (
            "[[rule]]\n\"require\"='signed'\n",
            "[[rule]]\n\"require\"='signed'\nformats=[\"oracle\"]\n",
        ),
        (
            "[[rule]]\r\nrequire = \"signed\"\r\n",
            "[[rule]]\r\nrequire = \"signed\"\r\nformats = [\"oracle\"]\r\n",
        ),
        // The last line of a file, without a line ending.
        (
            "[[rule]]\nrequire = \"signed\"",
            "[[rule]]\nrequire = \"signed\"\nformats = [\"oracle\"]",
        ),
        (
            "[[rule]]\r\nrequire = \"signed\"",
            "[[rule]]\r\nrequire = \"signed\"\r\nformats = [\"oracle\"]",
        ),
        (
            "[[rule]]\nrequire = \"\"\"\nsigned\"\"\"\n",
            "[[rule]]\nrequire = \"\"\"\nsigned\"\"\"\nformats = [\"oracle\"]\n",
        ),
        (
            "rule = [{ require = \"signed\", keys = [\"a\"] }, { require = \"reject\" }]\n",
            "rule = [{ require = \"signed\", formats = [\"oracle\"], keys = [\"a\"] }, { require = \"reject\" }]\n",
        ),
        // Rules that name formats, or that are not signed, stay.
        (
            "[[rule]]\nrequire = \"signed\"\nformats = [\"oracle\"]\n[[rule]]\nrequire = \"digest\"\n",
            "[[rule]]\nrequire = \"signed\"\nformats = [\"oracle\"]\n[[rule]]\nrequire = \"digest\"\n",
        ),
    ] {
        assert_eq!(migrated(before), after, "{before}");
    }
}

#[test]
fn tag_becomes_a_part_of_referrers() {
    for (before, after) in [
        (
            r#"["referrers", "tag", "directory"]"#,
            r#"["referrers", "directory"]"#,
        ),
        (r#"["referrers", "tag"]"#, r#"["referrers"]"#),
        (
            r#"["referrers","tag","directory"]"#,
            r#"["referrers","directory"]"#,
        ),
        (r#"["tag", "referrers"]"#, r#"["referrers"]"#),
        (
            r#"["tag", "directory", "referrers"]"#,
            r#"["referrers", "directory"]"#,
        ),
        (r#"["directory", 'tag']"#, r#"["directory", 'referrers']"#),
        (r#"["tag"]"#, r#"["referrers"]"#),
        (r#"["referrers"]"#, r#"["referrers"]"#),
        (r#"[ "referrers" , "tag" , ]"#, r#"[ "referrers" , ]"#),
        // A line that held nothing else goes; comments stay.
        (
            "[\n  \"referrers\", # first\n  \"tag\",\n  \"directory\", # last\n]",
            "[\n  \"referrers\", # first\n  \"directory\", # last\n]",
        ),
        (
            "[\n  \"referrers\", # first\n  \"tag\", # second\n  \"directory\"\n]",
            "[\n  \"referrers\", # first\n  # second\n  \"directory\"\n]",
        ),
        (
            "[\n  \"referrers\", # a, b\n  \"tag\"\n]",
            "[\n  \"referrers\", # a, b\n]",
        ),
        (
            "[\r\n  \"referrers\"\r\n  , \"tag\" # c\r\n  , \"directory\"\r\n]",
            "[\r\n  \"referrers\"\r\n  ,  # c\r\n   \"directory\"\r\n]",
        ),
    ] {
        let text = |list: &str| {
            format!("[[registry]]\nhost = \"a\"\nsignatures = {list} # about \"tag\"\nca = \"b\"\n")
        };
        assert_eq!(migrated(&text(before)), text(after), "{before}");
    }
}

proptest! {
    /// Whatever the layout of a list is, the items that stay keep their order, and every comment stays.
    #[test]
    fn a_list_of_any_layout_keeps_its_other_items_and_its_comments(
        items in Just(vec!["referrers", "tag", "directory", "oracle-api"]).prop_shuffle(),
        count in 1..5_usize,
        gaps in proptest::collection::vec("( |\t|\n|\r\n| ?#[ ,\\]\"a-z]{0,5}\n){0,3}", 10),
        has_last_comma in any::<bool>(),
    ) {
        let items: Vec<&str> = items.into_iter().take(count).collect();
        let mut text = "[[registry]]\nsignatures = [".to_owned();
        for (index, item) in items.iter().enumerate() {
            let comma = if index + 1 < count || has_last_comma { "," } else { "" };
            text.push_str(&format!("{}\"{item}\"{}{comma}", gaps[2 * index], gaps[2 * index + 1]));
        }
        text.push_str(&format!("{}]\n", gaps[9]));
        let after = migrated(&text);
        let mut expected: Vec<&str> = Vec::new();
        for item in items {
            let item = if item == "tag" { "referrers" } else { item };
            if !expected.contains(&item) {
                expected.push(item);
            }
        }
        let table: toml::Table = after.parse().unwrap();
        let list = table["registry"][0]["signatures"].as_array().unwrap();
        let list: Vec<&str> = list.iter().filter_map(toml::Value::as_str).collect();
        prop_assert_eq!(list, expected, "{}", after);
        let comments = |text: &str| -> Vec<String> {
            text.lines().filter_map(|line| line.split_once('#')).map(|(_, comment)| comment.to_owned()).collect()
        };
        prop_assert_eq!(comments(&text), comments(&after));
    }
}

const OLD: &str = r#"# The node's policy.
include = ["policy.d/*.toml"]

[policy]
default = "reject"     # block

[[key]]
name       = "release"
public_key = "keys/release.pem"

# Our own images.
[[rule]]
scope   = "registry.example/a/**"
require = "signed"          # by the release key
keys    = ["release"]
"#;

const OLD_INCLUDED: &str = r#"[[registry]]
host = "registry.example"
signatures = ["referrers", "tag"] # the registry has no API

[[rule]]
scope = "registry.example/b"
require = "signed"
keys = ["release"]
mode = "warn"
"#;

/// A node of an earlier release: the main file, and one included file.
fn node(main: &str, included: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("keys/release.pem", RELEASE),
        ("pullgate.toml", main),
        ("policy.d/a.toml", included),
    ] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let main = folder.path().join("pullgate.toml");
    (folder, main)
}

fn generation(path: &Path) -> Generation {
    let config = Config::load(path).unwrap_or_else(|errors| panic!("{errors}"));
    config.policy.generation()
}

#[test]
fn an_old_configuration_does_not_load_and_names_the_command() {
    let (_folder, main) = node(OLD, OLD_INCLUDED);
    let errors = Config::load(&main).unwrap_err();
    assert_eq!(errors.problems.len(), 3, "{errors}");
    for problem in &errors.problems {
        assert!(problem.is_outdated, "{problem}");
        let hint = problem.hint.as_deref().unwrap();
        assert!(hint.contains("pullgate config migrate --write"), "{problem}");
    }
}

#[test]
fn a_migrated_configuration_loads_and_means_the_same() {
    let (folder, main) = node(OLD, OLD_INCLUDED);
    let files = plan(&main).unwrap();
    let changes: Vec<(PathBuf, Vec<usize>)> = files
        .iter()
        .map(|file| {
            (
                file.path.clone(),
                file.changes.iter().map(|change| change.line).collect(),
            )
        })
        .collect();
    let included = folder.path().join("policy.d/a.toml");
    assert_eq!(changes, [(main.clone(), vec![14]), (included, vec![3, 7])]);
    assert_eq!(fs::read_to_string(&main).unwrap(), OLD, "planning writes nothing");
    for file in &files {
        write(file).unwrap();
    }
    let expected = |text: &str| text.replace("\"release\"]\n", "\"release\"]\nformats = [\"oracle\"]\n");
    let (_other, same) = node(
        &expected(OLD),
        &expected(OLD_INCLUDED).replace("\"referrers\", \"tag\"", "\"referrers\""),
    );
    assert_eq!(generation(&main), generation(&same));
    assert_eq!(plan(&main).unwrap(), [], "the second time nothing is left to do");
    let text = fs::read_to_string(&main).unwrap();
    assert!(
        text.contains("require = \"signed\"          # by the release key\nformats = [\"oracle\"]\n"),
        "{text}"
    );
}

#[test]
fn a_configuration_with_another_problem_is_refused_whole() {
    for (main, included) in [
        (OLD.to_owned(), format!("{OLD_INCLUDED}treshold = 1\n")),
        (OLD.to_owned(), format!("{OLD_INCLUDED}[[rule\n")),
        (
            OLD.replace("[\"release\"]", "[\"relaese\"]"),
            OLD_INCLUDED.to_owned(),
        ),
        (
            OLD.replace("policy.d/*.toml", "missing.toml"),
            OLD_INCLUDED.to_owned(),
        ),
    ] {
        let (folder, path) = node(&main, &included);
        let errors = plan(&path).unwrap_err();
        assert!(
            errors.problems.iter().all(|problem| !problem.is_outdated),
            "{errors}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), main);
        assert_eq!(
            fs::read_to_string(folder.path().join("policy.d/a.toml")).unwrap(),
            included
        );
    }
}

#[test]
fn a_thousand_old_rules_are_migrated_although_not_all_of_them_are_shown() {
    let rules: String = (0..1100)
        .map(|number| {
            format!("[[rule]]\nscope = \"r.example/{number}\"\nrequire = \"signed\"\nkeys = [\"release\"]\n")
        })
        .collect();
    let (_folder, main) = node(OLD, &rules);
    let files = plan(&main).unwrap();
    assert_eq!(files.iter().map(|file| file.changes.len()).sum::<usize>(), 1101);
}

#[test]
fn a_written_file_keeps_its_mode_and_its_link_and_leaves_nothing_beside_it() {
    let (folder, main) = node(OLD, OLD_INCLUDED);
    let real = folder.path().join("real.toml");
    fs::rename(&main, &real).unwrap();
    symlink("real.toml", &main).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    for file in plan(&main).unwrap() {
        write(&file).unwrap();
    }
    assert!(fs::symlink_metadata(&main).unwrap().is_symlink());
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o7777, 0o640);
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["keys", "policy.d", "pullgate.toml", "real.toml"]);
    let _same = generation(&main);
}

#[test]
fn a_file_that_changed_in_the_meantime_is_not_overwritten() {
    let (folder, main) = node(OLD, OLD_INCLUDED);
    let files = plan(&main).unwrap();
    let edited = format!("{OLD}# a line of another editor\n");
    fs::write(&main, &edited).unwrap();
    let error = write(&files[0]).unwrap_err();
    assert!(matches!(error, ReplaceError::Changed { .. }), "{error}");
    assert_eq!(fs::read_to_string(&main).unwrap(), edited);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}
