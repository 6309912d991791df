//! Summaries of unverified records, and the files that hold records.

use std::path::Path;

use serde_json::{Value, json};

use crate::base::{files, limits};
use crate::oci::Digest;
use crate::signature::Candidate;
use crate::signature::oracle::{OracleMessage, Record};
use crate::tool::cli::{CliError, Exit};
use crate::tool::signature_store::IMPORT_BYTES;

/// Summary of a record that has not been verified.
pub(super) struct RecordSummary {
    /// Locator of the record, which `--id` takes.
    pub(super) id: String,
    record: Option<Record>,
}

impl RecordSummary {
    pub(super) fn new(found: &Candidate) -> Self {
        Self {
            id: found.locator.to_string(),
            // An unreadable record is listed too, so that it can be deleted.
            record: Record::parse(&found.unverified).ok(),
        }
    }

    pub(super) fn row(&self, found: &Candidate) -> Vec<String> {
        let text = |field: fn(&Record) -> Option<&str>| {
            let text = self.record.as_ref().and_then(field);
            text.map_or_else(|| "-".to_owned(), crate::base::printable::excerpt)
        };
        vec![
            self.id.clone(),
            found.source.as_str().to_owned(),
            text(|record| Some(&record.kms_key_id)),
            text(|record| Some(&record.signing_algorithm)),
            text(|record| record.time_created.as_deref()),
        ]
    }

    pub(super) fn json(&self, found: &Candidate) -> Value {
        let record = self.record.as_ref();
        json!({
            "id": self.id,
            "source": found.source.as_str(),
            "format": found.format.name().as_str(),
            "kmsKeyId": record.map(|record| &record.kms_key_id),
            "kmsKeyVersionId": record.map(|record| &record.kms_key_version_id),
            "signingAlgorithm": record.map(|record| &record.signing_algorithm),
            "timeCreated": record.and_then(|record| record.time_created.as_ref()),
        })
    }

    /// Returns the summary with the stored record and its decoded message.
    pub(super) fn full_json(&self, found: &Candidate) -> Value {
        let mut shown = self.json(found);
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

/// Reads the records of a file, or of all `*.json` files below a directory.
pub(super) fn parse_records(path: &Path) -> Result<Vec<Record>, CliError> {
    let mut records = Vec::new();
    for file in files(path, 0)? {
        let unusable = || CliError::new(format!("could not import `{}`", file.display()), Exit::Usage);
        let bytes = files::read_argument(&file, IMPORT_BYTES).map_err(|error| unusable().because(error))?;
        records.extend(Record::parse_listing(&bytes).map_err(|error| unusable().because(error))?);
    }
    if records.is_empty() {
        return Err(CliError::new(
            format!("`{}` contains no signature record", path.display()),
            Exit::No,
        ));
    }
    Ok(records)
}

/// Lists the files to read. `export` writes two levels of directories; the depth is bounded because a link may lead back
/// up.
fn files(path: &Path, depth: usize) -> Result<Vec<std::path::PathBuf>, CliError> {
    let unreadable =
        |error| CliError::new(format!("could not read `{}`", path.display()), Exit::Usage).because(error);
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

/// Returns the digest that the record's message names. The digest decides where the record is stored, and proves nothing.
pub(super) fn digest_of(record: &Record) -> Result<Digest, CliError> {
    let unusable = || {
        CliError::new(
            format!(
                "could not find the image that the record `{}` signs",
                record.locator()
            ),
            Exit::Usage,
        )
    };
    let bytes = record
        .message_bytes()
        .map_err(|error| unusable().because(error))?;
    let message = OracleMessage::parse(&bytes).map_err(|error| unusable().because(error))?;
    Ok(message.image_digest)
}
