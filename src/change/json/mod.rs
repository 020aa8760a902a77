//! Values as `row_to_json` writes them, straight into the output buffer.
//!
//! A value comes as its type's text output and leaves as JSON, without a tree in between and, on the common path,
//! without an allocation. [`ChangeEncoder`] writes a whole change, [`write_value`] a single value. The oracle is
//! Postgres itself: `tests/it/values.rs` compares byte for byte.
//!
//! Deliberately unknown here: topics, messages, and what a client asked for beyond a set of columns.
#![deny(clippy::indexing_slicing)]

mod array;
mod change;
mod composite;
mod escape;
mod hstore;
mod quoted;
mod scalar;
mod timestamp;
mod value;

pub use change::{ChangeEncoder, EncodeOptions, MalformedValue, Shown};
pub use escape::write_string;
pub use scalar::write_unsigned;
pub use timestamp::write_timestamp;
pub use value::{ValueError, write_value};

/// The settings under which a session must give its values, for their text to be what this module reads and what
/// `row_to_json` shows. The replication connection sets them at its start.
///
/// Left to the database, since `row_to_json` shows the same difference: `lc_monetary` (`money`), `search_path` (whether
/// `regclass` and its kin are qualified).
pub const SESSION_SETTINGS: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    // Any value above 0: the shortest text that reads back as the same float.
    ("extra_float_digits", "1"),
];

/// How an `int8` is shown, wherever it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Int8Format {
    /// As `row_to_json` does.
    #[default]
    Number,
    /// A string, for clients whose numbers are doubles: beyond 2^53 they would read another number.
    String,
}

#[cfg(test)]
mod tests;
