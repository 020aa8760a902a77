//! `walcast setup --database-url` and `walcast run --database-url`: a database of one's own, without a configuration.

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::gateway::{Finished, Gateway, walcast};
use crate::support::phoenix::Client;

/// One of each kind that people have.
const TABLES: &str = r#"
    create table articles (id int primary key, title text);
    create table "Größe.""x"" * {a}" (id int primary key);
    create table "we.ird ""Tabelle"" * ☃" (id int primary key);
    create table measurements (id int, at int, primary key (id, at)) partition by range (at);
    create table measurements_1 partition of measurements for values from (0) to (10);
    create table audit (line text);
    create table later (id int) partition by range (id);
    create table diary (line text);
    alter table diary replica identity full;
    create unlogged table scratch (id int primary key);
    create view titles as select title from articles;
"#;
const ODD: &str = "public.we.ird \"Tabelle\" * ☃";

async fn database() -> Database {
    let database = Database::start_with(&[("max_slot_wal_keep_size", "4GB")]).await;
    database.execute(TABLES).await;
    database
}

async fn setup(url: &str) -> Finished {
    let done = walcast(&["setup", "--database-url", url], &[]).await;
    assert!(done.status.success(), "{}", done.stderr);
    done
}

/// A gateway without a file that is ready.
async fn run(url: &str) -> Gateway {
    let mut gateway = Gateway::configure(url, "");
    gateway.spawn_without_file(url);
    gateway.wait_until_ready().await;
    gateway
}

async fn first_record(client: &mut Client) -> Value {
    client.next_updates().await["updates"][0]["record"].clone()
}

