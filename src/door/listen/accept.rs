//! The loop of every listener: it accepts connections within a bound until it is told to stop, and then lets the
//! connections in progress finish.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The pause after an accept that failed: long enough for other connections to end and release what they hold, too short
/// for a client to give a pull up.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// A listening socket.
pub(crate) trait Accept {
    /// A connection.
    type Stream;
    /// The address of the other end.
    type Address;

    /// Accepts the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Address)>>;
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    type Address = SocketAddr;

    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> {
        self.accept()
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;
    type Address = tokio::net::unix::SocketAddr;

    fn accept(&self) -> impl Future<Output = io::Result<(UnixStream, tokio::net::unix::SocketAddr)>> {
        self.accept()
    }
}

/// Accepts connections until `stop` is cancelled, at most `connections` at one time, and runs `serve` for each. Then waits
/// at most `grace` for the connections in progress, and cuts the rest. `serve` watches `stop` itself, to end a connection
/// in good order.
pub(crate) async fn accept_until_stopped<L, F>(
    listener: L,
    connections: usize,
    stop: CancellationToken,
    grace: Duration,
    serve: impl Fn(L::Stream, L::Address) -> F,
) where
    L: Accept,
    F: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(connections.max(1)));
    let mut connections = JoinSet::new();
    let mut stopped = pin!(stop.cancelled());
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            (slot, stream, address) = accept_next(&slots, || listener.accept()) => {
                let served = serve(stream, address);
                connections.spawn(async move {
                    served.await;
                    drop(slot);
                });
            }
        }
    }
    drop(listener);
    let finished = timeout(grace, async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    });
    if finished.await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "The time to finish is over: the connections that are left are cut"
        );
        connections.shutdown().await;
    }
}

/// Accepts a connection once a slot is free. Until then the connection waits in the kernel's queue, and takes none of our
/// memory.
#[expect(
    clippy::expect_used,
    reason = "the semaphore is never closed: `accept_until_stopped` alone holds it"
)]
pub(crate) async fn accept_next<S, A, F>(
    slots: &Arc<Semaphore>,
    accept: impl Fn() -> F,
) -> (OwnedSemaphorePermit, S, A)
where
    F: Future<Output = io::Result<(S, A)>>,
{
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .expect("the semaphore is open");
    loop {
        match accept().await {
            Ok((stream, address)) => return (slot, stream, address),
            // The client closed the connection before it was accepted (accept(2)); the next one may be there.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // Out of file descriptors or memory: without a pause the call would fail again at once, and fill a core and
            // the log.
            Err(error) => {
                tracing::warn!(%error, "A connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "A connection crashed; the others go on");
    }
}
