//! The request to stop, as every task can wait for it.

use tokio::sync::watch;

/// Asks everyone who holds a [`Shutdown`] to stop. Dropping it asks, too.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Hears of the request to stop.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// A trigger and what it triggers.
#[must_use]
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns once a stop was asked for.
    pub async fn requested(&mut self) {
        // An error means that the trigger is gone, which asks as well.
        let _asked = self.0.wait_for(|requested| *requested).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_hears_it_whenever_they_listen() {
        let (trigger, mut early) = channel();
        assert!(!early.is_requested());
        trigger.request();
        early.requested().await;
        let mut late = early.clone();
        late.requested().await;
        assert!(late.is_requested());
    }

    #[tokio::test]
    async fn a_trigger_that_is_dropped_asks_too() {
        let (trigger, mut shutdown) = channel();
        drop(trigger);
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }
}
