//! Every verdict about a server, as its reader sees it.

use super::*;
use std::time::Duration;

use crate::change::{Lsn, TypeCatalogue};
use crate::config::code::{Code, Tier};
use crate::config::render::{self, Style};
use crate::config::tests::{check_snapshot, config, fixtures};
use crate::replication::slot::{Invalidation, Slot, SlotSample, WalStatus};

const CONFIG: &str = r#"[postgres]
url = "postgres://walcast@db/shop"
slot = "live"
publication = "live"

[auth]
mode = "none"

[replay]
wal = "1GiB"

[[route]]
table = "public.orders"
topic = "orders:{customer_id}"
columns = ["id", "total"]
"#;

/// The server of [`CONFIG`], with nothing wrong.
fn sound() -> ServerFacts {
    ServerFacts {
        version: 170_006,
        wal_level: "logical".to_owned(),
        max_wal_senders: 10,
        wal_senders: 1,
        max_replication_slots: 10,
        replication_slots: 1,
        max_slot_wal_keep_size: Some(4 << 30),
        database: "shop".to_owned(),
        role: RoleFacts {
            name: "walcast".to_owned(),
            superuser: false,
            replication: true,
            may_create: true,
            owns_publication: Some(true),
        },
        slot: Some(Slot {
            plugin: Some("pgoutput".to_owned()),
            database: Some("shop".to_owned()),
            active_pid: None,
            confirmed_flush: Some(Lsn::new(0x0153_A6A8)),
            sample: SlotSample { wal_status: WalStatus::Reserved, ..SlotSample::default() },
        }),
        slot_held: Some(100 << 20),
        ha: HaFacts::default(),
        others: Vec::new(),
        publication: Some(PublicationFacts {
            all_tables: false,
            insert: true,
            update: true,
            delete: true,
            truncate: true,
            via_root: true,
            generated: false,
        }),
        schema_comment: None,
        tables: vec![orders()],
        writes: WriteFacts { mutations: true, tables: vec![writable_orders()] },
    }
}

fn writable_orders() -> WritableTable {
    let column =
        |(name, base): (&str, u32)| WritableColumn { name: name.to_owned(), key: name == "id", generated: false, base };
    let privileges = ["select", "insert", "update", "delete"].map(str::to_owned).into();
    WritableTable {
        schema: "public".to_owned(),
        name: "orders".to_owned(),
        columns: [("id", 23), ("customer_id", 23), ("status", 25), ("total", 1700)].map(column).into(),
        writer: Some(Writer { role: "web".to_owned(), takeable: true, privileges }),
    }
}

/// Lets clients write by the route of [`CONFIG`].
const WRITE: &str = "[route.write]\ncolumns = [\"total\"]\nrole = \"web\"\n";

fn orders() -> Table {
    let columns = ["id", "customer_id", "status", "total"];
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        type_name: "integer".to_owned(),
        json_cast: false,
        generated: false,
        ty: TypeCatalogue::builtin().get(if *name == "status" { 25 } else { 23 }).unwrap(),
        nondeterministic: false,
        labels: Vec::new(),
    };
    Table {
        schema: "public".to_owned(),
        name: "orders".to_owned(),
        kind: RelationKind::Table,
        columns: columns.iter().map(column).collect(),
        identities: vec![identity("public.orders", IdentityColumns::All)],
        key: Vec::new(),
        silent_leaves: Vec::new(),
        heirs: Vec::new(),
        unique_indexes: Vec::new(),
        published: Some(Published { columns: columns.map(str::to_owned).into(), filter: None }),
        member: true,
        terms: Terms::default(),
        selectable: true,
        owned: true,
        row_security: RowSecurity::Off,
    }
}

fn identity(table: &str, columns: IdentityColumns) -> Identity {
    let (table, generated) = (table.to_owned(), Vec::new());
    let setting = IdentitySetting::Default;
    Identity { table, columns, setting, primary_key: PrimaryKey::None, generated }
}

