//! The record that carries a message and its signature, as Oracle's Artifacts API keeps it (SDK 2.189.0,
//! `ContainerImageSignature`), and as `oci artifacts container image-signature` prints it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::base::limits::{CANDIDATES, MESSAGE_BYTES, RECORD_BYTES};
use crate::base::printable::excerpt;
use crate::oci::json::{self, JsonError};

/// A signature record. Nothing in it has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key that made the signature, by the record's own claim.
    pub kms_key_id: String,
    /// The version of that key.
    pub kms_key_version_id: String,
    /// The algorithm that made the signature, by the record's own claim.
    pub signing_algorithm: String,
    /// The message, as base64.
    pub message: String,
    /// The raw signature over the decoded message, as base64.
    pub signature: String,
    /// The id of the record: an OCID, or the URN that `pullgate sign` writes.
    pub id: Option<String>,
    /// The name of the record for people.
    pub display_name: Option<String>,
    /// `AVAILABLE`, `DELETING` or `DELETED`.
    pub lifecycle_state: Option<String>,
    /// The time at which the record was made, as RFC 3339.
    pub time_created: Option<String>,
    /// All other fields, unchanged, under the API's names.
    pub others: Map<String, Value>,
}

/// Bytes that are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not base64 as RFC 4648 section 4 has it: padded, no white space, no bits left over.
    #[error("`{field}` is not base64")]
    Base64 {
        /// The name of the field.
        field: &'static str,
        /// The position and kind of the error.
        #[source]
        source: base64::DecodeError,
    },
    /// Not strict JSON, or not an object.
    #[error("not a JSON object")]
    Json(#[source] JsonError),
    /// The message is longer than OCI Vault signs.
    #[error("the message is longer than {limit} bytes")]
    MessageTooLarge {
        /// The bound.
        limit: usize,
    },
    /// A field that every record has is absent.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// One field is spelled as by the API, another as by the command line: someone put the record together from two.
    #[error("`{api}` is spelled as by the API and `{cli}` as by its command line")]
    Mixed {
        /// The field that is spelled as by the API.
        api: &'static str,
        /// The field that is spelled as by the command line.
        cli: &'static str,
    },
    /// A list holds a value that is not a record.
    #[error("a list of records holds something else")]
    NotAnObject,
    /// A field is not a text.
    #[error("`{0}` is not a text")]
    NotText(&'static str),
    /// The bytes are more than the largest record.
    #[error("longer than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// A list holds more records than are verified for one image.
    #[error("a list of more than {limit} records")]
    TooMany {
        /// The bound.
        limit: usize,
    },
}

impl Record {
    /// Reads one record, with the names of the API (`kmsKeyId`) or of its command line (`kms-key-id`). Unknown fields
    /// are kept: the API may grow, and no field outside of the message decides anything.
    ///
    /// # Errors
    /// As [`RecordError`] says.
    pub fn parse(unverified: &[u8]) -> Result<Self, RecordError> {
        if unverified.len() > RECORD_BYTES {
            return Err(RecordError::TooLarge { limit: RECORD_BYTES });
        }
        Self::from_object(json::parse(unverified).map_err(RecordError::Json)?)
    }

    /// Reads a list of records: an answer of the API (`items`), output of its command line (`data`, and `items` in it),
    /// an array of records, or one record alone.
    ///
    /// # Errors
    /// As [`RecordError`] says; one record that is refused refuses the list.
    pub fn parse_listing(unverified: &[u8]) -> Result<Vec<Self>, RecordError> {
        if unverified.len() > LISTING_BYTES {
            return Err(RecordError::TooLarge { limit: LISTING_BYTES });
        }
        let mut listing: Value = json::parse(unverified).map_err(RecordError::Json)?;
        for wrapper in ["data", "items"] {
            if let Some(inner) = listing.get_mut(wrapper) {
                listing = inner.take();
            }
        }
        let records = match listing {
            Value::Array(records) => records,
            one @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
                vec![one]
            }
        };
        if records.len() > CANDIDATES {
            return Err(RecordError::TooMany { limit: CANDIDATES });
        }
        records
            .into_iter()
            .map(|record| match record {
                Value::Object(object) => Self::from_object(object),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    Err(RecordError::NotAnObject)
                }
            })
            .collect()
    }

    /// Reads one record from a JSON object.
    ///
    /// # Errors
    /// As [`RecordError`] says.
    pub fn from_object(mut object: Map<String, Value>) -> Result<Self, RecordError> {
        one_spelling(&mut object)?;
        let mut text = |field| match object.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(RecordError::NotText(field))
            }
        };
        let mut required = |field| text(field)?.ok_or(RecordError::Missing(field));
        Ok(Self {
            kms_key_id: required("kmsKeyId")?,
            kms_key_version_id: required("kmsKeyVersionId")?,
            signing_algorithm: required("signingAlgorithm")?,
            message: required("message")?,
            signature: required("signature")?,
            id: text("id")?,
            display_name: text("displayName")?,
            lifecycle_state: text("lifecycleState")?,
            time_created: text("timeCreated")?,
            others: object,
        })
    }

    /// Writes the record with the names of the API, on one line, its fields in alphabetical order. One record has one
    /// spelling, so an artifact that is made from it twice has one digest.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut object = self.others.clone();
        let texts = [
            ("displayName", self.display_name.as_ref()),
            ("id", self.id.as_ref()),
            ("kmsKeyId", Some(&self.kms_key_id)),
            ("kmsKeyVersionId", Some(&self.kms_key_version_id)),
            ("lifecycleState", self.lifecycle_state.as_ref()),
            ("message", Some(&self.message)),
            ("signature", Some(&self.signature)),
            ("signingAlgorithm", Some(&self.signing_algorithm)),
            ("timeCreated", self.time_created.as_ref()),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                object.insert(field.to_owned(), Value::String(text.clone()));
            }
        }
        Value::Object(object).to_string().into_bytes()
    }

    /// Returns the text by which people find the record again: its id, or the key that it names.
    #[must_use]
    pub fn locator(&self) -> String {
        excerpt(self.id.as_deref().unwrap_or(&self.kms_key_id))
    }

    /// Decodes the bytes that were signed.
    ///
    /// # Errors
    /// [`RecordError::Base64`] and [`RecordError::MessageTooLarge`].
    pub fn message_bytes(&self) -> Result<Vec<u8>, RecordError> {
        let bytes = decode("message", &self.message)?;
        if bytes.len() > MESSAGE_BYTES {
            return Err(RecordError::MessageTooLarge { limit: MESSAGE_BYTES });
        }
        Ok(bytes)
    }

    /// Decodes the raw signature. The key decides how long it must be.
    ///
    /// # Errors
    /// [`RecordError::Base64`].
    pub fn signature_bytes(&self) -> Result<Vec<u8>, RecordError> {
        decode("signature", &self.signature)
    }
}

