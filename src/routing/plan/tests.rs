use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::change::{Column, OldRow, RelationId, ReplicaIdentity, Row, TypeKind};
use crate::routing::{Expression, Int8Format, MAX_ROUTES, RouteTable, TablePattern, TooManyRoutes};

const BOOL: u32 = 16;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const BPCHAR: u32 = 1042;

/// `public.orders`, with the identity made of the columns whose flag is set.
fn relation(columns: &[(&str, u32, bool)]) -> Arc<Relation> {
    let column = |&(name, oid, identity): &(&str, u32, bool)| {
        let ty = Type { oid, base_oid: oid, name: "t".into(), kind: TypeKind::Text };
        Column { name: name.into(), identity, ty: Arc::new(ty) }
    };
    Arc::new(Relation {
        id: RelationId(1),
        schema: "public".into(),
        name: "orders".into(),
        replica_identity: ReplicaIdentity::Full,
        columns: columns.iter().map(column).collect(),
    })
}

/// `id`, `customer`, `note`, all of them in the identity.
fn orders() -> Arc<Relation> {
    relation(&[("id", INT4, true), ("customer", INT4, true), ("note", TEXT, true)])
}

fn route(table: &str, topic: &str, ops: Ops) -> RouteSpec {
    RouteSpec {
        table: TablePattern::parse(table).unwrap(),
        topic: Template::parse(topic).unwrap(),
        columns: None,
        ops,
        event: "new_updates".into(),
        int8: Int8Format::Number,
        filter: None,
        allow: None,
    }
}

fn table(topics: &[&str]) -> RouteTable {
    RouteTable::new(topics.iter().map(|topic| route("public.orders", topic, Ops::ALL)).collect()).unwrap()
}

/// A row of texts; `"null"` and `"unchanged"` stand for themselves.
fn row(values: &[&str]) -> Row {
    let mut data = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        match *value {
            "null" => data.push(b'n'),
            "unchanged" => data.push(b'u'),
            text => {
                data.push(b't');
                data.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                data.extend(text.as_bytes());
            }
        }
    }
    Row::parse(&mut Bytes::from(data)).unwrap()
}

fn insert(new: &[&str]) -> Operation {
    Operation::Insert { new: row(new) }
}

fn delete(old: &[&str]) -> Operation {
    Operation::Delete { old: OldRow::Full(row(old)) }
}

fn update(old: &[&str], new: &[&str]) -> Operation {
    Operation::Update { old: Some(OldRow::Full(row(old))), new: row(new) }
}

/// Where a change goes, one text a target.
fn routed(table: &RouteTable, relation: &Arc<Relation>, operation: Operation) -> Vec<String> {
    let mut found = Vec::new();
    let change = Change { relation: Arc::clone(relation), operation, ordinal: 1 };
    let is_update = matches!(change.operation, Operation::Update { .. });
    let plan = table.plan(relation);
    plan.route(&change, &mut Scratch::default(), &mut |target| {
        found.push(match target {
            Target::Topic { topic, before, after } => {
                let route = plan.first_of(after).or(plan.first_of(before)).unwrap();
                let sign = match (is_update, before.is_empty(), after.is_empty()) {
                    (true, true, false) => "+",
                    (true, false, true) => "-",
                    _ => "",
                };
                format!("{} {sign}{topic}", route.0)
            }
            Target::EveryTopic { route } => format!("{} every", route.0),
            Target::Hole { route } => format!("{} hole", route.0),
        });
    });
    found
}

#[test]
fn a_row_goes_to_the_topic_of_its_values() {
    let (table, orders) = (table(&["orders:{customer}:{id}"]), orders());
    assert_eq!(routed(&table, &orders, insert(&["1", "7", "x"])), ["0 orders:7:1"]);
    assert_eq!(routed(&table, &orders, delete(&["1", "7", "x"])), ["0 orders:7:1"]);
    assert_eq!(routed(&table, &orders, insert(&["1", "null", "x"])), [""; 0]);
    assert_eq!(routed(&table, &orders, Operation::Truncate), ["0 every"]);
}

#[test]
fn a_topic_without_columns_takes_everything() {
    let (one, two, orders) = (table(&["feed"]), table(&["feed", "all"]), orders());
    for operation in [
        insert(&["1", "null", "x"]),
        delete(&["1", "7", "x"]),
        update(&["1", "7", "x"], &["1", "8", "unchanged"]),
        Operation::Truncate,
    ] {
        assert_eq!(routed(&one, &orders, operation.clone()), ["0 feed"]);
        assert_eq!(routed(&two, &orders, operation), ["0 feed", "1 all"]);
    }
}

