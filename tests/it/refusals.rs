//! Whatever HTTP request is refused, by whichever part: the answer has a JSON body with a stable `reason`. And what
//! browsers ask before they let a page of another origin in.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::PATIENCE;
use super::support::database::Database;
use super::support::gateway::Gateway;

const ROUTES: &str = r#"
[[route]]
table = "public.articles"
topic = "feed"

[[channel]]
topic = "rooms:*"
publish = ["said"]

[limits]
broadcast = "1KiB"
handshake = "2s"
"#;

async fn database() -> Database {
    let database = Database::start().await;
    database.execute("create table articles (id int primary key, title text)").await;
    database
}

/// A whole answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find_map(|(own, value)| own.eq_ignore_ascii_case(name).then_some(value))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends these bytes, and reads until the other side has said all.
async fn send(port: u16, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

async fn ask(port: u16, method: &str, target: &str, headers: &[&str], body: &str) -> Answer {
    let upgrades = headers.iter().any(|line| line.starts_with("upgrade:"));
    let connection = if upgrades { "upgrade, close" } else { "close" };
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: {connection}\r\n");
    send(port, format!("{head}{headers}{length}\r\n{body}").as_bytes()).await
}

/// Method, target, headers, body; status and reason.
type Case<'c> = (&'c str, &'c str, &'c [&'c str], &'c str, u16, &'c str);

const UPGRADE: [&str; 3] =
    ["upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="];

async fn refused(port: u16, (method, target, headers, body, status, reason): Case<'_>) -> Answer {
    let answer = ask(port, method, target, headers, body).await;
    assert_eq!(answer.status, status, "{method} {target} {answer:?}");
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/json"), "{method} {target}: {answer:?}");
    let json = answer.json();
    assert_eq!(json["reason"], reason, "{method} {target}: {answer:?}");
    let message = &json["message"];
    assert!(message.is_null() || message.as_str().is_some_and(|it| !it.is_empty()), "{answer:?}");
    answer
}

async fn the_admin_listener_says_why(admin: u16) {
    let text = "content-type: text/plain";
    let question = "content-type: application/json";
    let huge = "x".repeat(3 << 20);
    let cases: &[Case<'_>] = &[
        ("POST", "/metrics", &[], "", 405, "method_not_allowed"),
        ("POST", "/readyz", &[], "", 405, "method_not_allowed"),
        ("GET", "/inspector/nothing", &[], "", 404, "not_found"),
        ("GET", "/inspector/state?search=a&search=b", &[], "", 400, "bad_request"),
        ("GET", "/inspector/why", &[], "", 405, "method_not_allowed"),
        ("POST", "/inspector/why", &[text], "{}", 415, "unsupported_media_type"),
        ("POST", "/inspector/why", &[question], "{", 400, "invalid_question"),
        ("POST", "/inspector/why", &[question], "\"", 400, "invalid_question"),
        ("POST", "/inspector/why", &[question], "{}", 400, "invalid_question"),
        ("POST", "/inspector/why", &[question], &huge, 413, "payload_too_large"),
    ];
    for case in cases {
        refused(admin, *case).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_says_why() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let (port, admin) = (gateway.port(), gateway.admin_port());
    let long_topic = format!("/topics/{}", "x".repeat(300));
    let large = format!(r#"{{"event": "said", "payload": {{"text": "{}"}}}}"#, "x".repeat(8000));
    let long_name = format!(r#"{{"event": "{}", "payload": {{}}}}"#, "e".repeat(256));
    let cases: &[Case<'_>] = &[
        ("GET", "/", &[], "", 404, "not_found"),
        ("GET", "/nothing", &[], "", 404, "not_found"),
        ("GET", "/topics", &[], "", 404, "not_found"),
        ("GET", "/socket", &[], "", 404, "not_found"),
        ("PUT", "/healthz", &[], "", 405, "method_not_allowed"),
        ("DELETE", "/topics/feed", &[], "", 405, "method_not_allowed"),
        ("POST", "/topics/feed", &[], "{}", 405, "method_not_allowed"),
        ("PATCH", "/topics/feed/events", &[], "", 405, "method_not_allowed"),
        ("GET", "/topics/nowhere", &[], "", 404, "unmatched topic"),
        ("GET", "/topics/%zz", &[], "", 404, "unmatched topic"),
        ("GET", "/topics/%ff", &[], "", 404, "unmatched topic"),
        ("GET", "/topics/", &[], "", 404, "unmatched topic"),
        ("GET", &long_topic, &[], "", 404, "unmatched topic"),
        ("GET", "/topics/feed?id=eq.%zz", &[], "", 400, "invalid_filter"),
        ("GET", "/topics/feed?id=x", &[], "", 400, "invalid_filter"),
        ("GET", "/topics/feed?nothing=eq.1", &[], "", 400, "invalid_filter"),
        ("GET", "/topics/feed?cursor=x", &[], "", 400, "invalid_filter"),
        ("GET", "/topics/feed?snapshot=no", &[], "", 400, "invalid_filter"),
        ("GET", "/topics/feed?columns=nothing", &[], "", 400, "invalid_filter"),
        ("GET", "/topics/feed/events?snapshot=maybe", &[], "", 400, "invalid_filter"),
        ("GET", "/topics/feed/events?cursor=nonsense", &[], "", 410, "resync_required"),
        ("POST", "/topics/rooms:1/events", &[], "{", 400, "invalid_payload"),
        ("POST", "/topics/rooms:1/events", &[], "[]", 400, "invalid_payload"),
        ("POST", "/topics/rooms:1/events", &[], "", 400, "invalid_payload"),
        ("POST", "/topics/rooms:1/events", &[], &large, 413, "payload_too_large"),
        ("POST", "/topics/rooms:1/events", &[], &long_name, 400, "invalid_event"),
        ("POST", "/topics/rooms:1/events?a=%z", &[], "{}", 400, "invalid_payload"),
        ("POST", "/topics/%zz/events", &[], "{}", 404, "unmatched topic"),
        ("GET", "/socket/websocket", &[], "", 400, "bad_handshake"),
        ("POST", "/socket/websocket", &[], "", 400, "bad_handshake"),
        ("GET", "/socket/longpoll?vsn=%zz", &[], "", 400, "bad_request"),
        ("PUT", "/socket/longpoll", &[], "", 400, "method_not_allowed"),
    ];
    for entrance in [port, admin] {
        for case in cases {
            refused(entrance, *case).await;
        }
    }
    the_admin_listener_says_why(admin).await;
    let answer = refused(port, ("DELETE", "/topics/feed", &[], "", 405, "method_not_allowed")).await;
    assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
    let answer = refused(port, ("PUT", "/healthz", &[], "", 405, "method_not_allowed")).await;
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_is_told_so() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let head = "host: localhost\r\n\r\n";
    let long = "x".repeat(70_000);
    for (request, status, reason) in [
        // As curl sends it.
        (format!("GET /topics/feed?title=eq.\"a\" HTTP/1.1\r\n{head}"), 400, "bad_request"),
        (format!("GET /topics/feed?title=eq.<a> HTTP/1.1\r\n{head}"), 400, "bad_request"),
        (format!("GET /topics/a b HTTP/1.1\r\n{head}"), 400, "bad_request"),
        (format!("G\u{1}T / HTTP/1.1\r\n{head}"), 400, "bad_request"),
        (format!("GET / HTTP/1.1\r\nno header\r\n{head}"), 400, "bad_request"),
        (format!("GET /topics/feed?a=eq.{long} HTTP/1.1\r\n{head}"), 414, "uri_too_long"),
        (format!("GET / HTTP/1.1\r\n{}{head}", "x: y\r\n".repeat(200)), 431, "head_too_large"),
        (format!("POST /topics/rooms:1/events HTTP/1.1\r\ncontent-length: x\r\n{head}"), 400, "bad_request"),
    ] {
        let shown = &request[..request.len().min(80)];
        for port in [gateway.port(), gateway.admin_port()] {
            let answer = send(port, request.as_bytes()).await;
            assert_eq!((answer.status, &answer.json()["reason"]), (status, &json!(reason)), "{shown}");
            assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()), "{shown}");
            assert_eq!(answer.header("connection"), Some("close"), "{shown}");
        }
    }
    // What came before it on the same connection is answered first.
    let both = format!("GET /healthz HTTP/1.1\r\n{head}GET /\" HTTP/1.1\r\nhost: x\r\nx\r\n\r\n");
    let answer = send(gateway.port(), both.as_bytes()).await;
    assert!(answer.status == 200 && answer.body.starts_with("ok\n"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_turned_away_at_the_door_is_told_why() {
    let database = database().await;
    let routes = format!("{ROUTES}connections = 2\n");
    let gateway = Gateway::start(&database.url(), &routes).await;
    let stranger =
        send(gateway.admin_port(), b"GET /inspector/ HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n")
            .await;
    assert_eq!((stranger.status, &stranger.json()["reason"]), (421, &json!("misdirected")));
    let mut held = Vec::new();
    // Until both are taken: those that have ended may still be counted for a moment.
    let answer = timeout(PATIENCE, async {
        loop {
            let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
            let mut answer = Vec::new();
            if let Ok(read) = timeout(Duration::from_millis(200), stream.read_to_end(&mut answer)).await {
                read.unwrap();
                return String::from_utf8(answer).unwrap();
            }
            held.push(stream);
        }
    })
    .await
    .expect("somebody is turned away");
    assert!(
        answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n") && answer.contains("\r\nretry-after: 5\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\"reason\":\"too_many_connections\""), "{answer}");
}

const ORIGIN: &str = "origin: https://app.example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_origins_get_in_as_browsers_ask() {
    let database = database().await;
    let mut gateway = Gateway::configure(&database.url(), ROUTES);
    let secret = "mode = \"jwt\"\nsecret = \"a secret of no less than thirty-two bytes\"";
    gateway.edit_config(|text| text.replace("mode = \"none\"", secret));
    assert!(gateway.walcast("setup").await.status.success());
    gateway.spawn();
    gateway.wait_until_ready().await;
    // A token in a header, and a body of JSON, are what a browser asks about first.
    for (target, method, headers, allowed) in [
        ("/topics/feed", "GET", "authorization", "GET, HEAD, OPTIONS"),
        ("/topics/feed/events", "GET", "authorization,last-event-id", "GET, HEAD, POST, OPTIONS"),
        ("/topics/rooms:1/events", "POST", "authorization,content-type", "GET, HEAD, POST, OPTIONS"),
        ("/socket/longpoll", "GET", "x-phoenix-authtoken", "get, post, options"),
    ] {
        let (wanted_method, wanted) =
            (format!("access-control-request-method: {method}"), format!("access-control-request-headers: {headers}"));
        let answer = ask(gateway.port(), "OPTIONS", target, &[ORIGIN, &wanted_method, &wanted], "").await;
        assert!([200, 204].contains(&answer.status), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{target}");
        assert_eq!(answer.header("access-control-allow-methods"), Some(allowed), "{target}");
        assert_eq!(answer.header("access-control-allow-headers"), Some(headers), "{target}");
    }
    // The page may read why it is refused, and when to come back.
    for method in ["GET", "POST"] {
        let answer = ask(gateway.port(), method, "/topics/feed/events", &[ORIGIN], "").await;
        assert_eq!((answer.status, answer.json()), (401, json!({"reason": "missing_token"})));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-expose-headers"), Some("retry-after"));
    }
    let answer = ask(gateway.port(), "GET", "/socket/websocket", &UPGRADE, "").await;
    assert_eq!((answer.status, &*answer.body), (403, ""));
    // A HEAD says what a GET would, without its body.
    let answer = ask(gateway.port(), "HEAD", "/topics/feed", &[], "").await;
    assert_eq!((answer.status, &*answer.body), (401, ""));
    assert!(answer.header("content-type").unwrap().starts_with("application/json"));

    assert!(gateway.terminate().await.success());
    gateway.edit_config(|text| text.replace("[server]\n", "[server]\norigins = [\"https://other.example\"]\n"));
    gateway.spawn();
    gateway.wait_until_ready().await;
    for (method, target, status) in
        [("OPTIONS", "/topics/feed", 204), ("GET", "/topics/feed", 403), ("GET", "/topics/feed/events", 403)]
    {
        let answer = ask(gateway.port(), method, target, &[ORIGIN], "").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, None), "{method} {target}");
        if status == 403 {
            assert_eq!(answer.json(), json!({"reason": "origin_not_allowed"}));
        }
    }
}
