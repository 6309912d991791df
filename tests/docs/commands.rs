//! Compares the command lines on the pages with the programs: the programs accept every command line of our_words, and they print
//! the output that `console` blocks show.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::error::ErrorKind;
use pullgate::fakes::registry::{EmbeddedRegistry, FakeRegistryOptions};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use tempfile::TempDir;

use crate::markdown::{Block, Page, page, pages, root};

/// A command line on a page.
struct ShownCommand {
    place: String,
    words: Vec<String>,
    /// The lines below the command, up to the next prompt.
    output: Vec<String>,
}

#[test]
fn the_programs_accept_every_command_on_the_pages() {
    let mut tried = 0;
    let mut refused = Vec::new();
    for page in pages() {
        let in_blocks = page.blocks.iter().flat_map(commands).map(|shown| (shown, false));
        let in_prose = in_prose(&page).into_iter().map(|shown| (shown, true));
        for (shown, prose) in in_blocks.chain(in_prose) {
            let Some(words) = our_words(&shown.words) else {
                continue;
            };
            if words[0] == "pullgate" {
                if let Err(error) = pullgate::tool::cli::command().try_get_matches_from(&words)
                    // A sentence may name a verb without its arguments.
                    && !(prose && error.kind() == ErrorKind::MissingRequiredArgument)
                {
                    refused.push(format!("{}: {error}", shown.place));
                }
            } else {
                // The daemon parses the other arguments before it prints the version.
                let daemon = Command::new(env!("CARGO_BIN_EXE_pullgated"))
                    .args(&words[1..])
                    .arg("--version")
                    .output();
                let daemon = daemon.unwrap();
                assert!(
                    daemon.status.success(),
                    "{}: {}",
                    shown.place,
                    String::from_utf8_lossy(&daemon.stderr)
                );
            }
            tried += 1;
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(tried >= 20, "{tried}");
}

#[test]
fn every_option_of_sign_is_documented() {
    let options = page(Path::new("docs/signing.md")).table("## Sign");
    let documented: BTreeSet<&str> = options
        .iter()
        .flat_map(|row| row[0].split([' ', '`', ',']))
        .filter_map(|word| word.strip_prefix("--"))
        .collect();
    let command = pullgate::tool::cli::command();
    let sign = command.find_subcommand("sign").unwrap();
    let known: BTreeSet<&str> = sign.get_arguments().filter_map(clap::Arg::get_long).collect();
    assert_eq!(documented, known);
}

/// Returns the words of a command line that runs one of our programs, without `sudo` or `cargo run` in front. Returns `None`
/// if it runs another program.
fn our_words(words: &[String]) -> Option<Vec<String>> {
    let mut words = words;
    if let [sudo, rest @ ..] = words
        && sudo == "sudo"
    {
        words = match rest {
            [flag, _, rest @ ..] if flag == "-u" => rest,
            rest => rest,
        };
    }
    let words = match words {
        [cargo, run, release, bin, rest @ ..]
            if [cargo, run, release, bin] == ["cargo", "run", "--release", "--bin"] =>
        {
            let [name, dashes, rest @ ..] = rest else {
                return None;
            };
            assert_eq!(dashes, "--");
            [std::slice::from_ref(name), rest].concat()
        }
        words => words.to_vec(),
    };
    matches!(words.first()?.as_str(), "pullgate" | "pullgated").then_some(words)
}

/// Returns the command lines of a block: every line of `sh`, and the lines with a prompt of `console`.
fn commands(block: &Block) -> Vec<ShownCommand> {
    let mut shown: Vec<ShownCommand> = Vec::new();
    let mut lines = block.text.lines();
    while let Some(line) = lines.next() {
        let command = match block.language.as_str() {
            "sh" => Some(line),
            "console" => line.strip_prefix("$ "),
            _ => return Vec::new(),
        };
        let Some(command) = command else {
            let last = shown
                .last_mut()
                .unwrap_or_else(|| panic!("{}: output before a command", block.place));
            last.output.push(line.to_owned());
            continue;
        };
        let mut command = command.to_owned();
        while let Some(start) = command.strip_suffix('\\') {
            command = format!("{start}{}", lines.next().unwrap_or_default());
        }
        shown.push(ShownCommand {
            place: format!("{}: `{command}`", block.place),
            words: words(&command),
            output: Vec::new(),
        });
    }
    shown
}

/// Returns the inline code of a page as command lines, with an image's name in place of `IMAGE` and `…`.
fn in_prose(page: &Page) -> Vec<ShownCommand> {
    let code = page.inline_code().into_iter();
    code.map(|(line, text)| ShownCommand {
        place: format!("{}:{line}: `{text}`", page.path.display()),
        words: words(
            &text
                .replace("IMAGE", "…")
                .replace('…', "registry.example/shop/web:1.4"),
        ),
        output: Vec::new(),
    })
    .filter(|shown| shown.words.len() > 1)
    .collect()
}

/// Splits a line into words as a shell does, with quotes but without expansion.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == letter => quote = None,
            (None, ' ') => words.extend(word.take()),
            (None | Some(_), _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// The environment of the pages' examples: a registry, a key, a node's configuration and a daemon.
struct Site {
    folder: TempDir,
    /// The registry and the daemon run until they are dropped.
    _registry: EmbeddedRegistry,
    _daemon: Daemon,
    _sockets: TempDir,
}

/// A running `pullgated`.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Daemon {
    /// Starts the daemon and waits until its control socket exists.
    async fn start(config: &Path, socket: &Path) -> Self {
        let daemon = Command::new(env!("CARGO_BIN_EXE_pullgated"))
            .arg("--config")
            .arg(config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self(daemon);
        let until = Instant::now() + Duration::from_secs(60);
        while !socket.exists() {
            assert!(Instant::now() < until, "the daemon did not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        daemon
    }
}

impl Site {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let registry = EmbeddedRegistry::start(FakeRegistryOptions::default())
            .await
            .unwrap();
        registry.put_image("shop/web", "1.4", &[b"the shop"]).unwrap();
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        for (path, text) in [
            ("etc/keys/release.pem", key.public_key_pem()),
            ("work/release.pem", key.public_key_pem()),
            ("work/release.key", key.serialize_pem()),
            (
                "etc/pullgate.toml",
                configuration(registry.url(), &folder.path().join("state")),
            ),
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let list = root().join("tests/fixtures/oracle/lists/multi.json");
        std::fs::copy(list, folder.path().join("work/list.json")).unwrap();
        // The path of a socket is limited to 108 bytes (unix(7)), and `TMPDIR` may be long.
        let sockets = if folder.path().as_os_str().len() < 64 {
            TempDir::new_in(folder.path()).unwrap()
        } else {
            TempDir::new_in("/tmp").unwrap()
        };
        let main = folder.path().join("etc/pullgate.toml");
        let text = std::fs::read_to_string(&main).unwrap();
        std::fs::write(
            &main,
            text.replace("/run/pullgate", sockets.path().to_str().unwrap()),
        )
        .unwrap();
        let daemon = Daemon::start(&main, &sockets.path().join("control.sock")).await;
        Self {
            folder,
            _registry: registry,
            _daemon: daemon,
            _sockets: sockets,
        }
    }

    /// Runs a command. Returns its exit code and its output.
    async fn run(&self, words: &[String]) -> (i32, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_pullgate"));
        if !words.iter().any(|word| word == "--config") {
            command
                .arg("--config")
                .arg(self.folder.path().join("etc/pullgate.toml"));
        }
        let output = command
            .args(&words[1..])
            .current_dir(self.folder.path().join("work"))
            // The proxy settings and logins of the user who runs the tests must not count.
            .env_clear()
            .env("HOME", self.folder.path())
            .output()
            .await
            .unwrap();
        let text = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .concat();
        let etc = self.folder.path().join("etc");
        let state = self.folder.path().join("state");
        let text = text
            .replace(etc.to_str().unwrap(), "/etc/pullgate")
            .replace(state.to_str().unwrap(), "/var/lib/pullgate")
            .replace("127.0.0.1:0", "127.0.0.1:5443");
        (output.status.code().unwrap(), text)
    }
}

fn configuration(endpoint: &str, state: &Path) -> String {
    let state = state.display();
    format!(
        r#"
[daemon]
state = "{state}"
admission = "/run/pullgate/admission.sock"
control = "/run/pullgate/control.sock"
[door.registry]
listen = "127.0.0.1:0"
[policy]
default = "reject"
[[key]]
name = "release"
public_key = "keys/release.pem"
[[rule]]
scope = "registry.example/shop/**"
require = "signed"
formats = ["oracle"]
keys = ["release"]
[[registry]]
host = "registry.example"
endpoint = "{endpoint}"
"#
    )
}

#[tokio::test]
async fn the_programs_print_the_output_that_the_pages_show() {
    let mut compared = 0;
    for page in pages() {
        let site = Site::new().await;
        let mut exit = 0;
        let mut digest = String::new();
        for block in &page.blocks {
            if let Some(name) = block.text.lines().next().and_then(|line| line.strip_prefix("# "))
                && Path::new(name).file_name().is_some_and(|file| file == name)
            {
                std::fs::write(site.folder.path().join("work").join(name), &block.text).unwrap();
            }
            if block.language != "console" {
                continue;
            }
            for ShownCommand { place, words, output } in commands(block) {
                let printed = if words == ["echo", "$?"] {
                    format!("{exit}\n")
                } else if let Some(words) = our_words(&words).filter(|words| words[0] == "pullgate") {
                    let words: Vec<_> = words
                        .iter()
                        .map(|word| word.replace("sha256:…", &digest))
                        .collect();
                    let (code, printed) = site.run(&words).await;
                    exit = code;
                    // A later command names this record.
                    if let Some(line) = printed.lines().rfind(|line| line.starts_with("sha256:")) {
                        digest = line.split(' ').next().unwrap_or_default().to_owned();
                    }
                    printed
                } else {
                    continue;
                };
                let lines: Vec<&str> = printed.lines().collect();
                let pattern: Vec<&str> = output.iter().map(String::as_str).collect();
                assert!(
                    pattern.is_empty() && exit == 0 || lines_match(&pattern, &lines),
                    "{place}\nexit code {exit}, printed:\n{printed}"
                );
                compared += 1;
            }
        }
    }
    assert!(compared >= 8, "{compared}");
}

/// Compares lines with a pattern in which a line `…` stands for any number of lines.
fn lines_match(pattern: &[&str], lines: &[&str]) -> bool {
    match (pattern, lines) {
        ([], lines) => lines.is_empty(),
        (["…", rest @ ..], lines) => (0..=lines.len()).any(|skipped| lines_match(rest, &lines[skipped..])),
        (_, []) => false,
        ([first, patterns @ ..], [line, lines @ ..]) => {
            line_matches(first, line) && lines_match(patterns, lines)
        }
    }
}

/// Compares a line with a pattern in which `…` stands for any text. The number of spaces between words does not matter,
/// because the text that `…` stands for changes the width of a column.
fn line_matches(pattern: &str, line: &str) -> bool {
    let (pattern, line) = (narrow(pattern), narrow(line));
    let mut pieces = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(pieces.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// Keeps the indentation and reduces the space between words to one.
fn narrow(line: &str) -> String {
    let text = line.trim_start();
    let indent = &line[..line.len() - text.len()];
    format!(
        "{indent}{}",
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    )
}