/// A standby that lacks nothing.
fn keeping_standby() -> HaFacts {
    HaFacts {
        in_recovery: true,
        hot_standby_feedback: true,
        primary_slot_name: "standby".to_owned(),
        conninfo_has_database: Some(true),
        sync_replication_slots: true,
        ..HaFacts::default()
    }
}

fn ask_for_failover(code: Code, facts: &mut ServerFacts, text: &mut String) {
    *text = text.replace("slot = \"live\"", "slot = \"live\"\nfailover = true").replace("@db/", "@db,db2,db3/");
    let other = |host: &str, facts| OtherServer { host: host.to_owned(), facts };
    let standby = keeping_standby();
    facts.others = vec![other("db", Ok(HaFacts::default())), other("db2", Ok(standby))];
    if code == Code::SlotFailover {
        facts.ha.synchronized_standby_slots = "standby".to_owned();
        return;
    }
    facts.slot.as_mut().unwrap().sample.failover = true;
    let lacking = HaFacts { in_recovery: true, conninfo_has_database: Some(false), ..HaFacts::default() };
    facts.others.extend([other("db3", Ok(lacking)), other("db4", Err("connect to db4: refused".to_owned()))]);
}

/// What to do to a sound server (and to the configuration's text) so that a code is found.
fn break_it(code: Code, facts: &mut ServerFacts, text: &mut String) {
    let slot = facts.slot.as_mut().unwrap();
    let publication = facts.publication.as_mut().unwrap();
    let table = &mut facts.tables[0];
    match code {
        Code::ServerVersion => facts.version = 130_012,
        Code::ServerMinor => facts.version = 150_013,
        Code::WalLevel => facts.wal_level = "replica".to_owned(),
        Code::WalSendersFull => facts.wal_senders = 10,
        Code::SlotsFull => (facts.replication_slots, facts.slot) = (10, None),
        Code::WalKeepUnbounded => facts.max_slot_wal_keep_size = None,
        Code::WalKeepTooSmall => facts.max_slot_wal_keep_size = Some(512 << 20),
        Code::RoleReplication => facts.role.replication = false,
        Code::RoleSelect => table.selectable = false,
        Code::SlotMissing => facts.slot = None,
        Code::SlotPlugin => slot.plugin = Some("wal2json".to_owned()),
        Code::SlotDatabase => slot.database = Some("blog".to_owned()),
        Code::SlotLost => slot.sample.invalidation = Some(Invalidation::WalRemoved),
        Code::SlotActive => slot.active_pid = Some(4711),
        Code::SlotHeld
        | Code::SlotIdleTimeout
        | Code::SlotTwoPhase
        | Code::SlotSynced
        | Code::SlotFailover
        | Code::StandbySettings
        | Code::StandbyVersion
        | Code::StandbyWrites => break_slot(code, facts, text),
        Code::PublicationMissing => (facts.publication, table.published) = (None, None),
        Code::PublicationViaRoot => {
            (publication.via_root, table.kind, table.published) = (false, RelationKind::Partitioned, None);
        }
        Code::TableMissing => table.name = "order".to_owned(),
        Code::NoTableMatches => *text = text.replace("public.orders", "sales.*"),
        Code::TableKind => table.kind = RelationKind::Unlogged,
        Code::PartitionRouted => {
            (table.kind, table.published) = (RelationKind::Partition { root: "public.all_orders".to_owned() }, None);
        }
        Code::TableNotPublished => table.published = None,
        Code::OpNotPublished => (publication.delete, publication.truncate) = (false, false),
        Code::ColumnMissing => {
            *text = text.replace("{customer_id}", "{custmer_id}").replace("\"total\"", "\"totl\"");
            text.push_str("where = \"stauts = 'open'\"\n");
        }
        Code::ColumnNotPublished => table.published = Some(Published { columns: vec!["id".to_owned()], filter: None }),
        Code::RowFilter | Code::GeneratedColumn | Code::CastIgnored => break_columns(code, table, text),
        Code::ExpressionType | Code::Collation | Code::IdentityTooWeak => break_rules(code, table, text),
        Code::UpdatesRefused => {
            *text = text.replace("{customer_id}", "all");
            table.identities[0].columns = IdentityColumns::Some(Vec::new());
        }
        Code::PartitionsLater | Code::PartitionSilent | Code::InheritedRows | Code::RowSecurity => {
            break_tables(code, table);
        }
        Code::SetupRights => take_rights(facts),
        Code::SchemaOutdated => facts.schema_comment = Some(Some("walcast, revision 1".to_owned())),
        Code::MutationsMissing
        | Code::WriteNoKey
        | Code::WriteGenerated
        | Code::WriteConflictType
        | Code::WriteRoleMissing
        | Code::WritePrivilege => break_writes(code, &mut facts.writes, text),
        other => panic!("{other} is not about the server"),
    }
}

