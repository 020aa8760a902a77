//! Rows at the join, and what commits meanwhile: each exactly once, through the real binary.

mod renamed;
mod standby;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use walcast::demo::cluster::StopMode;

use super::support::database::Database;
use super::support::eventually;
use super::support::gateway::Gateway;
use super::support::phoenix::Client;

pub(crate) const ROUTES: &str = r#"
[[route]]
table = "public.items"
topic = "items"

[[route]]
table = "public.items"
topic = "items:{owner}"
"#;
pub(crate) const TABLE: &str =
    "create table items (id int primary key, owner int not null, version int not null, note text);
                     alter table items replica identity full";

/// What a client makes of what it is sent; every update must fit what came before.
#[derive(Debug, Default, Clone)]
struct Replica {
    rows: BTreeMap<i64, Value>,
    cursor: Option<String>,
    parts: u64,
    /// The last part of the snapshot has come.
    complete: bool,
    /// Cursors of the messages that came after the snapshot, with the rows as of then.
    updates: usize,
}

impl Replica {
    fn take(&mut self, payload: &Value) {
        if payload["snapshot"] == true {
            if payload["part"] == 0 {
                *self = Self { updates: self.updates, ..Self::default() };
            }
            assert_eq!(payload["part"], self.parts, "{payload}");
            self.parts += 1;
            self.complete = payload["more"].is_null();
            assert_eq!(payload.get("cursor").is_some(), self.complete);
        } else {
            assert!(self.complete, "the feed goes on only after the snapshot");
            self.updates += 1;
        }
        for update in payload["updates"].as_array().unwrap() {
            self.apply(update);
        }
        self.cursor = payload["cursor"].as_str().map(str::to_owned).or_else(|| self.cursor.take());
    }

    /// Strict: an insert of what is there, an update of another version than the one before, or a delete of what is
    /// not there would each be a change too many or too few.
    fn apply(&mut self, update: &Value) {
        let id = |record: &Value| record["id"].as_i64().unwrap();
        match update["op"].as_str().unwrap() {
            "snapshot" | "insert" => {
                let before = self.rows.insert(id(&update["record"]), update["record"].clone());
                assert_eq!(before, None, "{update}");
            }
            "update" => {
                let before = self.rows.insert(id(&update["record"]), update["record"].clone());
                assert_eq!(before.as_ref(), Some(&update["old_record"]), "{update}");
            }
            "delete" => {
                let before = self.rows.remove(&id(&update["old_record"]));
                assert_eq!(before.as_ref(), Some(&update["old_record"]), "{update}");
            }
            "truncate" => self.rows.clear(),
            other => panic!("{other}"),
        }
    }

    /// Until the snapshot is complete.
    async fn load(client: &mut Client) -> Self {
        let mut replica = Self::default();
        while !replica.complete {
            replica.take(&client.next_updates().await);
        }
        replica
    }

    /// Until this row has come.
    async fn follow_until(&mut self, client: &mut Client, id: i64) {
        while !self.rows.contains_key(&id) {
            self.take(&client.next_updates().await);
        }
    }
}

async fn table(database: &Database, condition: &str) -> BTreeMap<i64, Value> {
    let sql =
        format!("select coalesce(json_object_agg(id, row_to_json(items)), '{{}}')::text from items where {condition}");
    let rows: BTreeMap<i64, Value> = serde_json::from_str(&database.value::<String>(&sql).await).unwrap();
    rows
}

async fn join(gateway: &Gateway, topic: &str, params: Value) -> Client {
    let mut client = Client::connect(gateway).await;
    let reply = client.try_join(topic, params).await;
    assert_eq!(reply, json!({"status": "ok", "response": {"cursor": null, "resumed": false}}));
    client
}

