//! The log as JSON, one object a line, written behind the pulls.
//!
//! A line costs a pull neither a system call nor a wait for the pull beside it, which together took a quarter of the
//! time of a warm one. They gather for a moment, and a thread of its own writes what has gathered. Whoever stops the log
//! waits for the last line; a process that is killed loses what a moment holds.

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

/// How long lines gather. Nobody who reads along notices.
const GATHERED: Duration = Duration::from_millis(5);

/// What may wait for an output that does not take it, in bytes. Then who has a line waits as well: a decision that is
/// not written down is not made.
const MOST: usize = 1024 * 1024;

/// How long the end of the log waits for an output that does not take it. A process must end when it is told to.
const LAST: Duration = Duration::from_secs(5);

/// The usual line of a decision.
const LINE: usize = 640;

/// Writes each event as one line.
pub(super) struct Lines(Arc<LineQueue>);

/// Ends the writing of lines when it is dropped, after the last one.
#[derive(Debug)]
pub(super) struct Writing {
    shared: Arc<LineQueue>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct LineQueue {
    gathered: Mutex<LineBatch>,
    /// There is something to write, or there will never be.
    filled: Condvar,
    /// There is room again.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct LineBatch {
    lines: Vec<u8>,
    /// Nothing is added any more.
    has_ended: bool,
    /// Nothing is written any more.
    is_written: bool,
}

/// However the thread that writes ends, nobody may wait for it afterwards.
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
    /// Lines that go to this output, and what ends them.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn to(output: impl Write + Send + 'static) -> io::Result<(Self, Writing)> {
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
            // A value that does not say what it is.
            Err(error) => {
                let target = event.metadata().target();
                say(format_args!("a line of {target} could not be written: {error}"));
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
        while gathered.lines.len() > MOST && !gathered.has_ended {
            gathered = wait(&self.emptied, gathered);
        }
        if gathered.has_ended {
            // What is said after the end is the end of a pull that was cut off: there is nobody to write it.
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
                thread::sleep(GATHERED);
                gathered = self.lock();
            }
            // The two buffers take turns.
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
        // Nothing in here stops half-way.
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
            .wait_timeout_while(gathered, LAST, |gathered| !gathered.is_written);
        let (gathered, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_written = gathered.is_written;
        drop(gathered);
        if !is_written {
            return say(format_args!(
                "the end of the log could not be written: nobody reads it"
            ));
        }
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            say(format_args!("the thread that writes the log crashed"));
        }
    }
}

fn wait<'a>(condition: &Condvar, gathered: MutexGuard<'a, LineBatch>) -> MutexGuard<'a, LineBatch> {
    condition.wait(gathered).unwrap_or_else(PoisonError::into_inner)
}

/// Says that the log can't be written, once until it can be again; whether it can't.
fn reported(written: io::Result<()>, was_failing: bool) -> bool {
    let Err(error) = written else { return false };
    if !was_failing {
        say(format_args!("the log could not be written: {error}"));
    }
    true
}

/// Where else, when the log itself fails. Both outputs may lead to the same reader that is gone: then nobody is told.
fn say(what: std::fmt::Arguments<'_>) {
    let _unheard = writeln!(io::stderr(), "pullgated: {what}");
}

#[cfg(test)]
mod tests;
