//! The guard around the stages of a pull: a pull that is late or panics is denied.

use std::panic::AssertUnwindSafe;
use std::pin::pin;

use futures_util::FutureExt as _;

use crate::base::reason::Reason;
use crate::pull::decide::Denial;
use crate::pull::request::PullContext;

/// Runs stages of a pull until its deadline.
///
/// # Errors
/// Returns a denial if the deadline passes or the stages panic.
pub(super) async fn run_guarded<T>(
    pull: PullContext<'_>,
    stages: impl Future<Output = T>,
) -> Result<T, Box<Denial>> {
    let stages = pin!(stages);
    let stages = AssertUnwindSafe(stages).catch_unwind();
    match tokio::time::timeout_at(pull.request.deadline.into(), stages).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_panic)) => Err(Denial::new(
            pull,
            Reason::InternalError,
            None,
            "pullgate failed to evaluate this pull; its log has the error",
        )),
        Err(_elapsed) => Err(Denial::new(
            pull,
            Reason::DeadlineExceeded,
            None,
            "no verdict before the deadline of the pull",
        )),
    }
}
