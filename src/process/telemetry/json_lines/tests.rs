use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt as _;

use super::{LAST_WRITE, Lines, MAX_WAITING};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn lines(&self) -> Vec<Value> {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = written.split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }
}

#[test]
fn an_event_is_one_line_of_json() {
    let written = Written::default();
    let (lines, writing) = Lines::new(written.clone()).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
        let digest = "sha256:00";
        tracing::warn!(
            target: "pullgate::decision",
            cached = true,
            image.r#ref = %"r.example/a:\"1\"\n",
            image.digest = digest,
            took_us = 17_u64,
            "Pull denied: {}",
            "why"
        );
    });
    drop(writing);
    let [line] = &written.lines()[..] else {
        panic!("{:?}", written.lines());
    };
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["message"], "Pull denied: why");
    assert_eq!(line["target"], "pullgate::decision");
    assert_eq!(line["image.ref"], "r.example/a:\"1\"\n");
    assert_eq!(line["image.digest"], "sha256:00");
    assert_eq!(line["cached"], true);
    assert_eq!(line["took_us"], 17);
    let time = line["timestamp"].as_str().unwrap();
    let _instant: jiff::Timestamp = time.parse().unwrap();
    assert_eq!(time.len(), "2026-11-27T06:50:00.123456Z".len());
}

#[test]
fn each_line_is_written_once_and_in_one_piece() {
    const THREADS: usize = 8;
    const EACH: usize = 500;
    let written = Written::default();
    let (lines, writing) = Lines::new(written.clone()).unwrap();
    let log = tracing::Dispatch::new(tracing_subscriber::registry().with(lines));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                tracing::dispatcher::with_default(log, || {
                    for number in 0..EACH {
                        tracing::info!(thread, number, "line");
                    }
                });
            });
        }
    });
    drop(writing);
    let lines = written.lines();
    assert_eq!(lines.len(), THREADS * EACH);
    for thread in 0..THREADS {
        let numbers = lines.iter().filter(|line| line["thread"] == thread);
        let numbers: Vec<_> = numbers.map(|line| line["number"].as_u64().unwrap()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
}

/// An output that accepts bytes only when the test says so, like a pipe without a reader.
struct Stuck(Receiver<()>, Written);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // After the sender is dropped it accepts everything.
        let _allowed = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_log_makes_the_next_line_wait() {
    let written = Written::default();
    let (allow, allowed): (Sender<()>, _) = channel();
    let (lines, writing) = Lines::new(Stuck(allowed, written.clone())).unwrap();
    let (logged, counted) = channel();
    let logging = thread::spawn(move || {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let text = "x".repeat(64 * 1024);
            for number in 0..64 {
                tracing::info!(number, "{text}");
                let _received = logged.send(number);
            }
        });
    });
    let mut last = 0;
    while let Ok(number) = counted.recv_timeout(Duration::from_millis(500)) {
        last = number;
    }
    // The lines being written, the lines collected up to the bound, and the line that exceeded it.
    assert!(
        (1..63).contains(&last),
        "{last} lines of 64 KiB fit into {MAX_WAITING} bytes"
    );
    drop(allow);
    logging.join().unwrap();
    drop(writing);
    assert_eq!(written.lines().len(), 64);
}

/// An output that fails.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_fails_makes_no_line_wait() {
    let (lines, writing) = Lines::new(Gone).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
        let text = "x".repeat(MAX_WAITING);
        for _ in 0..4 {
            tracing::info!("{text}");
        }
    });
    drop(writing);
}

/// An output that panics.
struct Crashes;

impl Write for Crashes {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        panic!("this panic is part of the test")
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_line_waits_for_a_thread_that_is_gone() {
    let (lines, writing) = Lines::new(Crashes).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
        let text = "x".repeat(MAX_WAITING);
        for _ in 0..4 {
            tracing::info!("{text}");
        }
    });
    drop(writing);
}

#[test]
fn the_end_of_the_log_does_not_wait_for_an_output_that_accepts_nothing() {
    let (allow, allowed): (Sender<()>, _) = channel();
    let (lines, writing) = Lines::new(Stuck(allowed, Written::default())).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
        tracing::info!("a line");
    });
    let started = Instant::now();
    drop(writing);
    assert!(started.elapsed() < LAST_WRITE * 4, "{:?}", started.elapsed());
    drop(allow);
}
