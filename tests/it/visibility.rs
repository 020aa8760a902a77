//! Who sees what, through the real binary and Postgres: rules, claims and filters over every way in, live, in snapshots
//! and on resuming.

mod labels;
mod row_filters;

use std::fs;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::support::database::Database;
use super::support::gateway::Gateway;
use super::support::http;
use super::support::phoenix::Client;

const SECRET: &str = "a secret of more than 32 bytes, for tests";

/// A database with a gateway in front of it that asks for tokens.
struct Bench {
    database: Database,
    gateway: Gateway,
}

impl Bench {
    async fn start(sql: &str, routes: &str) -> Self {
        Self::set_up("setup", sql, routes).await
    }

    async fn set_up(setup: &str, sql: &str, routes: &str) -> Self {
        let database = Database::start().await;
        database.execute(sql).await;
        let mut gateway = Gateway::configure(&database.url(), routes);
        let text = fs::read_to_string(gateway.config_file()).unwrap();
        gateway.write_config(&text.replace("mode = \"none\"", &format!("mode = \"jwt\"\nsecret = \"{SECRET}\"")));
        let setup = gateway.walcast(setup).await;
        assert!(setup.status.success(), "{}{}", setup.stdout, setup.stderr);
        gateway.spawn();
        gateway.wait_until_ready().await;
        Self { database, gateway }
    }

    async fn connect(&self, claims: &Value) -> Client {
        let url = format!("{}/websocket?vsn=2.0.0&token={}", self.gateway.socket_url(), token(claims));
        Client::connect_exactly(&url).await
    }

    async fn joined(&self, topic: &str, claims: Value, params: Value) -> Client {
        let mut client = self.connect(&claims).await;
        let reply = client.try_join(topic, params.clone()).await;
        assert_eq!(reply["status"], "ok", "{claims} {params}: {reply}");
        client
    }

    /// What comes of a join.
    async fn refused(&self, topic: &str, claims: Value, params: Value) -> Value {
        let reply = self.connect(&claims).await.try_join(topic, params.clone()).await;
        assert_eq!(reply["status"], "error", "{claims} {params}: {reply}");
        reply["response"].clone()
    }

    /// Runs statements, each its own transaction, and says on a topic that they have been.
    async fn run(&self, topic: &str, statements: &[&str]) {
        for statement in statements {
            self.database.execute(statement).await;
        }
        self.database.execute(&format!("select walcast.broadcast('{topic}', 'mark', '{{}}')")).await;
    }
}

/// Good for ten minutes, with these claims.
fn token(claims: &Value) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut claims = claims.clone();
    claims["exp"] = json!(now + 600);
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// An update as `op record <- old_record`, the records' values in the order of their names.
fn line(update: &Value) -> String {
    let record = |key: &str| {
        let record = update[key].as_object()?;
        Some(record.values().map(|it| it.as_str().map_or(it.to_string(), str::to_owned)).collect::<Vec<_>>().join(","))
    };
    let op = update["op"].as_str().unwrap();
    let new = record("record").map_or(String::new(), |new| format!(" {new}"));
    let old = record("old_record").map_or(String::new(), |old| format!(" <- {old}"));
    format!("{op}{new}{old}")
}

/// Everything that a client is shown up to the next mark.
async fn shown(client: &mut Client) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let message = client.next().await;
        match message[3].as_str().unwrap() {
            "new_updates" => lines.extend(message[4]["updates"].as_array().unwrap().iter().map(line)),
            "cursor" => {}
            "mark" => return lines,
            _ => panic!("{message}"),
        }
    }
}

/// The next message that says more than how far the feed is.
async fn next(client: &mut Client) -> Value {
    loop {
        let message = client.next().await;
        if message[3] != "cursor" {
            return message;
        }
    }
}

/// The rows of the snapshot that comes next, by their first column, in no order; and its cursor.
async fn rows(client: &mut Client) -> (Vec<String>, String) {
    let mut lines = Vec::new();
    loop {
        let part = client.next_updates().await;
        assert_eq!(part["snapshot"], true, "{part}");
        lines.extend(part["updates"].as_array().unwrap().iter().map(line));
        if part["more"] != true {
            lines.sort();
            return (lines, part["cursor"].as_str().unwrap().to_owned());
        }
    }
}

