//! One question at a time: of many who ask a registry the same at one time, one asks and tells the others.
//!
//! Where the answer may change, nobody is told one that was asked for before he came: who comes while a question is under
//! way waits for the next one, so that a tag that was moved before a pull began is seen by that pull, however many others
//! are under way. Whoever asks does so in his own task; when he goes away, or his time is over, one of those who wait asks
//! in his place.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Questions under way, and who waits for the one after. As many as pulls under way, so the doors' connection bound
/// bounds them.
pub(crate) struct SingleFlight<K: Clone + Eq + Hash, V> {
    under_way: Arc<InFlight<K, V>>,
    answers: Freshness,
}

/// Whom an answer concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Those who came before the question was asked: what it is about may change.
    Change,
    /// Whoever has come by the time that it is there.
    Stand,
}

struct InFlight<K: Clone + Eq + Hash, V>(Mutex<HashMap<K, Vec<Waiting<K, V>>>>);

type Waiting<K, V> = oneshot::Sender<FlightMessage<K, V>>;

enum FlightMessage<K: Clone + Eq + Hash, V> {
    Answer(V),
    /// It is his turn to ask.
    Ask(LeaderGuard<K, V>),
}

/// Leave to ask, for oneself and for some others. Whoever drops it, in whatever way, passes it on.
struct LeaderGuard<K: Clone + Eq + Hash, V> {
    all: Arc<InFlight<K, V>>,
    /// None once it was passed on.
    key: Option<K>,
    /// Who came before the question was asked.
    others: Vec<Waiting<K, V>>,
}

impl<K: Clone + Eq + Hash, V: Clone> SingleFlight<K, V> {
    pub(crate) fn new(answers: Freshness) -> Self {
        Self {
            under_way: Arc::new(InFlight(Mutex::new(HashMap::new()))),
            answers,
        }
    }

    /// Asks, or waits for someone who asks the same. What `concerns_all` does not hold of is told to nobody: then each
    /// asks for himself, one after the other.
    pub(crate) async fn ask<F: Future<Output = V>>(
        &self,
        key: K,
        question: impl FnOnce() -> F,
        concerns_all: impl FnOnce(&V) -> bool,
    ) -> V {
        let turn = match self.join(key.clone()) {
            Ok(turn) => turn,
            Err(told) => match told.await {
                Ok(FlightMessage::Answer(answer)) => return answer,
                Ok(FlightMessage::Ask(turn)) => turn,
                // A turn is passed on before those who wait for it are forgotten; else he asks for himself.
                Err(oneshot::error::RecvError { .. }) => return question().await,
            },
        };
        let answer = question().await;
        if concerns_all(&answer) {
            turn.tell(&answer, self.answers);
        }
        answer
    }

    fn join(&self, key: K) -> Result<LeaderGuard<K, V>, oneshot::Receiver<FlightMessage<K, V>>> {
        let mut under_way = self.under_way.lock();
        if let Some(waiting) = under_way.get_mut(&key) {
            let (tell, told) = oneshot::channel();
            waiting.push(tell);
            return Err(told);
        }
        under_way.insert(key.clone(), Vec::new());
        Ok(LeaderGuard {
            all: Arc::clone(&self.under_way),
            key: Some(key),
            others: Vec::new(),
        })
    }
}

impl<K: Clone + Eq + Hash, V> InFlight<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Vec<Waiting<K, V>>>> {
        // A poisoned lock means that a panic crossed an insert or a push, which leave the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash, V: Clone> LeaderGuard<K, V> {
    fn tell(mut self, answer: &V, answers: Freshness) {
        if answers == Freshness::Stand
            && let Some(key) = &self.key
            && let Some(late) = self.all.lock().get_mut(key)
        {
            self.others.append(late);
        }
        for other in self.others.drain(..) {
            // Who has gone away in the meantime hears nothing.
            let _gone = other.send(FlightMessage::Answer(answer.clone()));
        }
    }
}

