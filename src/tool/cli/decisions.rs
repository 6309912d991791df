//! `pullgate decisions`: the daemon's decisions.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::Context;
use super::output::{CliError, Exit, Paint};
use crate::base::proto::v1;
use crate::base::proto::v1::admission_client::AdmissionClient;
use crate::base::proto::v1::watch_decisions_response::Event;
use crate::door::admission::AdmissionDoorSettings;
use crate::net::uds_client::origin;
use crate::tool::cli::daemon_client::{
    call_error, connect, control, response, rfc3339, seconds, socket, with_timeout,
};

/// Arguments of `pullgate decisions`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                  pullgate decisions --denied --lines 50\n  \
                  pullgate decisions --follow")]
pub(super) struct DecisionsArgs {
    /// Print new decisions as they are made, until interrupted; with `--json` one object per line
    #[arg(long, short)]
    follow: bool,

    /// Print only pulls that were blocked, or that a rule with `mode = "warn"` would block
    #[arg(long)]
    denied: bool,

    /// Number of past decisions to print, newest last; the daemon keeps 256
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 20)]
    lines: u32,
}

impl DecisionsArgs {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        if self.follow {
            return context.block_on(self.follow(context, out))?;
        }
        let decisions = context.block_on(async {
            let mut client = control(context).await?;
            let request = v1::ListDecisionsRequest {
                limit: self.lines,
                denials_only: self.denied,
            };
            let mut answer = response(client.list_decisions(with_timeout(request)).await)?;
            // The daemon takes 0 as "all". For the user, `--lines 0` means none.
            answer
                .decisions
                .truncate(usize::try_from(self.lines).unwrap_or(usize::MAX));
            Ok::<_, CliError>(answer.decisions)
        })??;
        if context.json {
            let all: Vec<Value> = decisions.iter().map(decision_json).collect();
            serde_json::to_writer_pretty(&mut *out, &all)?;
            writeln!(out)?;
        } else {
            for decision in &decisions {
                writeln!(out, "{}", line(decision, context.paint))?;
            }
        }
        Ok(Exit::Yes)
    }

    /// Prints decisions until the daemon stops or the output is closed.
    async fn follow(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let socket = socket(context, "admission", |daemon| {
            let door = daemon.doors.get::<AdmissionDoorSettings>();
            door.map(|door| door.socket.clone())
        })?;
        let mut client = AdmissionClient::with_origin(connect(&socket.path).await?, origin());
        let request = v1::WatchDecisionsRequest {
            denials_only: self.denied,
            backlog: self.lines,
        };
        let mut events = response(client.watch_decisions(request).await)?;
        while let Some(event) = events.message().await.map_err(|status| call_error(&status))? {
            match event.event {
                Some(Event::Decision(decision)) if context.json => {
                    serde_json::to_writer(&mut *out, &decision_json(&decision))?;
                    writeln!(out)?;
                }
                Some(Event::Decision(decision)) => writeln!(out, "{}", line(&decision, context.paint))?,
                Some(Event::Missed(missed)) => {
                    context.say(&format!(
                        "warning: missed {missed} decisions, because the output was read too slowly"
                    ));
                }
                None => {}
            }
            out.flush()?;
        }
        context.say("the daemon stopped");
        Ok(Exit::Yes)
    }
}

/// Converts a decision to JSON. The names are those of the journal's fields.
fn decision_json(decision: &v1::Decision) -> Value {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    json!({
        "sequence": decision.sequence,
        "time": rfc3339(decision.time),
        "door": decision.door,
        "peer": decision.peer,
        "image": decision.reference,
        "digest": text(&decision.digest),
        "rule": decision.rule,
        "verdict": verdict(decision),
        "reason": text(&decision.reason),
        "detail": text(&decision.detail),
        "cached": decision.cached,
        "took_s": seconds(decision.took),
    })
}

fn verdict(decision: &v1::Decision) -> &'static str {
    match decision.outcome() {
        v1::Outcome::Allow => "allow",
        v1::Outcome::Warn => "warn",
        v1::Outcome::Deny => "deny",
        v1::Outcome::Unspecified => "unknown",
    }
}

fn line(decision: &v1::Decision, paint: Paint) -> String {
    let time = rfc3339(decision.time).unwrap_or_else(|| "-".to_owned());
    let verdict = match decision.outcome() {
        v1::Outcome::Allow => paint.green("allow"),
        v1::Outcome::Warn => paint.yellow("warn "),
        v1::Outcome::Deny | v1::Outcome::Unspecified => paint.red("deny "),
    };
    let mut line = format!("{time} {verdict} {:<9} {}", decision.door, decision.reference);
    if !decision.digest.is_empty() && !decision.reference.contains(&decision.digest) {
        line.push_str(&format!(" ({})", decision.digest));
    }
    if !decision.reason.is_empty() {
        line.push_str(&format!(" {}: {}", decision.reason, decision.detail));
    }
    line
}
