//! What is long-polling's own: statuses, tokens, and what an answer that did not arrive carried.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{FEED, ROUTES, ids, start, start_with};
use crate::support::gateway::Gateway;
use crate::support::http;

/// A session, poll by poll.
struct Session {
    port: u16,
    token: String,
}

impl Session {
    async fn start(gateway: &Gateway) -> Self {
        let body = http::get(gateway.port(), "/socket/longpoll?vsn=2.0.0").await.json().await;
        assert_eq!(body["status"], 410, "{body}");
        Self { port: gateway.port(), token: body["token"].as_str().unwrap().to_owned() }
    }

    async fn joined(gateway: &Gateway) -> Self {
        let mut session = Self::start(gateway).await;
        assert_eq!(session.post(&json!(["1", "1", FEED, "phx_join", {}]).to_string()).await, json!({"status": 200}));
        assert_eq!(session.poll().await.len(), 1);
        session
    }

    fn target(&self) -> String {
        format!("/socket/longpoll?vsn=2.0.0&token={}", self.token)
    }

    async fn get(&self) -> Value {
        http::get(self.port, &self.target()).await.json().await
    }

    /// The messages of the next answer, whose token is kept.
    async fn poll(&mut self) -> Vec<Value> {
        let body = self.get().await;
        self.token = body["token"].as_str().unwrap().to_owned();
        messages(&body)
    }

    async fn post(&self, body: &str) -> Value {
        self.post_as("application/x-ndjson", body).await
    }

    async fn post_as(&self, kind: &str, body: &str) -> Value {
        http::request(self.port, "POST", &self.target(), &[("content-type", kind)], body).await.json().await
    }
}

fn messages(body: &Value) -> Vec<Value> {
    let texts = body["messages"].as_array().unwrap().iter();
    texts.map(|message| serde_json::from_str(message.as_str().unwrap()).unwrap()).collect()
}

fn heartbeat(reference: usize) -> String {
    json!([null, reference.to_string(), "phoenix", "heartbeat", {}]).to_string()
}

#[tokio::test]
async fn statuses_are_those_of_phoenix() {
    let (_database, gateway) = start_with(&format!("{ROUTES}\n[limits]\npoll = \"1s\"\n")).await;
    let port = gateway.port();
    for method in ["PUT", "DELETE"] {
        assert_eq!(http::request(port, method, "/socket/longpoll", &[], "").await.status, 400);
    }
    let answer = http::get(port, "/socket/longpoll?vsn=3.0.0").await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!((answer.status, answer.json().await), (200, json!({"status": 403})));
    for target in ["/socket/longpoll", "/socket/longpoll?token=nonsense"] {
        let answer = http::request(port, "POST", target, &[], "[]").await;
        assert_eq!((answer.status, answer.json().await), (200, json!({"status": 410})));
    }
    let options = [("access-control-request-headers", "x-phoenix-authtoken, content-type")];
    let answer = http::request(port, "OPTIONS", "/socket/longpoll", &options, "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-headers"), Some("x-phoenix-authtoken, content-type"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("get, post, options"));
    assert_eq!(answer.header("access-control-max-age"), Some("3600"));

    let session = Session::start(&gateway).await;
    let began = Instant::now();
    assert_eq!(session.get().await, json!({"status": 204, "token": session.token, "messages": []}));
    assert!(began.elapsed() >= Duration::from_secs(1), "it waits for messages");
    // The token may come as a header, which wins.
    let header = [("x-phoenix-longpoll-token", session.token.as_str())];
    let answer = http::request(port, "GET", "/socket/longpoll?vsn=2.0.0&token=x", &header, "").await;
    assert_eq!(answer.json().await["status"], 204);
}

#[tokio::test]
async fn a_session_without_polls_ends() {
    let (_database, gateway) = start_with(&format!("{ROUTES}\n[limits]\npoll = \"200ms\"\n")).await;
    let session = Session::start(&gateway).await;
    let (key, _) = session.token.split_once('.').unwrap();
    crate::support::eventually("the end of the session", || async {
        // A message does not keep it alive.
        (session.post(&heartbeat(1)).await == json!({"status": 410})).then_some(())
    })
    .await;
    let body = session.get().await;
    assert_eq!((&body["status"], &body["messages"]), (&json!(410), &json!([])));
    assert!(!body["token"].as_str().unwrap().starts_with(key), "it is another one");
}

#[tokio::test]
async fn what_an_answer_carried_comes_again_until_it_arrived() {
    let (database, gateway) = start().await;
    let mut session = Session::joined(&gateway).await;
    let numbers = |body: &Value| messages(body).iter().flat_map(|message| ids(&message[4])).collect::<Vec<_>>();
    database.execute("insert into articles values (1)").await;
    let lost = session.get().await;
    assert_eq!(numbers(&lost), [1]);
    database.execute("insert into articles values (2)").await;
    // The same token again: that answer did not arrive.
    let mut again = session.get().await;
    while numbers(&again).len() < 2 {
        again = session.get().await;
    }
    assert_eq!(numbers(&again), [1, 2]);
    // It may be the first one that did, in the end.
    session.token = lost["token"].as_str().unwrap().to_owned();
    let rest = session.get().await;
    assert_eq!(numbers(&rest), [2]);
    session.token = rest["token"].as_str().unwrap().to_owned();
    database.execute("insert into articles values (3)").await;
    assert_eq!(numbers(&session.get().await), [3]);
}

