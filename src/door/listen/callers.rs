//! The callers of a Unix socket: the identity of each one, and the number of connections that each user holds.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The inverse of the share that one user other than root may hold, of connections and of read slots. A user who may open
/// the socket must not be able to lock the others out.
pub(super) const USER_SHARE: usize = 4;

/// The process at the other end of a connection, as the kernel reports it (unix(7), `SO_PEERCRED`): a caller cannot choose
/// these values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The process, where the kernel knows it. The process may have ended, and its number may belong to another.
    pub pid: Option<i32>,
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "uid={} gid={}", self.uid, self.gid)?;
        self.pid.map_or(Ok(()), |pid| write!(formatter, " pid={pid}"))
    }
}

/// The number of connections that each user holds.
#[derive(Debug)]
pub(super) struct Callers {
    most: usize,
    connections_by_user: Mutex<HashMap<u32, usize>>,
}

/// One connection of a user, counted until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    callers: Arc<Callers>,
    uid: u32,
}

impl Callers {
    /// A user's bound is a share of `connections`.
    pub(super) fn new(connections: usize) -> Self {
        Self {
            most: connections.div_ceil(USER_SHARE),
            connections_by_user: Mutex::default(),
        }
    }

    /// Counts a connection of this caller. Returns `None` if its user has as many as one user may hold. Root, which the
    /// runtimes and the kubelet run as, is bounded by the total alone.
    pub(super) fn enter(self: &Arc<Self>, peer: Peer) -> Option<ConnectionSlot> {
        let mut by_user = self.lock();
        let held = by_user.entry(peer.uid).or_default();
        if peer.uid != 0 && *held >= self.most {
            return None;
        }
        *held += 1;
        Some(ConnectionSlot {
            callers: Arc::clone(self),
            uid: peer.uid,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        // No code under this lock leaves the map half-changed.
        self.connections_by_user
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut by_user = self.callers.lock();
        if let Some(held) = by_user.get_mut(&self.uid) {
            *held -= 1;
            if *held == 0 {
                by_user.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Callers, Peer};

    #[test]
    fn one_user_holds_a_share_of_the_connections_and_root_is_not_bounded() {
        let callers = Arc::new(Callers::new(8));
        let peer = |uid| Peer {
            uid,
            gid: 0,
            pid: None,
        };
        let held: Vec<_> = (0..2).map(|_| callers.enter(peer(1000)).unwrap()).collect();
        assert!(callers.enter(peer(1000)).is_none());
        let others: Vec<_> = (0..8).map(|_| callers.enter(peer(0)).unwrap()).collect();
        let another = callers.enter(peer(1001)).unwrap();
        drop(held);
        assert!(callers.enter(peer(1000)).is_some());
        drop((others, another));
        assert!(callers.lock().is_empty());
    }
}
