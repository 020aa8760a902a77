//! Who sees what: each client's replica is the table as far as its routes, its claims and its filter show it.

use std::collections::BTreeMap;

use super::*;
use crate::routing::{Expression, Filter};

/// `public.docs (id int4, owner text, status text, body text)`, with this identity.
pub(super) fn docs(identity: &[&str]) -> Arc<Relation> {
    let catalogue = TypeCatalogue::builtin();
    let column = |name: &str, oid| Column {
        name: name.into(),
        identity: identity.contains(&name),
        ty: catalogue.get(oid).unwrap(),
    };
    Arc::new(Relation {
        id: RelationId(2),
        schema: "public".into(),
        name: "docs".into(),
        replica_identity: if identity.len() == 4 { ReplicaIdentity::Full } else { ReplicaIdentity::Index },
        columns: vec![column("id", INT4), column("owner", TEXT), column("status", TEXT), column("body", TEXT)],
    })
}

pub(super) const FULL: &[&str] = &["id", "owner", "status", "body"];

pub(super) fn on_docs(topic: &str, filter: Option<&str>) -> RouteSpec {
    RouteSpec {
        table: TablePattern::parse("public.docs").unwrap(),
        filter: filter.map(|sql| Expression::parse(sql).unwrap()),
        ..route(topic, "new_updates")
    }
}

/// A row of the table; `n` is null, `u` was not sent.
fn values(values: [&str; 4]) -> Row {
    let mut data = 4_u16.to_be_bytes().to_vec();
    for value in values {
        match value {
            "n" | "u" => data.extend(value.as_bytes()),
            text => {
                data.push(b't');
                data.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                data.extend(text.as_bytes());
            }
        }
    }
    Row::parse(&mut Bytes::from(data)).unwrap()
}

pub(super) fn inserted(new: [&str; 4]) -> Operation {
    Operation::Insert { new: values(new) }
}

fn updated(old: [&str; 4], new: [&str; 4]) -> Operation {
    Operation::Update { old: Some(OldRow::Full(values(old))), new: values(new) }
}

fn deleted(old: [&str; 4]) -> Operation {
    Operation::Delete { old: OldRow::Full(values(old)) }
}

pub(super) fn sub(name: &str) -> Claims {
    Claims::new([("sub".to_owned(), json!(name))].into_iter().collect())
}

/// A hub with this table.
fn bench(routes: Vec<RouteSpec>, relation: Arc<Relation>) -> Bench {
    Bench { relation, ..Bench::new(routes) }.connected()
}

fn join_as(bench: &mut Bench, topic: &str, name: &str) -> Joined {
    bench.claims = sub(name);
    bench.join(topic, None).unwrap()
}

/// What was published to a shape: each update's op and records, by their ids and owners.
pub(super) fn updates(published: &[Arc<Publication>], shape: ShapeId) -> Vec<String> {
    let mine = published.iter().filter(|it| it.shape == shape);
    let updates = mine.flat_map(|it| payload(it)["updates"].as_array().unwrap().clone());
    let shown = |update: Value| {
        let record = |key: &str| match &update[key] {
            Value::Object(record) => {
                let values = FULL.iter().filter_map(|column| record.get(*column));
                let texts: Vec<String> = values.map(|it| it.as_str().map_or(it.to_string(), str::to_owned)).collect();
                format!(" {}", texts.join(","))
            }
            _ => String::new(),
        };
        let arrow = if update["old_record"].is_null() { "" } else { " <-" };
        format!("{}{}{arrow}{}", update["op"].as_str().unwrap(), record("record"), record("old_record"))
    };
    updates.map(shown).collect()
}

