//! `pullgate config`: check the configuration, show it, and migrate it from an earlier release.

mod migrate;
mod view;

use std::io::Write;

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::output::{CliError, Exit, columns, counted};
use crate::base::printable::printable;
use crate::door::DOORS;
use crate::process::config::{self, Problem};
use crate::tool::cli::config::view::{ConfigView, KeyView, RegistryView, RuleView};

/// Verbs of `pullgate config`.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration, and print every problem and warning
    Check,
    /// Rewrite the configuration of an earlier release, or print the changes that it needs
    Migrate(migrate::MigrateArgs),
    /// Show the rules, keys and registries that are in force once the configuration is loaded
    Show,
}

impl ConfigCommand {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        match self {
            Self::Check => check(context, out),
            Self::Migrate(arguments) => arguments.run(context, out),
            Self::Show => show(context, out),
        }
    }
}

fn check(context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
    let loaded = config::Config::load(&context.config_path);
    if context.json {
        let (exit, checked) = match &loaded {
            Ok(config) => (Exit::Yes, CheckView::new(true, &[], &config.warnings)),
            Err(errors) => (Exit::Usage, CheckView::new(false, &errors.problems, &[])),
        };
        write_json(out, &checked)?;
        return Ok(exit);
    }
    let config = loaded?;
    for warning in &config.warnings {
        context.warn(warning);
    }
    let policy = &config.policy;
    writeln!(
        out,
        "{} {}, {}, {}, {}; default {}; generation {}",
        context.paint.green("ok:"),
        counted(policy.rules().len(), "rule"),
        counted(policy.keys().len(), "key"),
        counted(config.registries.len(), "registry"),
        counted(policy.denied().len(), "denied digest"),
        policy.default_action().as_str(),
        policy.generation(),
    )?;
    Ok(Exit::Yes)
}

fn show(context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
    let config = context.config()?;
    let shown = ConfigView::new(&config);
    if context.json {
        write_json(out, &shown)?;
        return Ok(Exit::Yes);
    }
    writeln!(out, "configuration  {}", printable(&shown.path))?;
    for path in &shown.included {
        writeln!(out, "included       {}", printable(path))?;
    }
    writeln!(out, "generation     {}", shown.generation)?;
    writeln!(out, "default        {}", shown.default)?;
    let doors = DOORS
        .iter()
        .map(|kind| (kind.label, config.doors.view(kind).map(|view| view.text)));
    for (name, listens) in doors.chain([("control", shown.control.clone())]) {
        let listens = listens.as_deref().map_or_else(|| "closed".to_owned(), printable);
        writeln!(out, "{name:<13}  {listens}")?;
    }
    writeln!(out, "state          {}", printable(&shown.state))?;

    let rules = shown.rules.iter().map(RuleView::cells).collect();
    section(
        context,
        out,
        "rules",
        &["SCOPE", "REQUIRES", "KEYS", "SIGNED AS", "MODE"],
        rules,
    )?;
    let keys = shown.keys.iter().map(KeyView::cells).collect();
    section(
        context,
        out,
        "keys",
        &["KEY", "FINGERPRINT", "BITS", "FROM", "UNTIL"],
        keys,
    )?;
    let registries = shown.registries.iter().map(RegistryView::cells).collect();
    section(
        context,
        out,
        "registries",
        &["REGISTRY", "ENDPOINTS", "CREDENTIALS", "SIGNATURES"],
        registries,
    )?;
    let denied = shown.denied.iter().map(|digest| vec![digest.clone()]).collect();
    section(context, out, "denied digests", &["DENIED DIGEST"], denied)?;
    Ok(Exit::Yes)
}

fn section(
    context: &Context,
    out: &mut dyn Write,
    what: &str,
    heads: &[&str],
    rows: Vec<Vec<String>>,
) -> Result<(), CliError> {
    writeln!(out)?;
    if rows.is_empty() {
        writeln!(out, "no {what}")?;
    } else {
        columns(out, context.paint, heads, &rows)?;
    }
    Ok(())
}

fn write_json(out: &mut dyn Write, value: &impl Serialize) -> Result<(), CliError> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}

/// The document that `config check --json` prints.
#[derive(Serialize)]
struct CheckView {
    ok: bool,
    problems: Vec<ProblemView>,
    warnings: Vec<ProblemView>,
}

impl CheckView {
    fn new(ok: bool, problems: &[Problem], warnings: &[Problem]) -> Self {
        let shown = |problems: &[Problem]| problems.iter().map(ProblemView::new).collect();
        Self {
            ok,
            problems: shown(problems),
            warnings: shown(warnings),
        }
    }
}

#[derive(Serialize)]
struct ProblemView {
    file: String,
    line: usize,
    column: usize,
    message: String,
    hint: Option<String>,
}

impl ProblemView {
    fn new(problem: &Problem) -> Self {
        Self {
            file: problem.file.display().to_string(),
            line: problem.line,
            column: problem.column,
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        }
    }
}
