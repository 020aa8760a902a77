//! What the session has said of relations, and the types that they are made of.

use std::sync::Arc;

use super::AssembleError;
use crate::change::catalogue::{Type, TypeCatalogue, TypeDefinition};
use crate::change::{Column, NumberMap, Oid, Relation, RelationId};
use crate::replication::pgoutput;

/// pgoutput leaves this schema's name out.
const PG_CATALOG: &str = "pg_catalog";

#[derive(Debug, Default)]
pub(super) struct Relations {
    known: NumberMap<RelationId, Arc<Relation>>,
    types: TypeCatalogue,
    awaiting: Option<Awaiting>,
}

/// A relation that is not usable before its types are known.
#[derive(Debug)]
struct Awaiting {
    relation: pgoutput::Relation,
    asked: Vec<Oid>,
}

impl Relations {
    /// The name of the relation whose types are being looked up.
    pub(super) fn awaiting(&self) -> Option<&str> {
        self.awaiting.as_ref().map(|awaiting| &*awaiting.relation.name)
    }

    pub(super) fn get(&self, message: &'static str, id: RelationId) -> Result<Arc<Relation>, AssembleError> {
        self.known.get(&id).cloned().ok_or(AssembleError::UnknownRelation { message, relation: id })
    }

    /// Takes a description, and returns the types to look up before it can be used.
    ///
    /// Postgres describes a relation anew whenever it may have changed, which includes its types: `alter type` keeps
    /// the OID. So those that are not built in are looked up each time.
    pub(super) fn describe(&mut self, relation: pgoutput::Relation) -> Result<Vec<Oid>, AssembleError> {
        let oids = || relation.columns.iter().map(|column| column.type_oid);
        self.types.forget_user_types(oids());
        let missing = self.types.missing(oids());
        self.settle(relation, missing)
    }

    /// Takes the answer to a look-up, and returns what to look up next.
    pub(super) fn define_types(&mut self, definitions: Vec<TypeDefinition>) -> Result<Vec<Oid>, AssembleError> {
        let Awaiting { relation, asked } = self.awaiting.take().ok_or(AssembleError::NoTypesAwaited)?;
        let missing = self.types.define(&asked, definitions);
        self.settle(relation, missing)
    }

    fn settle(&mut self, relation: pgoutput::Relation, missing: Vec<Oid>) -> Result<Vec<Oid>, AssembleError> {
        if missing.is_empty() {
            self.know(relation)?;
        } else {
            self.awaiting = Some(Awaiting { relation, asked: missing.clone() });
        }
        Ok(missing)
    }

    /// A relation that is as it was keeps its `Arc`: to whoever compares pointers, nothing has changed.
    fn know(&mut self, described: pgoutput::Relation) -> Result<(), AssembleError> {
        let relation = self.resolve(described)?;
        let same = self.known.get(&relation.id).is_some_and(|known| **known == relation);
        if !same {
            self.known.insert(relation.id, Arc::new(relation));
        }
        Ok(())
    }

    fn resolve(&self, described: pgoutput::Relation) -> Result<Relation, AssembleError> {
        let pgoutput::Relation { id, schema, name, replica_identity, columns } = described;
        let schema = if schema.is_empty() { PG_CATALOG.into() } else { schema };
        let columns = columns.into_iter().map(|column| {
            let ty = self.resolve_type(column.type_oid, &name)?;
            Ok(Column { name: column.name, identity: column.identity, ty })
        });
        Ok(Relation { id, schema, columns: columns.collect::<Result<_, _>>()?, name, replica_identity })
    }

    fn resolve_type(&self, oid: Oid, relation: &str) -> Result<Arc<Type>, AssembleError> {
        self.types.get(oid).ok_or_else(|| AssembleError::UnresolvedType { oid, relation: relation.to_owned() })
    }
}
