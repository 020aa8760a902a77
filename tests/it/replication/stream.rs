//! What arrives, in which order, and what is acknowledged.

use std::time::Duration;

use walcast::change::{Acknowledgement, FeedEvent, Lsn, Operation};
use walcast::replication::source::SourceSettings;
use walcast::replication::transaction::PartLimits;

use super::feed::{Feed, SLOT, config, published_cluster, sql, until};

#[tokio::test]
async fn changes_come_as_they_are_committed() {
    let (cluster, client) = published_cluster(&[]).await;
    client.batch_execute("insert into t values (1, 'before the start')").await.unwrap();
    let mut feed = Feed::with(SourceSettings::new(config(&cluster.socket_url()), SLOT, "walcast"));
    feed.caught_up().await;
    client.batch_execute("update t set note = 'n'; delete from t; truncate t").await.unwrap();
    feed.read_until("a truncate", |feed| {
        let mut changes = feed.parts.iter().flat_map(|part| &part.changes);
        changes.any(|change| change.operation == Operation::Truncate)
    })
    .await;
    let operations: Vec<&str> =
        feed.parts.iter().flat_map(|part| &part.changes).map(|change| name(&change.operation)).collect();
    assert_eq!(operations, ["insert", "update", "delete", "truncate"]);
    assert!(
        matches!(&feed.others[0], FeedEvent::Connected { relations, .. } if relations[0].to_string() == "public.t")
    );
    feed.stop().await;
}

fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Insert { .. } => "insert",
        Operation::Update { .. } => "update",
        Operation::Delete { .. } => "delete",
        Operation::Truncate => "truncate",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_writers_come_in_commit_order() {
    const WRITERS: i32 = 50;
    const EACH: i32 = 20;
    let (cluster, client) = published_cluster(&[("max_connections", "80")]).await;
    client.batch_execute("alter table t add column at timestamptz").await.unwrap();
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let config = config(&cluster.url());
        writers.spawn(async move {
            let client = walcast::replication::wire::connect_sql(&config).await.unwrap();
            for n in 0..EACH {
                client.execute("insert into t values ($1, 'n')", &[&(writer * EACH + n)]).await.unwrap();
            }
        });
    }
    let ids = feed.read_inserts(1000).await;
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    feed.assert_order();
    for writer in 0..WRITERS {
        let own: Vec<i32> = ids.iter().copied().filter(|id| id / EACH == writer).collect();
        assert!(own.is_sorted() && own.len() == 20);
    }
    feed.stop().await;
}

#[tokio::test]
async fn a_large_transaction_comes_in_parts_in_order() {
    const ROWS: usize = 100_000;
    let (cluster, client) = published_cluster(&[]).await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    let insert = format!("insert into t select i, 'row ' || i from generate_series(1, {ROWS}) i");
    client.batch_execute(&insert).await.unwrap();
    let ids = feed.read_inserts(ROWS).await;
    assert!(ids.iter().copied().eq(1..=100_000));
    feed.read_until("the end", |feed| feed.parts.last().is_some_and(|part| part.end_lsn.is_some())).await;
    feed.assert_order();
    assert!(feed.parts.len() >= ROWS / PartLimits::CHANGES);
    assert!(feed.parts.iter().all(|part| part.changes.len() <= PartLimits::CHANGES));
    assert_eq!(feed.parts.iter().filter(|part| part.first).count(), 1);
    assert_eq!(feed.parts.iter().filter(|part| part.end_lsn.is_some()).count(), 1);
    feed.stop().await;
}

#[tokio::test]
async fn what_the_hub_keeps_is_not_acknowledged() {
    let (cluster, client) = published_cluster(&[("wal_sender_timeout", "1500")]).await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    client.batch_execute("insert into t values (1, 'kept')").await.unwrap();
    feed.read_inserts(1).await;
    let end = feed.parts[0].end_lsn.unwrap();
    let confirmed = format!("select confirmed_flush_lsn >= '{end}' from pg_replication_slots");
    // Several status updates and keepalives later.
    until(&client, &format!("select write_lsn >= '{end}' from pg_stat_replication")).await;
    until(
        &client,
        &format!("select reply_time > '{}'::timestamptz + '2 s' from pg_stat_replication", now(&client).await),
    )
    .await;
    assert!(!client.query_one(&confirmed, &[]).await.unwrap().get::<_, bool>(0));
    feed.acknowledged.send_replace(Acknowledgement { losses: 0, position: end });
    until(&client, &confirmed).await;
    feed.stop().await;
}

async fn now(client: &tokio_postgres::Client) -> String {
    client.query_one("select now()::text", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn an_idle_table_beside_a_busy_one_holds_no_wal_back() {
    let (cluster, client) = published_cluster(&[("wal_sender_timeout", "1500")]).await;
    client.batch_execute("create table busy (x text)").await.unwrap();
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    client.batch_execute("insert into busy select repeat('x', 1000) from generate_series(1, 10000)").await.unwrap();
    let written: String = client.query_one("select pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
    let reader = tokio::spawn(async move {
        feed.read_until("progress", |feed| {
            let reached = feed.others.iter().filter_map(|event| match event {
                FeedEvent::Progress(lsn) => Some(*lsn),
                _ => None,
            });
            reached.max() >= Some(written.parse::<Lsn>().unwrap())
        })
        .await;
        (feed, written)
    });
    let (feed, written) = reader.await.unwrap();
    // The hub keeps nothing of it, and no cursor from before it is out.
    feed.acknowledged.send_replace(Acknowledgement { losses: 0, position: written.parse().unwrap() });
    until(&client, &format!("select confirmed_flush_lsn >= '{written}' from pg_replication_slots")).await;
    assert_eq!(feed.parts.len(), 0);
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stands_still_is_not_disconnected() {
    const ROWS: usize = 200_000;
    let (cluster, client) = published_cluster(&[("wal_sender_timeout", "2s")]).await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    let pid = "select active_pid from pg_replication_slots";
    let before: Option<i32> = client.query_one(pid, &[]).await.unwrap().get(0);
    let insert = format!("insert into t select i, repeat('x', 100) from generate_series(1, {ROWS}) i");
    client.batch_execute(&insert).await.unwrap();
    // Nobody reads while the server's patience ends three times over.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let after: Option<i32> = client.query_one(pid, &[]).await.unwrap().get(0);
    assert!(before.is_some() && before == after, "{before:?} {after:?}\n{}", cluster.server_log());
    assert_eq!(feed.read_inserts(ROWS).await.len(), ROWS);
    feed.assert_order();
    assert_eq!(feed.connections(), 1);
    feed.stop().await;
}

#[tokio::test]
async fn a_stop_acknowledges_what_it_may() {
    let (cluster, client) = published_cluster(&[]).await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    client.batch_execute("insert into t values (1, 'n')").await.unwrap();
    feed.read_inserts(1).await;
    let end = feed.parts[0].end_lsn.unwrap();
    feed.acknowledged.send_replace(Acknowledgement { losses: 0, position: end });
    feed.stop().await;
    let fresh = sql(&cluster).await;
    until(&fresh, &format!("select confirmed_flush_lsn >= '{end}' and not active from pg_replication_slots")).await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    client.batch_execute("insert into t values (2, 'n')").await.unwrap();
    assert_eq!(feed.read_inserts(1).await, [2]);
    feed.stop().await;
}
