//! Every metric's name, kind, unit, labels and meaning.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// One of the metrics.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Without the unit, and without a counter's `_total`: both follow.
    pub name: &'static str,
    pub kind: MetricType,
    pub unit: Option<&'static Unit>,
    pub labels: &'static [&'static str],
    /// What it says, as `# HELP` and `docs/metrics.md` have it.
    pub help: &'static str,
}

const BYTES: Option<&Unit> = Some(&Unit::Bytes);
const SECONDS: Option<&Unit> = Some(&Unit::Seconds);

const fn metric(
    name: &'static str,
    kind: MetricType,
    unit: Option<&'static Unit>,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, unit, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    metric(name, MetricType::Gauge, None, labels, help)
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    metric(name, MetricType::Counter, None, labels, help)
}

macro_rules! metrics {
    ($($constant:ident = $metric:expr;)*) => {
        $(pub(super) const $constant: Metric = $metric;)*
        /// In the order in which they are served.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BUILD = gauge("walcast_build_info", &["version"], "Always 1; the label is the program's version");
    READY = gauge("walcast_ready", &[], "1 where /readyz says so: the log has caught up with the database, and has not been without it for long (limits.outage)");

    STREAMING = gauge("walcast_replication_streaming", &[], "1 while the replication connection streams");
    STREAMS = counter("walcast_replication_streams", &[], "How often streaming began");
    INTERRUPTIONS = counter("walcast_replication_interruptions", &[], "Connections lost, and attempts that failed");
    LOSSES = counter("walcast_replication_losses", &[], "How often continuity was lost, so that every client had to resync");
    RECEIVED = metric("walcast_replication_received", MetricType::Counter, BYTES, &[], "Replication messages received");
    LAG_BYTES = metric("walcast_replication_lag", MetricType::Gauge, BYTES, &[], "WAL that the database has flushed and the log has not taken yet; not there until both are known");
    LAG_SECONDS = metric("walcast_replication_lag", MetricType::Gauge, SECONDS, &[], "For how long the log has been behind the database, by walcast's own clock; it grows while there is no connection");
    SLOT_HELD = metric("walcast_slot_held", MetricType::Gauge, BYTES, &[], "WAL that the database keeps for the slot; not there where the slot has none");
    SLOT_SAFE = metric("walcast_slot_safe", MetricType::Gauge, BYTES, &[], "WAL that can be written before the slot may be lost; not there without max_slot_wal_keep_size");
    SLOT_STATUS = gauge("walcast_slot_status", &["status"], "1 for the slot's wal_status as the database tells it: reserved, extended, unreserved, lost, unknown");
    SLOT_INVALIDATION = gauge("walcast_slot_invalidation", &["reason"], "1 for why the slot is lost: wal_removed, rows_removed, wal_level_insufficient, idle_timeout, conflict, other");
    SLOT_FLAGS = gauge("walcast_slot_flags", &["flag"], "1 for what is true of the slot: failover, synced, two_phase");
    SLOT_INACTIVE = metric("walcast_slot_inactive", MetricType::Gauge, SECONDS, &[], "For how long nobody has streamed from the slot, by the database's clock; not there while somebody does, and before Postgres 17");
    SLOT_CONCERNS = gauge("walcast_slot_concerns", &["concern"], "1 for what somebody should do something about: slot_lost, slot_unreserved, slot_near_limit, slot_over_budget, slot_extended");
    IN_RECOVERY = gauge("walcast_database_in_recovery", &[], "1 while the database is a standby");

    TRANSACTIONS = counter("walcast_transactions", &[], "Transactions taken from the database");
    CHANGES = counter("walcast_changes", &[], "Changes of published tables taken from the database");
    ROUTE_CHANGES = counter("walcast_route_changes", &["route", "topic"], "Changes that a route has brought to topics, one for each topic; labels are its number and its topic as in the config");
    ROUTE_HOLES = counter("walcast_route_holes", &["route", "topic"], "Changes that a route could not route: its topics had to resync");
    ROUTE_BROKEN = gauge("walcast_route_broken", &["route", "topic"], "1 where a route brings nothing: its table is not published, or no longer fits it");
    MALFORMED = counter("walcast_values_malformed", &[], "Values left out because they are none of their column's type");
    LOG_ENTRIES = gauge("walcast_log_entries", &[], "Transactions, or parts of large ones, in the replay log");
    LOG_BYTES = metric("walcast_log_size", MetricType::Gauge, BYTES, &[], "Memory that the replay log takes, about");
    LOG_SPAN = metric("walcast_log_span", MetricType::Gauge, SECONDS, &[], "How far back the replay log reaches; 0 where it is empty");
    TOPICS = gauge("walcast_topics", &[], "Topics with subscribers, or with changes in the log");
    SHAPES = gauge("walcast_shapes", &[], "Groups of subscribers who are sent the same bytes");
    PRESENCE = gauge("walcast_presence_members", &[], "Members on all topics with presence");
    BROADCASTS = counter("walcast_broadcasts", &["from"], "Broadcasts to topics, by whom: client, sql");

    CONNECTIONS = gauge("walcast_connections", &["transport"], "Open client connections: websocket, longpoll, sse, http");
    OPENED = counter("walcast_connections_opened", &["transport"], "Client connections that were let in");
    TURNED_AWAY = counter("walcast_connections_turned_away", &[], "Connections refused because limits.connections was reached");
    DENIED = counter("walcast_connections_denied", &["reason"], "Requests that were not let in: origin_not_allowed, missing_token, token_expired, invalid_token, keys_unavailable");
    CLOSES = counter("walcast_closes", &["reason"], "Connections that walcast closed, by reason");
    SUBSCRIPTIONS = gauge("walcast_subscriptions", &[], "Joined topics, counted once for each connection");
    BEHIND = gauge("walcast_subscriptions_behind", &[], "Subscriptions that read from the log or a snapshot and are not live");
    JOINS = counter("walcast_joins", &[], "Joins accepted");
    REFUSALS = counter("walcast_joins_refused", &["reason"], "Joins refused, by the reason that the client was told");
    EVENTS_REFUSED = counter("walcast_events_refused", &["reason"], "Clients' events refused, by the reason that the client was told");
    RESYNCS = counter("walcast_resyncs", &["reason"], "Subscribers told to begin afresh: hole (the feed has one), slow (they read too slowly), cursor (theirs can't be resumed)");
    FALLS = counter("walcast_slow_client_falls", &[], "Subscriptions that left the live feed for the log because their client's outbox was full");
    OUTBOX = metric("walcast_outbox_size", MetricType::Gauge, BYTES, &[], "Waiting for clients, all outboxes together");
    MESSAGES = counter("walcast_messages", &[], "Messages of the feed put into outboxes, one for each subscriber");
    COMMIT_TO_SEND = metric("walcast_commit_to_send", MetricType::Histogram, SECONDS, &[], "From a commit, by the database's clock, until its message was written to live subscribers; one for each message and shard");
    WRITES = counter("walcast_writes", &["outcome"], "sync_requests answered, by outcome: done, or the reason that the client was told");
    POSTS = counter("walcast_posts", &["outcome"], "Events that apps posted, by outcome: done, or the reason that the app was told");

    SNAPSHOTS_RUNNING = gauge("walcast_snapshots_running", &[], "Snapshots whose rows are being read");
    SNAPSHOTS_WAITING = gauge("walcast_snapshots_waiting", &[], "Snapshots that wait for a connection to the database");
    SNAPSHOTS = counter("walcast_snapshots", &["outcome"], "Snapshots that are over: taken, too_large, failed");
    SNAPSHOT_ROWS = counter("walcast_snapshot_rows", &[], "Rows of the snapshots that were taken");
    RELOADS = counter("walcast_reloads", &["outcome"], "Configurations read again: applied, refused");
    CERTIFICATE_EXPIRY = metric("walcast_tls_certificate_expiry_timestamp", MetricType::Gauge, SECONDS, &[], "Until when the certificate that clients are shown is good, in seconds since 1970; not there without TLS");
    CERTIFICATE_RELOADS = counter("walcast_tls_certificate_reloads", &["outcome"], "Certificates read again: applied, refused; not there without TLS");
    HANDSHAKES_FAILED = counter("walcast_tls_handshakes_failed", &[], "TLS handshakes that clients could not end, or not in time");
}

impl Metric {
    /// The name of what is served: with the unit, and for a counter with `_total`.
    #[must_use]
    pub fn full_name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        let total = if matches!(self.kind, MetricType::Counter) { "_total" } else { "" };
        format!("{}{unit}{total}", self.name)
    }
}