fn take_rights(facts: &mut ServerFacts) {
    let table = &mut facts.tables[0];
    (table.published, table.member, table.owned) = (None, false, false);
    (facts.role.may_create, facts.publication, facts.schema_comment) = (false, None, None);
}

fn break_tables(code: Code, table: &mut Table) {
    let leaf = |name: &str, unlogged| SilentLeaf { table: format!("public.{name}"), unlogged };
    match code {
        Code::PartitionsLater => {
            (table.kind, table.key) = (RelationKind::Partitioned, vec!["id".to_owned()]);
        }
        Code::PartitionSilent => {
            (table.kind, table.key) = (RelationKind::Partitioned, vec!["customer_id".to_owned()]);
            table.silent_leaves = vec![leaf("orders_1", true), leaf("orders_2", false), leaf("orders_3", false)];
        }
        Code::InheritedRows => {
            table.heirs = vec![("public".to_owned(), "old.orders".to_owned()), ("archive".to_owned(), "o".to_owned())];
        }
        _ => table.row_security = RowSecurity::Applies,
    }
}

fn break_columns(code: Code, table: &mut Table, text: &mut String) {
    match code {
        Code::RowFilter => {
            text.push_str("where = \"status <> 'draft'\"\n");
            let columns = ["id", "customer_id", "status", "total"].map(str::to_owned).into();
            table.published = Some(Published { columns, filter: Some("(status = 'open'::text)".to_owned()) });
        }
        Code::GeneratedColumn => {
            *text = text.replace("columns = [\"id\", \"total\"]\n", "");
            table.columns[3].generated = true;
            let columns = ["id", "customer_id", "status"].map(str::to_owned).into();
            table.published = Some(Published { columns, filter: None });
        }
        _ => {
            (table.columns[3].json_cast, table.columns[3].type_name) = (true, "money_with_currency".to_owned());
        }
    }
}

fn break_slot(code: Code, facts: &mut ServerFacts, text: &mut String) {
    let slot = facts.slot.as_mut().unwrap();
    match code {
        Code::SlotHeld => {
            (facts.slot_held, slot.sample.safe_wal_bytes) = (Some(3 << 30), Some(1 << 30));
            slot.sample.inactive_for = Some(Duration::from_secs(86_400));
        }
        Code::SlotIdleTimeout => facts.ha.idle_slot_timeout = Some(Duration::from_secs(3600)),
        Code::SlotTwoPhase => slot.sample.two_phase = true,
        Code::SlotSynced => (slot.sample.synced, facts.ha.in_recovery) = (true, true),
        Code::SlotFailover | Code::StandbySettings => ask_for_failover(code, facts, text),
        Code::StandbyVersion => (facts.ha.in_recovery, facts.version) = (true, 150_018),
        Code::StandbyWrites => {
            facts.ha = keeping_standby();
            text.push_str(WRITE);
        }
        other => panic!("{other} is not about the slot"),
    }
}

fn break_rules(code: Code, table: &mut Table, text: &mut String) {
    match code {
        Code::ExpressionType => {
            text.push_str("where = \"status = 5 and total > 'much' or status > 'a'\"\n");
            text.push_str("allow = \"claims.role = 'admin' or customer_id = true\"\n");
        }
        Code::Collation => {
            table.columns[2].nondeterministic = true;
            text.push_str("where = \"\"\"\nstatus = 'open'\nand total > 0\"\"\"\n");
        }
        _ => {
            table.identities[0].columns = IdentityColumns::Some(vec!["id".to_owned()]);
            text.push_str("where = \"status <> 'draft' and id > 0\"\n");
        }
    }
}

