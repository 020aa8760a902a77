//! Whose rights a write has: the claims name the role, and row security governs. The part that writes by itself, with
//! claims as a token would bring them.

use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use walcast::replication::wire::ConnectionConfig;
use walcast::routing::{
    Claims, Conflict, Expression, Ops, RouteSpec, TablePattern, Template, WritableRoute, WritePolicy,
};
use walcast::sync::{self, Answer, Outcome, Queued, Request, Settings, WriteLimits};

use super::Device;
use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::phoenix::Client;

const SETUP: &str = include_str!("../../../sql/setup.sql");
const TEAM: &str = "
create role gateway login;
create role author;
create role intern;
create role stranger;
create role boss superuser;
grant author, intern, boss to gateway;
grant usage on schema walcast to gateway;
grant select, insert, update, delete on walcast.mutations to gateway;
create table notes (id int primary key, owner text not null, title text);
grant select, insert, update, delete on notes to author, gateway;
grant select on notes to intern;
alter table notes enable row level security;
create policy own on notes to author using (owner = current_setting('request.jwt.claims', true)::json ->> 'sub');
create policy others on notes for select to author using (title like 'public%');
create policy all_of_them on notes to gateway using (true);
insert into notes values (1, 'u1', 'mine'), (2, 'u2', 'theirs'), (3, 'u2', 'public');
";

pub(super) struct Writer {
    requests: mpsc::Sender<Queued>,
    answers: mpsc::Receiver<Answer>,
    number: u32,
}

fn start(database: &Database, role: Option<&str>) -> Writer {
    start_with(database, role, Conflict::Columns, None)
}

/// With a `where`, too.
pub(super) fn start_with(database: &Database, role: Option<&str>, conflict: Conflict, filter: Option<&str>) -> Writer {
    let url = database.url();
    let (before, host) = url.split_once("://").expect("a url");
    let host = host.split_once('@').map_or(host, |(_, host)| host);
    let route = RouteSpec {
        table: TablePattern::parse("public.notes").unwrap(),
        topic: Template::parse("notes").unwrap(),
        columns: None,
        filter: filter.map(|sql| Expression::parse(sql).unwrap()),
        allow: None,
        ops: Ops::ALL,
        event: "sync_update".into(),
        int8: walcast::routing::Int8Format::Number,
    };
    let policy = WritePolicy { ops: Ops::ALL, columns: None, conflict, role: role.map(str::to_owned) };
    let settings = Settings {
        connection: ConnectionConfig::parse(&format!("{before}://gateway@{host}")).unwrap(),
        publication: "walcast".to_owned(),
        routes: watch::channel([WritableRoute { route, policy }].into()).1,
        identified: true,
        limits: WriteLimits {
            connections: 2,
            changes: 10,
            timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(5),
            retention: Duration::from_secs(60),
        },
    };
    let (requests, queued) = mpsc::channel(10);
    let (answered, answers) = mpsc::channel(10);
    tokio::spawn(sync::task::run(settings, queued, vec![answered]));
    Writer { requests, answers, number: 0 }
}

impl Writer {
    pub(super) async fn ask(&mut self, claims: Value, id: &str, changes: Value) -> Result<(), Value> {
        let Value::Object(claims) = claims else { panic!("an object") };
        self.number += 1;
        let payload = RawValue::from_string(json!({"id": id, "changes": changes}).to_string()).unwrap();
        let (topic, claims) = ("notes".to_owned(), Claims::new(claims));
        let request = Request { shard: 0, number: self.number, topic, claims, payload };
        self.requests.send((Instant::now(), request)).await.unwrap();
        let answer = self.answers.recv().await.unwrap();
        assert_eq!(answer.number, self.number);
        match answer.outcome {
            Outcome::Done(_) => Ok(()),
            Outcome::Refused(json) => Err(serde_json::from_str(&json).unwrap()),
            Outcome::NotWritable => panic!("the topic is writable"),
        }
    }
}

fn update(id: u32, base: &str) -> Value {
    json!([{"op": "update", "key": {"id": id}, "record": {"title": "changed"}, "base": {"title": base}}])
}

pub(super) async fn prepared() -> Database {
    let database = Database::start().await;
    database.execute(SETUP).await;
    database.execute(TEAM).await;
    database
}

#[tokio::test]
async fn row_security_governs_by_the_claims() {
    let database = prepared().await;
    let mut writer = start(&database, None);
    let claims = || json!({"sub": "u1", "role": "author"});
    writer.ask(claims(), "a", update(1, "mine")).await.unwrap();
    // A row that may not be seen is as one that is not there.
    let unseen = writer.ask(claims(), "b", update(2, "theirs")).await.unwrap_err();
    assert_eq!((&unseen["reason"], &unseen["conflicts"][0]["current"]), (&json!("conflict"), &Value::Null));
    assert!(!unseen.to_string().contains("theirs"));
    // One that may be seen and not written is told as that.
    let read_only = writer.ask(claims(), "c", update(3, "public")).await.unwrap_err();
    assert_eq!(read_only, json!({"reason": "not_permitted", "change": 0}));
    let stale = writer.ask(claims(), "d", update(3, "wrong")).await.unwrap_err();
    assert_eq!(stale["conflicts"][0]["current"], json!({"id": 3, "owner": "u2", "title": "public"}));
    let insert = |id: u32, owner: &str| json!([{"op": "insert", "record": {"id": id, "owner": owner, "title": "new"}}]);
    writer.ask(claims(), "e", insert(4, "u1")).await.unwrap();
    let for_others = writer.ask(claims(), "f", insert(5, "u2")).await.unwrap_err();
    assert_eq!(for_others, json!({"reason": "not_permitted", "change": 0}));
    let taken = writer.ask(claims(), "g", insert(2, "u1")).await.unwrap_err();
    assert_eq!(taken["conflicts"][0]["current"], Value::Null);
    let intern = writer.ask(json!({"sub": "u1", "role": "intern"}), "h", update(1, "changed")).await.unwrap_err();
    assert_eq!(intern, json!({"reason": "not_permitted", "change": 0}));
    let rows: String = database.value("select string_agg(concat(id, title), ' ' order by id) from notes").await;
    assert_eq!(rows, "1changed 2theirs 3public 4new");
}

