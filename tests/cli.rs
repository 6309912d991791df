//! The tool as a program: standard output, standard error and exit codes.

#![expect(
    clippy::unwrap_used,
    reason = "a program that cannot be started fails its test"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/config")
        .join(name)
}

fn pullgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pullgate"));
    command
        .args(arguments)
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .stdin(Stdio::null());
    command
}

fn with_config(config: &str, arguments: &[&str]) -> Output {
    pullgate(arguments)
        .arg("--config")
        .arg(fixture(config))
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec())
        .unwrap()
        .replace(&fixture("").display().to_string(), "")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn config_check_prints_ok_on_standard_output() {
    let output = with_config("valid/design/pullgate.toml", &["config", "check"]);
    assert_eq!(code(&output), 0);
    let generation = json(&with_config(
        "valid/design/pullgate.toml",
        &["config", "show", "--json"],
    ));
    assert_eq!(
        text(&output.stdout),
        format!(
            "ok: 5 rules, 2 keys, 1 registry, 2 denied digests; default reject; generation {}\n",
            generation["generation"].as_str().unwrap()
        )
    );
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn config_check_prints_warnings_on_standard_error_and_succeeds() {
    let output = with_config("valid/warnings.toml", &["config", "check"]);
    assert_eq!(code(&output), 0);
    assert!(text(&output.stdout).starts_with("ok: 3 rules, 5 keys, 1 registry, 0 denied digests; "));
    let warnings = text(&output.stderr);
    assert!(
        warnings.contains(
            "warning: valid/warnings.toml:7:11: images that no rule covers are pulled without a check\n"
        ),
        "{warnings}"
    );
    assert!(
        warnings.contains("the key `revoked` cannot be used: the key is revoked"),
        "{warnings}"
    );
}

#[test]
fn config_migrate_prints_the_changes_and_writes_them_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("pullgate.toml");
    std::fs::copy(fixture("keys/release.pem"), folder.path().join("release.pem")).unwrap();
    let old = "[policy]\ndefault = \"reject\"\n\n[[key]]\nname = \"release\"\npublic_key = \"release.pem\"\n\n\
               # ours\n[[rule]]\nscope = \"registry.example/**\"\nrequire = \"signed\" # always\nkeys = [\"release\"]\n";
    std::fs::write(&main, old).unwrap();
    let run = |arguments: &[&str]| pullgate(arguments).arg("--config").arg(&main).output().unwrap();

    let output = run(&["config", "check"]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("run `pullgate config migrate --write`"));

    let output = run(&["config", "migrate"]);
    assert_eq!(code(&output), 1);
    let expected = format!(
        "{}:11: add `formats = [\"oracle\"]` to the rule\n",
        main.display()
    );
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(text(&output.stderr), "1 change in 1 file; `--write` makes it\n");
    assert_eq!(std::fs::read_to_string(&main).unwrap(), old);

    let output = run(&["config", "migrate", "--write", "--json"]);
    assert_eq!(code(&output), 0);
    let document = json(&output);
    assert_eq!(document["written"], true);
    assert_eq!(document["files"][0]["changes"][0]["line"], 11);
    let new = old.replace("# always\n", "# always\nformats = [\"oracle\"]\n");
    assert_eq!(std::fs::read_to_string(&main).unwrap(), new);

    assert_eq!(code(&run(&["config", "check"])), 0);
    let output = run(&["config", "migrate"]);
    assert_eq!(code(&output), 0);
    assert_eq!(text(&output.stdout), "ok: nothing to migrate\n");

    std::fs::write(&main, format!("{old}treshold = 2\n")).unwrap();
    let output = run(&["config", "migrate", "--write"]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("unknown key `treshold`"));
    assert!(
        !text(&output.stderr).contains("formats"),
        "the migration solves that one"
    );
    assert_eq!(
        std::fs::read_to_string(&main).unwrap(),
        format!("{old}treshold = 2\n")
    );
}