fn break_writes(code: Code, writes: &mut WriteFacts, text: &mut String) {
    let writable = &mut writes.tables[0];
    match code {
        Code::MutationsMissing => (writes.mutations, *text) = (false, format!("{CONFIG}{WRITE}")),
        Code::WriteNoKey => (writable.columns[0].key, *text) = (false, format!("{CONFIG}{WRITE}")),
        Code::WriteGenerated => (writable.columns[3].generated, *text) = (true, format!("{CONFIG}{WRITE}")),
        Code::WriteConflictType => {
            *text = CONFIG.replace("columns = [\"id\", \"total\"]\n", "") + WRITE;
            text.push_str("conflict = \"row\"\nversion = \"status\"\n");
        }
        Code::WriteRoleMissing => {
            writable.writer = Some(Writer { role: "web".to_owned(), takeable: false, privileges: Vec::new() });
            *text = format!("{CONFIG}{WRITE}");
        }
        Code::WritePrivilege => {
            let privileges = vec!["select".to_owned(), "update".to_owned()];
            writable.writer = Some(Writer { role: "web".to_owned(), takeable: true, privileges });
            *text = format!("{CONFIG}{WRITE}");
        }
        other => panic!("{other} is not about writes"),
    }
}

fn shown(findings: &[Finding], config: &Config) -> String {
    render::text(findings, &config.source, Style::Plain)
}

#[test]
fn a_sound_server_is_left_alone() {
    let config = config(CONFIG);
    let findings = judge(&sound(), &config);
    assert!(findings.is_empty(), "{}", shown(&findings, &config));
}

#[test]
fn every_code_of_the_server_is_found_and_says_how_to_mend_it() {
    for code in Code::ALL.iter().filter(|code| code.tier() == Tier::Server) {
        let (mut facts, mut text) = (sound(), CONFIG.to_owned());
        break_it(*code, &mut facts, &mut text);
        let config = config(&text);
        let mut findings = judge(&facts, &config);
        if *code == Code::SetupRights {
            let tables: Vec<&Table> = facts.tables.iter().collect();
            findings =
                lacking_rights(&facts, &config, Undertaking { schema: true, publication: true, tables: &tables });
        }
        let text = shown(&findings, &config);
        assert!(findings.iter().any(|finding| finding.code == *code), "{code} is not found:\n{text}");
        check_snapshot(&fixtures("live").join(format!("{code}.stderr")), &text);
    }
}

#[test]
fn a_table_that_clients_may_write_is_left_alone_where_all_is_right() {
    let config = config(&format!("{CONFIG}{WRITE}"));
    let findings = judge(&sound(), &config);
    assert!(findings.is_empty(), "{}", shown(&findings, &config));
}

#[test]
fn columns_that_clients_may_write_must_exist() {
    let text = format!("{CONFIG}{WRITE}").replace("columns = [\"id\", \"total\"]\n", "");
    let config = config(&text.replace("[\"total\"]", "[\"totl\"]\nconflict = \"row\""));
    let codes: Vec<Code> = judge(&sound(), &config).iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::ColumnMissing, Code::ColumnMissing]);
}

#[test]
fn a_glob_only_warns_of_tables_that_are_not_published() {
    let config = config(&CONFIG.replace("public.orders", "public.*"));
    let mut facts = sound();
    facts.tables[0].published = None;
    let findings = judge(&facts, &config);
    assert_eq!(findings.iter().map(|finding| finding.code).collect::<Vec<_>>(), [Code::TableNotPublished]);
    assert!(!findings[0].is_error());
}

#[test]
fn ops_without_old_rows_need_no_replica_identity() {
    let config = config(&(CONFIG.to_owned() + "ops = [\"insert\", \"truncate\"]\n"));
    let mut facts = sound();
    facts.tables[0].identities[0].columns = IdentityColumns::Some(vec!["id".to_owned()]);
    assert_eq!(judge(&facts, &config), []);
}

