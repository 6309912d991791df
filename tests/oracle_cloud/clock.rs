//! A clock that can be set. It continues from the time that was set, independently of the machine's clock.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::lock::lock;

/// The cloud's time.
#[derive(Debug)]
pub struct Clock {
    reading: Mutex<(Timestamp, Instant)>,
}

impl Default for Clock {
    /// Starts with the machine's time.
    fn default() -> Self {
        Self {
            reading: Mutex::new((Timestamp::now(), Instant::now())),
        }
    }
}

impl Clock {
    pub fn now(&self) -> Timestamp {
        let (at, since) = *lock(&self.reading);
        at + since.elapsed()
    }

    pub fn set(&self, now: Timestamp) {
        *lock(&self.reading) = (now, Instant::now());
    }

    pub fn advance(&self, by: Duration) {
        lock(&self.reading).0 += by;
    }
}

/// Formats a time as the services do.
pub fn instant(at: Timestamp) -> String {
    format!("{at:.3}")
}
