//! The official `phoenix` client, unmodified, against the real binary. The scripts are in `tests/interop`; they print
//! what they have seen, and the tests here commit what they wait for.

use crate::support::articles;
use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::node::Script;

/// The newest 1.8, a 1.7, and the newest with the serializer that older clients speak; and the newest without
/// WebSockets. (1.7 polls in browsers only, where `browsers_that_get_no_websocket_through_poll` has it; and whoever
/// polls with this client speaks 2.0.0.)
const CLIENTS: [(&str, &str, &str); 4] = [
    ("phoenix", "2.0.0", "websocket"),
    ("phoenix-1-7", "2.0.0", "websocket"),
    ("phoenix", "1.0.0", "websocket"),
    ("phoenix", "2.0.0", "longpoll"),
];

async fn start() -> (Database, Gateway) {
    let database = Database::start().await;
    database.execute(articles::TABLE).await;
    let gateway = Gateway::start(&database.url(), articles::ROUTES).await;
    (database, gateway)
}

fn script(name: &str, gateway: &Gateway, (client, vsn, transport): (&str, &str, &str)) -> Script {
    let socket = gateway.socket_url();
    let variables = [("WALCAST_CLIENT", client), ("WALCAST_VSN", vsn), ("WALCAST_TRANSPORT", transport)];
    Script::start(name, &[&[("WALCAST_SOCKET", socket.as_str())], &variables[..]].concat())
}

#[tokio::test]
async fn every_kind_of_change_reaches_the_official_client() {
    let (database, gateway) = start().await;
    for client in CLIENTS {
        articles::every_kind_of_change(&database, script("feed.mjs", &gateway, client)).await;
    }
}

#[tokio::test]
async fn channels_are_refused_joined_twice_left_and_kept_alive() {
    let (database, gateway) = start().await;
    for client in CLIENTS {
        let mut script = script("channels.mjs", &gateway, client);
        script.until("joined twice").await;
        database.execute("insert into articles values (1, 'for the second')").await;
        script.until("left").await;
        database.execute("insert into articles values (2, 'for the other topic')").await;
        script.succeed().await;
        // Nobody is joined any more.
        database.execute("delete from articles").await;
    }
}

#[tokio::test]
async fn a_client_comes_back_after_the_gateway_was_restarted() {
    let (database, mut gateway) = start().await;
    for client in CLIENTS {
        let mut script = script("restart.mjs", &gateway, client);
        script.until("joined").await;
        let status = gateway.terminate().await;
        assert!(status.success(), "{status}\n{}", gateway.log());
        script.until("closed").await;
        gateway.spawn();
        gateway.wait_until_ready().await;
        script.until("joined again").await;
        database
            .execute("insert into articles select coalesce(max(id), 0) + 1, 'after the restart' from articles")
            .await;
        script.succeed().await;
    }
}

#[tokio::test]
async fn a_client_that_went_away_gets_what_it_missed() {
    let (database, gateway) = start().await;
    for client in CLIENTS {
        let mut script = script("resume.mjs", &gateway, client);
        script.until("joined").await;
        database.execute("insert into articles values (1, 'seen')").await;
        script.until("away").await;
        database.execute("insert into articles values (2, 'missed')").await;
        database.execute("insert into articles values (3, 'missed too')").await;
        script.go_on().await;
        script.until("caught up").await;
        database.execute("insert into articles values (4, 'live')").await;
        script.succeed().await;
        database.execute("delete from articles").await;
    }
}

/// As many rows as no gateway holds in memory without noticing.
const BULK_ROWS: u32 = 100_000;
const WRITERS: i32 = 50;
const TRANSACTIONS_EACH: i32 = 10;

#[tokio::test]
async fn a_large_transaction_comes_in_parts_and_many_writers_in_commit_order() {
    let (database, gateway) = start().await;
    let socket = gateway.socket_url();
    let (rows, transactions) = (BULK_ROWS.to_string(), (WRITERS * TRANSACTIONS_EACH).to_string());
    let variables =
        [("WALCAST_SOCKET", socket.as_str()), ("WALCAST_ROWS", &rows), ("WALCAST_TRANSACTIONS", &transactions)];
    let mut script = Script::start("bulk.mjs", &variables);
    script.until("joined").await;
    let bulk = format!("insert into articles select n, 'row ' || n from generate_series(1, {BULK_ROWS}) n");
    database.execute(&bulk).await;
    script.until("bulk").await;

    // Postgres itself says in which order the writers committed, by a slot of its own.
    database.execute("select pg_create_logical_replication_slot('oracle', 'test_decoding')").await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 1..=WRITERS {
        writers.spawn(write_pairs(database.connect().await, writer));
    }
    writers.join_all().await;
    let committed: String = database.value(COMMIT_ORDER).await;
    assert_eq!(script.until_prefix("order ").await, committed);
    script.succeed().await;
}

/// The xids of all transactions that changed something, as `1,2,3`, in commit order.
const COMMIT_ORDER: &str = "
    select string_agg(substring(data from '\\d+'), ',' order by number)
    from pg_logical_slot_get_changes('oracle', null, null, 'skip-empty-xacts', 'on')
         with ordinality as changes (lsn, xid, data, number)
    where data like 'BEGIN%'";

/// Transactions of two rows each, among rows that nobody else has.
async fn write_pairs(client: tokio_postgres::Client, writer: i32) {
    for transaction in 0..TRANSACTIONS_EACH {
        let first = 1_000_000 * writer + 2 * transaction;
        let statement = |id| format!("insert into articles values ({id}, 'writer {writer}, {transaction}')");
        let pair = format!("begin; {}; {}; commit", statement(first), statement(first + 1));
        client.batch_execute(&pair).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_may_come_as_a_subprotocol() {
    let (_database, gateway) = start().await;
    script("token.mjs", &gateway, ("phoenix", "2.0.0", "websocket")).succeed().await;
}

#[tokio::test]
async fn frames_are_as_phoenix_sends_them() {
    let (_database, gateway) = start().await;
    script("frames.mjs", &gateway, ("phoenix", "2.0.0", "websocket")).succeed().await;
}

#[tokio::test]
async fn browsers_that_get_no_websocket_through_poll() {
    let (database, gateway) = start().await;
    for client in ["phoenix", "phoenix-1-7"] {
        for mode in ["longpoll", "fallback"] {
            let socket = gateway.socket_url();
            // The page is of another origin than the gateway that it talks to.
            let page = format!("http://127.0.0.1:{}/healthz", gateway.admin_port());
            let variables = [
                ("WALCAST_SOCKET", socket.as_str()),
                ("WALCAST_PAGE", &page),
                ("WALCAST_CLIENT", client),
                ("WALCAST_MODE", mode),
            ];
            let mut script = Script::start("page_long_poll.mjs", &variables);
            script.until("joined").await;
            database.execute("insert into articles values (1, 'one'); insert into articles values (2, 'two')").await;
            script.until("1,2").await;
            database.execute("delete from articles").await;
            script.until("deleted").await;
            script.succeed().await;
        }
    }
}
