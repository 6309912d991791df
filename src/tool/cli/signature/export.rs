//! `pullgate signature export`: records on the way to where there is no network, or to a mirror.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::carried::digest_of;
use super::import::attach_all;
use super::write_json;
use crate::oci::Reference;
use crate::pull::find::oracle_api;
use crate::signature::Candidate;
use crate::signature::oracle::Record;
use crate::tool::cli::output::{CliError, Exit};
use crate::tool::cli::signature::source_args::{Collected, Of};
use crate::tool::cli::{Context, reference};
use crate::tool::signature_store::{self as carry};

/// Arguments of `pullgate signature export`.
#[derive(Args, Debug)]
pub(in crate::tool::cli) struct Export {
    #[command(flatten)]
    of: Of,

    /// Where to; records go to `<DIR>/sha256/<hex>/<name>.json`
    #[arg(value_name = "DIR", conflicts_with = "to")]
    directory: Option<PathBuf>,

    /// Attach the records to this image in its registry, instead of writing them to a directory
    #[arg(long, value_name = "IMAGE", value_parser = reference)]
    to: Option<Reference>,
}

impl Export {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        if self.directory.is_none() && self.to.is_none() {
            return Err(CliError::new("no place is named to export to", Exit::Usage)
                .hint("give IMAGE and a directory, or IMAGE and `--to IMAGE`"));
        }
        let found = self.of.collect(context)?;
        let stored = match (&self.to, &self.directory) {
            (Some(image), _) => self.attach(context, &found, image)?,
            (None, directory) => {
                let directory = directory.as_deref().unwrap_or(Path::new("."));
                let mut stored = Vec::new();
                for held in found.held.iter().filter(|held| is_of_use(held, &found, context)) {
                    let path = carry::store(directory, &found.digest, &held.unverified).map_err(|error| {
                        CliError::new("the record was not stored", Exit::CouldNotTell).because(error)
                    })?;
                    stored.push(path.display().to_string());
                }
                stored
            }
        };
        if context.json {
            write_json(out, &json!({ "digest": found.digest, "stored": stored }))?;
        } else {
            for path in &stored {
                writeln!(out, "stored  {path}")?;
            }
        }
        Ok(match found.tell(context)? {
            Exit::Yes if stored.is_empty() => Exit::No,
            told @ (Exit::Yes | Exit::No | Exit::Usage | Exit::CouldNotTell) => told,
        })
    }

    fn attach(
        &self,
        context: &Context,
        found: &Collected,
        image: &Reference,
    ) -> Result<Vec<String>, CliError> {
        let mut records = Vec::new();
        for held in found.held.iter().filter(|held| is_of_use(held, found, context)) {
            match Record::parse(&held.unverified) {
                Ok(record) => records.push(record),
                Err(error) => {
                    context.say(&format!(
                        "left out: `{}`: {}",
                        held.locator,
                        crate::base::error_chain::chain(&error)
                    ));
                }
            }
        }
        attach_all(context, &self.of.reach, image, &records)
    }
}

/// Oracle's service filters its lists, and keeps records that were withdrawn: what is of another image, or of none any
/// more, is not carried on. What a registry or a directory has goes as it is.
fn is_of_use(held: &Candidate, found: &Collected, context: &Context) -> bool {
    let locator = &held.locator;
    let Ok(record) = Record::parse(&held.unverified) else {
        return true;
    };
    if held.source != oracle_api::NAME {
        return true;
    }
    let why = match (record.lifecycle_state.as_deref(), digest_of(&record)) {
        (Some("AVAILABLE") | None, Ok(digest)) if digest == found.digest => return true,
        (Some("AVAILABLE") | None, Ok(digest)) => format!("it signs {digest}"),
        (Some("AVAILABLE") | None, Err(error)) => error.message,
        (Some(state), _) => format!("its state is `{}`", crate::base::printable::excerpt(state)),
    };
    context.say(&format!("left out: `{locator}`: {why}"));
    false
}
