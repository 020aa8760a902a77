//! Every default and bound of the configuration, each with its reason. `config/walcast.reference.toml` explains the
//! same to operators; a test holds the two together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::SocketMode;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A configuration is written by hand: what is larger is some other file.
pub const FILE_BYTES_MAX: u64 = 4 * MIB;

/// Publication and slot carry the product's name, so that a DBA who finds them knows whose they are.
pub const PUBLICATION: &str = "walcast";
pub const SLOT: &str = "walcast";

/// Phoenix' own default port, on every interface: clients come from elsewhere.
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 4000);
/// Metrics and the inspector are nobody else's business.
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4001);

/// The user and the group that walcast runs as: a proxy in front of it is made a member of that group.
pub const SOCKET_MODE: SocketMode = SocketMode(0o660);
/// A socket has no other bits.
pub const SOCKET_MODE_MAX: u32 = 0o777;

/// Clocks of token issuer and gateway may differ by this much.
pub const LEEWAY: Duration = MINUTE;
/// More would accept tokens that expired long ago.
pub const LEEWAY_ALLOWED: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(10 * 60);

/// A tab that wakes up brings its new token within seconds; the leeway comes on top.
pub const GRACE: Duration = Duration::from_secs(5);
/// Beyond the time that a laptop is closed for lunch, an expiry would be none.
pub const GRACE_ALLOWED: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60 * 60);

/// Longer than a train tunnel, a laptop's lunch break or a rolling deployment.
pub const WINDOW: Duration = Duration::from_secs(10 * 60);
/// The slot holds the window's WAL back on the primary: a day is for those who know what they do.
pub const WINDOW_ALLOWED: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * 24 * 60 * 60);
/// Ten minutes of some hundred transactions a second, and small beside what a server has.
pub const MEMORY: u64 = 256 * MIB;
/// Below a few transactions' worth no reconnecting client could resume.
pub const MEMORY_ALLOWED: RangeInclusive<u64> = MIB..=TIB;
/// 64 segments of 16 MiB: as much as Postgres' own default for `max_wal_size`.
pub const WAL: u64 = GIB;
/// `0` keeps nothing back on the primary, and gives up resuming over a restart.
pub const WAL_ALLOWED: RangeInclusive<u64> = 0..=16 * TIB;

