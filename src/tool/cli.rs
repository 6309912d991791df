//! The command line of `pullgate`, the operator's tool.
//!
//! Each verb is one file below `cli/`: its arguments, and a `run` that takes the [`Context`] and the output. To add a
//! verb, add its module, its variant of `Verb` and its line in `Verb::run`.
//!
//! A verb writes its result to standard output, as text or, with `--json`, as one JSON document. Warnings, errors and
//! progress go to standard error. The exit code is the answer for scripts: see [`Exit`].

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

/// The operator's tool for pullgate, the gate between a node's container runtime and its registries.
#[derive(Debug, Parser)]
#[command(
    name = "pullgate",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 yes, 1 no, 2 usage or configuration error, 3 could not tell\n\n\
                  Examples:\n  \
                  pullgate check registry.example/acme/app:v1\n  \
                  pullgate decisions --denied"
)]
struct ToolArguments {
    /// Main file of the configuration
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "PATH", default_value = DEFAULT_PATH)]
    config: PathBuf,

    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,

    /// When to colour the output; `auto` colours on a terminal unless `NO_COLOR` is set
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    color: Color,

    #[command(subcommand)]
    verb: Verb,
}

/// Heading of the options that every verb takes: without it, clap lists them under the heading of the verb's last group.
const GLOBAL: &str = "Global options";

/// When to colour the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set (no-color.org) or `TERM` is `dumb`.
    Auto,
    /// Colour always.
    Always,
    /// Colour never.
    Never,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List or clear the daemon's cached verdicts
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Show how the gate decides on an image, and why
    Check(check::Check),
    /// Print a completion script for a shell
    Completions(completions::Completions),
    /// Check the configuration, or show its rules
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Show the daemon's decisions: pulls that it allowed and pulls that it blocked
    Decisions(decisions::DecisionsArgs),
    /// Demonstrate the gate: pull images from a registry through a gate, all in this process
    Demo(demo::DemoArgs),
    /// Show public keys, or import them from OCI Vault
    #[command(subcommand)]
    Key(Box<key::KeyCommand>),
    /// Print the manual page, or write the manual pages of all commands
    Man(completions::Man),
    /// Reload the daemon's configuration; an invalid file leaves the current one in effect
    Reload(status::Reload),
    /// Sign an image with a private key file or with a key in OCI Vault
    Sign(Box<sign::Sign>),
    /// List, show, verify, tag, delete, export and import signatures of images
    #[command(subcommand)]
    Signature(Box<signature::SignatureCommand>),
    /// Show the daemon's status: doors, policy and warnings
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

/// Settings that every verb receives.
#[derive(Clone, Debug)]
pub struct Context {
    /// Main file of the configuration. The file may not exist.
    pub config_path: PathBuf,
    /// Whether to print one JSON document instead of text.
    pub json: bool,
    /// Colours of standard output.
    pub paint: Paint,
    /// Colours of standard error.
    pub paint_errors: Paint,
}

impl Context {
    /// Loads the configuration.
    ///
    /// # Errors
    /// Every problem of the configuration, with [`Exit::Usage`].
    pub fn config(&self) -> Result<Config, CliError> {
        Ok(Config::load(&self.config_path)?)
    }

    /// Runs the asynchronous part of a verb to completion.
    ///
    /// # Errors
    /// When the system refuses to create threads.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, CliError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                CliError::new("could not start the asynchronous runtime", Exit::CouldNotTell).because(error)
            })?;
        Ok(runtime.block_on(future))
    }

    /// Prints a line on standard error that is not part of the verb's result.
    pub fn say(&self, text: &str) {
        output::to_stderr(&format!("{text}\n"));
    }

    /// Prints a warning about the configuration on standard error.
    pub fn warn(&self, problem: &Problem) {
        let label = self.paint_errors.yellow("warning:");
        output::to_stderr(&format!(
            "{label} {}\n\n",
            self.paint_errors.hints(&problem.to_string())
        ));
    }
}

/// Returns the definition of the command line, for callers that inspect it without running it.
#[must_use]
pub fn command() -> clap::Command {
    ToolArguments::command()
}

/// Runs the whole program: reads the process's arguments and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let color = match color_argument(&arguments) {
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
        Err(error) => return exit_for_clap(&error),
    };
    let context = Context {
        config_path: arguments.config,
        json: arguments.json,
        paint: Paint::new(arguments.color, &io::stdout()),
        paint_errors: Paint::new(arguments.color, &io::stderr()),
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

/// Parses an image name in an argument.
fn reference(text: &str) -> Result<Reference, String> {
    text.parse().map_err(|error: ReferenceError| chain(&error))
}

/// Prints the help, version or error that clap itself produced, and returns the exit code. All but help and version are
/// usage errors.
fn exit_for_clap(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() {
        Exit::Usage.into()
    } else if printed.is_err_and(|error| error.kind() != io::ErrorKind::BrokenPipe) {
        Exit::CouldNotTell.into()
    } else {
        Exit::Yes.into()
    }
}

/// Reads `--color` before clap parses the arguments, so that the option also applies to text that clap prints.
fn color_argument(arguments: &[OsString]) -> Color {
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
    // For a value that clap will refuse, print without colour.
    joined.chain(apart).last().map_or(Color::Auto, |word| {
        Color::from_str(word, false).unwrap_or(Color::Never)
    })
}