#[test]
fn a_rule_with_claims_is_another_for_each_subscriber() {
    let mut bench = bench(vec![on_docs("docs", Some("owner = claims.sub or status = 'public'"))], docs(FULL));
    let (ann, bob) = (join_as(&mut bench, "docs", "ann").shape, join_as(&mut bench, "docs", "bob").shape);
    assert_eq!(join_as(&mut bench, "docs", "ann").shape, ann, "the same rows, the same bytes");
    bench.commit(&[vec![
        inserted(["1", "ann", "draft", "x"]),
        updated(["1", "ann", "draft", "x"], ["1", "bob", "draft", "x"]),
        updated(["1", "bob", "draft", "x"], ["1", "bob", "public", "u"]),
        deleted(["1", "bob", "public", "x"]),
        inserted(["2", "cid", "draft", "x"]),
        deleted(["2", "cid", "draft", "x"]),
    ]]);
    let published = bench.published();
    assert_eq!(published.len(), 2, "one message a shape and transaction");
    assert_eq!(
        updates(&published, ann),
        ["insert 1,ann,draft,x", "delete <- 1,ann,draft,x", "insert 1,bob,public,x", "delete <- 1,bob,public,x",]
    );
    assert_eq!(
        updates(&published, bob),
        ["insert 1,bob,draft,x", "update 1,bob,public,x <- 1,bob,draft,x", "delete <- 1,bob,public,x"]
    );
    bench.commit(&[vec![inserted(["3", "cid", "draft", "x"])]]);
    assert!(bench.published().is_empty(), "what shows them nothing is not sent");
    bench.commit(&[vec![Operation::Truncate]]);
    assert_eq!(bench.published().len(), 2, "everyone's rows are gone");
}

#[test]
fn a_row_that_one_route_hides_is_seen_by_the_next_with_its_columns() {
    let public = RouteSpec {
        columns: Some(vec!["id".to_owned(), "status".to_owned()]),
        ..on_docs("docs", Some("status = 'public'"))
    };
    let mut bench = bench(vec![on_docs("docs", Some("owner = claims.sub")), public], docs(FULL));
    let (ann, bob) = (join_as(&mut bench, "docs", "ann").shape, join_as(&mut bench, "docs", "bob").shape);
    bench.commit(&[vec![
        inserted(["1", "ann", "public", "secret"]),
        updated(["1", "ann", "public", "secret"], ["1", "bob", "public", "open"]),
        updated(["1", "bob", "public", "open"], ["1", "bob", "draft", "open"]),
        deleted(["1", "bob", "draft", "open"]),
    ]]);
    let published = bench.published();
    // Of a former owner's row, nobody is shown more than it was shown then.
    assert_eq!(
        updates(&published, ann),
        ["insert 1,ann,public,secret", "update 1,public <- 1,ann,public,secret", "delete <- 1,public"]
    );
    assert_eq!(
        updates(&published, bob),
        [
            "insert 1,public",
            "update 1,bob,public,open <- 1,public",
            "update 1,bob,draft,open <- 1,bob,public,open",
            "delete <- 1,bob,draft,open"
        ]
    );
}

#[test]
fn nothing_is_told_of_a_row_that_was_never_seen() {
    // The key alone is sent of old rows, and is all that the rule needs.
    let mut bench = bench(vec![on_docs("docs", Some("owner = claims.sub"))], docs(&["id", "owner"]));
    let (ann, bob) = (join_as(&mut bench, "docs", "ann").shape, join_as(&mut bench, "docs", "bob").shape);
    let key = |id, owner| OldRow::Key(values([id, owner, "n", "n"]));
    bench.commit(&[vec![
        Operation::Update { old: None, new: values(["1", "ann", "x", "u"]) },
        Operation::Update { old: Some(key("1", "ann")), new: values(["2", "bob", "x", "u"]) },
        Operation::Delete { old: key("2", "bob") },
    ]]);
    let published = bench.published();
    assert_eq!(updates(&published, ann), ["update 1,ann,x", "delete <- 1,ann"]);
    assert_eq!(updates(&published, bob), ["insert 2,bob,x", "delete <- 2,bob"]);
    let text = String::from_utf8(published[0].payload.to_vec()).unwrap();
    assert!(!text.contains("bob"), "{text}");
}

