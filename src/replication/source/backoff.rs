//! How long to wait before trying again.

use std::time::Duration;

/// The bound of the first wait.
pub const FIRST_BOUND: Duration = Duration::from_millis(250);
/// No wait is longer: a database that is back is noticed within this.
pub const LAST_BOUND: Duration = Duration::from_secs(10);
/// No wait is shorter, so that bad luck does not make a busy loop.
pub const FLOOR: Duration = Duration::from_millis(50);

/// Exponential backoff with full jitter: each wait is anywhere below a bound that doubles, so that gateways that lost
/// the same server do not come back in step.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait; `random` is from 0 to 1.
    pub fn next(&mut self, random: f64) -> Duration {
        let doubled = FIRST_BOUND.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        doubled.min(LAST_BOUND).mul_f64(random.clamp(0.0, 1.0)).max(FLOOR)
    }

    /// It works again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn doubles_up_to_a_bound_and_starts_over() {
        let mut backoff = Backoff::default();
        let bounds: Vec<u128> = (0..8).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(bounds, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        backoff.reset();
        assert_eq!(backoff.next(1.0), FIRST_BOUND);
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds(failures in 0_u32..200, random in -1.0_f64..2.0) {
            let mut backoff = Backoff { failures };
            let wait = backoff.next(random);
            prop_assert!((FLOOR..=LAST_BOUND).contains(&wait));
        }
    }
}
