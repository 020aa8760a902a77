//! Who somebody has shown to be.

use std::time::Duration;

use crate::routing::Claims;

/// A moment by the wall clock, as tokens have it: the time since 1970-01-01 00:00 UTC.
///
/// It is a type of its own because shards count time from the process' start, by a clock that nobody sets: the two
/// must not be mixed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct WallTime(Duration);

impl WallTime {
    #[must_use]
    pub const fn since_1970(duration: Duration) -> Self {
        Self(duration)
    }

    /// Later by this much; beyond what can be counted there is no end.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// A verified token's content; without anything in it where nobody has to show a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    pub claims: Claims,
    /// From when on it is nobody's any more: the token's `exp`, with leeway and grace. `None` for a token without one.
    ///
    /// It is compared with the wall clock whenever it matters, not turned into a span once: when the clock is set
    /// right, or the machine slept, what the clock says then is what counts.
    pub expires: Option<WallTime>,
}

impl Identity {
    #[must_use]
    pub fn is_expired(&self, now: WallTime) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}
