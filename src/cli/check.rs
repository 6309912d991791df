//! `pullgate check`: what the gate would decide now.

use std::io::Write;
use std::time::Instant;

use clap::Args;
use prometheus_client::registry::Registry as Metrics;
use serde::Serialize;

use super::output::{CliError, Exit, columns};
use super::reach::{Reach, own_listeners};
use super::{Context, reference};
use crate::causes::chain;
use crate::daemon;
use crate::decide::{Judgement, Verdict};
use crate::gate::{Gate, PullRequest, Purpose, Storage};
use crate::oci::Reference;
use crate::record::{DoorName, Requests};
use crate::verify::Judged;

/// Arguments of `pullgate check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The image, as a runtime names it
    #[arg(value_name = "IMAGE", value_parser = reference)]
    image: Reference,
}

impl Check {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let config = context.config()?;
        let deadline = Instant::now() + config.limits.pull;
        let judgement = context.block_on(async {
            let config = Reach::default().over(config, &self.image);
            let own = own_listeners(&config);
            let settings = daemon::settings(&config, own, &Requests::default())
                .map_err(|error| CliError::new("nothing can be asked", Exit::Usage).because(error))?;
            // Nothing is remembered, and the daemon's own store is left alone: this is what a first pull would meet.
            let storage = Storage {
                permits: None,
                most_permits: 1,
                most_verdicts: 1,
            };
            let gate = Gate::new(settings, &storage, &mut Metrics::default()).map_err(|error| {
                CliError::new("could not set up the gate", Exit::CouldNotTell).because(error)
            })?;
            let request = PullRequest {
                door: DoorName::Tool,
                peer: "pullgate check".to_owned(),
                reference: self.image.clone(),
                presented: None,
                deadline,
                purpose: Purpose::Serve,
            };
            Ok::<_, CliError>(gate.admit(&request).await)
        })??;
        let answer = Answer::of(&self.image, &judgement);
        if context.json {
            serde_json::to_writer_pretty(&mut *out, &answer)?;
            writeln!(out)?;
        } else {
            answer.print(context, &judgement, out)?;
        }
        Ok(match &judgement.verdict {
            Verdict::Allow(_) => Exit::Yes,
            Verdict::Deny(denial) if denial.reason.retryable() => Exit::CouldNotTell,
            Verdict::Deny(_) => Exit::No,
        })
    }
}

/// `--json`. The names are a contract: others script against them.
#[derive(Serialize)]
struct Answer {
    image: String,
    digest: Option<String>,
    verdict: &'static str,
    /// The code of the denial; null when allowed.
    reason: Option<&'static str>,
    /// The denial in words; null when allowed.
    detail: Option<String>,
    /// The code of what would have blocked it, had its rule not said `mode = "warn"`.
    warned: Option<&'static str>,
    rule: String,
    signatures: Vec<Signature>,
}

/// One record that was looked at.
#[derive(Serialize)]
pub(super) struct Signature {
    source: &'static str,
    locator: String,
    format: &'static str,
    key: Option<String>,
    verdict: &'static str,
    reason: Option<&'static str>,
    detail: Option<String>,
}

impl Signature {
    pub(super) fn of(judged: &Judged) -> Self {
        let (key, reason, detail) = match &judged.outcome {
            Ok(verified) => (Some(verified.claim().signed_by.name.clone()), None, None),
            Err(error) => (
                error.key().map(str::to_owned),
                Some(error.reason().code()),
                Some(chain(error)),
            ),
        };
        Self {
            source: judged.source.as_str(),
            locator: judged.locator.clone(),
            format: judged.format.as_str(),
            key,
            verdict: if reason.is_none() { "valid" } else { "invalid" },
            reason,
            detail,
        }
    }

    /// What came of each record, in columns.
    pub(super) fn print_all(all: &[Self], context: &Context, out: &mut dyn Write) -> std::io::Result<()> {
        let rows: Vec<Vec<String>> = all
            .iter()
            .map(|each| {
                vec![
                    each.source.to_owned(),
                    each.format.to_owned(),
                    each.key.clone().unwrap_or_else(|| "-".to_owned()),
                    each.reason.unwrap_or(each.verdict).to_owned(),
                    each.locator.clone(),
                ]
            })
            .collect();
        columns(
            out,
            context.paint,
            &["SOURCE", "FORMAT", "KEY", "VERDICT", "RECORD"],
            &rows,
        )?;
        for each in all {
            if let Some(detail) = &each.detail {
                writeln!(out, "  {}: {detail}", each.locator)?;
            }
        }
        Ok(())
    }
}

impl Answer {
    fn of(image: &Reference, judgement: &Judgement) -> Self {
        let (verdict, denial, warned) = match &judgement.verdict {
            Verdict::Allow(permit) => ("allow", None, permit.warned()),
            Verdict::Deny(denial) => ("deny", Some(denial), None),
        };
        Self {
            image: image.to_string(),
            digest: judgement.digest().map(ToString::to_string),
            verdict,
            reason: denial.map(|denial| denial.reason.code()),
            detail: denial.map(|denial| denial.detail.clone()),
            warned: warned.map(|warned| warned.reason.code()),
            rule: judgement.rule.clone(),
            signatures: judgement.signatures().iter().map(Signature::of).collect(),
        }
    }

    fn print(&self, context: &Context, judgement: &Judgement, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "image    {}", self.image)?;
        writeln!(out, "rule     {}", self.rule)?;
        writeln!(out, "digest   {}", self.digest.as_deref().unwrap_or("-"))?;
        if !self.signatures.is_empty() {
            writeln!(out)?;
            Signature::print_all(&self.signatures, context, out)?;
            writeln!(out)?;
        }
        match &judgement.verdict {
            Verdict::Allow(permit) => {
                writeln!(out, "verdict  {}", context.paint.green("allow"))?;
                if let Some(warned) = permit.warned() {
                    let label = context.paint.yellow("warning:");
                    writeln!(out, "{label} the rule only warns; it would be blocked: {warned}")?;
                }
                Ok(())
            }
            Verdict::Deny(denial) => {
                writeln!(out, "verdict  {} ({})", context.paint.red("deny"), denial.reason)?;
                writeln!(out, "why      {}", denial.detail)?;
                writeln!(
                    out,
                    "{} {}",
                    context.paint.cyan("hint:"),
                    denial.reason.next_step()
                )
            }
        }
    }
}
