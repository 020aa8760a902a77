//! Settings, role and slot.

use super::facts::{RoleFacts, SCHEMA_COMMENT, ServerFacts, SlotFacts, WalStatus};
use crate::change::quote_identifier;
use crate::config::code::Code;
use crate::config::diagnostic::{Finding, Span};
use crate::config::{Config, display_size};

/// pgoutput's logical messages, and the `binary` and `streaming` options that later issues need, came with 14.
const VERSION_MIN: i32 = 140_000;
/// Minor releases in which every transaction repeats the invalidation messages of all concurrent DDL, until a walsender
/// dies with "invalid memory alloc request size" at each attempt; mended in the minor release after each of them.
const VERSIONS_WITH_INVALIDATION_BUG: [i32; 5] = [130_021, 140_018, 150_013, 160_009, 170_005];

pub(super) fn judge(facts: &ServerFacts, config: &Config) -> Vec<Finding> {
    let url = config.postgres.spans.url.clone();
    let mut findings = Vec::new();
    findings.extend(version(facts, url.clone()));
    findings.extend(wal_level(facts));
    findings.extend(role(&facts.role, url));
    findings.extend(wal_keep(facts, config));
    findings.extend(room(facts));
    findings.extend(schema(facts));
    match &facts.slot {
        Some(existing) => findings.extend(slot(existing, &facts.database, config)),
        None => findings.push(slot_missing(config)),
    }
    findings
}

trait MaybeLabel {
    fn maybe_label(self, span: Option<Span>, text: &str) -> Self;
}

impl MaybeLabel for Finding {
    fn maybe_label(self, span: Option<Span>, text: &str) -> Self {
        match span {
            Some(span) => self.label(span, text),
            None => self,
        }
    }
}

fn version(facts: &ServerFacts, url: Option<Span>) -> Option<Finding> {
    let (major, minor) = (facts.version / 10_000, facts.version % 10_000);
    if facts.version < VERSION_MIN {
        let finding =
            Finding::error(Code::ServerVersion, format!("the server runs Postgres {major}, which is too old"));
        return Some(finding.maybe_label(url, "this server").help("upgrade it to Postgres 14 or newer"));
    }
    VERSIONS_WITH_INVALIDATION_BUG.contains(&facts.version).then(|| {
        let message = format!("Postgres {major}.{minor} has a bug in logical decoding");
        Finding::warning(Code::ServerMinor, message)
            .maybe_label(url, "this server")
            .note("many schema changes beside long transactions make it fail with `invalid memory alloc request size`")
            .help(format!("update it to {major}.{} or newer", minor + 1))
    })
}

fn wal_level(facts: &ServerFacts) -> Option<Finding> {
    (facts.wal_level != "logical").then(|| {
        let message = format!("the server's `wal_level` is `{}`, but must be `logical`", facts.wal_level);
        Finding::error(Code::WalLevel, message)
            .note("only with `logical` does the write-ahead log hold what is needed to read rows from it")
            .help("run `alter system set wal_level = 'logical'` and restart Postgres")
            .help("or turn logical replication on in the settings of the managed service")
    })
}

fn role(role: &RoleFacts, url: Option<Span>) -> Option<Finding> {
    (!role.superuser && !role.replication).then(|| {
        let name = quote_identifier(&role.name);
        Finding::error(Code::RoleReplication, format!("the role `{}` may not replicate", role.name))
            .maybe_label(url, "connects as this role")
            .help(format!("run `alter role {name} replication` as a superuser"))
    })
}

fn wal_keep(facts: &ServerFacts, config: &Config) -> Option<Finding> {
    let (wal, span) = (config.replay.wal, config.replay.wal_span.clone());
    let Some(keep) = facts.max_slot_wal_keep_size else {
        let twice = display_size(wal.max(1 << 30).saturating_mul(2)).replace("iB", "B");
        return Some(
            Finding::warning(
                Code::WalKeepUnbounded,
                "nothing bounds the WAL that the slot holds back while walcast is down",
            )
            .note("`max_slot_wal_keep_size` is -1: a forgotten slot fills the primary's disk")
            .help(format!("run `alter system set max_slot_wal_keep_size = '{twice}'`, then `select pg_reload_conf()`")),
        );
    };
    (keep < wal).then(|| {
        let (keep, wal) = (display_size(keep), display_size(wal));
        Finding::error(
            Code::WalKeepTooSmall,
            format!("the server keeps {keep} of WAL for a slot, `replay.wal` asks for {wal}"),
        )
        .maybe_label(span, "more than `max_slot_wal_keep_size`")
        .note("the server would give up the slot, and every client would have to start over")
        .help(format!("raise `max_slot_wal_keep_size` above {wal}, or set `wal = \"{keep}\"` in `[replay]`"))
    })
}

