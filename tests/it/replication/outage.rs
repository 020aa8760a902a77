//! Servers that go and come back, slots that are taken, dropped or never were.

use std::time::{Duration, Instant};

use walcast::change::{FeedEvent, Lsn};
use walcast::demo::cluster::StopMode;
use walcast::replication::source::{SourceError, SourceSettings, SourceState};
use walcast::replication::wire::connect_sql;

use super::feed::{Feed, SLOT, cluster, config, create_slot, published_cluster, sql, until};

async fn survives(mode: StopMode) {
    let (cluster, client) = published_cluster(&[]).await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    client.batch_execute("insert into t select i, 'n' from generate_series(1, 5000) i").await.unwrap();
    feed.read_inserts(100).await;
    drop(client);
    let stopping = Instant::now();
    cluster.stop(mode).unwrap();
    // Nothing was acknowledged; the server must not wait for that.
    assert!(stopping.elapsed() < Duration::from_secs(15), "{:?}", stopping.elapsed());
    feed.wait_for("waiting", |state| matches!(state, SourceState::Waiting { .. })).await;
    cluster.resume().unwrap();
    sql(&cluster).await.batch_execute("insert into t select i, 'n' from generate_series(5001, 6000) i").await.unwrap();
    let ids = feed.read_inserts(6000).await;
    assert!(ids.iter().copied().eq(1..=6000));
    feed.assert_order();
    assert_eq!(feed.losses(), [""; 0]);
    assert_eq!(feed.acknowledged.borrow().position, Lsn::ZERO);
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_after_a_restart() {
    survives(StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_after_a_crash() {
    survives(StopMode::Immediate).await;
}

#[tokio::test]
async fn waits_for_a_server_that_is_not_there_yet() {
    let (cluster, client) = published_cluster(&[]).await;
    drop(client);
    cluster.stop(StopMode::Fast).unwrap();
    let mut feed = Feed::start(&cluster);
    feed.wait_for("waiting", |state| matches!(state, SourceState::Waiting { .. })).await;
    cluster.resume().unwrap();
    feed.caught_up().await;
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_after_its_walsender_was_terminated_again_and_again() {
    const ROWS: i32 = 3000;
    let (cluster, client) = published_cluster(&[]).await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    let config = config(&cluster.url());
    let writer = tokio::spawn(async move {
        let writer = connect_sql(&config).await.unwrap();
        for id in 1..=ROWS / 2 {
            writer.execute("insert into t values ($1, 'n')", &[&id]).await.unwrap();
        }
        let rest = "insert into t select i, 'n' from generate_series($1::int, $2) i";
        writer.execute(rest, &[&(ROWS / 2 + 1), &ROWS]).await.unwrap();
    });
    for round in 1..=5 {
        feed.read_inserts(round * 100).await;
        client.execute("select pg_terminate_backend(pid) from pg_stat_replication", &[]).await.unwrap();
        feed.read_until("a new connection", |feed| feed.connections() > round).await;
    }
    let ids = feed.read_inserts(3000).await;
    assert!(ids.iter().copied().eq(1..=ROWS));
    feed.assert_order();
    writer.await.unwrap();
    assert_eq!(feed.losses(), [""; 0]);
    feed.stop().await;
}

#[tokio::test]
async fn a_slot_in_use_is_waited_for_and_taken_over() {
    let (cluster, client) = published_cluster(&[]).await;
    let mut first = Feed::start(&cluster);
    first.caught_up().await;
    let pid: i32 = client.query_one("select active_pid from pg_replication_slots", &[]).await.unwrap().get(0);
    let mut second = Feed::start(&cluster);
    let waiting = second.wait_for("waiting", |state| matches!(state, SourceState::Waiting { .. })).await;
    assert!(format!("{waiting:?}").contains(&format!("process {pid} ")), "{waiting:?}");
    first.stop().await;
    second.caught_up().await;
    client.batch_execute("insert into t values (1, 'n')").await.unwrap();
    assert_eq!(second.read_inserts(1).await, [1]);
    second.stop().await;
}

#[tokio::test]
async fn a_dropped_slot_is_told_once_and_a_new_one_taken() {
    let (cluster, client) = published_cluster(&[]).await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    client.batch_execute("insert into t values (1, 'n')").await.unwrap();
    feed.read_inserts(1).await;
    client
        .batch_execute(
            "do $$ begin
               loop
                 begin
                   perform pg_terminate_backend(pid) from pg_stat_replication;
                   perform pg_drop_replication_slot('walcast'); exit;
                 exception when object_in_use then perform pg_sleep(0.01); end;
               end loop;
             end $$",
        )
        .await
        .unwrap();
    let waiting = feed.wait_for("no slot", |state| format!("{state:?}").contains("walcast setup")).await;
    assert!(format!("{waiting:?}").contains("does not exist"), "{waiting:?}");
    client.batch_execute("insert into t values (2, 'never seen')").await.unwrap();
    create_slot(&client).await;
    feed.read_until("a new connection", |feed| feed.connections() == 2).await;
    client.batch_execute("insert into t values (3, 'n')").await.unwrap();
    assert_eq!(feed.read_inserts(2).await, [1, 3]);
    assert_eq!(feed.losses().len(), 1, "{:?}", feed.losses());
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_was_replaced_meanwhile_is_a_loss() {
    let (cluster, client) = published_cluster(&[]).await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    drop(client);
    cluster.stop(StopMode::Immediate).unwrap();
    feed.wait_for("waiting", |state| matches!(state, SourceState::Waiting { .. })).await;
    // The source is kept out until the slot is another one.
    let hba = cluster.data_directory().join("pg_hba.conf");
    let lines = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(&hba, "local all all trust\n").unwrap();
    cluster.resume().unwrap();
    let client = connect_sql(&config(&cluster.socket_url())).await.unwrap();
    client.batch_execute("insert into t values (1, 'n'); select pg_drop_replication_slot('walcast')").await.unwrap();
    create_slot(&client).await;
    std::fs::write(&hba, lines).unwrap();
    client.batch_execute("select pg_reload_conf()").await.unwrap();
    feed.read_until("a new connection", |feed| feed.connections() == 2).await;
    assert_eq!(feed.losses().len(), 1, "{:?}", feed.losses());
    assert!(feed.losses()[0].contains("recreated"), "{:?}", feed.losses());
    client.batch_execute("insert into t values (2, 'n')").await.unwrap();
    assert_eq!(feed.read_inserts(1).await, [2]);
    feed.stop().await;
}

#[tokio::test]
async fn a_first_start_says_what_is_missing() {
    let cluster = cluster(&[]);
    let client = sql(&cluster).await;
    let refusal = async || Feed::start(&cluster).outcome().await.unwrap_err().to_string();
    let message = refusal().await;
    assert!(message.contains("publication `walcast` does not exist") && message.contains("walcast setup"), "{message}");
    client.batch_execute("create publication walcast for all tables").await.unwrap();
    let message = refusal().await;
    assert!(message.contains("slot `walcast` does not exist") && message.contains("walcast setup"), "{message}");
    client.execute("select pg_create_physical_replication_slot('walcast')", &[]).await.unwrap();
    assert!(refusal().await.contains("physical"));
    let nobody = SourceSettings::new(config(&cluster.url().replace("postgres@", "nobody@")), SLOT, "walcast");
    let error = Feed::with(nobody).outcome().await.unwrap_err();
    assert!(matches!(&error, SourceError::Refused { .. }) && error.to_string().contains("REPLICATION"), "{error}");
}

#[tokio::test]
async fn a_first_start_names_a_wal_level_that_will_not_do() {
    let cluster = cluster(&[("wal_level", "replica")]);
    let error = Feed::start(&cluster).outcome().await.unwrap_err().to_string();
    assert!(error.contains("wal_level is `replica`") && error.contains("wal_level = logical"), "{error}");
}

#[tokio::test]
async fn a_feed_that_nobody_reads_is_an_error() {
    let (cluster, _client) = published_cluster(&[]).await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    assert!(matches!(feed.outcome_unread().await, Err(SourceError::FeedClosed)));
}

#[tokio::test]
async fn a_stop_interrupts_waiting() {
    let (cluster, client) = published_cluster(&[]).await;
    drop(client);
    cluster.stop(StopMode::Fast).unwrap();
    let mut feed = Feed::start(&cluster);
    feed.wait_for("waiting", |state| matches!(state, SourceState::Waiting { .. })).await;
    feed.stop().await;
}

#[tokio::test]
async fn a_publication_dropped_while_streaming_is_said_and_survived() {
    let (cluster, client) = published_cluster(&[]).await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    client.batch_execute("drop publication walcast").await.unwrap();
    client.execute("select pg_terminate_backend(pid) from pg_stat_replication", &[]).await.unwrap();
    let waiting = feed.wait_for("said", |state| format!("{state:?}").contains("publication")).await;
    assert!(format!("{waiting:?}").contains("walcast setup"), "{waiting:?}");
    client.batch_execute("create publication walcast for table t").await.unwrap();
    feed.caught_up().await;
    until(&client, "select active from pg_replication_slots").await;
    client.batch_execute("insert into t values (1, 'n')").await.unwrap();
    assert_eq!(feed.read_inserts(1).await, [1]);
    assert_eq!(feed.losses(), [""; 0]);
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_timeline_that_kept_everything_is_a_continuation() {
    let (cluster, client) = published_cluster(&[("restore_command", "false")]).await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    client.batch_execute("insert into t values (1, 'n')").await.unwrap();
    feed.read_inserts(1).await;
    drop(client);
    cluster.stop(StopMode::Fast).unwrap();
    // An archive recovery without an archive: to the end of what is there, and on as timeline 2.
    std::fs::write(cluster.data_directory().join("recovery.signal"), "").unwrap();
    cluster.resume().unwrap();
    let client = sql(&cluster).await;
    until(&client, "select not pg_is_in_recovery()").await;
    client.batch_execute("insert into t values (2, 'n')").await.unwrap();
    assert_eq!(feed.read_inserts(2).await, [1, 2]);
    let systems = feed.others.iter().filter_map(|event| match event {
        FeedEvent::Connected { system, .. } => Some(system.timeline),
        _ => None,
    });
    assert_eq!(systems.collect::<Vec<_>>(), [1, 2]);
    assert_eq!(feed.losses(), [""; 0]);
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_goes_on_where_it_was_cut_off() {
    const ROWS: usize = 60_000;
    let (cluster, client) = published_cluster(&[]).await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    let insert = format!("insert into t select i, repeat('x', 100) from generate_series(1, {ROWS}) i");
    client.batch_execute(&insert).await.unwrap();
    feed.read_inserts(1).await;
    // More is on its way than the channel, the outbox and the sockets hold: the walsender is in the middle of it.
    let cut: bool =
        client.query_one("select pg_terminate_backend(pid) from pg_stat_replication", &[]).await.unwrap().get(0);
    assert!(cut);
    assert!(feed.inserted().len() < ROWS);
    let ids = feed.read_inserts(ROWS).await;
    assert!(ids.iter().copied().eq(1..=60_000));
    feed.read_until("the end", |feed| feed.parts.last().is_some_and(|part| part.end_lsn.is_some())).await;
    feed.assert_order();
    assert_eq!(feed.connections(), 2);
    assert_eq!(feed.parts.iter().filter(|part| part.first).count(), 1);
    assert_eq!(feed.losses(), [""; 0]);
    feed.stop().await;
}