#[test]
fn config_check_prints_all_problems_on_standard_error() {
    let output = with_config("invalid/plain-listener.toml", &["config", "check"]);
    assert_eq!(code(&output), 2);
    assert_eq!(text(&output.stdout), "");
    assert_eq!(
        text(&output.stderr),
        r#"error: invalid/plain-listener.toml:5:10: plain http is served on a loopback address only
  5 | listen = "0.0.0.0:5443"
    |          ^^^^^^^^^^^^^^
hint: listen on 127.0.0.1, or set `tls = { certificate = "…", key = "…" }`

error: invalid/plain-listener.toml:6:20: `https://docker.io` is not a registry host
  6 | default_registry = "https://docker.io"
    |                    ^^^^^^^^^^^^^^^^^^^
hint: write host, or host and port, as they stand in image names

error: the configuration does not load: 2 problems
"#
    );
    let output = with_config("nowhere.toml", &["config", "show"]);
    assert_eq!(code(&output), 2);
    assert_eq!(
        text(&output.stderr),
        "error: nowhere.toml: there is no such file\nhint: `--config` names the main file\n\n\
         error: the configuration does not load: 1 problem\n"
    );
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn config_check_prints_the_same_as_json() {
    let output = with_config("valid/warnings.toml", &["--json", "config", "check"]);
    assert_eq!((code(&output), text(&output.stderr)), (0, String::new()));
    let answer = json(&output);
    assert_eq!(
        (&answer["ok"], &answer["problems"]),
        (&Value::Bool(true), &serde_json::json!([]))
    );
    assert!(answer["warnings"].as_array().unwrap().len() > 5);

    let output = with_config("invalid/no-policy.toml", &["config", "check", "--json"]);
    assert_eq!((code(&output), text(&output.stderr)), (2, String::new()));
    let answer = json(&output);
    assert_eq!(answer["ok"], Value::Bool(false));
    assert_eq!(
        answer["problems"],
        serde_json::json!([{
            "file": fixture("invalid/no-policy.toml"),
            "line": 1,
            "column": 1,
            "message": "`[policy] default` is missing",
            "hint": "add `[policy]` and below it `default = \"reject\"`",
        }])
    );
}

#[test]
fn config_show_prints_the_settings_in_effect() {
    let output = with_config("valid/design/pullgate.toml", &["config", "show"]);
    assert_eq!((code(&output), text(&output.stderr)), (0, String::new()));
    let shown = text(&output.stdout);
    for line in [
        "default        reject",
        "included       valid/design/policy.d/10-qa.toml",
        "included       valid/design/policy.d/20-open.toml",
        "phx.ocir.io/ansh81vru1zp/project01/**  signed by 2 keys          release, qa  project01/acme  warn",
        "mirror.example/**                      signed                    qa           upstream/**     enforce",
        "*.dev.example/**                       insecure-accept-anything  -            -               -",
        "registry.k8s.io/pause                  digest: one of 1          -            -               enforce",
        "sha256:1111111111111111111111111111111111111111111111111111111111111111",
    ] {
        assert!(shown.lines().any(|each| each == line), "{line}\n{shown}");
    }

    let output = with_config("valid/design/pullgate.toml", &["config", "show", "--json"]);
    let shown = json(&output);
    assert_eq!(shown["default"], "reject");
    let rule = &shown["rules"][3];
    assert_eq!(rule["scope"], "phx.ocir.io/ansh81vru1zp/project01/**");
    assert_eq!(
        (&rule["require"], &rule["mode"], &rule["threshold"]),
        (&"signed".into(), &"warn".into(), &2.into())
    );
    let fingerprint = rule["keys"][0]["fingerprint"].as_str().unwrap();
    assert!(
        fingerprint.starts_with("sha256:") && fingerprint.len() == 71,
        "{fingerprint}"
    );
    assert_eq!(shown["keys"][1]["fingerprint"], fingerprint);
    assert_eq!(shown["registries"][0]["endpoints"][2], "https://phx.ocir.io/");
    assert_eq!(shown["cache"]["positive"], "2h");
    let included = shown["included"][1].as_str().unwrap();
    assert!(
        included.ends_with("valid/design/policy.d/20-open.toml"),
        "{included}"
    );

    let doors = tempfile::tempdir().unwrap();
    let file = doors.path().join("pullgate.toml");
    let cri = "[door.cri]\nlisten = \"/run/a.sock\"\nruntime = \"/run/b.sock\"\nrecheck_present = true\n";
    std::fs::write(&file, format!("{cri}[policy]\ndefault = \"reject\"\n")).unwrap();
    let output = with_config(file.to_str().unwrap(), &["config", "show"]);
    let line = "CRI door       /run/a.sock before /run/b.sock; recheck_present\n";
    assert!(text(&output.stdout).contains(line), "{output:?}");

    let output = with_config("valid/least.toml", &["config", "show"]);
    let shown = text(&output.stdout);
    assert!(
        shown.contains("\nno rules\n\nno keys\n\nno registries\n\nno denied digests\n"),
        "{shown}"
    );
}

#[test]
fn output_is_coloured_on_terminals_and_on_request() {
    let plain = with_config("invalid/no-policy.toml", &["config", "check"]);
    assert!(!text(&plain.stderr).contains('\u{1b}'));
    let requested = with_config(
        "invalid/no-policy.toml",
        &["--color", "always", "config", "check"],
    );
    assert!(text(&requested.stderr).contains("\u{1b}[1;31merror:\u{1b}[0m"));
    // The option overrides the variable (no-color.org: a command-line flag overrides NO_COLOR).
    let both = pullgate(&["--color=always", "no-such-verb"])
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert!(text(&both.stderr).contains('\u{1b}'));
    let never = pullgate(&["--color=never", "no-such-verb"]).output().unwrap();
    assert!(!text(&never.stderr).contains('\u{1b}'));
}

#[test]
fn a_usage_error_exits_with_2_and_help_with_0() {
    for arguments in [
        &["no-such-verb"][..],
        &[],
        &["config"],
        &["--color", "pink", "config", "check"],
        &["completions"],
    ] {
        let output = pullgate(arguments).output().unwrap();
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["config", "check", "-h"]] {
        let output = pullgate(arguments).output().unwrap();
        assert_eq!(
            (code(&output), text(&output.stderr)),
            (0, String::new()),
            "{arguments:?}"
        );
    }
}

#[test]
fn completions_exist_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = pullgate(&["completions", shell]).output().unwrap();
        assert_eq!(code(&output), 0);
        let script = text(&output.stdout);
        assert!(
            [
                "pullgate",
                "config",
                "check",
                "kms-key-id",
                "trusted-keys",
                "freeform-tags"
            ]
            .iter()
            .all(|word| script.contains(word)),
            "{shell}"
        );
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let output = pullgate(&["man"]).output().unwrap();
    assert_eq!(code(&output), 0);
    assert!(text(&output.stdout).contains(".TH pullgate 1"));
    let folder = tempfile::tempdir().unwrap();
    let output = pullgate(&["man", "--output"])
        .arg(folder.path().join("man1"))
        .output()
        .unwrap();
    assert_eq!((code(&output), text(&output.stdout)), (0, String::new()));
    for name in [
        "pullgate.1",
        "pullgate-config.1",
        "pullgate-config-check.1",
        "pullgate-completions.1",
        "pullgate-key-import.1",
        "pullgate-key-show.1",
        "pullgate-sign.1",
        "pullgate-signature-tag.1",
    ] {
        let page = std::fs::read_to_string(folder.path().join("man1").join(name)).unwrap();
        assert!(page.contains(".SH NAME"), "{name}");
    }
}

