//! `pullgate check`: what the gate would decide now.

use std::io::Write;
use std::time::Instant;

use clap::Args;
use prometheus_client::registry::Registry as Metrics;
use serde::Serialize;
use tonic::Request;

use super::output::{CliError, Exit, columns};
use super::{Context, reference};
use crate::base::error_chain::chain;
use crate::base::proto::v1;
use crate::base::proto::v1::admission_client::AdmissionClient;
use crate::base::reason::Reason;
use crate::door::admission::{AdmissionDoorSettings, tell};
use crate::net::uds_client::{Channel, origin};
use crate::oci::Reference;
use crate::process::config::Config;
use crate::process::daemon;
use crate::pull::gate::{Gate, Storage};
use crate::pull::record::RequestMetrics;
use crate::pull::request::{DoorName, PullRequest, Purpose};
use crate::pull::verify::CheckedSignature;
use crate::tool::cli::registry_args::{Reach, own_listeners};

/// Arguments of `pullgate check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The image, as a runtime names it
    #[arg(value_name = "IMAGE", value_parser = reference)]
    image: Reference,

    /// Do not ask the running daemon: judge the image in this process, with nothing remembered
    #[arg(long)]
    fresh: bool,
}

impl Check {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let config = context.config()?;
        let verdict = context.block_on(async {
            match self.by_daemon(context, &config).await {
                Some(verdict) => Ok(verdict),
                None => self.by_ourselves(config).await,
            }
        })??;
        let answer = CheckReport::of(&self.image, &verdict);
        if context.json {
            serde_json::to_writer_pretty(&mut *out, &answer)?;
            writeln!(out)?;
        } else {
            answer.print(context, &verdict, out)?;
        }
        Ok(match answer.verdict {
            "allow" => Exit::Yes,
            _ if verdict.retryable => Exit::CouldNotTell,
            _ => Exit::No,
        })
    }

    /// What the daemon says, where one runs: it decides on the pulls of this node. None where it can not be asked, and
    /// where the registry wants credentials that it does not have: this user may have some.
    async fn by_daemon(&self, context: &Context, config: &Config) -> Option<v1::Verdict> {
        let door = config
            .doors
            .get::<AdmissionDoorSettings>()
            .filter(|_| !self.fresh)?;
        let channel = match Channel::connect(&door.socket.path).await {
            Ok(channel) => channel,
            Err(error) if error.has_no_server() => {
                context.say(
                    "note: no daemon answers; this is judged here, and pulls are blocked until one runs",
                );
                return None;
            }
            Err(error) => {
                context.say(&format!("note: the daemon was not asked: {}", chain(&error)));
                return None;
            }
        };
        let mut request = Request::new(v1::CheckRequest {
            reference: self.image.to_string(),
            ..v1::CheckRequest::default()
        });
        request.set_timeout(config.limits.pull);
        let answered = AdmissionClient::with_origin(channel, origin())
            .check(request)
            .await;
        match answered.map(|answer| answer.into_inner().verdict) {
            Ok(Some(verdict)) if verdict.reason == Reason::RegistryUnauthorized.code() => {
                context.say(
                    "note: the registry wants credentials that the daemon does not have; this is judged here, with yours",
                );
                None
            }
            Ok(verdict) => verdict,
            Err(status) => {
                context.say(&format!("note: the daemon did not answer: {}", status.message()));
                None
            }
        }
    }

    /// Nothing is remembered, and the daemon's own store is left alone: this is what a first pull would meet.
    async fn by_ourselves(&self, config: Config) -> Result<v1::Verdict, CliError> {
        let deadline = Instant::now() + config.limits.pull;
        let config = Reach::default().over(config, &self.image);
        let own = own_listeners(&config);
        let settings = daemon::gate_settings(&config, own, &RequestMetrics::default())
            .map_err(|error| CliError::new("nothing can be asked", Exit::Usage).because(error))?;
        let generation = settings.policy.generation();
        let storage = Storage {
            derivations_file: None,
            max_derivations: 1,
            max_records: 1,
        };
        let gate = Gate::new(settings, &storage, &mut Metrics::default())
            .map_err(|error| CliError::new("could not set up the gate", Exit::CouldNotTell).because(error))?;
        let request = PullRequest {
            door: DoorName::TOOL,
            peer: "pullgate check".to_owned(),
            reference: self.image.clone(),
            presented: None,
            deadline,
            pod: None,
            purpose: Purpose::Serve,
        };
        Ok(tell::verdict(&gate.explain(&request).await, generation))
    }
}

