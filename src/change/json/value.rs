//! One value, by its type.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::Int8Format;
use super::array::{write_array, write_vector};
use super::composite::write_composite;
use super::escape::write_quoted;
use super::hstore::write_hstore;
use super::scalar::{write_bool, write_number};
use super::timestamp::{write_timestamp_text, write_timestamp_tz_text};
use crate::change::{Type, TypeKind};

/// How deeply arrays and composites may be nested in a value. Types end long before; each level of a value is quoted
/// inside the next, so that Postgres' limit of 1 GB ends before, too.
const DEPTH_MAX: usize = 64;

/// A value's text that is not what its type writes under [`super::SESSION_SETTINGS`]. Says nothing of the value itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("boolean is neither `t` nor `f`")]
    Bool,
    #[error("array literal is malformed")]
    Array,
    #[error("row literal is malformed")]
    Composite,
    #[error("row literal does not have the {expected} fields of its type as last looked up: the type was altered")]
    FieldCount { expected: usize },
    #[error("hstore literal is malformed")]
    Hstore,
    /// Written as it is, it would break the message for every subscriber.
    #[error("json value is no JSON")]
    Json,
    #[error("value is nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
}

/// What stays the same throughout a value, and how deep in it we are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    int8: Int8Format,
    depth: usize,
}

/// Appends the JSON of a value that has this text. Bytes that are no UTF-8, which Postgres does not send, are replaced
/// by U+FFFD.
///
/// # Errors
/// The text is none of this type; `out` is then as it was.
pub fn write_value(out: &mut Vec<u8>, ty: &Type, text: &[u8], int8: Int8Format) -> Result<(), ValueError> {
    let start = out.len();
    let text = match std::str::from_utf8(text) {
        Ok(_) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(String::from_utf8_lossy(text).into_owned().into_bytes()),
    };
    write(out, &ty.kind, &text, Context { int8, depth: 0 }).inspect_err(|_| out.truncate(start))
}

/// Any value at any depth; `text` is UTF-8.
pub(super) fn write(out: &mut Vec<u8>, kind: &TypeKind, text: &[u8], context: Context) -> Result<(), ValueError> {
    match kind {
        TypeKind::Bool => write_bool(out, text)?,
        TypeKind::Int8 if context.int8 == Int8Format::String => write_quoted(out, text),
        TypeKind::Number | TypeKind::Int8 => write_number(out, text),
        TypeKind::Timestamp => write_timestamp_text(out, text),
        TypeKind::TimestampTz => write_timestamp_tz_text(out, text),
        TypeKind::Json => write_json(out, text)?,
        TypeKind::Hstore => write_hstore(out, text)?,
        TypeKind::Array { element, delimiter } => write_array(out, element, *delimiter, text, context.deeper()?)?,
        TypeKind::Vector { element } => write_vector(out, element, text, context.deeper()?)?,
        TypeKind::Composite { fields } => write_composite(out, fields, text, context.deeper()?)?,
        TypeKind::Date | TypeKind::Enum | TypeKind::Text | TypeKind::Inexact(_) => write_quoted(out, text),
    }
    Ok(())
}

impl Context {
    fn deeper(self) -> Result<Self, ValueError> {
        if self.depth < DEPTH_MAX { Ok(Self { depth: self.depth + 1, ..self }) } else { Err(ValueError::TooDeep) }
    }
}

/// `json` keeps its blanks and its order of keys; `jsonb` has the form that Postgres gave it.
fn write_json(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    serde_json::from_slice::<IgnoredAny>(text).map_err(|_| ValueError::Json)?;
    out.extend_from_slice(text);
    Ok(())
}
