//! A clock that can be set. Once set it goes on from there, whatever the machine's own clock does.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::lock;

/// What the cloud takes for the time.
#[derive(Debug)]
pub struct Clock {
    reading: Mutex<(Timestamp, Instant)>,
}

impl Default for Clock {
    /// The machine's time.
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
