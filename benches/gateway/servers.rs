//! What is compared: the gateway by rows and by posts, the baseline in its two forms, and what else is installed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::bed::Bed;
use crate::ideal;
use crate::load::client::Door;
use crate::load::publisher::{Posting, Publisher};
use crate::place::Place;
use crate::support::{ScratchFolder, eventually, free_port};

/// In the order of the table's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ideal,
    Batch,
    /// Committed rows.
    Rows,
    /// Events that an app posts.
    Events,
    Nchan,
    Ws,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [Self::Ideal, Self::Batch, Self::Rows, Self::Events, Self::Nchan, Self::Ws];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ideal => "ideal",
            Self::Batch => "ideal batch",
            Self::Rows => "walcast",
            Self::Events => "walcast, posts",
            Self::Nchan => "nchan",
            Self::Ws => "ws",
        }
    }

    /// Whether one publication can go to many topics.
    pub(crate) const fn spreads(self) -> bool {
        matches!(self, Self::Ideal | Self::Batch | Self::Rows)
    }
}

/// Where the peers are, where they are.
#[derive(Debug)]
pub(crate) struct Peers {
    nchan: Option<PathBuf>,
    ws: Option<PathBuf>,
}

impl Peers {
    /// nchan as Debian has it, and `ws` in `target/peers`, put there by `scripts/ensure-peers`.
    pub(crate) fn find(repository: &Path) -> Self {
        let modules = ["/usr/lib/nginx/modules", "/usr/share/nginx/modules"].map(PathBuf::from);
        let nchan = modules.map(|folder| folder.join("ngx_nchan_module.so")).into_iter().find(|file| file.exists());
        let ws = repository.join("target/peers");
        Self { nchan, ws: ws.join("node_modules/ws/package.json").exists().then_some(ws) }
    }

    pub(crate) const fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::Nchan => self.nchan.is_some(),
            Kind::Ws => self.ws.is_some(),
            _ => true,
        }
    }

    pub(crate) fn missing(&self) -> String {
        let missing = [Kind::Nchan, Kind::Ws].into_iter().filter(|kind| !self.has(*kind)).map(Kind::name);
        missing.collect::<Vec<_>>().join(", ")
    }
}

/// A running server. Dropped, it ends.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) process: u32,
    pub(crate) door: Door,
    kind: Kind,
    parts: Parts,
}

enum Parts {
    Gateway(Box<Bed>),
    Program { _child: Box<Child>, _folder: ScratchFolder },
}

impl Server {
    pub(crate) async fn start(kind: Kind, place: Place, peers: &Peers) -> Self {
        let (door, port) = (if matches!(kind, Kind::Nchan | Kind::Ws) { Door::Path } else { Door::Join }, free_port());
        if matches!(kind, Kind::Rows | Kind::Events) {
            let mut bed = Bed::start(place).await;
            let (port, process) = (bed.gateway.port(), bed.gateway.process_id());
            return Self { port, process, door, kind, parts: Parts::Gateway(Box::new(bed)) };
        }
        let folder = ScratchFolder::new();
        let command = command_line(kind, port, peers, &folder);
        let words: Vec<String> = place.of_server().iter().map(ToString::to_string).chain(command).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().unwrap_or_else(|error| panic!("{words:?}: {error}"));
        eventually(kind.name(), || async move { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok() }).await;
        let process = child.id().expect("a running server");
        Self { port, process, door, kind, parts: Parts::Program { _child: Box::new(child), _folder: folder } }
    }

    /// The pattern of the topics that so many are published to: `{i}` is a number.
    pub(crate) const fn topic(&self, topics: u64) -> &'static str {
        match self.kind {
            Kind::Rows if topics == 1 => "updates:feed",
            Kind::Events => "said:all",
            _ if topics == 1 => "all",
            _ => "spread:{i}",
        }
    }

    pub(crate) async fn publisher(&self, topics: u64) -> Publisher {
        let posting = match &self.parts {
            Parts::Gateway(bed) if self.kind == Kind::Rows => {
                let table = if topics == 1 { "feed" } else { "spread" };
                return Publisher::rows(bed.database.connect().await, table, topics).await;
            }
            Parts::Gateway(_) => Posting::Event,
            Parts::Program { .. } if self.door == Door::Path => Posting::Text,
            Parts::Program { .. } => Posting::Payload,
        };
        Publisher::posts(self.port, posting, self.topic(topics), topics).await
    }
}

fn command_line(kind: Kind, port: u16, peers: &Peers, folder: &ScratchFolder) -> Vec<String> {
    let own = || env::current_exe().expect("this program").to_string_lossy().into_owned();
    let words: &[String] = match kind {
        Kind::Nchan => {
            let module = peers.nchan.as_deref().expect("nchan is installed");
            let file = folder.join("nginx.conf");
            fs::write(&file, nginx_config(module, port, folder)).expect("write nginx' configuration");
            let (root, file) = (folder.join("").to_string_lossy().into_owned(), file.to_string_lossy().into_owned());
            &["nginx".to_owned(), "-p".to_owned(), root, "-c".to_owned(), file]
        }
        Kind::Ws => {
            let script = folder.join("ws.mjs");
            fs::write(&script, include_str!("ws.mjs")).expect("write the script");
            let root = peers.ws.as_deref().expect("ws is installed").to_string_lossy().into_owned();
            &["node".to_owned(), script.to_string_lossy().into_owned(), root, port.to_string()]
        }
        Kind::Batch => &[own(), ideal::ARGUMENT.to_owned(), port.to_string(), ideal::BATCH.to_owned()],
        _ => &[own(), ideal::ARGUMENT.to_owned(), port.to_string()],
    };
    words.to_vec()
}

/// One process, nothing written to disk, and room for as many connections as are measured.
fn nginx_config(module: &Path, port: u16, folder: &ScratchFolder) -> String {
    let (module, root) = (module.display(), folder.join(""));
    let root = root.display();
    format!(
        "load_module {module};\ndaemon off;\nmaster_process off;\npid {root}pid;\nerror_log /dev/null crit;\n\
         worker_rlimit_nofile 20000;\nevents {{ worker_connections 16000; }}\n\
         http {{ access_log off; keepalive_requests 100000000; nchan_shared_memory_size 256M;\n\
         client_body_temp_path {root}body; proxy_temp_path {root}proxy; fastcgi_temp_path {root}fastcgi;\n\
         uwsgi_temp_path {root}uwsgi; scgi_temp_path {root}scgi;\n\
         server {{ listen 127.0.0.1:{port};\n\
         location ~ ^/sub/(.+)$ {{ nchan_subscriber websocket; nchan_channel_id $1; }}\n\
         location ~ ^/pub/(.+)$ {{ nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 64; }}\n}} }}\n"
    )
}
