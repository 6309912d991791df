//! Pulls through the real door, from registries that are honest and registries that lie. One binary, no network, no
//! other program.
#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail on the spot"
)]
#![allow(missing_docs, unreachable_pub, reason = "nobody but these tests uses it")]

mod admission;
mod attacks;
mod control;
mod cri;
mod hostile;
mod oracle;
#[path = "../oracle_cloud/cloud.rs"]
mod oracle_cloud;
mod process;
mod pull;
mod reasons;
mod restart;
mod seams;
mod support;
mod tool;
