//! Image signatures (SDK 2.189.0, `artifacts/models/container_image_signature.py`, its `_summary` and `_collection`,
//! and `create_container_image_signature_details.py`). The record in them is the project's own [`Record`], so
//! that records are parsed in one place, whatever their source.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{LifecycleState, WireError, ocid, ocid_of_any_kind, read};
use crate::base::limits::{CANDIDATES, ORACLE_PAGE_BYTES, RECORD_BYTES};
use crate::net::oracle::Ocid;
use crate::signature::oracle::{Record, RecordError};

/// A signature record with the resources that the service stores it under. The record is not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSignature {
    /// The record's OCID.
    pub id: Ocid,
    /// The compartment.
    pub compartment_id: Ocid,
    /// The image that the service stores it under. Only the signed message says for which image it was made.
    pub image_id: Ocid,
    /// Whether the record exists.
    pub lifecycle_state: LifecycleState,
    /// The record.
    pub record: Record,
}

impl ImageSignature {
    /// Parses one record: the response to [`crate::net::oracle::Operation::get_signature`] and
    /// [`crate::net::oracle::Operation::create_signature`].
    ///
    /// # Errors
    /// As [`WireError`] says.
    pub fn parse(unverified: &[u8]) -> Result<Self, WireError> {
        read::<Map<String, Value>>(unverified, RECORD_BYTES)?.try_into()
    }
}

impl TryFrom<Map<String, Value>> for ImageSignature {
    type Error = WireError;

    fn try_from(object: Map<String, Value>) -> Result<Self, WireError> {
        let record = Record::from_object(object)?;
        let other = |field| match record.others.get(field) {
            None => Err(RecordError::Missing(field)),
            Some(value) => value.as_str().ok_or(RecordError::NotText(field)),
        };
        let id = record.id.as_deref().ok_or(RecordError::Missing("id"))?;
        let state = record
            .lifecycle_state
            .as_deref()
            .ok_or(RecordError::Missing("lifecycleState"))?;
        Ok(Self {
            id: ocid("id", "containerimagesignature", id)?,
            compartment_id: ocid_of_any_kind("compartmentId", other("compartmentId")?)?,
            image_id: ocid("imageId", "containerimage", other("imageId")?)?,
            lifecycle_state: LifecycleState::from_text(state),
            record,
        })
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignaturePage {
    /// Each record, or the reason why it is malformed: a malformed record must not hide the others.
    pub signatures: Vec<Result<ImageSignature, WireError>>,
    /// How many records are on later pages, as the service says.
    pub remaining: Option<u64>,
}

impl SignaturePage {
    /// Parses the response to [`crate::net::oracle::Operation::list_signatures`].
    ///
    /// # Errors
    /// [`WireError::TooLarge`], [`WireError::TooMany`] and [`WireError::Json`].
    pub fn parse(unverified: &[u8]) -> Result<Self, WireError> {
        let page: PageWire = read(unverified, ORACLE_PAGE_BYTES)?;
        if page.items.len() > CANDIDATES {
            return Err(WireError::TooMany { limit: CANDIDATES });
        }
        Ok(Self {
            signatures: page.items.into_iter().map(signature).collect(),
            remaining: page.remaining_items_count,
        })
    }
}

fn signature(item: Value) -> Result<ImageSignature, WireError> {
    match item {
        Value::Object(object) => object.try_into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(RecordError::NotAnObject.into())
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageWire {
    items: Vec<Value>,
    remaining_items_count: Option<u64>,
}

/// A record to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSignature {
    compartment_id: Ocid,
    image_id: Ocid,
    record: Record,
}

impl CreateSignature {
    /// A record of a vault's key, for an image.
    ///
    /// # Errors
    /// [`WireError::Ocid`] when `image_id` is not an image's OCID, or the record not one of a vault's key: the service
    /// stores no others.
    pub fn new(compartment_id: &Ocid, image_id: &Ocid, record: Record) -> Result<Self, WireError> {
        ocid("kmsKeyId", "key", &record.kms_key_id)?;
        ocid("kmsKeyVersionId", "keyversion", &record.kms_key_version_id)?;
        Ok(Self {
            compartment_id: compartment_id.clone(),
            image_id: ocid("imageId", "containerimage", image_id.as_str())?,
            record,
        })
    }

    pub(in crate::net::oracle) fn to_json(&self) -> Vec<u8> {
        json!({
            "compartmentId": self.compartment_id.as_str(),
            "imageId": self.image_id.as_str(),
            "kmsKeyId": self.record.kms_key_id,
            "kmsKeyVersionId": self.record.kms_key_version_id,
            "message": self.record.message,
            "signature": self.record.signature,
            "signingAlgorithm": self.record.signing_algorithm,
        })
        .to_string()
        .into_bytes()
    }
}

/// New tags of a record, which replace its current ones. Tags of a kind that is `None` stay unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateTags {
    /// Free-form tags: names and values.
    pub freeform: Option<BTreeMap<String, String>>,
    /// Defined tags: names and values by namespace of the tenancy.
    pub defined: Option<BTreeMap<String, BTreeMap<String, Value>>>,
}

impl UpdateTags {
    pub(in crate::net::oracle) fn to_json(&self) -> Vec<u8> {
        let mut update = Map::new();
        if let Some(tags) = &self.freeform {
            update.insert("freeformTags".to_owned(), json!(tags));
        }
        if let Some(tags) = &self.defined {
            update.insert("definedTags".to_owned(), json!(tags));
        }
        Value::Object(update).to_string().into_bytes()
    }
}
