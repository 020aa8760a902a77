//! The process: configuration → parts → tasks → an orderly end.

mod certificates;
mod feed_thread;
mod filters;
mod listeners;
mod question;
mod reload;
mod reporting;
mod service;

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

pub use self::reload::Origin;
use self::reload::Reload;
use crate::auth::{Gate, Refresher};
use crate::change::Acknowledgement;
use crate::config::{Address, Auth, Config};
use crate::hub::task::HubTask;
use crate::hub::{self, Channels, Configured, Hub, HubLimits, LogLimits, ShardId};
use crate::replication::source::{self, SourceError, SourceSettings};
use crate::replication::transaction::PartLimits;
use crate::routing::{TooManyRoutes, WritableRoute};
use crate::shutdown::{self, Shutdown, Trigger};
use crate::snapshot::{self, task::PartSize};
use crate::sync::{self, WriteLimits};
use crate::telemetry::health::{self, Health};
use crate::telemetry::inspector::RouteLine;
use crate::telemetry::metrics::{Gauges, Reloads};
use crate::tls::FilesError;
use crate::transport::{
    ChannelLimits, Control, Count, Doors, Limits, Pace, Peers, Routers, ShardChannels, ShardStatistics, ShardThread,
    explaining,
};

use feed_thread::{FeedThread, Tenants};
use listeners::{Accepting, Listeners};
use reporting::{Elsewhere, Reporting};
use service::{Service, Watch};

/// Batches of feed events between replication and the hub. Each is what one read of the socket brought: a few give
/// both something to do, more would only hold memory while the hub is slow.
const FEED_QUEUE: usize = 8;
/// Commands of all shards that wait for the hub; a shard that finds no room stops reading from its clients.
const COMMAND_QUEUE: usize = 1024;
/// Orders for snapshots that wait, and parts of them that do: both are taken at once, and how many parts there may be
/// is a matter between them.
const SNAPSHOT_QUEUE: usize = 64;
/// Answers to writes that wait for a shard.
const WRITTEN_QUEUE: usize = 64;
/// Batches that wait for a shard; the hub waits when there is no room, and replication with it.
const SHARD_QUEUE: usize = 256;
/// Sockets that wait for a shard.
const CONTROL_QUEUE: usize = 256;
/// About how much payload one read of the log gives: under a millisecond of encoding, and a quarter of an outbox.
const READ_BYTES: usize = 256 * 1024;
/// Connections that a shard closes at a time when stopping: clients reconnect within milliseconds, all of a batch
/// at once.
const DRAIN_BATCH: usize = 1000;
/// From one batch to the next.
const DRAIN_INTERVAL: Duration = Duration::from_millis(250);
/// How long an orderly end may take; then the process ends as it is.
const GRACE: Duration = Duration::from_secs(30);

/// Why the process ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("listen on {address}: {source}")]
    Bind { address: Address, source: io::Error },
    #[error("encrypt what clients send and get: {0}")]
    Certificate(FilesError),
    #[error("start a thread: {0}")]
    Thread(io::Error),
    #[error("listen for signals: {0}")]
    Signals(io::Error),
    #[error("set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Routes(#[from] TooManyRoutes),
    #[error(transparent)]
    Replication(#[from] SourceError),
    #[error("{0} ended by itself, which is a bug")]
    Ended(&'static str),
    #[error("the orderly end took more than {} s", GRACE.as_secs())]
    Grace,
    #[error("a second signal came before the orderly end")]
    Impatient,
}

impl AppError {
    /// What to do about it; none where the message says all.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        let Self::Bind { address, source } = self else { return None };
        let is_socket = matches!(address, Address::Unix(_));
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                Some("another program listens there: end it, or change `listen` or `admin` in [server]")
            }
            io::ErrorKind::AlreadyExists if is_socket => {
                Some("remove that file, or change `listen` or `admin` in [server]")
            }
            io::ErrorKind::NotFound if is_socket => {
                Some("make the socket's folder, and let the user that runs walcast write to it")
            }
            io::ErrorKind::PermissionDenied if is_socket => {
                Some("let the user that runs walcast write to the socket's folder")
            }
            io::ErrorKind::PermissionDenied => Some(
                "ports below 1024 need the capability CAP_NET_BIND_SERVICE: change `listen` or `admin` in [server]",
            ),
            io::ErrorKind::AddrNotAvailable => Some(
                "this machine has no such address: 0.0.0.0 in `listen` or `admin` of [server] stands for all it has",
            ),
            _ => None,
        }
    }
}

