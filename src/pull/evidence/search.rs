//! The search for signatures: the sources side by side, each record verified as it arrives.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, ready, select};
use futures_util::stream::{BoxStream, SelectAll, select_all};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;

use crate::base::limits;
use crate::net::registry::Access;
use crate::pull::evidence::Evidence;
use crate::pull::find::{FindError, Query, Source, SourceFailure, records_of};
use crate::pull::request::Extent;
use crate::pull::verify::{CheckedSignature, Wanted, verify};
use crate::signature::{Candidate, SourceName, formats_named};

/// Looks in the sources side by side and verifies each record as it arrives. The search stops when enough distinct signers
/// were found, or when its share of the deadline is over. A source that has not answered to the end by then becomes a
/// failure beside the records of the others, so that the answer is "could not tell" and never "unsigned".
pub async fn search(
    sources: &[Arc<dyn Source>],
    wanted: Wanted,
    access: &Access,
    extent: Extent,
    now: Timestamp,
) -> Evidence {
    let wanted = Arc::new(wanted);
    let formats = formats_named(&wanted.signed.formats);
    let access = Access {
        presented: access.presented.clone(),
        deadline: share_of(access.deadline),
    };
    let query = Query {
        subject: &wanted.digest,
        repository: &wanted.pulled,
        formats: &formats,
        access: &access,
        limit: limits::CANDIDATES,
    };
    search_with(sources, query, Arc::clone(&wanted), extent, now).await
}

/// As [`search`], for the formats and the deadline of this query.
pub async fn search_with(
    sources: &[Arc<dyn Source>],
    query: Query<'_>,
    wanted: Arc<Wanted>,
    extent: Extent,
    now: Timestamp,
) -> Evidence {
    let mut search = Search::new(sources, query, wanted, now);
    let mut deadline = pin!(tokio::time::sleep_until(query.access.deadline.into()));
    while extent == Extent::Everything || !search.is_satisfied() {
        let progress = match select(pin!(search.step()), deadline.as_mut()).await {
            Either::Left((progress, _)) => progress,
            Either::Right(((), _unfinished)) => Progress::Late,
        };
        match progress {
            Progress::Continues => {}
            Progress::Finished => return search.finish(Ended::Heard),
            Progress::Late => return search.finish(Ended::Late),
        }
    }
    search.finish(Ended::Satisfied)
}

/// Returns when a search has to end that leaves time for the verdict before the pull's deadline.
fn share_of(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    deadline.checked_sub((left / 10).min(VERDICT)).unwrap_or(deadline)
}

/// The time that a pull keeps for the verdict, at most: a decision takes microseconds, and its thread may have to wait for
/// a processor.
const VERDICT: Duration = Duration::from_millis(500);

/// One search under way.
struct Search<'a> {
    evidence: Evidence,
    /// The records of all sources as they arrive, and the end of each source.
    arrivals: SelectAll<BoxStream<'a, Arrival>>,
    /// The sources whose end was not seen, or whose records are not verified.
    unfinished: Vec<SourceName>,
    wanted: Arc<Wanted>,
    now: Timestamp,
    started: Instant,
}

/// Waits until the source before has yielded something, or for its head start: the sources stand in the order of the
/// configuration, and one good record is most often enough. Without the wait each search would send requests to a source
/// behind it (Oracle's API may even have to issue a token), and drop them. With the bound, a source that hangs holds up
/// the others for that long only.
async fn head_start(before: Option<oneshot::Receiver<()>>, bound: Duration) {
    if let Some(before) = before {
        // Either way the source may start.
        let _is_late = tokio::time::timeout(bound, before).await;
    }
}

/// The time that a source has before the next one starts beside it, or a share of half of the deadline where that is
/// less. A registry in reach answers within some tens of milliseconds.
const HEAD_START: Duration = Duration::from_millis(250);

enum Arrival {
    Record(Candidate),
    Failure(SourceFailure),
    End(SourceName),
}

enum Progress {
    Continues,
    Finished,
    Late,
}

enum Ended {
    Heard,
    Late,
    Satisfied,
}

