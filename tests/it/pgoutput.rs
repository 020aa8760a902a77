//! pgoutput as a real server writes it.
//!
//! `tests/fixtures/pgoutput` has three files for each scenario: the SQL (its first paragraph is the set-up, each
//! further one a batch, usually a transaction), the messages in hexadecimal that a server made of it, one a line,
//! and the text that they must decode to, written down beside what the SQL says.
//! `WALCAST_CAPTURE=1 cargo test --test it pgoutput::` captures messages and texts anew: read the difference.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails where it stands")]

mod text;

use std::path::{Path, PathBuf};
use std::{env, fs};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use tokio_postgres::{Client, NoTls};
use walcast::change::{Lsn, PgTimestamp};
use walcast::demo::cluster::{Binaries, Cluster};
use walcast::replication::pgoutput::{Message, decode};

#[test]
fn captured_messages_decode_to_their_text() {
    for scenario in Scenario::all() {
        let hex = fs::read_to_string(scenario.file("hex")).unwrap();
        let messages = hex.lines().map(|line| decode(HEXLOWER.decode(line.as_bytes()).unwrap().into()).unwrap());
        assert_eq!(text::of(messages), scenario.expected(), "{}", scenario.name);
    }
}

/// What the values depend on is fixed here as the replication connection fixes it.
const SESSION: &str = "set timezone = 'UTC'; set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres'; \
                       set extra_float_digits = 1; set bytea_output = 'hex'; set lc_monetary = 'C'";

#[tokio::test]
async fn a_server_sends_what_the_fixtures_say() {
    let cluster = Cluster::start(Binaries::find().unwrap(), &[]).unwrap();
    let (client, connection) = tokio_postgres::connect(&cluster.url(), NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute(SESSION).await.unwrap();
    let version: i32 = client.query_one("select current_setting('server_version_num')::int", &[]).await.unwrap().get(0);
    for scenario in Scenario::all().into_iter().filter(|scenario| scenario.since() <= version) {
        scenario.run(&client).await;
    }
    drop(client);
    driver.await.unwrap().unwrap();
}

struct Scenario {
    name: String,
    sql: String,
}

/// A message with what the server says of it beside its bytes.
struct Captured {
    lsn: Lsn,
    xid: u32,
    bytes: Bytes,
}

impl Scenario {
    fn all() -> Vec<Self> {
        let mut paths: Vec<PathBuf> = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
        paths.sort();
        assert!(!paths.is_empty());
        let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
        paths.iter().map(|path| Self { name: name(path), sql: fs::read_to_string(path).unwrap() }).collect()
    }

    fn file(&self, extension: &str) -> PathBuf {
        directory().join(&self.name).with_extension(extension)
    }

    fn expected(&self) -> String {
        fs::read_to_string(self.file("txt")).unwrap_or_default()
    }

    /// The first server version that knows the statements, as in `server_version_num`.
    fn since(&self) -> i32 {
        self.sql.strip_prefix("-- since ").map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap())
    }

    async fn run(&self, client: &Client) {
        let mut batches = self.sql.split("\n\n");
        client.batch_execute(batches.next().unwrap()).await.unwrap();
        let slot = self.name.replace('-', "_");
        client.query("select pg_create_logical_replication_slot($1::text, 'pgoutput')", &[&slot]).await.unwrap();
        let before = now(client).await;
        for batch in batches {
            client.batch_execute(batch).await.unwrap();
        }
        let after = now(client).await;
        // Outside streamed transactions both versions are the same to the byte.
        let captured = peek(client, &slot, "1").await;
        let again = peek(client, &slot, "2").await;
        client.query("select pg_drop_replication_slot($1::text)", &[&slot]).await.unwrap();
        assert!(captured.iter().map(|message| &message.bytes).eq(again.iter().map(|message| &message.bytes)));
        check_positions(&captured, before, after);
        self.compare(&captured);
    }

    fn compare(&self, captured: &[Captured]) {
        let decoded = text::of(captured.iter().map(|message| decode(message.bytes.clone()).unwrap()));
        if env::var_os("WALCAST_CAPTURE").is_some() {
            let hex: String = captured.iter().map(|message| HEXLOWER.encode(&message.bytes) + "\n").collect();
            fs::write(self.file("hex"), hex).unwrap();
            fs::write(self.file("txt"), &decoded).unwrap();
        }
        assert_eq!(decoded, self.expected(), "{}", self.name);
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pgoutput")
}

/// The server's clock.
async fn now(client: &Client) -> PgTimestamp {
    let micros = "select (extract(epoch from clock_timestamp() - '2000-01-01 00:00:00+00') * 1e6)::int8";
    PgTimestamp::from_micros(client.query_one(micros, &[]).await.unwrap().get(0))
}

async fn peek(client: &Client, slot: &str, version: &str) -> Vec<Captured> {
    let sql = "select lsn::text, xid::text, data from pg_logical_slot_peek_binary_changes($1::text::name, null, null, \
               'proto_version', $2::text, 'publication_names', $1::text, 'messages', 'true')";
    let rows = client.query(sql, &[&slot, &version]).await.unwrap();
    let captured = rows.iter().map(|row| Captured {
        lsn: row.get::<_, &str>(0).parse().unwrap(),
        xid: row.get::<_, &str>(1).parse().unwrap(),
        bytes: row.get::<_, Vec<u8>>(2).into(),
    });
    captured.collect()
}

/// What the text leaves out because it differs from run to run: LSNs, xids and timestamps.
fn check_positions(captured: &[Captured], before: PgTimestamp, after: PgTimestamp) {
    let mut open = None;
    for Captured { lsn, xid, bytes } in captured {
        match decode(bytes.clone()).unwrap() {
            Message::Begin(begin) => {
                assert_eq!(begin.xid, *xid);
                assert!(*lsn <= begin.commit_lsn);
                assert!(before <= begin.commit_timestamp && begin.commit_timestamp <= after);
                open = Some(begin);
            }
            Message::Commit(commit) => {
                let begin = open.take().unwrap();
                assert_eq!(commit.end_lsn, *lsn);
                assert_eq!((commit.commit_lsn, commit.commit_timestamp), (begin.commit_lsn, begin.commit_timestamp));
                assert!(commit.commit_lsn < commit.end_lsn);
            }
            Message::Logical(message) => assert_eq!(message.lsn, *lsn),
            _ => {}
        }
    }
}
