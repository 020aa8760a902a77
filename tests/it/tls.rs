//! TLS for clients: every transport by it, certificates that are replaced while it runs, and clients that misbehave.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::support::articles;
use crate::support::database::Database;
use crate::support::gateway::{Gateway, signal};
use crate::support::node::Script;
use crate::support::phoenix::Client;
use crate::support::{PATIENCE, ScratchFolder, eventually};

/// An authority, and the certificate of `localhost` that it has signed, in files.
struct Authority {
    folder: ScratchFolder,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = ScratchFolder::new();
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // By its own name it is told from what it signs.
        parameters.distinguished_name.push(DnType::CommonName, "an authority");
        fs::write(folder.join("root.pem"), parameters.self_signed(&key).unwrap().pem()).unwrap();
        let authority = Self { folder, issuer: Issuer::new(parameters, key) };
        authority.issue(4000);
        authority
    }

    /// Signs another certificate, which is good until then, for another key, and puts both into the files.
    fn issue(&self, until_year: i32) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_after = date_time_ymd(until_year, 1, 1);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.folder.join("key.pem"), key.serialize_pem()).unwrap();
        fs::write(self.folder.join("certificate.pem"), certificate.pem()).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// A gateway that encrypts with it; `more` is further TOML.
    async fn gateway(&self, database: &Database, more: &str) -> Gateway {
        let (certificate, key) = (self.path("certificate.pem"), self.path("key.pem"));
        let tls = format!("[server.tls]\ncertificate_file = \"{certificate}\"\nkey_file = \"{key}\"\n");
        Gateway::start(&database.url(), &format!("{tls}\n{more}\n{}", articles::ROUTES)).await
    }

    fn client(&self, version: &'static SupportedProtocolVersion, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.folder.join("root.pem")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(&[version]).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    async fn connect(&self, gateway: &Gateway) -> TlsStream<TcpStream> {
        connect(gateway, self.client(&TLS13, &["h2", "http/1.1"])).await.unwrap()
    }

    /// What a new client is shown.
    async fn shown(&self, gateway: &Gateway) -> Vec<u8> {
        self.connect(gateway).await.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    /// What is in the file.
    fn issued(&self) -> Vec<u8> {
        CertificateDer::from_pem_file(self.folder.join("certificate.pem")).unwrap().to_vec()
    }
}

async fn connect(gateway: &Gateway, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    timeout(PATIENCE, TlsConnector::from(config).connect(name, stream)).await.expect("a handshake in time")
}

async fn start() -> (Database, Authority) {
    let database = Database::start().await;
    database.execute(articles::TABLE).await;
    (database, Authority::new())
}

/// Reads until all of this has come.
async fn read_until(stream: &mut (impl AsyncReadExt + Unpin), wanted: &[&str]) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let so_far = String::from_utf8_lossy(&text).into_owned();
        if wanted.iter().all(|wanted| so_far.contains(wanted)) {
            return so_far;
        }
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap_or_else(|_| panic!("only {so_far:?}"));
        match read.expect("read") {
            0 => panic!("the end after {so_far:?}"),
            read => text.extend_from_slice(&buffer[..read]),
        }
    }
}

