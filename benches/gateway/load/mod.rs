//! The load generator: subscribers that cost little, publishers, and a look at what a process has taken.

pub(crate) mod client;
pub(crate) mod cost;
pub(crate) mod frames;
pub(crate) mod publisher;
pub(crate) mod subscribers;

use std::time::{SystemTime, UNIX_EPOCH};

/// The value that so large a share of the sorted values does not exceed.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is between 0 and the length")]
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The value in the middle; not a number where there is none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The wall clock, which is what all processes of the machine share.
pub(crate) fn now_us() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs_f64() * 1e6
}

/// `now_us` in whole microseconds.
pub(crate) fn stamp() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(now.as_micros()).expect("a clock of this age of the world")
}
