//! `pullgate demo`: a demonstration of the gate without root, network or another program.

use std::io::Write;

use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use super::output::{CliError, Exit, columns, counted};
use crate::base::error_chain::chain;
use crate::tool::demo::{Demo, DemoError, HOST, PullOutcome, RuntimeCommands};

/// Arguments of `pullgate demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Keep the demonstration running, and print commands to pull from it with docker, ctr and podman
    #[arg(long)]
    keep: bool,
}

impl DemoArgs {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        context.block_on(async {
            let demo = Demo::start().await.map_err(start_error)?;
            let outcomes = demo.pull_all().await.map_err(start_error)?;
            let commands = if self.keep {
                demo.commands_by_hand()
            } else {
                Vec::new()
            };
            if context.json {
                serde_json::to_writer_pretty(&mut *out, &DemoReport::new(&demo, &outcomes, &commands))?;
                writeln!(out)?;
            } else {
                print(&demo, &outcomes, context, out)?;
                print_commands(&commands, context, out)?;
            }
            let exit = if outcomes.iter().all(PullOutcome::as_expected) {
                Exit::Yes
            } else {
                Exit::No
            };
            if self.keep {
                out.flush()?;
                wait_for_signal().await?;
            }
            demo.stop().await;
            Ok(exit)
        })?
    }
}

/// Output of `--json`. The field names are a contract with scripts.
#[derive(Serialize)]
struct DemoReport<'a> {
    gate: String,
    registry: &'a str,
    as_expected: bool,
    images: Vec<ImageLine<'a>>,
    commands: Vec<Commands<'a>>,
}

#[derive(Serialize)]
struct ImageLine<'a> {
    image: String,
    about: &'static str,
    result: &'static str,
    /// Reason code of the gate; null when the pull was allowed.
    reason: Option<&'a str>,
    expected_reason: Option<&'static str>,
    as_expected: bool,
    digest: Option<String>,
    /// Text that the runtime prints; null when the pull was allowed.
    printed: Option<String>,
}

#[derive(Serialize)]
struct Commands<'a> {
    runtime: &'static str,
    commands: &'a [String],
}

impl<'a> DemoReport<'a> {
    fn new(demo: &'a Demo, outcomes: &'a [PullOutcome<'a>], commands: &'a [RuntimeCommands]) -> Self {
        let images = outcomes.iter().map(|outcome| ImageLine {
            image: outcome.demo_image.image.to_string(),
            about: outcome.demo_image.about,
            result: result(outcome),
            reason: outcome.reason(),
            expected_reason: outcome.demo_image.expected.map(|reason| reason.code()),
            as_expected: outcome.as_expected(),
            digest: outcome
                .result
                .as_ref()
                .ok()
                .map(|pulled| pulled.digest.to_string()),
            printed: printed(outcome),
        });
        let commands = commands
            .iter()
            .map(|RuntimeCommands { runtime, commands }| Commands { runtime, commands });
        Self {
            gate: demo.gate().to_string(),
            registry: demo.registry(),
            as_expected: outcomes.iter().all(PullOutcome::as_expected),
            images: images.collect(),
            commands: commands.collect(),
        }
    }
}

fn result(outcome: &PullOutcome<'_>) -> &'static str {
    match (&outcome.result, outcome.reason()) {
        (Ok(_), _) => "pulled",
        (Err(_), Some(_)) => "blocked",
        (Err(_), None) => "failed",
    }
}

fn printed(outcome: &PullOutcome<'_>) -> Option<String> {
    let failed = || outcome.result.as_ref().err().map(|error| chain(error));
    outcome.printed.clone().or_else(failed)
}

fn print(
    demo: &Demo,
    outcomes: &[PullOutcome<'_>],
    context: &Context,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    writeln!(
        out,
        "A registry at {} and a gate at {}, both in this process. The gate",
        demo.registry(),
        demo.gate()
    )?;
    writeln!(
        out,
        "has one rule: images of {HOST} must be signed with a key that was made just now.\n"
    )?;
    let rows: Vec<Vec<String>> = outcomes
        .iter()
        .map(|outcome| {
            vec![
                outcome.demo_image.image.to_string(),
                result(outcome).to_owned(),
                outcome.reason().unwrap_or("-").to_owned(),
                outcome.demo_image.about.to_owned(),
            ]
        })
        .collect();
    columns(
        out,
        context.paint,
        &["IMAGE", "RESULT", "REASON", "DESCRIPTION"],
        &rows,
    )?;
    writeln!(out, "\ncontainerd prints this for the blocked images:")?;
    for outcome in outcomes {
        if let Some(printed) = printed(outcome) {
            writeln!(
                out,
                "\n{}\n  {printed}",
                context.paint.bold(&outcome.demo_image.image.to_string())
            )?;
        }
    }
    let (expected, unexpected): (Vec<_>, Vec<_>) = outcomes.iter().partition(|outcome| outcome.as_expected());
    if unexpected.is_empty() {
        let summary = format!("All {} had the expected result.", counted(expected.len(), "pull"));
        return writeln!(out, "\n{}", context.paint.green(&summary));
    }
    writeln!(out)?;
    for outcome in unexpected {
        let expected = outcome
            .demo_image
            .expected
            .map_or("pulled", |reason| reason.code());
        let line = format!("{}: expected {expected}", outcome.demo_image.image);
        writeln!(out, "{}", context.paint.red(&line))?;
    }
    Ok(())
}

fn print_commands(
    commands: &[RuntimeCommands],
    context: &Context,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    if commands.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nTo pull by hand, run these commands in another terminal:")?;
    for RuntimeCommands { runtime, commands } in commands {
        writeln!(out, "\n{}", context.paint.bold(runtime))?;
        for command in commands {
            writeln!(out, "  {command}")?;
        }
    }
    writeln!(out, "\nPress Ctrl-C to stop.")
}

fn start_error(error: DemoError) -> CliError {
    CliError::new("could not start the demonstration", Exit::CouldNotTell).because(error)
}

/// Waits for SIGINT or SIGTERM.
async fn wait_for_signal() -> Result<(), CliError> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            CliError::new("could not set up the signal handlers", Exit::CouldNotTell).because(error)
        })
    };
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