/// Before [`run`], for whoever looks at the service meanwhile.
pub fn say_that_the_database_is_waited_for() {
    Service::default().waits_for_the_database();
}

/// Runs the gateway until SIGTERM or Ctrl-C, then ends it in order. Whenever `origin`, from which `config` was read,
/// changes or SIGHUP asks for it, the routes and channels are read again.
///
/// # Errors
/// It can't start, a part of it fails for good, or its end takes too long.
pub async fn run(config: &Config, origin: Origin) -> Result<(), AppError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(AppError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AppError::Signals)?;
    let mut app = App::start(config, Router::new())?;
    let service = Service::default();
    let mut watching = pin!(Watch::new(service.clone(), app.health.clone(), app.gauges.clone()).run());
    let mut reload =
        Reload::new(origin, config, Arc::clone(&app.reloads), service.clone()).map_err(AppError::Signals)?;
    loop {
        tokio::select! {
            error = app.failed() => return Err(error),
            changed = reload.next() => {
                app.reload(&changed)?;
                service.reloaded();
            }
            never = &mut watching => match never {},
            _ = terminate.recv() => break tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => break tracing::info!("Ctrl-C: stopping"),
        }
    }
    service.stopping();
    tokio::select! {
        ended = timeout(GRACE, app.stop()) => ended.unwrap_or(Err(AppError::Grace)),
        _ = terminate.recv() => Err(AppError::Impatient),
        _ = interrupt.recv() => Err(AppError::Impatient),
    }
}

/// The running gateway.
pub struct App {
    /// Where clients and operators connect, with the ports that the system chose.
    pub public: Vec<Address>,
    pub admin: Vec<Address>,
    trigger: Trigger,
    /// To the hub and to those who write: what the configuration has now.
    configured: watch::Sender<Configured>,
    writable: watch::Sender<Arc<[WritableRoute]>>,
    /// To operators.
    shown: watch::Sender<Arc<[RouteLine]>>,
    current: watch::Sender<Arc<Config>>,
    source: JoinHandle<Result<(), SourceError>>,
    hub: JoinHandle<()>,
    snapshots: JoinHandle<()>,
    sync: JoinHandle<()>,
    accepting: Accepting,
    /// Keeps published keys for tokens current, where there are such.
    refreshing: Option<JoinHandle<()>>,
    /// Keeps the certificate current, where there is one.
    certifying: Option<JoinHandle<()>>,
    shards: Vec<Shard>,
    /// Where it is counted how often the configuration was read again.
    pub reloads: Arc<Reloads>,
    /// How everything is doing.
    pub health: Health,
    pub gauges: Gauges,
}

struct Shard {
    thread: ShardThread,
    control: mpsc::Sender<Control>,
}

/// The channels to the shards, by shard.
#[derive(Default)]
struct ToShards {
    published: Vec<mpsc::Sender<Vec<hub::ToShard>>>,
    written: Vec<mpsc::Sender<sync::Answer>>,
}

/// The channels that all shards send by.
struct FromShards {
    commands: mpsc::Sender<hub::Command>,
    writes: mpsc::Sender<sync::Queued>,
}