#[test]
fn a_row_that_moves_leaves_and_enters() {
    let (table, orders) = (table(&["orders:{customer}"]), orders());
    let routed = |old, new| routed(&table, &orders, update(old, new));
    assert_eq!(routed(&["1", "7", "x"], &["1", "8", "x"]), ["0 -orders:7", "0 +orders:8"]);
    assert_eq!(routed(&["1", "7", "x"], &["1", "7", "y"]), ["0 orders:7"]);
    assert_eq!(routed(&["1", "null", "x"], &["1", "8", "x"]), ["0 +orders:8"]);
    assert_eq!(routed(&["1", "7", "x"], &["1", "null", "x"]), ["0 -orders:7"]);
    assert_eq!(routed(&["1", "null", "x"], &["1", "null", "y"]), [""; 0]);
}

#[test]
fn a_changed_key_moves_a_row_too() {
    let orders = relation(&[("id", INT4, true), ("note", TEXT, false)]);
    let (table, key) = (table(&["orders:{id}"]), |id| Some(OldRow::Key(row(&[id, "null"]))));
    let new = || row(&["2", "x"]);
    assert_eq!(
        routed(&table, &orders, Operation::Update { old: key("1"), new: new() }),
        ["0 -orders:1", "0 +orders:2"]
    );
    assert_eq!(routed(&table, &orders, Operation::Update { old: None, new: new() }), ["0 orders:2"]);
    assert_eq!(routed(&table, &orders, Operation::Delete { old: key("1").unwrap() }), ["0 orders:1"]);
}

#[test]
fn an_untouched_value_is_taken_from_the_old_row_or_is_a_hole() {
    let (table, orders) = (table(&["notes:{note}", "feed"]), orders());
    let new = ["1", "7", "unchanged"];
    assert_eq!(routed(&table, &orders, update(&["1", "6", "x"], &new)), ["0 notes:x", "1 feed"]);
    let without_old = Operation::Update { old: None, new: row(&new) };
    assert_eq!(routed(&table, &orders, without_old), ["0 hole", "1 feed"]);
    assert_eq!(routed(&table, &orders, update(&new, &new)), ["0 hole", "1 feed"]);
    assert_eq!(routed(&table, &orders, insert(&["1", "7"])), ["0 hole", "1 feed"], "a row without the column");
}

#[test]
fn ops_are_postgres_operations() {
    let ops = |names: &[&str]| Ops::parse(names.iter().copied()).unwrap();
    let routes = vec![
        route("public.orders", "i:{customer}", ops(&["insert"])),
        route("public.orders", "u:{customer}", ops(&["update"])),
        route("public.orders", "d", ops(&["delete", "truncate"])),
    ];
    let (table, orders) = (RouteTable::new(routes).unwrap(), orders());
    assert_eq!(routed(&table, &orders, insert(&["1", "7", "x"])), ["0 i:7"]);
    assert_eq!(routed(&table, &orders, update(&["1", "7", "x"], &["1", "8", "x"])), ["1 -u:7", "1 +u:8"]);
    assert_eq!(routed(&table, &orders, delete(&["1", "7", "x"])), ["2 d"]);
    assert_eq!(routed(&table, &orders, Operation::Truncate), ["2 d"]);
}

#[test]
fn a_topic_is_reached_once_by_the_first_route() {
    let (same, orders) = (table(&["t:{id}", "t:{customer}", "t:{note}"]), orders());
    assert_eq!(routed(&same, &orders, insert(&["1", "1", "2"])), ["0 t:1", "2 t:2"]);
    let fixed = table(&["feed", "feed"]);
    assert_eq!(routed(&fixed, &orders, Operation::Truncate), ["0 feed"]);
}

#[test]
fn a_row_that_stays_by_another_route_does_not_move() {
    let (table, orders) = (table(&["t:{id}", "t:{customer}"]), orders());
    // Out of t:1 by the first route, but still there by the second.
    assert_eq!(routed(&table, &orders, update(&["1", "1", "x"], &["2", "1", "x"])), ["1 t:1", "0 +t:2"]);
    // The routes change places.
    assert_eq!(routed(&table, &orders, update(&["1", "2", "x"], &["2", "1", "x"])), ["1 t:1", "0 t:2"]);
    // Into t:3, where the second had it already.
    assert_eq!(routed(&table, &orders, update(&["1", "3", "x"], &["3", "3", "x"])), ["0 -t:1", "0 t:3"]);
}

