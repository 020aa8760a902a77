//! `[postgres]`, `[replay]` and `[limits]`: which keys it has, what they default to, and what is wrong with their
//! values.

use std::ops::Range;

use super::code::Code;
use super::connection;
use super::defaults as default;
use super::diagnostic::Finding;
use super::document::{Reader, Section};
use super::expand::Text;
use crate::replication::slot::OnLostSlot;

use super::{Limits, Postgres, PostgresSpans, PublicationName, Replay, SlotName};

/// Postgres cuts longer names off (`NAMEDATALEN - 1`).
const NAME_BYTES_MAX: usize = 63;

pub(super) fn postgres(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Option<Postgres> {
    let mut section = reader.section(root, "postgres");
    let help = "write `url = \"${DATABASE_URL}\"` in `[postgres]`, or the connection string itself";
    let url = reader.required_text(&mut section, "url", help);
    let publication = reader.text(&mut section, "publication");
    let slot = reader.text(&mut section, "slot");
    let failover = reader.flag(&mut section, "failover");
    let on_lost_slot = reader.choice(&mut section, "on_lost_slot", &OnLostSlot::NAMED);
    reader.finish(section);
    let spans = PostgresSpans {
        url: url.as_ref().map(|text| text.span.clone()),
        publication: publication.as_ref().map(|text| text.span.clone()),
        slot: slot.as_ref().map(|text| text.span.clone()),
        failover: failover.as_ref().map(|(_, span)| span.clone()),
    };
    let connection =
        url.and_then(|text| connection::parse(&text).map_err(|finding| reader.findings.push(finding)).ok());
    let publication = name(reader, publication, default::PUBLICATION, "publication", publication_problem);
    let slot = name(reader, slot, default::SLOT, "slot", slot_problem);
    Some(Postgres {
        connection: connection?,
        publication: PublicationName(publication),
        slot: SlotName(slot),
        failover: failover.is_some_and(|(flag, _)| flag),
        on_lost_slot: on_lost_slot.map_or_else(OnLostSlot::default, |(policy, _)| policy),
        spans,
    })
}

/// A part of a name and what is wrong with it.
type Problem = (Range<usize>, String);

fn name(
    reader: &mut Reader<'_>,
    text: Option<Text>,
    default: &str,
    key: &str,
    problem: fn(&str) -> Option<Problem>,
) -> String {
    let Some(text) = text else { return default.to_owned() };
    if let Some((range, what)) = problem(&text.value) {
        reader.findings.push(
            Finding::error(Code::BadName, format!("`postgres.{key}` is not a {key}'s name"))
                .label(text.span_of(range), what)
                .help(format!("write a short lower-case name, as in `{key} = \"{default}\"`")),
        );
    }
    text.value
}

fn publication_problem(name: &str) -> Option<Problem> {
    match name.len() {
        0 => Some((0..0, "empty".to_owned())),
        1..=NAME_BYTES_MAX => {
            let at = name.find('\0')?;
            Some((at..at + 1, "a name can't hold a null byte".to_owned()))
        }
        _ => Some((0..name.len(), format!("longer than {NAME_BYTES_MAX} bytes"))),
    }
}

fn slot_problem(name: &str) -> Option<Problem> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match name.char_indices().find(|(_, c)| !allowed(*c)) {
        Some((at, c)) => {
            let what = "Postgres takes lower-case letters, digits and underscores";
            Some((at..at + c.len_utf8(), what.to_owned()))
        }
        None => publication_problem(name),
    }
}

