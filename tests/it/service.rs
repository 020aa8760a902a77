//! What systemd is told, by a socket in its place.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use walcast::demo::cluster::StopMode;

use crate::support::PATIENCE;
use crate::support::ScratchFolder;
use crate::support::database::Database;
use crate::support::gateway::{Gateway, signal};

const ROUTE: &str = "[[route]]\ntable = \"public.articles\"\ntopic = \"feed\"\n";
/// As a unit with `WatchdogSec=6` has it, in microseconds.
const WATCHDOG: &str = "6000000";

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    folder: ScratchFolder,
}

impl Manager {
    fn listen() -> Self {
        let folder = ScratchFolder::new();
        let socket = UnixDatagram::bind(folder.join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        Self { socket, folder }
    }

    fn variables(&self) -> [(&'static str, String); 2] {
        let path = self.folder.join("notify");
        [("NOTIFY_SOCKET", path.to_str().expect("a path of ours").to_owned()), ("WATCHDOG_USEC", WATCHDOG.to_owned())]
    }

    /// The lines of the next message that is about something else than the watchdog.
    fn told(&self) -> Vec<String> {
        loop {
            let message = self.message();
            if message != ["WATCHDOG=1"] {
                return message;
            }
        }
    }

    fn message(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = loop {
            match self.socket.recv(&mut buffer) {
                // By a signal that is none of its business, of which a test that starts processes has many.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.expect("a message in time"),
            }
        };
        String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
    }

    /// Up to a message with this line; what came before.
    fn until(&self, line: &str) -> Vec<Vec<String>> {
        let mut before = Vec::new();
        loop {
            let message = self.told();
            if message.iter().any(|told| told == line) {
                return before;
            }
            assert!(before.len() < 100, "{line} does not come: {before:?}");
            before.push(message);
        }
    }
}

async fn database() -> Database {
    let database = Database::start().await;
    database.execute("create table articles (id int primary key)").await;
    database
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_manager_is_told_of_every_state() {
    let database = database().await;
    let manager = Manager::listen();
    let variables = manager.variables();
    let mut gateway = Gateway::configure(&database.url(), ROUTE);
    assert!(gateway.walcast("setup").await.status.success());
    // Somebody else has the slot: the start takes as long as that.
    let first = Gateway::start(&database.url(), ROUTE).await;
    gateway.spawn_with(&variables.each_ref().map(|(name, value)| (*name, &**value)));
    let waiting = manager.told();
    let says = |message: &[String], text: &str| message[0].starts_with("STATUS=") && message[0].contains(text);
    if !says(&waiting, "is in use by process") {
        assert!(says(&waiting, "connecting to the database"), "{waiting:?}");
        let waiting = manager.told();
        assert!(says(&waiting, "is in use by process"), "{waiting:?}");
    }
    drop(first);
    let before = manager.until("READY=1");
    assert!(before.iter().all(|message| message[0].starts_with("STATUS=")), "{before:?}");
    assert_eq!(gateway.readyz().await, Some(200), "ready is ready");
    assert_eq!(manager.told(), ["STATUS=serving clients"]);

    // A reload that changes nothing, one that is applied, one that is refused: each ends.
    let text = std::fs::read_to_string(gateway.config_file()).unwrap();
    for (config, log) in [
        (text.clone(), "the configuration is as it was"),
        (text.replace("\"feed\"", "\"news\""), "the configuration was reloaded"),
        (text.replace("[[route]]", "[[rout]]"), "the configuration was not reloaded"),
    ] {
        gateway.write_config(&config);
        signal(gateway.process_id(), "HUP").await;
        let message = manager.told();
        assert_eq!(message[0], "RELOADING=1", "{message:?}");
        let shown: u128 = message[1].strip_prefix("MONOTONIC_USEC=").expect("the time").parse().unwrap();
        assert!(shown > 0);
        assert_eq!(manager.told(), ["READY=1"]);
        assert!(gateway.log().contains(log), "{log}: {}", gateway.log());
    }

    // Signs of life come well within half of what the watchdog allows.
    manager.socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for _ in 0..3 {
        assert_eq!(manager.message(), ["WATCHDOG=1"]);
    }
    let process = gateway.process_id();
    signal(process, "TERM").await;
    assert_eq!(manager.told(), ["STOPPING=1", "STATUS=stopping"]);
    assert!(gateway.wait().await.success());
}

#[tokio::test]
async fn the_service_manager_is_told_of_a_database_that_is_waited_for() {
    let mut database = database().await;
    let manager = Manager::listen();
    let variables = manager.variables();
    let mut gateway = Gateway::configure(&database.url(), ROUTE);
    assert!(gateway.walcast("setup").await.status.success());
    database.stop(StopMode::Fast);
    gateway.spawn_with(&variables.each_ref().map(|(name, value)| (*name, &**value)));
    assert_eq!(manager.told(), ["STATUS=waiting for the database"]);
    database.resume().await;
    manager.until("READY=1");
}

#[tokio::test]
async fn a_service_manager_that_is_not_there_is_no_reason_to_stop() {
    let database = database().await;
    let mut gateway = Gateway::configure(&database.url(), ROUTE);
    assert!(gateway.walcast("setup").await.status.success());
    gateway.spawn_with(&[("NOTIFY_SOCKET", "/nowhere/notify")]);
    gateway.wait_until_ready().await;
    crate::support::eventually("a warning", async || {
        gateway.log().contains("NOTIFY_SOCKET can't be told").then_some(())
    })
    .await;
    assert!(gateway.terminate().await.success());
}

/// Every line of the unit file is one that systemd knows, where there is one to ask.
#[test]
fn the_unit_file_is_valid() {
    let unit = std::fs::read_to_string(crate::support::repository().join("packaging/systemd/walcast.service")).unwrap();
    for line in ["Type=notify-reload", "DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict"] {
        assert!(unit.lines().any(|there| there == line), "{line}");
    }
    let folder = ScratchFolder::new();
    let path = folder.join("walcast.service");
    // The program is not installed here; the type is newer than some systemds.
    let unit = unit.replace("/usr/local/bin/walcast", "/bin/true").replace("Type=notify-reload", "Type=notify");
    std::fs::write(&path, unit).unwrap();
    let Ok(verified) = std::process::Command::new("systemd-analyze").arg("verify").arg(&path).output() else {
        return println!("no systemd-analyze here: the unit file was only read");
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("walcast.service:"), "{said}");
}
