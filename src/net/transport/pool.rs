//! Idle connections, kept for the next request to the same destination.
//!
//! Hand-written: the pool holds connections that no task drives (see `connection`), so that the pools of hyper-util, which
//! hold the handles of driven ones, do not fit. It is bounded for each destination and in all, because clients choose
//! the registries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::pool_key::PoolKey;

/// The time for which an idle connection is kept: less than the 60 s after which common load balancers drop it (nginx:
/// 75 s), so that few requests meet a dead one.
const IDLE: Duration = Duration::from_secs(50);

/// Most idle connections to one destination: the layers that a runtime pulls at once.
const PER_KEY: usize = 16;

/// Most idle connections in all: a client that may name registries must not use up the process's file descriptors.
const IN_ALL: usize = 256;

/// The interval at which connections that are too old, or that the other side has closed, are closed here.
const SWEEP: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<IdleConnections>,
}

#[derive(Default)]
struct IdleConnections {
    by_key: HashMap<PoolKey, Vec<Connection>>,
    count: usize,
    /// Whether the task that closes old connections runs.
    is_swept: bool,
}

impl Pool {
    /// Takes the connection that was used last, so that the others grow old and are closed.
    pub(super) fn take(&self, key: &PoolKey) -> Option<Connection> {
        loop {
            let mut connection = self.idle().pop(key)?;
            if connection.unused_since.elapsed() < IDLE && connection.is_open() {
                return Some(connection);
            }
        }
    }

    pub(super) fn put(self: &Arc<Self>, key: PoolKey, mut connection: Connection) {
        connection.unused_since = Instant::now();
        let mut idle = self.idle();
        if idle.count >= IN_ALL {
            return;
        }
        let here = idle.by_key.entry(key).or_default();
        if here.len() >= PER_KEY {
            return;
        }
        here.push(connection);
        idle.count += 1;
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    fn idle(&self) -> MutexGuard<'_, IdleConnections> {
        // A panic leaves the map intact: at worst the count is too high, and fewer connections are kept.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdleConnections {
    fn pop(&mut self, key: &PoolKey) -> Option<Connection> {
        let here = self.by_key.get_mut(key)?;
        let connection = here.pop();
        if here.is_empty() {
            self.by_key.remove(key);
        }
        self.count -= usize::from(connection.is_some());
        connection
    }
}

/// Closes old connections until none is left or the pool is gone.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        for here in idle.by_key.values_mut() {
            here.retain_mut(|connection| connection.unused_since.elapsed() < IDLE && connection.is_open());
        }
        idle.by_key.retain(|_, here| !here.is_empty());
        idle.count = idle.by_key.values().map(Vec::len).sum();
        if idle.count == 0 {
            idle.is_swept = false;
            return;
        }
    }
}
