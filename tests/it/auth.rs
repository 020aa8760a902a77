//! Who is let in, through the real binary: every way to show a token, every way in that must be closed, and identities
//! that change or end while a connection is open.

use std::fs;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::database::Database;
use super::support::gateway::Gateway;
use super::support::http;
use super::support::node::Script;
use super::support::phoenix::Client;

const ROUTES: &str = "[[route]]\ntable = \"public.articles\"\ntopic = \"updates:feed\"\n";
pub(crate) const SECRET: &str = "a secret of more than 32 bytes, for tests";
/// Nothing of leeway or grace, so that a test need not wait for them.
const EXACT: &str = "leeway = \"0s\"\ngrace = \"0s\"\n";

async fn database() -> Database {
    let database = Database::start().await;
    database.execute("create table articles (id int primary key, title text)").await;
    database
}

/// A gateway that is not started yet, with these lines in `[auth]` and in `[server]`.
async fn configured(database: &Database, auth: &str, server: &str) -> Gateway {
    let gateway = Gateway::configure(&database.url(), ROUTES);
    let text = fs::read_to_string(gateway.config_file()).unwrap();
    let text = text.replace("mode = \"none\"\n", auth).replace("[server]\n", &format!("[server]\n{server}"));
    gateway.write_config(&text);
    let setup = gateway.walcast("setup").await;
    assert!(setup.status.success(), "{}{}", setup.stdout, setup.stderr);
    gateway
}

async fn started(database: &Database, auth: &str, server: &str) -> Gateway {
    let mut gateway = configured(database, auth, server).await;
    gateway.spawn();
    gateway.wait_until_ready().await;
    gateway
}

fn by_secret() -> String {
    format!("mode = \"jwt\"\nsecret = \"{SECRET}\"\naudience = \"walcast\"\nissuer = \"id\"\n{EXACT}")
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// Good claims, but for these.
fn claims(but: &Value) -> Value {
    let mut claims = json!({"sub": "u1", "aud": "walcast", "iss": "id", "exp": now() + 600});
    let claims_map = claims.as_object_mut().unwrap();
    for (name, value) in but.as_object().unwrap() {
        claims_map.insert(name.clone(), value.clone());
    }
    claims
}

pub(crate) fn signed(claims: &Value, secret: &str) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn token(but: &Value) -> String {
    signed(&claims(but), SECRET)
}

/// A WebSocket's handshake by hand: the status, and the body of what is no 101.
async fn handshake(port: u16, query: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut request = format!(
        "GET /socket/websocket?vsn=2.0.0{query} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nupgrade: websocket\r\n\
         connection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole head"));
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |it| it.parse().unwrap());
    let mut body = vec![0; if status == 101 { 0 } else { length }];
    stream.read_exact(&mut body).await.unwrap();
    (status, String::from_utf8(body).unwrap())
}

/// The part of a token, as a client with a hammer makes it.
fn part(value: &Value) -> String {
    data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes())
}

