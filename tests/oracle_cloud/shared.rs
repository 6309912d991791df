//! The state that all connections share, and the log of their requests.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock};

use serde_json::{Value, json};

use super::authorization::Flaw;
use super::behaviour::Behaviour;
use super::clock::Clock;
use super::faults::Faults;
use super::federation::Federation;
use super::http;
use super::lock::lock;
use super::route::Operation;
use super::store::Store;
use super::world::Lifecycle;

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Seen {
    pub request: http::Request,
    /// `None` for an unknown operation.
    pub operation: Option<Operation>,
    /// The authenticated caller.
    pub caller: Option<String>,
    /// Why its signature was refused.
    pub flaw: Option<Flaw>,
    pub status: u16,
}

impl Seen {
    pub fn new(request: &http::Request, operation: Option<Operation>) -> Self {
        Self {
            request: request.clone(),
            operation,
            caller: None,
            flaw: None,
            status: 0,
        }
    }

    pub fn to_json(&self) -> Value {
        json!({
            "method": self.request.method,
            "target": self.request.target,
            "headers": self.request.headers,
            "body": String::from_utf8_lossy(&self.request.body),
            "operation": self.operation,
            "caller": self.caller,
            "flaw": self.flaw.as_ref().map(|flaw| format!("{flaw:?}")),
            "status": self.status,
        })
    }
}

/// The state that all connections share.
pub struct Shared {
    pub region: String,
    pub options: Behaviour,
    pub clock: Clock,
    pub faults: Faults,
    /// Created on first use: generating its keys takes a moment, and most tests do not need them.
    pub federation: OnceLock<Federation>,
    pub store: Mutex<Store>,
    pub seen: Mutex<VecDeque<Seen>>,
}

impl Shared {
    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    pub fn federation(&self) -> &Federation {
        self.federation
            .get_or_init(|| Federation::new(&self.store().world))
    }

    pub fn note(&self, seen: Seen) {
        let mut all = lock(&self.seen);
        if all.len() >= NOTES {
            all.pop_front();
        }
        all.push_back(seen);
    }

    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.seen).iter().cloned().collect()
    }

    pub fn forget_requests(&self) {
        lock(&self.seen).clear();
    }

    pub fn set_key_state(&self, id: &str, state: Lifecycle) -> bool {
        for key in &mut self.store().world.keys {
            let states = key
                .versions
                .iter_mut()
                .map(|version| (&version.id, &mut version.state));
            for (each, its) in states.chain([(&key.id, &mut key.state)]) {
                if each == id {
                    *its = state;
                    return true;
                }
            }
        }
        false
    }
}

/// Number of requests that are logged.
const NOTES: usize = 65_536;
