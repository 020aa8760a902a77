//! Positions in the feed, and the opaque text in which clients hold them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::BufMut;
use data_encoding::BASE64URL_NOPAD;

use crate::change::{Ancestor, FeedSystem, Lsn, Visibility};

use super::{Fingerprint, Splice};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub system: FeedSystem,
    pub position: Position,
    /// What a snapshot gave beside that, where the feed has not passed it yet.
    pub splice: Option<Arc<Splice>>,
    /// Of the filter and the rules under which it was given out; none where all rows are seen.
    pub fingerprint: Option<Fingerprint>,
}

/// Which cursors mean something: those of the present timeline, and of older ones up to where they were left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lineage {
    pub(super) system: FeedSystem,
    pub(super) ancestry: Vec<Ancestor>,
}

impl Lineage {
    pub(super) fn holds(&self, cursor: &Cursor) -> bool {
        let FeedSystem { system_id, timeline } = cursor.system;
        system_id == self.system.system_id
            && self.has_up_to(timeline, cursor.position)
            && cursor.splice.as_ref().is_none_or(|splice| self.has(splice))
    }

    /// Nothing that the snapshot may have seen was abandoned.
    pub(super) fn has(&self, splice: &Splice) -> bool {
        self.has_up_to(splice.timeline, Position::before(splice.until))
    }

    fn has_up_to(&self, timeline: u32, position: Position) -> bool {
        // A transaction whose commit record begins at the end was abandoned with it.
        let is_before =
            |ancestor: &Ancestor| ancestor.timeline == timeline && position <= Position::before(ancestor.end);
        timeline == self.system.timeline || self.ancestry.iter().any(is_before)
    }
}

/// The first byte of a cursor's bytes; another layout gets another number.
const LAYOUT: u8 = 1;
/// Layout, system id, timeline, LSN, ordinal.
const LENGTH: usize = 1 + 8 + 4 + 8 + 8;
/// The same, then a snapshot's end (LSN), its `xmax`, and the lower halves of the ids in progress.
const LAYOUT_WITH_SPLICE: u8 = 2;
/// Added to the layout: a fingerprint follows the ordinal.
const WITH_FINGERPRINT: u8 = 2;
/// With a fingerprint, and without a snapshot.
const FIXED_LENGTH_MAX: usize = LENGTH + 8;
const LENGTH_WITH_SPLICE: usize = LENGTH + 8 + 8;
/// A cursor is in every message and in every join: 5.5 KB of text are the most that it may be. Only a server with more
/// connections than this can have so many transactions in progress.
const IN_PROGRESS_MAX: usize = 1024;

/// No cursor is longer, in bytes of text.
const TEXT_LENGTH_MAX: usize = (LENGTH_WITH_SPLICE + 8 + IN_PROGRESS_MAX * 4).div_ceil(3) * 4;

impl Cursor {
    /// Appends it as a JSON string, or null where that would be too long: who loses the connection right then begins
    /// afresh.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        if self.splice.is_some() {
            let Some(text) = self.text() else { return out.extend_from_slice(b"null") };
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
        } else {
            // In each message of each shape, and short: nothing is allocated for it.
            let (bytes, length) = self.fixed();
            let bytes = bytes.get(..length).unwrap_or(&bytes);
            out.push(b'"');
            let start = out.len();
            out.resize(start + BASE64URL_NOPAD.encode_len(bytes.len()), 0);
            BASE64URL_NOPAD.encode_mut(bytes, out.split_at_mut(start).1);
        }
        out.push(b'"');
    }

    /// What clients are given, unless that would be too long.
    pub(super) fn text(&self) -> Option<String> {
        let is_long = |splice: &Arc<Splice>| splice.visibility.in_progress().len() > IN_PROGRESS_MAX;
        (!self.splice.as_ref().is_some_and(is_long)).then(|| self.to_string())
    }

    /// What stands before a snapshot's, and how long it is.
    fn fixed(&self) -> ([u8; FIXED_LENGTH_MAX], usize) {
        let mut bytes = [0; FIXED_LENGTH_MAX];
        let mut rest = &mut bytes[..];
        let layout = if self.splice.is_some() { LAYOUT_WITH_SPLICE } else { LAYOUT };
        rest.put_u8(layout + if self.fingerprint.is_some() { WITH_FINGERPRINT } else { 0 });
        rest.put_u64(self.system.system_id);
        rest.put_u32(self.system.timeline);
        rest.put_u64(self.position.lsn.as_u64());
        rest.put_u64(self.position.ordinal);
        if let Some(Fingerprint(hash)) = self.fingerprint {
            rest.put_u64(hash);
        }
        let length = FIXED_LENGTH_MAX - rest.remaining_mut();
        (bytes, length)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fixed, length) = self.fixed();
        let mut bytes = fixed.get(..length).unwrap_or_default().to_vec();
        if let Some(splice) = &self.splice {
            bytes.extend(splice.until.as_u64().to_be_bytes());
            bytes.extend(splice.visibility.xmax().to_be_bytes());
            let lower_half = |xid: &u64| xid.to_be_bytes().into_iter().skip(4);
            bytes.extend(splice.visibility.in_progress().iter().flat_map(lower_half));
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
        if text.len() > TEXT_LENGTH_MAX {
            return Err(ParseCursorError);
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| ParseCursorError)?;
        let (layout, rest) = bytes.split_first().ok_or(ParseCursorError)?;
        let (system_id, rest) = take(rest)?;
        let (timeline, rest) = take(rest)?;
        let timeline = u32::from_be_bytes(timeline);
        let (lsn, rest) = take(rest)?;
        let (ordinal, rest) = take(rest)?;
        let (layout, fingerprint, rest) = match layout.checked_sub(WITH_FINGERPRINT) {
            Some(layout @ (LAYOUT | LAYOUT_WITH_SPLICE)) => {
                let (hash, rest) = take(rest)?;
                (layout, Some(Fingerprint(u64::from_be_bytes(hash))), rest)
            }
            _ => (*layout, None, rest),
        };
        let splice = match (layout, rest) {
            (LAYOUT, []) => None,
            (LAYOUT_WITH_SPLICE, rest) => Some(Arc::new(splice(timeline, rest)?)),
            _ => return Err(ParseCursorError),
        };
        Ok(Self {
            system: FeedSystem { system_id: u64::from_be_bytes(system_id), timeline },
            position: Position { lsn: Lsn::new(u64::from_be_bytes(lsn)), ordinal: u64::from_be_bytes(ordinal) },
            splice,
            fingerprint,
        })
    }
}

