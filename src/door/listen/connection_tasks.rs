//! The tasks of one connection, run in the connection's own task: a call goes from the socket to its service and back
//! without waking another thread, which would cost more than all the work that we do for the call.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::rt::Executor;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type SpawnedFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Decides where a spawned task runs.
#[derive(Clone, Debug)]
pub(crate) enum Spawner {
    /// In the task of a connection, and no longer than it. The channel needs no bound of its own: hyper spawns a bounded
    /// number of tasks for each stream, and the streams of a connection are bounded.
    Connection(UnboundedSender<SpawnedFuture>),
    /// In a task of its own.
    Detached,
}

/// The tasks of one connection.
pub(crate) struct ConnectionTasks {
    spawned: UnboundedReceiver<SpawnedFuture>,
    running: FuturesUnordered<SpawnedFuture>,
}

impl Spawner {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Connection(tasks) => {
                // A task that panics ends alone, as a task of the runtime would.
                let task = AssertUnwindSafe(task).catch_unwind().map(|ended| {
                    if ended.is_err() {
                        tracing::error!("A call crashed; the others go on");
                    }
                });
                // Fails if the connection is gone, and with it everything that would wait for this task.
                let _gone = tasks.send(Box::pin(task));
            }
            Self::Detached => drop(tokio::spawn(task)),
        }
    }
}

impl<F> Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.spawn(task.map(drop));
    }
}

impl ConnectionTasks {
    /// Returns a spawner, and the tasks that it spawns.
    pub(crate) fn new() -> (Spawner, Self) {
        let (tasks, spawned) = unbounded_channel();
        let running = FuturesUnordered::new();
        (Spawner::Connection(tasks), Self { spawned, running })
    }

    /// Runs `connection` to its end, and the tasks beside it. Tasks that have not ended by then are dropped.
    pub(crate) async fn run_beside<T>(mut self, connection: impl Future<Output = T>) -> T {
        let mut connection = pin!(connection);
        loop {
            tokio::select! {
                biased;
                ended = &mut connection => return ended,
                Some(task) = self.spawned.recv() => self.running.push(task),
                Some(()) = self.running.next() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::ConnectionTasks;

    #[tokio::test]
    async fn tasks_run_beside_their_connection_and_end_with_it() {
        let (spawner, tasks) = ConnectionTasks::new();
        let held = Arc::new(());
        let done = Arc::new(AtomicUsize::new(0));
        for number in 0..10 {
            let (done, spawner) = (Arc::clone(&done), spawner.clone());
            spawner.clone().spawn(async move {
                assert!(number != 5, "one task crashes");
                tokio::task::yield_now().await;
                let again = Arc::clone(&done);
                spawner.spawn(async move {
                    again.fetch_add(1, Ordering::SeqCst);
                });
            });
        }
        let never = Arc::clone(&held);
        spawner.spawn(async move {
            let _held = never;
            std::future::pending::<()>().await;
        });
        let counted = Arc::clone(&done);
        let connection = async move {
            while counted.load(Ordering::SeqCst) < 9 {
                tokio::task::yield_now().await;
            }
            "ended"
        };
        assert_eq!(tasks.run_beside(connection).await, "ended");
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
