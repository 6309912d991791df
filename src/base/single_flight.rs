//! Single flight: of many callers that need the same value at the same time, one fetches it and shares it with the others.
//!
//! For values that can change (tags), a caller never receives the result of a fetch that started before it joined: it
//! waits for the next one. A tag that was moved before a pull began is therefore seen by that pull, however many others
//! are in flight. The leader fetches in its own task. If it is cancelled, runs out of time or panics, one of the waiting
//! callers becomes the leader.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The fetches in flight, and the callers that wait for the next one. There are as many as pulls in flight, which the
/// doors' bounds on connections limit.
pub(crate) struct SingleFlight<K: Clone + Eq + Hash, V> {
    in_flight: Arc<InFlight<K, V>>,
    freshness: Freshness,
}

/// Which callers may receive a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Callers that joined before the fetch started: the value may change.
    AfterJoin,
    /// Callers that joined before the fetch ended: the value cannot change.
    InFlight,
}

struct InFlight<K: Clone + Eq + Hash, V>(Mutex<HashMap<K, Vec<Waiter<K, V>>>>);

type Waiter<K, V> = oneshot::Sender<FlightMessage<K, V>>;

enum FlightMessage<K: Clone + Eq + Hash, V> {
    Result(V),
    /// The receiver is the next leader.
    Lead(LeaderGuard<K, V>),
}

/// The right to fetch the value of one key. Dropping it, in whatever way, passes the right on.
struct LeaderGuard<K: Clone + Eq + Hash, V> {
    in_flight: Arc<InFlight<K, V>>,
    /// `None` once the right was passed on.
    key: Option<K>,
    /// The callers that joined before the fetch started.
    waiters: Vec<Waiter<K, V>>,
}

impl<K: Clone + Eq + Hash, V: Clone> SingleFlight<K, V> {
    pub(crate) fn new(freshness: Freshness) -> Self {
        Self {
            in_flight: Arc::new(InFlight(Mutex::new(HashMap::new()))),
            freshness,
        }
    }

    /// Fetches the value, or waits for a caller that fetches the same. A result that `is_shareable` refuses stays with
    /// its leader: the others then fetch for themselves, one after the other.
    pub(crate) async fn ask<F: Future<Output = V>>(
        &self,
        key: K,
        fetch: impl FnOnce() -> F,
        is_shareable: impl FnOnce(&V) -> bool,
    ) -> V {
        let leader = match self.join(key.clone()) {
            Ok(leader) => leader,
            Err(message) => match message.await {
                Ok(FlightMessage::Result(value)) => return value,
                Ok(FlightMessage::Lead(leader)) => leader,
                // A leader passes its right on before it drops its waiters. If that ever fails, the caller fetches alone.
                Err(oneshot::error::RecvError { .. }) => return fetch().await,
            },
        };
        let value = fetch().await;
        if is_shareable(&value) {
            leader.share(&value, self.freshness);
        }
        value
    }

    fn join(&self, key: K) -> Result<LeaderGuard<K, V>, oneshot::Receiver<FlightMessage<K, V>>> {
        let mut in_flight = self.in_flight.lock();
        if let Some(waiters) = in_flight.get_mut(&key) {
            let (sender, receiver) = oneshot::channel();
            waiters.push(sender);
            return Err(receiver);
        }
        in_flight.insert(key.clone(), Vec::new());
        Ok(LeaderGuard {
            in_flight: Arc::clone(&self.in_flight),
            key: Some(key),
            waiters: Vec::new(),
        })
    }
}

impl<K: Clone + Eq + Hash, V> InFlight<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Vec<Waiter<K, V>>>> {
        // A poisoned lock means that a panic crossed an insert or a push, which leave the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash, V: Clone> LeaderGuard<K, V> {
    fn share(mut self, value: &V, freshness: Freshness) {
        if freshness == Freshness::InFlight
            && let Some(key) = &self.key
            && let Some(joined_later) = self.in_flight.lock().get_mut(key)
        {
            self.waiters.append(joined_later);
        }
        for waiter in self.waiters.drain(..) {
            // A caller that was cancelled in the meantime needs no value.
            let _cancelled = waiter.send(FlightMessage::Result(value.clone()));
        }
    }
}

