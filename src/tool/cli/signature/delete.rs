//! `pullgate signature delete`.

use std::io::{BufRead as _, IsTerminal as _, Write};

use clap::Args;
use serde_json::json;

use super::write_json;
use crate::net::oracle::wire::LifecycleState;
use crate::net::oracle::{ApiError, CallError, Ocid};
use crate::pull::find::oracle_api;
use crate::signature::{Candidate, Locator};
use crate::tool::cli::Context;
use crate::tool::cli::oracle_args::{Opened, refused, signature_id};
use crate::tool::cli::output::{CliError, Exit, counted};
use crate::tool::cli::signature::source_args::{Collected, Of, QueriedSource, in_oracle, record_id};
use crate::tool::signature_store::{self as carry};

/// Arguments of `pullgate signature delete`.
#[derive(Args, Debug)]
pub(in crate::tool::cli) struct Delete {
    #[command(flatten)]
    of: Of,

    /// The record, as `signature list` names it; without IMAGE the OCID of one in Oracle's API; more than one may be given
    #[arg(
        long,
        value_name = "ID",
        alias = "image-signature-id",
        required_unless_present = "all"
    )]
    id: Vec<String>,

    /// All records of the image
    #[arg(long, conflicts_with = "id")]
    all: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Delete {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let found = if self.of.image.is_none() && !self.all {
            None
        } else {
            Some(self.of.collect(context)?)
        };
        let deleted = match &found {
            None => self.by_id(context, out)?,
            Some(found) => {
                let doomed = if self.all {
                    found.held.iter().collect()
                } else {
                    found.named(&self.id)?
                };
                if doomed.is_empty() {
                    return found.tell(context);
                }
                check_reach(found, &doomed)?;
                self.ask(context, &doomed)?;
                for held in &doomed {
                    self.delete(context, found, held)?;
                    told(context, &held.locator.to_string(), out)?;
                }
                doomed.iter().map(|held| held.locator.to_string()).collect()
            }
        };
        if context.json {
            write_json(out, &json!({ "deleted": deleted }))?;
        }
        context
            .say("a gate that remembers the verdict trusts the image until its positive cache life is over");
        Ok(Exit::Yes)
    }

    /// Records in Oracle's API that are named by themselves.
    fn by_id(&self, context: &Context, out: &mut dyn Write) -> Result<Vec<String>, CliError> {
        let ids = self.id.iter().map(|id| record_id(id));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let opened = self.of.api.cloud.open()?;
        let artifacts = opened.artifacts()?;
        // Read first: who is asked sees what it is, and an id that names nothing deletes nothing of the others.
        let held = context.block_on(async {
            let mut held = Vec::new();
            for id in &ids {
                let found = opened.client.get_signature(&artifacts, id, opened.deadline).await;
                let found =
                    found.map_err(|error| refused(format!("the record `{id}` was not deleted"), error))?;
                held.push(in_oracle(&found));
            }
            Ok::<_, CliError>(held)
        })??;
        self.ask(context, &held.iter().collect::<Vec<_>>())?;
        for id in &ids {
            delete_from_oracle(context, &opened, id)?;
            told(context, id.as_str(), out)?;
        }
        Ok(ids.iter().map(ToString::to_string).collect())
    }

    fn ask(&self, context: &Context, doomed: &[&Candidate]) -> Result<(), CliError> {
        if self.yes || confirmed(context, doomed)? {
            Ok(())
        } else {
            Err(CliError::new("nothing was deleted", Exit::No).hint("answer `y`, or give --yes"))
        }
    }

    fn delete(&self, context: &Context, found: &Collected, held: &Candidate) -> Result<(), CliError> {
        let locator = &held.locator;
        let gone = match (locator, &found.asked) {
            (Locator::File(path), _) => carry::remove(path),
            (Locator::Layer { manifest, .. }, QueriedSource::Registry(client, access)) => {
                let repository = &self.of.named()?.repository;
                context.block_on(carry::detach(client, repository, &found.digest, manifest, access))?
            }
            (Locator::Layer { .. } | Locator::Service(_), QueriedSource::Oracle(opened)) => {
                let id = signature_id(&locator.to_string()).map_err(|error| {
                    CliError::new(
                        format!("`{locator}` is no record of Oracle's API"),
                        Exit::CouldNotTell,
                    )
                    .because(error)
                })?;
                return delete_from_oracle(context, opened, &id);
            }
            (Locator::Service(_), QueriedSource::Registry(..)) => return Err(out_of_reach(held)),
        };
        gone.map_err(|error| {
            CliError::new(format!("the record `{locator}` was not deleted"), Exit::CouldNotTell)
                .because(error)
                .hint("many registries delete nothing unless told so; docker-registry wants REGISTRY_STORAGE_DELETE_ENABLED")
        })
    }
}

/// Before any of them is deleted: all of them can be.
fn check_reach(found: &Collected, doomed: &[&Candidate]) -> Result<(), CliError> {
    match found.asked {
        QueriedSource::Oracle(_) => Ok(()),
        QueriedSource::Registry(..) => doomed
            .iter()
            .find(|held| held.source == oracle_api::NAME)
            .map_or(Ok(()), |held| Err(out_of_reach(held))),
    }
}

/// The gate's own identity reads; who deletes comes with theirs.
fn out_of_reach(held: &Candidate) -> CliError {
    let message = format!(
        "the record `{}` is in Oracle's API, and nothing was deleted",
        held.locator
    );
    CliError::new(message, Exit::Usage).hint("give `--from oracle`")
}

/// It was there a moment ago. Where the service says that it has it not, the first answer was lost, or somebody was
/// faster, or it may be read here and not deleted: only asking for it again tells which.
fn delete_from_oracle(context: &Context, opened: &Opened, id: &Ocid) -> Result<(), CliError> {
    let artifacts = opened.artifacts()?;
    let refusal = |error| refused(format!("the record `{id}` was not deleted"), error);
    context.block_on(async {
        let Opened { client, deadline, .. } = opened;
        match client.delete_signature(&artifacts, id, *deadline).await {
            Ok(()) => Ok(()),
            Err(error @ ApiError::Call(CallError::NotFound { .. })) => {
                match client.get_signature(&artifacts, id, *deadline).await {
                    Err(ApiError::Call(CallError::NotFound { .. })) => Ok(()),
                    Ok(kept) if kept.lifecycle_state != LifecycleState::Available => Ok(()),
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

fn told(context: &Context, locator: &str, out: &mut dyn Write) -> Result<(), CliError> {
    if !context.json {
        writeln!(out, "deleted  {locator}")?;
    }
    Ok(())
}

fn confirmed(context: &Context, doomed: &[&Candidate]) -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    for held in doomed {
        context.say(&format!("{} in {}", held.locator, held.source.as_str()));
    }
    context.say(&format!("delete {}? [y/N]", counted(doomed.len(), "record")));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
