//! `pullgate signature delete`: deletes records in every source.

use std::io::{BufRead as _, IsTerminal as _, Write};

use clap::Args;
use serde_json::json;

use super::write_json;
use crate::net::oracle::wire::LifecycleState;
use crate::net::oracle::{ApiError, CallError, Ocid};
use crate::pull::find::oracle_api;
use crate::signature::{Candidate, Locator};
use crate::tool::cli::Context;
use crate::tool::cli::oracle_args::{OracleSession, api_error, signature_id};
use crate::tool::cli::output::{CliError, Exit, counted};
use crate::tool::cli::signature::source_args::{
    CollectedRecords, QueriedSource, RecordSelection, in_oracle, record_id,
};
use crate::tool::signature_store;

/// Arguments of `pullgate signature delete`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                  pullgate signature delete registry.example/acme/app:v1 --all\n  \
                  pullgate signature delete registry.example/acme/app:v1 --id sha256:DIGEST --yes")]
pub(in crate::tool::cli) struct Delete {
    #[command(flatten)]
    selection: RecordSelection,

    /// Record to delete, as `signature list` shows it; without IMAGE, the OCID of a record in Oracle's API; may be repeated
    #[arg(
        long,
        value_name = "ID",
        alias = "image-signature-id",
        required_unless_present = "all"
    )]
    id: Vec<String>,

    /// Delete all records of the image
    #[arg(long, conflicts_with = "id")]
    all: bool,

    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

impl Delete {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let found = if self.selection.image.is_none() && !self.all {
            None
        } else {
            Some(self.selection.collect(context)?)
        };
        let deleted = match &found {
            None => self.by_id(context, out)?,
            Some(found) => {
                let selected = if self.all {
                    found.records.iter().collect()
                } else {
                    found.select(&self.id)?
                };
                if selected.is_empty() {
                    return found.report_failures(context);
                }
                check_deletable(found, &selected)?;
                self.confirm(context, &selected)?;
                for record in &selected {
                    self.delete(context, found, record)?;
                    print_deleted(context, &record.locator.to_string(), out)?;
                }
                selected.iter().map(|record| record.locator.to_string()).collect()
            }
        };
        if context.json {
            write_json(out, &json!({ "deleted": deleted }))?;
        }
        context
            .say("note: a gate that has cached the verdict still allows the image; run `pullgate cache clear` on its node");
        Ok(Exit::Yes)
    }

    /// Deletes records in Oracle's API that are named by OCID, without an image.
    fn by_id(&self, context: &Context, out: &mut dyn Write) -> Result<Vec<String>, CliError> {
        let ids = self.id.iter().map(|id| record_id(id));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let session = self.selection.oracle_api.oracle.session()?;
        let artifacts = session.artifacts()?;
        // Read all records first: the confirmation shows them, and an unknown id prevents the deletion of the others.
        let record = context.block_on(async {
            let mut record = Vec::new();
            for id in &ids {
                let found = session
                    .client
                    .get_signature(&artifacts, id, session.deadline)
                    .await;
                let found =
                    found.map_err(|error| api_error(format!("could not delete the record `{id}`"), error))?;
                record.push(in_oracle(&found));
            }
            Ok::<_, CliError>(record)
        })??;
        self.confirm(context, &record.iter().collect::<Vec<_>>())?;
        for id in &ids {
            delete_from_oracle(context, &session, id)?;
            print_deleted(context, id.as_str(), out)?;
        }
        Ok(ids.iter().map(ToString::to_string).collect())
    }

    fn confirm(&self, context: &Context, selected: &[&Candidate]) -> Result<(), CliError> {
        if self.yes || confirm_on_terminal(context, selected)? {
            Ok(())
        } else {
            Err(CliError::new("nothing was deleted", Exit::No).hint("answer `y`, or give --yes"))
        }
    }

    fn delete(
        &self,
        context: &Context,
        found: &CollectedRecords,
        record: &Candidate,
    ) -> Result<(), CliError> {
        let locator = &record.locator;
        let outcome = match (locator, &found.source) {
            (Locator::File(path), _) => signature_store::delete(path),
            (Locator::Layer { manifest, .. }, QueriedSource::Registry(client, access)) => {
                let repository = &self.selection.require_image()?.repository;
                context.block_on(signature_store::detach(
                    client,
                    repository,
                    &found.digest,
                    manifest,
                    access,
                ))?
            }
            (Locator::Layer { .. } | Locator::Service(_), QueriedSource::Oracle(session)) => {
                let id = signature_id(&locator.to_string()).map_err(|error| {
                    CliError::new(
                        format!("`{locator}` is not a record of Oracle's API"),
                        Exit::CouldNotTell,
                    )
                    .because(error)
                })?;
                return delete_from_oracle(context, session, &id);
            }
            (Locator::Service(_), QueriedSource::Registry(..)) => return Err(needs_oracle(record)),
        };
        outcome.map_err(|error| {
            CliError::new(
                format!("could not delete the record `{locator}`"),
                Exit::CouldNotTell,
            )
            .because(error)
            .hint(
                "allow deletion in the registry; docker-registry needs REGISTRY_STORAGE_DELETE_ENABLED=true",
            )
        })
    }
}

/// Checks before the first deletion that every record can be deleted.
fn check_deletable(found: &CollectedRecords, selected: &[&Candidate]) -> Result<(), CliError> {
    match found.source {
        QueriedSource::Oracle(_) => Ok(()),
        QueriedSource::Registry(..) => selected
            .iter()
            .find(|record| record.source == oracle_api::NAME)
            .map_or(Ok(()), |record| Err(needs_oracle(record))),
    }
}

/// Refuses to delete a record in Oracle's API with the gate's own identity, which may only read.
fn needs_oracle(record: &Candidate) -> CliError {
    let message = format!(
        "the record `{}` is in Oracle's API; nothing was deleted",
        record.locator
    );
    CliError::new(message, Exit::Usage).hint("give `--from oracle`")
}

/// Deletes a record in Oracle's API, which existed a moment ago. A 404 then has three possible causes: the response to an
/// earlier attempt was lost, another client deleted the record, or the identity may read but not delete. Reading the
/// record again tells the last cause from the others.
fn delete_from_oracle(context: &Context, session: &OracleSession, id: &Ocid) -> Result<(), CliError> {
    let artifacts = session.artifacts()?;
    let refusal = |error| api_error(format!("could not delete the record `{id}`"), error);
    context.block_on(async {
        let OracleSession { client, deadline, .. } = session;
        match client.delete_signature(&artifacts, id, *deadline).await {
            Ok(()) => Ok(()),
            Err(error @ ApiError::Call(CallError::NotFound { .. })) => {
                match client.get_signature(&artifacts, id, *deadline).await {
                    Err(ApiError::Call(CallError::NotFound { .. })) => Ok(()),
                    Ok(found) if found.lifecycle_state != LifecycleState::Available => Ok(()),
                    Ok(_) => Err(CliError {
                        exit: Exit::CouldNotTell,
                        ..refusal(error)
                    }),
                    Err(error) => Err(refusal(error)),
                }
            }
            Err(error) => Err(refusal(error)),
        }
    })?
}

fn print_deleted(context: &Context, locator: &str, out: &mut dyn Write) -> Result<(), CliError> {
    if !context.json {
        writeln!(out, "deleted  {locator}")?;
    }
    Ok(())
}

fn confirm_on_terminal(context: &Context, selected: &[&Candidate]) -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    for record in selected {
        context.say(&format!("{} in {}", record.locator, record.source.as_str()));
    }
    context.say(&format!("delete {}? [y/N]", counted(selected.len(), "record")));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