/// Only what is missing is judged: a slot that is there needs no second place, an active one has its walsender.
fn room(facts: &ServerFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let active = facts.slot.as_ref().is_some_and(|slot| slot.active_pid.is_some());
    if !active && facts.wal_senders >= facts.max_wal_senders {
        let message = format!("all {} places of `max_wal_senders` are taken", facts.max_wal_senders);
        findings.push(
            Finding::error(Code::WalSendersFull, message)
                .help("raise it and restart Postgres, or end a replication connection: see `pg_stat_replication`"),
        );
    }
    if facts.slot.is_none() && facts.replication_slots >= facts.max_replication_slots {
        let message = format!("all {} places of `max_replication_slots` are taken", facts.max_replication_slots);
        findings.push(
            Finding::error(Code::SlotsFull, message)
                .help("raise it and restart Postgres, or drop a slot that nobody uses: see `pg_replication_slots`"),
        );
    }
    findings
}

/// A schema that is not there is nobody's mistake: it is needed for what SQL asks of walcast.
fn schema(facts: &ServerFacts) -> Option<Finding> {
    let comment = facts.schema_comment.as_ref()?;
    (comment.as_deref() != Some(SCHEMA_COMMENT)).then(|| {
        Finding::warning(Code::SchemaOutdated, "the schema `walcast` is of another revision than this walcast")
            .note("its functions may be missing, or write what this walcast can't read")
            .help("run `walcast setup`, which replaces what is in it")
    })
}

fn slot_missing(config: &Config) -> Finding {
    Finding::error(Code::SlotMissing, format!("the replication slot `{}` does not exist", config.postgres.slot))
        .maybe_label(config.postgres.spans.slot.clone(), "no such slot")
        .help("run `walcast setup`, which creates it")
}

fn slot(slot: &SlotFacts, database: &str, config: &Config) -> Vec<Finding> {
    let (name, span) = (config.postgres.slot.as_str(), config.postgres.spans.slot.clone());
    let another = "choose another name for `slot`, and run `walcast setup`";
    let recreate = format!("run `select pg_drop_replication_slot('{name}')`, then `walcast setup`");
    let mut findings = Vec::new();
    if slot.plugin.as_deref() != Some("pgoutput") {
        let kind = slot.plugin.as_ref().map_or_else(|| "physical".to_owned(), |plugin| format!("`{plugin}`"));
        findings.push(
            Finding::error(Code::SlotPlugin, format!("the slot `{name}` is a {kind} slot, not a `pgoutput` slot"))
                .maybe_label(span, "belongs to something else")
                .help(another),
        );
        return findings;
    }
    if let Some(other) = slot.database.as_deref().filter(|other| *other != database) {
        findings.push(
            Finding::error(Code::SlotDatabase, format!("the slot `{name}` belongs to the database `{other}`"))
                .maybe_label(span, format!("`url` leads to the database `{database}`").as_str())
                .help(another),
        );
        return findings;
    }
    match slot.wal_status {
        WalStatus::Lost => findings.push(
            Finding::error(Code::SlotLost, format!("the server has removed WAL that the slot `{name}` needs"))
                .maybe_label(span.clone(), "lost for good")
                .note("changes since then can't be sent; clients will be told to start over")
                .help(recreate),
        ),
        WalStatus::Unreserved => findings.push(
            Finding::warning(
                Code::SlotLost,
                format!("the server may remove WAL that the slot `{name}` needs at any time"),
            )
            .maybe_label(span.clone(), "beyond `max_slot_wal_keep_size`")
            .help("start walcast soon, or raise `max_slot_wal_keep_size`"),
        ),
        WalStatus::Kept => {}
    }
    if let Some(pid) = slot.active_pid {
        findings.push(
            Finding::warning(Code::SlotActive, format!("process {pid} is streaming from the slot `{name}`"))
                .maybe_label(span, "in use")
                .note("if that is this gateway, all is well; a second one waits until the slot is free")
                .help(format!("run `select * from pg_stat_replication where pid = {pid}` to see whose it is")),
        );
    }
    findings
}

pub(super) fn publication_missing(config: &Config) -> Finding {
    let name = &config.postgres.publication;
    Finding::error(Code::PublicationMissing, format!("the publication `{name}` does not exist"))
        .maybe_label(config.postgres.spans.publication.clone(), "no such publication")
        .help("run `walcast setup`, which creates it")
}
