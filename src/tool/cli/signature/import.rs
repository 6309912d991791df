//! `pullgate signature import`: stores records from files.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::records::{self, parse_records};
use super::write_json;
use crate::net::registry::Access;
use crate::oci::Reference;
use crate::pull::resolve::resolve;
use crate::signature::oracle::Record;
use crate::tool::cli::output::{CliError, Exit};
use crate::tool::cli::registry_args::RegistryArgs;
use crate::tool::cli::sign::TIMEOUT;
use crate::tool::cli::{Context, reference};
use crate::tool::sign::artifact;
use crate::tool::signature_store;

/// Arguments of `pullgate signature import`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                  pullgate signature import signatures\n  \
                  pullgate signature import signatures --to mirror.example/acme/app:v1")]
pub(in crate::tool::cli) struct SignatureImportArgs {
    /// Files of records, or directories that `signature export` wrote. A file holds one record, or a list as printed by
    /// `oci artifacts container image-signature list`
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// Attach the records to this image in its registry, instead of storing them on this host
    #[arg(long, value_name = "IMAGE", value_parser = reference)]
    to: Option<Reference>,

    /// Store the records below this directory, instead of the daemon's
    #[arg(long, value_name = "DIR", conflicts_with = "to")]
    directory: Option<PathBuf>,

    #[command(flatten)]
    registry: RegistryArgs,
}

impl SignatureImportArgs {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let mut records = Vec::new();
        for path in &self.paths {
            records.extend(parse_records(path)?);
        }
        let stored = match &self.to {
            Some(image) => attach_all(context, &self.registry, image, &records)?,
            None => self.store_all(context, &records)?,
        };
        if context.json {
            write_json(out, &json!({ "stored": stored }))?;
        } else {
            for location in &stored {
                writeln!(out, "stored  {location}")?;
            }
        }
        Ok(if stored.is_empty() { Exit::No } else { Exit::Yes })
    }

    /// Stores each record under the digest that its message names. Under another digest the gate would refuse it.
    fn store_all(&self, context: &Context, records: &[Record]) -> Result<Vec<String>, CliError> {
        let directory = match &self.directory {
            Some(directory) => directory.clone(),
            None => context.config()?.daemon.state.join("signatures"),
        };
        let store = |record: &Record| {
            let digest = records::digest_of(record)?;
            let path = signature_store::store(&directory, &digest, &record.to_json()).map_err(|error| {
                CliError::new("could not store the record", Exit::CouldNotTell).because(error)
            })?;
            Ok(path.display().to_string())
        };
        records.iter().map(store).collect()
    }
}

/// Attaches the records that sign the image to it in its registry, and returns their references.
pub(super) fn attach_all(
    context: &Context,
    registry: &RegistryArgs,
    image: &Reference,
    records: &[Record],
) -> Result<Vec<String>, CliError> {
    let client = registry.client(context, image)?.client;
    let access = Access {
        presented: None,
        deadline: Instant::now() + TIMEOUT,
    };
    context.block_on(async {
        let subject = resolve(&client, image, &access).await.map_err(|error| {
            CliError::new(format!("could not read the image `{image}`"), Exit::CouldNotTell).because(error)
        })?;
        let mut stored = Vec::new();
        for record in records {
            let signed = records::digest_of(record)?;
            if signed != *subject.digest() {
                context.say(&format!(
                    "skipped: the record `{}` signs {signed}",
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
            signature_store::attach(&client, &subject.repository, subject.digest(), &referrer, &access)
                .await
                .map_err(|error| {
                    CliError::new("could not store the record", Exit::CouldNotTell).because(error)
                })?;
            stored.push(format!("{}@{}", subject.repository, referrer.manifest.digest()));
        }
        Ok(stored)
    })?
}
