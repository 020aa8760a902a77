//! Writers whose every transaction is known: each leaves a numbered line in `ledger`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio_postgres::{Client, Error, NoTls};

use crate::support::POLL;

pub(super) const OWNERS: i32 = 4;
const ACCOUNTS: i32 = 60;

pub(super) const SCHEMA: &str = "
    create table ledger (writer int, seq int, note text, primary key (writer, seq));
    create table accounts (id int primary key, owner int, version int not null, note text);
    alter table ledger replica identity full;
    alter table accounts replica identity full;
    create table elsewhere (id int generated always as identity, note text)";

/// What all writers share.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) committed: AtomicU64,
    pub(super) stop: AtomicBool,
}

/// Commits transaction after transaction until told to stop, whatever happens to the server; how many it committed.
pub(super) async fn write(url: String, writer: i32, seed: u64, work: Arc<Work>) -> i32 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut committed = 0;
    while !work.stop.load(Ordering::Relaxed) {
        if let Ok(client) = connect(&url).await {
            let _server_gone = session(&client, writer, &mut committed, &mut random, &work).await;
        }
        tokio::time::sleep(POLL).await;
    }
    // The last transaction's outcome may not be known yet.
    loop {
        if let Ok(client) = connect(&url).await
            && let Ok(last) = last(&client, writer).await
        {
            return last;
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn connect(url: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Ends with an error when the connection does.
async fn session(
    client: &Client,
    writer: i32,
    committed: &mut i32,
    random: &mut fastrand::Rng,
    work: &Work,
) -> Result<(), Error> {
    // A commit whose answer was lost may have happened or not.
    *committed = last(client, writer).await?;
    while !work.stop.load(Ordering::Relaxed) {
        match client.batch_execute(&transaction(writer, *committed + 1, random)).await {
            Ok(()) => {
                *committed += 1;
                work.committed.fetch_add(1, Ordering::Relaxed);
            }
            // Two transactions in each other's way: the server has chosen this one to be tried again.
            Err(error) if error.code().is_some() && !client.is_closed() => client.batch_execute("rollback").await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn last(client: &Client, writer: i32) -> Result<i32, Error> {
    let query = "select coalesce(max(seq), 0) from ledger where writer = $1";
    Ok(client.query_one(query, &[&writer]).await?.get(0))
}

fn transaction(writer: i32, seq: i32, random: &mut fastrand::Rng) -> String {
    let mut sql = format!("begin; insert into ledger values ({writer}, {seq}, 'é \"{seq}\"');");
    for _ in 0..random.u8(1..5) {
        sql.push_str(&statement(random));
    }
    sql.push_str("commit");
    sql
}

fn statement(random: &mut fastrand::Rng) -> String {
    let (id, owner) = (random.i32(0..ACCOUNTS), random.i32(0..OWNERS));
    match random.u8(0..100) {
        0..30 => format!(
            "insert into accounts values ({id}, {owner}, 1, repeat('n', {})) \
             on conflict (id) do update set version = accounts.version + 1, owner = excluded.owner;",
            random.i32(0..300)
        ),
        30..60 => format!("update accounts set version = version + 1 where id = {id};"),
        60..70 => format!("update accounts set owner = {owner} where id between {id} and {id} + 5;"),
        70..75 => format!("update accounts set id = id + 1000 where id = {id}; delete from accounts where id >= 1000;"),
        75..83 => format!("delete from accounts where id = {id};"),
        // Out of line, so that later updates do not carry it.
        83..88 => format!(
            "update accounts set note = \
             (select string_agg(md5(n::text || random()), '') from generate_series(1, 150) n) where id = {id};"
        ),
        88..90 => format!("update accounts set owner = null where id = {id};"),
        90..92 => "insert into elsewhere (note) select repeat('e', 100) from generate_series(1, 200);".to_owned(),
        92 => "truncate accounts;".to_owned(),
        // In parts, and more than an outbox takes.
        93 => format!(
            "insert into accounts select n, {owner}, 1, repeat('b', 400) from generate_series(2000, 2400) n; \
             update accounts set version = version + 1 where id >= 2000; delete from accounts where id >= 2000;"
        ),
        _ => format!("update accounts set version = version + 1 where id between {id} and {id} + 3;"),
    }
}