#[tokio::test]
async fn a_token_never_writes_with_the_gateways_rights() {
    let database = prepared().await;
    let mut writer = start(&database, None);
    for claims in [
        json!({"sub": "u2"}),
        json!({"sub": "u2", "role": "gateway"}),
        json!({"sub": "u2", "role": "none"}),
        json!({"sub": "u2", "role": "boss"}),
        json!({"sub": "u2", "role": "stranger"}),
        json!({"sub": "u2", "role": "nobody"}),
        json!({"sub": "u2", "role": "author\"; reset role; --"}),
        json!({"sub": "u2", "role": ["author"]}),
    ] {
        let refused = writer.ask(claims.clone(), "a", update(2, "theirs")).await.unwrap_err();
        assert_eq!(refused["reason"], "not_permitted", "{claims}");
    }
    let title: String = database.value("select title from notes where id = 2").await;
    assert_eq!(title, "theirs");
    // None of these was an outcome: with the right role the same request succeeds.
    writer.ask(json!({"sub": "u2", "role": "author"}), "a", update(2, "theirs")).await.unwrap();
    let mut with_role = start(&database, Some("author"));
    with_role.ask(json!({"sub": "u2"}), "b", update(3, "public")).await.unwrap();
}

#[tokio::test]
async fn mutation_ids_are_each_identitys_own() {
    let database = prepared().await;
    let mut writer = start(&database, None);
    let claims = |sub: &str| json!({"sub": sub, "role": "author"});
    let mine = writer.ask(claims("u1"), "same", update(1, "wrong")).await.unwrap_err();
    assert_eq!(mine["conflicts"][0]["current"]["title"], "mine");
    // Another's request with this id is its own, and a renewed token of the same subject is the same.
    writer.ask(claims("u2"), "same", update(2, "theirs")).await.unwrap();
    let renewed = json!({"sub": "u1", "role": "author", "exp": 2_000_000_000});
    assert_eq!(writer.ask(renewed, "same", update(1, "mine")).await.unwrap_err(), mine);
}

#[tokio::test]
async fn claims_and_role_end_with_the_transaction() {
    let database = prepared().await;
    let mut writer = start(&database, None);
    for number in 0..4 {
        // Both connections are used again and again, after what failed and what did not.
        let own = json!([{"op": "insert", "record": {"id": 10 + number, "owner": "u1", "title": "x"}}]);
        writer.ask(json!({"sub": "u1", "role": "author"}), &format!("a{number}"), own).await.unwrap();
        let others = json!([{"op": "delete", "key": {"id": 10 + number}, "base": {"title": "x"}}]);
        let refused = writer.ask(json!({"role": "author"}), &format!("b{number}"), others).await.unwrap_err();
        assert_eq!(refused["reason"], "conflict");
    }
}

const SECRET: &str = "a secret of more than 32 bytes, for tests";

#[tokio::test]
async fn the_tokens_role_and_subject_are_those_of_the_write() {
    let database = prepared().await;
    database.execute("alter table notes replica identity full").await;
    let mut gateway = Gateway::configure(
        &database.url(),
        "[[route]]\ntable = \"public.notes\"\ntopic = \"notes\"\nevent = \"sync_update\"\n[route.write]\n",
    );
    let text = std::fs::read_to_string(gateway.config_file()).unwrap();
    gateway.write_config(&text.replace("mode = \"none\"", &format!("mode = \"jwt\"\nsecret = \"{SECRET}\"")));
    let setup = gateway.walcast("setup").await;
    assert!(setup.status.success(), "{}{}", setup.stdout, setup.stderr);
    gateway.spawn();
    gateway.wait_until_ready().await;
    let device = async |claims: Value| {
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
        let url = format!("{}/websocket?vsn=2.0.0&token={token}", gateway.socket_url());
        Device::join_as(Client::connect_exactly(&url).await, "notes").await
    };
    let exp = 4_000_000_000_u64;
    let mut author = device(json!({"sub": "u1", "role": "author", "exp": exp})).await;
    author.write("a", update(1, "mine")).await;
    assert_eq!(author.updates[0]["updates"][0]["record"], json!({"id": 1, "owner": "u1", "title": "changed"}));
    let response = author.refused("b", update(2, "theirs")).await;
    assert_eq!((&response["reason"], &response["conflicts"][0]["current"]), (&json!("conflict"), &Value::Null));
    for claims in [json!({"sub": "u2", "exp": exp}), json!({"sub": "u2", "role": "boss", "exp": exp})] {
        let mut nobody = device(claims).await;
        let response = nobody.refused("c", update(2, "theirs")).await;
        assert_eq!(response["reason"], "not_permitted");
    }
}
