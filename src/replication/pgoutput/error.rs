//! What can be wrong with a message.

use std::fmt;

use crate::change::RowError;

/// Why bytes are no message that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("empty pgoutput message")]
    Empty,
    #[error("unknown pgoutput tag {} at the start of a message of {length} bytes", Shown(*.tag))]
    UnknownTag { tag: u8, length: usize },
    /// The server is in a mode that walcast never turns on.
    #[error(
        "pgoutput message '{0}' belongs to streamed or prepared transactions, which were not requested: the slot must \
         not be created with two_phase"
    )]
    NotRequested(char),
    #[error("malformed pgoutput message '{tag}' of {length} bytes: {fault}")]
    Malformed { tag: char, length: usize, fault: Fault },
}

/// What is wrong after the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("ends inside {field}")]
    UnexpectedEnd { field: &'static str },
    #[error("{field} is not UTF-8")]
    NotUtf8 { field: &'static str },
    #[error("{count} {field} announced, but only {remaining} bytes follow")]
    TooMany { count: usize, field: &'static str, remaining: usize },
    #[error("{field} has the unknown value {}", Shown(*.value))]
    UnknownValue { field: &'static str, value: u8 },
    #[error("{0}")]
    Row(#[from] RowError),
    #[error("{0} bytes too many")]
    TrailingBytes(usize),
}

/// A byte as a character, where it is one, and in hexadecimal.
struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_ascii_graphic() {
            write!(f, "'{}' ({:#04x})", char::from(self.0), self.0)
        } else {
            write!(f, "{:#04x}", self.0)
        }
    }
}
