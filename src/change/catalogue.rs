//! Types, as far as `row_to_json` tells them apart.
//!
//! Built-in types are known; all others are described by the database's catalogue ([`TypeDefinition`]), because a WAL
//! message carries only their OIDs. Pure: whoever has a connection runs [`DEFINITIONS_SQL`] until nothing is missing:
//!
//! ```text
//! let mut wanted = catalogue.missing(oids of the relation's columns);
//! while !wanted.is_empty() {
//!     let definitions = one for each row of DEFINITIONS_SQL with $1 = wanted;
//!     wanted = catalogue.define(&wanted, definitions);
//! }
//! ```
//!
//! Each round asks only for OIDs that were never asked for before, so that it ends: after as many rounds as types are
//! nested.

mod builtin;
mod definition;
mod resolve;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

pub use definition::{CatalogueRow, DEFINITIONS_SQL, DefinitionShape, TypeDefinition};

use super::Oid;
use resolve::Resolved;

/// The first OID that Postgres gives to an object that is not built in (`FirstNormalObjectId`).
pub const FIRST_USER_OID: Oid = 16_384;

/// How `row_to_json` writes a value of a type, decided once for each type.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Its label as a JSON string.
    Enum,
    /// Every other type: its text as a JSON string.
    Text,
    /// Written like [`TypeKind::Text`], although `row_to_json` writes something else.
    Inexact(Inexact),
}

/// Why a type's values can't be written as `row_to_json` writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inexact {
    /// It has a function that casts it to `json`, and only Postgres can run that.
    JsonCast,
    /// A type inside itself: the inner one's values are written as their text. Postgres refuses to make such types; a
    /// catalogue that is altered between two look-ups can look like it.
    Recursive,
    /// Absurdly deep or large: what lies beyond the limit is written as its text.
    TooLarge,
}

/// One attribute of a composite type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: Arc<str>,
    pub ty: Arc<Type>,
}

/// A type. A domain has the `kind` and `base_oid` of what it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    pub oid: Oid,
    /// The type under all domains; equal to `oid` for a type that is no domain.
    pub base_oid: Oid,
    pub name: Arc<str>,
    pub kind: TypeKind,
}

impl Type {
    /// The first part of this type (itself, an element, a field …) whose values differ from `row_to_json`'s, for a
    /// warning that names it.
    #[must_use]
    pub fn inexact(&self) -> Option<(&Self, Inexact)> {
        match &self.kind {
            TypeKind::Inexact(reason) => Some((self, *reason)),
            TypeKind::Array { element, .. } => element.inexact(),
            TypeKind::Composite { fields } => fields.iter().find_map(|field| field.ty.inexact()),
            _ => None,
        }
    }
}

/// Every type met so far. The default knows the built-in ones.
#[derive(Debug, Clone)]
pub struct TypeCatalogue {
    types: HashMap<Oid, Arc<Type>>,
    /// Types that are cut short somewhere inside, because they contain themselves or are too large: whole enough for a
    /// column, but never a part of another type, which is cut at its own places.
    cut: HashMap<Oid, Arc<Type>>,
    /// What the database said, resolved or waiting for what it refers to.
    definitions: HashMap<Oid, TypeDefinition>,
}

impl Default for TypeCatalogue {
    fn default() -> Self {
        Self::builtin()
    }
}

impl TypeCatalogue {
    /// The types that come with Postgres and have fixed OIDs.
    #[must_use]
    pub fn builtin() -> Self {
        Self { types: builtin::types(), cut: HashMap::new(), definitions: HashMap::new() }
    }

    /// A type by its OID; `None` where [`TypeCatalogue::define`] has not been told of it. A built-in type that is not
    /// known here (of a newer Postgres) is written as text.
    #[must_use]
    pub fn get(&self, oid: Oid) -> Option<Arc<Type>> {
        let unlisted = || (oid < FIRST_USER_OID).then(|| Arc::new(text_type(oid)));
        self.types.get(&oid).or_else(|| self.cut.get(&oid)).cloned().or_else(unlisted)
    }