#[tokio::test]
async fn a_poll_that_was_given_up_takes_nothing_along() {
    let (database, gateway) = start().await;
    let mut session = Session::joined(&gateway).await;
    for round in 1..=5 {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
        let head = format!("GET {} HTTP/1.1\r\nhost: localhost\r\n\r\n", session.target());
        stream.write_all(head.as_bytes()).await.unwrap();
        if round % 2 == 0 {
            database.execute(&format!("insert into articles values ({round})")).await;
            let mut some = [0; 20];
            stream.read_exact(&mut some).await.unwrap();
            drop(stream);
        } else {
            drop(stream);
            database.execute(&format!("insert into articles values ({round})")).await;
        }
        let messages = session.poll().await;
        assert_eq!(messages.iter().flat_map(|message| ids(&message[4])).collect::<Vec<_>>(), [round]);
    }
}

#[tokio::test]
async fn a_client_that_keeps_its_first_token_gets_each_message_once() {
    let (database, gateway) = start().await;
    let session = Session::start(&gateway).await;
    session.post(&json!(["1", "1", FEED, "phx_join", {}]).to_string()).await;
    assert_eq!(messages(&session.get().await)[0][3], "phx_reply");
    for id in 1..=5 {
        database.execute(&format!("insert into articles values ({id})")).await;
        let messages = messages(&session.get().await);
        assert_eq!(messages.iter().flat_map(|message| ids(&message[4])).collect::<Vec<_>>(), [id]);
    }
}

#[tokio::test]
async fn the_newest_poll_is_the_one_that_waits() {
    let (_database, gateway) = start().await;
    let session = Session::joined(&gateway).await;
    let target = session.target();
    let port = session.port;
    let first = tokio::spawn(async move { http::get(port, &target).await.json().await });
    let second = async {
        // Whichever comes later sends the other home; the message is for one of them.
        let body = session.get().await;
        (body, session.post(&heartbeat(1)).await)
    };
    let posted = async {
        let reply = session.post(&heartbeat(2)).await;
        assert_eq!(reply, json!({"status": 200}));
    };
    let (first, ((second, _), ())) = tokio::join!(first, async { tokio::join!(second, posted) });
    let statuses = [&first.unwrap()["status"], &second["status"]].map(|status| status.as_u64().unwrap());
    assert!(statuses.contains(&200), "{statuses:?}");
}

#[tokio::test]
async fn a_post_brings_one_message_or_one_a_line() {
    let (_database, gateway) = start().await;
    let mut session = Session::start(&gateway).await;
    // Binary: push with join_ref "", ref "3", topic "phoenix", event "heartbeat" and nothing after it.
    let binary = [&[0, 0, 1, 7, 9][..], b"3phoenixheartbeat"].concat();
    let batch = format!("{}\r\n{}\n", heartbeat(1), data_encoding::BASE64.encode(&binary));
    assert_eq!(session.post(&batch).await, json!({"status": 200}));
    assert_eq!(session.post_as("application/json", &heartbeat(4)).await, json!({"status": 200}));
    let mut references = Vec::new();
    while references.len() < 3 {
        references.extend(session.poll().await.iter().map(|message| message[1].as_str().unwrap().to_owned()));
    }
    assert_eq!(references, ["1", "3", "4"]);

    let many: String = (0..101).map(|number| heartbeat(number) + "\n").collect();
    let (target, kind) = (session.target(), [("content-type", "application/x-ndjson")]);
    let answer = http::request(session.port, "POST", &target, &kind, &many).await;
    assert_eq!((answer.status, answer.json().await["status"].clone()), (400, json!(400)), "none of them is handled");
    let hundred: String = (0..100).map(|number| heartbeat(number) + "\n").collect();
    assert_eq!(session.post(&hundred).await, json!({"status": 200}));
    assert_eq!(session.poll().await.len(), 100);

    // As on a WebSocket: who sends nonsense is closed.
    assert_eq!(session.post("[1,2]\n").await, json!({"status": 410}));
    assert_eq!(session.get().await["status"], 410);
    let session = Session::start(&gateway).await;
    let large = json!([null, "1", "phoenix", "heartbeat", {"x": "x".repeat(1 << 20)}]).to_string();
    assert_eq!(session.post(&large).await, json!({"status": 410}));
}

#[tokio::test]
async fn sessions_are_connections() {
    let (_database, gateway) = start_with(&format!("{ROUTES}\n[limits]\nconnections = 8\n")).await;
    let mut sessions = 0;
    loop {
        let answer = http::get(gateway.port(), "/socket/longpoll?vsn=2.0.0").await;
        if answer.status == 503 {
            assert_eq!(answer.header("retry-after"), Some("5"));
            break;
        }
        assert_eq!(answer.json().await["status"], 410);
        sessions += 1;
        // Each request is a connection for as long as it lasts; the sessions stay.
        assert!(sessions < 8, "there is room for {sessions} sessions");
    }
    assert!(sessions > 0);
}
