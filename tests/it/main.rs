//! Tests the gate, the doors, the daemon and the tool together, against honest and hostile registries. The tests are one
//! binary and need no network and no programs from outside.
#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot continue must fail at once"
)]
#![allow(missing_docs, unreachable_pub, reason = "only these tests use these items")]

mod admission;
mod attacks;
mod control;
mod cri;
mod fakes;
mod hostile;
mod oracle;
#[path = "../oracle_cloud/cloud.rs"]
mod oracle_cloud;
mod process;
mod registry_door;
mod reasons;
mod restart;
mod seams;
mod support;
mod tool;
