//! Connections that nothing is under way on, kept for the next request to the same place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::PoolKey;
use super::connection::Connection;

/// How long an unused connection is kept. Below the 60 s after which common load balancers (and 75 s after which
/// nginx) drop it, so that few requests meet a dead one.
const IDLE: Duration = Duration::from_secs(50);

/// Unused connections kept for one place: the layers that a runtime pulls at once.
const OF_ONE_PLACE: usize = 16;

/// Unused connections kept in all: who may name registries must not hold the process's file descriptors.
const IN_ALL: usize = 256;

/// How often those that are too old, or that the other side has closed, are closed here.
const SWEEP: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<IdleConnection>,
}

#[derive(Default)]
struct IdleConnection {
    places: HashMap<PoolKey, Vec<Connection>>,
    count: usize,
    swept: bool,
}

impl Pool {
    /// The connection that was used last: the others grow old and go.
    pub(super) fn take(&self, place: &PoolKey) -> Option<Connection> {
        loop {
            let mut connection = self.idle().pop(place)?;
            if connection.unused_since.elapsed() < IDLE && connection.is_open() {
                return Some(connection);
            }
        }
    }

    pub(super) fn put(self: &Arc<Self>, place: PoolKey, mut connection: Connection) {
        connection.unused_since = Instant::now();
        let mut idle = self.idle();
        if idle.count >= IN_ALL {
            return;
        }
        let here = idle.places.entry(place).or_default();
        if here.len() >= OF_ONE_PLACE {
            return;
        }
        here.push(connection);
        idle.count += 1;
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    fn idle(&self) -> MutexGuard<'_, IdleConnection> {
        // What a panic left behind is whole: at worst the count is too high, and fewer are kept.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdleConnection {
    fn pop(&mut self, place: &PoolKey) -> Option<Connection> {
        let here = self.places.get_mut(place)?;
        let connection = here.pop();
        if here.is_empty() {
            self.places.remove(place);
        }
        self.count -= usize::from(connection.is_some());
        connection
    }
}

/// Until nothing is left, or the pool is gone.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        for here in idle.places.values_mut() {
            here.retain_mut(|connection| connection.unused_since.elapsed() < IDLE && connection.is_open());
        }
        idle.places.retain(|_, here| !here.is_empty());
        idle.count = idle.places.values().map(Vec::len).sum();
        if idle.count == 0 {
            idle.swept = false;
            return;
        }
    }
}
