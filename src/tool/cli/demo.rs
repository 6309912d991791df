//! `pullgate demo`: the gate at work, without root, network or another program.

use std::io::Write;

use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use super::output::{CliError, Exit, columns, counted};
use crate::base::error_chain::chain;
use crate::tool::demo::{ByHand, Demo as Scene, DemoError, HOST, PullOutcome};

/// Arguments of `pullgate demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Leave it running, and say how to pull from it with docker, ctr and podman
    #[arg(long)]
    keep: bool,
}

impl DemoArgs {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        context.block_on(async {
            let scene = Scene::start().await.map_err(not_begun)?;
            let outcomes = scene.pull_all().await.map_err(not_begun)?;
            let commands = if self.keep { scene.by_hand() } else { Vec::new() };
            if context.json {
                serde_json::to_writer_pretty(&mut *out, &DemoReport::of(&scene, &outcomes, &commands))?;
                writeln!(out)?;
            } else {
                print(&scene, &outcomes, context, out)?;
                print_commands(&commands, context, out)?;
            }
            let exit = if outcomes.iter().all(PullOutcome::as_expected) {
                Exit::Yes
            } else {
                Exit::No
            };
            if self.keep {
                out.flush()?;
                until_told().await?;
            }
            scene.stop().await;
            Ok(exit)
        })?
    }
}

/// `--json`. The names are a contract: others script against them.
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
    /// The code of the gate's reason; null where the pull was let through.
    reason: Option<&'a str>,
    expected_reason: Option<&'static str>,
    as_expected: bool,
    digest: Option<String>,
    /// What the runtime prints; null where the pull was let through.
    printed: Option<String>,
}

#[derive(Serialize)]
struct Commands<'a> {
    runtime: &'static str,
    commands: &'a [String],
}

impl<'a> DemoReport<'a> {
    fn of(scene: &'a Scene, outcomes: &'a [PullOutcome<'a>], commands: &'a [ByHand]) -> Self {
        let images = outcomes.iter().map(|outcome| ImageLine {
            image: outcome.shown.image.to_string(),
            about: outcome.shown.about,
            result: result(outcome),
            reason: outcome.reason(),
            expected_reason: outcome.shown.expected.map(|reason| reason.code()),
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
            .map(|ByHand { runtime, commands }| Commands { runtime, commands });
        Self {
            gate: scene.gate().to_string(),
            registry: scene.registry(),
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
    scene: &Scene,
    outcomes: &[PullOutcome<'_>],
    context: &Context,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    writeln!(
        out,
        "A registry at {} and a gate at {}, both in this process. The gate",
        scene.registry(),
        scene.gate()
    )?;
    writeln!(
        out,
        "has one rule: whatever {HOST} holds must be signed by a key made just now.\n"
    )?;
    let rows: Vec<Vec<String>> = outcomes
        .iter()
        .map(|outcome| {
            vec![
                outcome.shown.image.to_string(),
                result(outcome).to_owned(),
                outcome.reason().unwrap_or("-").to_owned(),
                outcome.shown.about.to_owned(),
            ]
        })
        .collect();
    columns(
        out,
        context.paint,
        &["IMAGE", "RESULT", "REASON", "WHAT IT IS"],
        &rows,
    )?;
    writeln!(out, "\nWhat containerd prints of those that are blocked:")?;
    for outcome in outcomes {
        if let Some(printed) = printed(outcome) {
            writeln!(
                out,
                "\n{}\n  {printed}",
                context.paint.bold(&outcome.shown.image.to_string())
            )?;
        }
    }
    let (fine, wrong): (Vec<_>, Vec<_>) = outcomes.iter().partition(|outcome| outcome.as_expected());
    if wrong.is_empty() {
        let all = format!("All {} came out as they must.", counted(fine.len(), "pull"));
        return writeln!(out, "\n{}", context.paint.green(&all));
    }
    writeln!(out)?;
    for outcome in wrong {
        let expected = outcome.shown.expected.map_or("pulled", |reason| reason.code());
        let line = format!("{} should have been: {expected}", outcome.shown.image);
        writeln!(out, "{}", context.paint.red(&line))?;
    }
    Ok(())
}

fn print_commands(commands: &[ByHand], context: &Context, out: &mut dyn Write) -> std::io::Result<()> {
    if commands.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nTo try it by hand, from another terminal of this machine:")?;
    for ByHand { runtime, commands } in commands {
        writeln!(out, "\n{}", context.paint.bold(runtime))?;
        for command in commands {
            writeln!(out, "  {command}")?;
        }
    }
    writeln!(out, "\nCtrl-C ends it.")
}

fn not_begun(error: DemoError) -> CliError {
    CliError::new("the demonstration could not begin", Exit::CouldNotTell).because(error)
}

/// Until SIGINT or SIGTERM.
async fn until_told() -> Result<(), CliError> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            CliError::new("the signal handlers could not be set up", Exit::CouldNotTell).because(error)
        })
    };
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