impl<K: Clone + Eq + Hash, V> Drop for LeaderGuard<K, V> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let mut waiting = std::mem::take(&mut self.others);
        loop {
            {
                let mut under_way = self.all.lock();
                if let Some(late) = under_way.get_mut(&key) {
                    waiting.append(late);
                }
                waiting.retain(|one| !one.is_closed());
                if waiting.is_empty() {
                    under_way.remove(&key);
                    return;
                }
            }
            let next = waiting.remove(0);
            let turn = Self {
                all: Arc::clone(&self.all),
                key: Some(key.clone()),
                others: waiting,
            };
            match next.send(FlightMessage::Ask(turn)) {
                Ok(()) => return,
                // He went away just now: the next one.
                Err(FlightMessage::Ask(mut turn)) => {
                    turn.key = None;
                    waiting = std::mem::take(&mut turn.others);
                }
                Err(FlightMessage::Answer(_)) => return,
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

    /// Counts how often it is asked; the answer is the count.
    async fn counted(count: &AtomicUsize) -> usize {
        let mine = count.fetch_add(1, Ordering::SeqCst);
        sleep(A_WHILE).await;
        mine
    }

    #[tokio::test]
    async fn who_comes_while_a_question_is_under_way_shares_the_next_one() {
        let (questions, count) = (SingleFlight::new(Freshness::Change), AtomicUsize::new(0));
        let ask = || questions.ask("tag", || counted(&count), |_| true);
        let answers = join_all((0..50).map(|_| ask())).await;
        assert_eq!(answers[0], 0);
        assert!(answers[1..].iter().all(|answer| *answer == 1), "{answers:?}");
        assert_eq!(ask().await, 2, "what was answered is asked again");
        assert!(questions.under_way.lock().is_empty());
    }

    #[tokio::test]
    async fn what_does_not_change_is_asked_once() {
        let (questions, count) = (SingleFlight::new(Freshness::Stand), AtomicUsize::new(0));
        let ask = || questions.ask("digest", || counted(&count), |_| true);
        let answers = join_all((0..50).map(|_| ask())).await;
        assert!(answers.iter().all(|answer| *answer == 0), "{answers:?}");
        assert!(questions.under_way.lock().is_empty());
    }

    #[tokio::test]
    async fn other_questions_do_not_wait() {
        let (questions, count) = (SingleFlight::new(Freshness::Change), AtomicUsize::new(0));
        let ask = |key: usize| questions.ask(key, || counted(&count), |_| true);
        let asked = join_all((0..20).map(ask));
        let answers = timeout(A_WHILE * 5, asked).await.unwrap();
        assert_eq!(answers.len(), 20);
        assert_eq!(count.load(Ordering::SeqCst), 20);
    }

    #[tokio::test]
    async fn when_the_one_who_asks_goes_away_another_asks() {
        let (questions, count) = (
            Arc::new(SingleFlight::new(Freshness::Change)),
            Arc::new(AtomicUsize::new(0)),
        );
        let ask = || {
            let (questions, count) = (Arc::clone(&questions), Arc::clone(&count));
            tokio::spawn(async move { questions.ask("tag", || counted(&count), |_| true).await })
        };
        let first = ask();
        sleep(A_WHILE / 4).await;
        let others: Vec<_> = (0..5).map(|_| ask()).collect();
        sleep(A_WHILE / 4).await;
        first.abort();
        // The one whose turn it became goes away before he was told.
        others[0].abort();
        for other in others.into_iter().skip(1) {
            assert!(timeout(A_WHILE * 10, other).await.unwrap().unwrap() > 0);
        }
        assert!(questions.under_way.lock().is_empty());
    }

    #[tokio::test]
    async fn what_concerns_one_alone_is_told_to_nobody() {
        let (questions, count) = (SingleFlight::new(Freshness::Change), AtomicUsize::new(0));
        let ask = || questions.ask("tag", || counted(&count), |_| false);
        let mut answers = join_all((0..5).map(|_| ask())).await;
        answers.sort_unstable();
        assert_eq!(answers, [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_panic_is_one_pulls_own() {
        let questions = Arc::new(SingleFlight::<&str, usize>::new(Freshness::Change));
        let crashing = {
            let questions = Arc::clone(&questions);
            let question = || async {
                sleep(A_WHILE).await;
                panic!("on purpose")
            };
            tokio::spawn(async move { questions.ask("tag", question, |_| true).await })
        };
        sleep(A_WHILE / 4).await;
        let other = questions.ask("tag", || async { 7 }, |_| true);
        assert_eq!(timeout(A_WHILE * 10, other).await.unwrap(), 7);
        assert!(crashing.await.is_err());
        assert!(questions.under_way.lock().is_empty());
    }
}
