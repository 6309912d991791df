//! The last decisions, and those to come, for who watches: bounded, and a reader that is too slow is told what it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::broadcast;

use super::{Decision, DecisionOutcome, DoorName};
use crate::oci::Digest;

/// Decisions that are kept, and that a reader may lag behind. One takes some 500 bytes.
pub const MAX_RECORDED_DECISIONS: usize = 256;

/// A decision that is kept: the fields of its journal line.
#[derive(Clone, Debug)]
pub struct RecordedDecision {
    /// Counts the decisions of this process from 1, without gaps.
    pub sequence: u64,
    /// When.
    pub time: Timestamp,
    /// Which door.
    pub door: DoorName,
    /// Who asked.
    pub peer: String,
    /// The image as it was asked for.
    pub reference: String,
    /// The digest that was judged, if it came so far.
    pub digest: Option<Digest>,
    /// The rule that spoke: its scope, or `default`.
    pub rule: String,
    /// What was answered.
    pub outcome: DecisionOutcome,
    /// Why, in a clause; empty where there is nothing to say.
    pub detail: String,
    /// Whether who signed was remembered from an earlier pull.
    pub cached: bool,
    /// From the door to the answer.
    pub elapsed: Duration,
}

/// What a reader gets next.
#[derive(Clone, Debug)]
pub enum FeedEvent {
    /// A decision.
    Decision(Arc<RecordedDecision>),
    /// It was too slow: as many are lost to it.
    Missed(u64),
    /// No more will come.
    End,
}

/// All decisions of a process, as they are made.
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

/// One reader of the decisions.
#[derive(Debug)]
pub struct DecisionFeed {
    receiver: broadcast::Receiver<Arc<RecordedDecision>>,
}

impl DecisionFeed {
    /// The next event; it waits for one.
    pub async fn next(&mut self) -> FeedEvent {
        match self.receiver.recv().await {
            Ok(decision) => FeedEvent::Decision(decision),
            Err(broadcast::error::RecvError::Lagged(missed)) => FeedEvent::Missed(missed),
            Err(broadcast::error::RecvError::Closed) => FeedEvent::End,
        }
    }
}

impl RecordedDecision {
    /// A decision as it is now, with no number yet.
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
        // Whoever panicked with the lock left the list whole: nothing in here stops half-way.
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
        // Within the lock, so that who begins to watch gets each decision once. Where nobody watches, nobody is told.
        let _nobody = self.sender.send(recorded);
        drop(last);
        // Outside it: other pulls wait at it.
        drop(oldest);
    }

    /// The last `most` decisions of those that `wanted` takes, oldest first, and all that come after them.
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
