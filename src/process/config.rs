//! The configuration: one TOML file and what it includes, read strictly. What does not load whole does not load at all,
//! and everything that is wrong is said at once, with file, line and column.

mod files;
mod generation;
mod keys;
mod oracle;
mod process;
mod registries;
mod rules;
mod warnings;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keys::Keys;
use registries::Registries;
use rules::Rules;
use toml::Spanned;
use toml::de::DeTable;

pub(crate) use crate::base::strict_toml::duration::show as show_duration;
use crate::base::strict_toml::problem::{At, ConfigSource, Report, Reported};
pub use crate::base::strict_toml::problem::{ConfigErrors, Problem};
use crate::base::strict_toml::table::Table;
use crate::base::strict_toml::value::Text;
use crate::door::listen::socket_settings::SocketSettings;
use crate::door::{ConfiguredDoors, DoorLimits};
use crate::net::oracle::OracleRegistryConfig;
use crate::net::registry::RegistryConfig;
use crate::pull::policy::{DefaultAction as DefaultRuling, Policy};
use crate::trust::Authority;

/// Where packages put the configuration.
pub const DEFAULT_PATH: &str = "/etc/pullgate/pullgate.toml";

/// A configuration that loaded whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// The main file.
    pub path: PathBuf,
    /// The files that it includes, in the order in which they count.
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
    /// What loads and will still surprise: for `config check` and the journal.
    pub warnings: Vec<Problem>,
}

/// `[daemon]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSettings {
    /// The folder of permits and local signatures.
    pub state: PathBuf,
    /// Where Prometheus asks; absent: closed.
    pub metrics: Option<SocketAddr>,
    /// Where `pullgate.v1.Control` answers; absent: closed.
    pub control: Option<SocketSettings>,
    /// How long pulls under way may go on after SIGTERM (`[limits] drain`).
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

/// `[cache]`: what is remembered, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// How long a verdict that lets through is kept.
    pub positive: Duration,
    /// How long a verdict that blocks is kept.
    pub negative: Duration,
    /// How many verdicts are kept.
    pub verdicts: usize,
    /// How many permits of children are kept.
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
    /// [`ConfigErrors`]: everything that is wrong with it and with the files that it names.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_at(path, Timestamp::now())
    }

    /// Loads the configuration of this file; warnings about keys are as of `now`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_at(path: &Path, now: Timestamp) -> Result<Self, ConfigErrors> {
        let main = files::source(path).map_err(|error| {
            let hint = "`--config` names the main file".to_owned();
            ConfigErrors {
                problems: vec![crate::base::strict_toml::problem::whole_file(
                    path,
                    error.why(),
                    Some(hint),
                )],
            }
        })?;
        let report = Report::default();
        let (tree, errors) = DeTable::parse_recoverable(&main.text);
        let document = ConfigDocument {
            source: &main,
            file: 0,
            tree: &tree,
            errors: &errors,
        };
        let included = files::included(&main, &include(&document, &report), &report);
        files::warn_of_left_out(&main, &included, &report);
        let trees: Vec<_> = included
            .iter()
            .map(|source| DeTable::parse_recoverable(&source.text))
            .collect();
        let mut documents = vec![document];
        for (source, (tree, errors)) in included.iter().zip(&trees) {
            documents.push(ConfigDocument {
                source,
                file: documents.len(),
                tree,
                errors,
            });
        }
        let sources: Vec<&ConfigSource> = documents.iter().map(|document| document.source).collect();
        let config = read(path, &documents, now, &report);
        let (config, warnings) = report.finish(config, &sources)?;
        let included = included.iter().map(|source| source.path.clone()).collect();
        Ok(Self {
            included,
            warnings,
            ..config
        })
    }
}

/// Reads the keys of one file that a configuration may include (`[[key]]`); its rules, registries and denials are passed
/// over.
///
/// # Errors
/// [`ConfigErrors`]: everything that is wrong with the file and its keys.
pub fn load_keys(path: &Path) -> Result<Vec<Arc<Authority>>, ConfigErrors> {
    let source = files::source(path).map_err(|error| ConfigErrors {
        problems: vec![crate::base::strict_toml::problem::whole_file(
            path,
            error.why(),
            error.hint(),
        )],
    })?;
    let report = Report::default();
    let (tree, errors) = DeTable::parse_recoverable(&source.text);
    let document = ConfigDocument {
        source: &source,
        file: 0,
        tree: &tree,
        errors: &errors,
    };
    syntax(&document, &report);
    let mut keys = Keys::default();
    if errors.is_empty() {
        let mut root = document.root(&report);
        for table in root.tables("key", "`[[key]]`") {
            keys.add(table);
        }
        root.allow(&["deny", "registry", "rule"]);
        root.finish();
    }
    keys.spread_revocation();
    let (loaded, _warnings) = report.finish(Ok(keys.authorities()), &[&source])?;
    Ok(loaded)
}

/// Reads the `[daemon]` table of this file, whatever else is wrong with it: for those who ask a daemon that runs under an
/// earlier version of the file.
///
/// # Errors
/// [`ConfigErrors`]: the file can't be read, or that table not be understood.
pub fn load_daemon(path: &Path) -> Result<DaemonTable, ConfigErrors> {
    let source = files::source(path).map_err(|error| ConfigErrors {
        problems: vec![crate::base::strict_toml::problem::whole_file(
            path,
            error.why(),
            error.hint(),
        )],
    })?;
    let report = Report::default();
    let (tree, _errors) = DeTable::parse_recoverable(&source.text);
    let mut root = Table::root(&report, &source, 0, tree.get_ref());
    let daemon = root.table("daemon", "`[daemon]`").and_then(process::daemon);
    let (daemon, _warnings) = report.finish(daemon, &[&source])?;
    Ok(daemon)
}

