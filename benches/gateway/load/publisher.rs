//! Who makes the messages: rows that are committed, or requests that are posted.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio_postgres::{Client, Statement};

use super::stamp;

/// What stands in a message beside its numbers, so that messages are as long as those of the table `feed`.
const PAD: usize = 300;
/// Well below `limits.part_changes`, past which each topic would get a message more that says that this was all.
const ROWS_A_TRANSACTION: i32 = 500;

/// How a server is told of what is to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Posting {
    /// walcast: `POST /topics/TOPIC/events`.
    Event,
    /// The baseline: `POST /pub/COUNT/TOPIC` with a payload.
    Payload,
    /// Others: `POST /pub/TOPIC` with the whole text.
    Text,
}

/// Publishes without waiting for the answer; what fails is noticed with the next message, or because nothing comes.
pub(crate) enum Publisher {
    Rows { client: Arc<Client>, insert: Statement, topics: i32 },
    Posts { socket: OwnedWriteHalf, posting: Posting, topic: String, topics: u64 },
}

impl Publisher {
    /// A message is a row for each of `topics` in `table`, in transactions that are small enough to be sent whole.
    pub(crate) async fn rows(client: Client, table: &str, topics: u64) -> Self {
        let insert = format!(
            "insert into {table} (topic, name, price, note, sent, n)
             select topic, 'row ' || $3::bigint, $3 % 10000 / 100.0, repeat('x', 100), $2::bigint, $3
             from generate_series($1::int, $4::int - 1) topic"
        );
        let insert = client.prepare(&insert).await.expect("prepare the insert");
        Self::Rows { client: Arc::new(client), insert, topics: i32::try_from(topics).expect("some thousand") }
    }

    /// Each message is a request over one connection.
    pub(crate) async fn posts(port: u16, posting: Posting, topic: &str, topics: u64) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server");
        stream.set_nodelay(true).expect("a socket");
        let (reader, socket) = stream.into_split();
        tokio::spawn(answers(reader));
        Self::Posts { socket, posting, topic: topic.to_owned(), topics }
    }

    /// The message with this number, from 0 on.
    pub(crate) async fn publish(&mut self, n: u64) {
        match self {
            Self::Rows { client, insert, topics } => {
                for begin in (0..*topics).step_by(ROWS_A_TRANSACTION.unsigned_abs() as usize) {
                    let end = (begin + ROWS_A_TRANSACTION).min(*topics);
                    insert_rows(Arc::clone(client), insert.clone(), begin..end, n).await;
                }
            }
            Self::Posts { socket, posting, topic, topics } => {
                let request = request(*posting, topic, *topics, n);
                socket.write_all(request.as_bytes()).await.expect("the server takes the request");
            }
        }
    }
}

/// Ready when the statement is on its way, so that messages keep their order; a task waits for its outcome.
async fn insert_rows(client: Arc<Client>, insert: Statement, topics: Range<i32>, n: u64) {
    let n = i64::try_from(n).expect("a number");
    let mut inserting =
        Box::pin(async move { client.execute(&insert, &[&topics.start, &stamp(), &n, &topics.end]).await });
    let sent = poll_fn(|context| Poll::Ready(inserting.as_mut().poll(context))).await;
    tokio::spawn(async move {
        let outcome = match sent {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => inserting.await,
        };
        outcome.expect("a row is inserted");
    });
}

fn request(posting: Posting, topic: &str, topics: u64, n: u64) -> String {
    let payload = format!(r#"{{"pad":"{}","sent":{},"n":{n}}}"#, "x".repeat(PAD), stamp());
    let (path, body) = match posting {
        Posting::Event => {
            (format!("/topics/{topic}/events"), format!(r#"{{"event":"new_updates","payload":{payload}}}"#))
        }
        Posting::Payload => (format!("/pub/{topics}/{topic}"), payload),
        Posting::Text => (format!("/pub/{topic}"), format!(r#"[null,null,"{topic}","new_updates",{payload}]"#)),
    };
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// Reads what the server answers: anything but 2xx is a failure of the run.
async fn answers(mut reader: tokio::net::tcp::OwnedReadHalf) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = reader.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..length]);
        for status in text.match_indices("HTTP/1.1 ").filter_map(|(at, _)| text.get(at + 9..at + 12)) {
            assert!(status.starts_with('2'), "a post was answered {text}");
        }
        if length == 0 {
            return;
        }
    }
}