#[test]
fn a_rule_that_a_value_decides_which_was_not_sent_is_a_hole_for_its_shape_alone() {
    let routes = vec![on_docs("docs", Some("owner = claims.sub")), on_docs("all", None)];
    let mut bench = bench(routes, docs(&["id", "owner"]));
    let ann = join_as(&mut bench, "docs", "ann");
    let all = bench.join("all", None).unwrap();
    // Postgres sends the old key whenever the new one has a value that it does not send: this is not what it does.
    bench.commit(&[vec![Operation::Update { old: None, new: values(["1", "u", "x", "x"]) }]]);
    let told = bench.told();
    assert!(told.iter().any(|it| matches!(it, ToShard::Reset { shape } if *shape == ann.shape)), "{told:?}");
    assert!(told.iter().any(|it| matches!(it, ToShard::Publish(it) if it.shape == all.shape)), "{told:?}");
    let resumed = bench.join("docs", Some(&ann.cursor)).unwrap();
    assert!(bench.read(resumed.shape, resumed.resume_after.unwrap()).is_none());
}

#[test]
fn a_cursor_is_of_the_rows_that_its_subscriber_saw() {
    let routes =
        vec![on_docs("docs", Some("owner = claims.sub")), on_docs("all", None), on_docs("some", Some("id = 1"))];
    let mut bench = bench(routes, docs(FULL));
    let ann = join_as(&mut bench, "docs", "ann").cursor;
    let [all, some] = ["all", "some"].map(|topic| bench.join(topic, None).unwrap().cursor);
    assert!(bench.join("docs", Some(&ann)).is_ok());
    bench.claims = sub("bob");
    for cursor in [&ann, &all, &some] {
        assert_eq!(bench.join("docs", Some(cursor)), Err(Refusal::ResyncRequired));
    }
    // Who sees everything of a topic may go on from what it saw of another.
    assert!(bench.join("all", Some(&all)).is_ok());
    assert_eq!(bench.join("all", Some(&some)), Err(Refusal::ResyncRequired));
    let request = Subscribe {
        topic: "docs".to_owned(),
        claims: sub("bob"),
        cursor: Some(ann),
        snapshot: true,
        ..Subscribe::default()
    };
    bench.hub.command(Command::Subscribe { shard: SHARD, join: NOBODY, request: Box::new(request) });
    let told = bench.told();
    assert!(
        matches!(&told[..], [ToShard::Subscribed { subscribed, .. }] if !subscribed.resumed),
        "begins with the rows of its own claims: {told:?}"
    );
}

#[test]
fn who_may_join_is_for_all_routes_of_a_topic_to_say() {
    let allow = |sql: &str| Some(Expression::parse(sql).unwrap());
    let routes = vec![
        RouteSpec { allow: allow("claims.role = 'admin' or owner = claims.sub"), ..on_docs("docs:{owner}", None) },
        RouteSpec { allow: allow("claims.sub is not null"), ..on_docs("shared", None) },
        RouteSpec { allow: allow("claims.sub <> 'bob'"), ..on_docs("shared", None) },
        RouteSpec { allow: allow("claims.level = id"), ..on_docs("level:{id}", None) },
    ];
    let mut bench = bench(routes, docs(FULL));
    let mut join = |topic: &str, claims: Value| {
        let Value::Object(claims) = claims else { panic!("an object") };
        bench.claims = Claims::new(claims);
        bench.join(topic, None).map(|_| ())
    };
    let unauthorized = Err(Refusal::Unauthorized);
    assert_eq!(join("docs:ann", json!({"sub": "ann"})), Ok(()));
    assert_eq!(join("docs:ann", json!({"role": "admin"})), Ok(()));
    assert_eq!(join("docs:ann", json!({"sub": "bob"})), unauthorized);
    assert_eq!(join("docs:ann", json!({})), unauthorized);
    assert_eq!(join("shared", json!({"sub": "ann"})), Ok(()));
    assert_eq!(join("shared", json!({"sub": "bob"})), unauthorized);
    assert_eq!(join("other", json!({"sub": "bob"})), Err(Refusal::UnmatchedTopic));
    assert_eq!(join("level:7", json!({"level": 7})), Ok(()));
    assert_eq!(join("level:7", json!({"level": 8})), unauthorized);
    assert!(matches!(join("level:7", json!({"level": "high"})), Err(Refusal::InvalidClaim { .. })));
}

