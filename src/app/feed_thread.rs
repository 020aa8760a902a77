//! The thread on which replication and the hub run.
//!
//! They wake one another for every transaction, so that they are better off on one thread, whose runtime does not have
//! to wake another for it. Where there is one core that is the thread of the one shard, too: a change then goes from
//! Postgres' socket to its clients' sockets without waking any thread but the one that has read it.

use std::convert::Infallible;
use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Held while there is something to be run on the thread.
type Lease = mpsc::Sender<Infallible>;

/// Where tasks are started, and what makes the thread wait for them.
pub(super) struct FeedThread {
    runtime: Handle,
    lease: Lease,
}

/// Whoever a thread waits for before it ends.
pub(super) struct Tenants(mpsc::Receiver<Infallible>);

impl Tenants {
    /// For a thread that is yet to be started.
    pub(super) fn expected() -> (Lease, Self) {
        let (lease, ended) = mpsc::channel(1);
        (lease, Self(ended))
    }

    /// Nobody: the thread ends when its own task has.
    pub(super) fn none() -> Self {
        Self::expected().1
    }

    /// Until all of them have ended.
    pub(super) async fn ended(mut self) {
        match self.0.recv().await {
            None => {}
            Some(never) => match never {},
        }
    }
}

impl FeedThread {
    /// On a thread that waits for its tenants, and whose runtime this is.
    pub(super) const fn shared(runtime: Handle, lease: Lease) -> Self {
        Self { runtime, lease }
    }

    /// A thread of its own. It ends when this and all tasks on it have.
    ///
    /// # Errors
    /// The system gives no thread, or no runtime for it.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (lease, tenants) = Tenants::expected();
        let handle = runtime.handle().clone();
        std::thread::Builder::new().name("feed".to_owned()).spawn(move || runtime.block_on(tenants.ended()))?;
        Ok(Self::shared(handle, lease))
    }

    /// Runs a task there.
    pub(super) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let lease = self.lease.clone();
        self.runtime.spawn(async move {
            let output = task.await;
            drop(lease);
            output
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_thread_ends_with_the_last_of_its_tasks() {
        let (lease, tenants) = Tenants::expected();
        let thread = FeedThread::shared(Handle::current(), lease);
        let (release, held) = tokio::sync::oneshot::channel();
        let (short, long) = (thread.spawn(async { 1 }), thread.spawn(held));
        drop(thread);
        let mut ended = Box::pin(tenants.ended());
        assert_eq!(short.await.unwrap(), 1);
        assert!(
            std::future::poll_fn(|context| std::task::Poll::Ready(ended.as_mut().poll(context))).await.is_pending()
        );
        release.send(2).unwrap();
        assert_eq!(long.await.unwrap().unwrap(), 2);
        ended.await;
    }

    #[tokio::test]
    async fn a_task_has_a_thread_that_is_not_ours() {
        let thread = FeedThread::start().unwrap();
        let name = thread.spawn(async { std::thread::current().name().map(str::to_owned) });
        drop(thread);
        assert_eq!(name.await.unwrap().as_deref(), Some("feed"));
    }
}
