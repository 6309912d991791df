//! The configuration: one TOML file and the files that it includes, read strictly. It loads as a whole or not at all, and
//! all problems are reported at once, with file, line and column.

mod daemon;
mod document;
mod endpoints;
mod files;
mod generation;
mod keys;
pub mod migrate;
mod oracle;
mod registries;
mod rules;
mod warnings;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use document::ConfigDocument;
use jiff::Timestamp;
use keys::Keys;
use registries::ConfiguredRegistries;
use rules::Rules;

use crate::base::files::FileError;
pub(crate) use crate::base::strict_toml::duration::to_text as show_duration;
pub use crate::base::strict_toml::problem::{ConfigErrors, Problem};
use crate::base::strict_toml::problem::{ConfigSource, Report, Reported, SourceSpan};
use crate::base::strict_toml::table::{Table, Text};
use crate::door::listen::socket_settings::SocketSettings;
use crate::door::{ConfiguredDoors, DoorLimits};
use crate::net::oracle::OracleRegistryConfig;
use crate::net::registry::RegistryConfig;
use crate::pull::policy::{DefaultAction as DefaultRuling, Policy};
use crate::trust::Authority;

/// The path at which packages install the configuration.
pub const DEFAULT_PATH: &str = "/etc/pullgate/pullgate.toml";

/// A configuration that loaded whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// The main file.
    pub path: PathBuf,
    /// The files that it includes, in the order in which they are read.
    pub included: Vec<PathBuf>,
    /// `[daemon]`.
    pub daemon: DaemonSettings,
    /// `[door.*]`, and `[daemon] admission`: the doors that are open.
    pub doors: ConfiguredDoors,
    /// `[policy]`, `[[key]]`, `[[rule]]`, `[deny]`.
    pub policy: Arc<Policy>,
    /// `[[registry]]`, by host.
    pub registries: Vec<RegistryConfig>,
    /// `[registry.oracle]`, by the registry's host.
    pub oracle: Vec<(String, OracleRegistryConfig)>,
    /// `[cache]`.
    pub cache: CacheSettings,
    /// `[limits]`.
    pub limits: DoorLimits,
    /// Warnings about settings that load and may surprise, for `config check` and the journal.
    pub warnings: Vec<Problem>,
}

/// `[daemon]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSettings {
    /// The folder of stored derivations and local signatures.
    pub state: PathBuf,
    /// The address that Prometheus reads; absent: closed.
    pub metrics: Option<SocketAddr>,
    /// The socket of `pullgate.v1.Control`; absent: closed.
    pub control: Option<SocketSettings>,
    /// The time that running pulls have after SIGTERM (`[limits] drain`).
    pub drain: Duration,
}

/// `[daemon]` as it is read: its settings, and the doors that it opens.
#[derive(Clone, Debug, Default)]
pub struct DaemonTable {
    /// The settings of the process.
    pub settings: DaemonSettings,
    /// The doors that `[daemon]` opens.
    pub doors: ConfiguredDoors,
}

impl Default for DaemonSettings {
    fn default() -> Self {
        Self {
            state: PathBuf::from("/var/lib/pullgate"),
            metrics: None,
            control: None,
            drain: Duration::from_secs(30),
        }
    }
}

/// `[cache]`: the number of remembered verdicts, and their lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// The time for which a verdict that allows is kept.
    pub positive: Duration,
    /// The time for which a verdict that blocks is kept.
    pub negative: Duration,
    /// The number of verdicts that are kept.
    pub verdicts: usize,
    /// The number of derivations that are kept.
    pub permits: usize,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            positive: Duration::from_secs(60 * 60),
            negative: Duration::from_secs(30),
            verdicts: 100_000,
            permits: 1_000_000,
        }
    }
}

impl Config {
    /// Loads the configuration of this file.
    ///
    /// # Errors
    /// [`ConfigErrors`]: all problems of the file and of the files that it names.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_at(path, Timestamp::now())
    }

    /// Loads the configuration of this file, with the warnings about keys that hold at `now`.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn load_at(path: &Path, now: Timestamp) -> Result<Self, ConfigErrors> {
        read_all(path, now, |documents, config, report| {
            let sources: Vec<&ConfigSource> = documents.iter().map(|document| document.source).collect();
            let (config, warnings) = report.finish(config, &sources)?;
            Ok(Self { warnings, ..config })
        })
    }
}