#[test]
fn claims_that_change_end_what_they_no_longer_allow() {
    let allow = Some(Expression::parse("claims.role is not null").unwrap());
    let routes = vec![RouteSpec { allow, ..on_docs("docs", Some("owner = claims.sub")) }, on_docs("all", None)];
    let mut bench = bench(routes, docs(FULL));
    let claims = |value: Value| {
        let Value::Object(map) = value else { panic!("an object") };
        Claims::new(map)
    };
    bench.claims = claims(json!({"sub": "ann", "role": "reader"}));
    let docs = bench.join("docs", None).unwrap().shape;
    let all = bench.join("all", None).unwrap().shape;
    let mut recheck = |shape, value: Value| {
        bench.hub.command(Command::Recheck { shard: SHARD, join: NOBODY, shape, claims: claims(value) });
        match bench.told().pop() {
            None => None,
            Some(ToShard::Ended { join: NOBODY, refusal }) => Some(refusal),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(recheck(docs, json!({"sub": "ann", "role": "writer", "exp": 7})), None);
    assert_eq!(recheck(docs, json!({"sub": "bob", "role": "reader"})), Some(Refusal::ResyncRequired));
    assert_eq!(recheck(docs, json!({"sub": "ann"})), Some(Refusal::Unauthorized));
    assert_eq!(recheck(all, json!({})), None);
}

#[test]
fn what_a_claim_can_not_be_ends_the_subscription_of_whoever_has_it() {
    let mut bench =
        bench(vec![on_docs("docs", Some("id = claims.sub")), on_docs("owned", Some("owner = claims.sub"))], docs(FULL));
    const UUID: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    bench.claims = sub("seven");
    assert!(matches!(bench.join("docs", None), Err(Refusal::InvalidClaim { .. })));
    let seven = join_as(&mut bench, "docs", "7").shape;
    let [ann, uuid] = ["ann", UUID].map(|name| join_as(&mut bench, "owned", name).shape);
    bench.commit(&[vec![inserted(["7", UUID, "b", "c"])]]);
    assert_eq!(bench.published().len(), 2);
    // The column's type is altered: one of the claims is none of the new one.
    let mut altered = (*docs(FULL)).clone();
    altered.columns[1].ty = TypeCatalogue::builtin().get(2950).unwrap();
    bench.relation = Arc::new(altered);
    bench.commit(&[vec![inserted(["7", UUID, "b", "c"])]]);
    let told = bench.told();
    let ended =
        |it: &ToShard| matches!(it, ToShard::Failed { shape, refusal: Refusal::InvalidClaim { .. } } if *shape == ann);
    assert!(told.iter().any(ended), "{told:?}");
    for shape in [seven, uuid] {
        assert!(told.iter().any(|it| matches!(it, ToShard::Publish(it) if it.shape == shape)), "{told:?}");
    }
    assert_eq!(told.len(), 3, "{told:?}");
}

#[test]
fn parts_go_to_whom_they_show_something() {
    let mut bench = bench(vec![on_docs("docs", Some("owner = claims.sub"))], docs(FULL));
    let [ann, bob, cid] = ["ann", "bob", "cid"].map(|name| join_as(&mut bench, "docs", name).shape);
    let start = Position::before(Lsn::new(100));
    let row = |owner| vec![inserted(["1", owner, "s", "b"])];
    bench.commit(&[row("ann"), row("bob"), row("ann"), row("dan"), row("bob"), row("dan")]);
    let published = bench.published();
    let parts = |of: &[Arc<Publication>], shape| -> Vec<String> {
        let mine = of.iter().filter(|it| it.shape == shape).map(|it| payload(it));
        mine.map(|it| format!("{}{}:{}", it["part"], it["more"], it["updates"].as_array().unwrap().len())).collect()
    };
    assert_eq!(parts(&published, ann), ["0true:1", "2true:1", "5null:0"]);
    assert_eq!(parts(&published, bob), ["1true:1", "4true:1", "5null:0"]);
    assert_eq!(parts(&published, cid), [""; 0]);
    for shape in [ann, bob, cid] {
        assert_eq!(parts(&bench.read(shape, start).unwrap(), shape), parts(&published, shape));
    }
    for (index, message) in published.iter().enumerate() {
        let rest: Vec<_> = published[index + 1..].iter().filter(|it| it.shape == message.shape).cloned().collect();
        let read = bench.read(message.shape, message.position).unwrap();
        assert_eq!(parts(&read, message.shape), parts(&rest, message.shape));
    }
}

fn filtered(text: &str) -> View {
    View { filter: Some(Filter::parse(text).unwrap()), ..View::default() }
}

#[test]
fn a_filter_shows_what_the_client_asks_for() {
    let mut bench = bench(vec![on_docs("docs", None)], docs(FULL));
    bench.view = filtered("status=in.(open,paid)&id=gt.1");
    let some = bench.join("docs", None).unwrap();
    bench.view = View::default();
    let all = bench.join("docs", None).unwrap();
    bench.commit(&[vec![
        inserted(["1", "a", "open", "x"]),
        updated(["1", "a", "open", "x"], ["2", "a", "open", "u"]),
        updated(["2", "a", "open", "x"], ["2", "a", "paid", "y"]),
        updated(["2", "a", "paid", "y"], ["2", "a", "n", "y"]),
        deleted(["2", "a", "n", "y"]),
    ]]);
    let published = bench.published();
    assert_eq!(updates(&published, all.shape).len(), 5);
    assert_eq!(
        updates(&published, some.shape),
        ["insert 2,a,open,x", "update 2,a,paid,y <- 2,a,open,x", "delete <- 2,a,paid,y"]
    );
    // A cursor of some rows is none of all of them, nor the other way round.
    assert_eq!(bench.join("docs", Some(&some.cursor)), Err(Refusal::ResyncRequired));
    bench.view = filtered("id=gt.1&status=in.(paid,open)");
    assert_eq!(bench.join("docs", Some(&all.cursor)), Err(Refusal::ResyncRequired));
    assert_eq!(bench.join("docs", Some(&some.cursor)).unwrap().shape, some.shape);
}

#[test]
fn a_filter_on_values_that_are_not_sent_of_old_rows_is_exact_as_far_as_they_go() {
    let mut bench = bench(vec![on_docs("docs", None)], docs(&["id"]));
    bench.view = filtered("status=eq.open");
    let joined = bench.join("docs", None).unwrap();
    let key = |id| OldRow::Key(values([id, "n", "n", "n"]));
    bench.commit(&[vec![
        inserted(["1", "a", "open", "x"]),
        inserted(["2", "a", "paid", "x"]),
        Operation::Update { old: None, new: values(["1", "b", "open", "u"]) },
        Operation::Update { old: Some(key("1")), new: values(["3", "b", "open", "x"]) },
        Operation::Update { old: None, new: values(["3", "b", "paid", "x"]) },
        Operation::Delete { old: key("2") },
    ]]);
    assert_eq!(
        updates(&bench.published(), joined.shape),
        ["insert 1,a,open,x", "update 1,b,open", "update 3,b,open,x <- 1", "delete <- 3", "delete <- 2"]
    );
}

#[test]
fn a_filter_that_does_not_fit_is_refused_and_says_nothing_of_hidden_columns() {
    let columns = Some(["id", "status"].map(str::to_owned).to_vec());
    let mut bench = bench(vec![RouteSpec { columns, ..on_docs("docs", Some("owner = claims.sub")) }], docs(FULL));
    bench.claims = sub("ann");
    let mut message = |text: &str| {
        bench.view = filtered(text);
        match bench.join("docs", None) {
            Err(Refusal::InvalidFilter { message }) => message,
            other => panic!("{other:?}"),
        }
    };
    let (hidden, missing) = (message("owner=eq.ann"), message("ownre=eq.ann"));
    assert_eq!(hidden.replace("owner", "x"), missing.replace("ownre", "x"), "as if there were no such column");
    assert!(message("id=eq.seven").contains("id"));
    bench.view = filtered("status=eq.open");
    assert!(bench.join("docs", None).is_ok());
}

/// A client: whom its token names, what it joined, and what it has.
struct Client {
    topic: &'static str,
    sub: &'static str,
    view: View,
    shape: ShapeId,
    start: String,
    replica: BTreeMap<i64, Value>,
    sent: Vec<Arc<Publication>>,
    /// A part was sent whose end is still to come.
    open: bool,
}

impl Client {
    fn take(&mut self, publication: &Arc<Publication>) {
        let message = payload(publication);
        let updates = message["updates"].as_array().unwrap();
        let more = message["more"] == true;
        assert!(!updates.is_empty() || self.open && !more, "an empty message that ends nothing");
        self.open = more;
        for update in updates {
            let (new, old) = (&update["record"], &update["old_record"]);
            let id = |record: &Value| record["id"].as_i64().unwrap();
            if update["op"] == "truncate" {
                self.replica.clear();
            }
            if !old.is_null() {
                assert_eq!(self.replica.remove(&id(old)).as_ref(), Some(old), "{update} is what the client had");
            }
            if !new.is_null() {
                assert_eq!(self.replica.insert(id(new), new.clone()), None, "{update} of a client that had it");
            }
        }
        self.sent.push(Arc::clone(publication));
    }
}

type Document = [&'static str; 4];
/// Whether a filter takes it.
type Takes = fn(&Document) -> bool;

/// A route, and what it means.
#[derive(Debug, Clone, Copy)]
struct Meant {
    topic: &'static str,
    filter: Option<&'static str>,
    all_columns: bool,
    takes: fn(&Document, &str) -> bool,
}

const MEANT: [Meant; 8] = [
    Meant { topic: "docs", filter: None, all_columns: false, takes: |_, _| true },
    Meant {
        topic: "docs",
        filter: Some("status <> 'draft'"),
        all_columns: true,
        takes: |row, _| !["draft", "n"].contains(&row[2]),
    },
    Meant { topic: "docs", filter: Some("owner = claims.sub"), all_columns: true, takes: |row, sub| row[1] == sub },
    Meant {
        topic: "docs",
        filter: Some("owner = claims.sub or status in ('public')"),
        all_columns: false,
        takes: |row, sub| row[1] == sub || row[2] == "public",
    },
    Meant {
        topic: "docs",
        filter: Some("status = 'public' and owner <> claims.sub"),
        all_columns: false,
        takes: |row, sub| row[2] == "public" && row[1] != sub && row[1] != "n",
    },
    Meant { topic: "by:{status}", filter: None, all_columns: true, takes: |_, _| true },
    Meant {
        topic: "by:{status}",
        filter: Some("owner = claims.sub"),
        all_columns: false,
        takes: |row, sub| row[1] == sub,
    },
    Meant {
        topic: "by:{owner}",
        filter: Some("status = 'public'"),
        all_columns: true,
        takes: |row, _| row[2] == "public",
    },
];

/// Filters, and what they mean.
const FILTERS: [(&str, Takes); 3] = [
    ("status=eq.public", |row| row[2] == "public"),
    ("owner=in.(ann,bob)", |row| ["ann", "bob"].contains(&row[1])),
    ("owner=in.(ann,bob)&id=gt.1", |row| ["ann", "bob"].contains(&row[1]) && row[0] > "1"),
];

impl Meant {
    fn spec(&self) -> RouteSpec {
        let columns = ["id", "owner", "status"].map(str::to_owned).to_vec();
        RouteSpec { columns: (!self.all_columns).then_some(columns), ..on_docs(self.topic, self.filter) }
    }

    fn shows(&self, row: &Document, topic: &str, sub: &str) -> Option<Value> {
        let rendered = match self.topic {
            "by:{status}" => format!("by:{}", row[2]),
            "by:{owner}" => format!("by:{}", row[1]),
            fixed => fixed.to_owned(),
        };
        (rendered == topic && (self.takes)(row, sub)).then(|| {
            let text = |text: &str| if text == "n" { Value::Null } else { json!(text) };
            let mut record =
                json!({"id": row[0].parse::<i64>().unwrap(), "owner": text(row[1]), "status": text(row[2])});
            if self.all_columns {
                record["body"] = text(row[3]);
            }
            record
        })
    }
}

/// Changes of a table with this key, each of what is there.
#[derive(Debug, Clone)]
enum Change4 {
    /// Insert, or update in place.
    Put(Document),
    /// The body stays as it is, and is not sent.
    Touch(Document),
    Rename(&'static str, &'static str),
    Delete(&'static str),
    Truncate,
}

impl Change4 {
    fn apply(&self, table: &mut BTreeMap<&'static str, Document>) -> Option<Operation> {
        let update =
            |old: Document, new: Document| Operation::Update { old: Some(OldRow::Full(values(old))), new: values(new) };
        match *self {
            Self::Put(new) => Some(match table.insert(new[0], new) {
                None => inserted(new),
                Some(old) => update(old, new),
            }),
            Self::Touch([id, owner, status, _]) => {
                let old = *table.get(id)?;
                table.insert(id, [id, owner, status, old[3]]);
                Some(update(old, [id, owner, status, "u"]))
            }
            Self::Rename(from, to) => {
                let old = *table.get(from).filter(|_| !table.contains_key(to))?;
                table.remove(from);
                let new = [to, old[1], old[2], old[3]];
                table.insert(to, new);
                Some(update(old, new))
            }
            Self::Delete(id) => table.remove(id).map(deleted),
            Self::Truncate => {
                table.clear();
                Some(Operation::Truncate)
            }
        }
    }
}

fn changes() -> impl Strategy<Value = Change4> {
    let id = || prop::sample::select(vec!["1", "2", "3"]);
    let owner = prop::sample::select(vec!["ann", "bob", "public", "n"]);
    let status = prop::sample::select(vec!["public", "draft", "ann", "n"]);
    let body = prop::sample::select(vec!["x", "y"]);
    let row = (id(), owner, status, body).prop_map(|(id, owner, status, body)| [id, owner, status, body]);
    prop_oneof![
        8 => row.clone().prop_map(Change4::Put),
        4 => row.prop_map(Change4::Touch),
        2 => (id(), id()).prop_map(|(from, to)| Change4::Rename(from, to)),
        3 => id().prop_map(Change4::Delete),
        1 => Just(Change4::Truncate),
    ]
}

fn views() -> Vec<(View, Takes)> {
    let filtered = FILTERS.iter().map(|(text, takes)| (filtered(text), *takes));
    let plain: (View, Takes) = (View::default(), |_| true);
    filtered.chain([plain]).collect()
}

fn check(routes: &[Meant], transactions: &[Vec<Vec<Change4>>]) -> Result<(), TestCaseError> {
    let specs = || routes.iter().map(Meant::spec).collect::<Vec<_>>();
    let mut live = bench(specs(), docs(FULL));
    // Here nobody is subscribed until later.
    let mut silent = bench(specs(), docs(FULL));
    let mut clients: Vec<(Client, Takes)> = Vec::new();
    for topic in ["docs", "by:public", "by:ann"] {
        for sub_name in ["ann", "bob"] {
            for (view, takes) in views() {
                (live.claims, live.view) = (sub(sub_name), view.clone());
                let Ok(joined) = live.join(topic, None) else { continue };
                let (shape, start) = (joined.shape, joined.cursor);
                let (replica, sent) = (BTreeMap::new(), Vec::new());
                clients.push((Client { topic, sub: sub_name, view, shape, start, replica, sent, open: false }, takes));
            }
        }
    }
    let mut table = BTreeMap::new();
    for parts in transactions {
        let apply = |changes: &Vec<Change4>, table: &mut _| changes.iter().filter_map(|it| it.apply(table)).collect();
        let parts: Vec<Vec<Operation>> = parts.iter().map(|changes| apply(changes, &mut table)).collect();
        live.commit(&parts);
        silent.commit(&parts);
        let published = live.published();
        for (client, takes) in &mut clients {
            let mine: Vec<_> = published.iter().filter(|it| it.shape == client.shape).collect();
            mine.into_iter().for_each(|it| client.take(it));
            prop_assert!(!client.open, "the last part is missing");
            let shown = |row: &Document| {
                let record = routes.iter().find_map(|route| route.shows(row, client.topic, client.sub))?;
                Some((row[0].parse::<i64>().unwrap(), record)).filter(|_| takes(row))
            };
            let expected: BTreeMap<i64, Value> = table.values().filter_map(shown).collect();
            prop_assert_eq!(&client.replica, &expected, "{} as {} with {:?}", client.topic, client.sub, client.view);
        }
    }
    for (client, _) in &clients {
        let cursors = client.sent.iter().map(|it| payload(it)["cursor"].as_str().unwrap().to_owned());
        let cursors: Vec<String> = std::iter::once(client.start.clone()).chain(cursors).collect();
        for (index, cursor) in cursors.iter().enumerate() {
            for bench in [&mut live, &mut silent] {
                (bench.claims, bench.view) = (sub(client.sub), client.view.clone());
                let resumed = bench.join(client.topic, Some(cursor)).unwrap();
                let read = bench.read(resumed.shape, resumed.resume_after.unwrap()).unwrap();
                let read: Vec<_> = read.iter().map(|it| it.payload.clone()).collect();
                let rest: Vec<_> = client.sent.iter().skip(index).map(|it| it.payload.clone()).collect();
                prop_assert_eq!(read, rest, "{} as {} from message {}", client.topic, client.sub, index);
            }
        }
    }
    Ok(())
}

proptest! {
    /// Whatever moves in or out, by whatever it is that decides; and whoever resumes, wherever, is sent the same bytes.
    #[test]
    fn a_replica_is_the_table_as_far_as_it_is_shown(
        routes in prop::sample::subsequence(MEANT.to_vec(), 1..=4).prop_shuffle(),
        transactions in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(changes(), 0..4), 1..4), 1..10),
    ) {
        check(&routes, &transactions)?;
    }
}

#[test]
fn a_read_that_shows_little_does_not_hold_everyone_up() {
    let log = LogLimits { window: Duration::from_secs(60), memory: 1 << 24, wal: 1 << 30 };
    let limits = HubLimits { log, value: 1 << 20, read: 100 };
    let routes = vec![on_docs("docs", Some("owner = claims.sub"))];
    let mut bench = Bench { relation: docs(FULL), ..Bench::with_limits(routes, limits) }.connected();
    let bob = join_as(&mut bench, "docs", "bob");
    for _ in 0..30 {
        bench.commit(&[vec![inserted(["1", "ann", "s", "b"]); 1000]]);
    }
    bench.commit(&[vec![inserted(["2", "bob", "s", "b"])]]);
    bench.told();
    let after = After::Log(Position::before(Lsn::new(100)));
    bench.hub.command(Command::Read { shard: SHARD, join: NOBODY, shape: bob.shape, number: 0, after });
    let told = bench.told();
    let Some(ToShard::Read { publications, outcome: ReadOutcome::More(After::Log(position)), .. }) = told.last() else {
        panic!("{told:?}")
    };
    assert!(publications.is_empty());
    assert_eq!(bench.read(bob.shape, *position).unwrap().len(), 1);
}

#[test]
fn a_route_that_begins_to_feed_a_topic_asks_who_is_there() {
    let other = RouteSpec {
        table: TablePattern::parse("public.orders").unwrap(),
        allow: Some(Expression::parse("claims.sub = 'ann'").unwrap()),
        ..on_docs("by:{note}", None)
    };
    let mut bench = bench(vec![on_docs("by:{status}", None), other], docs(FULL));
    let bob = join_as(&mut bench, "by:x", "bob");
    bench.relation = orders();
    bench.commit(&[vec![Operation::Insert { new: row(1, Some("x")) }]]);
    let told = bench.told();
    assert!(matches!(&told[..], [ToShard::Reset { shape }] if *shape == bob.shape), "{told:?}");
    assert_eq!(bench.join("by:x", None), Err(Refusal::Unauthorized));
    let ann = join_as(&mut bench, "by:x", "ann").shape;
    bench.commit(&[vec![Operation::Insert { new: row(1, Some("x")) }]]);
    assert!(matches!(&bench.told()[..], [ToShard::Publish(it)] if it.shape == ann));
}

#[test]
fn a_great_many_quiet_shapes_are_not_told_all_at_once() {
    let mut bench = bench(vec![on_docs("docs", Some("owner = claims.sub"))], docs(FULL));
    for number in 0..12_000 {
        join_as(&mut bench, "docs", &number.to_string());
    }
    bench.feed(FeedEvent::Progress(Lsn::new(300)));
    let mut told = Vec::new();
    for second in 15..20 {
        bench.hub.tick(Duration::from_secs(second));
        told.push(bench.published().len());
    }
    assert_eq!(told, [5_000, 5_000, 2_000, 0, 0]);
}