#[test]
fn an_index_that_has_what_is_needed_is_enough() {
    let config = config(&(CONFIG.to_owned() + "where = \"status <> 'draft'\"\n"));
    let mut facts = sound();
    facts.tables[0].identities[0].columns = IdentityColumns::Some(vec!["id".to_owned()]);
    let index = |name: &str, columns: &[&str]| UniqueIndex {
        name: name.to_owned(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
    };
    facts.tables[0].unique_indexes = vec![
        index("orders_pkey", &["id"]),
        index("All", &["id", "customer_id", "status", "total"]),
        index("Live", &["id", "customer_id", "status"]),
    ];
    let findings = judge(&facts, &config);
    let remedies: Vec<&str> = findings.iter().map(|finding| &*finding.help[0]).collect();
    assert_eq!(remedies, ["run `alter table public.orders replica identity using index \"Live\"`"; 2]);
    let inserts = self::config(&(CONFIG.to_owned() + "where = \"status <> 'draft'\"\nops = [\"insert\"]\n"));
    assert_eq!(judge(&facts, &inserts), []);
}

#[test]
fn each_leaf_partition_is_named_when_its_identity_is_too_weak() {
    let config = config(CONFIG);
    let mut facts = sound();
    facts.tables[0].kind = RelationKind::Partitioned;
    facts.tables[0].identities = ["public.orders_1", "public.orders_2"]
        .map(|table| identity(table, IdentityColumns::Some(vec!["id".to_owned()])))
        .into();
    let [finding] = &judge(&facts, &config)[..] else { panic!("one finding is expected") };
    assert_eq!(
        finding.help[0],
        "run `alter table public.orders_1 replica identity full`, `alter table public.orders_2 replica identity full`"
    );
}

/// With tokens, so that rules can be about claims.
fn with_claims(text: &str) -> Config {
    config(&text.replace("mode = \"none\"", "mode = \"jwt\"\nsecret = \"0123456789abcdef0123456789abcdef\""))
}

fn codes(filter: Option<&str>, columns: &[&str], text: &str) -> Vec<(Code, bool)> {
    let config = with_claims(text);
    let mut facts = sound();
    let columns = columns.iter().map(|column| (*column).to_owned()).collect();
    facts.tables[0].published = Some(Published { columns, filter: filter.map(str::to_owned) });
    judge(&facts, &config).iter().map(|finding| (finding.code, finding.is_error())).collect()
}

#[test]
fn what_the_publication_holds_back_is_held_against_the_route() {
    let all = ["id", "customer_id", "status", "total"];
    let with = |rule: &str| format!("{CONFIG}where = \"{rule}\"\n");
    let lacking = [(Code::RowFilter, true)];
    for (filter, rule, expected) in [
        ("(status <> 'draft'::text)", "status <> 'draft'", &[][..]),
        ("(status <> 'draft'::text)", "status <> 'draft' and total = claims.total", &[]),
        ("((status <> 'draft'::text) OR (total > 5))", "total > 5 and id > 7", &[]),
        ("((status = 'a'::text) OR (status = 'b'::text))", "status = 'b' or status = 'a'", &[]),
        ("(status <> 'draft'::text)", "total > 5", &lacking),
        ("((status <> 'draft'::text) AND (id > 7))", "status <> 'draft'", &lacking),
        ("(status <> 'draft'::text)", "status <> 'draft' or total = claims.total", &lacking),
        ("(upper(status) <> 'DRAFT'::text)", "status <> 'draft'", &[(Code::RowFilter, false)]),
    ] {
        assert_eq!(codes(Some(filter), &all, &with(rule)), expected, "{filter} under {rule}");
    }
    assert_eq!(codes(Some("(id > 7)"), &all, CONFIG), lacking, "a route without a rule shows every row");
    assert_eq!(codes(Some("(status = 'a'::text)"), &all, &with("status = 'a' and claims.x = 'y'")), []);
    let all_columns = CONFIG.replace("columns = [\"id\", \"total\"]\n", "");
    assert_eq!(codes(None, &all[..3], &all_columns), [(Code::ColumnNotPublished, false)]);
}

/// The row filter, and the columns.
fn narrowed(text: &str, alter: impl Fn(&mut Table)) -> (Option<String>, Option<String>) {
    let (config, mut facts) = (with_claims(text), sound());
    alter(&mut facts.tables[0]);
    let narrowed = Narrowed::of(&facts.tables[0], &facts, &config);
    (narrowed.filter, narrowed.columns.map(|columns| columns.join(",")))
}

#[test]
fn a_table_is_narrowed_to_what_its_routes_need_and_no_app_s_write_fails_by_it() {
    let key = |columns: &[&str]| IdentityColumns::Some(columns.iter().map(|it| (*it).to_owned()).collect());
    let route = |rest: &str| format!("[[route]]\ntable = \"public.orders\"\ntopic = \"all\"\n{rest}\n");
    let both = |rest: &str| format!("{CONFIG}where = \"status <> 'draft' and id = claims.id\"\n{}", route(rest));
    let status = "status <> 'draft'::pg_catalog.text";
    let full = |_: &mut Table| {};
    let by_key = |table: &mut Table| table.identities[0].columns = key(&["id"]);
    let with = |rule: &str| format!("{CONFIG}where = \"{rule}\"\n");
    let filter = |sql: &str| Some(sql.to_owned());
    assert_eq!(narrowed(CONFIG, full), (None, None));
    assert_eq!(narrowed(&with("status <> 'draft' and id = claims.id"), full), (filter(status), None));
    assert_eq!(narrowed(&with("status like 'a%' and status <> 'draft'"), full), (filter(status), None));
    assert_eq!(narrowed(&with("id = claims.id"), full), (None, None), "nothing in it is the same for everyone");
    assert_eq!(narrowed(&both(""), full), (None, None), "another route shows every row");
    assert_eq!(
        narrowed(&both("where = \"id > 7\""), full).0,
        filter("(status <> 'draft'::pg_catalog.text) or (id > '7'::pg_catalog.int4)")
    );
    assert_eq!(narrowed(&(with("status <> 'draft'") + "ops = [\"insert\"]\n"), full).0, None, "moves come as inserts");
    assert_eq!(narrowed(CONFIG, by_key), (None, Some("id,customer_id,total".to_owned())));
    assert_eq!(narrowed(&both("columns = [\"id\", \"status\"]\nwhere = \"id > 7\""), by_key).1, None);
    assert_eq!(narrowed(&with("status <> 'draft' and id > 7"), by_key).0, filter("id > '7'::pg_catalog.int4"));
    let partitioned = |table: &mut Table| table.kind = RelationKind::Partitioned;
    assert_eq!(narrowed(&with("status <> 'draft'"), partitioned).0, None, "a new partition's old rows are its key");
}

#[test]
fn a_label_that_an_enum_does_not_have_is_told() {
    let with = |rule: &str| {
        let config = config(&format!("{CONFIG}where = \"{rule}\"\n"));
        let mut facts = sound();
        let status = &mut facts.tables[0].columns[2];
        status.type_name = "order_status".to_owned();
        status.labels = ["draft", "open", "paid"].map(str::to_owned).into();
        judge(&facts, &config).iter().map(|finding| finding.message.clone()).collect::<Vec<_>>()
    };
    for rule in [
        "status <> 'draft'",
        "status in ('open', 'paid') or 'draft' = status",
        "status = any (array['open']) and total > 5",
        "status::text = 'other'",
    ] {
        assert_eq!(with(rule), [""; 0], "{rule}");
    }
    for rule in [
        "status <> 'drafft'",
        "total > 5 and not ('drafft' = status or status = 'open')",
        "status not in ('open', 'drafft')",
        "status is distinct from 'drafft'",
        "status <> all (array['drafft', 'open'])",
    ] {
        assert_eq!(with(rule), ["`order_status` has no label `drafft`"], "{rule}");
    }
}