#[tokio::test]
async fn whoever_shows_no_valid_token_is_refused_before_the_upgrade() {
    let database = database().await;
    let mut gateway = configured(&database, &by_secret(), "").await;
    gateway.spawn_with(&[("WALCAST_LOG", "trace")]);
    gateway.wait_until_ready().await;
    let unsigned = format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims(&json!({}))));
    let good = token(&json!({}));
    for (what, shown) in [
        ("nothing", String::new()),
        ("another key's", signed(&claims(&json!({})), "another secret of more than 32 bytes ...")),
        ("alg none", unsigned),
        ("a signature cut off", good.rsplit_once('.').unwrap().0.to_owned() + "."),
        ("expired", token(&json!({"exp": now() - 1}))),
        ("not valid yet", token(&json!({"nbf": now() + 600}))),
        ("for somebody else", token(&json!({"aud": "other"}))),
        ("for nobody", token(&json!({"aud": null}))),
        ("from somebody else", token(&json!({"iss": "other"}))),
        ("no token at all", "nonsense".to_owned()),
        ("too long", token(&json!({"sub": "x".repeat(10_000)}))),
        ("percent signs", "%25%00".to_owned()),
    ] {
        let refused = (403, String::new());
        assert_eq!(handshake(gateway.port(), &format!("&token={shown}"), &[]).await, refused, "{what}, as a param");
        assert_eq!(handshake(gateway.admin_port(), &format!("&token={shown}"), &[]).await, refused, "{what}, inside");
        let bearer = format!("Bearer {shown}");
        assert_eq!(handshake(gateway.port(), "", &[("authorization", &bearer)]).await, refused, "{what}, as a header");
        let protocol =
            format!("phoenix, base64url.bearer.phx.{}", data_encoding::BASE64_NOPAD.encode(shown.as_bytes()));
        let headers = [("sec-websocket-protocol", protocol.as_str())];
        assert_eq!(handshake(gateway.port(), "", &headers).await, refused, "{what}, as a subprotocol");
        // A good one that counts less does not help.
        if !shown.is_empty() {
            let both = handshake(gateway.port(), &format!("&token={good}"), &[("authorization", &bearer)]).await;
            assert_eq!(both, refused, "{what}, beside a good one");
        }
    }
    assert_eq!(handshake(gateway.port(), &format!("&token={good}"), &[]).await.0, 101);
    let log = gateway.log();
    assert!(log.contains("a request was refused"), "{log}");
    for secret in [SECRET, &good, good.split('.').nth(1).unwrap(), good.rsplit('.').next().unwrap()] {
        assert!(!log.contains(secret), "a secret is in the log: {secret}");
    }
}

#[tokio::test]
async fn a_valid_token_is_taken_in_every_form() {
    let database = database().await;
    let gateway = started(&database, &by_secret(), "origins = [\"//*.example.com\"]\n").await;
    let good = token(&json!({"aud": ["other", "walcast"]}));
    let bearer = format!("Bearer {good}");
    let protocol = format!("phoenix, base64url.bearer.phx.{}", data_encoding::BASE64_NOPAD.encode(good.as_bytes()));
    let param = format!("&token={good}");
    for (query, headers) in [
        (&*param, vec![]),
        ("", vec![("authorization", &*bearer)]),
        ("", vec![("x-phoenix-authtoken", &*good)]),
        ("", vec![("sec-websocket-protocol", &*protocol)]),
    ] {
        for port in [gateway.port(), gateway.admin_port()] {
            assert_eq!(handshake(port, query, &headers).await.0, 101, "{headers:?}");
        }
        // The page's origin is looked at whatever the token.
        for (origin, status) in [("https://app.example.com", 101), ("https://evil.example", 403), ("null", 403)] {
            let headers = [headers.clone(), vec![("origin", origin)]].concat();
            assert_eq!(handshake(gateway.port(), query, &headers).await, (status, String::new()), "{origin}");
        }
    }
    // Health is nobody's secret.
    assert_eq!(gateway.get_admin("/healthz").await.0, 200);
}

#[tokio::test]
async fn an_identity_ends_with_its_token_and_a_new_one_mends_the_connection() {
    let database = database().await;
    let gateway = started(&database, &by_secret(), "").await;
    let end = now() + 3;
    let short = token(&json!({"exp": end}));
    let url = format!("{}/websocket?vsn=2.0.0&token={short}", gateway.socket_url());
    let mut client = Client::connect_exactly(&url).await;
    assert_eq!(client.try_join("updates:feed", json!({})).await["status"], "ok");
    let url = format!("{}/websocket?vsn=2.0.0&token={}", gateway.socket_url(), token(&json!({})));
    let mut witness = Client::connect_exactly(&url).await;
    assert_eq!(witness.try_join("updates:feed", json!({})).await["status"], "ok");
    database.execute("insert into articles values (1, 'seen')").await;
    client.next_updates().await;
    let ended = client.next().await;
    assert_eq!(
        json!([ended[2], ended[3], ended[4]]),
        json!(["updates:feed", "phx_error", {"reason": "token_expired"}])
    );
    assert!(now() >= end, "before its time");
    database.execute("insert into articles values (2, 'not seen')").await;
    for id in 1..=2 {
        assert_eq!(witness.next_updates().await["updates"][0]["record"]["id"], id);
    }
    let refused = client.try_join("updates:feed", json!({})).await;
    assert_eq!((&refused["status"], &refused["response"]), (&json!("error"), &json!({"reason": "token_expired"})));

    let mut show = async |token: &str| {
        client.send(&json!([null, "t", "updates:feed", "access_token", {"token": token}])).await;
        let reply = client.next().await;
        assert_eq!((&reply[1], &reply[3]), (&json!("t"), &json!("phx_reply")), "{reply}");
        reply[4].clone()
    };
    let error = |reason: &str| json!({"status": "error", "response": {"reason": reason}});
    assert_eq!(show(&signed(&claims(&json!({})), "another secret")).await, error("invalid_token"));
    assert_eq!(show(&short).await, error("token_expired"));
    assert_eq!(show(&token(&json!({}))).await, json!({"status": "ok", "response": {}}));
    assert_eq!(client.try_join("updates:feed", json!({})).await["status"], "ok");
    database.execute("insert into articles values (3, 'seen again')").await;
    assert_eq!(client.next_updates().await["updates"][0]["record"]["id"], 3);
}

