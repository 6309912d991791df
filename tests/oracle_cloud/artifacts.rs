//! The Artifacts API, 20160918: signatures of images, and the images.

use serde_json::{Map, Value, json};

use super::behaviour::Deletion;
use super::faults::Fault;
use super::http::{Answer, Request};
use super::listing::{Query, page};
use super::refusal::Refusal;
use super::shared::Shared;
use super::store::{Replay, Store};
use super::world::repository_id;

pub fn list_signatures(shared: &Shared, request: &Request, fault: Option<&Fault>) -> Result<Answer, Refusal> {
    let query = Query::from_request(request);
    let store = shared.store();
    let unfiltered = fault == Some(&Fault::Unfiltered);
    let within = query.compartments(&store.world)?;
    let matches = |record: &&Value| {
        let text = |field: &str| record[field].as_str().unwrap_or_default();
        let image = store.image(text("imageId"));
        let of_image = |asked: Option<&str>, has: &dyn Fn(&super::world::Image) -> bool| {
            asked.is_none() || image.is_some_and(has)
        };
        within.holds(text("compartmentId"))
            && FILTERS
                .iter()
                .all(|field| query.get(field).is_none_or(|asked| asked == text(field)))
            && of_image(query.get("imageDigest"), &|image| {
                query.get("imageDigest") == Some(&image.digest)
            })
            && of_image(query.get("repositoryName"), &|image| {
                query.matches_repository(&image.repository)
            })
            && of_image(query.get("repositoryId"), &|image| {
                query.get("repositoryId") == Some(&repository_id(&store.world, &image.repository))
            })
    };
    let found = store.signatures.iter().map(|signature| &signature.record);
    let found: Vec<Value> = found
        .filter(|record| unfiltered || matches(record))
        .map(|record| {
            let mut summary = record.clone();
            if let Some(object) = summary.as_object_mut() {
                object.remove("createdBy");
            }
            summary
        })
        .collect();
    page(found, &query, shared.options.page, fault)
}

pub fn list_images(shared: &Shared, request: &Request, fault: Option<&Fault>) -> Result<Answer, Refusal> {
    let query = Query::from_request(request);
    let store = shared.store();
    let within = query.compartments(&store.world)?;
    let unfiltered = fault == Some(&Fault::Unfiltered);
    let found = store
        .images
        .iter()
        .map(|(image, pushed)| (image, image.to_json(&store.world, *pushed)));
    let found = found.filter(|(image, json)| {
        let is = |name: &str, has: &str| query.get(name).is_none_or(|asked| asked == has);
        unfiltered
            || within.holds(json["compartmentId"].as_str().unwrap_or_default())
                && query.matches_repository(&image.repository)
                && is("imageId", &image.id)
                && is("imageDigest", &image.digest)
                && is("version", image.version.as_deref().unwrap_or_default())
                && is("displayName", json["displayName"].as_str().unwrap_or_default())
                && is("lifecycleState", "AVAILABLE")
    });
    let found = found.map(|(_, json)| json).collect();
    page(found, &query, shared.options.page, fault)
}

pub fn get_signature(shared: &Shared, id: &str) -> Result<Answer, Refusal> {
    let store = shared.store();
    let signature = store.signature(id).ok_or_else(Refusal::not_found)?;
    Ok(Answer::json(200, &signature.record).with("etag", &signature.etag))
}

pub fn get_image(shared: &Shared, id: &str) -> Result<Answer, Refusal> {
    let store = shared.store();
    let found = store.images.iter().find(|(image, _)| image.id == id);
    let (image, pushed) = found.ok_or_else(Refusal::not_found)?;
    Ok(Answer::json(200, &image.to_json(&store.world, *pushed)))
}

/// Finds the newest push of `namespace/repository@sha256:…` or `namespace/repository:tag`.
pub fn look_up(shared: &Shared, request: &Request) -> Result<Answer, Refusal> {
    let body = object(request)?;
    let uri = text(&body, "imageUri")?;
    let store = shared.store();
    let (namespace, rest) = uri
        .split_once('/')
        .ok_or_else(|| Refusal::invalid("imageUri has no namespace"))?;
    let named = rest.split_once('@').or_else(|| rest.rsplit_once(':'));
    let (repository, which) =
        named.ok_or_else(|| Refusal::invalid("imageUri has neither a tag nor a digest"))?;
    let found = store.images.iter().rev().find(|(image, _)| {
        image.repository == repository && (image.digest == which || image.version.as_deref() == Some(which))
    });
    let found = found.filter(|_| namespace == store.world.tenancy.namespace);
    let (image, pushed) = found.ok_or_else(Refusal::not_found)?;
    Ok(Answer::json(200, &image.to_json(&store.world, *pushed)))
}