impl App {
    /// Binds, builds and spawns everything. `pages` are served on the admin listener, beside its own.
    ///
    /// # Errors
    /// An address can't be bound, or the system gives no thread. Nothing is left running then.
    pub fn start(config: &Config, pages: Router) -> Result<Self, AppError> {
        let (trigger, shutdown) = shutdown::channel();
        let (acknowledged, acknowledgeable) = watch::channel(Acknowledgement::default());
        let (caught_up_sender, caught_up) = watch::channel(false);
        let (feed_sender, feed) = mpsc::channel(FEED_QUEUE);
        let (command_sender, commands) = mpsc::channel(COMMAND_QUEUE);

        let Listeners { listeners, public, admin, certificates } = Listeners::bind(&config.server)?;

        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (gate, refresher) = gate(config)?;
        let elsewhere = Elsewhere::new(caught_up, shutdown.clone(), certificates.as_ref(), &gate);
        let (reporting, own) = Reporting::new(config, cores, &elsewhere);
        let (health, gauges) = (reporting.health.clone(), reporting.gauges(&elsewhere));
        let Reporting { source: reports, hub: hub_statistics, inspections, shards: statistics, .. } = reporting;
        let (meter, count) = (reporting.snapshots, reporting.count);
        let (routers, current) = routers(config, gate, own.merge(pages));
        let (write_sender, writes) = mpsc::channel(config.limits.write_queue as usize);
        let from_shards = FromShards { commands: command_sender, writes: write_sender };
        let (shards, ToShards { published: to_shards, written }, feed_thread) =
            spawn_threads(&limits(config), &routers, from_shards, &count, statistics)?;
        let (writable, writable_now) = watch::channel(config.writable_routes().into());
        let sync = tokio::spawn(sync::task::run(sync_settings(config, writable_now), writes, written));

        let (configured, configured_now) = watch::channel(configured(config)?);
        let routes = Arc::clone(&configured.borrow().routes);
        let (snapshots, snapshot_commands, snapshot_events) = read_snapshots(config, meter);
        let task = HubTask {
            hub: Hub::new(routes, shards.len(), hub_limits(config)).with_channels(channels(config)),
            configured: configured_now,
            holes_said: HashMap::new(),
            feed,
            commands,
            snapshots: snapshot_events,
            snapshot_commands,
            shards: to_shards,
            acknowledged,
            caught_up: caught_up_sender,
            statistics: hub_statistics,
            inspections,
        };
        let hub = feed_thread.spawn(task.run());
        let (settings, stop) = (source_settings(config), stop_requested(shutdown));
        let source = feed_thread.spawn(source::run(settings, feed_sender, acknowledgeable, reports, stop));
        let accepting = listeners::accept(listeners, &shards, &count, limits(config).connections);
        let refreshing = refresher.map(|refresher| tokio::spawn(refresher.run()));
        let certifying = certificates.map(|certificates| tokio::spawn(certificates.watch()));
        listeners::say(&public, &admin, shards.len());
        Ok(Self {
            public,
            admin,
            trigger,
            configured,
            writable,
            shown: reporting.routes,
            current,
            source,
            hub,
            snapshots,
            sync,
            accepting,
            refreshing,
            certifying,
            shards,
            reloads: reporting.reloads,
            health,
            gauges,
        })
    }

    /// Replaces the routes and channels; clients whose topics stay as they were notice nothing.
    ///
    /// # Errors
    /// There are more routes than a table can hold.
    pub fn reload(&self, config: &Config) -> Result<(), AppError> {
        let configured = configured(config)?;
        let (routes, channels) = (config.routes.len(), config.channels.len());
        self.writable.send_replace(config.writable_routes().into());
        self.configured.send_replace(configured);
        self.shown.send_replace(reporting::route_lines(config));
        self.current.send_replace(Arc::new(config.clone()));
        self.reloads.applied();
        tracing::info!(routes, channels, "the configuration was reloaded");
        Ok(())
    }

    /// Returns once clients are served what they expect.
    ///
    /// # Errors
    /// Some part has failed for good before.
    pub async fn ready(&mut self) -> Result<(), AppError> {
        let mut caught_up = self.health.caught_up.clone();
        tokio::select! {
            _ = caught_up.wait_for(|caught_up| *caught_up) => Ok(()),
            error = self.failed() => Err(error),
        }
    }

