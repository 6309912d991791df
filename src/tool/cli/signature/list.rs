//! `pullgate signature list` and `pullgate signature show`.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::records::RecordSummary;
use super::write_json;
use crate::tool::cli::Context;
use crate::tool::cli::oracle_args::api_error;
use crate::tool::cli::output::{CliError, Exit, columns};
use crate::tool::cli::signature::source_args::{RecordSelection, in_oracle, record_id};

/// Arguments of `pullgate signature show`.
#[derive(Args, Debug)]
pub(in crate::tool::cli) struct SignatureShowArgs {
    #[command(flatten)]
    selection: RecordSelection,

    /// Show only this record, as `signature list` shows it; without IMAGE, the OCID of a record in Oracle's API
    #[arg(long, value_name = "ID", alias = "image-signature-id")]
    id: Option<String>,
}

pub(super) fn list(
    selection: &RecordSelection,
    context: &Context,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let found = selection.collect(context)?;
    if context.json {
        let all: Vec<Value> = found
            .records
            .iter()
            .map(|record| RecordSummary::new(record).json(record))
            .collect();
        write_json(
            out,
            &json!({ "image": selection.label(&found.digest), "digest": found.digest, "signatures": all }),
        )?;
    } else {
        let rows: Vec<Vec<String>> = found
            .records
            .iter()
            .map(|record| RecordSummary::new(record).row(record))
            .collect();
        columns(
            out,
            context.paint,
            &["ID", "SOURCE", "KEY", "ALGORITHM", "CREATED"],
            &rows,
        )?;
    }
    found.report_failures(context)
}

impl SignatureShowArgs {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        if let (Some(id), None) = (&self.id, &self.selection.image) {
            let id = record_id(id)?;
            let session = self.selection.oracle_api.oracle.session()?;
            let artifacts = session.artifacts()?;
            let found = context
                .block_on(session.client.get_signature(&artifacts, &id, session.deadline))?
                .map_err(|error| api_error(format!("could not read the record `{id}`"), error))?;
            let record = in_oracle(&found);
            write_json(
                out,
                &Value::Array(vec![RecordSummary::new(&record).full_json(&record)]),
            )?;
            return Ok(Exit::Yes);
        }
        let found = self.selection.collect(context)?;
        let shown = match &self.id {
            Some(id) => found.select(std::slice::from_ref(id))?,
            None => found.records.iter().collect(),
        };
        let all: Vec<Value> = shown
            .into_iter()
            .map(|record| RecordSummary::new(record).full_json(record))
            .collect();
        // A record is JSON, so this verb has no other output format.
        write_json(out, &Value::Array(all))?;
        found.report_failures(context)
    }
}
