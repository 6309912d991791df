//! TLS to registries on rustls's unbuffered API. A read takes all bytes of a blob that have arrived, while rustls's own
//! buffers take one record at a time: each read is a system call, and each one prompts the sender to continue.
//!
//! Hand-written for now. rustls removed its unbuffered API on the main branch (rustls PR 2905), and tokio-rustls PR 198
//! (merged, to be released after 0.26.6) brings the same gain to `tokio_rustls::client::TlsStream`. Once a release holds it,
//! that type replaces this file, measured before and after with `benches/blobs.rs`.

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::io::Io;

/// The buffer of a connection with little to read, in bytes.
const SMALL: usize = 4 * 1024;

/// Most bytes that one read takes from the socket, and that a connection holds undecrypted. There must be room for
/// a handshake message (at most 64 KiB in rustls) in records of a reasonable size.
const LARGE: usize = 256 * 1024;

/// The time without bytes after which a buffer larger than `SMALL` is freed.
const QUIET: Duration = Duration::from_secs(1);

/// The number of encrypted bytes before the socket from which the stream accepts no more from the caller. Also the most
/// that it accepts at once.
const WAITING: usize = 64 * 1024;

/// Upper bound of the bytes that TLS adds to a record: five of header, the explicit nonce of TLS 1.2, the tag, the content
/// type.
const AROUND_RECORD: usize = 64;

/// The longest plaintext of a record (RFC 8446, 5.1).
const RECORD: usize = 16 * 1024;

/// The client's side of a TLS connection.
pub(super) struct TlsStream {
    io: Box<dyn Io>,
    tls: UnbufferedClientConnection,
    received: ReceivedCiphertext,
    decrypted: Decrypted,
    outgoing: PendingCiphertext,
    /// The end of what the other side sends, once it is reached.
    end: Option<ReadEnd>,
    /// The error that ended the last read after it had decrypted bytes: the next read reports it.
    failed: Option<io::Error>,
    /// Whether this side has sent its `close_notify`.
    is_shut: bool,
}

/// The end of what the other side sends.
enum ReadEnd {
    /// With a `close_notify`.
    Closed,
    Failed(rustls::Error),
    /// Without a `close_notify`: a third party may have cut the connection.
    Truncated,
}

/// The write of the caller, which happens once rustls allows it.
#[derive(Clone, Copy)]
enum PendingWrite<'a> {
    Bytes(&'a [u8]),
    Close,
    Nothing,
}

/// The result of processing one record.
#[derive(PartialEq)]
enum TlsStep {
    /// The other side must send something first.
    Blocked,
    /// Another record may be processed.
    More,
    /// The caller's write was encrypted.
    Written,
}

