//! How long to wait before the same is asked again. Whether it makes sense is for whoever asks to say.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// The wait before the second attempt; doubled for each further one, with up to as much again by chance, so that
/// a thousand nodes do not come back at once.
const BACKOFF: Duration = Duration::from_millis(100);

/// The wait after so many attempts, where nobody names another; at most `most`.
pub(crate) fn backoff(attempt: u32, most: Duration) -> Duration {
    let wait = BACKOFF.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
    wait.mul_f64(rand::random_range(1.0..2.0)).min(most)
}

/// `Retry-After` in seconds (RFC 9110, 10.2.3). Neither registries nor Oracle's services send dates there.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