#[test]
fn values_are_in_their_text_form_and_within_the_length_of_a_topic() {
    let flags = relation(&[("on", BOOL, true), ("code", BPCHAR, true), ("note", TEXT, true)]);
    let table = table(&["{on}/{code}", "{note}"]);
    assert_eq!(routed(&table, &flags, insert(&["t", "ab   ", ""])), ["0 true/ab"], "and an empty topic is none");
    let (fits, too_long) = ("x".repeat(255), "x".repeat(256));
    assert_eq!(
        routed(&table, &flags, insert(&["f", &" ".repeat(300), &fits])),
        ["0 false/".into(), format!("1 {fits}")]
    );
    assert_eq!(routed(&table, &flags, insert(&["f", "a", &too_long])), ["0 false/a"]);
}

#[test]
fn what_does_not_fit_the_table_is_told_and_gives_holes() {
    let orders = relation(&[("id", INT4, true), ("customer", INT4, false)]);
    let mut columns = route("public.*", "feed", Ops::ALL);
    columns.columns = Some(vec!["customer".into(), "totl".into()]);
    let inserts = route("public.orders", "i:{customer}", Ops::NONE.with(Op::Insert).with(Op::Truncate));
    let routes = vec![
        columns,
        route("public.orders", "o:{customer}", Ops::ALL),
        route("public.orders", "o:{custmer}", Ops::ALL),
        inserts,
        route("audit.*", "a:{nothing}", Ops::ALL),
    ];
    let table = RouteTable::new(routes).unwrap();
    let plan = table.plan(&orders);
    let name = || "public.orders".to_owned();
    assert_eq!(
        plan.problems(),
        [
            PlanProblem::NoColumn { route: RouteId(0), table: name(), column: "totl".into() },
            PlanProblem::NotInIdentity { route: RouteId(1), table: name(), column: "customer".into() },
            PlanProblem::NoTopicColumn { route: RouteId(2), table: name(), column: "custmer".into() },
        ]
    );
    assert_eq!(routed(&table, &orders, insert(&["1", "7"])), ["0 hole", "1 hole", "2 hole", "3 i:7"]);
    assert_eq!(routed(&table, &orders, delete(&["1", "null"])), ["0 hole", "1 hole", "2 hole"]);
}

#[test]
fn a_plan_has_the_routes_of_its_relation() {
    let mut some = route("public.orders", "feed", Ops::ALL);
    some.columns = Some(vec!["note".into(), "id".into()]);
    let other = route("audit.*", "feed", Ops::ALL);
    let table = RouteTable::new(vec![other, some, route("*.*", "all", Ops::ALL)]).unwrap();
    let plan = table.plan(&orders());
    assert_eq!(plan.steps().iter().map(|step| step.route).collect::<Vec<_>>(), [RouteId(1), RouteId(2)]);
    assert_eq!(plan.problems(), []);
}

#[test]
fn joined_topics_are_parsed_back_to_their_routes() {
    let table =
        table(&["orders:{id}", "feed", "orders:{note}", "feed", "{id}:{note}", "x:{gone}", "{note}:{customer}"]);
    let plans = [table.plan(&orders())];
    let routes = |topic: &str| -> Vec<u16> {
        table.routes_for_topic(topic, plans.iter()).into_iter().map(|route| route.0).collect()
    };
    assert_eq!(routes("feed"), [1, 3]);
    assert_eq!(routes("orders:7"), [0, 2, 6]);
    assert_eq!(routes("orders:07"), [2]);
    assert_eq!(routes("1:2:a"), [4]);
    assert_eq!(routes("1:2:3"), [4, 6], "one canonical split each: 1 and 2:3, 1:2 and 3");
    for topic in ["x:y", "nowhere", "", &format!("orders:{}", "1".repeat(300))] {
        assert_eq!(routes(topic), [0_u16; 0], "{topic}");
    }
    assert_eq!(table.routes_for_topic("feed", [].iter()).len(), 2, "no table need exist");
    assert!(table.routes_for_topic("orders:7", [].iter()).is_empty());
}

#[test]
fn one_fitting_table_is_enough_for_a_joined_topic() {
    let table = RouteTable::new(vec![route("public.*", "t:{id}", Ops::ALL)]).unwrap();
    let plans =
        [relation(&[("id", BOOL, true)]), relation(&[("id", INT4, true)])].map(|relation| table.plan(&relation));
    for (topic, count) in [("t:true", 1), ("t:12", 1), ("t:x", 0)] {
        assert_eq!(table.routes_for_topic(topic, plans.iter()).len(), count, "{topic}");
    }
}

