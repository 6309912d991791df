//! Places for the messages that are being read: whoever sends only the beginning of his must not keep others from theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::door::listen::callers::{Peer, USER_SHARE};

/// Who may read a message now. Root, which the runtimes and the kubelet are, has places of his own; a user has his share of
/// the others', and his own queue for it.
#[derive(Debug)]
pub(crate) struct Reading {
    places: usize,
    root: Arc<Semaphore>,
    others: Arc<Semaphore>,
    of_user: Mutex<HashMap<u32, Weak<Semaphore>>>,
}

/// Leave to read one message, for as long as it is kept.
#[derive(Debug)]
pub(crate) struct ReadSlot {
    _of_all: Option<OwnedSemaphorePermit>,
    _of_user: Option<OwnedSemaphorePermit>,
}

impl Reading {
    /// So many messages at one time for root, and so many for all others.
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places,
            root: Arc::new(Semaphore::new(places)),
            others: Arc::new(Semaphore::new(places)),
            of_user: Mutex::default(),
        }
    }

    /// Waits for a place. Who waits longest is next, of one user.
    pub(crate) async fn place(&self, peer: Peer) -> ReadSlot {
        if peer.uid == 0 {
            return ReadSlot {
                _of_all: taken(&self.root).await,
                _of_user: None,
            };
        }
        // In this order: who waits for his own holds none of all.
        let of_user = taken(&self.of_user(peer.uid)).await;
        ReadSlot {
            _of_all: taken(&self.others).await,
            _of_user: of_user,
        }
    }

    fn of_user(&self, uid: u32) -> Arc<Semaphore> {
        // Nothing in here stops half-way.
        let mut of_user = self.of_user.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = of_user.get(&uid).and_then(Weak::upgrade) {
            return places;
        }
        of_user.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(self.places.div_ceil(USER_SHARE)));
        of_user.insert(uid, Arc::downgrade(&places));
        places
    }
}

/// None only of a closed semaphore, and nobody closes these.
async fn taken(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(places).acquire_owned().await.ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{Peer, ReadSlot, Reading};

    async fn place(reading: &Reading, uid: u32) -> Option<ReadSlot> {
        let peer = Peer {
            uid,
            gid: 0,
            pid: None,
        };
        timeout(Duration::from_millis(50), reading.place(peer)).await.ok()
    }

    #[tokio::test]
    async fn one_user_waits_for_himself_alone_and_root_for_no_other() {
        let reading = Reading::new(8);
        let held = [place(&reading, 1000).await, place(&reading, 1000).await];
        assert!(held.iter().all(Option::is_some));
        assert!(place(&reading, 1000).await.is_none(), "a share is a quarter");
        let mut others = Vec::new();
        for uid in [1001, 1001, 1002, 1002, 1003, 1003] {
            others.push(place(&reading, uid).await.unwrap());
        }
        assert!(place(&reading, 1004).await.is_none(), "all are taken");
        let mut of_root = Vec::new();
        for _ in 0..8 {
            of_root.push(place(&reading, 0).await.unwrap());
        }
        assert!(place(&reading, 0).await.is_none(), "root's are taken");
        drop(held);
        assert!(place(&reading, 1000).await.is_some());
        assert!(reading.of_user.lock().unwrap().len() <= 5);
        drop((others, of_root));
        assert!(place(&reading, 1004).await.is_some());
        // Who is gone is forgotten.
        assert!(place(&reading, 1005).await.is_some());
        assert_eq!(reading.of_user.lock().unwrap().len(), 1);
    }
}
