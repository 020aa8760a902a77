//! Unix sockets: clients and operators by them, their files, and several addresses at once.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::phoenix::Client;
use crate::support::{ScratchFolder, eventually, free_port};

const ROUTES: &str = "[[route]]\ntable = \"public.articles\"\ntopic = \"updates:feed\"\n";

async fn database() -> Database {
    let database = Database::start().await;
    database.execute("create table articles (id int primary key, title text not null)").await;
    database
}

/// Clients by TCP and by `public.sock` in the folder, operators by TCP and by `admin.sock` there.
fn configure(database: &Database, folder: &ScratchFolder, more: &str) -> Gateway {
    let gateway = Gateway::configure(&database.url(), ROUTES);
    let socket = |name: &str| format!("\"unix:{}\"", folder.join(name).display());
    gateway.edit_config(|config| {
        let (listen, admin) =
            (format!("\"127.0.0.1:{}\"", gateway.port()), format!("\"127.0.0.1:{}\"", gateway.admin_port()));
        config
            .replace(&listen, &format!("[{listen}, {}]", socket("public.sock")))
            .replace(&admin, &format!("[{}, {admin}]", socket("admin.sock")))
            .replace("[server]\n", &format!("[server]\n{more}\n"))
    });
    gateway
}

async fn start(gateway: &mut Gateway) {
    let setup = gateway.walcast("setup").await;
    assert!(setup.status.success(), "{}{}", setup.stdout, setup.stderr);
    gateway.spawn();
    gateway.wait_until_ready().await;
}

async fn get(socket: &Path, target: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket).await.ok()?;
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

fn mode(socket: &Path) -> u32 {
    let metadata = fs::symlink_metadata(socket).unwrap();
    assert!(metadata.file_type().is_socket());
    metadata.permissions().mode() & 0o777
}

#[tokio::test]
async fn clients_and_operators_come_by_unix_sockets_and_tcp_alike() {
    let (database, folder) = (database().await, ScratchFolder::new());
    let mut gateway = configure(&database, &folder, "socket_mode = \"0602\"");
    start(&mut gateway).await;
    let (public, admin) = (folder.join("public.sock"), folder.join("admin.sock"));
    assert_eq!((mode(&public), mode(&admin)), (0o602, 0o602));

    let stream = UnixStream::connect(&public).await.unwrap();
    let mut by_socket = Client::over(stream, "ws://localhost/socket/websocket?vsn=2.0.0").await;
    assert_eq!(by_socket.try_join("updates:feed", json!({})).await["status"], "ok");
    let mut by_tcp = Client::joined(&gateway, "updates:feed").await;
    database.execute("insert into articles values (1, 'first')").await;
    assert_eq!(by_socket.next_updates().await, by_tcp.next_updates().await);
    // More than a socket's buffer takes.
    database.execute("insert into articles select n, repeat('x', 1000) from generate_series(2, 1001) n").await;
    for _part in 0..2 {
        assert_eq!(by_socket.next_updates().await, by_tcp.next_updates().await);
    }

    let metrics = get(&admin, "/metrics").await.unwrap();
    assert!(metrics.starts_with("HTTP/1.1 200 ") && metrics.contains("walcast_connections{transport=\"websocket\"}"));
    // Operators' pages are not for clients.
    assert!(get(&public, "/metrics").await.unwrap().starts_with("HTTP/1.1 404 "));
    assert!(get(&public, "/healthz").await.unwrap().starts_with("HTTP/1.1 200 "));

    let status = gateway.terminate().await;
    assert!(status.success(), "{status}\n{}", gateway.log());
    assert!(!public.exists() && !admin.exists(), "the files are gone with their process");
}

#[tokio::test]
async fn what_a_killed_gateway_left_is_taken_over_and_a_running_one_is_not_disturbed() {
    let (database, folder) = (database().await, ScratchFolder::new());
    let mut gateway = configure(&database, &folder, "");
    start(&mut gateway).await;
    let public = folder.join("public.sock");
    assert_eq!(mode(&public), 0o660);

    // Another one on ports of its own, by the same sockets.
    let second = configure(&database, &folder, "");
    let refused = second.walcast("run").await;
    assert!(!refused.status.success());
    let address = format!("listen on unix:{}: a running process listens there", public.display());
    assert!(refused.stderr.contains(&address) && refused.stderr.contains("help: "), "{}", refused.stderr);
    assert!(get(&public, "/healthz").await.unwrap().starts_with("HTTP/1.1 200 "), "the first one is served still");

    gateway.kill().await;
    assert!(public.exists(), "nobody was left to remove it");
    gateway.spawn();
    gateway.wait_until_ready().await;
    eventually("the new one's answer", || get(&public, "/healthz")).await;

    // Whatever else has that name is nobody's to remove.
    let status = gateway.terminate().await;
    assert!(status.success(), "{status}");
    fs::write(&public, "important").unwrap();
    let refused = gateway.walcast("run").await;
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("a file that is no socket has this name"), "{}", refused.stderr);
    assert_eq!(fs::read(&public).unwrap(), b"important");
}

#[tokio::test]
async fn one_address_takes_ipv6_and_ipv4() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // a machine without IPv6 has no such address
    }
    let database = database().await;
    let mut gateway = Gateway::configure(&database.url(), ROUTES);
    let port = free_port();
    gateway.edit_config(|config| {
        let listen = format!("\"127.0.0.1:{}\"", gateway.port());
        config.replace(&listen, &format!("[{listen}, \"[::]:{port}\"]"))
    });
    start(&mut gateway).await;
    for address in ["127.0.0.1", "::1"] {
        let mut stream = TcpStream::connect((address, port)).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{address}: {answer}");
    }
}