fn splice(timeline: u32, bytes: &[u8]) -> Result<Splice, ParseCursorError> {
    let (until, rest) = take(bytes)?;
    let (xmax, rest) = take(rest)?;
    let (ids, []) = rest.as_chunks::<4>() else { return Err(ParseCursorError) };
    let beyond = Visibility::new(u64::from_be_bytes(xmax), []);
    let in_progress: Vec<u64> = ids.iter().map(|xid| beyond.widen(u32::from_be_bytes(*xid))).collect();
    let visibility = Visibility::new(beyond.xmax(), in_progress.iter().copied());
    // Ours are in order and below xmax; others would be another cursor once they are.
    let is_ours = visibility.in_progress() == in_progress;
    is_ours.then(|| Splice { visibility, until: Lsn::new(u64::from_be_bytes(until)), timeline }).ok_or(ParseCursorError)
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
        fn comes_back_as_it_went(
            system_id: u64, timeline: u32, lsn: u64, ordinal: u64, fingerprint: Option<u64>,
            splice in prop::option::of(
                (any::<u64>(), (1_u64 << 33)..(1 << 50), prop::collection::vec(1..1_u64 << 31, 0..9)),
            ),
        ) {
            let splice = splice.map(|(until, xmax, behind)| {
                let visibility = Visibility::new(xmax, behind.into_iter().map(|behind| xmax - behind));
                Arc::new(Splice { visibility, until: Lsn::new(until), timeline })
            });
            let cursor = Cursor {
                system: FeedSystem { system_id, timeline },
                position: Position { lsn: Lsn::new(lsn), ordinal },
                splice,
                fingerprint: fingerprint.map(Fingerprint),
            };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn any_bytes_are_a_cursor_or_an_error(layout in 0_u8..6, rest in prop::collection::vec(any::<u8>(), 20..80)) {
            let text = BASE64URL_NOPAD.encode(&[vec![layout], rest].concat());
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
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
        let text = BASE64URL_NOPAD.encode(&[5; LENGTH]);
        assert_eq!(text.parse::<Cursor>(), Err(ParseCursorError));
    }

    #[test]
    fn a_cursor_is_never_long() {
        let with = |count: u64| Cursor {
            system: FeedSystem { system_id: 1, timeline: 1 },
            position: Position::default(),
            splice: Some(Arc::new(Splice {
                visibility: Visibility::new(9000, 1..=count),
                until: Lsn::ZERO,
                timeline: 1,
            })),
            fingerprint: Some(Fingerprint(7)),
        };
        let json = |count| {
            let mut out = Vec::new();
            with(count).write_json(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!((json(1024), json(1025)), (format!("\"{}\"", with(1024)), "null".to_owned()));
        assert_eq!(with(1024).to_string().parse(), Ok(with(1024)));
        assert_eq!(with(1029).to_string().parse::<Cursor>(), Err(ParseCursorError));
    }

    #[test]
    fn order_is_commit_lsn_then_ordinal() {
        let at = |lsn, ordinal| Position { lsn: Lsn::new(lsn), ordinal };
        assert!(at(1, 9) < at(2, 0));
        assert!(at(2, 0) < at(2, 1));
        assert_eq!(Position::before(Lsn::new(2)), at(2, 0));
    }
}
