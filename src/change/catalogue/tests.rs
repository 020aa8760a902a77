use super::*;

const INT4: Oid = 23;
const USER: Oid = FIRST_USER_OID;
const NOTHING: [Oid; 0] = [];

fn definition(oid: Oid, shape: DefinitionShape) -> TypeDefinition {
    TypeDefinition { oid, name: format!("type_{oid}"), shape }
}

fn array(oid: Oid, element: Oid) -> TypeDefinition {
    definition(oid, DefinitionShape::Array { element, delimiter: b',' })
}

fn composite(oid: Oid, fields: &[Oid]) -> TypeDefinition {
    let fields = fields.iter().enumerate().map(|(index, oid)| (format!("f{index}"), *oid)).collect();
    definition(oid, DefinitionShape::Composite { fields })
}

fn element(ty: &Type) -> &Type {
    match &ty.kind {
        TypeKind::Array { element, .. } | TypeKind::Vector { element } => element,
        other => panic!("not an array: {other:?}"),
    }
}

fn field(ty: &Type, index: usize) -> &Type {
    match &ty.kind {
        TypeKind::Composite { fields } => &fields[index].ty,
        other => panic!("not a composite: {other:?}"),
    }
}

#[test]
fn knows_the_built_in_types_and_their_arrays() {
    let catalogue = TypeCatalogue::builtin();
    assert_eq!(catalogue.get(20).unwrap().kind, TypeKind::Int8);
    assert_eq!(element(&catalogue.get(1231).unwrap()).kind, TypeKind::Number);
    assert!(matches!(catalogue.get(1020).unwrap().kind, TypeKind::Array { delimiter: b';', .. }));
    assert_eq!(element(&catalogue.get(30).unwrap()).kind, TypeKind::Text, "an oid is no JSON number");
    assert_eq!(element(&catalogue.get(22).unwrap()).kind, TypeKind::Number);
}

#[test]
fn asks_for_what_has_no_fixed_oid_and_writes_unlisted_built_in_types_as_text() {
    let catalogue = TypeCatalogue::builtin();
    assert_eq!(catalogue.missing([INT4, USER, 13_148, USER]), [13_148, USER]);
    assert_eq!(catalogue.get(9_999).unwrap().kind, TypeKind::Text);
    assert_eq!(catalogue.get(USER), None);
}

#[test]
fn resolves_over_several_rounds() {
    let mut catalogue = TypeCatalogue::builtin();
    assert_eq!(catalogue.define(&[USER], vec![array(USER, USER + 1)]), [USER + 1]);
    assert_eq!(catalogue.get(USER), None);
    assert_eq!(catalogue.define(&[USER + 1], vec![composite(USER + 1, &[INT4, USER + 2])]), [USER + 2]);
    let domain = definition(USER + 2, DefinitionShape::Domain { base: 1007 });
    assert_eq!(catalogue.define(&[USER + 2], vec![domain]), NOTHING);
    let domain = field(element(&catalogue.get(USER).unwrap()), 1).clone();
    assert_eq!((domain.oid, domain.base_oid), (USER + 2, 1007));
    assert_eq!(element(&domain).oid, INT4);
    assert_eq!(catalogue.missing([USER, USER + 1, USER + 2]), NOTHING);
}

#[test]
fn a_type_that_the_database_no_longer_has_is_text() {
    let mut catalogue = TypeCatalogue::builtin();
    assert_eq!(catalogue.define(&[USER, USER + 1], vec![array(USER, USER + 2)]), [USER + 2]);
    assert_eq!(catalogue.define(&[USER + 2], vec![]), NOTHING);
    assert_eq!(element(&catalogue.get(USER).unwrap()).kind, TypeKind::Text);
    assert_eq!(catalogue.get(USER + 1).unwrap().kind, TypeKind::Text);
}

#[test]
fn a_composite_inside_itself_ends_where_it_would_repeat() {
    let mut catalogue = TypeCatalogue::builtin();
    let wanted = catalogue.define(&[USER, USER + 1], vec![composite(USER, &[INT4, USER + 1]), array(USER + 1, USER)]);
    assert_eq!(wanted, NOTHING);
    // Whichever of the two is resolved first, both are whole where they stand on their own.
    let tree = catalogue.get(USER).unwrap();
    let inner = element(field(&tree, 1));
    assert_eq!(inner.kind, TypeKind::Inexact(Inexact::Recursive));
    assert_eq!(inner.oid, USER);
    assert_eq!(tree.inexact().map(|(ty, reason)| (ty.oid, reason)), Some((USER, Inexact::Recursive)));
    let forest = catalogue.get(USER + 1).unwrap();
    assert_eq!(field(element(&forest), 0).oid, INT4);
    assert_eq!(field(element(&forest), 1).kind, TypeKind::Inexact(Inexact::Recursive));
}

#[test]
fn absurd_nesting_ends() {
    let mut catalogue = TypeCatalogue::builtin();
    // Every type contains every other: without a limit, 40 factorial parts.
    let all: Vec<Oid> = (USER..USER + 40).collect();
    assert_eq!(catalogue.define(&all, all.iter().map(|oid| composite(*oid, &all)).collect()), NOTHING);
    assert!(all.iter().all(|oid| catalogue.get(*oid).unwrap().inexact().is_some()));
    // A chain that is longer than the limit, each link twice: shared, not 2^100.
    let chain: Vec<Oid> = (USER + 100..USER + 200).collect();
    let links =
        chain.iter().map(|oid| if *oid == USER + 199 { array(*oid, INT4) } else { composite(*oid, &[oid + 1; 2]) });
    assert_eq!(catalogue.define(&chain, links.collect()), NOTHING);
    assert_eq!(catalogue.missing(chain), NOTHING);
}

#[test]
fn forgets_a_type_with_what_it_is_made_of_and_what_is_made_of_it() {
    let mut catalogue = TypeCatalogue::builtin();
    let definitions = vec![array(USER, USER + 1), composite(USER + 1, &[INT4]), composite(USER + 2, &[USER + 1])];
    assert_eq!(catalogue.define(&[USER, USER + 1, USER + 2, USER + 3], definitions), NOTHING);
    catalogue.forget_user_types([USER, USER + 3, INT4]);
    assert_eq!(catalogue.missing(USER..USER + 4), [USER, USER + 1, USER + 2, USER + 3]);
    assert_eq!(catalogue.get(INT4).unwrap().kind, TypeKind::Number);
}

#[test]
fn reads_a_row_as_row_to_json_categorises_it() {
    let row = CatalogueRow {
        oid: USER,
        name: "hstore".to_owned(),
        category: "b".to_owned(),
        base: 0,
        element: 0,
        delimiter: ",".to_owned(),
        field_names: vec![],
        field_types: vec![],
        has_json_cast: true,
    };
    let shape = |row: CatalogueRow| TypeDefinition::from(row).shape;
    assert_eq!(shape(row.clone()), DefinitionShape::Hstore);
    assert_eq!(shape(CatalogueRow { name: "geometry".into(), ..row.clone() }), DefinitionShape::JsonCast);
    assert_eq!(shape(CatalogueRow { has_json_cast: false, ..row.clone() }), DefinitionShape::Text);
    let domain = CatalogueRow { category: "d".into(), base: INT4, ..row.clone() };
    assert_eq!(shape(domain), DefinitionShape::Domain { base: INT4 });
    let array = CatalogueRow { element: 603, delimiter: ";".into(), ..row };
    assert_eq!(shape(array), DefinitionShape::Array { element: 603, delimiter: b';' });
}
