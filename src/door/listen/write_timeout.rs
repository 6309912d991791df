//! A client's socket that does not wait for ever: hyper bounds how long a client may take to ask, this bounds how long
//! it may take to read the answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

/// When the answer under way must be through, whatever the client does. Set by the request that is being answered.
pub(crate) type Due = watch::Receiver<Option<Instant>>;

/// The socket. A write that makes no progress for `stall`, or that is still waiting when the answer is due, fails, and
/// the connection ends with it.
pub(crate) struct StallTimeout {
    stream: TcpStream,
    stall: Duration,
    due: Due,
    /// Runs while `waiting`.
    patience: Pin<Box<Sleep>>,
    waiting: bool,
    stalled: bool,
}

impl StallTimeout {
    pub(crate) fn new(stream: TcpStream, stall: Duration, due: Due) -> Self {
        let patience = Box::pin(sleep_until(Instant::now() + stall));
        Self {
            stream,
            stall,
            due,
            patience,
            waiting: false,
            stalled: false,
        }
    }

    /// What became of a write: progress ends the wait, and none begins or goes on with it.
    fn watched<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = false;
            return written;
        }
        if !self.waiting {
            let stalled = Instant::now() + self.stall;
            let due = *self.due.borrow();
            self.patience
                .as_mut()
                .reset(due.map_or(stalled, |due| due.min(stalled)));
            self.waiting = true;
        }
        ready!(self.patience.as_mut().poll(context));
        self.stalled = true;
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client did not read its answer",
        )))
    }
}

/// Of a connection that was cut, what the kernel still holds for the client goes as well (`SO_LINGER` 0). It would be
/// offered to a client that reads nothing for minutes, megabytes for each.
impl Drop for StallTimeout {
    fn drop(&mut self) {
        let is_late = self.due.borrow().is_some_and(|due| due <= Instant::now());
        if (self.stalled || is_late)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "A connection that was cut lingers");
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
        this.watched(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.watched(written, context)
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
