//! The content that changes while the cloud runs.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::clock::instant;
use super::world::{self, Image, World};

pub struct Store {
    /// The content without images and signatures, which the fields below hold.
    pub world: World,
    /// The images and the time of their push, oldest first.
    pub images: Vec<(Image, Timestamp)>,
    /// Oldest first.
    pub signatures: Vec<Signature>,
    /// The results of earlier requests, by caller and retry token.
    replays: HashMap<String, Replay>,
}

/// A record and its entity tag.
pub struct Signature {
    pub record: Value,
    pub etag: String,
}

/// The request of a retry token, and its result.
#[derive(Clone)]
pub struct Replay {
    pub body_hash: String,
    pub id: String,
}

impl Store {
    pub fn new(world: World, now: Timestamp) -> Self {
        let mut world = world.complete();
        world::make_key_pairs(&mut world.keys);
        let images = std::mem::take(&mut world.images);
        let signatures = std::mem::take(&mut world.signatures);
        let mut store = Self {
            world,
            images: images.into_iter().map(|image| (image, now)).collect(),
            signatures: Vec::new(),
            replays: HashMap::new(),
        };
        for record in signatures {
            store.put_signature(record, now);
        }
        store
    }

    pub fn image(&self, id: &str) -> Option<&Image> {
        let found = self.images.iter().find(|(image, _)| image.id == id);
        found.map(|(image, _)| image)
    }

    /// Adds a push. Each creates an image with its own OCID, even for the same digest.
    pub fn put_image(&mut self, mut image: Image, now: Timestamp) -> Image {
        if image.id.is_empty() {
            image.id = self.world.registry_id("containerimage");
        }
        self.images.push((image.clone(), now));
        image
    }

    pub fn signature(&self, id: &str) -> Option<&Signature> {
        self.signatures
            .iter()
            .find(|signature| signature.record["id"] == id)
    }

    pub fn signature_mut(&mut self, id: &str) -> Option<&mut Signature> {
        let mut all = self.signatures.iter_mut();
        all.find(|signature| signature.record["id"] == id)
    }

    pub fn remove_signature(&mut self, id: &str) {
        self.signatures.retain(|signature| signature.record["id"] != id);
    }

    /// Stores a record, and adds the missing fields among those that the service sets itself.
    pub fn put_signature(&mut self, mut record: Value, now: Timestamp) -> String {
        let given = |record: &Value, field: &str| record[field].as_str().unwrap_or_default().to_owned();
        let id = match given(&record, "id") {
            none if none.is_empty() => self.world.registry_id("containerimagesignature"),
            id => id,
        };
        let name = format!(
            "{}::{}::{}::{}",
            last(&given(&record, "kmsKeyId")),
            last(&given(&record, "kmsKeyVersionId")),
            given(&record, "signingAlgorithm"),
            last(&id)
        );
        let by = self
            .world
            .users
            .first()
            .map_or(&self.world.tenancy.id, |user| &user.id);
        let made = [
            ("compartmentId", json!(self.world.compartment())),
            ("createdBy", json!(by)),
            ("definedTags", json!({})),
            ("displayName", json!(name)),
            ("freeformTags", json!({})),
            ("id", json!(id)),
            ("lifecycleState", json!("AVAILABLE")),
            ("systemTags", json!({})),
            ("timeCreated", json!(instant(now))),
        ];
        for (field, value) in made {
            if record[field].is_null() {
                record[field] = value;
            }
        }
        self.signatures.push(Signature { record, etag: etag() });
        id
    }

    pub fn replay(&self, token: &str) -> Option<Replay> {
        self.replays.get(token).cloned()
    }

    pub fn remember(&mut self, token: String, replay: Replay) {
        self.replays.insert(token, replay);
    }
}

pub fn etag() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Returns the last ten characters, from which the service makes display names.
fn last(text: &str) -> &str {
    text.get(text.len().saturating_sub(10)..).unwrap_or(text)
}
