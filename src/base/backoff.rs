//! The one retry loop, for registries and Oracle's services: how often a request is repeated and how long the client
//! waits in between. The caller decides which outcomes are worth another attempt.

use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// The wait before the second attempt. It doubles with each further attempt and grows by a random part of up to its
/// own length, so that a thousand nodes do not return at the same moment.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The bounds of one retry loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryLimits {
    /// Attempts in all; at least one is made.
    pub(crate) attempts: u32,
    /// The longest wait between two attempts, unless the server names one.
    pub(crate) longest_wait: Duration,
    /// No wait ends after this instant.
    pub(crate) deadline: Instant,
}

/// The outcome of one attempt.
pub(crate) enum Attempt<T> {
    /// The result stands.
    Final(T),
    /// The same request may succeed a moment later; the result stands where no attempt is left.
    Transient {
        /// The result, a success of the transport included (an answer with status 503).
        result: T,
        /// The wait that the server asked for.
        retry_after: Option<Duration>,
    },
}

/// Repeats `attempt` until its result is final or a limit is reached, and returns the last result. Each attempt is
/// handed the result that it replaces, so that it can release what that one holds (a connection).
pub(crate) async fn retry<T, F>(limits: RetryLimits, mut attempt: impl FnMut(Option<T>) -> F) -> T
where
    F: Future<Output = Attempt<T>>,
{
    let mut replaced = None;
    let mut count = 1;
    loop {
        let (result, retry_after) = match attempt(replaced).await {
            Attempt::Final(result) => return result,
            Attempt::Transient { result, retry_after } => (result, retry_after),
        };
        let wait = retry_after.unwrap_or_else(|| backoff(count, limits.longest_wait));
        let is_too_late = Instant::now()
            .checked_add(wait)
            .is_none_or(|end| end >= limits.deadline);
        if count >= limits.attempts || is_too_late {
            return result;
        }
        tokio::time::sleep(wait).await;
        replaced = Some(result);
        count += 1;
    }
}

/// Returns the wait after `attempts` attempts, at most `longest`.
pub(crate) fn backoff(attempts: u32, longest: Duration) -> Duration {
    let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1)));
    wait.mul_f64(rand::random_range(1.0..2.0)).min(longest)
}

/// Reads `Retry-After` in seconds (RFC 9110, 10.2.3). Neither registries nor Oracle's services send dates there.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::{Duration, Instant};

    use http::HeaderMap;
    use http::header::RETRY_AFTER;

    use super::{Attempt, RetryLimits, backoff, retry, retry_after};

    fn limits(attempts: u32, seconds: u64) -> RetryLimits {
        RetryLimits {
            attempts,
            longest_wait: Duration::from_secs(1),
            deadline: Instant::now() + Duration::from_secs(seconds),
        }
    }

    /// Runs a loop in which every attempt but the `good` one is transient; returns what the attempts were handed, and
    /// the result.
    async fn run(limits: RetryLimits, good: u32, wait: Option<Duration>) -> (Vec<Option<u32>>, u32) {
        let handed = RefCell::new(Vec::new());
        let result = retry(limits, |replaced| {
            handed.borrow_mut().push(replaced);
            let number = replaced.unwrap_or(0) + 1;
            std::future::ready(if number == good {
                Attempt::Final(number)
            } else {
                Attempt::Transient {
                    result: number,
                    retry_after: wait,
                }
            })
        })
        .await;
        (handed.into_inner(), result)
    }

    #[tokio::test(start_paused = true)]
    async fn a_transient_result_is_replaced_until_one_is_final_or_no_attempt_is_left() {
        assert_eq!(run(limits(3, 60), 1, None).await, (vec![None], 1));
        assert_eq!(run(limits(3, 60), 2, None).await, (vec![None, Some(1)], 2));
        assert_eq!(
            run(limits(3, 60), 9, None).await,
            (vec![None, Some(1), Some(2)], 3)
        );
        assert_eq!(run(limits(1, 60), 9, None).await, (vec![None], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_servers_wait_is_kept_and_none_is_begun_that_ends_after_the_deadline() {
        let started = tokio::time::Instant::now();
        let wait = Duration::from_secs(7);
        assert_eq!(run(limits(2, 60), 9, Some(wait)).await.1, 2);
        assert_eq!(started.elapsed(), wait);
        assert_eq!(run(limits(2, 60), 9, Some(Duration::from_secs(60))).await.1, 1);
        assert_eq!(run(limits(2, 60), 9, Some(Duration::MAX)).await.1, 1);
        assert_eq!(started.elapsed(), wait);
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let longest = Duration::from_secs(1);
        for (attempts, least, most) in [(1, 100, 200), (2, 200, 400), (3, 400, 800), (9, 1000, 1000)] {
            let wait = backoff(attempts, longest).as_millis();
            assert!((least..=most).contains(&wait), "{attempts}: {wait} ms");
        }
        assert_eq!(backoff(u32::MAX, longest), longest);
    }

    #[test]
    fn only_seconds_are_read_from_retry_after() {
        let headers = |value: &str| HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        assert_eq!(retry_after(&headers("12")), Some(Duration::from_secs(12)));
        for value in ["", "-1", "1.5", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(retry_after(&headers(value)), None, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
