//! What all doors do with a listener: take connections within a bound, until told to stop, and let what is under way
//! finish.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

/// A listener.
pub(crate) trait Accept {
    /// A connection.
    type Stream;
    /// Who is at its other end, as far as the listener says.
    type Peer;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>>;
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> {
        self.accept()
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;
    type Peer = tokio::net::unix::SocketAddr;

    fn accept(&self) -> impl Future<Output = io::Result<(UnixStream, tokio::net::unix::SocketAddr)>> {
        self.accept()
    }
}

/// Takes connections until `stop` says so (or whoever could say it is gone), at most `connections` at one time; then lets
/// what is under way finish for at most `grace`. Each is handed to `serve` with what tells it to come to an end.
pub(crate) async fn accept_until_stopped<L, F>(
    listener: L,
    connections: usize,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
    serve: impl Fn(L::Stream, L::Peer, watch::Receiver<bool>) -> F,
) where
    L: Accept,
    F: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(connections.max(1)));
    let mut connections = JoinSet::new();
    let each = stop.clone();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(ended) = connections.join_next() => report(ended),
            (slot, stream, peer) = next(&slots, || listener.accept()) => {
                let served = serve(stream, peer, each.clone());
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
            report(ended);
        }
    });
    if finished.await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "Connections are cut: the time to finish them is over"
        );
        connections.shutdown().await;
    }
}

/// The next connection, once there is room for it: until then the kernel's queue holds it, and no memory of ours.
#[expect(
    clippy::expect_used,
    reason = "nobody closes this semaphore: `accept_until_stopped` alone has it"
)]
pub(crate) async fn next<S, P, F>(
    slots: &Arc<Semaphore>,
    accept: impl Fn() -> F,
) -> (OwnedSemaphorePermit, S, P)
where
    F: Future<Output = io::Result<(S, P)>>,
{
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .expect("the semaphore is open");
    loop {
        match accept().await {
            Ok((stream, peer)) => return (slot, stream, peer),
            // The client was gone before we came (accept(2)); the next one may be there.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // Out of file descriptors or memory: at once it would fail again, and fill a core and the log.
            Err(error) => {
                tracing::warn!(%error, "A connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Until the door is told to stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        tracing::debug!("Whoever could stop the door is gone: it stops");
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "A connection crashed; the others go on");
    }
}

/// Long enough for other connections to end and give back what they hold, too short for a pull to be given up.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(250);