impl<'a> Search<'a> {
    fn new(sources: &'a [Arc<dyn Source>], query: Query<'a>, wanted: Arc<Wanted>, now: Timestamp) -> Self {
        let queried: Vec<_> = query.queried(sources).collect();
        let names: Vec<_> = queried.iter().map(|source| source.name()).collect();
        let remaining = query.access.deadline.saturating_duration_since(Instant::now());
        let waits = u32::try_from(queried.len())
            .unwrap_or(u32::MAX)
            .max(1)
            .saturating_mul(2);
        let bound = HEAD_START.min(remaining / waits);
        let mut before = None;
        let arrivals = queried.into_iter().zip(0_u32..).map(|(source, place)| {
            let name = source.name();
            let (arrived, next) = oneshot::channel();
            let start = head_start(before.replace(next), bound.saturating_mul(place));
            let mut arrived = Some(arrived);
            let records = records_of(source.as_ref(), query).map(move |record| match record {
                Ok(candidate) => Arrival::Record(candidate),
                Err(error) => Arrival::Failure(SourceFailure { source: name, error }),
            });
            let arrivals = records.chain(stream::once(ready(Arrival::End(name))));
            let arrivals = arrivals.inspect(move |_| drop(arrived.take()));
            let started = async move {
                start.await;
                arrivals
            };
            stream::once(started).flatten().boxed()
        });
        Self {
            arrivals: select_all(arrivals),
            unfinished: names.clone(),
            evidence: Evidence::from_sources(names),
            wanted,
            now,
            started: Instant::now(),
        }
    }

    /// Whether enough signers count now. Time goes on during a search: a key that expires while it runs does not end it.
    fn is_satisfied(&self) -> bool {
        let elapsed = SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX);
        let now = self.now.saturating_add(elapsed).unwrap_or(Timestamp::MAX);
        self.evidence.signers(now).len() >= self.wanted.signed.threshold.get()
    }

    /// Waits for the next arrival, and verifies what has arrived.
    async fn step(&mut self) -> Progress {
        let Some(first) = self.arrivals.next().await else {
            return Progress::Finished;
        };
        let (mut records, mut ended) = (Vec::new(), Vec::new());
        self.sort_in(first, &mut records, &mut ended);
        // The first record is verified at once: most often it is all that is needed, and to look for another arrival would
        // send the requests for it.
        if !self.evidence.checked().is_empty() {
            while let Some(Some(next)) = self.arrivals.next().now_or_never() {
                self.sort_in(next, &mut records, &mut ended);
                if records.len() >= BATCH {
                    break;
                }
            }
        }
        for checked in verify_apart(records, Arc::clone(&self.wanted), self.now).await {
            self.evidence.add(checked);
        }
        // Only now: a source is finished when its records are verified.
        self.unfinished.retain(|source| !ended.contains(source));
        Progress::Continues
    }

    fn sort_in(&mut self, arrival: Arrival, records: &mut Vec<Candidate>, ended: &mut Vec<SourceName>) {
        match arrival {
            Arrival::Record(candidate) => records.push(candidate),
            Arrival::Failure(failure) => self.evidence.fail(failure),
            Arrival::End(source) => ended.push(source),
        }
    }

    fn finish(self, ended: Ended) -> Evidence {
        let mut evidence = self.evidence;
        match ended {
            Ended::Heard => {}
            Ended::Late => {
                for source in self.unfinished {
                    let error = FindError::DeadlineExceeded;
                    evidence.fail(SourceFailure { source, error });
                }
            }
            Ended::Satisfied => evidence.stopped_early = !self.unfinished.is_empty(),
        }
        evidence.sort();
        evidence
    }
}

/// Records that are verified at one time at most, before the search looks whether the rule is satisfied.
const BATCH: usize = 32;

/// Verifies records. More than a few leave the threads that serve: many records under large keys take seconds, and no other
/// pull must wait for them.
async fn verify_apart(records: Vec<Candidate>, wanted: Arc<Wanted>, now: Timestamp) -> Vec<CheckedSignature> {
    if records.is_empty() {
        return Vec::new();
    }
    let is_little = records.len().saturating_mul(wanted.signed.authorities.len()) <= AT_ONCE;
    let work = move || {
        let checked = records.iter().map(|record| verify(record, &wanted, now));
        checked.collect()
    };
    if is_little {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(checked) => checked,
        // The panic goes on to the place that turns the panics of a pull into a denial.
        Err(crash) => std::panic::resume_unwind(crash.into_panic()),
    }
}

/// RSA verifications that a serving thread does itself: one of 2048 bits takes 0.06 ms, one of 8192 bits less than 1 ms. To
/// wake another thread, and to be woken by it, takes as long as the first of them.
const AT_ONCE: usize = 4;