impl<K: Clone + Eq + Hash, V> Drop for LeaderGuard<K, V> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let mut waiters = std::mem::take(&mut self.waiters);
        loop {
            {
                let mut in_flight = self.in_flight.lock();
                if let Some(joined_later) = in_flight.get_mut(&key) {
                    waiters.append(joined_later);
                }
                waiters.retain(|waiter| !waiter.is_closed());
                if waiters.is_empty() {
                    in_flight.remove(&key);
                    return;
                }
            }
            let next = waiters.remove(0);
            let leader = Self {
                in_flight: Arc::clone(&self.in_flight),
                key: Some(key.clone()),
                waiters,
            };
            match next.send(FlightMessage::Lead(leader)) {
                Ok(()) => return,
                // It was cancelled just now: the next one.
                Err(FlightMessage::Lead(mut leader)) => {
                    leader.key = None;
                    waiters = std::mem::take(&mut leader.waiters);
                }
                Err(FlightMessage::Result(_)) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::{sleep, timeout};

    use super::{Freshness, SingleFlight};

    const A_WHILE: Duration = Duration::from_millis(20);

    /// Counts the fetches and returns the count before its own.
    async fn fetch_count(count: &AtomicUsize) -> usize {
        let mine = count.fetch_add(1, Ordering::SeqCst);
        sleep(A_WHILE).await;
        mine
    }

    #[tokio::test]
    async fn a_caller_that_joins_during_a_fetch_shares_the_next_one() {
        let (flights, count) = (SingleFlight::new(Freshness::AfterJoin), AtomicUsize::new(0));
        let ask = || flights.ask("tag", || fetch_count(&count), |_| true);
        let answers = join_all((0..50).map(|_| ask())).await;
        assert_eq!(answers[0], 0);
        assert!(answers[1..].iter().all(|answer| *answer == 1), "{answers:?}");
        assert_eq!(ask().await, 2, "a result is not kept");
        assert!(flights.in_flight.lock().is_empty());
    }

    #[tokio::test]
    async fn a_value_that_cannot_change_is_fetched_once() {
        let (flights, count) = (SingleFlight::new(Freshness::InFlight), AtomicUsize::new(0));
        let ask = || flights.ask("digest", || fetch_count(&count), |_| true);
        let answers = join_all((0..50).map(|_| ask())).await;
        assert!(answers.iter().all(|answer| *answer == 0), "{answers:?}");
        assert!(flights.in_flight.lock().is_empty());
    }

    #[tokio::test]
    async fn other_flights_do_not_wait() {
        let (flights, count) = (SingleFlight::new(Freshness::AfterJoin), AtomicUsize::new(0));
        let ask = |key: usize| flights.ask(key, || fetch_count(&count), |_| true);
        let all = join_all((0..20).map(ask));
        let answers = timeout(A_WHILE * 5, all).await.unwrap();
        assert_eq!(answers.len(), 20);
        assert_eq!(count.load(Ordering::SeqCst), 20);
    }

    #[tokio::test]
    async fn a_waiting_caller_replaces_a_cancelled_leader() {
        let (flights, count) = (
            Arc::new(SingleFlight::new(Freshness::AfterJoin)),
            Arc::new(AtomicUsize::new(0)),
        );
        let ask = || {
            let (flights, count) = (Arc::clone(&flights), Arc::clone(&count));
            tokio::spawn(async move { flights.ask("tag", || fetch_count(&count), |_| true).await })
        };
        let first = ask();
        sleep(A_WHILE / 4).await;
        let others: Vec<_> = (0..5).map(|_| ask()).collect();
        sleep(A_WHILE / 4).await;
        first.abort();
        // The next leader is cancelled before it hears of it.
        others[0].abort();
        for other in others.into_iter().skip(1) {
            assert!(timeout(A_WHILE * 10, other).await.unwrap().unwrap() > 0);
        }
        assert!(flights.in_flight.lock().is_empty());
    }

    #[tokio::test]
    async fn a_result_that_is_not_shareable_stays_with_its_leader() {
        let (flights, count) = (SingleFlight::new(Freshness::AfterJoin), AtomicUsize::new(0));
        let ask = || flights.ask("tag", || fetch_count(&count), |_| false);
        let mut answers = join_all((0..5).map(|_| ask())).await;
        answers.sort_unstable();
        assert_eq!(answers, [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_panic_stays_with_its_leader() {
        let flights = Arc::new(SingleFlight::<&str, usize>::new(Freshness::AfterJoin));
        let crashing = {
            let flights = Arc::clone(&flights);
            let fetch = || async {
                sleep(A_WHILE).await;
                panic!("on purpose")
            };
            tokio::spawn(async move { flights.ask("tag", fetch, |_| true).await })
        };
        sleep(A_WHILE / 4).await;
        let other = flights.ask("tag", || async { 7 }, |_| true);
        assert_eq!(timeout(A_WHILE * 10, other).await.unwrap(), 7);
        assert!(crashing.await.is_err());
        assert!(flights.in_flight.lock().is_empty());
    }
}
