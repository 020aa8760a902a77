//! What the database's catalogue says about types that are not built in.

use super::{FIRST_USER_OID, Oid};

/// Looks up the types in `$1` (`oid[]`): one row for each that exists, its columns in the order of [`CatalogueRow`]'s
/// fields. Any role may run it, on Postgres 14 and later.
///
/// - A true array is one whose `typsubscript` is `array_subscript_handler`; `point`, `name` and the like have an
///   element type too, and are none. Its delimiter is its element's.
/// - Attributes come in order, without dropped ones.
/// - `row_to_json` follows a cast to `json` only if that is a function.
pub const DEFINITIONS_SQL: &str = "\
select t.oid,
       t.typname::pg_catalog.text,
       t.typtype::pg_catalog.text,
       t.typbasetype,
       case when t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc
            then t.typelem else 0::pg_catalog.oid end,
       coalesce(e.typdelim::pg_catalog.text, ','),
       array(select a.attname::pg_catalog.text from pg_catalog.pg_attribute a
              where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped order by a.attnum),
       array(select a.atttypid from pg_catalog.pg_attribute a
              where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped order by a.attnum),
       exists(select from pg_catalog.pg_cast c
               where c.castsource = t.oid and c.casttarget = 'pg_catalog.json'::pg_catalog.regtype
                 and c.castmethod = 'f')
  from pg_catalog.pg_type t
  left join pg_catalog.pg_type e on e.oid = t.typelem
 where t.oid = any($1::pg_catalog.oid[])";

/// A row of [`DEFINITIONS_SQL`], field by field in the order of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueRow {
    pub oid: Oid,
    pub name: String,
    /// `typtype`: `b`, `c`, `d`, `e`, `p`, `r` or `m`.
    pub category: String,
    /// What a domain is over, else 0.
    pub base: Oid,
    /// What a true array is of, else 0.
    pub element: Oid,
    /// One ASCII character.
    pub delimiter: String,
    pub field_names: Vec<String>,
    pub field_types: Vec<Oid>,
    pub has_json_cast: bool,
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
    /// Over anything, another domain included.
    Domain {
        base: Oid,
    },
    /// The element may be a domain over an array: its values are then quoted inside the array's text.
    Array {
        element: Oid,
        delimiter: u8,
    },
    /// In attribute order, without dropped attributes.
    Composite {
        fields: Vec<(String, Oid)>,
    },
    Hstore,
    Enum,
    /// Ranges, multiranges, and every base type: written as text.
    Text,
    /// The same, but `row_to_json` calls a cast function of it.
    JsonCast,
}

impl TypeDefinition {
    /// Every type that this one is directly made of.
    pub(super) fn references(&self) -> impl Iterator<Item = Oid> {
        let (one, fields): (_, &[(String, Oid)]) = match &self.shape {
            DefinitionShape::Domain { base } => (Some(*base), &[]),
            DefinitionShape::Array { element, .. } => (Some(*element), &[]),
            DefinitionShape::Composite { fields } => (None, fields),
            DefinitionShape::Hstore | DefinitionShape::Enum | DefinitionShape::Text | DefinitionShape::JsonCast => {
                (None, &[])
            }
        };
        one.into_iter().chain(fields.iter().map(|(_, oid)| *oid))
    }
}

impl From<CatalogueRow> for TypeDefinition {
    /// Tries the properties in the order in which `row_to_json` does: domain, array, composite, cast.
    fn from(row: CatalogueRow) -> Self {
        let is_user_type = row.oid >= FIRST_USER_OID;
        let shape = match row.category.as_str() {
            "d" => DefinitionShape::Domain { base: row.base },
            _ if row.element != 0 => {
                let delimiter = row.delimiter.bytes().next().unwrap_or(b',');
                DefinitionShape::Array { element: row.element, delimiter }
            }
            "c" => DefinitionShape::Composite { fields: row.field_names.into_iter().zip(row.field_types).collect() },
            _ if row.has_json_cast && row.name == "hstore" => DefinitionShape::Hstore,
            // Casts of built-in types are not looked at.
            _ if row.has_json_cast && is_user_type => DefinitionShape::JsonCast,
            "e" => DefinitionShape::Enum,
            _ => DefinitionShape::Text,
        };
        Self { oid: row.oid, name: row.name, shape }
    }
}
