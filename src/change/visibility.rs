//! Which transactions a snapshot of the database sees.

use std::str::FromStr;

/// What `pg_current_snapshot()` says: a transaction is seen if its id is below `xmax` and not in progress.
///
/// Ids are Postgres' 64-bit ones. The write-ahead log has their lower half only, so that [`Visibility::sees`] takes
/// the full id to be the one closest to `xmax`: Postgres itself keeps all live ids within 2^31 of each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Visibility {
    xmax: u64,
    /// Top-level ids below `xmax` that were in progress, ascending.
    in_progress: Box<[u64]>,
}

impl Visibility {
    /// Of a snapshot with this `xmax` and these ids in progress, in any order.
    #[must_use]
    pub fn new(xmax: u64, in_progress: impl IntoIterator<Item = u64>) -> Self {
        let mut in_progress: Vec<u64> = in_progress.into_iter().filter(|xid| *xid < xmax).collect();
        in_progress.sort_unstable();
        in_progress.dedup();
        Self { xmax, in_progress: in_progress.into() }
    }

    /// Of a view that no ids tell, but a position does: whatever committed before it is seen, and nothing else. So are
    /// standbys', where transactions become visible in the order of their commits.
    #[must_use]
    pub fn all() -> Self {
        Self { xmax: u64::MAX, in_progress: Box::default() }
    }

    /// It is [`Visibility::all`].
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.xmax == u64::MAX
    }

    /// The first id that the snapshot does not know at all.
    #[must_use]
    pub const fn xmax(&self) -> u64 {
        self.xmax
    }

    /// Ascending.
    #[must_use]
    pub const fn in_progress(&self) -> &[u64] {
        &self.in_progress
    }

    /// Everything with a lower id has ended: the snapshot holds what of it has committed.
    #[must_use]
    pub fn xmin(&self) -> u64 {
        self.in_progress.first().map_or(self.xmax, |oldest| *oldest)
    }

    /// Whether the snapshot holds what the transaction with this 32-bit id did, given that it has committed.
    #[must_use]
    pub fn sees(&self, xid: u32) -> bool {
        let full = self.widen(xid);
        self.is_all() || full < self.xmax && self.in_progress.binary_search(&full).is_err()
    }

    /// The 64-bit id with this lower half that is closest to `xmax`.
    #[must_use]
    pub const fn widen(&self, xid: u32) -> u64 {
        let lower = self.xmax & 0xFFFF_FFFF;
        let ahead = (xid as u64).wrapping_sub(lower) & 0xFFFF_FFFF;
        let ahead_or_behind = self.xmax.wrapping_add(ahead);
        if ahead < 1 << 31 { ahead_or_behind } else { ahead_or_behind.wrapping_sub(1 << 32) }
    }
}

/// Text that `pg_current_snapshot()` does not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not of the form `xmin:xmax:xip,…`")]
pub struct ParseVisibilityError;

impl FromStr for Visibility {
    type Err = ParseVisibilityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| ParseVisibilityError);
        let (xmin, rest) = text.split_once(':').ok_or(ParseVisibilityError)?;
        let (xmax, list) = rest.split_once(':').ok_or(ParseVisibilityError)?;
        let (xmin, xmax) = (number(xmin)?, number(xmax)?);
        let listed = list.split(',').filter(|digits| !digits.is_empty()).map(number);
        let in_progress = listed.collect::<Result<Vec<_>, _>>()?;
        let well_formed = xmin <= xmax && in_progress.iter().all(|xid| (xmin..xmax).contains(xid));
        well_formed.then(|| Self::new(xmax, in_progress)).ok_or(ParseVisibilityError)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sees_what_had_ended() {
        let visibility: Visibility = "10:15:10,13".parse().unwrap();
        let seen: Vec<u32> = (8..18).filter(|xid| visibility.sees(*xid)).collect();
        assert_eq!(seen, [8, 9, 11, 12, 14]);
        assert!("7:7:".parse::<Visibility>().unwrap().sees(6));
        assert!(!"7:7:".parse::<Visibility>().unwrap().sees(7));
    }

    #[test]
    fn ids_wrap() {
        let epoch = 5_u64 << 32;
        let visibility = Visibility::new(epoch + 3, [epoch - 2, epoch + 1]);
        for (xid, seen) in [
            (0, true),
            (1, false),
            (2, true),
            (3, false),
            (u32::MAX, true),
            (u32::MAX - 1, false),
            (u32::MAX - 2, true),
        ] {
            assert_eq!(visibility.sees(xid), seen, "{xid}");
        }
        assert_eq!(visibility.widen(u32::MAX), epoch - 1);
        assert_eq!(visibility.widen(4), epoch + 4);
    }

    #[test]
    fn refuses_what_is_no_snapshot() {
        for text in ["", "1", "1:2", "2:1:", "1:2:x", "1:3:5", "-1:2:", "1:2:1:", "3:5:1"] {
            assert_eq!(text.parse::<Visibility>(), Err(ParseVisibilityError), "{text}");
        }
    }

    proptest! {
        /// The definition, on 64-bit ids.
        #[test]
        fn agrees_with_the_definition(
            xmax in (1_u64 << 31)..(1 << 40),
            behind in prop::collection::vec(1_u64..1000, 0..20),
            distance in -2000_i64..2000,
        ) {
            let in_progress: Vec<u64> = behind.iter().map(|behind| xmax - behind).collect();
            let xid = xmax.checked_add_signed(distance).unwrap();
            let visibility = Visibility::new(xmax, in_progress.iter().copied());
            let lower = u32::try_from(xid & 0xFFFF_FFFF).unwrap();
            prop_assert_eq!(visibility.widen(lower), xid);
            prop_assert_eq!(visibility.sees(lower), xid < xmax && !in_progress.contains(&xid));
        }
    }
}
