//! From definitions, which refer to each other by OID, to types, which contain each other.

use std::collections::HashMap;
use std::sync::Arc;

use super::{DefinitionShape, Field, Inexact, Oid, Type, TypeDefinition, TypeKind, text_type};

/// How deeply definitions are followed. Real schemas stay below ten; following them recurses as deeply.
const DEPTH_MAX: usize = 32;
/// How many parts one type may have, counted with repetition: mutually recursive types have exponentially many.
const PARTS_MAX: usize = 4_096;

/// What became of a type.
pub(super) enum Resolved {
    /// It is among the types, as is every part of it.
    Whole,
    /// It contains itself or is too large, so that a part of it is cut short.
    Cut(Arc<Type>),
}

/// Builds the type `oid`, whose parts are all defined or known, and puts all that come out whole into `types`.
pub(super) fn resolve(
    types: &mut HashMap<Oid, Arc<Type>>,
    definitions: &HashMap<Oid, TypeDefinition>,
    oid: Oid,
) -> Resolved {
    let mut resolver = Resolver { types, definitions, enclosing: Vec::new(), parts_left: PARTS_MAX };
    match resolver.build(oid) {
        (_, Scope::Anywhere) => Resolved::Whole,
        (ty, Scope::Here) => Resolved::Cut(ty),
    }
}

struct Resolver<'a> {
    types: &'a mut HashMap<Oid, Arc<Type>>,
    definitions: &'a HashMap<Oid, TypeDefinition>,
    /// The types around the one that is being built, outermost first.
    enclosing: Vec<Oid>,
    parts_left: usize,
}

/// Whether a type came out the same as it would anywhere else.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Anywhere,
    /// A limit or an enclosing type cut it short.
    Here,
}

impl Resolver<'_> {
    fn build(&mut self, oid: Oid) -> (Arc<Type>, Scope) {
        if let Some(known) = self.types.get(&oid) {
            return (Arc::clone(known), Scope::Anywhere);
        }
        let Some(definition) = self.definitions.get(&oid) else {
            return (Arc::new(text_type(oid)), Scope::Here);
        };
        if let Some(reason) = self.obstacle(oid) {
            let ty = Type { kind: TypeKind::Inexact(reason), name: definition.name.as_str().into(), ..text_type(oid) };
            return (Arc::new(ty), Scope::Here);
        }
        self.enclosing.push(oid);
        let (ty, scope) = self.build_from(definition);
        self.enclosing.pop();
        let ty = Arc::new(ty);
        if scope == Scope::Anywhere {
            self.types.insert(oid, Arc::clone(&ty));
        }
        (ty, scope)
    }

    /// Why the type can't be built here.
    fn obstacle(&mut self, oid: Oid) -> Option<Inexact> {
        self.parts_left = self.parts_left.saturating_sub(1);
        if self.enclosing.contains(&oid) {
            Some(Inexact::Recursive)
        } else if self.enclosing.len() >= DEPTH_MAX || self.parts_left == 0 {
            Some(Inexact::TooLarge)
        } else {
            None
        }
    }

    fn build_from(&mut self, definition: &TypeDefinition) -> (Type, Scope) {
        let name: Arc<str> = definition.name.as_str().into();
        let oid = definition.oid;
        let (kind, scope) = match &definition.shape {
            DefinitionShape::Domain { base } => {
                let (base, scope) = self.build(*base);
                return (Type { oid, name, base_oid: base.base_oid, kind: base.kind.clone() }, scope);
            }
            DefinitionShape::Array { element, delimiter } => {
                let (element, scope) = self.build(*element);
                (TypeKind::Array { element, delimiter: *delimiter }, scope)
            }
            DefinitionShape::Composite { fields } => self.build_fields(fields),
            DefinitionShape::Hstore => (TypeKind::Hstore, Scope::Anywhere),
            DefinitionShape::Enum => (TypeKind::Enum, Scope::Anywhere),
            DefinitionShape::Text => (TypeKind::Text, Scope::Anywhere),
            DefinitionShape::JsonCast => (TypeKind::Inexact(Inexact::JsonCast), Scope::Anywhere),
        };
        (Type { oid, base_oid: oid, name, kind }, scope)
    }

    fn build_fields(&mut self, definitions: &[(String, Oid)]) -> (TypeKind, Scope) {
        let mut scope = Scope::Anywhere;
        let mut fields = Vec::with_capacity(definitions.len());
        for (name, oid) in definitions {
            let (ty, field_scope) = self.build(*oid);
            if field_scope == Scope::Here {
                scope = Scope::Here;
            }
            fields.push(Field { name: name.as_str().into(), ty });
        }
        (TypeKind::Composite { fields }, scope)
    }
}
