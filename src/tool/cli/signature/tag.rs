//! `pullgate signature tag`: the tags of a record in Oracle's API.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::write_json;
use crate::net::oracle::Ocid;
use crate::net::oracle::wire::{ImageSignature, UpdateTags};
use crate::tool::cli::Context;
use crate::tool::cli::oracle_args::{OracleArgs, api_error, signature_id};
use crate::tool::cli::output::{CliError, Exit};

/// Arguments of `pullgate signature tag`. As with Oracle's `update`, the given tags replace all tags of their kind, and
/// tags of the other kind stay.
#[derive(Args, Debug)]
pub(in crate::tool::cli) struct SignatureTagArgs {
    /// OCID of the record, as `signature list` shows it
    #[arg(long, value_name = "OCID", alias = "image-signature-id", value_parser = signature_id)]
    id: Ocid,

    /// Replace all free-form tags with these, for example `{"build":"812"}`; `{}` removes all
    #[arg(long, value_name = "JSON", required_unless_present = "defined_tags", value_parser = freeform)]
    freeform_tags: Option<BTreeMap<String, String>>,

    /// Replace all defined tags with these, for example `{"Operations":{"CostCenter":"42"}}`; `{}` removes all
    #[arg(long, value_name = "JSON", value_parser = defined)]
    defined_tags: Option<BTreeMap<String, BTreeMap<String, Value>>>,

    #[command(flatten)]
    oracle: OracleArgs,
}

fn freeform(text: &str) -> Result<BTreeMap<String, String>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object of strings: {error}"))
}

fn defined(text: &str) -> Result<BTreeMap<String, BTreeMap<String, Value>>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object of namespaces with tags: {error}"))
}

impl SignatureTagArgs {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let session = self.oracle.session()?;
        let artifacts = session.artifacts()?;
        let update = UpdateTags {
            freeform: self.freeform_tags.clone(),
            defined: self.defined_tags.clone(),
        };
        let failed = |error| api_error(format!("could not tag the record `{}`", self.id), error);
        let (before, after) = context
            .block_on(async {
                let client = &session.client;
                let before = client
                    .get_signature(&artifacts, &self.id, session.deadline)
                    .await?;
                let after = client.update_signature(&artifacts, &self.id, &update, session.deadline);
                Ok((before, after.await?))
            })?
            .map_err(failed)?;
        if context.json {
            let answer = json!({
                "id": self.id.as_str(),
                "freeformTags": tags(&after, FREEFORM),
                "definedTags": tags(&after, DEFINED),
                "replaced": { "freeformTags": tags(&before, FREEFORM), "definedTags": tags(&before, DEFINED) },
            });
            write_json(out, &answer)?;
            return Ok(Exit::Yes);
        }
        writeln!(out, "tagged     {}", self.id)?;
        for (word, field) in [("free-form", FREEFORM), ("defined", DEFINED)] {
            let (before, after) = (tags(&before, field), tags(&after, field));
            if before == after {
                writeln!(out, "{word:9}  {after}")?;
            } else {
                writeln!(out, "{word:9}  {after} instead of {before}")?;
            }
        }
        Ok(Exit::Yes)
    }
}

const FREEFORM: &str = "freeformTags";
const DEFINED: &str = "definedTags";

/// Returns the tags of one kind as the service has them.
fn tags(signature: &ImageSignature, field: &str) -> Value {
    let tags = signature.record.others.get(field);
    tags.cloned().unwrap_or_else(|| json!({}))
}