/// Renames the command line's fields to the API's. With both in one object, the choice between them would be arbitrary.
fn one_spelling(object: &mut Map<String, Value>) -> Result<(), RecordError> {
    // Where the names differ, the command line's have a hyphen.
    if !object.keys().any(|key| key.contains('-')) {
        return Ok(());
    }
    let api = FIELDS.iter().find(|(api, _)| object.contains_key(*api));
    let cli = FIELDS.iter().find(|(_, cli)| object.contains_key(*cli));
    if let (Some((api, _)), Some((_, cli))) = (api, cli) {
        return Err(RecordError::Mixed { api, cli });
    }
    for (api, cli) in FIELDS {
        if let Some(value) = object.remove(cli) {
            object.insert(api.to_owned(), value);
        }
    }
    Ok(())
}

/// Accepts one encoding of each value: no white space, no other alphabet, all padding, no unused bits. Otherwise one
/// record could be spelled in many ways and pass for as many records.
fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, RecordError> {
    STANDARD
        .decode(text)
        .map_err(|source| RecordError::Base64 { field, source })
}

/// Largest list that is read: as many records as are verified for one image, each of the largest size.
const LISTING_BYTES: usize = CANDIDATES * RECORD_BYTES;

/// The fields whose names the API and its command line spell differently.
const FIELDS: [(&str, &str); 12] = [
    ("compartmentId", "compartment-id"),
    ("createdBy", "created-by"),
    ("definedTags", "defined-tags"),
    ("displayName", "display-name"),
    ("freeformTags", "freeform-tags"),
    ("imageId", "image-id"),
    ("kmsKeyId", "kms-key-id"),
    ("kmsKeyVersionId", "kms-key-version-id"),
    ("lifecycleState", "lifecycle-state"),
    ("signingAlgorithm", "signing-algorithm"),
    ("systemTags", "system-tags"),
    ("timeCreated", "time-created"),
];

#[cfg(test)]
mod tests;