async fn metric(gateway: &Gateway, name: &str) -> Option<f64> {
    let (_, text) = gateway.get_admin("/metrics").await;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// A client whose socket is this one, upgraded.
async fn phoenix(authority: &Authority, gateway: &Gateway) -> Client<TlsStream<TcpStream>> {
    let url = format!("wss://localhost:{}/socket/websocket?vsn=2.0.0", gateway.port());
    Client::over(authority.connect(gateway).await, &url).await
}

#[tokio::test]
async fn the_official_client_connects_by_wss_and_https() {
    let (database, authority) = start().await;
    let gateway = authority.gateway(&database, "").await;
    let (socket, root) = (format!("wss://localhost:{}/socket", gateway.port()), authority.path("root.pem"));
    for (client, vsn, transport) in
        [("phoenix", "2.0.0", "websocket"), ("phoenix-1-7", "2.0.0", "websocket"), ("phoenix", "2.0.0", "longpoll")]
    {
        let variables = [
            ("WALCAST_SOCKET", socket.as_str()),
            ("NODE_EXTRA_CA_CERTS", &root),
            ("WALCAST_CLIENT", client),
            ("WALCAST_VSN", vsn),
            ("WALCAST_TRANSPORT", transport),
        ];
        articles::every_kind_of_change(&database, Script::start("feed.mjs", &variables)).await;
    }
}

#[tokio::test]
async fn https_serves_rows_and_event_streams() {
    let (database, authority) = start().await;
    let gateway = authority.gateway(&database, "").await;
    database.execute("insert into articles values (1, 'first')").await;
    for version in [&TLS12, &TLS13] {
        for protocols in [&["h2", "http/1.1"][..], &[]] {
            let mut stream = connect(&gateway, authority.client(version, protocols)).await.unwrap();
            let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(agreed, (!protocols.is_empty()).then(|| b"http/1.1".to_vec()));
            let request = "GET /topics/updates:feed HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).await.unwrap();
            read_until(&mut stream, &["200 OK", "\"title\":\"first\""]).await;
        }
    }
    // Nobody here speaks HTTP/2.
    let error = connect(&gateway, authority.client(&TLS13, &["h2"])).await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");

    let mut stream = authority.connect(&gateway).await;
    stream.write_all(b"GET /topics/updates:feed/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    read_until(&mut stream, &["text/event-stream", "id: "]).await;
    database.execute("insert into articles values (2, 'second')").await;
    read_until(&mut stream, &["event: new_updates", "\"title\":\"second\""]).await;
}

#[tokio::test]
async fn curl_is_content() {
    let (database, authority) = start().await;
    let gateway = authority.gateway(&database, "").await;
    let url = format!("https://localhost:{}/healthz", gateway.port());
    let mut command = tokio::process::Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--cacert", &authority.path("root.pem"), &url]);
    let output = timeout(PATIENCE, command.kill_on_drop(true).output()).await.expect("curl in time").expect("run curl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// More than the kernel's buffers take of what nobody reads.
const ROWS: usize = 2000;

#[tokio::test]
async fn what_a_slow_client_gets_is_whole() {
    let (database, authority) = start().await;
    let gateway = authority.gateway(&database, "").await;
    let mut client = phoenix(&authority, &gateway).await;
    client.try_join("updates:feed", json!({})).await;
    let rows = format!("insert into articles select n, 'row', repeat('x', 8000) from generate_series(1, {ROWS}) n");
    database.execute(&rows).await;
    // Nothing was read so far, and all of it has been sent or waits by now.
    eventually("what waits for the client", || async {
        metric(&gateway, "walcast_outbox_size_bytes").await.filter(|bytes| *bytes > 0.0)
    })
    .await;
    let mut ids = Vec::new();
    while ids.len() < ROWS {
        let updates = client.next_updates().await;
        ids.extend(updates["updates"].as_array().unwrap().iter().map(|update| update["record"]["id"].clone()));
    }
    assert_eq!(ids, (1..=ROWS).map(Value::from).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_nobody_is_disconnected() {
    let (database, authority) = start().await;
    let mut gateway = authority.gateway(&database, "").await;
    let mut client = phoenix(&authority, &gateway).await;
    client.try_join("updates:feed", json!({})).await;
    let first = authority.issued();
    assert_eq!(authority.shown(&gateway).await, first);
    const EXPIRY: &str = "walcast_tls_certificate_expiry_timestamp_seconds";
    assert_eq!(metric(&gateway, EXPIRY).await, Some(64_060_588_800.0));

    // Noticed by itself, once both files are there.
    authority.issue(3000);
    let second = authority.issued();
    eventually("the second certificate", || async { (authority.shown(&gateway).await == second).then_some(()) }).await;
    assert_eq!(metric(&gateway, EXPIRY).await, Some(32_503_680_000.0));

    // What can't be used is refused, and the one before stays.
    let refused = r#"walcast_tls_certificate_reloads_total{outcome="refused"}"#;
    for (count, break_it, reason) in [
        (1.0, (|it: &Authority| it.issue(2001)) as fn(&Authority), "has expired"),
        (2.0, |it| fs::write(it.folder.join("certificate.pem"), "garbage").unwrap(), "no certificate in PEM"),
        (
            3.0,
            |it| fs::copy(it.folder.join("root.pem"), it.folder.join("certificate.pem")).map(drop).unwrap(),
            "not the certificate's",
        ),
        (4.0, |it| fs::remove_file(it.folder.join("key.pem")).unwrap(), "can't be read"),
    ] {
        break_it(&authority);
        eventually("a refusal", || async { (metric(&gateway, refused).await == Some(count)).then_some(()) }).await;
        let log = gateway.log();
        assert!(
            log.lines().any(|line| line.contains("the former one stays") && line.contains(reason)),
            "{reason}: {log}"
        );
        assert_eq!(authority.shown(&gateway).await, second);
    }
    assert_eq!(metric(&gateway, EXPIRY).await, Some(32_503_680_000.0));

    // SIGHUP asks at once.
    authority.issue(3500);
    let id = gateway.process_id();
    signal(id, "HUP").await;
    let third = authority.issued();
    eventually("the third certificate", || async { (authority.shown(&gateway).await == third).then_some(()) }).await;

    // Who was there all along has noticed nothing, and is told goodbye like everyone.
    database.execute("insert into articles values (1, 'still here')").await;
    assert_eq!(client.next_updates().await["updates"][0]["record"]["title"], "still here");
    let (status, closed) = tokio::join!(gateway.terminate(), client.closed());
    assert!(status.success(), "{status}");
    assert_eq!(u16::from(closed.expect("a close frame").code), 1012);
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told_so_and_who_says_nothing_is_let_go() {
    let (database, authority) = start().await;
    let gateway = authority.gateway(&database, "[limits]\nhandshake = \"500ms\"").await;
    let open = || async { TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap() };

    let mut plain = open().await;
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let answer = read_until(&mut plain, &["400 Bad Request", "use https:// or wss://"]).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");

    // Silent, cut off in the middle of its first message, and something else altogether.
    let (silent, mut half, mut other) = (open().await, open().await, open().await);
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
    other.write_all(b"\x00\x01\x02").await.unwrap();
    // They keep nobody from being served.
    assert_eq!(authority.shown(&gateway).await, authority.issued());
    for mut stream in [plain, silent, half, other] {
        let mut rest = Vec::new();
        // A reset ends it as well.
        let _end = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server closes");
    }
    eventually("four failures", || async {
        metric(&gateway, "walcast_tls_handshakes_failed_total").await.filter(|failed| *failed == 4.0)
    })
    .await;
    // None of them is a connection any longer: there is room for others.
    timeout(Duration::from_secs(5), authority.shown(&gateway)).await.expect("served");
}
