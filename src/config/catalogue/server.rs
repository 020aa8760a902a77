//! Settings, role and schema.

use super::facts::{RoleFacts, SCHEMA_COMMENT, ServerFacts};
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
    findings
}

pub(super) trait MaybeLabel {
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

pub(super) fn publication_missing(facts: &ServerFacts, config: &Config) -> Finding {
    let name = &config.postgres.publication;
    let help = match facts.ha.in_recovery {
        true => "run `walcast setup` with a `url` that leads to the primary: this server is a standby",
        false => "run `walcast setup`, which creates it",
    };
    Finding::error(Code::PublicationMissing, format!("the publication `{name}` does not exist"))
        .maybe_label(config.postgres.spans.publication.clone(), "no such publication")
        .help(help)
}
