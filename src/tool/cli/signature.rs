//! `pullgate signature`: the signature records of an image in every source.

mod records;
mod delete;
mod export;
mod import;
mod list;
mod source_args;
mod tag;
mod verify;

use std::io::Write;

use clap::Subcommand;
use serde_json::Value;

use super::Context;
use super::output::{CliError, Exit};

/// Verbs of `pullgate signature`.
#[derive(Debug, Subcommand)]
pub(super) enum SignatureCommand {
    /// Delete records
    Delete(delete::Delete),
    /// Write the records of an image to a directory, or attach them to an image in another registry
    Export(export::Export),
    /// Import records from files into the local directory or a registry
    Import(import::SignatureImportArgs),
    /// List the records of an image
    List(source_args::RecordSelection),
    /// Show the complete records of an image
    Show(list::SignatureShowArgs),
    /// Replace the tags of a record in Oracle's API
    Tag(tag::SignatureTagArgs),
    /// Verify the records of an image with the keys of its rule, or with other keys
    Verify(verify::Verify),
}

impl SignatureCommand {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        match self {
            Self::Delete(verb) => verb.run(context, out),
            Self::Export(verb) => verb.run(context, out),
            Self::Import(verb) => verb.run(context, out),
            Self::List(verb) => list::list(verb, context, out),
            Self::Show(verb) => verb.run(context, out),
            Self::Tag(verb) => verb.run(context, out),
            Self::Verify(verb) => verb.run(context, out),
        }
    }
}

fn write_json(out: &mut dyn Write, value: &Value) -> Result<(), CliError> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}
