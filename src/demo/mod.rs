//! `walcast demo`: everything on a throwaway Postgres, to see rows change live within seconds.
//!
//! Finds a server, starts a cluster of its own, loads `sql/demo.sql`, lets a writer change the rows, runs the gateway
//! in this process with `config/demo.toml` and serves a page that shows it all. Leaves nothing behind.

pub mod cluster;
pub mod examples;
pub mod pages;

mod database;
mod gateway;
mod steps;
mod writer;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};

use cluster::{Binaries, Cluster, ClusterError};
use steps::Steps;

/// The gateway's usual ports; where one is taken and none was asked for, the demo takes a free one.
const LISTEN_PORT: u16 = 4000;
const ADMIN_PORT: u16 = 4001;

/// Start everything on a throwaway Postgres with sample data
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Where clients connect [default: 127.0.0.1:4000, or a free port where that is taken]
    #[arg(long, value_name = "ADDR", value_parser = typed)]
    pub listen: Option<SocketAddr>,
    /// Where the page, health and metrics are [default: 127.0.0.1:4001, or a free port where that is taken]
    #[arg(long, value_name = "ADDR", value_parser = typed)]
    pub admin: Option<SocketAddr>,
    /// The folder into which npm has installed the example pages' client
    #[arg(long, value_name = "DIR", default_value = "examples")]
    pub packages: PathBuf,
    /// Print nothing but the page's address
    #[arg(long)]
    pub quiet: bool,
}

fn typed(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "an IP address and a port are expected, as in 127.0.0.1:4000")
}

/// Why the demo does not run, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("{action}: {source}")]
    Database { action: &'static str, source: tokio_postgres::Error },
    #[error("{action}: {source}")]
    Io { action: &'static str, source: io::Error },
    #[error("config/demo.toml is wrong, which is a bug:\n{0}")]
    Config(String),
    #[error(transparent)]
    Gateway(#[from] crate::app::AppError),
    #[error("the demo's {0} ended by a panic")]
    Panicked(&'static str),
}

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// A step does not succeed, or the writer or the gateway can't go on. The cluster is gone in any case.
pub async fn run(options: Options) -> Result<(), DemoError> {
    let mut stop = StopSignals::listen()?;
    let mut steps = Steps::new(options.quiet);
    // Not interrupted: it takes a second, and what it starts must be known in order to be removed.
    let cluster = start_cluster(&mut steps).await?;
    let outcome = run_on(&cluster, &options, &mut steps, &mut stop).await;
    steps.stopping();
    blocking("cleaning up", move || drop(cluster)).await?;
    if outcome.is_ok() {
        steps.done("stopped, and nothing left behind");
    }
    outcome
}

async fn start_cluster(steps: &mut Steps) -> Result<Cluster, DemoError> {
    let (binaries, version) = blocking("search for Postgres", || {
        let binaries = Binaries::find()?;
        let version = binaries.version()?;
        Ok::<_, ClusterError>((binaries, version))
    })
    .await??;
    steps.done(&format!("found Postgres {version} in {}", binaries.directory.display()));
    let cluster = blocking("cluster", move || Cluster::start(binaries, &[])).await??;
    steps.done(&format!("started a throwaway cluster on port {}", cluster.port()));
    Ok(cluster)
}

async fn run_on(
    cluster: &Cluster,
    options: &Options,
    steps: &mut Steps,
    stop: &mut StopSignals,
) -> Result<(), DemoError> {
    let url = cluster.url();
    database::load_sample_data(&url).await?;
    steps.done("loaded sql/demo.sql: orders, a scoreboard, articles");
    database::set_up_replication(&url).await?;
    steps.done("created the publication and the replication slot");

    let listen = address(options.listen, LISTEN_PORT)?;
    let admin = address(options.admin, ADMIN_PORT)?;
    let pages = pages::router(pages::State::connect(listen.port(), &url).await?);
    let pages = pages.merge(examples::router(&options.packages));
    let config = gateway::config(&url, listen, admin)?;
    let mut gateway = tokio::select! {
        biased;
        () = stop.received() => return Ok(()),
        gateway = gateway::start(&config, pages) => gateway?,
    };
    steps.done(&format!("the gateway listens on ws://{listen}/socket"));
    let mut writer = tokio::spawn(writer::run(url.clone(), fastrand::u64(..)));
    steps.done("a writer changes rows, a few times a second");
    steps.open(admin, &url);

    let outcome = tokio::select! {
        biased;
        () = stop.received() => Ok(()),
        error = gateway.failed() => Err(error.into()),
        ended = &mut writer => ended.unwrap_or(Err(DemoError::Panicked("writer"))),
    };
    writer.abort();
    outcome.and(gateway.stop().await.map_err(DemoError::from))
}

/// What was asked for, else the usual port, else a free one.
fn address(wanted: Option<SocketAddr>, usual_port: u16) -> Result<SocketAddr, DemoError> {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, usual_port));
    let address = wanted.unwrap_or(usual);
    if wanted.is_some_and(|address| address.port() != 0) {
        return Ok(address);
    }
    // The page must know the port before the gateway has bound it, so that it is chosen here.
    TcpListener::bind(address)
        .or_else(|_taken| TcpListener::bind(SocketAddr::new(address.ip(), 0)))
        .and_then(|listener| listener.local_addr())
        .map_err(|source| DemoError::Io { action: "find a free port", source })
}

async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DemoError> {
    tokio::task::spawn_blocking(work).await.map_err(|_panic| DemoError::Panicked(what))
}

/// Ctrl-C, SIGTERM, and the terminal going away: listened to from the start, because a signal's default would
/// end the process with the cluster still running.
struct StopSignals {
    signals: [Signal; 3],
}

impl StopSignals {
    fn listen() -> Result<Self, DemoError> {
        let listen = |kind| signal(kind).map_err(|source| DemoError::Io { action: "listen for signals", source });
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(listen);
        Ok(Self { signals: [interrupt?, terminate?, hangup?] })
    }

    async fn received(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_was_asked_for_is_never_replaced() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(address(Some(taken), 1).unwrap(), taken);
    }

    #[test]
    fn the_usual_port_gives_way_where_it_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap();
        let chosen = address(None, taken.port()).unwrap();
        assert_eq!(chosen.ip(), taken.ip());
        assert_ne!(chosen.port(), taken.port());
        drop(listener);
        assert_eq!(address(None, taken.port()).unwrap(), taken);
    }
}
