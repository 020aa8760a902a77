//! The slot: whose it is, what state it is in, and what that means for a start.

use super::facts::ServerFacts;
use super::server::MaybeLabel;
use crate::config::code::Code;
use crate::config::diagnostic::{Finding, Span};
use crate::config::{Config, display_size};
use crate::replication::slot::{BUDGET_SLACK, Invalidation, OnLostSlot, Slot, WalStatus};

pub(super) fn judge(facts: &ServerFacts, config: &Config) -> Vec<Finding> {
    let span = config.postgres.spans.slot.clone();
    let Some(slot) = &facts.slot else {
        let message = format!("the replication slot `{}` does not exist", config.postgres.slot);
        let finding = Finding::error(Code::SlotMissing, message).maybe_label(span, "no such slot");
        return vec![finding.help("run `walcast setup`, which creates it")];
    };
    if let Some(foreign) = foreign(slot, &facts.database, config) {
        return vec![foreign];
    }
    let mut findings: Vec<Finding> = state(slot, config).into_iter().chain(kind(facts, slot, config)).collect();
    findings.extend(held(facts, slot, config));
    findings.extend(activity(slot, config));
    findings.extend(idle_timeout(facts, config));
    findings
}

/// It is not ours at all.
fn foreign(slot: &Slot, database: &str, config: &Config) -> Option<Finding> {
    let (name, span) = (config.postgres.slot.as_str(), config.postgres.spans.slot.clone());
    let another = "choose another name for `slot`, and run `walcast setup`";
    if slot.plugin.as_deref() != Some("pgoutput") {
        let kind = slot.plugin.as_ref().map_or_else(|| "physical".to_owned(), |plugin| format!("`{plugin}`"));
        let message = format!("the slot `{name}` is a {kind} slot, not a `pgoutput` slot");
        let finding = Finding::error(Code::SlotPlugin, message).maybe_label(span, "belongs to something else");
        return Some(finding.help(another));
    }
    let other = slot.database.as_deref().filter(|other| *other != database)?;
    let message = format!("the slot `{name}` belongs to the database `{other}`");
    let finding = Finding::error(Code::SlotDatabase, message)
        .maybe_label(span, format!("`url` leads to the database `{database}`").as_str());
    Some(finding.help(another))
}

/// Whether what it needs is still there.
fn state(slot: &Slot, config: &Config) -> Option<Finding> {
    let (name, span) = (config.postgres.slot.as_str(), config.postgres.spans.slot.clone());
    if let Some(reason) = slot.sample.invalidation {
        let recreate = format!("run `select pg_drop_replication_slot('{name}')`, then `walcast setup`");
        let message = match reason {
            Invalidation::WalRemoved => format!("the server has removed WAL that the slot `{name}` needs"),
            _ => format!("the slot `{name}` can't be used any more: {}", reason.meaning()),
        };
        let recreates = config.postgres.on_lost_slot == OnLostSlot::Recreate;
        let finding = match recreates {
            true => Finding::warning(Code::SlotLost, message),
            false => Finding::error(Code::SlotLost, message),
        };
        let finding = finding
            .maybe_label(span, "lost for good")
            .note("changes since then can't be sent; clients will be told to start over")
            .note(reason.prevention());
        return Some(match recreates {
            true => finding.note("`walcast run` makes another one (`on_lost_slot`)"),
            false => finding.help(recreate),
        });
    }
    (slot.sample.wal_status == WalStatus::Unreserved).then(|| {
        let message = format!("the server may remove WAL that the slot `{name}` needs at any time");
        Finding::warning(Code::SlotLost, message)
            .maybe_label(span, "beyond `max_slot_wal_keep_size`")
            .help("start walcast soon, or raise `max_slot_wal_keep_size`")
    })
}

/// Whether it can be streamed from as we do it.
fn kind(facts: &ServerFacts, slot: &Slot, config: &Config) -> Option<Finding> {
    let (name, span) = (config.postgres.slot.as_str(), config.postgres.spans.slot.clone());
    if slot.sample.synced && facts.ha.in_recovery {
        let message = format!("the slot `{name}` is a copy of the primary's, and this server is a standby");
        let finding = Finding::warning(Code::SlotSynced, message)
            .maybe_label(span, "can't be used before this server is promoted")
            .help("name every host in `url`, with `target_session_attrs=read-write`: the primary is found among them")
            .help("to decode on the standby, choose another name for `slot`, and run `walcast setup`");
        return Some(finding);
    }
    slot.sample.two_phase.then(|| {
        let message = format!("the slot `{name}` decodes prepared transactions when they are prepared");
        Finding::error(Code::SlotTwoPhase, message)
            .maybe_label(span, "created with `two_phase`")
            .note("walcast sends what is committed, and nothing else")
            .help(format!("run `select pg_drop_replication_slot('{name}')`, then `walcast setup`"))
    })
}

/// More than the log accounts for: nobody streams, or a transaction has been open for long.
fn held(facts: &ServerFacts, slot: &Slot, config: &Config) -> Option<Finding> {
    let held = facts.slot_held.filter(|held| *held > config.replay.wal.saturating_add(BUDGET_SLACK))?;
    let name = config.postgres.slot.as_str();
    let (size, budget) = (in_mebibytes(held), display_size(config.replay.wal));
    let message = format!("the slot `{name}` holds back {size} of WAL, more than `replay.wal` ({budget})");
    let mut finding = Finding::warning(Code::SlotHeld, message)
        .maybe_label(config.postgres.spans.slot.clone(), "the primary's disk pays for it");
    if let Some(idle) = slot.sample.inactive_for {
        finding = finding.note(format!("nobody has streamed from it for {} s", idle.as_secs()));
    }
    let finding = match slot.sample.safe_wal_bytes {
        Some(safe) => finding
            .note(format!("it may be lost when {} more are written (`max_slot_wal_keep_size`)", in_mebibytes(safe))),
        None => finding,
    };
    Some(
        finding
            .help("start walcast, or end transactions that have been open for long: see `pg_stat_activity`")
            .help(format!("if nobody needs it any more, run `select pg_drop_replication_slot('{name}')`")),
    )
}

fn in_mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn activity(slot: &Slot, config: &Config) -> Option<Finding> {
    let pid = slot.active_pid?;
    let (name, span): (&str, Option<Span>) = (config.postgres.slot.as_str(), config.postgres.spans.slot.clone());
    if slot.confirmed_flush.is_none() {
        let message = format!("process {pid} is creating the slot `{name}`");
        let finding = Finding::warning(Code::SlotActive, message)
            .maybe_label(span, "not there yet")
            .note("that waits for every transaction that was running; walcast waits with it, and says for which");
        return Some(finding);
    }
    let finding = Finding::warning(Code::SlotActive, format!("process {pid} is streaming from the slot `{name}`"))
        .maybe_label(span, "in use")
        .note("if that is this gateway, all is well; a second one waits until the slot is free")
        .help(format!("run `select * from pg_stat_replication where pid = {pid}` to see whose it is"));
    Some(finding)
}

fn idle_timeout(facts: &ServerFacts, config: &Config) -> Option<Finding> {
    let limit = facts.ha.idle_slot_timeout?;
    let message = format!("the server gives up the slot when walcast is down for {} s or longer", limit.as_secs());
    let finding = Finding::warning(Code::SlotIdleTimeout, message)
        .maybe_label(config.postgres.spans.slot.clone(), "bounded by `idle_replication_slot_timeout`")
        .note("clients would have to start over")
        .help("let it be longer than any outage, or set it to 0 and bound the WAL by `max_slot_wal_keep_size`");
    Some(finding)
}
