//! Types, as far as `row_to_json` tells them apart.
//!
//! Built-in types are known; all others are described by the database's catalogue ([`TypeDefinition`]), because a WAL
//! message carries only their OIDs.

use std::collections::HashMap;
use std::sync::Arc;

use super::Oid;

/// The first OID that Postgres gives to an object that is not built in (`FirstNormalObjectId`).
pub const FIRST_USER_OID: Oid = 16_384;

/// How `row_to_json` writes a value of a type, decided once for each type.
#[derive(Debug, Clone, PartialEq)]
pub enum TypeKind {
    /// `true` or `false`.
    Bool,
    /// `int2`, `int4`, `float4`, `float8`, `numeric`: the text itself, quoted only where JSON has no such number.
    Number,
    /// `int8`: a number, or a string for clients without 64-bit integers.
    Int8,
    /// ISO 8601, with a `T` between date and time and a full offset.
    Date,
    Timestamp,
    TimestampTz,
    /// `json` and `jsonb`: the text as it is.
    Json,
    /// `hstore`, which has a cast to `json`.
    Hstore,
    /// A true array; `delimiter` is `,` for all built-in types but `box`.
    Array {
        element: Arc<Type>,
        delimiter: u8,
    },
    /// `int2vector` and `oidvector`: arrays whose text form is blank-separated.
    Vector {
        element: Arc<Type>,
    },
    Composite {
        fields: Vec<Field>,
    },
    /// Every other type: its text as a JSON string.
    Text,
}

/// One attribute of a composite type.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: Arc<str>,
    pub ty: Arc<Type>,
}

/// A type. A domain has the `kind` and `base_oid` of what it is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Type {
    pub oid: Oid,
    /// The type under all domains; equal to `oid` for a type that is no domain.
    pub base_oid: Oid,
    pub name: Arc<str>,
    pub kind: TypeKind,
}

/// A type as the database's catalogue describes it; OIDs may refer to types that are yet to be defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeDefinition {
    pub oid: Oid,
    pub name: String,
    pub shape: DefinitionShape,
}

/// What `pg_type` says a type is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefinitionShape {
    Domain {
        base: Oid,
    },
    Array {
        element: Oid,
        delimiter: u8,
    },
    /// In attribute order, without dropped attributes.
    Composite {
        fields: Vec<(String, Oid)>,
    },
    Hstore,
    /// Enums, ranges, multiranges, and every base type: written as text.
    Text,
}

/// Every type met so far.
#[derive(Debug, Clone, Default)]
pub struct TypeCatalogue {
    types: HashMap<Oid, Arc<Type>>,
}