/// Reads the main file and the files that it includes, and hands over the files, what they say, and the report.
fn read_all<T>(
    path: &Path,
    now: Timestamp,
    then: impl FnOnce(&[ConfigDocument<'_>], Result<Config, Reported>, Report) -> Result<T, ConfigErrors>,
) -> Result<T, ConfigErrors> {
    let main = files::source(path).map_err(|error| ConfigErrors {
        problems: vec![unreadable_main_file(path, &error)],
    })?;
    let report = Report::default();
    let document = ConfigDocument::parse(&main, 0);
    let included = files::included(&main, &include(&document, &report), &report);
    files::warn_of_left_out(&main, &included, &report);
    let mut documents = vec![document];
    for source in &included {
        documents.push(ConfigDocument::parse(source, documents.len()));
    }
    let config = read(path, &documents, now, &report);
    then(&documents, config, report)
}

/// Describes a main file that could not be read. An ordinary user may not read it: then `--config` would not help.
fn unreadable_main_file(path: &Path, error: &FileError) -> Problem {
    let forbidden = matches!(
        error,
        FileError::Io {
            kind: std::io::ErrorKind::PermissionDenied,
            ..
        }
    );
    let hint = if forbidden {
        "run the command with `sudo`; the daemon's user must be able to read this file"
    } else {
        "`--config` names the main file"
    };
    Problem::whole_file(path, error.why(), Some(hint.to_owned()))
}

/// Reads the `[[key]]` tables of one file of a configuration. Its rules, registries and denied digests are not read.
///
/// # Errors
/// [`ConfigErrors`]: all problems of the file and its keys.
pub fn load_keys(path: &Path) -> Result<Vec<Arc<Authority>>, ConfigErrors> {
    let source = files::source(path).map_err(|error| ConfigErrors {
        problems: vec![Problem::whole_file(path, error.why(), error.hint())],
    })?;
    let report = Report::default();
    let document = ConfigDocument::parse(&source, 0);
    document.report_syntax(&report);
    let mut keys = Keys::default();
    if document.is_valid() {
        let mut root = document.root(&report);
        for table in root.tables("key", "`[[key]]`") {
            keys.add(table);
        }
        root.accept_unread(&["deny", "registry", "rule"]);
        root.finish();
    }
    keys.spread_revocation();
    let (loaded, _warnings) = report.finish(Ok(keys.authorities()), &[&source])?;
    Ok(loaded)
}

/// Reads the `[daemon]` table of this file and ignores problems elsewhere in it. The tool finds a running daemon by it, which
/// may still run under an earlier version of the file.
///
/// # Errors
/// [`ConfigErrors`]: the file could not be read, or the table has a problem.
pub fn load_daemon(path: &Path) -> Result<DaemonTable, ConfigErrors> {
    let source = files::source(path).map_err(|error| ConfigErrors {
        problems: vec![unreadable_main_file(path, &error)],
    })?;
    let report = Report::default();
    let document = ConfigDocument::parse(&source, 0);
    let mut root = document.root(&report);
    let daemon = root.table("daemon", "`[daemon]`").and_then(daemon::daemon);
    let (daemon, _warnings) = report.finish(daemon, &[&source])?;
    Ok(daemon)
}

/// Returns the patterns of `include`.
fn include<'d>(main: &'d ConfigDocument<'_>, report: &'d Report) -> Vec<Text<'d>> {
    match main.root(report).texts("include") {
        Ok(patterns) => patterns.unwrap_or_default(),
        // Then only the main file is read.
        Err(_reported) => Vec::new(),
    }
}

/// The tables that only the main file may hold. A file of a package or a role adds rules for images; it does not change how
/// the daemon runs.
const MAIN_ONLY: [&str; 6] = ["include", "daemon", "cache", "limits", "door", "policy"];

