//! `pullgate signature import`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::carried::{self, parse_records};
use super::write_json;
use crate::net::registry::Access;
use crate::oci::Reference;
use crate::pull::resolve::resolve;
use crate::signature::oracle::Record;
use crate::tool::cli::output::{CliError, Exit};
use crate::tool::cli::registry_args::Reach;
use crate::tool::cli::sign::PATIENCE;
use crate::tool::cli::{Context, reference};
use crate::tool::sign::artifact;
use crate::tool::signature_store as carry;

/// Arguments of `pullgate signature import`.
#[derive(Args, Debug)]
pub(in crate::tool::cli) struct SignatureImportArgs {
    /// Files of records, or directories that `signature export` wrote. A file holds one record, or a list of them as
    /// `oci artifacts container image-signature list` prints it
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// Attach the records to this image in its registry, instead of storing them on this host
    #[arg(long, value_name = "IMAGE", value_parser = reference)]
    to: Option<Reference>,

    /// Store the records below this directory, instead of the daemon's own
    #[arg(long, value_name = "DIR", conflicts_with = "to")]
    directory: Option<PathBuf>,

    #[command(flatten)]
    reach: Reach,
}

impl SignatureImportArgs {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let mut records = Vec::new();
        for path in &self.paths {
            records.extend(parse_records(path)?);
        }
        let stored = match &self.to {
            Some(image) => attach_all(context, &self.reach, image, &records)?,
            None => self.store_all(context, &records)?,
        };
        if context.json {
            write_json(out, &json!({ "stored": stored }))?;
        } else {
            for place in &stored {
                writeln!(out, "stored  {place}")?;
            }
        }
        Ok(if stored.is_empty() { Exit::No } else { Exit::Yes })
    }

    /// By the digest that each record's own message names: a record is of no use under another one.
    fn store_all(&self, context: &Context, records: &[Record]) -> Result<Vec<String>, CliError> {
        let directory = match &self.directory {
            Some(directory) => directory.clone(),
            None => context.config()?.daemon.state.join("signatures"),
        };
        let store = |record: &Record| {
            let digest = carried::digest_of(record)?;
            let path = carry::store(&directory, &digest, &record.to_json()).map_err(|error| {
                CliError::new("the record was not stored", Exit::CouldNotTell).because(error)
            })?;
            Ok(path.display().to_string())
        };
        records.iter().map(store).collect()
    }
}

/// Attaches each record that signs the image to it, in its registry, and says where.
pub(super) fn attach_all(
    context: &Context,
    reach: &Reach,
    image: &Reference,
    records: &[Record],
) -> Result<Vec<String>, CliError> {
    let client = reach.client(context, image)?.client;
    let access = Access {
        presented: None,
        deadline: Instant::now() + PATIENCE,
    };
    context.block_on(async {
        let subject = resolve(&client, image, &access).await.map_err(|error| {
            CliError::new(format!("the image `{image}` can't be read"), Exit::CouldNotTell).because(error)
        })?;
        let mut stored = Vec::new();
        for record in records {
            let signed = carried::digest_of(record)?;
            if signed != *subject.digest() {
                context.say(&format!(
                    "left out: the record `{}` signs {signed}",
                    record.locator()
                ));
                continue;
            }
            let referrer = artifact(
                record,
                &subject.manifest,
                subject.document.media_type(),
                Timestamp::now(),
            );
            carry::attach(&client, &subject.repository, subject.digest(), &referrer, &access)
                .await
                .map_err(|error| {
                    CliError::new("the record was not stored", Exit::CouldNotTell).because(error)
                })?;
            stored.push(format!("{}@{}", subject.repository, referrer.manifest.digest()));
        }
        Ok(stored)
    })?
}