/// `--json`. The names are a contract: others script against them.
#[derive(Serialize)]
struct CheckReport {
    image: String,
    digest: Option<String>,
    verdict: &'static str,
    /// The code of the denial; null when allowed.
    reason: Option<String>,
    /// The denial in words; null when allowed.
    detail: Option<String>,
    /// The code of what would have blocked it, had its rule not said `mode = "warn"`.
    warned: Option<String>,
    rule: String,
    signatures: Vec<CheckedRecord>,
}

/// One record that was looked at.
#[derive(Serialize)]
pub(super) struct CheckedRecord {
    source: String,
    locator: String,
    format: String,
    key: Option<String>,
    verdict: &'static str,
    reason: Option<String>,
    detail: Option<String>,
}

impl CheckedRecord {
    pub(super) fn of(judged: &CheckedSignature) -> Self {
        Self::told(&tell::signature(judged))
    }

    fn told(told: &v1::Signature) -> Self {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Self {
            source: told.source.clone(),
            locator: told.id.clone(),
            format: told.format.clone(),
            key: text(&told.key),
            verdict: if told.reason.is_empty() {
                "valid"
            } else {
                "invalid"
            },
            reason: text(&told.reason),
            detail: text(&told.detail),
        }
    }

    /// What came of each record, in columns.
    pub(super) fn print_all(all: &[Self], context: &Context, out: &mut dyn Write) -> std::io::Result<()> {
        let rows: Vec<Vec<String>> = all
            .iter()
            .map(|each| {
                vec![
                    each.source.clone(),
                    each.format.clone(),
                    each.key.clone().unwrap_or_else(|| "-".to_owned()),
                    each.reason.as_deref().unwrap_or(each.verdict).to_owned(),
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

impl CheckReport {
    fn of(image: &Reference, verdict: &v1::Verdict) -> Self {
        let (allowed, warned) = match verdict.outcome() {
            v1::Outcome::Allow => (true, false),
            v1::Outcome::Warn => (true, true),
            v1::Outcome::Deny | v1::Outcome::Unspecified => (false, false),
        };
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Self {
            image: image.to_string(),
            digest: text(&verdict.digest),
            verdict: if allowed { "allow" } else { "deny" },
            reason: text(&verdict.reason).filter(|_| !allowed),
            detail: text(&verdict.detail).filter(|_| !allowed),
            warned: text(&verdict.reason).filter(|_| warned),
            rule: verdict.rule.clone(),
            signatures: verdict.signatures.iter().map(CheckedRecord::told).collect(),
        }
    }

    fn print(&self, context: &Context, verdict: &v1::Verdict, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "image    {}", self.image)?;
        writeln!(out, "rule     {}", self.rule)?;
        writeln!(out, "digest   {}", self.digest.as_deref().unwrap_or("-"))?;
        if !self.signatures.is_empty() {
            writeln!(out)?;
            CheckedRecord::print_all(&self.signatures, context, out)?;
            writeln!(out)?;
        }
        if self.verdict == "allow" {
            writeln!(out, "verdict  {}", context.paint.green("allow"))?;
            if self.warned.is_some() {
                let label = context.paint.yellow("warning:");
                let text = &verdict.text;
                writeln!(out, "{label} the rule only warns; it would be blocked: {text}")?;
            }
            return Ok(());
        }
        let denied = context.paint.red("deny");
        writeln!(out, "verdict  {denied} ({})", verdict.reason)?;
        writeln!(out, "why      {}", verdict.detail)?;
        writeln!(out, "{} {}", context.paint.cyan("hint:"), verdict.next_step)
    }
}
