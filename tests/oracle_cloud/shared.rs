//! What all connections share, and what is remembered of them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock};

use serde_json::{Value, json};

use super::authorization::Flaw;
use super::faults::Faults;
use super::federation::Federation;
use super::kms::{Lifecycle, Salt};
use super::route::Operation;
use super::store::Store;
use super::{Clock, Deletion, http, lock};

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Seen {
    pub request: http::Request,
    /// `None` where there is no such operation.
    pub operation: Option<Operation>,
    /// Whose request it was found to be.
    pub caller: Option<String>,
    /// Why its signature was not taken.
    pub flaw: Option<Flaw>,
    pub status: u16,
}

impl Seen {
    pub fn of(request: &http::Request, operation: Option<Operation>) -> Self {
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

/// The `Options`, without what is only for the start.
pub struct Behaviour {
    pub page: usize,
    pub salt: Salt,
    pub deletion: Deletion,
}

/// What all connections share.
pub struct Shared {
    pub region: String,
    pub options: Behaviour,
    pub clock: Clock,
    pub faults: Faults,
    /// Made when it is first asked for: its keys take a moment, and most tests have no use for them.
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

/// Requests that are remembered.
const NOTES: usize = 65_536;
