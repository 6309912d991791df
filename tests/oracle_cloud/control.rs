//! Controls the cloud over HTTP, for other programs than tests in the same process. Requests and responses are JSON.
//!
//! - `POST /control/faults` `{"operation": "Sign", "fault": {"kind": "status", "status": 500}, "times": 2}`: without
//!   `operation` for every operation, without `times` for all requests. `DELETE` of it removes all faults.
//! - `POST /control/clock` `{"now": "2026-01-01T00:00:00Z"}` or `{"advance": 3600}` (seconds)
//! - `POST /control/token-life` `{"seconds": 90}`
//! - `POST /control/images` `{"repository": "…", "digest": "sha256:…", "version": "…"}`: a push
//! - `POST /control/signatures` a record, stored unchecked; `GET` lists all; `DELETE /control/signatures/{id}` removes one
//! - `POST /control/keys` `{"id": "…", "state": "DISABLED"}`: of a key or a version
//! - `GET /control/requests`, `DELETE` of it

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::faults::Fault;
use super::http::{Answer, Request};
use super::refusal::Refusal;
use super::route::Operation;
use super::shared::Shared;
use super::world::{Image, Lifecycle};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    operation: Option<Operation>,
    fault: Fault,
    times: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum Time {
    Advance(u64),
    Now(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Life {
    seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyState {
    id: String,
    state: Lifecycle,
}

pub fn answer(shared: &Shared, request: &Request) -> Result<Answer, Refusal> {
    let path = request.path().strip_prefix("/control/").unwrap_or_default();
    let done = json!({});
    let value = match (request.method.as_str(), path) {
        ("POST", "faults") => {
            let rule: Rule = read(request)?;
            shared.faults.add(rule.operation, rule.fault, rule.times);
            done
        }
        ("DELETE", "faults") => {
            shared.faults.clear();
            done
        }
        ("POST", "clock") => {
            match read(request)? {
                Time::Advance(seconds) => shared.clock.advance(Duration::from_secs(seconds)),
                Time::Now(now) => {
                    let now: Result<Timestamp, _> = now.parse();
                    let now = now.map_err(|_jiff| Refusal::invalid("now is not an RFC 3339 instant"))?;
                    shared.clock.set(now);
                }
            }
            json!({ "now": super::clock::instant(shared.clock.now()) })
        }
        ("POST", "token-life") => {
            let Life { seconds } = read(request)?;
            shared.federation().set_token_life(Duration::from_secs(seconds));
            done
        }
        ("POST", "images") => {
            let image: Image = read(request)?;
            let mut store = shared.store();
            let now = shared.clock.now();
            let image = store.put_image(image, now);
            image.to_json(&store.world, now)
        }
        ("POST", "signatures") => {
            let record: Value = read(request)?;
            json!({ "id": shared.store().put_signature(record, shared.clock.now()) })
        }
        ("GET", "signatures") => {
            let store = shared.store();
            store
                .signatures
                .iter()
                .map(|signature| signature.record.clone())
                .collect()
        }
        ("POST", "keys") => {
            let KeyState { id, state } = read(request)?;
            if !shared.set_key_state(&id, state) {
                return Err(Refusal::not_found());
            }
            done
        }
        ("GET", "requests") => shared
            .requests()
            .iter()
            .map(super::shared::Seen::to_json)
            .collect(),
        ("DELETE", "requests") => {
            shared.forget_requests();
            done
        }
        ("DELETE", path) => {
            let id = path.strip_prefix("signatures/").ok_or_else(Refusal::not_found)?;
            shared.store().remove_signature(id);
            done
        }
        (_, _) => return Err(Refusal::not_found()),
    };
    Ok(Answer::json(200, &value))
}

fn read<'a, T: Deserialize<'a>>(request: &'a Request) -> Result<T, Refusal> {
    serde_json::from_slice(&request.body).map_err(|error| Refusal::invalid(&error.to_string()))
}
