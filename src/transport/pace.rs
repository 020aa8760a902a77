//! How often something may be done, by the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So much a second, and as much at once after a second without. Clones share one allowance.
#[derive(Debug, Clone)]
pub struct Pace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    /// What one costs, in nanoseconds.
    price: u64,
    /// When all that was done so far is paid for, in nanoseconds after the start.
    paid: AtomicU64,
}

/// What may be saved up, in nanoseconds.
const SAVED: u64 = 1_000_000_000;

impl Pace {
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let price = SAVED / u64::from(per_second.max(1));
        Self(Arc::new(Inner { started: Instant::now(), price, paid: AtomicU64::new(0) }))
    }

    /// Whether one more may be done now; if so, it has been.
    pub(super) fn take(&self) -> bool {
        self.take_at(self.0.started.elapsed())
    }

    fn take_at(&self, now: Duration) -> bool {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let pay = |paid: u64| {
            let paid = paid.max(now).saturating_add(self.0.price);
            (paid - now <= SAVED).then_some(paid)
        };
        self.0.paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_is_saved_up() {
        let pace = Pace::new(4);
        let at = |millis| pace.clone().take_at(Duration::from_millis(millis));
        assert_eq!([at(0), at(0), at(0), at(0), at(0)], [true, true, true, true, false]);
        assert_eq!([at(249), at(250), at(250)], [false, true, false]);
        assert_eq!([at(9_000), at(9_000), at(9_000), at(9_000), at(9_000)], [true, true, true, true, false]);
    }
}