/// One file, parsed as far as it could be.
struct ConfigDocument<'d> {
    source: &'d ConfigSource,
    /// Its index among the files.
    file: usize,
    tree: &'d Spanned<DeTable<'d>>,
    errors: &'d [toml::de::Error],
}

impl<'d> ConfigDocument<'d> {
    fn root(&self, report: &'d Report) -> Table<'d> {
        Table::root(report, self.source, self.file, self.tree.get_ref())
    }
}

/// What `include` names.
fn include<'d>(main: &ConfigDocument<'d>, report: &'d Report) -> Vec<Text<'d>> {
    match main.root(report).texts("include") {
        Ok(patterns) => patterns.unwrap_or_default(),
        // It is said already; there is nothing more to read than this file.
        Err(_reported) => Vec::new(),
    }
}

/// Tables that only the main file may hold: what comes with a package or a role adds images, never the process's ways.
const MAIN_ONLY: [&str; 6] = ["include", "daemon", "cache", "limits", "door", "policy"];

fn read(
    path: &Path,
    documents: &[ConfigDocument<'_>],
    now: Timestamp,
    report: &Report,
) -> Result<Config, Reported> {
    for document in documents {
        syntax(document, report);
    }
    // A key that rules name may be meant to stand in a file that could not be read.
    let every_key = report.is_empty();
    let mut roots: Vec<Table<'_>> = documents
        .iter()
        .filter(|document| document.errors.is_empty())
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
    let mut registries = Registries::default();
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
        if root.at().file == 0 {
            settings = Some(Settings::read(&mut root));
        } else {
            for key in MAIN_ONLY {
                root.refuse(key, "stands in the main file only", "move it there");
            }
        }
        root.finish();
    }
    warnings::look(&keys, &rules, now, report);
    // Absent where the main file is no TOML, which was said.
    let Settings {
        daemon,
        cache,
        limits,
        doors,
        default,
    } = settings.unwrap_or_else(|| Err(report.again()))?;
    let (registries, oracle) = registries.sorted();
    let generation = generation::generation(default, &rules, &denied, &registries, &oracle);
    let authorities = keys.authorities();
    let (rules, places): (Vec<_>, Vec<_>) = rules.into_rules().unzip();
    let policy = Policy::new(default, rules, denied, authorities, generation).map_err(|duplicate| {
        let at = places.get(duplicate.second).copied().unwrap_or(At {
            file: 0,
            start: 0,
            end: 0,
        });
        report.problem(at, duplicate.to_string(), None)
    })?;
    Ok(Config {
        path: path.to_owned(),
        included: Vec::new(),
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

/// Reports what is no TOML: one error a line, for the parser goes on within a line that it has lost.
fn syntax(document: &ConfigDocument<'_>, report: &Report) {
    let text = &document.source.text;
    let mut errors: Vec<_> = document.errors.iter().collect();
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    // Up to which byte lines have been counted: errors are many where a file is something else altogether.
    let (mut counted, mut line, mut last_line) = (0, 0_usize, None);
    for error in errors {
        let span = error.span().unwrap_or_default();
        let between = text.get(counted..span.start).unwrap_or_default();
        line = line.saturating_add(between.matches('\n').count());
        counted = counted.max(span.start);
        if last_line.replace(line) != Some(line) {
            let at = At {
                file: document.file,
                start: span.start,
                end: span.end,
            };
            report.problem(at, error.message(), syntax_hint(error.message()));
        }
    }
}

fn syntax_hint(message: &str) -> Option<String> {
    let hint = if message.starts_with("string values must be quoted") {
        "put the text in quotation marks"
    } else if message.starts_with("duplicate key") {
        "take one of them out"
    } else {
        "see https://toml.io for how tables and values are written"
    };
    Some(hint.to_owned())
}

/// What the main file alone says.
struct Settings {
    daemon: DaemonSettings,
    cache: CacheSettings,
    limits: DoorLimits,
    doors: ConfiguredDoors,
    default: DefaultRuling,
}

impl Settings {
    fn read(root: &mut Table<'_>) -> Result<Self, Reported> {
        // `Document` has read it.
        root.allow(&["include"]);
        let limits = root.table("limits", "`[limits]`").and_then(process::limits);
        let daemon = root.table("daemon", "`[daemon]`").and_then(process::daemon);
        let cache = root.table("cache", "`[cache]`").and_then(process::cache);
        let doors = root.table("door", "`[door]`").and_then(process::doors);
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
        return Err(report.problem(root.at(), "`[policy] default` is missing", hint));
    };
    let default = table.required_text("default", "\"reject\"").and_then(|text| {
        let default = text.choice("default", &DefaultRuling::ALL, DefaultRuling::as_str, report)?;
        match default {
            DefaultRuling::InsecureAcceptAnything => {
                let hint = Some("set `default = \"reject\"`, and rules for what may be pulled".to_owned());
                report.warning(text.at, "what no rule speaks for is pulled unchecked", hint);
            }
            DefaultRuling::Reject => {}
        }
        Ok(default)
    });
    table.finish();
    default
}
