//! Single flight: many pulls of one image at one time ask the registry once.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

/// Work that is under way, by what it is about. As many entries as pulls under way, so the doors' connection bound
/// bounds it.
pub(super) struct Flights<K, V: Clone> {
    under_way: Arc<Mutex<HashMap<K, Flight<V>>>>,
}

type Flight<V> = Shared<BoxFuture<'static, Result<V, Crashed>>>;

/// The work panicked. Everyone who waited for it is told so; the next one begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crashed;

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new() -> Self {
        Self {
            under_way: Arc::default(),
        }
    }

    /// Joins the work on `key`, or begins it. It goes on when whoever began it goes away: others may wait for it.
    pub(super) async fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Result<V, Crashed>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let flight = {
            // A poisoned lock means that a panic crossed an insert or remove, which leave the map whole.
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(flight) = under_way.get(&key) {
                flight.clone()
            } else {
                let all = Arc::clone(&self.under_way);
                let mine = key.clone();
                let task = tokio::spawn(work());
                let flight = async move {
                    let outcome = task.await.map_err(|_panicked_or_cancelled| Crashed);
                    all.lock().unwrap_or_else(PoisonError::into_inner).remove(&mine);
                    outcome
                }
                .boxed()
                .shared();
                // Driven to its end even if everyone who waits goes away, so that the entry is removed.
                tokio::spawn(flight.clone());
                under_way.insert(key, flight.clone());
                flight
            }
        };
        flight.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::{Crashed, Flights};

    #[tokio::test]
    async fn many_who_ask_at_once_cost_one_piece_of_work() {
        let flights = Flights::<&str, usize>::new();
        let count = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let count = Arc::clone(&count);
            flights.join("image", || async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                count.fetch_add(1, Ordering::SeqCst)
            })
        };
        let answers = futures_util::future::join_all((0..50).map(|_| ask())).await;
        assert!(answers.iter().all(|answer| *answer == Ok(0)));
        assert_eq!(ask().await, Ok(1), "what has landed is not answered again");
    }

    #[tokio::test]
    async fn a_panic_is_told_to_those_who_waited_and_to_nobody_after() {
        let flights = Flights::<&str, usize>::new();
        let crash = || flights.join("image", || async { panic!("on purpose") });
        let (first, second) = tokio::join!(crash(), crash());
        assert_eq!((first, second), (Err(Crashed), Err(Crashed)));
        assert_eq!(flights.join("image", || async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn goes_on_when_the_one_who_began_it_goes_away() {
        let flights = Arc::new(Flights::<&str, usize>::new());
        let work = || async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            5
        };
        let leader = tokio::time::timeout(Duration::from_millis(5), flights.join("image", work)).await;
        assert!(leader.is_err());
        assert_eq!(flights.join("image", || async { 6 }).await, Ok(5));
        assert!(flights.under_way.lock().unwrap().is_empty());
    }
}
