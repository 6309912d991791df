//! `pullgate signature delete`.

use std::io::{BufRead as _, IsTerminal as _, Write};
use std::path::Path;

use clap::Args;
use serde_json::json;

use super::{Collected, Image, write_json};
use crate::carry::{self, Carried};
use crate::cli::Context;
use crate::cli::output::{CliError, Exit, counted};
use crate::registry::SourceName;

/// Arguments of `pullgate signature delete`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Delete {
    #[command(flatten)]
    of: Image,

    /// The record, as `signature list` names it; more than one may be given
    #[arg(long, value_name = "ID", required_unless_present = "all")]
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
        let found = self.of.collect(context)?;
        let doomed = if self.all {
            found.carried.iter().collect()
        } else {
            found.named(&self.id)?
        };
        if doomed.is_empty() {
            return found.tell(context);
        }
        if !self.yes && !confirmed(context, &doomed)? {
            return Err(CliError::new("nothing was deleted", Exit::No).hint("answer `y`, or give --yes"));
        }
        let repository = &self.of.image.repository;
        for carried in &doomed {
            let locator = &carried.candidate.locator;
            let gone = match carried.source {
                SourceName::Directory => carry::remove(Path::new(locator)),
                SourceName::OracleApi => {
                    return Err(CliError::new(
                        format!("the record `{locator}` is in Oracle's API, where the tool deletes nothing"),
                        Exit::No,
                    )
                    .hint("oci artifacts container image-signature delete --image-signature-id …"));
                }
                SourceName::Referrers | SourceName::Tag => {
                    let referrer = locator.parse().map_err(|error: crate::oci::DigestError| {
                        CliError::new(format!("`{locator}` is no referrer"), Exit::CouldNotTell)
                            .because(error)
                    })?;
                    let Collected {
                        client,
                        access,
                        digest,
                        ..
                    } = &found;
                    context.block_on(carry::detach(client, repository, digest, &referrer, access))?
                }
            };
            gone.map_err(|error| {
                CliError::new(format!("the record `{locator}` was not deleted"), Exit::CouldNotTell)
                    .because(error)
                    .hint("many registries delete nothing unless told so; docker-registry wants REGISTRY_STORAGE_DELETE_ENABLED")
            })?;
            if !context.json {
                writeln!(out, "deleted  {locator}")?;
            }
        }
        if context.json {
            let all: Vec<&str> = doomed
                .iter()
                .map(|carried| carried.candidate.locator.as_str())
                .collect();
            write_json(out, &json!({ "deleted": all }))?;
        }
        context
            .say("a gate that remembers the verdict trusts the image until its positive cache life is over");
        Ok(Exit::Yes)
    }
}

fn confirmed(context: &Context, doomed: &[&Carried]) -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    for carried in doomed {
        context.say(&format!(
            "{} in {}",
            carried.candidate.locator,
            carried.source.as_str()
        ));
    }
    context.say(&format!("delete {}? [y/N]", counted(doomed.len(), "record")));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
