//! The log as JSON, one object for each line, written by a thread of its own.
//!
//! A pull that logs makes no system call and does not wait for the line of another pull; the two together took a quarter of
//! the time of a warm pull. Lines are collected for a moment, and the thread writes the collected lines. Dropping the log
//! waits for the last line. A process that is killed loses the lines of one such moment.

use std::io::{self, Write};
use std::mem::swap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serializer as _;
use serde::ser::SerializeMap as _;
use tracing::{Event, Subscriber};
use tracing_serde::{AsSerde as _, SerdeMapVisitor};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The time for which lines are collected. A reader that follows the log does not notice it.
const COLLECTING: Duration = Duration::from_millis(5);

/// The most bytes that wait for an output that does not accept them. Beyond it a pull that logs waits too, because a decision
/// that is not written down must not take effect.
const MAX_WAITING: usize = 1024 * 1024;

/// The time for which the end of the log waits for an output that does not accept the last lines. A process must end when it
/// is asked to.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// The usual length of the line of a decision, in bytes.
const LINE: usize = 640;

/// The layer of the subscriber: writes each event as one line.
pub(super) struct Lines(Arc<LineQueue>);

/// Ends the log when it is dropped, after the last line is written.
#[derive(Debug)]
pub(super) struct Writing {
    shared: Arc<LineQueue>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct LineQueue {
    gathered: Mutex<LineBatch>,
    /// Signals that there are lines to write, or that the log has ended.
    filled: Condvar,
    /// Signals that there is room for lines again.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct LineBatch {
    lines: Vec<u8>,
    /// No more lines are added.
    has_ended: bool,
    /// No more lines are written.
    is_written: bool,
}

/// Marks the log as ended when the writing thread ends in any way, so that no pull waits for it afterwards.
struct Writer<'a>(&'a LineQueue);

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut gathered = self.0.lock();
        gathered.has_ended = true;
        gathered.is_written = true;
        drop(gathered);
        self.0.emptied.notify_all();
    }
}

impl Lines {
    /// Starts the writing thread for this output. Returns the layer and the guard that ends the log.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn new(output: impl Write + Send + 'static) -> io::Result<(Self, Writing)> {
        let shared = Arc::<LineQueue>::default();
        let ours = Arc::clone(&shared);
        let writer = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || ours.write_to(output))?;
        let writing = Writing {
            shared: Arc::clone(&shared),
            writer: Some(writer),
        };
        Ok((Self(shared), writing))
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = Vec::with_capacity(LINE);
        match serialise(event, &mut line) {
            Ok(()) => {
                line.push(b'\n');
                self.0.add(&line);
            }
            // A field whose value cannot be serialised.
            Err(error) => {
                let target = event.metadata().target();
                say(format_args!("could not write a log line of {target}: {error}"));
            }
        }
    }
}

fn serialise(event: &Event<'_>, line: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let mut serializer = serde_json::Serializer::new(line);
    let mut object = serializer.serialize_map(None)?;
    object.serialize_entry("timestamp", &format_args!("{:.6}", Timestamp::now()))?;
    object.serialize_entry("level", &event.metadata().level().as_serde())?;
    let mut fields = SerdeMapVisitor::new(object);
    event.record(&mut fields);
    let mut object = fields.take_serializer()?;
    object.serialize_entry("target", event.metadata().target())?;
    object.end()
}

impl LineQueue {
    fn add(&self, line: &[u8]) {
        let mut gathered = self.lock();
        while gathered.lines.len() > MAX_WAITING && !gathered.has_ended {
            gathered = wait(&self.emptied, gathered);
        }
        if gathered.has_ended {
            // Only a pull that was cut off logs after the end, and the writing thread is gone.
            return;
        }
        let was_empty = gathered.lines.is_empty();
        gathered.lines.extend_from_slice(line);
        drop(gathered);
        if was_empty {
            self.filled.notify_one();
        }
    }

    fn write_to(&self, mut output: impl Write) {
        let _writer = Writer(self);
        let mut lines = Vec::new();
        let mut is_failing = false;
        loop {
            let mut gathered = self.lock();
            while gathered.lines.is_empty() && !gathered.has_ended {
                gathered = wait(&self.filled, gathered);
            }
            let has_ended = gathered.has_ended;
            if !has_ended {
                drop(gathered);
                thread::sleep(COLLECTING);
                gathered = self.lock();
            }
            // The two buffers alternate.
            swap(&mut gathered.lines, &mut lines);
            drop(gathered);
            self.emptied.notify_all();
            let written = output.write_all(&lines).and_then(|()| output.flush());
            is_failing = reported(written, is_failing);
            lines.clear();
            if has_ended {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, LineBatch> {
        // No code panics while it holds the lock.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut gathered = self.shared.lock();
        gathered.has_ended = true;
        self.shared.filled.notify_one();
        self.shared.emptied.notify_all();
        let waited = self
            .shared
            .emptied
            .wait_timeout_while(gathered, LAST_WRITE, |gathered| !gathered.is_written);
        let (gathered, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_written = gathered.is_written;
        drop(gathered);
        if !is_written {
            return say(format_args!(
                "could not write the end of the log: the output does not accept it"
            ));
        }
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            say(format_args!("the thread that writes the log panicked"));
        }
    }
}

fn wait<'a>(condition: &Condvar, gathered: MutexGuard<'a, LineBatch>) -> MutexGuard<'a, LineBatch> {
    condition.wait(gathered).unwrap_or_else(PoisonError::into_inner)
}

/// Reports on standard error that the log cannot be written, once until it can be written again. Returns whether it cannot.
fn reported(written: io::Result<()>, was_failing: bool) -> bool {
    let Err(error) = written else { return false };
    if !was_failing {
        say(format_args!("could not write the log: {error}"));
    }
    true
}

/// Writes to standard error, the only place left when the log itself fails. Both may lead to the same reader that is gone;
/// then the message is lost.
fn say(what: std::fmt::Arguments<'_>) {
    let _unheard = writeln!(io::stderr(), "pullgated: {what}");
}

#[cfg(test)]
mod tests;
