//! The ways in: one front door for runtimes a file, and the one table from [`Reason`](crate::base::reason::Reason) to the
//! answer in each protocol.

pub mod listen;
pub mod wire_codes;
pub mod admission;
pub mod cri;
pub mod registry;

use std::time::Duration;

use crate::base::limits;

/// `[limits]`: the most that one client of a door may take. A door is given them when it is bound. They are not part of its
/// own settings, so a change of them is not a change of every door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorLimits {
    /// The time within which a pull must be decided.
    pub pull: Duration,
    /// The time within which a blob must have passed through.
    pub blob: Duration,
    /// The number of connections to a door at one time; the next one waits.
    pub connections: usize,
}

impl Default for DoorLimits {
    fn default() -> Self {
        Self {
            pull: limits::PULL_DEADLINE,
            blob: Duration::from_secs(6 * 60 * 60),
            connections: 1024,
        }
    }
}