#[test]
fn a_failure_to_write_the_output_is_an_error() {
    let Ok(full) = std::fs::File::create("/dev/full") else {
        return;
    };
    let output = pullgate(&["completions", "bash"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(code(&output), 3);
    assert_eq!(
        text(&output.stderr),
        "error: could not write the output\n  caused by: No space left on device (os error 28)\n"
    );
}

#[test]
fn every_example_in_the_help_is_a_valid_command() {
    fn examples(command: &clap::Command) -> Vec<String> {
        let help = command.get_after_help().map(ToString::to_string);
        let own = help.unwrap_or_default();
        let own = own.lines().filter_map(|line| line.strip_prefix("  pullgate "));
        let own = own.map(str::to_owned).collect::<Vec<_>>();
        own.into_iter()
            .chain(command.get_subcommands().flat_map(examples))
            .collect()
    }
    let command = pullgate::tool::cli::command();
    let examples = examples(&command);
    assert!(examples.len() >= 18, "{examples:#?}");
    for example in examples {
        let words = example
            .replace("--kms-key-id OCID", "--kms-key-id ocid1.key.oc1.phx.vault.key")
            .replace(
                "--kms-key-version-id OCID",
                "--kms-key-version-id ocid1.keyversion.oc1.phx.vault.key.version",
            );
        let words = ["pullgate"].into_iter().chain(words.split(' '));
        let parsed = command.clone().try_get_matches_from(words);
        assert!(parsed.is_ok(), "{example}: {parsed:?}");
    }
}
