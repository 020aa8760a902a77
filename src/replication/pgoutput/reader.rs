//! A checked cursor over a message: every read says what it was reading when the bytes ran out.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::error::Fault;
use crate::change::{Lsn, PgTimestamp, Row};

pub(super) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(super) const fn new(message: Bytes) -> Self {
        Self { rest: message }
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, Fault> {
        self.array(field).map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, Fault> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, Fault> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, Fault> {
        self.array(field).map(i32::from_be_bytes)
    }

    pub(super) fn lsn(&mut self, field: &'static str) -> Result<Lsn, Fault> {
        self.array(field).map(u64::from_be_bytes).map(Lsn::new)
    }

    pub(super) fn timestamp(&mut self, field: &'static str) -> Result<PgTimestamp, Fault> {
        self.array(field).map(i64::from_be_bytes).map(PgTimestamp::from_micros)
    }

    /// A number of things that take at least `each` bytes, refused where so many can't follow: whoever allocates
    /// for `count` of them allocates no more than in proportion to the message.
    pub(super) fn count(&self, count: usize, each: usize, field: &'static str) -> Result<usize, Fault> {
        let remaining = self.rest.len();
        if count.saturating_mul(each) > remaining {
            return Err(Fault::TooMany { count, field, remaining });
        }
        Ok(count)
    }

    /// A NUL-terminated string.
    pub(super) fn name(&mut self, field: &'static str) -> Result<Arc<str>, Fault> {
        let terminator = self.rest.iter().position(|byte| *byte == 0).ok_or(Fault::UnexpectedEnd { field })?;
        let text = self.rest.get(..terminator).unwrap_or_default();
        let name = std::str::from_utf8(text).map_err(|_invalid| Fault::NotUtf8 { field })?.into();
        self.rest.advance(terminator + 1);
        Ok(name)
    }

    /// A slice of the message, not copied.
    pub(super) fn bytes(&mut self, length: u32, field: &'static str) -> Result<Bytes, Fault> {
        match usize::try_from(length) {
            Ok(length) if length <= self.rest.len() => Ok(self.rest.split_to(length)),
            _ => Err(Fault::UnexpectedEnd { field }),
        }
    }

    pub(super) fn row(&mut self) -> Result<Row, Fault> {
        Ok(Row::parse(&mut self.rest)?)
    }

    /// Nothing may be left: a message that is longer than its layout is another one than it seems.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(Fault::TrailingBytes(self.rest.len())) }
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Fault> {
        let array = *self.rest.first_chunk().ok_or(Fault::UnexpectedEnd { field })?;
        self.rest.advance(N);
        Ok(array)
    }
}