const ORDERS: &str = "create table orders (id int primary key, owner text, status text);
    alter table orders replica identity full";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_outside_where_never_leave_and_moves_are_inserts_and_deletes() {
    let routes = "[[route]]\ntable = \"public.orders\"\ntopic = \"orders\"\nwhere = \"status <> 'draft'\"\n";
    let bench = Bench::start(ORDERS, routes).await;
    bench.database.execute("insert into orders values (1, 'ann', 'draft'), (2, 'ann', 'open'), (3, 'ann', null)").await;
    let mut client = bench.joined("orders", json!({"sub": "ann"}), json!({"snapshot": true})).await;
    assert_eq!(rows(&mut client).await.0, ["snapshot 2,ann,open"]);
    bench
        .run(
            "orders",
            &[
                "insert into orders values (4, 'bob', 'draft')",
                "update orders set owner = 'cid' where id = 4",
                "update orders set status = 'open' where id = 4",
                "update orders set status = 'paid' where id = 4",
                "update orders set status = 'draft' where id = 4",
                "update orders set status = null where id = 4",
                "delete from orders where id = 4",
                "delete from orders where id = 2",
                "delete from orders where id = 3",
            ],
        )
        .await;
    assert_eq!(
        shown(&mut client).await,
        ["insert 4,cid,open", "update 4,cid,paid <- 4,cid,open", "delete <- 4,cid,paid", "delete <- 2,ann,open",]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_user_sees_the_own_rows_and_nothing_of_others() {
    let routes = "[[route]]\ntable = \"public.orders\"\ntopic = \"orders\"\n\
        where = \"owner = claims.sub and status <> 'gone'\"\n";
    let bench = Bench::start(ORDERS, routes).await;
    bench.database.execute("insert into orders values (1, 'ann', 'a'), (2, 'bob', 'b'), (3, 'ann', 'gone')").await;
    let mut ann = bench.joined("orders", json!({"sub": "ann"}), json!({"snapshot": true})).await;
    let mut bob = bench.joined("orders", json!({"sub": "bob"}), json!({"snapshot": true})).await;
    let mut nobody = bench.joined("orders", json!({"role": "x"}), json!({"snapshot": true})).await;
    let (seen, of_ann) = rows(&mut ann).await;
    assert_eq!(seen, ["snapshot 1,ann,a"]);
    assert_eq!(rows(&mut bob).await.0, ["snapshot 2,bob,b"]);
    assert_eq!(rows(&mut nobody).await.0, Vec::<String>::new());
    bench
        .run(
            "orders",
            &[
                "insert into orders values (4, 'ann', 'x'), (5, 'bob', 'x'), (6, 'ann', 'gone')",
                "update orders set status = 'y' where id in (4, 5)",
                "update orders set owner = 'bob' where id = 4",
                "delete from orders where id = 1",
                "delete from orders where id in (2, 5, 6)",
                "update orders set owner = null where id = 4",
            ],
        )
        .await;
    assert_eq!(
        shown(&mut ann).await,
        ["insert 4,ann,x", "update 4,ann,y <- 4,ann,x", "delete <- 4,ann,y", "delete <- 1,ann,a"]
    );
    let of_bob = shown(&mut bob).await;
    assert_eq!(
        of_bob,
        [
            "insert 5,bob,x",
            "update 5,bob,y <- 5,bob,x",
            "insert 4,bob,y",
            "delete <- 2,bob,b",
            "delete <- 5,bob,y",
            "delete <- 4,bob,y",
        ]
    );
    assert_eq!(shown(&mut nobody).await, Vec::<String>::new());

    // A cursor is good for the rows that it was given out for.
    let mut again = bench.joined("orders", json!({"sub": "ann", "role": "new"}), json!({"cursor": of_ann})).await;
    assert_eq!(shown(&mut again).await.len(), 4);
    let resync = json!({"reason": "resync_required"});
    assert_eq!(bench.refused("orders", json!({"sub": "bob"}), json!({"cursor": of_ann})).await, resync);
    let filtered = json!({"cursor": of_ann, "filter": "status=eq.x"});
    assert_eq!(bench.refused("orders", json!({"sub": "ann"}), filtered).await, resync);
    let both = json!({"cursor": of_ann, "snapshot": true});
    let mut other = bench.connect(&json!({"sub": "bob"})).await;
    let reply = other.try_join("orders", both).await;
    assert_eq!((&reply["response"]["resumed"], &reply["response"]["cursor"]), (&json!(false), &Value::Null), "{reply}");
    assert_eq!(rows(&mut other).await.0, Vec::<String>::new());

    // Other claims on the same connection: who sees other rows by them begins afresh, who doesn't goes on.
    let show = async |client: &mut Client, claims: Value| {
        client.send(&json!([null, "t", "orders", "access_token", {"token": token(&claims)}])).await;
        assert_eq!(next(client).await[4]["status"], "ok");
    };
    show(&mut ann, json!({"sub": "ann", "email": "new"})).await;
    show(&mut bob, json!({"sub": "ann"})).await;
    assert_eq!(next(&mut bob).await[4], resync);
    bench.run("orders", &["insert into orders values (7, 'ann', 'z')"]).await;
    assert_eq!(shown(&mut ann).await, ["insert 7,ann,z"]);
    let reply = bob.try_join("orders", json!({"snapshot": true})).await;
    assert_eq!(reply["status"], "ok", "{reply}");
    assert_eq!(rows(&mut bob).await.0, ["snapshot 7,ann,z"]);
}

/// A table with a column of every type that people ask for.
const THINGS: &str = "create type mood as enum ('sad', 'ok', 'happy');
    create table things (id int primary key, who uuid, at timestamptz, price numeric(10, 2), tags text[], flag bool,
                         mood mood, name text, small int2, big int8, day date, hidden text);
    alter table things replica identity full;
    insert into things values
      (1, '6f1c3b0e-0000-4000-8000-000000000001', '2026-01-01 00:00:00+00', 1.50, '{a,b}', true, 'sad', 'Ann''s', 1, 10,
       '2026-01-01', 's'),
      (2, '6f1c3b0e-0000-4000-8000-000000000002', '2026-06-01 12:00:00+02', 20, '{b,c}', false, 'ok', 'b,%_', 2, 20,
       '2026-02-01', 's'),
      (3, null, null, null, null, null, null, null, null, null, null, 's');
    create table plain (id int primary key, status text)";
const OF_THINGS: &str = "id, who, at, price, tags, flag, mood, name, small, big, day";

fn things() -> String {
    let columns: Vec<String> = OF_THINGS.split(", ").map(|name| format!("\"{name}\"")).collect();
    format!(
        "[[route]]\ntable = \"public.things\"\ntopic = \"things\"\ncolumns = [{}]\n\
         [[route]]\ntable = \"public.plain\"\ntopic = \"plain\"\n",
        columns.join(", ")
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_of_every_operator_select_the_same_rows_at_first_and_live() {
    let bench = Bench::start(THINGS, &things()).await;
    let cases: &[(&str, &[&str])] = &[
        ("id=eq.1", &["1"]),
        ("id=neq.1", &["2", "3"]),
        ("price=gt.1.50", &["2"]),
        ("price=gte.1.5", &["1", "2"]),
        ("price=lt.20", &["1"]),
        ("price=lte.20.000", &["1", "2"]),
        ("id=in.(1,3)", &["1", "3"]),
        ("name=in.(\"b,%25_\",x)", &["2"]),
        ("name=like.Ann*", &["1"]),
        ("name=ilike.ANN%25", &["1"]),
        ("name=eq.Ann's", &["1"]),
        ("flag=is.true", &["1"]),
        ("flag=is.false", &["2"]),
        ("flag=is.null", &["3"]),
        ("flag=not.is.null", &["1", "2"]),
        ("id=not.in.(1,2)", &["3"]),
        ("mood=eq.ok", &["2"]),
        ("who=eq.6F1C3B0E-0000-4000-8000-000000000001", &["1"]),
        ("at=lt.2026-06-01T10:00:00.001Z", &["1", "2"]),
        ("at=gte.2026-06-01T10:00:00Z", &["2"]),
        ("small=eq.1&big=eq.10", &["1"]),
        ("day=gt.2026-01-15", &["2"]),
        ("id=eq.2%27%20or%20true", &[]),
    ];
    let mut joined = Vec::new();
    for (filter, expected) in cases {
        let claims = json!({"sub": "x"});
        let mut client = bench.connect(&claims).await;
        let params = json!({"snapshot": true, "columns": ["id"], "filter": filter});
        let reply = client.try_join("things", params).await;
        if expected.is_empty() {
            assert_eq!(reply["response"]["reason"], "invalid_filter", "{filter}: {reply}");
            continue;
        }
        assert_eq!(reply["status"], "ok", "{filter}: {reply}");
        let expected: Vec<String> = expected.iter().map(|id| format!("snapshot {id}")).collect();
        assert_eq!(rows(&mut client).await.0, expected, "{filter}");
        joined.push((*filter, expected, client));
    }
    // The same rows by the feed: all of them go, and come again one by one.
    bench.database.execute("create table kept as table things").await;
    bench.run("things", &["delete from things", "insert into things table kept"]).await;
    for (filter, expected, client) in &mut joined {
        let mut lines = shown(client).await;
        lines.sort();
        let op = |op: &str| expected.iter().map(|it| it.replace("snapshot ", op)).collect::<Vec<_>>();
        assert_eq!(lines, [op("delete <- "), op("insert ")].concat(), "{filter}");
    }
    // And moves: nothing of a row is as it was.
    let all = "update things set (who, at, price, flag, mood, name, small, big, day)
        = (select who, at, price, flag, mood, name, small, big, day from kept where kept.id = 3 - things.id)
        where id in (1, 2)";
    bench.run("things", &[all, "delete from things"]).await;
    for (filter, expected, client) in &mut joined {
        let lines = shown(client).await;
        let [came, went] = ["insert", "delete"].map(|op| lines.iter().filter(|it| it.starts_with(op)).count());
        let updated = lines.iter().filter(|it| it.starts_with("update")).count();
        assert_eq!(expected.len() + came, went, "{filter}: every row that was seen goes: {lines:?}");
        assert!(filter.starts_with("id=") || came + updated > 0 || filter.contains("is.null"), "{filter}: {lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_says_nothing_of_hidden_columns_and_is_no_way_into_sql() {
    let bench = Bench::start(THINGS, &things()).await;
    let ask = async |filter: &str| bench.refused("things", json!({"sub": "x"}), json!({"filter": filter})).await;
    let (hidden, missing) = (ask("hidden=eq.s").await, ask("hiddex=eq.s").await);
    assert_eq!(hidden["reason"], "invalid_filter");
    let text = |answer: &Value| answer["message"].as_str().unwrap().to_owned();
    assert_eq!(text(&hidden).replace("hidden", "hiddex"), text(&missing));
    for filter in [
        "id=eq.1; drop table things",
        "id=eq.1) or (true",
        "id) or (1=eq.1",
        "\"id\"=eq.1",
        "id=eq.",
        "id=is.1",
        "id=zz.1",
        "id",
        "id=in.(1",
        "price=eq.many",
        "who=eq.nobody",
        "at=gt.yesterday-ish",
        "small=eq.99999999",
        "or=(id.eq.1,id.eq.2)",
        "id=eq.%ff",
    ] {
        assert_eq!(ask(filter).await["reason"], "invalid_filter", "{filter}");
    }
    let many: String = (0..10_000).map(|n| format!("id=neq.{n}&")).collect();
    let long = format!("name=eq.{}", "x".repeat(50_000));
    for huge in [many, long] {
        assert_eq!(ask(&huge).await["reason"], "invalid_filter");
    }
    assert_eq!(bench.database.value::<i64>("select count(*) from things").await, 3);
    // What looks like SQL is a text like others.
    let injected = json!({"snapshot": true, "filter": "name=eq.x' or '1'='1"});
    let mut client = bench.joined("things", json!({"sub": "x"}), injected).await;
    assert_eq!(rows(&mut client).await.0, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_on_what_the_identity_lacks_never_hides_what_went() {
    let bench = Bench::start(THINGS, &things()).await;
    bench.database.execute("insert into plain values (1, 'open'), (2, 'shut')").await;
    let params = json!({"snapshot": true, "filter": "status=eq.open"});
    let mut client = bench.joined("plain", json!({"sub": "x"}), params).await;
    assert_eq!(rows(&mut client).await.0, ["snapshot 1,open"]);
    bench
        .run(
            "plain",
            &[
                "insert into plain values (3, 'open'), (4, 'shut')",
                "update plain set status = 'shut' where id = 3",
                "update plain set status = 'open' where id = 4",
                "update plain set id = 5 where id = 4",
                "delete from plain where id = 1",
            ],
        )
        .await;
    let lines = shown(&mut client).await;
    assert_eq!(
        lines,
        ["insert 3,open", "delete <- 3", "update 4,open", "update 5,open <- 4", "delete <- 1"],
        "as far as it can be known"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_with_claims_of_every_type_are_pushed_into_the_snapshots_query() {
    let rules = [
        ("who", "who = claims.who"),
        ("at", "at >= claims.at"),
        ("price", "price between claims.low and claims.high"),
        ("tags", "claims.tag = any(tags)"),
        ("names", "name = any(claims.names)"),
        ("flag", "flag = claims.flag"),
        ("bare", "flag and id > 0"),
        ("mood", "mood = claims.mood"),
        ("deep", "big = claims.app.ids.big"),
        ("either", "name = claims.nobody or small = claims.small"),
        ("absent", "name is not distinct from claims.nobody"),
        ("not", "not (name = claims.nobody)"),
    ];
    let routes: String = rules
        .iter()
        .map(|(topic, rule)| {
            format!(
                "[[route]]\ntable = \"public.things\"\ntopic = \"{topic}\"\ncolumns = [\"id\"]\nwhere = \"{rule}\"\n"
            )
        })
        .collect();
    let bench = Bench::start(THINGS, &routes).await;
    let claims = json!({
        "who": "6F1C3B0E-0000-4000-8000-000000000002", "at": "2026-06-01T10:00:00Z", "low": 1.25, "high": "2",
        "tag": "c", "names": ["Ann's", "zoe"], "flag": false, "mood": "happy", "app": {"ids": {"big": 20}}, "small": 1,
    });
    bench.database.execute("update things set mood = 'happy' where id = 2").await;
    let expected: &[&[&str]] =
        &[&["2"], &["2"], &["1"], &["2"], &["1"], &["2"], &["1"], &["2"], &["2"], &["1"], &["3"], &[]];
    let mut clients = Vec::new();
    for ((topic, _), expected) in rules.iter().zip(expected) {
        let mut client = bench.joined(topic, claims.clone(), json!({"snapshot": true})).await;
        let expected: Vec<String> = expected.iter().map(|id| format!("snapshot {id}")).collect();
        let (seen, _) = rows(&mut client).await;
        assert_eq!(seen, expected, "{topic}");
        clients.push((topic, expected, client));
    }
    bench
        .database
        .execute("create table kept as table things; delete from things; insert into things table kept")
        .await;
    for (topic, expected, client) in &mut clients {
        bench.run(topic, &[]).await;
        let lines = shown(client).await;
        let op = |op: &str| expected.iter().map(|it| it.replace("snapshot ", op)).collect::<Vec<_>>();
        assert_eq!(lines, [op("delete <- "), op("insert ")].concat(), "{topic}");
    }
    // A claim that is none of the type that it has to be of; its value is nobody's business.
    for (topic, claims) in [
        ("who", json!({"who": "me-myself"})),
        ("at", json!({"at": "me-myself"})),
        ("price", json!({"low": "me-myself", "high": 1})),
        ("flag", json!({"flag": "me-myself"})),
        ("deep", json!({"app": {"ids": {"big": "me-myself"}}})),
        ("either", json!({"small": 70_000})),
        ("names", json!({"names": "me-myself"})),
        ("names", json!({"names": {"a": "me-myself"}})),
    ] {
        let answer = bench.refused(topic, claims.clone(), json!({"snapshot": true})).await;
        assert_eq!(answer["reason"], "invalid_claim", "{topic} {claims}: {answer}");
        assert!(!bench.gateway.log().contains("me-myself"), "{topic}: a claim is in the log");
    }
}

/// Topics with rules about who may join, one of them fed by three routes.
async fn guarded() -> Bench {
    let sql = "create table orders (id int primary key, customer_id int, note text);
        alter table orders replica identity full;
        create table notes (id int primary key, room uuid, body text);
        alter table notes replica identity full";
    let routes = "[[route]]\ntable = \"public.orders\"\ntopic = \"orders:{customer_id}\"\n\
        allow = \"claims.customer_id = customer_id or claims.role = 'admin'\"\n\
        [[route]]\ntable = \"public.notes\"\ntopic = \"notes:{room}\"\nallow = \"room = any(claims.rooms)\"\n\
        [[route]]\ntable = \"public.orders\"\ntopic = \"all\"\nallow = \"claims.role = 'admin'\"\n\
        [[route]]\ntable = \"public.notes\"\ntopic = \"all\"\nallow = \"claims.sub is not null\"\n\
        where = \"body = claims.sub\"\n\
        [[route]]\ntable = \"public.notes\"\ntopic = \"all\"\nwhere = \"body like 'public%'\"\n";
    Bench::start(sql, routes).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn allow_decides_who_may_join_and_every_route_has_a_say() {
    let bench = guarded().await;
    let unauthorized = json!({"reason": "unauthorized"});
    let room = "6f1c3b0e-0000-4000-8000-000000000001";
    for (topic, claims) in [
        ("orders:7", json!({})),
        ("orders:7", json!({"customer_id": 8})),
        ("orders:7", json!({"role": "user"})),
        ("notes:6f1c3b0e-0000-4000-8000-000000000001", json!({"rooms": []})),
        ("all", json!({"role": "admin"})),
        ("all", json!({"sub": "ann"})),
    ] {
        assert_eq!(bench.refused(topic, claims.clone(), json!({})).await, unauthorized, "{topic} {claims}");
    }
    // A topic with something else in it than the column's values is none.
    for topic in ["orders:07", "orders:7 or true", "orders:{customer_id}", "orders:", "notes:nobody", "orders:*"] {
        let answer = bench.refused(topic, json!({"role": "admin", "rooms": [room]}), json!({})).await;
        assert_eq!(answer["reason"], "unmatched topic", "{topic}");
    }
    for claims in [json!({"customer_id": 7}), json!({"customer_id": "7"}), json!({"customer_id": 8, "role": "admin"})] {
        bench.joined("orders:7", claims, json!({})).await;
    }
    bench
        .joined(
            &format!("notes:{room}"),
            json!({"rooms": [room.replace("4000", "4001"), room.to_uppercase()]}),
            json!({}),
        )
        .await;
    let invalid = bench.refused("orders:7", json!({"customer_id": "seven"}), json!({})).await;
    assert_eq!(invalid["reason"], "invalid_claim", "{invalid}");
    // Several routes to one topic, each with a rule of its own.
    let mut ann = bench.joined("all", json!({"sub": "ann", "role": "admin"}), json!({"snapshot": true})).await;
    assert_eq!(rows(&mut ann).await.0, Vec::<String>::new());
    bench
        .run(
            "all",
            &[
                "insert into orders values (1, 7, 'x')",
                &format!("insert into notes values (1, '{room}', 'ann'), (2, '{room}', 'bob'), (3, null, 'public x')"),
                "update notes set body = 'public y' where id in (1, 2)",
                "update notes set body = 'bob' where id in (1, 3)",
                "delete from notes",
            ],
        )
        .await;
    assert_eq!(
        shown(&mut ann).await,
        [
            "insert 7,1,x".to_owned(),
            format!("insert ann,1,{room}"),
            "insert public x,3,null".to_owned(),
            format!("update public y,1,{room} <- ann,1,{room}"),
            format!("insert public y,2,{room}"),
            format!("delete <- public y,1,{room}"),
            "delete <- public x,3,null".to_owned(),
            format!("delete <- public y,2,{room}"),
        ]
    );
    // A new token without the right ends the one subscription, and no other of the connection.
    ann.send(&json!(["o", "o", "orders:7", "phx_join", {}])).await;
    assert_eq!(next(&mut ann).await[4]["status"], "ok");
    let changed = token(&json!({"sub": "ann", "customer_id": 7}));
    ann.send(&json!([null, "t", "all", "access_token", {"token": changed}])).await;
    assert_eq!(next(&mut ann).await[4]["status"], "ok");
    let ended = next(&mut ann).await;
    assert_eq!(json!([ended[2], ended[3], ended[4]]), json!(["all", "phx_error", unauthorized]));
    bench.run("orders:7", &["insert into orders values (2, 7, 'y')"]).await;
    assert_eq!(shown(&mut ann).await, ["insert 7,2,y"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_is_held_to_the_same_rules() {
    let routes = "[[route]]\ntable = \"public.orders\"\ntopic = \"orders\"\nwhere = \"owner = claims.sub\"\n\
        allow = \"claims.sub <> 'eve'\"\n";
    let bench = Bench::start(ORDERS, routes).await;
    bench
        .database
        .execute("insert into orders values (1, 'ann', 'open'), (2, 'ann', 'shut'), (3, 'bob', 'open')")
        .await;
    let port = bench.gateway.port();
    let get = async |target: &str, sub: &str| {
        let bearer = format!("Bearer {}", token(&json!({ "sub": sub })));
        http::request(port, "GET", target, &[("authorization", &bearer)], "").await
    };
    let of_ann = get("/topics/orders?status=eq.open", "ann").await.json().await;
    let listed: Vec<String> = of_ann["updates"].as_array().unwrap().iter().map(line).collect();
    assert_eq!(listed, ["snapshot 1,ann,open"]);
    assert_eq!(get("/topics/orders", "eve").await.status, 403);
    let invalid = get("/topics/orders?state=eq.open", "ann").await;
    assert_eq!(invalid.status, 400);
    assert_eq!(invalid.json().await["reason"], "invalid_filter");

    let mut events = get("/topics/orders/events?status=eq.open", "ann").await;
    assert_eq!(events.status, 200);
    let mut text = String::new();
    let first = events.chunk().await.unwrap().unwrap();
    text.push_str(&String::from_utf8(first).unwrap());
    bench
        .run(
            "orders",
            &[
                "insert into orders values (4, 'ann', 'open'), (5, 'bob', 'open'), (6, 'ann', 'shut')",
                "update orders set owner = 'ann' where id = 5",
                "update orders set status = 'shut' where id = 4",
            ],
        )
        .await;
    while !text.contains("mark") {
        text.push_str(&String::from_utf8(events.chunk().await.unwrap().unwrap()).unwrap());
    }
    let payloads = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|line| line.contains("updates"));
    let seen: Vec<String> = payloads
        .flat_map(|line| serde_json::from_str::<Value>(line).unwrap()["updates"].as_array().unwrap().clone())
        .map(|update| line(&update))
        .collect();
    assert_eq!(seen, ["insert 4,ann,open", "insert 5,ann,open", "delete <- 4,ann,open"], "{text}");
    // The id of an event is a cursor of these rows, for these claims.
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let target = format!("/topics/orders/events?status=eq.open&cursor={id}");
    assert_eq!(get(&target, "ann").await.status, 200);
    assert_eq!(get(&target, "bob").await.status, 410);
    assert_eq!(get(&format!("/topics/orders/events?cursor={id}"), "ann").await.status, 410);
}