/// Stores message and signature unchecked: whether the real service checks them is not documented.
pub fn create_signature(shared: &Shared, request: &Request, by: &str) -> Result<Answer, Refusal> {
    let body = object(request)?;
    let mut record = Map::new();
    for field in REQUIRED {
        record.insert(field.to_owned(), text(&body, field)?.into());
    }
    let tags = tags(&body)?;
    if !ALGORITHMS.contains(&text(&body, "signingAlgorithm")?) {
        return Err(Refusal::invalid("signingAlgorithm is not one of an image's"));
    }
    let token = request
        .header("opc-retry-token")
        .map(|token| format!("{by} {token}"));
    let mut store = shared.store();
    match token.as_deref().and_then(|token| store.replay(token)) {
        Some(replay) if replay.body_hash == request.body_hash() => {
            let signature = store.signature(&replay.id).ok_or_else(Refusal::not_found)?;
            return Ok(Answer::json(200, &signature.record).with("etag", &signature.etag));
        }
        Some(_other) => {
            let message = "the retry token was used with another request";
            return Err(Refusal::new(409, "InvalidatedRetryToken", message));
        }
        None => {}
    }
    if !store.world.has_compartment(text(&body, "compartmentId")?)
        || store.image(text(&body, "imageId")?).is_none()
    {
        return Err(Refusal::not_found());
    }
    record.extend(tags);
    record.insert("createdBy".to_owned(), by.into());
    let id = store.put_signature(Value::Object(record), shared.clock.now());
    if let Some(token) = token {
        let body_hash = request.body_hash();
        store.remember(
            token,
            Replay {
                body_hash,
                id: id.clone(),
            },
        );
    }
    let signature = store.signature(&id).ok_or_else(Refusal::internal)?;
    Ok(Answer::json(200, &signature.record).with("etag", &signature.etag))
}

/// Replaces tags, the only mutable part.
pub fn update_signature(shared: &Shared, request: &Request, id: &str) -> Result<Answer, Refusal> {
    let body = object(request)?;
    if let Some(field) = body.keys().find(|field| !TAGS.contains(&field.as_str())) {
        return Err(Refusal::invalid(&format!("{field} cannot be updated")));
    }
    let mut tags = tags(&body)?;
    tags.retain(|field, _| body.contains_key(field));
    let mut store = shared.store();
    let signature = changeable(&mut store, request, id)?;
    if let Some(record) = signature.record.as_object_mut() {
        record.extend(tags);
    }
    signature.etag = super::store::etag();
    Ok(Answer::json(200, &signature.record).with("etag", &signature.etag))
}

pub fn delete_signature(shared: &Shared, request: &Request, id: &str) -> Result<Answer, Refusal> {
    let mut store = shared.store();
    let signature = changeable(&mut store, request, id)?;
    match shared.options.deletion {
        Deletion::Gone => store.remove_signature(id),
        Deletion::Deleted => signature.record["lifecycleState"] = json!("DELETED"),
        Deletion::Deleting => signature.record["lifecycleState"] = json!("DELETING"),
    }
    Ok(Answer::empty(204))
}

fn changeable<'a>(
    store: &'a mut Store,
    request: &Request,
    id: &str,
) -> Result<&'a mut super::store::Signature, Refusal> {
    let signature = store.signature_mut(id).ok_or_else(Refusal::not_found)?;
    match signature.record["lifecycleState"].as_str() {
        Some("DELETED") => return Err(Refusal::not_found()),
        Some("DELETING") => return Err(Refusal::incorrect_state("the signature is being deleted")),
        _ => {}
    }
    match request.header("if-match") {
        Some(etag) if etag != "*" && etag != signature.etag => Err(Refusal::no_etag_match()),
        _ => Ok(signature),
    }
}

fn object(request: &Request) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(&request.body).map_err(|error| Refusal::invalid(&error.to_string()))
}

fn text<'a>(body: &'a Map<String, Value>, field: &str) -> Result<&'a str, Refusal> {
    match body.get(field) {
        None | Some(Value::Null) => Err(Refusal::missing(field)),
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(Refusal::invalid(&format!("{field} is not a text"))),
    }
}

/// Returns both kinds of tags after checking their shape.
fn tags(body: &Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    let mut tags = Map::new();
    for field in TAGS {
        let value = match body.get(field) {
            None | Some(Value::Null) => json!({}),
            Some(value @ Value::Object(_)) => value.clone(),
            Some(_) => return Err(Refusal::invalid(&format!("{field} is not an object"))),
        };
        let flat = |value: &Value| {
            value
                .as_object()
                .is_some_and(|tags| tags.values().all(Value::is_string))
        };
        let fits = match field {
            "freeformTags" => flat(&value),
            _ => value
                .as_object()
                .is_some_and(|spaces| spaces.values().all(Value::is_object)),
        };
        if !fits {
            return Err(Refusal::invalid(&format!("{field} has another shape")));
        }
        tags.insert(field.to_owned(), value);
    }
    Ok(tags)
}

/// The fields that a list can be filtered by.
const FILTERS: [&str; 5] = [
    "displayName",
    "imageId",
    "kmsKeyId",
    "kmsKeyVersionId",
    "signingAlgorithm",
];
const REQUIRED: [&str; 7] = [
    "compartmentId",
    "imageId",
    "kmsKeyId",
    "kmsKeyVersionId",
    "message",
    "signature",
    "signingAlgorithm",
];
const TAGS: [&str; 2] = ["definedTags", "freeformTags"];
const ALGORITHMS: [&str; 4] = [
    "SHA_224_RSA_PKCS_PSS",
    "SHA_256_RSA_PKCS_PSS",
    "SHA_384_RSA_PKCS_PSS",
    "SHA_512_RSA_PKCS_PSS",
];