#[test]
fn routes_are_limited() {
    let routes = vec![route("public.orders", "feed", Ops::ALL); MAX_ROUTES + 1];
    assert_eq!(RouteTable::new(routes).unwrap_err(), TooManyRoutes { count: MAX_ROUTES + 1 });
}

const TEMPLATES: [&str; 6] = ["t:{id}", "t:{customer}", "t:{note}", "t:1", "feed", "t:{id}:{customer}"];

fn values() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(prop_oneof![Just("1"), Just("2"), Just("null")], 3)
}

/// The topics of a row by the rules as written, route by route.
fn topics_of(templates: &[&str], row: &[&str]) -> BTreeMap<String, usize> {
    let mut topics = BTreeMap::new();
    for (index, template) in templates.iter().enumerate() {
        let filled = ["id", "customer", "note"].iter().zip(row);
        let topic =
            filled.fold((*template).to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value));
        if !topic.contains("null") {
            topics.entry(topic).or_insert(index);
        }
    }
    topics
}

proptest! {
    #[test]
    fn an_update_is_the_difference_of_two_rows(
        templates in proptest::sample::subsequence(TEMPLATES.to_vec(), 1..=6).prop_shuffle(),
        old in values(),
        new in values(),
    ) {
        let mut actual = routed(&table(&templates), &orders(), update(&old, &new));
        let (before, after) = (topics_of(&templates, &old), topics_of(&templates, &new));
        let mut expected: Vec<String> = after
            .iter()
            .map(|(topic, route)| format!("{route} {}{topic}", if before.contains_key(topic) { "" } else { "+" }))
            .collect();
        let left = before.iter().filter(|(topic, _)| !after.contains_key(*topic));
        expected.extend(left.map(|(topic, route)| format!("{route} -{topic}")));
        actual.sort();
        expected.sort();
        prop_assert_eq!(actual, expected);
    }

    #[test]
    fn a_joined_topic_finds_the_route_that_feeds_it(id: i32, customer: i32, note in ".{0,20}") {
        let (table, orders) = (table(&["a:{id}", "b:{customer}:{id}", "{note}", "c:{customer}/{note}"]), orders());
        let plans = [table.plan(&orders)];
        let (id, customer) = (id.to_string(), customer.to_string());
        prop_assume!(note != "null" && note != "unchanged" && !note.is_empty());
        for target in routed(&table, &orders, insert(&[&id, &customer, &note])) {
            let (route, topic) = target.split_once(' ').unwrap();
            let found = table.routes_for_topic(topic, plans.iter());
            prop_assert!(found.contains(&RouteId(route.parse().unwrap())), "{}", target);
        }
    }
}

#[test]
fn a_topic_s_rows_are_selected_by_its_columns_in_config_order() {
    let mut specs: Vec<RouteSpec> = ["a:{customer}", "a:7", "{note}:{customer}", "a:{id}", "b"]
        .iter()
        .map(|topic| route("public.orders", topic, Ops::ALL))
        .collect();
    specs.push(route("public.orders", "b", [Op::Delete, Op::Truncate].into_iter().collect()));
    specs.push(route("public.orders", "b:{missing}", Ops::ALL));
    let table = RouteTable::new(specs).unwrap();
    let plan = table.plan(&orders());
    let selected = |topic| {
        let selections = plan.selections(&table, topic);
        selections.into_iter().map(|it| (it.route.0, it.columns)).collect::<Vec<_>>()
    };
    assert_eq!(selected("a:7"), [(0, vec![(1, "7")]), (1, vec![]), (2, vec![(2, "a"), (1, "7")]), (3, vec![(0, "7")])]);
    assert_eq!(selected("b"), [(4, vec![])]);
    assert_eq!(selected("a:07"), []);
    assert_eq!(selected("b:x"), []);
}

fn with_where(topic: &str, sql: &str) -> RouteSpec {
    RouteSpec { filter: Some(Expression::parse(sql).unwrap()), ..route("public.orders", topic, Ops::ALL) }
}