    /// Which of these have to be looked up, each once.
    ///
    /// Types without a fixed OID are among them even below [`FIRST_USER_OID`]: `initdb` makes domains such as
    /// `information_schema.cardinal_number`, and the row types of system tables.
    #[must_use]
    pub fn missing(&self, oids: impl IntoIterator<Item = Oid>) -> Vec<Oid> {
        let unknown = oids.into_iter().filter(|oid| !self.is_resolved(*oid));
        unknown.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Takes the answer to a look-up of the OIDs in `asked`, and returns the OIDs to look up next: those that the
    /// definitions refer to and nobody has told of.
    ///
    /// Definitions may refer to each other and to any type known already. What was asked for and not answered is gone
    /// from the database (the WAL is older than its catalogue): its values are written as text.
    pub fn define(&mut self, asked: &[Oid], definitions: Vec<TypeDefinition>) -> Vec<Oid> {
        self.definitions.extend(definitions.into_iter().map(|definition| (definition.oid, definition)));
        for oid in asked {
            if !self.definitions.contains_key(oid) {
                self.types.entry(*oid).or_insert_with(|| Arc::new(text_type(*oid)));
            }
        }
        let mut unknown = BTreeSet::new();
        // In the order of OIDs, so that the same types come out the same.
        let unresolved: BTreeSet<Oid> =
            self.definitions.keys().copied().filter(|oid| !self.is_resolved(*oid)).collect();
        for oid in unresolved {
            let wanted = self.undefined_parts(oid);
            if wanted.is_empty() && !self.is_resolved(oid) {
                match resolve::resolve(&mut self.types, &self.definitions, oid) {
                    Resolved::Whole => {}
                    Resolved::Cut(ty) => drop(self.cut.insert(oid, ty)),
                }
            }
            unknown.extend(wanted);
        }
        unknown.into_iter().collect()
    }

    /// Forgets these types, what they are made of and what is made of them, so that all are looked up again:
    /// `alter type` changes a composite type under the same OID. Built-in types stay.
    pub fn forget_user_types(&mut self, oids: impl IntoIterator<Item = Oid>) {
        let mut stale: HashSet<Oid> = HashSet::new();
        for oid in oids {
            stale.extend(self.parts(oid));
        }
        loop {
            let made_of_stale = |definition: &&TypeDefinition| {
                !stale.contains(&definition.oid) && definition.references().any(|oid| stale.contains(&oid))
            };
            let dependents: Vec<Oid> = self.definitions.values().filter(made_of_stale).map(|found| found.oid).collect();
            if dependents.is_empty() {
                break;
            }
            stale.extend(dependents);
        }
        for oid in stale {
            // What has no fixed OID and no definition is a type that the database did not know.
            if self.definitions.remove(&oid).is_some() || oid >= FIRST_USER_OID {
                self.types.remove(&oid);
                self.cut.remove(&oid);
            }
        }
    }

    fn is_resolved(&self, oid: Oid) -> bool {
        self.types.contains_key(&oid) || self.cut.contains_key(&oid)
    }

    /// A defined type and everything it is made of, except for types that are built in.
    fn parts(&self, oid: Oid) -> HashSet<Oid> {
        let mut seen = HashSet::new();
        let mut pending = vec![oid];
        while let Some(next) = pending.pop() {
            let definition = self.definitions.get(&next);
            let settled = definition.is_none() && next < FIRST_USER_OID;
            if !settled && seen.insert(next) {
                pending.extend(definition.into_iter().flat_map(TypeDefinition::references));
            }
        }
        seen
    }

    /// The parts of a type that are neither defined nor known.
    fn undefined_parts(&self, oid: Oid) -> Vec<Oid> {
        let mut seen = HashSet::new();
        let mut unknown = Vec::new();
        let mut pending = vec![oid];
        while let Some(next) = pending.pop() {
            if self.types.contains_key(&next) || !seen.insert(next) {
                continue;
            }
            match self.definitions.get(&next) {
                Some(definition) => pending.extend(definition.references()),
                None => unknown.push(next),
            }
        }
        unknown
    }
}

/// A type of which no more is known than its OID.
fn text_type(oid: Oid) -> Type {
    Type { oid, base_oid: oid, name: oid.to_string().into(), kind: TypeKind::Text }
}

#[cfg(test)]
mod tests;
