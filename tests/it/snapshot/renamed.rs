//! A table that is renamed out of its route, and back: whoever shows its rows is told that they no longer are what the
//! topic holds, and whoever begins with a snapshot gets what the routes take by the names of now.

use super::*;

/// Changes to the table show the gateway its new name.
async fn told_to_resync(client: &mut Client) {
    let told = client.next().await;
    assert_eq!((&told[3], &told[4]), (&json!("phx_error"), &json!({"reason": "resync_required"})), "{told}");
}

async fn begins_with(client: &mut Client, cursor: Option<&str>) -> Replica {
    let reply = client.try_join("items", json!({"snapshot": true, "cursor": cursor})).await;
    assert_eq!(reply["response"], json!({"cursor": null, "resumed": false}));
    Replica::load(client).await
}

#[tokio::test]
async fn a_renamed_tables_rows_leave_the_topic_and_come_back_with_its_name() {
    let database = Database::start().await;
    database.execute(TABLE).await;
    database.execute("insert into items values (1, 7, 0, 'one')").await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut client = Client::connect(&gateway).await;
    let before = begins_with(&mut client, None).await;
    assert_eq!(before.rows, table(&database, "true").await);

    database.execute("alter table items rename to things").await;
    // Nothing has changed in it since, so that the feed does not show the name yet; the catalogue does.
    let mut early = Client::connect(&gateway).await;
    assert_eq!(begins_with(&mut early, None).await.rows.len(), 0);
    database.execute("insert into things values (2, 7, 0, 'nobody is to see')").await;
    for client in [&mut client, &mut early] {
        told_to_resync(client).await;
        let begun = begins_with(client, before.cursor.as_deref()).await;
        assert_eq!(begun.rows.len(), 0, "no table of that name has rows now");
    }
    database.execute("update things set version = 1").await;

    database.execute("alter table things rename to items").await;
    database.execute("insert into items values (3, 7, 0, 'three')").await;
    for client in [&mut client, &mut early] {
        // The update of `things` was nothing to them.
        told_to_resync(client).await;
        let mut replica = begins_with(client, None).await;
        assert_eq!(replica.rows, table(&database, "true").await);
        database.execute("update items set version = version + 1 where id = 3").await;
        replica.take(&client.next_updates().await);
        while replica.rows != table(&database, "true").await {
            replica.take(&client.next_updates().await);
        }
    }
}
