//! `pullgate signature export`: copies records to a directory, for hosts without network, or to a mirror.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::import::attach_all;
use super::records::digest_of;
use super::write_json;
use crate::oci::Reference;
use crate::pull::find::oracle_api;
use crate::signature::Candidate;
use crate::signature::oracle::Record;
use crate::tool::cli::output::{CliError, Exit};
use crate::tool::cli::signature::source_args::{CollectedRecords, RecordSelection};
use crate::tool::cli::{Context, reference};
use crate::tool::signature_store;

/// Arguments of `pullgate signature export`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                  pullgate signature export registry.example/acme/app:v1 signatures\n  \
                  pullgate signature export registry.example/acme/app:v1 --to mirror.example/acme/app:v1")]
pub(in crate::tool::cli) struct Export {
    #[command(flatten)]
    selection: RecordSelection,

    /// Directory to write to; records go to `<DIR>/sha256/<hex>/<name>.json`
    #[arg(value_name = "DIR", conflicts_with = "to")]
    directory: Option<PathBuf>,

    /// Attach the records to this image in its registry, instead of writing them to a directory
    #[arg(long, value_name = "IMAGE", value_parser = reference)]
    to: Option<Reference>,
}

impl Export {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        if self.directory.is_none() && self.to.is_none() {
            return Err(CliError::new("no destination is given", Exit::Usage)
                .hint("give a directory after IMAGE, or `--to IMAGE`"));
        }
        let found = self.selection.collect(context)?;
        let stored = match (&self.to, &self.directory) {
            (Some(image), _) => self.attach(context, &found, image)?,
            (None, directory) => {
                let directory = directory.as_deref().unwrap_or(Path::new("."));
                let mut stored = Vec::new();
                for unverified in found
                    .records
                    .iter()
                    .filter(|candidate| is_exportable(candidate, &found, context))
                {
                    let path = signature_store::store(directory, &found.digest, &unverified.unverified)
                        .map_err(|error| {
                            CliError::new("could not store the record", Exit::CouldNotTell).because(error)
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
        Ok(match found.report_failures(context)? {
            Exit::Yes if stored.is_empty() => Exit::No,
            exit @ (Exit::Yes | Exit::No | Exit::Usage | Exit::CouldNotTell) => exit,
        })
    }

    fn attach(
        &self,
        context: &Context,
        found: &CollectedRecords,
        image: &Reference,
    ) -> Result<Vec<String>, CliError> {
        let mut records = Vec::new();
        for unverified in found
            .records
            .iter()
            .filter(|candidate| is_exportable(candidate, found, context))
        {
            match Record::parse(&unverified.unverified) {
                Ok(record) => records.push(record),
                Err(error) => {
                    context.say(&format!(
                        "skipped: `{}`: {}",
                        unverified.locator,
                        crate::base::error_chain::chain(&error)
                    ));
                }
            }
        }
        attach_all(context, &self.selection.registry, image, &records)
    }
}

/// Returns whether a record is exported, and reports one that is not. Oracle's API keeps withdrawn records in its lists, and
/// its filter is not trusted, so its records are exported only when they are available and sign this image. Records of a
/// registry or a directory are exported unchanged.
fn is_exportable(unverified: &Candidate, found: &CollectedRecords, context: &Context) -> bool {
    let locator = &unverified.locator;
    let Ok(record) = Record::parse(&unverified.unverified) else {
        return true;
    };
    if unverified.source != oracle_api::NAME {
        return true;
    }
    let why = match (record.lifecycle_state.as_deref(), digest_of(&record)) {
        (Some("AVAILABLE") | None, Ok(digest)) if digest == found.digest => return true,
        (Some("AVAILABLE") | None, Ok(digest)) => format!("it signs {digest}"),
        (Some("AVAILABLE") | None, Err(error)) => error.message,
        (Some(state), _) => format!("its state is `{}`", crate::base::printable::excerpt(state)),
    };
    context.say(&format!("skipped: `{locator}`: {why}"));
    false
}
