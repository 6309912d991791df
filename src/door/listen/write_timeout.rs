//! A client's socket with a bound on writes: hyper bounds the time in which a client must send its request, and this bounds
//! the time in which it must read the answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

/// The time at which the answer in progress must have been written, whatever the client does. Each request sets it for its
/// own answer.
pub(crate) type Due = watch::Receiver<Option<Instant>>;

/// The socket. A write fails, and ends the connection, if it makes no progress for `stall` or still waits when the answer
/// is due.
pub(crate) struct StallTimeout {
    stream: TcpStream,
    stall: Duration,
    due: Due,
    /// Runs while `waiting`.
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    stalled: bool,
}

impl StallTimeout {
    pub(crate) fn new(stream: TcpStream, stall: Duration, due: Due) -> Self {
        let timer = Box::pin(sleep_until(Instant::now() + stall));
        Self {
            stream,
            stall,
            due,
            timer,
            waiting: false,
            stalled: false,
        }
    }

    /// Watches the result of a write: progress ends the wait, a write that is pending starts it or goes on with it.
    fn watch_write<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = false;
            return written;
        }
        if !self.waiting {
            let stalled = Instant::now() + self.stall;
            let due = *self.due.borrow();
            self.timer
                .as_mut()
                .reset(due.map_or(stalled, |due| due.min(stalled)));
            self.waiting = true;
        }
        ready!(self.timer.as_mut().poll(context));
        self.stalled = true;
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client did not read its answer",
        )))
    }
}

/// A connection that is cut drops the bytes that the kernel still holds for the client as well (`SO_LINGER` 0). Otherwise
/// the kernel would offer them for minutes to a client that reads nothing, megabytes for each connection.
impl Drop for StallTimeout {
    fn drop(&mut self) {
        let is_late = self.due.borrow().is_some_and(|due| due <= Instant::now());
        if (self.stalled || is_late)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "SO_LINGER could not be set on a connection that was cut");
        }
    }
}

impl AsyncRead for StallTimeout {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for StallTimeout {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch_write(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.watch_write(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
