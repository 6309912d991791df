//! `pullgate status` and `pullgate reload`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::output::{CliError, Exit, columns};
use super::{Context, counted};
use crate::base::proto::v1;
use crate::tool::cli::daemon_client::{control, response, rfc3339, with_timeout};

/// Arguments of `pullgate status`.
#[derive(Args, Debug)]
pub(super) struct Status {}

/// Arguments of `pullgate reload`.
#[derive(Args, Debug)]
pub(super) struct Reload {}

impl Status {
    /// Exits with 0 when the daemon runs as configured, and with 1 when the last reload failed or a change needs a restart.
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let status = context.block_on(async {
            let mut client = control(context).await?;
            response(client.status(with_timeout(v1::StatusRequest {})).await)
        })??;
        if context.json {
            let answer = json!({
                "version": status.version,
                "started_at": rfc3339(status.started_at),
                "config": status.config_path,
                "generation": status.generation,
                "loaded_at": rfc3339(status.loaded_at),
                "rules": status.rules,
                "keys": status.keys,
                "doors": status.doors.iter()
                    .map(|door| json!({ "name": door.name, "listen": door.listen }))
                    .collect::<Vec<_>>(),
                "verdicts": status.verdicts,
                "needs_restart": status.needs_restart,
                "warnings": status.warnings,
                "reload_error": Some(&status.reload_error).filter(|error| !error.is_empty()),
            });
            serde_json::to_writer_pretty(&mut *out, &answer)?;
            writeln!(out)?;
        } else {
            print(&status, context, out)?;
        }
        let as_configured = status.reload_error.is_empty() && status.needs_restart.is_empty();
        Ok(if as_configured { Exit::Yes } else { Exit::No })
    }
}

fn print(status: &v1::StatusResponse, context: &Context, out: &mut dyn Write) -> std::io::Result<()> {
    let time = |time| rfc3339(time).unwrap_or_else(|| "-".to_owned());
    writeln!(out, "version   {}", status.version)?;
    writeln!(out, "running   since {}", time(status.started_at))?;
    writeln!(out, "config    {}", status.config_path)?;
    writeln!(
        out,
        "policy    {}, {}, loaded {}",
        counted(usize::try_from(status.rules).unwrap_or(usize::MAX), "rule"),
        counted(usize::try_from(status.keys).unwrap_or(usize::MAX), "key"),
        time(status.loaded_at)
    )?;
    writeln!(out, "          generation {}", status.generation)?;
    let verdicts = usize::try_from(status.verdicts).unwrap_or(usize::MAX);
    writeln!(out, "cache     {}", counted(verdicts, "verdict"))?;
    writeln!(out)?;
    let rows: Vec<_> = status
        .doors
        .iter()
        .map(|door| vec![door.name.clone(), door.listen.clone()])
        .collect();
    columns(out, context.paint, &["DOOR", "LISTENS"], &rows)?;
    let warning = context.paint.yellow("warning:");
    for text in &status.warnings {
        writeln!(out, "\n{warning} {text}")?;
    }
    for table in &status.needs_restart {
        writeln!(
            out,
            "\n{warning} the table [{table}] changed; restart the daemon to apply the change"
        )?;
    }
    if !status.reload_error.is_empty() {
        let error = context.paint.red("error:");
        writeln!(
            out,
            "\n{error} the last reload failed, and the daemon keeps its previous configuration:\n{}",
            status.reload_error
        )?;
    }
    Ok(())
}

impl Reload {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let answer = context.block_on(async {
            let mut client = control(context).await?;
            response(client.reload(with_timeout(v1::ReloadRequest {})).await)
        })??;
        if context.json {
            let report = json!({
                "loaded": answer.loaded,
                "errors": Some(&answer.errors).filter(|errors| !errors.is_empty()),
                "generation": answer.generation,
                "needs_restart": answer.needs_restart,
            });
            serde_json::to_writer_pretty(&mut *out, &report)?;
            writeln!(out)?;
        } else if answer.loaded {
            writeln!(
                out,
                "loaded; the policy in effect is generation {}",
                answer.generation
            )?;
            for table in &answer.needs_restart {
                context.say(&format!(
                    "warning: the table [{table}] changed; restart the daemon to apply the change"
                ));
            }
        } else {
            return Err(CliError::new(
                format!(
                    "the reload failed, and the daemon keeps its previous configuration\n{}",
                    answer.errors
                ),
                Exit::No,
            )
            .hint("fix the configuration, check it with `pullgate config check`, and reload again"));
        }
        Ok(if answer.loaded { Exit::Yes } else { Exit::No })
    }
}
