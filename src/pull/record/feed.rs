//! The feed of decisions: the last ones, and all later ones. It is bounded, and a reader that is too slow learns how many
//! it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::broadcast;

use super::{Decision, DecisionOutcome};
use crate::oci::Digest;
use crate::pull::request::DoorName;

/// The number of decisions that are kept, and by which a reader may lag behind. One takes about 500 bytes.
pub const MAX_RECORDED_DECISIONS: usize = 256;

/// A decision in the feed: the fields of its journal line.
#[derive(Clone, Debug)]
pub struct RecordedDecision {
    /// The number of this decision in the process: from 1, without gaps.
    pub sequence: u64,
    /// The time of the decision.
    pub time: Timestamp,
    /// The door that asked.
    pub door: DoorName,
    /// The client.
    pub peer: String,
    /// The image as the client named it.
    pub reference: String,
    /// The digest that was evaluated, if it is known.
    pub digest: Option<Digest>,
    /// The name of the rule that applied, or `default`.
    pub rule: String,
    /// The answer.
    pub outcome: DecisionOutcome,
    /// The cause in a clause; empty for an allowed pull.
    pub detail: String,
    /// Whether the evidence was remembered from an earlier pull.
    pub cached: bool,
    /// The time from the request to the answer.
    pub elapsed: Duration,
}

/// The next event of a feed.
#[derive(Clone, Debug)]
pub enum FeedEvent {
    /// A decision.
    Decision(Arc<RecordedDecision>),
    /// The reader was too slow, and missed this number of decisions.
    Missed(u64),
    /// The process makes no further decisions.
    End,
}

/// All decisions of a process.
#[derive(Debug)]
pub(super) struct Feed {
    last: Mutex<Last>,
    sender: broadcast::Sender<Arc<RecordedDecision>>,
}

#[derive(Debug, Default)]
struct Last {
    sequence: u64,
    kept: VecDeque<Arc<RecordedDecision>>,
}

/// A reader of the decisions.
#[derive(Debug)]
pub struct DecisionFeed {
    receiver: broadcast::Receiver<Arc<RecordedDecision>>,
}

impl DecisionFeed {
    /// Waits for the next event.
    pub async fn next(&mut self) -> FeedEvent {
        match self.receiver.recv().await {
            Ok(decision) => FeedEvent::Decision(decision),
            Err(broadcast::error::RecvError::Lagged(missed)) => FeedEvent::Missed(missed),
            Err(broadcast::error::RecvError::Closed) => FeedEvent::End,
        }
    }
}

impl RecordedDecision {
    /// Copies a decision that has no number yet.
    pub(super) fn from_decision(decision: &Decision<'_>) -> Self {
        Self {
            sequence: 0,
            time: Timestamp::now(),
            door: decision.door,
            peer: decision.peer.to_owned(),
            reference: decision.reference.to_string(),
            digest: decision.digest.copied(),
            rule: decision.rule.to_owned(),
            outcome: decision.outcome,
            detail: decision.detail.to_owned(),
            cached: decision.cached,
            elapsed: decision.elapsed,
        }
    }
}

impl Feed {
    pub(super) fn new() -> Self {
        let (sender, _none) = broadcast::channel(MAX_RECORDED_DECISIONS);
        Self {
            last: Mutex::default(),
            sender,
        }
    }

    pub(super) fn add(&self, mut recorded: RecordedDecision) {
        // A panic cannot leave the list half-changed, so a poisoned lock is safe to use.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.sequence += 1;
        recorded.sequence = last.sequence;
        let recorded = Arc::new(recorded);
        let oldest = if last.kept.len() == MAX_RECORDED_DECISIONS {
            last.kept.pop_front()
        } else {
            None
        };
        last.kept.push_back(Arc::clone(&recorded));
        // Sent with the lock held, so that a new reader gets each decision exactly once. Without readers it goes nowhere.
        let _no_readers = self.sender.send(recorded);
        drop(last);
        // Dropped without the lock, for which other pulls wait.
        drop(oldest);
    }

    /// Returns the last `most` decisions that `wanted` selects, oldest first, and a feed of all later decisions.
    pub(super) fn watch(
        &self,
        most: usize,
        wanted: impl Fn(&RecordedDecision) -> bool,
    ) -> (Vec<Arc<RecordedDecision>>, DecisionFeed) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = last.kept.iter().rev().filter(|recorded| wanted(recorded));
        let mut before: Vec<_> = newest.take(most).cloned().collect();
        before.reverse();
        let receiver = self.sender.subscribe();
        (before, DecisionFeed { receiver })
    }
}
