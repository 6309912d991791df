//! `pullgate signature list` and `show`.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::carried::Shape;
use super::write_json;
use crate::tool::cli::Context;
use crate::tool::cli::oracle_args::refused;
use crate::tool::cli::output::{CliError, Exit, columns};
use crate::tool::cli::signature::source_args::{Of, in_oracle, record_id};

/// Arguments of `pullgate signature show`.
#[derive(Args, Debug)]
pub(in crate::tool::cli) struct SignatureShowArgs {
    #[command(flatten)]
    of: Of,

    /// This record alone, as `signature list` names it; without IMAGE the OCID of one in Oracle's API
    #[arg(long, value_name = "ID", alias = "image-signature-id")]
    id: Option<String>,
}

pub(super) fn list(of: &Of, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
    let found = of.collect(context)?;
    if context.json {
        let all: Vec<Value> = found.held.iter().map(|held| Shape::of(held).json(held)).collect();
        write_json(
            out,
            &json!({ "image": of.label(&found.digest), "digest": found.digest, "signatures": all }),
        )?;
    } else {
        let rows: Vec<Vec<String>> = found.held.iter().map(|held| Shape::of(held).row(held)).collect();
        columns(
            out,
            context.paint,
            &["ID", "SOURCE", "KEY", "ALGORITHM", "CREATED"],
            &rows,
        )?;
    }
    found.tell(context)
}

impl SignatureShowArgs {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        if let (Some(id), None) = (&self.id, &self.of.image) {
            let id = record_id(id)?;
            let opened = self.of.api.cloud.open()?;
            let artifacts = opened.artifacts()?;
            let found = context
                .block_on(opened.client.get_signature(&artifacts, &id, opened.deadline))?
                .map_err(|error| refused(format!("the record `{id}` can't be shown"), error))?;
            let held = in_oracle(&found);
            write_json(out, &Value::Array(vec![Shape::of(&held).whole(&held)]))?;
            return Ok(Exit::Yes);
        }
        let found = self.of.collect(context)?;
        let shown = match &self.id {
            Some(id) => found.named(std::slice::from_ref(id))?,
            None => found.held.iter().collect(),
        };
        let all: Vec<Value> = shown
            .into_iter()
            .map(|held| Shape::of(held).whole(held))
            .collect();
        // A record is JSON and people read it as such; there is no second form of it.
        write_json(out, &Value::Array(all))?;
        found.tell(context)
    }
}
