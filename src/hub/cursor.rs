//! Positions in the feed, and the opaque text in which clients hold them.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;

use crate::change::{Ancestor, FeedSystem, Lsn};

/// A point in the feed: everything up to and including change `ordinal` of the transaction that committed at `lsn`.
///
/// Ordinals begin at 1, so that ordinal 0 is the point just before that transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub lsn: Lsn,
    pub ordinal: u64,
}

impl Position {
    /// Just before whatever commits at `lsn` or later.
    #[must_use]
    pub const fn before(lsn: Lsn) -> Self {
        Self { lsn, ordinal: 0 }
    }
}

/// What a client holds: a position, and the database system and timeline in which it means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub system: FeedSystem,
    pub position: Position,
}

/// Which cursors mean something: those of the present timeline, and of older ones up to where they were left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lineage {
    pub(super) system: FeedSystem,
    pub(super) ancestry: Vec<Ancestor>,
}

impl Lineage {
    pub(super) fn holds(&self, cursor: Cursor) -> bool {
        let FeedSystem { system_id, timeline } = cursor.system;
        let is_before = |ancestor: &Ancestor| ancestor.timeline == timeline && cursor.position.lsn <= ancestor.end;
        system_id == self.system.system_id && (timeline == self.system.timeline || self.ancestry.iter().any(is_before))
    }
}

/// The first byte of a cursor's bytes; another layout gets another number.
const LAYOUT: u8 = 1;
/// Layout, system id, timeline, LSN, ordinal.
const LENGTH: usize = 1 + 8 + 4 + 8 + 8;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; LENGTH];
        let fields: [&[u8]; 5] = [
            &[LAYOUT],
            &self.system.system_id.to_be_bytes(),
            &self.system.timeline.to_be_bytes(),
            &self.position.lsn.as_u64().to_be_bytes(),
            &self.position.ordinal.to_be_bytes(),
        ];
        for (slot, byte) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *slot = *byte;
        }
        f.write_str(&BASE64URL_NOPAD.encode(&bytes))
    }
}

/// Text that no walcast gave out as a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct ParseCursorError;

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| ParseCursorError)?;
        let bytes: &[u8; LENGTH] = bytes.as_slice().try_into().map_err(|_| ParseCursorError)?;
        let (layout, rest) = bytes.split_first().ok_or(ParseCursorError)?;
        if *layout != LAYOUT {
            return Err(ParseCursorError);
        }
        let (system_id, rest) = take(rest)?;
        let (timeline, rest) = take(rest)?;
        let (lsn, rest) = take(rest)?;
        let (ordinal, _) = take(rest)?;
        Ok(Self {
            system: FeedSystem { system_id: u64::from_be_bytes(system_id), timeline: u32::from_be_bytes(timeline) },
            position: Position { lsn: Lsn::new(u64::from_be_bytes(lsn)), ordinal: u64::from_be_bytes(ordinal) },
        })
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), ParseCursorError> {
    bytes.split_first_chunk().map(|(head, rest)| (*head, rest)).ok_or(ParseCursorError)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn comes_back_as_it_went(system_id: u64, timeline: u32, lsn: u64, ordinal: u64) {
            let cursor = Cursor {
                system: FeedSystem { system_id, timeline },
                position: Position { lsn: Lsn::new(lsn), ordinal },
            };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn any_text_is_a_cursor_or_an_error(text: String) {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    #[test]
    fn another_layout_is_refused() {
        let text = BASE64URL_NOPAD.encode(&[2; LENGTH]);
        assert_eq!(text.parse::<Cursor>(), Err(ParseCursorError));
    }

    #[test]
    fn order_is_commit_lsn_then_ordinal() {
        let at = |lsn, ordinal| Position { lsn: Lsn::new(lsn), ordinal };
        assert!(at(1, 9) < at(2, 0));
        assert!(at(2, 0) < at(2, 1));
        assert_eq!(Position::before(Lsn::new(2)), at(2, 0));
    }
}