/// Inserts, updates, moves and deletes rows of its own until it is told to end.
async fn write(sql: tokio_postgres::Client, writer: i32, mut ended: tokio::sync::watch::Receiver<bool>) {
    let mut round = 0;
    while !*ended.borrow_and_update() {
        let id = writer * 1_000_000 + fastrand::i32(0..40);
        round += 1;
        let statement = match fastrand::u8(0..4) {
            0 => format!("delete from items where id = {id}"),
            1 => format!(
                "begin; insert into items values ({id}, {writer}, {round}, repeat('x', {round} % 50)) \
                 on conflict do nothing; \
                 savepoint s; update items set version = version + 1 where id = {id}; release s; commit"
            ),
            2 => format!(
                "begin; update items set owner = (owner + 1) % 8, version = {round} where id = {id}; \
                 select pg_sleep(0.002); commit"
            ),
            _ => format!(
                "insert into items values ({id}, {writer}, {round}, null) \
                 on conflict (id) do update set version = excluded.version"
            ),
        };
        sql.batch_execute(&statement).await.expect("a commit");
    }
}

struct Writers {
    tasks: JoinSet<()>,
    end: tokio::sync::watch::Sender<bool>,
}

impl Writers {
    async fn start(database: &Database) -> Self {
        let (end, ended) = tokio::sync::watch::channel(false);
        let mut tasks = JoinSet::new();
        for writer in 0..8 {
            tasks.spawn(write(database.connect().await, writer, ended.clone()));
        }
        Self { tasks, end }
    }