/// Idle sockets are cheap, but file descriptors and kernel buffers are not free.
pub const CONNECTIONS: u32 = 100_000;
pub const CONNECTIONS_ALLOWED: RangeInclusive<u32> = 1..=10_000_000;
/// A busy dashboard joins tens; a thousand is a client in a loop.
pub const TOPICS_PER_CONNECTION: u32 = 1_000;
pub const TOPICS_PER_CONNECTION_ALLOWED: RangeInclusive<u32> = 1..=1_000_000;
/// Phoenix' binary frames carry a topic's length in one byte.
pub const TOPIC: u64 = 255;
pub const TOPIC_ALLOWED: RangeInclusive<u64> = 1..=255;
/// The largest message a client may send: joins, filters and broadcasts are far smaller.
pub const FRAME: u64 = MIB;
/// A join with a token must fit; and no client may make us hold gigabytes.
pub const FRAME_ALLOWED: RangeInclusive<u64> = 16 * KIB..=256 * MIB;
/// Two parts of a large transaction: enough to keep a fast client busy, little enough for many slow ones.
pub const OUTBOX: u64 = MIB;
pub const OUTBOX_ALLOWED: RangeInclusive<u64> = 64 * KIB..=GIB;
/// A larger value is no live update but a download: it is left out and named.
pub const VALUE: u64 = MIB;
pub const VALUE_ALLOWED: RangeInclusive<u64> = KIB..=256 * MIB;
/// A large transaction is sent in parts of at most this many changes …
pub const PART_CHANGES: u32 = 1_000;
pub const PART_CHANGES_ALLOWED: RangeInclusive<u32> = 1..=1_000_000;
/// … and this many bytes: half an outbox, so that the next part can wait while one is being written.
pub const PART_BYTES: u64 = 512 * KIB;
pub const PART_BYTES_ALLOWED: RangeInclusive<u64> = KIB..=256 * MIB;
/// Each has a connection to the primary and a core of it while it lasts; a thousand clients who ask at once share one.
pub const SNAPSHOTS: u32 = 4;
pub const SNAPSHOTS_ALLOWED: RangeInclusive<u32> = 1..=100;
/// More rows than this nobody looks at; and the primary keeps old row versions for as long as a snapshot is read.
pub const SNAPSHOT_ROWS: u32 = 100_000;
pub const SNAPSHOT_ROWS_ALLOWED: RangeInclusive<u32> = 1..=1_000_000_000;
/// A chat message, a cursor's move or an edit is far smaller; and it is sent to everyone on the topic.
pub const BROADCAST: u64 = 256 * KIB;
pub const BROADCAST_ALLOWED: RangeInclusive<u64> = KIB..=16 * MIB;
/// A pointer that is followed at every frame of a screen, and some more.
pub const BROADCASTS_PER_SECOND: u32 = 100;
pub const BROADCASTS_PER_SECOND_ALLOWED: RangeInclusive<u32> = 1..=1_000_000;
/// Ten seconds' worth: what a client has kept while it was away comes at once.
pub const BROADCAST_BURST: u32 = 1_000;
pub const BROADCAST_BURST_ALLOWED: RangeInclusive<u32> = 1..=1_000_000;
/// As many as the hub says to thousands of subscribers beside the feed; apps that say more wait for their turn.
pub const POSTS_PER_SECOND: u32 = 10_000;
pub const POSTS_PER_SECOND_ALLOWED: RangeInclusive<u32> = 1..=1_000_000;
/// Everyone is told of everyone: a larger crowd is a number, not a list.
pub const PRESENCE_MEMBERS: u32 = 10_000;
pub const PRESENCE_MEMBERS_ALLOWED: RangeInclusive<u32> = 1..=1_000_000;
/// A name, a colour and a state; every newcomer is sent everyone's.
pub const PRESENCE_META: u64 = 4 * KIB;
pub const PRESENCE_META_ALLOWED: RangeInclusive<u64> = 64..=MIB;
/// Each is a connection to the primary while there are writes: people type slowly, and a write takes milliseconds.
pub const WRITE_CONNECTIONS: u32 = 4;
pub const WRITE_CONNECTIONS_ALLOWED: RangeInclusive<u32> = 1..=1_000;
/// What waits longer than a client does is done for nobody: this is what four connections do in a second or so.
pub const WRITE_QUEUE: u32 = 1_000;
pub const WRITE_QUEUE_ALLOWED: RangeInclusive<u32> = 1..=1_000_000;
/// A device that comes back with more than this can send several requests.
pub const WRITE_CHANGES: u32 = 100;
pub const WRITE_CHANGES_ALLOWED: RangeInclusive<u32> = 1..=10_000;
/// As many as one client has under way that does not wait for answers.
pub const WRITES_PER_CONNECTION: u32 = 32;
pub const WRITES_PER_CONNECTION_ALLOWED: RangeInclusive<u32> = 1..=10_000;
/// Below the ten seconds after which Phoenix' clients give a push up.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(8);
pub const WRITE_TIMEOUT_ALLOWED: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(10 * 60);
/// Whoever holds a row's lock for longer is not about to let go of it.
pub const WRITE_LOCK_TIMEOUT: Duration = Duration::from_secs(4);
pub const WRITE_LOCK_TIMEOUT_ALLOWED: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(10 * 60);
/// A device that is offline over the weekend does not know what became of its last request before that.
pub const WRITE_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Below the time in which a client tries again, ids would protect nobody.
pub const WRITE_RETENTION_ALLOWED: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(366 * 24 * 60 * 60);
/// Longer than a restart of Postgres, and most failovers: not all gateways are to be taken out at once for those.
pub const OUTAGE: Duration = Duration::from_secs(2 * 60);
/// From at once to practically never.
pub const OUTAGE_ALLOWED: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * 24 * 60 * 60);
/// What Rails, Ecto and others call such columns.
pub const VERSION_COLUMN: &str = "version";
pub const TIMESTAMP_COLUMN: &str = "updated_at";
/// Phoenix' own: its clients send a heartbeat every 30 seconds.
pub const IDLE: Duration = MINUTE;
pub const IDLE_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY;
/// Enough for a slow mobile link, too little to hold many half-open sockets.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
pub const HANDSHAKE_ALLOWED: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(5 * 60);
/// Phoenix' own: below what proxies take for a dead request, and half of what its clients wait.
pub const POLL: Duration = Duration::from_secs(10);
/// Phoenix' clients give a request up after 20 seconds.
pub const POLL_ALLOWED: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(15);
/// What the specification of server-sent events advises: proxies give quiet connections up after half a minute or more.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
pub const KEEP_ALIVE_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY;
