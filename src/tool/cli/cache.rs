//! `pullgate cache`: the daemon's cached verdicts.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{CliError, Exit, columns};
use super::{Context, counted};
use crate::base::proto::v1;
use crate::tool::cli::daemon_client::{call_error, control, response, seconds, with_timeout};

/// Verbs of `pullgate cache`.
#[derive(Debug, Subcommand)]
pub(super) enum CacheCommand {
    /// Clear every cached verdict, for example after a signature was deleted
    Clear(Clear),
    /// List the cached verdicts on signatures
    List(List),
}

/// Arguments of `pullgate cache clear`.
#[derive(Args, Debug)]
pub(super) struct Clear {}

/// Arguments of `pullgate cache list`.
#[derive(Args, Debug)]
pub(super) struct List {}

impl CacheCommand {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        match self {
            Self::Clear(verb) => verb.run(context, out),
            Self::List(verb) => verb.run(context, out),
        }
    }
}

impl Clear {
    fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let answer = context.block_on(async {
            let mut client = control(context).await?;
            response(client.clear_cache(with_timeout(v1::ClearCacheRequest {})).await)
        })??;
        if context.json {
            serde_json::to_writer_pretty(&mut *out, &json!({ "verdicts": answer.verdicts }))?;
            writeln!(out)?;
        } else {
            let verdicts = usize::try_from(answer.verdicts).unwrap_or(usize::MAX);
            writeln!(out, "{} cleared", counted(verdicts, "verdict"))?;
        }
        Ok(Exit::Yes)
    }
}

impl List {
    fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let mut verdicts = context.block_on(async {
            let mut client = control(context).await?;
            let mut stream = response(client.list_cache(with_timeout(v1::ListCacheRequest {})).await)?;
            let mut verdicts = Vec::new();
            while let Some(verdict) = stream.message().await.map_err(|status| call_error(&status))? {
                verdicts.push(verdict);
            }
            Ok::<_, CliError>(verdicts)
        })??;
        verdicts
            .sort_by(|one, other| (&one.repository, &one.digest).cmp(&(&other.repository, &other.digest)));
        if context.json {
            let all: Vec<_> = verdicts
                .iter()
                .map(|verdict| {
                    json!({
                        "repository": verdict.repository,
                        "digest": verdict.digest,
                        "signers": verdict.signers,
                        "signatures": verdict.signatures,
                        "expires_in_s": seconds(verdict.expires_in),
                    })
                })
                .collect();
            serde_json::to_writer_pretty(&mut *out, &all)?;
            writeln!(out)?;
            return Ok(Exit::Yes);
        }
        let rows: Vec<_> = verdicts
            .iter()
            .map(|verdict| {
                vec![
                    format!("{}@{}", verdict.repository, verdict.digest),
                    if verdict.signers.is_empty() {
                        "-".to_owned()
                    } else {
                        verdict.signers.join(", ")
                    },
                    verdict.signatures.to_string(),
                    seconds(verdict.expires_in).map_or_else(|| "-".to_owned(), |left| format!("{left:.0} s")),
                ]
            })
            .collect();
        columns(
            out,
            context.paint,
            &["IMAGE", "SIGNED BY", "RECORDS", "EXPIRES IN"],
            &rows,
        )?;
        Ok(Exit::Yes)
    }
}