#[test]
fn a_row_is_in_a_topic_while_where_is_true_of_it() {
    let table =
        RouteTable::new(vec![with_where("open", "note <> 'draft'"), with_where("c:{customer}", "id = 1")]).unwrap();
    let routed = |operation| routed(&table, &orders(), operation);
    assert_eq!(routed(insert(&["2", "7", "x"])), ["0 open"]);
    assert_eq!(routed(insert(&["2", "7", "draft"])), [""; 0]);
    assert_eq!(routed(insert(&["1", "7", "null"])), ["1 c:7"], "null is not true");
    assert_eq!(routed(update(&["1", "7", "draft"], &["1", "8", "x"])), ["0 +open", "1 -c:7", "1 +c:8"]);
    assert_eq!(routed(update(&["1", "7", "x"], &["2", "7", "unchanged"])), ["0 open", "1 -c:7"]);
    assert_eq!(routed(delete(&["2", "7", "draft"])), [""; 0], "nobody had it");
    assert_eq!(routed(delete(&["1", "7", "draft"])), ["1 c:7"]);
    assert_eq!(routed(Operation::Truncate), ["1 every", "0 open"]);
}

#[test]
fn a_value_that_was_not_sent_and_decides_is_a_hole() {
    let table = RouteTable::new(vec![with_where("open", "note <> 'draft' and id = 1")]).unwrap();
    let without_old = |new: &[&str]| routed(&table, &orders(), Operation::Update { old: None, new: row(new) });
    assert_eq!(without_old(&["1", "7", "unchanged"]), ["0 hole"]);
    assert_eq!(without_old(&["2", "7", "unchanged"]), [""; 0], "it is not in the topic, whatever the note is");
    assert_eq!(without_old(&["1", "7", "x"]), ["0 open"]);
}

#[test]
fn rules_with_claims_are_for_the_subscriber_to_answer() {
    let specs = vec![
        with_where("t", "note = 'a' and customer = claims.sub"),
        with_where("t", "customer = claims.sub"),
        route("public.orders", "t", Ops::ALL),
        with_where("t", "id = claims.sub"),
    ];
    let plan = RouteTable::new(specs).unwrap().plan(&orders());
    assert_eq!((plan.problems(), plan.rules()), (&[][..], &[RouteId(0), RouteId(1), RouteId(3)][..]));
    let mut found = Vec::new();
    for operation in [insert(&["1", "7", "a"]), update(&["1", "7", "a"], &["1", "7", "b"])] {
        let change = Change { relation: orders(), operation, ordinal: 1 };
        plan.route(&change, &mut Scratch::default(), &mut |target| {
            let Target::Topic { before, after, .. } = target else { panic!("{target:?}") };
            let sources = |it: Sources| (it.rules().collect::<Vec<_>>(), it.rest().map(|route| route.0));
            found.push((sources(before), sources(after)));
        });
    }
    // The third shows the row to everyone: the fourth does not matter.
    let (both, second) = ((vec![0, 1], Some(2)), (vec![1], Some(2)));
    assert_eq!(found, [((vec![], None), both.clone()), (both, second)]);
}

#[test]
fn a_where_that_does_not_fit_the_table_is_told() {
    let relation = relation(&[("id", INT4, true), ("customer", INT4, false)]);
    let only_inserts = RouteSpec { ops: Ops::NONE.with(Op::Insert), ..with_where("a", "customer = 1") };
    let allow = RouteSpec {
        allow: Some(Expression::parse("custmer = claims.sub").unwrap()),
        ..route("public.orders", "c:{id}", Ops::ALL)
    };
    let specs = vec![
        with_where("a", "custmer = 1"),
        with_where("a", "customer = 1"),
        with_where("a", "customer = claims.sub"),
        only_inserts,
        with_where("a", "id = 'seven'"),
        with_where("a", "id = claims.sub and id = 'seven' or claims.x"),
        allow,
    ];
    let plan = RouteTable::new(specs).unwrap().plan(&relation);
    let told: Vec<(u16, &str)> = plan
        .problems()
        .iter()
        .map(|problem| {
            let kind = match problem {
                PlanProblem::NoWhereColumn { .. } => "no column",
                PlanProblem::WhereNotInIdentity { .. } => "identity",
                PlanProblem::Where { .. } => "where",
                PlanProblem::Allow { .. } => "allow",
                other => panic!("{other}"),
            };
            (problem.route().0, kind)
        })
        .collect();
    let expected = [(0, "no column"), (1, "identity"), (2, "identity"), (4, "where"), (5, "where"), (6, "allow")];
    assert_eq!(told, expected);
}

#[test]
fn rules_of_one_table_are_limited() {
    let specs = (0..=MAX_RULES).map(|_| with_where("t", "customer = claims.sub")).collect();
    let plan = RouteTable::new(specs).unwrap().plan(&orders());
    let route = RouteId(u16::try_from(MAX_RULES).unwrap());
    assert_eq!(plan.problems(), [PlanProblem::TooManyRules { route, table: "public.orders".to_owned() }]);
}
