//! Records as people see them, and the files they come in.

use std::path::Path;

use serde_json::{Value, json};

use crate::base::{files, limits};
use crate::oci::Digest;
use crate::signature::Candidate;
use crate::signature::oracle::{OracleMessage, Record};
use crate::tool::cli::{CliError, Exit};
use crate::tool::signature_store::IMPORT_BYTES;

/// What is said of a record that nobody has verified.
pub(super) struct Shape {
    /// How `--id` names it: where it is.
    pub(super) id: String,
    record: Option<Record>,
}

impl Shape {
    pub(super) fn of(held: &Candidate) -> Self {
        Self {
            id: held.locator.to_string(),
            // One that can't be read is listed all the same, so that it can be deleted.
            record: Record::parse(&held.unverified).ok(),
        }
    }

    pub(super) fn row(&self, held: &Candidate) -> Vec<String> {
        let text = |of: fn(&Record) -> Option<&str>| {
            let text = self.record.as_ref().and_then(of);
            text.map_or_else(|| "-".to_owned(), crate::base::printable::excerpt)
        };
        vec![
            self.id.clone(),
            held.source.as_str().to_owned(),
            text(|record| Some(&record.kms_key_id)),
            text(|record| Some(&record.signing_algorithm)),
            text(|record| record.time_created.as_deref()),
        ]
    }

    pub(super) fn json(&self, held: &Candidate) -> Value {
        let record = self.record.as_ref();
        json!({
            "id": self.id,
            "source": held.source.as_str(),
            "format": held.format.name().as_str(),
            "kmsKeyId": record.map(|record| &record.kms_key_id),
            "kmsKeyVersionId": record.map(|record| &record.kms_key_version_id),
            "signingAlgorithm": record.map(|record| &record.signing_algorithm),
            "timeCreated": record.and_then(|record| record.time_created.as_ref()),
        })
    }

    /// With the record as it is kept, and its message in the clear.
    pub(super) fn whole(&self, held: &Candidate) -> Value {
        let mut shown = self.json(held);
        let message = self
            .record
            .as_ref()
            .and_then(|record| record.message_bytes().ok());
        let message: Option<Value> = message.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let record = self
            .record
            .as_ref()
            .and_then(|record| serde_json::from_slice::<Value>(&record.to_json()).ok());
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("unverifiedMessage".to_owned(), message.unwrap_or(Value::Null));
            shown.insert("record".to_owned(), record.unwrap_or(Value::Null));
        }
        shown
    }
}

/// The records of a file, or of the `*.json` files below a directory.
pub(super) fn parse_records(path: &Path) -> Result<Vec<Record>, CliError> {
    let mut records = Vec::new();
    for file in files(path, 0)? {
        let unusable = || CliError::new(format!("`{}` can't be imported", file.display()), Exit::Usage);
        let bytes = files::read_argument(&file, IMPORT_BYTES).map_err(|error| unusable().because(error))?;
        records.extend(Record::parse_listing(&bytes).map_err(|error| unusable().because(error))?);
    }
    if records.is_empty() {
        return Err(CliError::new(
            format!("`{}` holds no record", path.display()),
            Exit::No,
        ));
    }
    Ok(records)
}

/// `export` writes two folders deep; a link that leads back up must not be walked for ever.
fn files(path: &Path, depth: usize) -> Result<Vec<std::path::PathBuf>, CliError> {
    let unreadable =
        |error| CliError::new(format!("`{}` can't be read", path.display()), Exit::Usage).because(error);
    let kind = std::fs::metadata(path).map_err(unreadable)?;
    if !kind.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    if depth < limits::JSON_DEPTH {
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?.path();
            if entry.is_dir() || entry.extension().is_some_and(|extension| extension == "json") {
                found.extend(files(&entry, depth + 1)?);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The digest that the record's message names. It is where the record is put, not a proof of anything.
pub(super) fn digest_of(record: &Record) -> Result<Digest, CliError> {
    let unusable = || {
        CliError::new(
            format!("the record `{}` can't be placed", record.locator()),
            Exit::Usage,
        )
    };
    let bytes = record
        .message_bytes()
        .map_err(|error| unusable().because(error))?;
    let message = OracleMessage::parse(&bytes).map_err(|error| unusable().because(error))?;
    Ok(message.image_digest)
}
