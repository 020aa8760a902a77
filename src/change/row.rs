//! A row's values, still in the bytes in which the write-ahead log carried them.
#![deny(clippy::indexing_slicing)]

use std::fmt;

use bytes::{Buf, Bytes};

/// pgoutput's column kinds (`TupleData` in "Logical Replication Message Formats").
const NULL: u8 = b'n';
const UNCHANGED: u8 = b'u';
const TEXT: u8 = b't';
const BINARY: u8 = b'b';

/// One value of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Datum<'a> {
    Null,
    /// A TOASTed value that the update did not touch: Postgres did not send it. Never a null.
    Unchanged,
    /// The type's text output, under the session settings that the replication connection fixes.
    Text(&'a [u8]),
}

impl fmt::Debug for Datum<'_> {
    // Row values never reach a log line: lengths only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Unchanged => f.write_str("unchanged"),
            Self::Text(text) => write!(f, "text of {} bytes", text.len()),
        }
    }
}

/// Bytes that are no `TupleData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    #[error("row ends inside column {column} of {columns}")]
    Truncated { column: u16, columns: u16 },
    #[error("row without a column count")]
    Empty,
    #[error("column {column} has unknown kind {kind:#04x}")]
    UnknownKind { column: u16, kind: u8 },
    #[error("column {column} is in binary format, which was not asked for")]
    Binary { column: u16 },
    #[error("column {column} or its value is beyond what a row can hold")]
    TooLarge { column: u16 },
}

/// A row as Postgres sent it: a checked slice of the WAL message, not copied and not parsed further.
///
/// Layout: one `(kind, [length, bytes])` for each column. [`Row::parse`] has walked it once, so that reading it
/// can't fail.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    data: Bytes,
    columns: u16,
}

impl Row {
    /// Checks the `TupleData` at the start of `message` and splits it off.
    ///
    /// # Errors
    /// Any byte string that is no `TupleData`; `message` is then in an unspecified state.
    pub fn parse(message: &mut Bytes) -> Result<Self, RowError> {
        let columns = message.first_chunk::<2>().map(|head| u16::from_be_bytes(*head)).ok_or(RowError::Empty)?;
        let mut rest = message.get(2..).unwrap_or_default();
        for column in 0..columns {
            let truncated = RowError::Truncated { column, columns };
            let (kind, after_kind) = rest.split_first().ok_or(truncated)?;
            rest = match *kind {
                NULL | UNCHANGED => after_kind,
                TEXT => split_value(after_kind).ok_or(truncated)?.1,
                BINARY => return Err(RowError::Binary { column }),
                kind => return Err(RowError::UnknownKind { column, kind }),
            };
        }
        let mut data = message.split_to(message.len() - rest.len());
        data.advance(2);
        Ok(Self { data, columns })
    }

    /// A row of these values, which a query gave in text format; `None` is null.
    ///
    /// # Errors
    /// More columns than a table can have, or a value of 4 GiB: Postgres gives neither.
    pub fn from_text<'v>(values: impl IntoIterator<Item = Option<&'v str>>) -> Result<Self, RowError> {
        let (mut data, mut columns) = (Vec::new(), 0_u16);
        for value in values {
            match value {
                None => data.push(NULL),
                Some(text) => {
                    let length = u32::try_from(text.len()).map_err(|_| RowError::TooLarge { column: columns })?;
                    data.push(TEXT);
                    data.extend_from_slice(&length.to_be_bytes());
                    data.extend_from_slice(text.as_bytes());
                }
            }
            columns = columns.checked_add(1).ok_or(RowError::TooLarge { column: columns })?;
        }
        Ok(Self { data: data.into(), columns })
    }

    /// How many columns the row has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.columns as usize
    }

    /// A row of a table without columns.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.columns == 0
    }

    /// The bytes that the row occupies, for accounting.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len()
    }

    /// The values in column order.
    pub fn iter(&self) -> impl Iterator<Item = Datum<'_>> {
        let mut rest: &[u8] = &self.data;
        std::iter::from_fn(move || {
            let (kind, after_kind) = rest.split_first()?;
            let (datum, after) = match *kind {
                TEXT => split_value(after_kind).map(|(text, after)| (Datum::Text(text), after))?,
                UNCHANGED => (Datum::Unchanged, after_kind),
                _ => (Datum::Null, after_kind),
            };
            rest = after;
            Some(datum)
        })
    }

    /// The value of one column; `None` past the last.
    #[must_use]
    pub fn get(&self, column: usize) -> Option<Datum<'_>> {
        self.iter().nth(column)
    }

    /// The checked bytes behind the values, a slice of the buffer that they were read into.
    #[must_use]
    pub const fn data(&self) -> &Bytes {
        &self.data
    }

    /// The row again after its bytes were moved to another buffer; `data` must be equal to [`Row::data`].
    #[must_use]
    pub fn with_data(&self, data: Bytes) -> Self {
        debug_assert_eq!(self.data, data);
        Self { data, columns: self.columns }
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A four-byte length and as many bytes, then the rest.
fn split_value(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_texts_is_a_row_as_the_log_carries_it() {
        let row = Row::from_text([Some("1"), None, Some("")]).unwrap();
        let values: Vec<_> = row.iter().collect();
        assert_eq!(values, [Datum::Text(b"1"), Datum::Null, Datum::Text(b"")]);
        let mut message = [&3_u16.to_be_bytes()[..], row.data()].concat().into();
        assert_eq!(Row::parse(&mut message), Ok(row));
        assert_eq!(Row::from_text(vec![None; 65_536]), Err(RowError::TooLarge { column: u16::MAX }));
    }
}