fn read(
    path: &Path,
    documents: &[ConfigDocument<'_>],
    now: Timestamp,
    report: &Report,
) -> Result<Config, Reported> {
    for document in documents {
        document.report_syntax(report);
    }
    // A key that a rule names may be in a file that could not be read.
    let every_key = report.is_empty();
    let mut roots: Vec<Table<'_>> = documents
        .iter()
        .filter(|document| document.is_valid())
        .map(|document| document.root(report))
        .collect();
    let mut keys = Keys::default();
    for table in roots.iter_mut().flat_map(|root| root.tables("key", "`[[key]]`")) {
        keys.add(table);
    }
    keys.spread_revocation();
    let mut rules = Rules::default();
    for table in roots
        .iter_mut()
        .flat_map(|root| root.tables("rule", "`[[rule]]`"))
    {
        rules.add(table, &keys, every_key);
    }
    let mut registries = ConfiguredRegistries::default();
    for table in roots
        .iter_mut()
        .flat_map(|root| root.tables("registry", "`[[registry]]`"))
    {
        registries.add(table);
    }
    let mut denied = BTreeSet::new();
    for root in &mut roots {
        if let Ok(Some(table)) = root.table("deny", "`[deny]`") {
            rules::deny(table, &mut denied);
        }
    }
    let mut settings = None;
    for mut root in roots {
        if root.span().file == 0 {
            settings = Some(Settings::read(&mut root));
        } else {
            for key in MAIN_ONLY {
                root.refuse(key, "belongs in the main file", "move it there");
            }
        }
        root.finish();
    }
    warnings::warn_of_unusable(&keys, &rules, now, report);
    // Absent where the main file is not TOML; that has been reported.
    let Settings {
        daemon,
        cache,
        limits,
        doors,
        default,
    } = settings.unwrap_or_else(|| Err(report.already_reported()))?;
    let (registries, oracle) = registries.sorted();
    let generation = generation::generation(default, &rules, &denied, &registries, &oracle);
    let authorities = keys.authorities();
    let (rules, places): (Vec<_>, Vec<_>) = rules.into_rules().unzip();
    let policy = Policy::new(default, rules, denied, authorities, generation).map_err(|duplicate| {
        let at = places
            .get(duplicate.second)
            .copied()
            .unwrap_or(SourceSpan::start_of(0));
        report.problem(at, duplicate.to_string(), None)
    })?;
    Ok(Config {
        path: path.to_owned(),
        included: documents
            .iter()
            .skip(1)
            .map(|document| document.source.path.clone())
            .collect(),
        daemon,
        doors,
        policy: Arc::new(policy),
        registries,
        oracle,
        cache,
        limits,
        warnings: Vec::new(),
    })
}

/// The settings that only the main file may hold.
struct Settings {
    daemon: DaemonSettings,
    cache: CacheSettings,
    limits: DoorLimits,
    doors: ConfiguredDoors,
    default: DefaultRuling,
}

impl Settings {
    fn read(root: &mut Table<'_>) -> Result<Self, Reported> {
        // `include` has been read before the other files.
        root.accept_unread(&["include"]);
        let limits = root.table("limits", "`[limits]`").and_then(daemon::limits);
        let daemon = root.table("daemon", "`[daemon]`").and_then(daemon::daemon);
        let cache = root.table("cache", "`[cache]`").and_then(daemon::cache);
        let doors = root.table("door", "`[door]`").and_then(daemon::doors);
        let default = root
            .table("policy", "`[policy]`")
            .and_then(|table| default_ruling(root, table));
        let (limits, drain) = limits?;
        let daemon = daemon?;
        Ok(Self {
            daemon: DaemonSettings {
                drain,
                ..daemon.settings
            },
            cache: cache?,
            limits,
            doors: daemon.doors.and(doors?),
            default: default?,
        })
    }
}

fn default_ruling(root: &Table<'_>, table: Option<Table<'_>>) -> Result<DefaultRuling, Reported> {
    let report = root.report();
    let Some(mut table) = table else {
        let hint = Some("add `[policy]` and below it `default = \"reject\"`".to_owned());
        return Err(report.problem(root.span(), "`[policy] default` is missing", hint));
    };
    let default = table.required_text("default", "\"reject\"").and_then(|text| {
        let default = text.choice("default", &DefaultRuling::ALL, DefaultRuling::as_str, report)?;
        match default {
            DefaultRuling::InsecureAcceptAnything => {
                let hint = Some(
                    "set `default = \"reject\"`, and add rules for the images that may be pulled".to_owned(),
                );
                report.warning(
                    text.span,
                    "images that no rule covers are pulled without a check",
                    hint,
                );
            }
            DefaultRuling::Reject => {}
        }
        Ok(default)
    });
    table.finish();
    default
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::unreadable_main_file;
    use crate::base::files::{FileAction, FileError};

    #[test]
    fn the_hint_for_an_unreadable_main_file_depends_on_the_error() {
        let path = Path::new("/etc/pullgate/pullgate.toml");
        for (kind, words) in [
            (io::ErrorKind::PermissionDenied, "`sudo`"),
            (io::ErrorKind::NotFound, "`--config` names the main file"),
        ] {
            let error = FileError::from_io(path, FileAction::Read, &kind.into());
            let hint = unreadable_main_file(path, &error).hint.unwrap();
            assert!(hint.contains(words), "{kind}: {hint}");
        }
    }
}
