//! `pullgate decisions`: what the daemon let through and what it blocked.

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
use crate::tool::cli::daemon_client::{answered, connect, control, failed, instant, seconds, socket, within};

/// Arguments of `pullgate decisions`.
#[derive(Args, Debug)]
pub(super) struct DecisionsArgs {
    /// Go on with those to come, until interrupted; with `--json` one object a line
    #[arg(long, short)]
    follow: bool,

    /// Only what was blocked, or would have been
    #[arg(long)]
    denied: bool,

    /// How many of those that went before, the newest; the daemon keeps 256
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
            let asked = v1::ListDecisionsRequest {
                limit: self.lines,
                denials_only: self.denied,
            };
            let mut answer = answered(client.list_decisions(within(asked)).await)?;
            // No number is all of them to the daemon, and none to who writes a 0.
            answer
                .decisions
                .truncate(usize::try_from(self.lines).unwrap_or(usize::MAX));
            Ok::<_, CliError>(answer.decisions)
        })??;
        if context.json {
            let all: Vec<Value> = decisions.iter().map(object).collect();
            serde_json::to_writer_pretty(&mut *out, &all)?;
            writeln!(out)?;
        } else {
            for decision in &decisions {
                writeln!(out, "{}", line(decision, context.paint))?;
            }
        }
        Ok(Exit::Yes)
    }

    /// Until the daemon ends, or whoever reads.
    async fn follow(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let socket = socket(context, "admission", |daemon| {
            let door = daemon.doors.get::<AdmissionDoorSettings>();
            door.map(|door| door.socket.clone())
        })?;
        let mut client = AdmissionClient::with_origin(connect(&socket.path).await?, origin());
        let asked = v1::WatchDecisionsRequest {
            denials_only: self.denied,
            backlog: self.lines,
        };
        let mut events = answered(client.watch_decisions(asked).await)?;
        while let Some(event) = events.message().await.map_err(|status| failed(&status))? {
            match event.event {
                Some(Event::Decision(decision)) if context.json => {
                    serde_json::to_writer(&mut *out, &object(&decision))?;
                    writeln!(out)?;
                }
                Some(Event::Decision(decision)) => writeln!(out, "{}", line(&decision, context.paint))?,
                Some(Event::Missed(missed)) => {
                    context.say(&format!(
                        "warning: {missed} decisions were missed: reading was too slow"
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

/// The names are those of the journal's fields.
fn object(decision: &v1::Decision) -> Value {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    json!({
        "sequence": decision.sequence,
        "time": instant(decision.time),
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
    let time = instant(decision.time).unwrap_or_else(|| "-".to_owned());
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
