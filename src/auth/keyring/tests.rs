//! Published keys, by a server that behaves as badly as servers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::Algorithm;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::auth::testing::{Issuer, key_set};
use crate::auth::{Credential, Denied, Gate, Identity, Origins, Rules, TokenError, Tokens};

/// What is answered, whole, by path; and how often it was asked for.
#[derive(Clone)]
struct Server {
    port: u16,
    answers: watch::Sender<Vec<(&'static str, Vec<u8>)>>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            answers: watch::channel(Vec::new()).0,
            requests: Arc::default(),
        };
        let of_task = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(of_task.clone().answer(stream));
            }
        });
        server
    }

    async fn answer(self, mut stream: TcpStream) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1)?.to_owned();
        let answers = self.answers.borrow().clone();
        match answers.into_iter().find(|(of, _)| *of == path) {
            Some((_, answer)) => stream.write_all(&answer).await.ok(),
            // Not a word until the client gives up.
            None => stream.read_u8().await.map(|_| ()).ok(),
        }
    }

    fn answers(&self, path: &'static str, answer: Vec<u8>) {
        self.answers.send_modify(|answers| {
            answers.retain(|(of, _)| *of != path);
            answers.push((path, answer));
        });
    }

    fn publishes(&self, keys: &[serde_json::Value]) {
        self.answers("/jwks.json", ok(&key_set(keys)));
    }

    fn is_silent(&self) {
        self.answers.send_modify(Vec::clear);
    }

    fn url(&self) -> JwksUrl {
        JwksUrl::parse(&format!("http://127.0.0.1:{}/jwks.json", self.port), false).unwrap()
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn redirect(location: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

fn gate(keys: KeySource) -> Gate {
    let (gate, refresher) = Gate::new(Some(Tokens { keys, rules: Rules::default() }), Origins::default()).unwrap();
    tokio::spawn(refresher.unwrap().run());
    gate
}

async fn verify(gate: &Gate, issuer: &Issuer, kid: &str) -> Result<Identity, Denied> {
    gate.verify(&Credential::new(issuer.sign_as(kid, &json!({"sub": "u1"})))).await
}

const UNKNOWN: Result<Identity, Denied> = Err(Denied::Token(TokenError::UnknownKey));

#[tokio::test]
async fn keys_are_rotated_by_name_and_made_up_names_are_no_flood() {
    let (old, new) = (Issuer::new(Algorithm::ES256), Issuer::new(Algorithm::EdDSA));
    let server = Server::start().await;
    server.publishes(&[old.jwk("old")]);
    let gate = gate(KeySource::Url(server.url()));
    assert!(verify(&gate, &old, "old").await.is_ok());
    assert!(verify(&gate, &old, "old").await.is_ok());
    assert_eq!(server.requests(), 1);

    server.publishes(&[new.jwk("new")]);
    let together = futures_util::future::join_all((0..20).map(|_| verify(&gate, &new, "new"))).await;
    assert!(together.iter().all(Result::is_ok), "{together:?}");
    assert_eq!(server.requests(), 2, "one for all who waited");
    assert_eq!(verify(&gate, &old, "old").await, UNKNOWN, "taken back");
    for number in 0..100 {
        assert_eq!(verify(&gate, &new, &format!("made up {number}")).await, UNKNOWN);
    }
    assert_eq!(server.requests(), 2);
    assert!(verify(&gate, &new, "new").await.is_ok());
}

#[tokio::test]
async fn keys_that_can_not_be_had_any_more_stay_in_use() {
    let issuer = Issuer::new(Algorithm::RS256);
    let huge = ok(&vec![b' '; 1 << 20]);
    let bottomless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 1 << 20]].concat();
    let long_head = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 1 << 20]].concat();
    for (what, answer) in [
        ("an error", b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_vec()),
        ("garbage", b"\x15\x03\x01\x00\x02\x02\x46".to_vec()),
        ("a page", ok(b"<html>We are down</html>")),
        ("no keys", ok(b"{\"keys\": []}")),
        ("too much", huge),
        ("too much without a length", bottomless),
        ("too long a head", long_head),
        ("half an answer", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{".to_vec()),
        ("a loop", redirect("/jwks.json")),
        ("a redirect to nowhere", redirect("")),
        ("a redirect to another scheme", redirect("file:///etc/passwd")),
        ("a redirect to a host in plain text", redirect("http://192.0.2.1/jwks.json")),
    ] {
        let server = Server::start().await;
        server.publishes(&[issuer.jwk("1")]);
        let gate = gate(KeySource::Url(server.url()));
        assert!(verify(&gate, &issuer, "1").await.is_ok(), "{what}");
        server.answers("/jwks.json", answer);
        assert_eq!(verify(&gate, &issuer, "2").await, UNKNOWN, "{what}");
        assert!((2..=2 + 3).contains(&server.requests()), "{what}: {}", server.requests());
        assert!(verify(&gate, &issuer, "1").await.is_ok(), "{what}");
    }
}

#[tokio::test]
async fn who_has_to_wait_for_keys_does_not_wait_for_ever_and_nobody_else_waits() {
    let issuer = Issuer::new(Algorithm::ES256);
    let server = Server::start().await;
    server.publishes(&[issuer.jwk("1")]);
    let gate = gate(KeySource::Url(server.url()));
    assert!(verify(&gate, &issuer, "1").await.is_ok());
    server.is_silent();
    let began = Instant::now();
    let (of_task, unknown) = (gate.clone(), issuer.sign_as("2", &json!({})));
    let waiting = tokio::spawn(async move { of_task.verify(&Credential::new(unknown)).await });
    while server.requests() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(verify(&gate, &issuer, "1").await.is_ok());
    assert!(began.elapsed() < FETCH_TIMEOUT && !waiting.is_finished());
    assert_eq!(waiting.await.unwrap(), UNKNOWN);
    assert!(began.elapsed() < FETCH_TIMEOUT * 2);
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_asked_again() {
    let issuer = Issuer::new(Algorithm::ES256);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = JwksUrl::parse(&format!("http://{address}/jwks.json"), false).unwrap();
    let gate = gate(KeySource::Url(url));
    assert_eq!(verify(&gate, &issuer, "1").await, Err(Denied::NoKeys));
    let server = Server::on(TcpListener::bind(address).await.unwrap());
    server.publishes(&[issuer.jwk("1")]);
    let deadline = Instant::now() + ASKED_INTERVAL * 3;
    while verify(&gate, &issuer, "1").await.is_err() {
        assert!(Instant::now() < deadline, "not asked again");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_redirect_is_followed() {
    let issuer = Issuer::new(Algorithm::ES256);
    let server = Server::start().await;
    server.answers("/jwks.json", redirect("/moved?v=2"));
    server.answers("/moved?v=2", redirect(&format!("http://localhost:{}/there", server.port)));
    server.answers("/there", ok(&key_set(&[issuer.jwk("1")])));
    assert!(verify(&gate(KeySource::Url(server.url())), &issuer, "1").await.is_ok());
}

#[tokio::test]
async fn a_file_is_read_again_for_an_unknown_key() {
    let (old, new) = (Issuer::new(Algorithm::ES256), Issuer::new(Algorithm::ES256));
    let path = std::env::temp_dir().join(format!("walcast-jwks-{:012x}.json", fastrand::u64(..) >> 16));
    std::fs::write(&path, key_set(&[old.jwk("old")])).unwrap();
    let read = KeySet::of_jwks(&std::fs::read(&path).unwrap(), true).unwrap();
    let gate = gate(KeySource::File { path: path.clone(), read });
    assert!(verify(&gate, &old, "old").await.is_ok());
    std::fs::write(&path, key_set(&[old.jwk("old"), new.jwk("new")])).unwrap();
    assert!(verify(&gate, &new, "new").await.is_ok());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(verify(&gate, &new, "newer").await, UNKNOWN);
    assert!(verify(&gate, &new, "new").await.is_ok());
}