#[tokio::test]
async fn plain_http_asks_for_the_same_tokens() {
    let database = database().await;
    let gateway = started(&database, &by_secret(), "").await;
    let rows = "/topics/updates:feed";
    for (shown, reason) in [
        (None, "missing_token"),
        (Some("nonsense".to_owned()), "invalid_token"),
        (Some(signed(&claims(&json!({})), "another secret of more than 32 bytes ...")), "invalid_token"),
        (Some(token(&json!({"aud": "other"}))), "invalid_token"),
        (Some(token(&json!({"exp": now() - 1}))), "token_expired"),
    ] {
        let bearer = shown.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        for target in [rows, "/topics/updates:feed/events", "/topics/no-such-topic"] {
            let answer = http::request(gateway.port(), "GET", target, &headers, "").await;
            assert_eq!(answer.status, 401, "{target}: {reason}");
            assert_eq!(answer.json().await, json!({ "reason": reason }), "{target}");
        }
        let answer = http::request(gateway.port(), "GET", "/socket/longpoll?vsn=2.0.0", &headers, "").await;
        assert_eq!(answer.json().await["status"], 403, "{reason}");
    }
    let bearer = format!("Bearer {}", token(&json!({})));
    let answer = http::request(gateway.port(), "GET", rows, &[("authorization", &bearer)], "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.json().await["cursor"].is_string());
}

#[tokio::test]
async fn a_stream_of_events_ends_with_its_token() {
    let database = database().await;
    let gateway = started(&database, &by_secret(), "").await;
    let end = now() + 2;
    let target = format!("/topics/updates:feed/events?token={}", token(&json!({"exp": end})));
    let answer = http::request(gateway.port(), "GET", &target, &[], "").await;
    assert_eq!(answer.status, 200);
    let events = answer.text().await;
    assert!(now() >= end && events.contains("token_expired"), "{events}");
}

#[tokio::test]
async fn a_new_token_is_taken_over_long_polling() {
    let database = database().await;
    let gateway = started(&database, &by_secret(), "").await;
    let mut target = format!("/socket/longpoll?vsn=2.0.0&token={}", token(&json!({})));
    let mut session = String::new();
    for (shown, expected) in [
        (None, None),
        (Some("nonsense".to_owned()), Some(json!({"status": "error", "response": {"reason": "invalid_token"}}))),
        (Some(token(&json!({}))), Some(json!({"status": "ok", "response": {}}))),
    ] {
        if let Some(shown) = shown {
            let message = json!([null, "t", "updates:feed", "access_token", {"token": shown}]).to_string();
            let headers = [("content-type", "application/x-ndjson")];
            let posted = http::request(gateway.port(), "POST", &target, &headers, &message).await;
            assert_eq!(posted.json().await["status"], 200);
        }
        let polled = http::request(gateway.port(), "GET", &target, &[], "").await.json().await;
        assert_eq!(polled["status"], if session.is_empty() { 410 } else { 200 }, "{polled}");
        if let Some(expected) = expected {
            let message: Value = serde_json::from_str(polled["messages"][0].as_str().unwrap()).unwrap();
            assert_eq!(message[4], expected);
        }
        session = polled["token"].as_str().unwrap().to_owned();
        target = format!("/socket/longpoll?vsn=2.0.0&token={}", session.replace('+', "%2B").replace('/', "%2F"));
    }
}

#[tokio::test]
async fn the_official_client_shows_its_tokens_by_published_keys() {
    let database = database().await;
    let mut gateway = configured(&database, "mode = \"none\"\n", "").await;
    let socket = gateway.socket_url();
    let mut script = Script::start("auth.mjs", &[("WALCAST_SOCKET", &socket)]);
    let jwks_url = script.until_prefix("keys ").await;
    let text = fs::read_to_string(gateway.config_file()).unwrap();
    let auth = format!("mode = \"jwt\"\njwks_url = \"{jwks_url}\"\naudience = \"walcast\"\n{EXACT}");
    gateway.write_config(&text.replace("mode = \"none\"\n", &auth));
    gateway.spawn();
    gateway.wait_until_ready().await;
    script.go_on().await;
    script.until("live").await;
    database.execute("insert into articles values (1, 'for whoever has a token')").await;
    script.succeed().await;
}

#[tokio::test]
async fn polls_streams_and_rows_ask_for_tokens_too() {
    let database = database().await;
    let gateway = started(&database, &by_secret(), "origins = [\"https://app.example.com\"]\n").await;
    let port = gateway.port();
    let good = token(&json!({}));
    for target in ["/topics/updates:feed", "/topics/updates:feed/events"] {
        let answer = http::get(port, target).await;
        assert_eq!((answer.status, answer.json().await), (401, json!({"reason": "missing_token"})), "{target}");
        let answer =
            http::get(port, &format!("{target}?token={}", signed(&claims(&json!({})), "another secret"))).await;
        assert_eq!((answer.status, answer.json().await), (401, json!({"reason": "invalid_token"})), "{target}");
        assert_eq!(http::get(port, &format!("{target}?token={good}")).await.status, 200, "{target}");
        let bearer = format!("Bearer {good}");
        let headers = [("authorization", bearer.as_str()), ("origin", "https://app.example.com")];
        assert_eq!(http::request(port, "GET", target, &headers, "").await.status, 200, "{target}");
        let headers = [("authorization", bearer.as_str()), ("origin", "https://evil.example")];
        let answer = http::request(port, "GET", target, &headers, "").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None), "{target}");
    }

    let begin = async |query: &str, headers: &[(&str, &str)]| {
        http::request(port, "GET", &format!("/socket/longpoll?vsn=2.0.0&{query}"), headers, "").await.json().await
    };
    assert_eq!(begin("", &[]).await, json!({"status": 403}));
    assert_eq!(begin("token=nonsense", &[]).await, json!({"status": 403}));
    assert_eq!(
        begin("", &[("x-phoenix-authtoken", &good), ("origin", "https://evil.example")]).await,
        json!({"status": 403})
    );
    assert_eq!(begin("", &[("x-phoenix-authtoken", &good)]).await["status"], 410);
    // As the client sends its session's token: after the params that it was given.
    let session = begin(&format!("token={good}"), &[]).await["token"].as_str().unwrap().to_owned();
    let body = json!([null, "1", "phoenix", "heartbeat", {}]).to_string();
    let target = format!("/socket/longpoll?token={good}&vsn=2.0.0&token={session}");
    assert_eq!(http::request(port, "POST", &target, &[], &body).await.json().await, json!({"status": 200}));
    assert_eq!(begin(&format!("token={good}&token={session}"), &[]).await["status"], 200);
    // A session that is gone is no reason to send a good client away for good.
    let gone = format!("{}.0", data_encoding::BASE64URL_NOPAD.encode(&[0; 22]));
    assert_eq!(begin(&format!("token={good}&token={gone}"), &[]).await["status"], 410);
    assert_eq!(begin(&format!("token={gone}"), &[]).await, json!({"status": 403}));
}
