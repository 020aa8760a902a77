//! A request that is repeated is answered as it was first, whatever became of the answer.

use serde_json::json;

use super::{Device, start};
use crate::support::database::Database;
use crate::support::eventually;

/// Each write of a note leaves a line.
const ROWS: &str = "
insert into notes (id, workspace_id, title) values (1, 7, 'first'), (2, 8, 'second');
create table written (title text);
create function note_down() returns trigger language plpgsql security definer as
$$ begin insert into written values (new.title); return new; end $$;
create trigger note_down after insert or update on notes for each row execute function note_down();
";
const WRITTEN: &str = "select coalesce(string_agg(title, ' '), '') from written";

async fn until_a_write_waits(database: &Database) {
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%update%'";
    eventually("a write that waits for a lock", async || (database.value::<i64>(waiting).await > 0).then_some(()))
        .await;
}

#[tokio::test]
async fn a_repeated_request_is_answered_as_it_was_first() {
    let (database, gateway) = start("", ROWS).await;
    let mut device = Device::join(&gateway, "sync:7").await;
    let update = |title: &str, base: &str| json!([{"op": "update", "key": {"id": 1}, "record": {"title": title}, "base": {"title": base}}]);
    device.write("a", update("one", "first")).await;
    let conflict = device.refused("b", update("two", "first")).await;
    device.write("c", update("three", "one")).await;
    // Asked again, also by another connection, nothing is done and nothing else is said.
    let mut again = Device::join(&gateway, "sync:7").await;
    again.write("a", update("one", "first")).await;
    assert_eq!(again.refused("b", update("two", "three")).await, conflict);
    let written: String = database.value(WRITTEN).await;
    assert_eq!(written, "one three");
    // Ids are each topic's own.
    let mut other = Device::join(&gateway, "sync:8").await;
    other
        .write("a", json!([{"op": "update", "key": {"id": 2}, "record": {"title": "x"}, "base": {"title": "second"}}]))
        .await;
    let published: i64 =
        database.value("select count(*) from pg_publication_tables where schemaname = 'walcast'").await;
    assert_eq!(published, 0);
}

#[tokio::test]
async fn a_client_that_loses_its_network_and_asks_again_gets_the_first_outcome() {
    let (database, gateway) = start("conflict = \"overwrite\"", ROWS).await;
    let blocker = database.connect().await;
    blocker.batch_execute("begin; select from notes where id = 1 for update").await.unwrap();
    let update = || json!([{"op": "update", "key": {"id": 1}, "record": {"title": "once"}}]);
    let mut first = Device::join(&gateway, "sync:7").await;
    first.send("a", update()).await;
    until_a_write_waits(&database).await;
    drop(first);
    // The same while the first is under way, twice.
    let mut second = Device::join(&gateway, "sync:7").await;
    let mut third = Device::join(&gateway, "sync:7").await;
    let (from_second, from_third) = (second.send("a", update()).await, third.send("a", update()).await);
    let both_wait = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%mutations%'";
    eventually("both to wait for the first", async || (database.value::<i64>(both_wait).await == 2).then_some(()))
        .await;
    blocker.batch_execute("rollback").await.unwrap();
    for (device, reference) in [(&mut second, from_second), (&mut third, from_third)] {
        let (status, response) = device.reply(&reference).await;
        assert_eq!((status.as_str(), response["cursor"].is_string()), ("ok", true), "{response}");
        // By then the device has what was written.
        assert_eq!(device.updates.last().unwrap()["updates"][0]["record"]["title"], "once");
    }
    let written: String = database.value(WRITTEN).await;
    assert_eq!(written, "once");
}

#[tokio::test]
async fn a_gateway_that_is_killed_in_the_middle_has_written_once_or_not_at_all() {
    let (database, mut gateway) = start("conflict = \"overwrite\"", ROWS).await;
    let blocker = database.connect().await;
    blocker.batch_execute("begin; select from notes where id = 1 for update").await.unwrap();
    let update = || json!([{"op": "update", "key": {"id": 1}, "record": {"title": "once"}}]);
    let mut device = Device::join(&gateway, "sync:7").await;
    device.write("before", json!([{"op": "insert", "record": {"id": 3, "title": "before"}}])).await;
    device.send("a", update()).await;
    until_a_write_waits(&database).await;
    gateway.kill().await;
    blocker.batch_execute("rollback").await.unwrap();
    gateway.spawn();
    gateway.wait_until_ready().await;
    let mut device = Device::join(&gateway, "sync:7").await;
    device.write("before", json!([{"op": "insert", "record": {"id": 3, "title": "before"}}])).await;
    device.write("a", update()).await;
    let written: String = database.value(WRITTEN).await;
    assert_eq!(written, "before once");
}

#[tokio::test]
async fn connections_that_the_server_ends_are_made_anew() {
    let (database, gateway) = start("conflict = \"overwrite\"", ROWS).await;
    let mut device = Device::join(&gateway, "sync:7").await;
    let update = |title: &str| json!([{"op": "update", "key": {"id": 1}, "record": {"title": title}}]);
    device.write("a", update("one")).await;
    let end_writers = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                       where query ~ 'pg_current_wal_insert_lsn|mutations|^update' and pid <> pg_backend_pid()";
    assert!(database.value::<i64>(end_writers).await > 0);
    device.write("b", update("two")).await;
    // In the middle of a write, too.
    let blocker = database.connect().await;
    blocker.batch_execute("begin; select 1 from notes where id = 1 for update").await.unwrap();
    let reference = device.send("c", update("three")).await;
    until_a_write_waits(&database).await;
    let end_waiting = "select count(pg_terminate_backend(pid)) from pg_stat_activity where wait_event_type = 'Lock'";
    assert!(database.value::<i64>(end_waiting).await > 0);
    blocker.batch_execute("rollback").await.unwrap();
    assert_eq!(device.reply(&reference).await.0, "ok");
    let written: String = database.value(WRITTEN).await;
    assert_eq!(written, "one two three");
}
