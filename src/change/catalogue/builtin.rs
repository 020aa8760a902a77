//! The types with fixed OIDs that a table's column can have, from Postgres' `pg_type.dat`.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Oid, Type, TypeKind};

const BOX: Oid = 603;
const INT2: Oid = 21;
const OID: Oid = 26;
/// A base type without an array type (`pg_node_tree`, for example).
const NO_ARRAY: Oid = 0;

/// `(oid, oid of the array type, name)` of those that are not written as their text.
const SPECIAL: &[(Oid, Oid, &str, TypeKind)] = &[
    (16, 1000, "bool", TypeKind::Bool),
    (20, 1016, "int8", TypeKind::Int8),
    (INT2, 1005, "int2", TypeKind::Number),
    (23, 1007, "int4", TypeKind::Number),
    (700, 1021, "float4", TypeKind::Number),
    (701, 1022, "float8", TypeKind::Number),
    (1700, 1231, "numeric", TypeKind::Number),
    (114, 199, "json", TypeKind::Json),
    (3802, 3807, "jsonb", TypeKind::Json),
    (1082, 1182, "date", TypeKind::Date),
    (1114, 1115, "timestamp", TypeKind::Timestamp),
    (1184, 1185, "timestamptz", TypeKind::TimestampTz),
];

/// `(oid, oid of the array type, name)` of those that are written as their text; `oid` is one, as in `row_to_json`.
const TEXTUAL: &[(Oid, Oid, &str)] = &[
    (17, 1001, "bytea"),
    (18, 1002, "char"),
    (19, 1003, "name"),
    (24, 1008, "regproc"),
    (25, 1009, "text"),
    (OID, 1028, "oid"),
    (27, 1010, "tid"),
    (28, 1011, "xid"),
    (29, 1012, "cid"),
    (142, 143, "xml"),
    (194, NO_ARRAY, "pg_node_tree"),
    (600, 1017, "point"),
    (601, 1018, "lseg"),
    (602, 1019, "path"),
    (BOX, 1020, "box"),
    (604, 1027, "polygon"),
    (628, 629, "line"),
    (650, 651, "cidr"),
    (718, 719, "circle"),
    (774, 775, "macaddr8"),
    (790, 791, "money"),
    (829, 1040, "macaddr"),
    (869, 1041, "inet"),
    (1033, 1034, "aclitem"),
    (1042, 1014, "bpchar"),
    (1043, 1015, "varchar"),
    (1083, 1183, "time"),
    (1186, 1187, "interval"),
    (1266, 1270, "timetz"),
    (1560, 1561, "bit"),
    (1562, 1563, "varbit"),
    (1790, 2201, "refcursor"),
    (2202, 2207, "regprocedure"),
    (2203, 2208, "regoper"),
    (2204, 2209, "regoperator"),
    (2205, 2210, "regclass"),
    (2206, 2211, "regtype"),
    (2950, 2951, "uuid"),
    (2970, 2949, "txid_snapshot"),
    (3220, 3221, "pg_lsn"),
    (3361, NO_ARRAY, "pg_ndistinct"),
    (3402, NO_ARRAY, "pg_dependencies"),
    (3614, 3643, "tsvector"),
    (3615, 3645, "tsquery"),
    (3642, 3644, "gtsvector"),
    (3734, 3735, "regconfig"),
    (3769, 3770, "regdictionary"),
    (3904, 3905, "int4range"),
    (3906, 3907, "numrange"),
    (3908, 3909, "tsrange"),
    (3910, 3911, "tstzrange"),
    (3912, 3913, "daterange"),
    (3926, 3927, "int8range"),
    (4072, 4073, "jsonpath"),
    (4089, 4090, "regnamespace"),
    (4096, 4097, "regrole"),
    (4191, 4192, "regcollation"),
    (4451, 6150, "int4multirange"),
    (4532, 6151, "nummultirange"),
    (4533, 6152, "tsmultirange"),
    (4534, 6153, "tstzmultirange"),
    (4535, 6155, "datemultirange"),
    (4536, 6157, "int8multirange"),
    (4600, NO_ARRAY, "pg_brin_bloom_summary"),
    (4601, NO_ARRAY, "pg_brin_minmax_multi_summary"),
    (5017, NO_ARRAY, "pg_mcv_list"),
    (5038, 5039, "pg_snapshot"),
    (5069, 271, "xid8"),
];

/// `(oid, oid of the array type, name, element)` of the arrays whose text is blank-separated.
const VECTORS: &[(Oid, Oid, &str, Oid)] = &[(22, 1006, "int2vector", INT2), (30, 1013, "oidvector", OID)];

pub(super) fn types() -> HashMap<Oid, Arc<Type>> {
    let mut types = HashMap::new();
    for (oid, array, name, kind) in SPECIAL {
        insert(&mut types, *oid, *array, name, kind.clone());
    }
    for (oid, array, name) in TEXTUAL {
        insert(&mut types, *oid, *array, name, TypeKind::Text);
    }
    for (oid, array, name, element) in VECTORS {
        if let Some(element) = types.get(element).cloned() {
            insert(&mut types, *oid, *array, name, TypeKind::Vector { element });
        }
    }
    types
}

/// A type and its array type, which is named after it.
fn insert(types: &mut HashMap<Oid, Arc<Type>>, oid: Oid, array: Oid, name: &str, kind: TypeKind) {
    let element = Arc::new(Type { oid, base_oid: oid, name: name.into(), kind });
    if array != NO_ARRAY {
        let delimiter = if oid == BOX { b';' } else { b',' };
        let kind = TypeKind::Array { element: Arc::clone(&element), delimiter };
        types.insert(array, Arc::new(Type { oid: array, base_oid: array, name: format!("_{name}").into(), kind }));
    }
    types.insert(oid, element);
}