    async fn stop(self) {
        self.end.send_replace(true);
        self.tasks.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_amid_eight_writers_has_no_seam() {
    let database = Database::start().await;
    database.execute(TABLE).await;
    database.execute("insert into items select -n, n % 8, 0, 'note ' || n from generate_series(1, 3000) n").await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    clients_amid_writers(&database, &gateway).await;
}

/// Clients of `gateway` begin with snapshots, some are cut off and resume, while `database` is written to: in the end
/// each has exactly the table.
pub(crate) async fn clients_amid_writers(database: &Database, gateway: &Gateway) {
    let writers = Writers::start(database).await;
    let mut clients = JoinSet::new();
    for n in 0..24 {
        let (topic, condition) = match n % 3 {
            0 => (format!("items:{}", n % 8), format!("owner = {}", n % 8)),
            _ => ("items".to_owned(), "true".to_owned()),
        };
        let mut client = join(gateway, &topic, json!({"snapshot": true})).await;
        let gateway_url = gateway.socket_url();
        clients.spawn(async move {
            let mut replica = Replica::load(&mut client).await;
            // Every third is cut off right after the snapshot, and one in the middle of what follows: both resume.
            for _ in 0..(n % 4) * 3 {
                replica.take(&client.next_updates().await);
            }
            if n % 2 == 0 {
                drop(client);
                client = Client::connect_to(&gateway_url).await;
                let params = json!({"snapshot": true, "cursor": replica.cursor});
                let reply = client.try_join(&topic, params).await;
                assert_eq!(reply["response"], json!({"cursor": replica.cursor, "resumed": true}));
            }
            (client, replica, condition)
        });
    }
    let mut loaded = clients.join_all().await;
    writers.stop().await;
    // One row for every topic, after everything else.
    database.execute("insert into items select 100 + n, n, 0, 'end' from generate_series(0, 7) n").await;
    for (client, replica, condition) in &mut loaded {
        let rows = table(database, condition).await;
        let last = rows.keys().copied().filter(|id| (100..108).contains(id)).max().unwrap();
        replica.follow_until(client, last).await;
        assert_eq!(replica.rows, rows, "{condition}");
    }
    let followed: usize = loaded.iter().map(|(_, replica, _)| replica.updates).sum();
    assert!(followed > 24 * 10, "the writers were hardly heard: {followed} messages");
}

#[tokio::test]
async fn an_empty_table_is_one_message() {
    let database = Database::start().await;
    database.execute(TABLE).await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut client = join(&gateway, "items:7", json!({"snapshot": true})).await;
    let message = client.next_updates().await;
    assert_eq!((&message["snapshot"], &message["part"], &message["updates"]), (&json!(true), &json!(0), &json!([])));
    assert!(
        message["cursor"].is_string() && message.get("more").is_none() && message.get("xid").is_none(),
        "{message}"
    );
    database.execute("insert into items values (1, 7, 0, 'live')").await;
    let live = client.next_updates().await;
    assert_eq!(live["updates"][0]["op"], "insert");
    // The cursor of the snapshot gives the same again, to the byte.
    let mut again = Client::connect(&gateway).await;
    again.try_join("items:7", json!({"cursor": message["cursor"]})).await;
    let resumed = again.next_updates().await;
    assert_eq!(resumed["updates"], live["updates"]);
}

#[tokio::test]
async fn a_large_table_comes_in_parts_with_the_join_s_columns_and_by_value() {
    let database = Database::start().await;
    database.execute(TABLE).await;
    database.execute("insert into items select n, n % 2, n, 'note ' || n from generate_series(1, 20000) n").await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut client = join(&gateway, "items", json!({"snapshot": true})).await;
    let replica = Replica::load(&mut client).await;
    assert_eq!(replica.rows, table(&database, "true").await);
    assert_eq!(replica.parts, 20, "a thousand rows each");
    let mut client = join(&gateway, "items:1", json!({"snapshot": true, "columns": ["id", "note"]})).await;
    let replica = Replica::load(&mut client).await;
    assert_eq!(replica.rows.len(), 10_000);
    assert_eq!(replica.rows[&1], json!({"id": 1, "note": "note 1"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_at_once_share_one_query() {
    let database = Database::start().await;
    database.execute(TABLE).await;
    database.execute("insert into items select n, 0, n, repeat('x', 100) from generate_series(1, 3000) n").await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let scans = "select seq_scan from pg_stat_user_tables where relname = 'items'";
    // Nobody is sent anything until all have asked.
    let mut locking = database.connect().await;
    let lock = locking.transaction().await.unwrap();
    lock.batch_execute("lock table items in access exclusive mode").await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(join(&gateway, "items", json!({"snapshot": true})).await);
    }
    lock.rollback().await.unwrap();
    let mut loading = JoinSet::new();
    for mut client in clients {
        loading.spawn(async move { Replica::load(&mut client).await.rows.len() });
    }
    assert_eq!(loading.join_all().await, [3000; 200]);
    // A connection's statistics are reported when it ends. The making of the table's key may count as a scan, too.
    let counted = || async { Some(database.value::<i64>(scans).await).filter(|scans| *scans > 0) };
    let scans = eventually("the scan is counted", counted).await;
    assert!(scans <= 2, "{scans} scans");
}

#[tokio::test]
async fn too_many_rows_are_refused_with_a_reason_and_others_go_on() {
    let database = Database::start().await;
    database.execute(TABLE).await;
    database.execute("insert into items select n, n % 100, n, null from generate_series(1, 2001) n").await;
    let gateway = Gateway::start(&database.url(), &format!("[limits]\nsnapshot_rows = 2000\n{ROUTES}")).await;
    let mut client = join(&gateway, "items", json!({"snapshot": true})).await;
    let failed = loop {
        let message = client.next().await;
        if message[3] != "new_updates" {
            break message;
        }
        assert!(message[4].get("cursor").is_none(), "{message}");
    };
    assert_eq!((&failed[3], &failed[4]), (&json!("phx_error"), &json!({"reason": "snapshot_too_large"})));
    let mut client = join(&gateway, "items:7", json!({"snapshot": true})).await;
    assert_eq!(Replica::load(&mut client).await.rows, table(&database, "owner = 7").await);
}

/// Whatever the column's type, a topic's rows are those that the feed would send there; and each table's are its own.
#[tokio::test]
async fn a_topic_s_rows_are_those_that_the_feed_sends_there() {
    let columns = [
        ("bool", "'t'", "'f'"),
        ("numeric", "1.0", "1.00"),
        ("char(4)", "'ab'", "'abc'"),
        ("inet", "'10.0.0.1'", "'10.0.0.0/8'"),
        ("text collate ci", "'Key'", "'key'"),
        ("float8", "'0'", "'-0'"),
        ("timestamptz", "'2026-11-22 00:00:00+00'", "'infinity'"),
        ("point", "'(1,2)'", "'(1,3)'"),
        ("mood", "'sad'", "'happy'"),
        ("bytea", "'x'", "'y'"),
    ];
    let database = Database::start().await;
    database.execute("create collation ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)").await;
    database.execute("create type mood as enum ('sad', 'happy')").await;
    let mut routes = String::new();
    for (n, (ty, ..)) in columns.iter().enumerate() {
        database
            .execute(&format!("create table t{n} (id int primary key, v {ty}); alter table t{n} replica identity full"))
            .await;
        routes.push_str(&format!("[[route]]\ntable = \"public.t{n}\"\ntopic = \"t{n}:{{v}}\"\n"));
    }
    let related = "create table parent (id int primary key); \
                   create table child () inherits (parent); alter table child add primary key (id); \
                   create table whole (id int primary key) partition by list (id); \
                   create table one partition of whole for values in (1)";
    database.execute(related).await;
    routes.push_str("[[route]]\ntable = \"public.*\"\ntopic = \"all\"\n");
    let gateway = Gateway::start(&database.url(), &routes).await;
    for (n, (_, one, other)) in columns.iter().enumerate() {
        database.execute(&format!("insert into t{n} values (1, {one}), (2, {other}), (3, null)")).await;
        for id in [1, 2] {
            let value = database.value::<String>(&format!("select v::text from t{n} where id = {id}")).await;
            let mut client = join(&gateway, &format!("t{n}:{value}"), json!({"snapshot": true})).await;
            let snapshot = client.next_updates().await;
            let records: Vec<&Value> = snapshot["updates"].as_array().unwrap().iter().map(|it| &it["record"]).collect();
            let expected: String =
                database.value(&format!("select row_to_json(t{n})::text from t{n} where id = {id}")).await;
            assert_eq!(records, [&serde_json::from_str::<Value>(&expected).unwrap()], "t{n}:{value}");
        }
    }
    database.execute("insert into parent values (1); insert into child values (2); insert into whole values (1)").await;
    let mut client = join(&gateway, "all", json!({"snapshot": true})).await;
    let snapshot = client.next_updates().await;
    let rows = snapshot["updates"].as_array().unwrap().iter();
    let mut own: Vec<String> = rows.map(|it| format!("{} {}", it["table"], it["record"]["id"])).collect();
    own.retain(|row| !row.starts_with("\"t"));
    own.sort();
    assert_eq!(own, ["\"child\" 2", "\"parent\" 1", "\"whole\" 1"]);
}

/// The server cuts the snapshot short: the client is told, and its next join starts over.
#[tokio::test]
async fn a_snapshot_that_is_cut_short_is_told() {
    let database = Database::start().await;
    database.execute(TABLE).await;
    database.execute("insert into items values (1, 1, 1, 'one')").await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut altering = database.connect().await;
    let alteration = altering.transaction().await.unwrap();
    alteration.batch_execute("lock table items in access exclusive mode").await.unwrap();
    let mut client = join(&gateway, "items", json!({"snapshot": true})).await;
    // From Postgres 16 on, it waits in its first look at the published tables already.
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                where wait_event_type = 'Lock' and application_name = 'walcast'
                  and (query like 'lock table%access share mode' or query like '%pg_publication_tables%')";
    let ended = || async { (database.value::<i64>(end).await > 0).then_some(()) };
    eventually("the snapshot waits for the table", ended).await;
    let failed = client.next().await;
    assert_eq!((&failed[3], &failed[4]), (&json!("phx_error"), &json!({"reason": "snapshot_failed"})));
    // What the table is rewritten to is what the next snapshot has.
    alteration.batch_execute("alter table items alter note type text using upper(note)").await.unwrap();
    alteration.commit().await.unwrap();
    let reply = client.try_join("items", json!({"snapshot": true})).await;
    assert_eq!(reply["status"], "ok");
    assert_eq!(Replica::load(&mut client).await.rows, table(&database, "true").await);
}

#[tokio::test]
async fn fetch_updates_gives_the_rows_anew_to_one_client() {
    let database = Database::start().await;
    database.execute(TABLE).await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut client = Client::joined(&gateway, "items").await;
    let mut other = Client::joined(&gateway, "items").await;
    database.execute("insert into items values (1, 1, 1, 'one'), (2, 1, 1, 'two')").await;
    for client in [&mut client, &mut other] {
        assert_eq!(client.next_updates().await["updates"].as_array().unwrap().len(), 2);
    }
    client.send(&json!(["1", "9", "items", "fetch_updates", {}])).await;
    assert_eq!(client.next().await, json!(["1", "9", "items", "phx_reply", {"status": "ok", "response": {}}]));
    let mut replica = Replica::load(&mut client).await;
    assert_eq!(replica.rows, table(&database, "true").await);
    database.execute("update items set version = 2 where id = 2").await;
    replica.take(&client.next_updates().await);
    assert_eq!(replica.rows, table(&database, "true").await);
    // The other one was sent the update, and nothing before it.
    assert_eq!(other.next_updates().await["updates"][0]["op"], "update");
}

#[tokio::test]
async fn fetch_updates_takes_the_params_of_a_join() {
    let database = Database::start().await;
    database.execute(TABLE).await;
    database.execute("insert into items values (1, 1, 1, 'one'), (2, 1, 1, 'two'), (3, 1, 1, 'three')").await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.try_join("items", json!({"filter": "id=lt.3"})).await["status"], "ok");
    let mut cursor = json!(null);
    let id = |id: i64| json!({"op": "snapshot", "schema": "public", "table": "items", "record": {"id": id}});
    for (reference, params, expected) in [
        ("10", json!({"columns": ["id"]}), vec![id(1), id(2)]),
        ("11", json!({"columns": ["id"], "filter": "id=eq.3", "ops": ["insert"]}), vec![id(3)]),
        ("12", json!({"columns": ["id"], "filter": ""}), vec![id(1), id(2), id(3)]),
        ("13", json!({"filter": "id=gt.3"}), vec![]),
    ] {
        client.send(&json!(["1", reference, "items", "fetch_updates", params])).await;
        let reply = json!(["1", reference, "items", "phx_reply", {"status": "ok", "response": {}}]);
        assert_eq!(client.next().await, reply);
        let rows = client.next_updates().await;
        assert_eq!(rows["updates"], json!(expected), "{params}");
        assert_eq!((&rows["snapshot"], &rows["part"]), (&json!(true), &json!(0)));
        cursor = rows["cursor"].clone();
    }
    for params in [json!({"filter": "nope=eq.1"}), json!({"filter": "id=eq.x"}), json!({"columns": ["nope"]})] {
        client.send(&json!(["1", "20", "items", "fetch_updates", params])).await;
        let reply = client.next().await;
        assert_eq!((&reply[1], &reply[4]["response"]["reason"]), (&json!("20"), &json!("invalid_filter")), "{params}");
    }
    // The subscription is what it was, and so is what its cursors are good for.
    database.execute("update items set version = 2 where id = 3; update items set version = 2 where id = 2").await;
    assert_eq!(client.next_updates().await["updates"][0]["record"]["id"], 2);
    let mut again = Client::connect(&gateway).await;
    let reply = again.try_join("items", json!({"filter": "id=lt.3", "cursor": cursor})).await;
    assert_eq!(reply["response"], json!({"cursor": cursor, "resumed": true}));
    assert_eq!(again.next_updates().await["updates"][0]["record"]["id"], 2);
}

async fn set_standby(database: &Database, name: &str) {
    database.execute(&format!("alter system set synchronous_standby_names = '{name}'")).await;
    database.execute("select pg_reload_conf()").await;
    let shown = "select current_setting('synchronous_standby_names')";
    eventually("the setting is read", || async { (database.value::<String>(shown).await == name).then_some(()) }).await;
}

/// A commit that waits for a standby is in the write-ahead log, and decoded, before anybody can see its rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_waits_for_a_standby_is_neither_lost_nor_doubled() {
    let database = Database::start().await;
    database.execute(&format!("set synchronous_commit = local; {TABLE}")).await;
    database.execute("insert into items values (1, 1, 0, 'seen')").await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut live = Client::joined(&gateway, "items").await;
    set_standby(&database, "nobody").await;
    let waiting = database.connect().await;
    let hanging = tokio::spawn(async move {
        waiting
            .batch_execute(
                "begin; insert into items values (2, 1, 0, 'late'); update items set version = 1 where id = 1; commit",
            )
            .await
    });
    // It was decoded …
    assert_eq!(live.next_updates().await["updates"].as_array().unwrap().len(), 2);
    // … and a later one too, which is seen.
    database.execute("insert into items values (3, 1, 0, 'after')").await;
    assert_eq!(live.next_updates().await["updates"][0]["record"]["id"], 3);
    assert_eq!(database.value::<i64>("select count(*) from items where id = 2").await, 0, "the commit did not wait");
    let mut client = join(&gateway, "items", json!({"snapshot": true})).await;
    let mut replica = Replica::load(&mut client).await;
    assert_eq!(replica.rows.keys().copied().collect::<Vec<_>>(), [1, 3]);
    assert_eq!(replica.rows[&1]["version"], 0);
    let before = replica.clone();
    replica.follow_until(&mut client, 2).await;
    // Who resumes from the snapshot's own cursor gets it, too, and not what it has.
    let mut resumed = Client::connect(&gateway).await;
    let reply = resumed.try_join("items", json!({"cursor": before.cursor})).await;
    assert_eq!(reply["response"]["resumed"], true);
    let mut again = before;
    again.follow_until(&mut resumed, 2).await;
    set_standby(&database, "").await;
    hanging.await.unwrap().unwrap();
    database.execute("insert into items values (4, 1, 0, 'end')").await;
    for (client, replica) in [(&mut client, &mut replica), (&mut resumed, &mut again)] {
        replica.follow_until(client, 4).await;
        assert_eq!(replica.rows, table(&database, "true").await);
    }
}

/// A crash undoes commits that nobody waited for; not those that a client goes on from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_snapshot_has_shown_survives_a_crash() {
    let settings = &[("synchronous_commit", "off"), ("wal_writer_delay", "10s"), ("autovacuum", "off")];
    let mut database = Database::start_with(settings).await;
    database.execute(TABLE).await;
    let mut gateway = Gateway::start(&database.url(), ROUTES).await;
    for round in 1..=2 {
        database.execute(&format!("insert into items values ({round}, 0, 0, 'shown')")).await;
        let mut client = join(&gateway, "items", json!({"snapshot": true})).await;
        let mut replica = Replica::load(&mut client).await;
        assert!(replica.rows.contains_key(&round), "{:?}", replica.rows);
        database.execute(&format!("insert into items values (-{round}, 0, 0, 'may be lost')")).await;
        tokio::task::block_in_place(|| database.stop(StopMode::Immediate));
        database.resume().await;
        gateway.wait_until_ready().await;
        // Under an id that the crash may have set free.
        database.execute(&format!("insert into items values ({round}00, 0, 0, 'after')")).await;
        drop(client);
        let mut client = Client::connect(&gateway).await;
        let reply = client.try_join("items", json!({"cursor": replica.cursor})).await;
        assert_eq!(reply["response"]["resumed"], true, "{reply}");
        replica.follow_until(&mut client, round * 100).await;
        assert_eq!(replica.rows, table(&database, "true").await, "round {round}");
    }
}