impl TlsStream {
    /// Performs the handshake. It waits for the other side without a limit of its own: the caller sets one.
    pub(super) async fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        io: Box<dyn Io>,
    ) -> io::Result<Self> {
        let mut stream = Self {
            io,
            tls: UnbufferedClientConnection::new(config, name).map_err(tls_error)?,
            received: ReceivedCiphertext::new(),
            decrypted: Decrypted::default(),
            outgoing: PendingCiphertext::default(),
            end: None,
            failed: None,
            is_shut: false,
        };
        poll_fn(|context| stream.poll_handshake(context)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.advance(PendingWrite::Nothing);
            let sent = self.poll_sent(context);
            match &self.end {
                None => {}
                Some(ReadEnd::Failed(error)) => return Poll::Ready(Err(tls_error(error.clone()))),
                Some(ReadEnd::Closed | ReadEnd::Truncated) => return Poll::Ready(Err(truncated())),
            }
            if !self.tls.is_handshaking() {
                return sent;
            }
            if let Poll::Ready(sent) = sent {
                sent?;
            }
            ready!(self.poll_fill(context))?;
        }
    }

    /// Reads once from the socket.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut read = ReadBuf::new(self.received.room());
        if read.remaining() == 0 {
            let what = format!("a TLS message is longer than {LARGE} bytes");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        let polled = Pin::new(&mut self.io).poll_read(context, &mut read);
        let (count, is_full) = (read.filled().len(), read.remaining() == 0);
        if polled.is_pending() {
            self.received.rest();
        }
        ready!(polled)?;
        if count == 0 {
            self.end = Some(ReadEnd::Truncated);
        }
        self.received.filled(count, is_full);
        Poll::Ready(Ok(()))
    }

    /// Sends the encrypted bytes that wait.
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.outgoing.poll_drain(&mut *self.io, context))?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    /// Advances until the caller's write is encrypted or rustls waits for the other side. Records that arrived before are processed first, and their content is kept for the next read.
    fn advance(&mut self, write: PendingWrite<'_>) -> TlsStep {
        loop {
            match self.step(&mut ReadBuf::new(&mut []), write) {
                TlsStep::More => {}
                step @ (TlsStep::Blocked | TlsStep::Written) => return step,
            }
        }
    }

    /// Processes at most one received record; its content for the caller goes to `out`.
    fn step(&mut self, out: &mut ReadBuf<'_>, write: PendingWrite<'_>) -> TlsStep {
        if matches!(self.end, Some(ReadEnd::Failed(_))) {
            return TlsStep::Blocked;
        }
        let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(self.received.bytes());
        let stepped = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                match traffic.next_record() {
                    Some(Ok(record)) => {
                        discard = discard.saturating_add(record.discard);
                        self.decrypted.put(record.payload, out);
                    }
                    Some(Err(error)) => break Err(error),
                    None => break Ok(TlsStep::More),
                }
            },
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                self.outgoing.encode(|room| data.encode(room));
                Ok(TlsStep::More)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // The bytes are in `outgoing`, before all later ones.
                data.done();
                Ok(TlsStep::More)
            }
            Ok(ConnectionState::PeerClosed) => {
                self.end = Some(ReadEnd::Closed);
                Ok(TlsStep::More)
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => match write {
                PendingWrite::Bytes(bytes) => self
                    .outgoing
                    .encrypt(bytes.len(), |room| traffic.encrypt(bytes, room)),
                PendingWrite::Close => self.outgoing.encrypt(0, |room| traffic.queue_close_notify(room)),
                PendingWrite::Nothing => Ok(TlsStep::Blocked),
            },
            Ok(
                ConnectionState::BlockedHandshake
                | ConnectionState::Closed
                | ConnectionState::ReadEarlyData(_)
                | _,
            ) => Ok(TlsStep::Blocked),
            Err(error) => Err(error),
        };
        self.received.discard(discard);
        stepped.unwrap_or_else(|error| {
            self.fail(error);
            TlsStep::Blocked
        })
    }

    /// Ends the connection with an alert that says why. rustls must not be asked for more than the alert: it would process
    /// further records.
    fn fail(&mut self, error: rustls::Error) {
        while self.tls.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) =
                self.tls.process_tls_records(self.received.bytes()).state
        {
            self.outgoing.encode(|room| data.encode(room));
        }
        self.end = Some(ReadEnd::Failed(error));
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Err(error));
        }
        let before = out.filled().len();
        loop {
            this.decrypted.take(out);
            while out.remaining() > 0 && this.step(out, PendingWrite::Nothing) == TlsStep::More {}
            if !this.outgoing.is_empty() {
                // An answer to what was read, or an alert. The next write reports an error, and so does the next read.
                let _ = this.poll_sent(context);
            }
            let is_something = out.filled().len() > before;
            if out.remaining() == 0 || (is_something && this.end.is_some()) {
                return Poll::Ready(Ok(()));
            }
            match &this.end {
                None => {}
                Some(ReadEnd::Closed) => return Poll::Ready(Ok(())),
                Some(ReadEnd::Failed(error)) => return Poll::Ready(Err(tls_error(error.clone()))),
                Some(ReadEnd::Truncated) => return Poll::Ready(Err(truncated())),
            }
            match this.poll_fill(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) if is_something => {
                    this.failed = Some(error);
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending if is_something => return Poll::Ready(Ok(())),
                filled @ (Poll::Ready(Err(_)) | Poll::Pending) => return filled,
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let drained = this.outgoing.poll_drain(&mut *this.io, context)?;
        if drained.is_pending() && this.outgoing.len() >= WAITING {
            return Poll::Pending;
        }
        let bytes = bytes.get(..WAITING).unwrap_or(bytes);
        let step = if this.is_shut {
            TlsStep::Blocked
        } else {
            this.advance(PendingWrite::Bytes(bytes))
        };
        if step != TlsStep::Written {
            return Poll::Ready(Err(match &this.end {
                Some(ReadEnd::Failed(error)) => tls_error(error.clone()),
                Some(ReadEnd::Closed | ReadEnd::Truncated) | None => io::ErrorKind::BrokenPipe.into(),
            }));
        }
        // The bytes that the socket does not take now go out with the next write or flush.
        if let Poll::Ready(drained) = this.outgoing.poll_drain(&mut *this.io, context) {
            drained?;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_sent(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut {
            this.is_shut = true;
            this.advance(PendingWrite::Close);
        }
        ready!(this.poll_sent(context))?;
        match ready!(Pin::new(&mut this.io).poll_shutdown(context)) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            shut => Poll::Ready(shut),
        }
    }
}

/// Bytes from the socket that rustls has not processed.
struct ReceivedCiphertext {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether the last read filled the whole buffer.
    is_short: bool,
    /// The time of the last read.
    last: Instant,
}

impl ReceivedCiphertext {
    fn new() -> Self {
        Self {
            buffer: vec![0; SMALL],
            start: 0,
            end: 0,
            is_short: false,
            last: Instant::now(),
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..self.end).unwrap_or_default()
    }

    fn discard(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Returns the room for the next bytes. The rest of a record moves to the front.
    fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end = self.end.saturating_sub(self.start);
            self.start = 0;
        }
        if std::mem::take(&mut self.is_short) || self.end == self.buffer.len() {
            let larger = self.buffer.len().saturating_mul(4).min(LARGE);
            self.buffer.resize(larger, 0);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    fn filled(&mut self, count: usize, is_full: bool) {
        self.end = self.end.saturating_add(count).min(self.buffer.len());
        self.is_short = is_full;
        self.last = Instant::now();
    }

    /// Frees a large buffer after some time without bytes.
    fn rest(&mut self) {
        if self.start == self.end && self.buffer.len() > SMALL && self.last.elapsed() >= QUIET {
            *self = Self::new();
        }
    }
}

/// The part of a record for which the reader had no room.
#[derive(Default)]
struct Decrypted {
    bytes: Vec<u8>,
    taken: usize,
}

impl Decrypted {
    fn put(&mut self, plaintext: &[u8], out: &mut ReadBuf<'_>) {
        let fitting = plaintext.len().min(out.remaining());
        let (now, later) = plaintext.split_at(fitting);
        out.put_slice(now);
        self.bytes.extend_from_slice(later);
    }

    fn take(&mut self, out: &mut ReadBuf<'_>) {
        let left = self.bytes.get(self.taken..).unwrap_or_default();
        let now = left.get(..out.remaining()).unwrap_or(left);
        out.put_slice(now);
        self.taken = self.taken.saturating_add(now.len());
        if self.taken == self.bytes.len() {
            *self = Self::default();
        }
    }
}

/// Encrypted bytes that the socket has not accepted.
#[derive(Default)]
struct PendingCiphertext {
    bytes: Vec<u8>,
    sent: usize,
}

impl PendingCiphertext {
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.sent)
    }

    fn encode(&mut self, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
        let mut room = AROUND_RECORD;
        loop {
            match self.put(room, &mut encode) {
                Err(EncodeError::InsufficientSize(error)) if error.required_size > room => {
                    room = error.required_size;
                }
                Ok(()) | Err(EncodeError::InsufficientSize(_) | EncodeError::AlreadyEncoded) => return,
            }
        }
    }

    fn encrypt(
        &mut self,
        length: usize,
        mut encrypt: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<TlsStep, rustls::Error> {
        let records = length.div_ceil(RECORD).saturating_add(1);
        let mut room = records.saturating_mul(AROUND_RECORD).saturating_add(length);
        loop {
            match self.put(room, &mut encrypt) {
                Ok(()) => return Ok(TlsStep::Written),
                Err(EncryptError::InsufficientSize(error)) if error.required_size > room => {
                    room = error.required_size;
                }
                Err(EncryptError::InsufficientSize(_) | EncryptError::EncryptExhausted) => {
                    return Err(rustls::Error::EncryptError);
                }
            }
        }
    }

    fn put<E>(
        &mut self,
        room: usize,
        encode: &mut impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        self.bytes.drain(..self.sent);
        self.sent = 0;
        let before = self.bytes.len();
        self.bytes.resize(before.saturating_add(room), 0);
        let written = encode(self.bytes.get_mut(before..).unwrap_or_default());
        self.bytes
            .truncate(before.saturating_add(*written.as_ref().unwrap_or(&0)));
        written.map(|_| ())
    }

    fn poll_drain(&mut self, io: &mut dyn Io, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(left) = self.bytes.get(self.sent..).filter(|left| !left.is_empty()) {
            let count = ready!(Pin::new(&mut *io).poll_write(context, left))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent = self.sent.saturating_add(count);
        }
        if self.bytes.capacity() > SMALL {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn truncated() -> io::Error {
    let what = "the connection ended without a TLS close_notify";
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}
