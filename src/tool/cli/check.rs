//! `pullgate check`: the gate's decision on an image.

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
use crate::tool::cli::registry_args::{RegistryArgs, own_listeners};

/// Arguments of `pullgate check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  pullgate check registry.example/acme/app:v1\n  \
                  pullgate check --fresh --json registry.example/acme/app:v1")]
pub(super) struct Check {
    /// Image, as a container runtime names it
    #[arg(value_name = "IMAGE", value_parser = reference)]
    image: Reference,

    /// Decide in this process, without the running daemon and its cache
    #[arg(long)]
    fresh: bool,
}

impl Check {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let config = context.config()?;
        let verdict = context.block_on(async {
            match self.ask_daemon(context, &config).await {
                Some(verdict) => Ok(verdict),
                None => self.check_in_process(config).await,
            }
        })??;
        let answer = CheckReport::new(&self.image, &verdict);
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

    /// Asks the running daemon, which decides on the pulls of this node. Returns `None` when the daemon cannot be reached,
    /// and when the registry requires credentials that the daemon lacks: the user of the tool may have them.
    async fn ask_daemon(&self, context: &Context, config: &Config) -> Option<v1::Verdict> {
        let door = config
            .doors
            .get::<AdmissionDoorSettings>()
            .filter(|_| !self.fresh)?;
        let channel = match Channel::connect(&door.socket.path).await {
            Ok(channel) => channel,
            Err(error) if error.has_no_server() => {
                context.say(
                    "note: no daemon is running, so this process decides; pulls are blocked until one runs",
                );
                return None;
            }
            Err(error) => {
                context.say(&format!("note: could not ask the daemon: {}", chain(&error)));
                return None;
            }
        };
        let mut request = Request::new(v1::CheckRequest {
            reference: self.image.to_string(),
            ..v1::CheckRequest::default()
        });
        request.set_timeout(config.limits.pull);
        let response = AdmissionClient::with_origin(channel, origin())
            .check(request)
            .await;
        match response.map(|response| response.into_inner().verdict) {
            Ok(Some(verdict)) if verdict.reason == Reason::RegistryUnauthorized.code() => {
                context.say(
                    "note: the registry requires credentials that the daemon does not have, so this process decides with yours",
                );
                None
            }
            Ok(verdict) => verdict,
            Err(status) => {
                context.say(&format!(
                    "note: the call to the daemon failed: {}",
                    status.message()
                ));
                None
            }
        }
    }

    /// Decides in this process with empty caches, as a first pull would. The daemon's own store is not used.
    async fn check_in_process(&self, config: Config) -> Result<v1::Verdict, CliError> {
        let deadline = Instant::now() + config.limits.pull;
        let config = RegistryArgs::default().apply_to(config, &self.image);
        let own = own_listeners(&config);
        let settings = daemon::gate_settings(&config, own, &RequestMetrics::default())
            .map_err(|error| CliError::new("could not set up the gate", Exit::Usage).because(error))?;
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

/// Output of `--json`. The field names are a contract with scripts.
#[derive(Serialize)]
struct CheckReport {
    image: String,
    digest: Option<String>,
    verdict: &'static str,
    /// Reason code of the denial; null when allowed.
    reason: Option<String>,
    /// Denial as text; null when allowed.
    detail: Option<String>,
    /// Reason code that would have blocked the image if its rule did not have `mode = "warn"`.
    warned: Option<String>,
    rule: String,
    signatures: Vec<CheckedRecord>,
}

/// One record that was checked.
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
    pub(super) fn from_signature(signature: &CheckedSignature) -> Self {
        Self::from_message(&tell::signature(signature))
    }

    fn from_message(message: &v1::Signature) -> Self {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Self {
            source: message.source.clone(),
            locator: message.id.clone(),
            format: message.format.clone(),
            key: text(&message.key),
            verdict: if message.reason.is_empty() {
                "valid"
            } else {
                "invalid"
            },
            reason: text(&message.reason),
            detail: text(&message.detail),
        }
    }

    /// Prints the outcome of each record as columns.
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
    fn new(image: &Reference, verdict: &v1::Verdict) -> Self {
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
            signatures: verdict
                .signatures
                .iter()
                .map(CheckedRecord::from_message)
                .collect(),
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
            let Some(reason) = &self.warned else {
                return writeln!(out, "verdict  {}", context.paint.green("allow"));
            };
            // The same word as in `pullgate decisions`.
            writeln!(out, "verdict  {} ({reason})", context.paint.yellow("warn"))?;
            let (label, text) = (context.paint.yellow("warning:"), &verdict.text);
            return writeln!(
                out,
                "{label} allowed, because its rule has `mode = \"warn\"`; the rule would block it: {text}"
            );
        }
        let denied = context.paint.red("deny");
        writeln!(out, "verdict  {denied} ({})", verdict.reason)?;
        writeln!(out, "why      {}", verdict.detail)?;
        writeln!(out, "{} {}", context.paint.cyan("hint:"), verdict.next_step)
    }
}
