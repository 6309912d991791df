//! `pullgate signature tag`: the tags of a record in Oracle's API.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::write_json;
use crate::net::oracle::Ocid;
use crate::net::oracle::wire::{ImageSignature, UpdateTags};
use crate::tool::cli::Context;
use crate::tool::cli::oracle_args::{Cloud, refused, signature_id};
use crate::tool::cli::output::{CliError, Exit};

/// Arguments of `pullgate signature tag`. As with Oracle's `update`, the tags of a kind that is given replace all that the
/// record has of that kind, and the other kind stays.
#[derive(Args, Debug)]
pub(in crate::tool::cli) struct SignatureTagArgs {
    /// The record: its OCID, as `signature list` names it
    #[arg(long, value_name = "OCID", alias = "image-signature-id", value_parser = signature_id)]
    id: Ocid,

    /// Replace all free-form tags by these, for example `{"build":"812"}`; `{}` takes all away
    #[arg(long, value_name = "JSON", required_unless_present = "defined_tags", value_parser = freeform)]
    freeform_tags: Option<BTreeMap<String, String>>,

    /// Replace all defined tags by these, for example `{"Operations":{"CostCenter":"42"}}`; `{}` takes all away
    #[arg(long, value_name = "JSON", value_parser = defined)]
    defined_tags: Option<BTreeMap<String, BTreeMap<String, Value>>>,

    #[command(flatten)]
    cloud: Cloud,
}

fn freeform(text: &str) -> Result<BTreeMap<String, String>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object of texts: {error}"))
}

fn defined(text: &str) -> Result<BTreeMap<String, BTreeMap<String, Value>>, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("not a JSON object of namespaces with tags in them: {error}"))
}

impl SignatureTagArgs {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let opened = self.cloud.open()?;
        let artifacts = opened.artifacts()?;
        let tags = UpdateTags {
            freeform: self.freeform_tags.clone(),
            defined: self.defined_tags.clone(),
        };
        let failed = |error| refused(format!("the record `{}` was not tagged", self.id), error);
        let (before, after) = context
            .block_on(async {
                let client = &opened.client;
                let before = client
                    .get_signature(&artifacts, &self.id, opened.deadline)
                    .await?;
                let after = client.update_signature(&artifacts, &self.id, &tags, opened.deadline);
                Ok((before, after.await?))
            })?
            .map_err(failed)?;
        if context.json {
            let answer = json!({
                "id": self.id.as_str(),
                "freeformTags": of(&after, FREEFORM),
                "definedTags": of(&after, DEFINED),
                "replaced": { "freeformTags": of(&before, FREEFORM), "definedTags": of(&before, DEFINED) },
            });
            write_json(out, &answer)?;
            return Ok(Exit::Yes);
        }
        writeln!(out, "tagged     {}", self.id)?;
        for (word, field) in [("free-form", FREEFORM), ("defined", DEFINED)] {
            let (before, after) = (of(&before, field), of(&after, field));
            if before == after {
                writeln!(out, "{word:9}  {after}")?;
            } else {
                writeln!(out, "{word:9}  {after} in place of {before}")?;
            }
        }
        Ok(Exit::Yes)
    }
}

const FREEFORM: &str = "freeformTags";
const DEFINED: &str = "definedTags";

/// Tags as the service has them.
fn of(signature: &ImageSignature, field: &str) -> Value {
    let tags = signature.record.others.get(field);
    tags.cloned().unwrap_or_else(|| json!({}))
}
