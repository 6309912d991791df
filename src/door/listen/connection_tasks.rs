//! Runs what a connection spawns in the connection's own task: a call goes from the socket to its service and back without
//! waking another thread, which costs more than all that we do for it.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::rt::Executor;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type SpawnedFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where tasks run.
#[derive(Clone, Debug)]
pub(crate) enum Spawner {
    /// In the task of a connection, with which they end. As many as it has streams, and what they spawn: the bound on those
    /// is the bound here.
    InTask(UnboundedSender<SpawnedFuture>),
    /// Each by itself.
    Apart,
}

/// The tasks of one connection.
pub(crate) struct Tasks {
    handed_in: UnboundedReceiver<SpawnedFuture>,
    running: FuturesUnordered<SpawnedFuture>,
}

/// A connection's tasks, and where they are handed in.
pub(crate) fn new() -> (Spawner, Tasks) {
    let (tasks, handed_in) = unbounded_channel();
    let running = FuturesUnordered::new();
    (Spawner::InTask(tasks), Tasks { handed_in, running })
}

impl Spawner {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::InTask(tasks) => {
                // A task that panics ends alone, as one of the runtime's own would.
                let task = AssertUnwindSafe(task).catch_unwind().map(|ended| {
                    if ended.is_err() {
                        tracing::error!("A call crashed; the others go on");
                    }
                });
                // The connection is gone, and with it whoever waits for this.
                let _gone = tasks.send(Box::pin(task));
            }
            Self::Apart => drop(tokio::spawn(task)),
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

impl Tasks {
    /// Runs `until` to its end, and the tasks beside it; those that are not done then are dropped.
    pub(crate) async fn run_beside<T>(mut self, until: impl Future<Output = T>) -> T {
        let mut until = std::pin::pin!(until);
        loop {
            tokio::select! {
                biased;
                ended = &mut until => return ended,
                Some(task) = self.handed_in.recv() => self.running.push(task),
                Some(()) = self.running.next() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn tasks_run_beside_and_end_with_what_they_belong_to() {
        let (spawner, tasks) = super::new();
        let held = Arc::new(());
        let done = Arc::new(AtomicUsize::new(0));
        for number in 0..10 {
            let (done, spawner) = (Arc::clone(&done), spawner.clone());
            spawner.clone().spawn(async move {
                assert!(number != 5, "one crashes");
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
        let until = async move {
            while counted.load(Ordering::SeqCst) < 9 {
                tokio::task::yield_now().await;
            }
            "ended"
        };
        assert_eq!(tasks.run_beside(until).await, "ended");
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
