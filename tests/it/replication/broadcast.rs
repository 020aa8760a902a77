//! `walcast.broadcast` and its like: what SQL sends is what the feed says, and who may not send, can't.

use walcast::change::{Acknowledgement, Announcement, BroadcastPayload, FeedEvent, Lsn};

use super::feed::{Feed, published_cluster};

const SETUP: &str = include_str!("../../../sql/setup.sql");

fn said(announcement: &Announcement) -> (u64, String, String, BroadcastPayload) {
    let broadcast = announcement.broadcast.as_ref().unwrap();
    (announcement.ordinal, broadcast.topic.to_string(), broadcast.event.to_string(), broadcast.payload.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sql_says_is_part_of_its_transaction() {
    let (cluster, client) = published_cluster(&[]).await;
    client.batch_execute(SETUP).await.unwrap();
    client.batch_execute(SETUP).await.unwrap();
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    client
        .batch_execute(
            "begin; select walcast.broadcast('chat:1', 'said', '{\"text\": \"häh\\nho\", \"n\": 1.50}');
             insert into t values (1, 'n'); savepoint s; select walcast.broadcast('chat:1', 'unsaid', '{}');
             rollback to s; select walcast.broadcast_binary('chat:1', 'drawn', '\\xff00');
             insert into t values (2, 'n');
             select pg_logical_emit_message(true, 'walcast.broadcast', 'no broadcast');
             select pg_logical_emit_message(true, 'other', 'not ours'); commit;
             begin; select walcast.broadcast('chat:1', 'unsaid', '{}'); rollback",
        )
        .await
        .unwrap();
    assert_eq!(feed.read_inserts(2).await, [1, 2]);
    let [part] = &feed.parts[..] else { panic!("{:?}", feed.parts) };
    assert_eq!(part.changes.iter().map(|change| change.ordinal).collect::<Vec<_>>(), [2, 4]);
    let json = BroadcastPayload::Json(r#"{"n": 1.50, "text": "häh\nho"}"#.into());
    assert_eq!(said(&part.announcements[0]), (1, "chat:1".into(), "said".into(), json));
    let binary = BroadcastPayload::Binary([0xFF, 0].as_slice().into());
    assert_eq!(said(&part.announcements[1]), (3, "chat:1".into(), "drawn".into(), binary));
    assert_eq!((part.announcements[2].ordinal, part.announcements[2].broadcast.is_err()), (5, true));
    assert_eq!((part.announcements.len(), part.last_ordinal()), (3, Some(5)));
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_now_is_said_once_and_whatever_becomes_of_the_transaction() {
    let (cluster, client) = published_cluster(&[]).await;
    client.batch_execute(SETUP).await.unwrap();
    let heard = |feed: &Feed| -> Vec<String> {
        let heard = feed.others.iter().filter_map(|event| match event {
            FeedEvent::Broadcast(broadcast) => Some(broadcast.event.to_string()),
            _ => None,
        });
        heard.collect()
    };
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    client.batch_execute("begin; select walcast.broadcast_now('t', 'one', '{}'); rollback").await.unwrap();
    client.batch_execute("select walcast.broadcast_binary_now('t', 'two', '')").await.unwrap();
    feed.read_until("both", |feed| heard(feed).len() == 2).await;
    // The slot sends what it has again, to this process and to the next one.
    client.batch_execute("select pg_terminate_backend(pid) from pg_stat_replication").await.unwrap();
    feed.read_until("a second connection", |feed| feed.connections() == 2).await;
    client.batch_execute("insert into t values (1, 'n')").await.unwrap();
    feed.read_inserts(1).await;
    assert_eq!(heard(&feed), ["one", "two"]);
    feed.acknowledged.send_replace(Acknowledgement { losses: 0, position: Lsn::ZERO });
    feed.stop().await;
    let mut feed = Feed::start(&cluster);
    feed.caught_up().await;
    client.batch_execute("insert into t values (2, 'n')").await.unwrap();
    feed.read_until("the insert", |feed| feed.inserted().contains(&2)).await;
    assert_eq!(heard(&feed), [""; 0]);
    feed.stop().await;
}

#[tokio::test]
async fn what_clients_could_not_take_is_refused_and_execute_is_not_public() {
    let (cluster, client) = published_cluster(&[]).await;
    client.batch_execute(SETUP).await.unwrap();
    let refusal = async |call: &str| {
        let error = client.batch_execute(&format!("select walcast.{call}")).await.unwrap_err();
        error.as_db_error().unwrap().message().to_owned()
    };
    let object = "the payload of a broadcast is a JSON object, not";
    for (call, message) in [
        ("broadcast('t', 'e', '[1]')", format!("{object} array")),
        ("broadcast('t', 'e', 'null')", format!("{object} null")),
        ("broadcast('t', 'e', null)", "topic, event and payload of a broadcast must not be null".to_owned()),
        ("broadcast(null, 'e', '{}')", "topic, event and payload of a broadcast must not be null".to_owned()),
        ("broadcast('', 'e', '{}')", "the topic of a broadcast has 1 to 255 bytes, not 0".to_owned()),
        ("broadcast('t', repeat('ä', 128), '{}')", "the event of a broadcast has 1 to 255 bytes, not 256".to_owned()),
        ("broadcast('t', 'phx_close', '{}')", "the event `phx_close` has a meaning of its own to clients".to_owned()),
        ("broadcast_now('t', 'cursor', '{}')", "the event `cursor` has a meaning of its own to clients".to_owned()),
        (
            "broadcast_binary('t', 'e', decode(repeat('00', 1048577), 'hex'))",
            "the payload of a broadcast has at most 1048576 bytes, not 1048577".to_owned(),
        ),
    ] {
        assert_eq!(refusal(call).await, message, "{call}");
    }
    client
        .batch_execute(
            "create role app; grant usage on schema walcast to app;
             do $$ declare emit regprocedure; begin
               for emit in select oid from pg_proc where proname = 'pg_logical_emit_message' loop
                 execute format('revoke execute on function %s from public', emit);
               end loop;
             end $$;
             set role app",
        )
        .await
        .unwrap();
    assert!(refusal("broadcast('t', 'e', '{}')").await.contains("permission denied for function broadcast"));
    client
        .batch_execute(
            "reset role; grant execute on function walcast.broadcast(text, text, jsonb) to app; set role app;
             select walcast.broadcast('t', 'e', '{}')",
        )
        .await
        .unwrap();
    assert!(refusal("broadcast_now('t', 'e', '{}')").await.contains("permission denied"));
    drop(cluster);
}