pub(super) fn replay(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Replay {
    let mut section = reader.section(root, "replay");
    let replay = Replay {
        window: reader.duration(&mut section, "window", default::WINDOW, default::WINDOW_ALLOWED),
        memory: reader.size(&mut section, "memory", default::MEMORY, default::MEMORY_ALLOWED),
        wal: reader.size(&mut section, "wal", default::WAL, default::WAL_ALLOWED),
        wal_span: section.key_span("wal"),
    };
    reader.finish(section);
    replay
}

pub(super) fn limits(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Limits {
    let mut limits = reader.section(root, "limits");
    let section = &mut limits;
    let values = Limits {
        connections: reader.count(section, "connections", default::CONNECTIONS, default::CONNECTIONS_ALLOWED),
        topics_per_connection: reader.count(
            section,
            "topics_per_connection",
            default::TOPICS_PER_CONNECTION,
            default::TOPICS_PER_CONNECTION_ALLOWED,
        ),
        topic: reader.size(section, "topic", default::TOPIC, default::TOPIC_ALLOWED),
        frame: reader.size(section, "frame", default::FRAME, default::FRAME_ALLOWED),
        outbox: reader.size(section, "outbox", default::OUTBOX, default::OUTBOX_ALLOWED),
        value: reader.size(section, "value", default::VALUE, default::VALUE_ALLOWED),
        part_changes: reader.count(section, "part_changes", default::PART_CHANGES, default::PART_CHANGES_ALLOWED),
        part_bytes: reader.size(section, "part_bytes", default::PART_BYTES, default::PART_BYTES_ALLOWED),
        snapshots: reader.count(section, "snapshots", default::SNAPSHOTS, default::SNAPSHOTS_ALLOWED),
        snapshot_rows: u64::from(reader.count(
            section,
            "snapshot_rows",
            default::SNAPSHOT_ROWS,
            default::SNAPSHOT_ROWS_ALLOWED,
        )),
        idle: reader.duration(section, "idle", default::IDLE, default::IDLE_ALLOWED),
        handshake: reader.duration(section, "handshake", default::HANDSHAKE, default::HANDSHAKE_ALLOWED),
        poll: reader.duration(section, "poll", default::POLL, default::POLL_ALLOWED),
        keep_alive: reader.duration(section, "keep_alive", default::KEEP_ALIVE, default::KEEP_ALIVE_ALLOWED),
        outage: reader.duration(section, "outage", default::OUTAGE, default::OUTAGE_ALLOWED),
        ..what_clients_may_say(reader, section)
    };
    reader.finish(limits);
    values
}

/// The limits of broadcasts, presence and writes.
fn what_clients_may_say(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Limits {
    Limits {
        broadcast: reader.size(section, "broadcast", default::BROADCAST, default::BROADCAST_ALLOWED),
        broadcasts_per_second: reader.count(
            section,
            "broadcasts_per_second",
            default::BROADCASTS_PER_SECOND,
            default::BROADCASTS_PER_SECOND_ALLOWED,
        ),
        broadcast_burst: reader.count(
            section,
            "broadcast_burst",
            default::BROADCAST_BURST,
            default::BROADCAST_BURST_ALLOWED,
        ),
        posts_per_second: reader.count(
            section,
            "posts_per_second",
            default::POSTS_PER_SECOND,
            default::POSTS_PER_SECOND_ALLOWED,
        ),
        presence_members: reader.count(
            section,
            "presence_members",
            default::PRESENCE_MEMBERS,
            default::PRESENCE_MEMBERS_ALLOWED,
        ),
        presence_meta: reader.size(section, "presence_meta", default::PRESENCE_META, default::PRESENCE_META_ALLOWED),
        write_connections: reader.count(
            section,
            "write_connections",
            default::WRITE_CONNECTIONS,
            default::WRITE_CONNECTIONS_ALLOWED,
        ),
        write_queue: reader.count(section, "write_queue", default::WRITE_QUEUE, default::WRITE_QUEUE_ALLOWED),
        write_changes: reader.count(section, "write_changes", default::WRITE_CHANGES, default::WRITE_CHANGES_ALLOWED),
        writes_per_connection: reader.count(
            section,
            "writes_per_connection",
            default::WRITES_PER_CONNECTION,
            default::WRITES_PER_CONNECTION_ALLOWED,
        ),
        write_timeout: reader.duration(
            section,
            "write_timeout",
            default::WRITE_TIMEOUT,
            default::WRITE_TIMEOUT_ALLOWED,
        ),
        write_lock_timeout: reader.duration(
            section,
            "write_lock_timeout",
            default::WRITE_LOCK_TIMEOUT,
            default::WRITE_LOCK_TIMEOUT_ALLOWED,
        ),
        write_retention: reader.duration(
            section,
            "write_retention",
            default::WRITE_RETENTION,
            default::WRITE_RETENTION_ALLOWED,
        ),
        ..Limits::default()
    }
}

/// Sections of the design that this version does not carry out.
pub(super) fn later(reader: &mut Reader<'_>, root: &mut Section<'_>) {
    let why = "every node would stream from the slot by itself, and all but one would fail";
    reader.refuse(root, "cluster", why, "remove the section and run one node; it is complete by itself");
}
