//! The operator's tool: `pullgate`.
//!
//! A verb is one file below `cli/`: its arguments, and a `run` that is given the [`Context`] and where data goes. To
//! add one, add its module, its variant of `Verb` and its line in `Verb::run`.
//!
//! What was asked for goes to standard output, in words or, with `--json`, as one JSON document; warnings, errors and
//! progress go to standard error. The exit code is an answer for scripts: see [`Exit`].

mod daemon_client;
mod cache;
mod check;
mod completions;
mod config;
mod decisions;
mod demo;
mod key;
mod oracle_args;
mod output;
mod registry_args;
mod sign;
mod signature;
mod status;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
pub use output::{CliError, Exit, Paint, columns, counted};

use crate::base::error_chain::chain;
use crate::oci::{Reference, ReferenceError};
use crate::process::config::{Config, DEFAULT_PATH, Problem};

/// The operator's tool of pullgate, the gate between a node's container runtime and its registries.
#[derive(Debug, Parser)]
#[command(
    name = "pullgate",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 yes, 1 no, 2 wrong usage or configuration, 3 could not tell"
)]
struct ToolArguments {
    /// The main file of the configuration
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_PATH)]
    config: PathBuf,

    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    json: bool,

    /// When to colour what is printed; `auto` looks at the terminal and at `NO_COLOR`
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    color: Color,

    #[command(subcommand)]
    verb: Verb,
}

/// When to colour what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set (no-color.org) or `TERM` is `dumb`.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show or forget the verdicts that the daemon remembers
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Say what the gate would decide on an image now, and why
    Check(check::Check),
    /// Print a completion script for a shell
    Completions(completions::Completions),
    /// Check the configuration, or show the rules that it makes
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Show what the daemon let through and what it blocked
    Decisions(decisions::DecisionsArgs),
    /// Show the gate at work: images in a registry of this process, pulled through a gate of this process
    Demo(demo::DemoArgs),
    /// Show public keys, and bring those of OCI Vault
    #[command(subcommand)]
    Key(Box<key::KeyCommand>),
    /// Print the manual page, or write the pages of all commands
    Man(completions::Man),
    /// Have the daemon load its configuration anew; what does not load leaves the old one at work
    Reload(status::Reload),
    /// Sign an image with a key of this machine, or with one in OCI Vault
    Sign(Box<sign::Sign>),
    /// List, show, verify, tag, delete and carry the signatures of images
    #[command(subcommand)]
    Signature(Box<signature::SignatureCommand>),
    /// Show what the daemon is doing: its doors, policy and warnings
    Status(status::Status),
}

impl Verb {
    fn run(self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        match self {
            Self::Cache(verb) => verb.run(context, out),
            Self::Check(verb) => verb.run(context, out),
            Self::Completions(verb) => verb.run(out),
            Self::Config(verb) => verb.run(context, out),
            Self::Decisions(verb) => verb.run(context, out),
            Self::Demo(verb) => verb.run(context, out),
            Self::Key(verb) => verb.run(context, out),
            Self::Man(verb) => verb.run(out),
            Self::Reload(verb) => verb.run(context, out),
            Self::Sign(verb) => verb.run(context, out),
            Self::Signature(verb) => verb.run(context, out),
            Self::Status(verb) => verb.run(context, out),
        }
    }
}

/// What every verb is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// The main file of the configuration, whether it is there or not.
    pub config_path: PathBuf,
    /// Whether one JSON document is wanted instead of text.
    pub json: bool,
    /// Whether standard output is coloured.
    pub paint: Paint,
    /// Whether standard error is coloured.
    pub paint_errors: Paint,
}

impl Context {
    /// Loads the configuration.
    ///
    /// # Errors
    /// All that is wrong with it, as [`Exit::Usage`].
    pub fn config(&self) -> Result<Config, CliError> {
        Ok(Config::load(&self.config_path)?)
    }

    /// Runs the asynchronous part of a verb to its end.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, CliError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                CliError::new("could not start the runtime", Exit::CouldNotTell).because(error)
            })?;
        Ok(runtime.block_on(future))
    }

    /// Says something that is not what was asked for, in a line on standard error.
    pub fn say(&self, text: &str) {
        output::to_stderr(&format!("{text}\n"));
    }

    /// Warns of something in the configuration, on standard error.
    pub fn warn(&self, problem: &Problem) {
        let label = self.paint_errors.yellow("warning:");
        output::to_stderr(&format!(
            "{label} {}\n\n",
            self.paint_errors.hints(&problem.to_string())
        ));
    }
}

/// The command line as it is parsed, for what reads it without running it.
#[must_use]
pub fn command() -> clap::Command {
    ToolArguments::command()
}

/// The whole program: reads the process's arguments, and answers with its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let color = match wanted_color(&arguments) {
        Color::Auto => clap::ColorChoice::Auto,
        Color::Always => clap::ColorChoice::Always,
        Color::Never => clap::ColorChoice::Never,
    };
    let arguments = ToolArguments::command()
        .color(color)
        .try_get_matches_from(arguments)
        .and_then(|matches| ToolArguments::from_arg_matches(&matches));
    let arguments = match arguments {
        Ok(arguments) => arguments,
        Err(error) => return told(&error),
    };
    let context = Context {
        config_path: arguments.config,
        json: arguments.json,
        paint: Paint::of(arguments.color, &io::stdout()),
        paint_errors: Paint::of(arguments.color, &io::stderr()),
    };
    let mut out = io::stdout().lock();
    let outcome = arguments.verb.run(&context, &mut out).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            error.print(&context.paint_errors);
            error.exit.into()
        }
    }
}

/// Reads an image's name, as an argument.
fn reference(text: &str) -> Result<Reference, String> {
    text.parse().map_err(|error: ReferenceError| chain(&error))
}

/// What clap answers by itself: help and version are what was asked for, anything else is wrong usage.
fn told(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() {
        Exit::Usage.into()
    } else if printed.is_err_and(|error| error.kind() != io::ErrorKind::BrokenPipe) {
        Exit::CouldNotTell.into()
    } else {
        Exit::Yes.into()
    }
}

/// `--color`, read before clap does: what clap itself prints is coloured, or not, as well.
fn wanted_color(arguments: &[OsString]) -> Color {
    let texts = || {
        arguments
            .iter()
            .take_while(|text| *text != "--")
            .filter_map(|text| text.to_str())
    };
    let joined = texts().filter_map(|text| text.strip_prefix("--color="));
    let apart = texts()
        .zip(texts().skip(1))
        .filter(|(flag, _)| *flag == "--color")
        .map(|(_, value)| value);
    // A word that clap will refuse has no colour.
    joined.chain(apart).last().map_or(Color::Auto, |word| {
        Color::from_str(word, false).unwrap_or(Color::Never)
    })
}