    /// Returns when a part has failed for good: without it the gateway would only seem to work.
    pub async fn failed(&mut self) -> AppError {
        let mut watch_shards = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                ended = &mut self.source => return match ended {
                    Ok(Err(error)) => AppError::Replication(error),
                    Ok(Ok(())) | Err(_) => AppError::Ended("replication"),
                },
                _ = &mut self.hub => return AppError::Ended("the hub"),
                _ = &mut self.snapshots => return AppError::Ended("the task that takes snapshots"),
                _ = &mut self.sync => return AppError::Ended("the task that writes"),
                _ = watch_shards.tick() => if self.shards.iter().any(|shard| shard.thread.is_finished()) {
                    return AppError::Ended("a shard");
                } else if self.refreshing.as_ref().is_some_and(JoinHandle::is_finished) {
                    return AppError::Ended("the task that keeps keys for tokens current");
                },
            }
        }
    }

    /// The orderly end, in this order: not ready; accept no more clients; stop reading WAL at a transaction's end and
    /// acknowledge what is handled; close clients in batches with 1012; accept no more operators, who could see how it
    /// goes until here; end the shards, and the hub with them; finish the writes that are under way.
    ///
    /// # Errors
    /// Replication did not end well; everything else has ended all the same.
    pub async fn stop(self) -> Result<(), AppError> {
        let began = Instant::now();
        self.trigger.request();
        self.accepting.public.iter().for_each(JoinHandle::abort);
        let replication = match self.source.await {
            Ok(result) => result.map_err(AppError::Replication),
            Err(_) => Err(AppError::Ended("replication")),
        };
        tracing::info!("replication stopped, and what was handled is acknowledged");
        drain(&self.shards).await;
        self.accepting.admin.iter().for_each(JoinHandle::abort);
        self.refreshing.iter().chain(&self.certifying).for_each(JoinHandle::abort);
        let threads: Vec<ShardThread> = self.shards.into_iter().map(|shard| shard.thread).collect();
        let joined = tokio::task::spawn_blocking(|| threads.into_iter().all(ShardThread::join)).await;
        let written = self.sync.await;
        if !joined.unwrap_or(false) || self.hub.await.is_err() || self.snapshots.await.is_err() || written.is_err() {
            return Err(AppError::Ended("the hub, a shard, or the task that takes snapshots or that writes"));
        }
        tracing::info!(elapsed = ?began.elapsed(), "stopped in order");
        replication
    }
}

async fn stop_requested(mut shutdown: Shutdown) {
    shutdown.requested().await;
}

/// Who is let in, and what keeps its keys current.
fn gate(config: &Config) -> Result<(Gate, Option<Refresher>), AppError> {
    let tokens = match &config.auth {
        Auth::None => None,
        Auth::Jwt(tokens) => Some(tokens.clone()),
    };
    Ok(Gate::new(tokens, config.server.origins.clone())?)
}

/// What is served beside the WebSocket, and where the configuration goes that operators ask about.
fn routers(config: &Config, gate: Gate, admin: Router) -> (Routers, watch::Sender<Arc<Config>>) {
    let current = watch::Sender::new(Arc::new(config.clone()));
    let admin = admin.merge(question::router(current.subscribe())).merge(filters::router(current.subscribe()));
    let posts = Pace::new(config.limits.posts_per_second);
    let (public, admin) = (explaining(health::liveness()), explaining(admin));
    (Routers { gate, doors: doors(config), public, admin, posts }, current)
}

/// Those who read snapshots' rows, how they are asked, and what they say.
fn read_snapshots(
    config: &Config,
    meter: Arc<snapshot::Meter>,
) -> (JoinHandle<()>, mpsc::Sender<hub::SnapshotCommand>, mpsc::Receiver<hub::SnapshotEvent>) {
    let (commands, orders) = mpsc::channel(SNAPSHOT_QUEUE);
    let (sender, events) = mpsc::channel(SNAPSHOT_QUEUE);
    let reading = snapshot::task::run(snapshot_settings(config), orders, sender, meter);
    (tokio::spawn(reading), commands, events)
}

/// By which names they may be addressed.
fn doors(config: &Config) -> Doors {
    let listed = config.server.hosts.clone().map(Arc::new);
    Doors { admin: listed.clone().unwrap_or_default(), public: listed }
}

fn source_settings(config: &Config) -> SourceSettings {
    let postgres = &config.postgres;
    let part_limits =
        PartLimits { changes: config.limits.part_changes as usize, bytes: bytes(config.limits.part_bytes) };
    SourceSettings {
        part_limits,
        wal_budget: config.replay.wal,
        failover: postgres.failover,
        ..SourceSettings::new(postgres.connection.clone(), postgres.slot.as_str(), postgres.publication.as_str())
    }
}

fn snapshot_settings(config: &Config) -> snapshot::task::Settings {
    let limits = &config.limits;
    snapshot::task::Settings {
        connection: config.postgres.connection.clone(),
        publication: config.postgres.publication.as_str().to_owned(),
        concurrent: limits.snapshots as usize,
        rows_max: limits.snapshot_rows,
        part: PartSize { rows: limits.part_changes as usize, bytes: bytes(limits.part_bytes) },
        value_limit: bytes(limits.value),
    }
}

