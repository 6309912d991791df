//! Slots for the messages that are being read: a caller that sends half a message must not keep others from sending theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::callers::{Peer, USER_SHARE};

/// The bound on messages that are read at one time. Root, which the runtimes and the kubelet run as, has slots of its own;
/// each other user has a share of the rest, and a queue of its own for that share.
#[derive(Debug)]
pub(crate) struct ReadSlots {
    slots: usize,
    root: Arc<Semaphore>,
    others: Arc<Semaphore>,
    by_user: Mutex<HashMap<u32, Weak<Semaphore>>>,
}

/// The permission to read one message, for as long as it is kept.
#[derive(Debug)]
struct ReadSlot {
    _global: OwnedSemaphorePermit,
    _user: Option<OwnedSemaphorePermit>,
}

impl ReadSlots {
    /// Provides `slots` slots for root, and as many for all other users together.
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            slots,
            root: Arc::new(Semaphore::new(slots)),
            others: Arc::new(Semaphore::new(slots)),
            by_user: Mutex::default(),
        }
    }

    /// Waits for a slot. The callers of one user are served in the order in which they came.
    async fn acquire(&self, peer: Peer) -> ReadSlot {
        if peer.uid == 0 {
            return ReadSlot {
                _global: acquire(&self.root).await,
                _user: None,
            };
        }
        // The user's slot comes first, so that a caller that waits for it does not hold one of all users.
        let user = acquire(&self.slots_of(peer.uid)).await;
        ReadSlot {
            _global: acquire(&self.others).await,
            _user: Some(user),
        }
    }

    /// Waits for a slot, and runs `read` while it holds the slot. Both together must end within `limit`.
    pub(crate) async fn read<T>(
        &self,
        peer: Peer,
        limit: Duration,
        read: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        timeout(limit, async {
            let _slot = self.acquire(peer).await;
            read.await
        })
        .await
    }

    fn slots_of(&self, uid: u32) -> Arc<Semaphore> {
        // No code under this lock leaves the map half-changed.
        let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = by_user.get(&uid).and_then(Weak::upgrade) {
            return slots;
        }
        by_user.retain(|_, slots| slots.strong_count() > 0);
        let slots = Arc::new(Semaphore::new(self.slots.div_ceil(USER_SHARE)));
        by_user.insert(uid, Arc::downgrade(&slots));
        slots
    }
}

#[expect(clippy::expect_used, reason = "no code closes these semaphores")]
async fn acquire(slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(slots)
        .acquire_owned()
        .await
        .expect("the semaphore is open")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::{Peer, ReadSlot, ReadSlots};

    /// Returns a slot, or `None` if the caller would have to wait.
    fn slot(slots: &ReadSlots, uid: u32) -> Option<ReadSlot> {
        let peer = Peer {
            uid,
            gid: 0,
            pid: None,
        };
        slots.acquire(peer).now_or_never()
    }

    #[test]
    fn a_user_waits_for_its_own_slots_alone_and_root_for_no_user() {
        let slots = ReadSlots::new(8);
        let held = [slot(&slots, 1000), slot(&slots, 1000)];
        assert!(held.iter().all(Option::is_some));
        assert!(slot(&slots, 1000).is_none(), "a share is a quarter");
        let mut others = Vec::new();
        for uid in [1001, 1001, 1002, 1002, 1003, 1003] {
            others.push(slot(&slots, uid).unwrap());
        }
        assert!(slot(&slots, 1004).is_none(), "all are taken");
        let mut of_root = Vec::new();
        for _ in 0..8 {
            of_root.push(slot(&slots, 0).unwrap());
        }
        assert!(slot(&slots, 0).is_none(), "root's are taken");
        drop(held);
        assert!(slot(&slots, 1000).is_some());
        assert!(slots.by_user.lock().unwrap().len() <= 5);
        drop((others, of_root));
        assert!(slot(&slots, 1004).is_some());
        // A user without a connection is forgotten.
        assert!(slot(&slots, 1005).is_some());
        assert_eq!(slots.by_user.lock().unwrap().len(), 1);
    }
}