#[tokio::test]
async fn a_newcomer_is_told_what_to_do_and_then_sees_every_table() {
    let database = database().await;
    let url = database.url();
    let refused = walcast(&["run", "--database-url", &url], &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        refused.stderr,
        "error: there is no publication `walcast` with tables in this database\n\
         help: run `walcast setup` with the same --database-url: it publishes every table that can be\n\
         help: published safely, and creates the replication slot; with --print it shows the SQL instead\n"
    );

    let done = setup(&url).await;
    assert_eq!(
        done.stderr,
        "left out, because Postgres would refuse the apps' updates and deletes: they have no primary key \
         (`alter table … replica identity full`, then `alter publication … add table …` takes them in): public.audit, \
         public.later\n\
         left out, because no topic can have such a name: public.Größe.\"x\" * {a}\n\
         done: create the schema walcast (sql/setup.sql)\n\
         done: create the publication walcast with 4 tables\n\
         done: create the replication slot walcast\n\
         --database-url: 4 routes, 0 errors, 0 warnings\n\
         `walcast run` with the same --database-url serves them\n"
    );

    let gateway = run(&url).await;
    for (topic, sql, record) in [
        ("public.articles", "insert into articles values (1, 'a')", json!({"id": 1, "title": "a"})),
        (ODD, r#"insert into "we.ird ""Tabelle"" * ☃" values (2)"#, json!({"id": 2})),
        ("public.measurements", "insert into measurements values (3, 4)", json!({"id": 3, "at": 4})),
        ("public.diary", "insert into diary values ('x')", json!({"line": "x"})),
    ] {
        let mut client = Client::joined(&gateway, topic).await;
        database.execute(sql).await;
        assert_eq!(first_record(&mut client).await, record, "{topic}");
    }
    let log = gateway.log();
    assert!(log.contains("nobody is asked for a token"), "{log}");
    // What an app does beside goes on: updates of a table that is left out are not refused.
    database.execute("insert into audit values ('a'); update audit set line = 'b'").await;
}

#[tokio::test]
async fn the_printed_configuration_is_right_and_does_the_same() {
    let database = database().await;
    let url = database.url();
    setup(&url).await;
    let mut gateway = run(&url).await;
    let printed = gateway.printed();
    let mut client = Client::joined(&gateway, ODD).await;
    database.execute(r#"insert into "we.ird ""Tabelle"" * ☃" values (1)"#).await;
    let cursor = client.next_updates().await["cursor"].clone();
    assert!(gateway.terminate().await.success());
    drop(client);

    assert!(!printed.contains(&url), "the url may hold a password");
    gateway.write_config(&printed);
    let file = gateway.config_file();
    let file = file.to_str().unwrap();
    let variables = [("DATABASE_URL", &*url)];
    let checked = walcast(&["check", "--database", "-c", file], &variables).await;
    assert_eq!(checked.status.code(), Some(0), "{}", checked.stderr);
    assert!(checked.stderr.ends_with("4 routes, 0 errors, 0 warnings\n"), "{}", checked.stderr);

    gateway.spawn_with(&variables);
    gateway.wait_until_ready().await;
    let mut client = Client::connect(&gateway).await;
    let reply = client.try_join(ODD, json!({"cursor": cursor})).await;
    assert_eq!(reply["response"], json!({"cursor": cursor, "resumed": true}), "as if nothing else had started");
    database.execute(r#"insert into "we.ird ""Tabelle"" * ☃" values (2)"#).await;
    assert_eq!(first_record(&mut client).await, json!({"id": 2}));
}

#[tokio::test]
async fn tables_that_come_and_go_are_followed() {
    let database = database().await;
    setup(&database.url()).await;
    let gateway = run(&database.url()).await;
    let mut articles = Client::joined(&gateway, "public.articles").await;
    database.execute("create table late (id int primary key); alter publication walcast add table late").await;
    let mut late = eventually("a topic for the table", async || {
        let mut client = Client::connect(&gateway).await;
        let reply = client.try_join("public.late", json!({})).await;
        (reply["status"] == "ok").then_some(client)
    })
    .await;
    database.execute("insert into late values (1); insert into articles values (1, 'undisturbed')").await;
    assert_eq!(first_record(&mut late).await, json!({"id": 1}));
    assert_eq!(first_record(&mut articles).await["title"], "undisturbed");
    database.execute("alter publication walcast drop table late").await;
    eventually("the topic's end", async || {
        let mut client = Client::connect(&gateway).await;
        let reply = client.try_join("public.late", json!({})).await;
        (reply["response"]["reason"] == "unmatched topic").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_publication_of_ones_own_stays_as_it_is() {
    let database = database().await;
    database.execute("create publication walcast for table articles").await;
    let done = setup(&database.url()).await;
    assert_eq!(
        done.stderr,
        "the publication `walcast` stays as it is: public.articles\n\
         done: create the schema walcast (sql/setup.sql)\n\
         done: create the replication slot walcast\n\
         --database-url: 1 route, 0 errors, 0 warnings\n\
         `walcast run` with the same --database-url serves them\n"
    );
    let tables: i64 = database.value("select count(*) from pg_publication_tables").await;
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn each_partition_is_a_topic_where_it_is_published_by_itself() {
    let database = database().await;
    database.execute("create publication walcast for table measurements").await;
    setup(&database.url()).await;
    let gateway = run(&database.url()).await;
    let mut client = Client::joined(&gateway, "public.measurements_1").await;
    database.execute("insert into measurements values (3, 4)").await;
    assert_eq!(first_record(&mut client).await, json!({"id": 3, "at": 4}));
}

#[tokio::test]
async fn what_would_not_work_is_said() {
    let database = database().await;
    let url = database.url();
    database.execute("create publication walcast for all tables").await;
    let refused = walcast(&["setup", "--database-url", &url], &[]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("error[updates-refused]: Postgres refuses updates and deletes of `public.audit`"),
        "{}",
        refused.stderr
    );
    database.execute("alter table audit add primary key (line)").await;
    database.execute("create role reader login replication; grant select on articles to reader").await;
    setup(&url).await;
    let other = url.replace("postgres://postgres@", "postgres://reader@");
    assert_ne!(other, url);
    // A role that may not read a table serves its changes, and is warned about its rows.
    let gateway = run(&other).await;
    let log = gateway.log();
    assert!(log.contains("warning[role-select]: the role `reader` may not read `public.audit`"), "{log}");
    let mut client = Client::joined(&gateway, "public.audit").await;
    database.execute("insert into audit values ('seen')").await;
    assert_eq!(first_record(&mut client).await, json!({"line": "seen"}));
}

#[tokio::test]
async fn the_command_line_is_judged() {
    for (arguments, code, says) in [
        (&["run", "--database-url", "postgres://x", "--listen", "0.0.0.0:4000"][..], 2, "loopback only"),
        (&["run", "--database-url", "postgres://x", "-c", "file"], 2, "leave out it or --config"),
        (&["setup", "-c", "file", "--database-url", "postgres://x"], 2, "leave out it or --config"),
        (&["run", "--listen", "127.0.0.1:4000"], 2, "--database-url <URL>"),
        (&["run", "--database-url", "postgres://user:hunter2@:port"], 1, "is not a connection string"),
        (&["run", "--database-url", "postgres://x", "--slot", "My Slot"], 1, "lower-case letters"),
    ] {
        // A container's image names its file in the environment: that is no contradiction.
        let refused = walcast(arguments, &[("WALCAST_CONFIG", "/etc/walcast/walcast.toml")]).await;
        assert_eq!(refused.status.code(), Some(code), "{arguments:?} {}", refused.stderr);
        assert!(refused.stderr.contains(says) && !refused.stderr.contains("hunter2"), "{}", refused.stderr);
    }
}

#[tokio::test]
async fn pages_of_others_do_not_get_in() {
    let database = database().await;
    setup(&database.url()).await;
    let gateway = run(&database.url()).await;
    for (origin, status) in [
        ("http://localhost:5173", 200),
        ("http://127.0.0.1", 200),
        ("http://[::1]:3000", 200),
        ("https://evil.example", 403),
    ] {
        let headers = [("origin", origin)];
        let answer =
            crate::support::http::request(gateway.port(), "GET", "/topics/public.articles", &headers, "").await;
        assert_eq!(answer.status, status, "{origin}");
    }
}