fn sync_settings(config: &Config, routes: watch::Receiver<Arc<[WritableRoute]>>) -> sync::Settings {
    let limits = &config.limits;
    sync::Settings {
        connection: config.postgres.connection.clone(),
        publication: config.postgres.publication.as_str().to_owned(),
        routes,
        identified: !matches!(config.auth, Auth::None),
        limits: WriteLimits {
            connections: limits.write_connections as usize,
            changes: limits.write_changes as usize,
            timeout: limits.write_timeout,
            lock_timeout: limits.write_lock_timeout,
            retention: limits.write_retention,
        },
    }
}

fn hub_limits(config: &Config) -> HubLimits {
    let log = LogLimits { window: config.replay.window, memory: bytes(config.replay.memory), wal: config.replay.wal };
    HubLimits { log, value: bytes(config.limits.value), read: READ_BYTES }
}

fn configured(config: &Config) -> Result<Configured, AppError> {
    Ok(Configured { routes: Arc::new(config.route_table()?), channels: Arc::new(config.channel_table()) })
}

fn channels(config: &Config) -> Channels {
    Channels::new(Arc::new(config.channel_table()), config.limits.presence_members as usize, fastrand::u32(..))
}

fn limits(config: &Config) -> Limits {
    let limits = &config.limits;
    Limits {
        frame: bytes(limits.frame),
        outbox: bytes(limits.outbox),
        topics_per_connection: limits.topics_per_connection as usize,
        topic: bytes(limits.topic),
        writes: limits.writes_per_connection as usize,
        idle: limits.idle,
        handshake: limits.handshake,
        poll: limits.poll,
        keep_alive: limits.keep_alive,
        connections: limits.connections as usize,
        compression: config.server.compression,
        channels: ChannelLimits {
            broadcast: bytes(limits.broadcast),
            broadcasts_per_second: limits.broadcasts_per_second,
            broadcast_burst: limits.broadcast_burst,
            presence_meta: bytes(limits.presence_meta),
        },
    }
}

/// A configured size; more than the machine can address is no limit.
fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// Closes every client's connection, a batch at a time, and waits until they are gone.
async fn drain(shards: &[Shard]) {
    loop {
        let mut connections = 0;
        for shard in shards {
            let (remaining, answer) = oneshot::channel();
            if shard.control.send(Control::Drain { count: DRAIN_BATCH, remaining }).await.is_ok() {
                connections += answer.await.unwrap_or(0);
            }
        }
        if connections == 0 {
            return;
        }
        tracing::info!(connections, "draining");
        sleep(DRAIN_INTERVAL).await;
    }
}

/// The thread of the feed, and one shard for each of `statistics`. A single shard shares its thread with the feed.
fn spawn_threads(
    limits: &Limits,
    routers: &Routers,
    from_shards: FromShards,
    count: &Count,
    statistics: Vec<watch::Sender<ShardStatistics>>,
) -> Result<(Vec<Shard>, ToShards, FeedThread), AppError> {
    let (mut shards, mut to_shards) = (Vec::new(), ToShards::default());
    let (lease, tenants) = Tenants::expected();
    let mut shared = Some(tenants).filter(|_| statistics.len() == 1);
    let (peers, sessions) = Peers::channels(statistics.len());
    for ((id, sessions), statistics) in (0..).map(ShardId).zip(sessions).zip(statistics) {
        let (control, control_receiver) = mpsc::channel(CONTROL_QUEUE);
        let (to_shard, from_hub) = mpsc::channel(SHARD_QUEUE);
        let (written_sender, written) = mpsc::channel(WRITTEN_QUEUE);
        let FromShards { commands, writes } = &from_shards;
        let (commands, writes, peers, count) = (commands.clone(), writes.clone(), peers.clone(), count.clone());
        let channels = ShardChannels {
            control: control_receiver,
            from_hub,
            commands,
            writes,
            written,
            sessions,
            peers,
            count,
            statistics,
        };
        let tenants = shared.take().unwrap_or_else(Tenants::none);
        let thread = ShardThread::spawn(id, *limits, routers.clone(), channels, tenants.ended());
        shards.push(Shard { thread: thread.map_err(AppError::Thread)?, control });
        to_shards.published.push(to_shard);
        to_shards.written.push(written_sender);
    }
    let feed_thread = match &shards[..] {
        [only] => FeedThread::shared(only.thread.runtime().clone(), lease),
        _ => FeedThread::start().map_err(AppError::Thread)?,
    };
    Ok((shards, to_shards, feed_thread))
}
