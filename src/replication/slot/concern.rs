//! What an operator should do something about before Postgres suffers, or the slot is lost. Pure.
#![deny(clippy::indexing_slicing)]

use std::fmt;

use super::{Invalidation, SlotSample, WalStatus};

/// How much more than `replay.wal` the slot may hold before that is worth a word: besides what the log keeps, Postgres
/// keeps what transactions that are still open have written, and moves on in steps.
pub const BUDGET_SLACK: u64 = 64 * 1024 * 1024;
/// Under a fifth of `max_slot_wal_keep_size` is left.
const SAFE_SHARE: u64 = 5;

/// Something that an operator should know of the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// It can't be used any more.
    Lost(Invalidation),
    /// The next checkpoint may take what it needs.
    Unreserved,
    /// `safe` bytes of WAL until then; `held` are kept now.
    NearLimit { safe: u64, held: u64 },
    /// It holds more than `replay.wal` allows the log to keep.
    OverBudget { held: u64, budget: u64 },
    /// More WAL is kept than `max_wal_size`, for this slot or another reader.
    Extended,
}

impl Concern {
    /// Every name, in the order of their weight.
    pub const NAMES: [&'static str; 5] =
        ["slot_lost", "slot_unreserved", "slot_near_limit", "slot_over_budget", "slot_extended"];

    /// Stable, for metrics and `/readyz`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        let [lost, unreserved, near_limit, over_budget, extended] = Self::NAMES;
        match self {
            Self::Lost(_) => lost,
            Self::Unreserved => unreserved,
            Self::NearLimit { .. } => near_limit,
            Self::OverBudget { .. } => over_budget,
            Self::Extended => extended,
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Lost(_) => "drop the slot and run `walcast setup`: everyone resyncs",
            Self::Unreserved | Self::NearLimit { .. } => {
                "raise max_slot_wal_keep_size, or lower replay.wal or replay.window; look for a transaction that has \
                 been open for long: if the slot is lost, everyone has to resync"
            }
            Self::OverBudget { .. } => {
                "look for a transaction that has been open for long (pg_stat_activity), or a gateway that is behind"
            }
            Self::Extended => "the gateway is behind, or replay.wal is larger than max_wal_size",
        }
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(reason) => write!(f, "the slot is lost: {}", reason.meaning()),
            Self::Unreserved => f.write_str("Postgres may remove WAL that the slot needs at its next checkpoint"),
            Self::NearLimit { safe, held } => write!(
                f,
                "the slot holds {held} bytes of WAL, and may be lost when {safe} more are written \
                 (max_slot_wal_keep_size)"
            ),
            Self::OverBudget { held, budget } => {
                write!(f, "the slot holds {held} bytes of WAL, more than replay.wal ({budget}) accounts for")
            }
            Self::Extended => f.write_str("Postgres keeps more WAL than max_wal_size"),
        }
    }
}

/// What is to be said of a slot that holds so many bytes; the heaviest first. `budget` is `replay.wal`, in bytes.
#[must_use]
pub fn concerns(slot: &SlotSample, held: Option<u64>, budget: u64) -> Vec<Concern> {
    if let Some(reason) = slot.invalidation {
        return vec![Concern::Lost(reason)];
    }
    let mut found = Vec::new();
    if slot.wal_status == WalStatus::Unreserved {
        found.push(Concern::Unreserved);
    }
    let held = held.unwrap_or(0);
    if let Some(safe) = slot.safe_wal_bytes
        && safe < held.saturating_add(safe) / SAFE_SHARE
    {
        found.push(Concern::NearLimit { safe, held });
    }
    if held > budget.saturating_add(BUDGET_SLACK) {
        found.push(Concern::OverBudget { held, budget });
    }
    if slot.wal_status == WalStatus::Extended {
        found.push(Concern::Extended);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn names(slot: SlotSample, held: u64) -> Vec<&'static str> {
        concerns(&slot, Some(held), 16 * MIB).into_iter().map(Concern::name).collect()
    }

    #[test]
    fn what_is_told_comes_before_postgres_suffers() {
        let slot = SlotSample { wal_status: WalStatus::Reserved, safe_wal_bytes: Some(100 * MIB), ..<_>::default() };
        assert!(names(slot, 16 * MIB).is_empty());
        assert_eq!(names(slot, 90 * MIB), ["slot_over_budget"]);
        let near = SlotSample { safe_wal_bytes: Some(9 * MIB), ..slot };
        assert_eq!(names(near, 40 * MIB), ["slot_near_limit"]);
        assert!(names(near, 20 * MIB).is_empty());
        let unlimited = SlotSample { safe_wal_bytes: None, wal_status: WalStatus::Extended, ..slot };
        assert_eq!(names(unlimited, 20 * MIB), ["slot_extended"]);
        let unreserved = SlotSample { safe_wal_bytes: Some(0), wal_status: WalStatus::Unreserved, ..slot };
        assert_eq!(names(unreserved, 100 * MIB), ["slot_unreserved", "slot_near_limit", "slot_over_budget"]);
    }

    #[test]
    fn of_a_lost_slot_nothing_else_matters() {
        for reason in Invalidation::ALL {
            let slot = SlotSample { invalidation: Some(reason), wal_status: WalStatus::Lost, ..<_>::default() };
            assert_eq!(names(slot, 0), ["slot_lost"]);
        }
    }

    #[test]
    fn sizes_of_any_size_are_no_reason_to_panic() {
        let slot = SlotSample { safe_wal_bytes: Some(u64::MAX), ..<_>::default() };
        assert_eq!(concerns(&slot, Some(u64::MAX), u64::MAX), []);
    }
}
