//! The types that expressions are about.
//!
//! OIDs are those of `pg_type.dat`, which never change.

use crate::change::{Oid, Type, TypeKind};

/// A type under all domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scalar {
    Bool,
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
    Text,
    Varchar,
    /// `char(n)`.
    Bpchar,
    Name,
    Uuid,
    Date,
    Timestamp,
    TimestampTz,
    Time,
    Interval,
    Bytea,
    Inet,
    Cidr,
    /// Told apart by their OIDs.
    Enum(Oid),
}

/// A scalar, or an array of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    Scalar(Scalar),
    Array(Scalar),
}

/// What Postgres prefers one type of over the others (`pg_type.typcategory`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Category {
    Boolean,
    Numeric,
    String,
    DateTime,
    Timespan,
    Network,
    Enum(Oid),
    Other(Scalar),
}

/// `(oid, type, pg_type.typname, other names in SQL)`; the first of those, if any, is the one that is shown.
const NAMED: &[(Oid, Scalar, &str, &[&str])] = &[
    (16, Scalar::Bool, "bool", &["boolean"]),
    (21, Scalar::Int2, "int2", &["smallint"]),
    (23, Scalar::Int4, "int4", &["integer", "int"]),
    (20, Scalar::Int8, "int8", &["bigint"]),
    (1700, Scalar::Numeric, "numeric", &["numeric", "decimal", "dec"]),
    (700, Scalar::Float4, "float4", &["real"]),
    (701, Scalar::Float8, "float8", &["double precision", "float"]),
    (25, Scalar::Text, "text", &[]),
    (1043, Scalar::Varchar, "varchar", &["character varying"]),
    (1042, Scalar::Bpchar, "bpchar", &["character"]),
    (19, Scalar::Name, "name", &[]),
    (2950, Scalar::Uuid, "uuid", &[]),
    (1082, Scalar::Date, "date", &[]),
    (1114, Scalar::Timestamp, "timestamp", &["timestamp without time zone"]),
    (1184, Scalar::TimestampTz, "timestamptz", &["timestamp with time zone"]),
    (1083, Scalar::Time, "time", &["time without time zone"]),
    (1186, Scalar::Interval, "interval", &[]),
    (17, Scalar::Bytea, "bytea", &[]),
    (869, Scalar::Inet, "inet", &[]),
    (650, Scalar::Cidr, "cidr", &[]),
];

impl Shape {
    /// `None` for a type that expressions can't be about.
    pub(super) fn of(ty: &Type) -> Option<Self> {
        match &ty.kind {
            TypeKind::Array { element, .. } => Scalar::of(element).map(Self::Array),
            _ => Scalar::of(ty).map(Self::Scalar),
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Scalar(scalar) => scalar.name().to_owned(),
            Self::Array(scalar) => format!("{}[]", scalar.name()),
        }
    }
}

impl Scalar {
    fn of(ty: &Type) -> Option<Self> {
        if ty.kind == TypeKind::Enum {
            return Some(Self::Enum(ty.base_oid));
        }
        NAMED.iter().find(|(oid, ..)| *oid == ty.base_oid).map(|(_, scalar, ..)| *scalar)
    }

    /// By the name of a type as SQL has it, in lower case. A bare `character` is one of length one, and left out.
    pub(super) fn named(name: &str) -> Option<Self> {
        let is_named = |typname: &str, names: &[&str]| typname == name || names.contains(&name);
        let found = NAMED.iter().find(|(_, _, typname, names)| is_named(typname, names));
        found.map(|(_, scalar, ..)| *scalar).filter(|_| name != "character")
    }

    /// As Postgres calls it in its messages.
    pub(super) fn name(self) -> &'static str {
        let named = NAMED.iter().find(|(_, scalar, ..)| *scalar == self);
        named.map_or("enum", |(_, _, typname, names)| names.first().unwrap_or(typname))
    }

    /// As a cast names it; enums are compared as text.
    pub(super) fn typname(self) -> &'static str {
        let named = NAMED.iter().find(|(_, scalar, ..)| *scalar == self);
        named.map_or("text", |(_, _, typname, _)| typname)
    }

    /// The same whatever the search path.
    pub(super) fn cast_name(self) -> String {
        format!("pg_catalog.{}", self.typname())
    }

    pub(super) const fn category(self) -> Category {
        match self {
            Self::Bool => Category::Boolean,
            Self::Int2 | Self::Int4 | Self::Int8 | Self::Numeric | Self::Float4 | Self::Float8 => Category::Numeric,
            Self::Text | Self::Varchar | Self::Bpchar | Self::Name => Category::String,
            Self::Date | Self::Timestamp | Self::TimestampTz | Self::Time => Category::DateTime,
            Self::Interval => Category::Timespan,
            Self::Inet | Self::Cidr => Category::Network,
            Self::Enum(oid) => Category::Enum(oid),
            Self::Uuid | Self::Bytea => Category::Other(self),
        }
    }

    /// `pg_type.typispreferred`.
    pub(super) const fn is_preferred(self) -> bool {
        matches!(self, Self::Bool | Self::Float8 | Self::Text | Self::TimestampTz | Self::Interval | Self::Inet)
    }

    /// Whether there is an implicit cast (`pg_cast.castcontext = 'i'`), or none is needed.
    pub(super) fn casts_to(self, to: Self) -> bool {
        use Scalar::{
            Bpchar, Cidr, Date, Float4, Float8, Inet, Int2, Int4, Int8, Interval, Name, Numeric, Text, Time, Timestamp,
            TimestampTz, Varchar,
        };
        self == to
            || match self {
                Int2 => matches!(to, Int4 | Int8 | Numeric | Float4 | Float8),
                Int4 => matches!(to, Int8 | Numeric | Float4 | Float8),
                Int8 => matches!(to, Numeric | Float4 | Float8),
                Numeric => matches!(to, Float4 | Float8),
                Float4 => to == Float8,
                Text => matches!(to, Varchar | Bpchar | Name),
                Varchar => matches!(to, Text | Bpchar | Name),
                Bpchar => matches!(to, Text | Varchar | Name),
                Name => to == Text,
                Date => matches!(to, Timestamp | TimestampTz),
                Timestamp => to == TimestampTz,
                Time => to == Interval,
                Cidr => to == Inet,
                _ => false,
            }
    }
}
