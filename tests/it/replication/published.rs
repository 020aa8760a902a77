//! What the catalogue says of published tables is what pgoutput says with their first change.

use std::sync::Arc;

use walcast::change::{FeedEvent, Relation, TypeKind};
use walcast::replication::catalogue::published_relations;

use super::feed::{Feed, cluster, create_slot, sql};

const TABLES: &str = "
create type mood as enum ('sad', 'happy');
create domain positive as int check (value > 0);
create type pair as (x int, y mood);
create table plain (id int primary key, mood mood, pairs pair[], amount positive, dropped int);
alter table plain drop column dropped;
create table whole (a text, b int); alter table whole replica identity full;
create table keyless (a text);
create table hidden (id int primary key, a text); alter table hidden replica identity nothing;
create table indexed (id int primary key, code text not null unique, rest text);
alter table indexed replica identity using index indexed_code_key;
create table generated (id int primary key, twice int generated always as (id * 2) stored, tail text);
create table measured (day date not null, id int not null, primary key (id, day)) partition by range (day);
create table measured_2026 (id int not null, day date not null) ;
alter table measured attach partition measured_2026 for values from ('2026-01-01') to ('2027-01-01');
create table covering (id int, extra text, primary key (id) include (extra));
create table late (id int primary key deferrable, a text);
create schema \"Odd\"; create table \"Odd\".\"Täble\" (\"Id\" int primary key);
";

const ROWS: &str = "
insert into plain values (1, 'happy', array[row(1, 'sad')::pair], 3); insert into whole values ('a', 1);
insert into keyless values ('a'); insert into hidden values (1, 'a'); insert into indexed values (1, 'c', 'r');
insert into generated (id, tail) values (1, 't'); insert into measured values ('2026-11-22', 1);
insert into covering values (1, 'e'); insert into late values (1, 'a');
insert into \"Odd\".\"Täble\" values (1);
";

async fn assert_agrees(options: &str) {
    let cluster = cluster(&[]);
    let client = sql(&cluster).await;
    client.batch_execute(TABLES).await.unwrap();
    client.batch_execute(&format!("create publication walcast {options}")).await.unwrap();
    create_slot(&client).await;
    let listed = published_relations(&client, "walcast").await.unwrap();
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    client.batch_execute(ROWS).await.unwrap();
    feed.read_until("all rows", |feed| feed.parts.iter().map(|part| part.changes.len()).sum::<usize>() >= listed.len())
        .await;
    let FeedEvent::Connected { relations, .. } = &feed.others[0] else { panic!("{:?}", feed.others[0]) };
    assert_eq!(*relations, listed);
    let mut streamed: Vec<Arc<Relation>> =
        feed.parts.iter().flat_map(|part| &part.changes).map(|change| Arc::clone(&change.relation)).collect();
    streamed.sort_by(|left, right| (&left.schema, &left.name).cmp(&(&right.schema, &right.name)));
    assert_eq!(streamed, listed);
    feed.stop().await;
}

#[tokio::test]
async fn all_tables_by_partition() {
    assert_agrees("for all tables").await;
}

#[tokio::test]
async fn all_tables_through_the_root() {
    assert_agrees("for all tables with (publish_via_partition_root = true)").await;
}

#[tokio::test]
async fn column_lists() {
    let cluster = cluster(&[]);
    let client = sql(&cluster).await;
    let version: i32 = client.query_one("select current_setting('server_version_num')::int", &[]).await.unwrap().get(0);
    // Postgres 14 has no column lists: there is nothing to agree about.
    if version >= 150_000 {
        assert_agrees("for table plain (id, mood), whole, indexed (rest, code)").await;
    }
}

#[tokio::test]
async fn a_type_that_was_made_while_streaming_is_looked_up() {
    let (cluster, client) = super::feed::published_cluster(&[]).await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    client.batch_execute("create type late as (a int, b text); alter table t add column extra late[]").await.unwrap();
    client.batch_execute("insert into t values (1, 'n', array[row(1, 'x')::late])").await.unwrap();
    feed.read_inserts(1).await;
    let relation = &feed.parts.iter().find_map(|part| part.changes.first()).unwrap().relation;
    let TypeKind::Array { element, .. } = &relation.columns[2].ty.kind else { panic!("{relation:?}") };
    assert!(matches!(&element.kind, TypeKind::Composite { fields } if fields.len() == 2));
    assert_eq!(feed.connections(), 1);
    feed.stop().await;
}
