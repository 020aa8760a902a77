//! `setup --row-filters`: what nobody may see does not leave the database, and clients notice nothing of it.

use std::collections::BTreeMap;

use super::*;
use crate::check::{Shop, config};

const TABLE: &str = "create table orders (id int primary key, owner text not null, kind varchar(20), total numeric,
    big int8, ref uuid, open bool, note text);
    alter table orders replica identity full;";

fn route(rule: &str) -> String {
    format!("table = \"public.orders\"\ntopic = \"orders\"\nwhere = \"{rule}\"")
}

/// Row filters by table, as Postgres prints them.
const FILTERS: &str = "select coalesce(rowfilter, 'none') from pg_publication_tables order by tablename";

fn supports_row_filters(shop: &Shop) -> bool {
    shop.sql("show server_version_num")[0].parse::<u32>().unwrap() >= 150_000
}

#[test]
fn every_filter_that_setup_writes_is_known_again() {
    let shop = Shop::open(&[("max_slot_wal_keep_size", "4GB")]);
    shop.sql(TABLE);
    if !supports_row_filters(&shop) {
        let outcome = shop.walcast(&config(&route("id > 7")), &["setup", "--row-filters"]);
        assert!(outcome.stderr.contains("row filters came with Postgres 15"), "{}", outcome.stderr);
        return;
    }
    for rule in [
        "owner <> 'it''s \\\\\\\\ ours'",
        "owner in ('b', 'a', 'c') and kind not in ('x', 'y')",
        "kind = 'x' or total > 1.50 or total = -3",
        "big >= 9000000000 and id between 1 and 7 and big <> 5",
        "open and not (open is not true) and note is not null",
        "ref = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11' and (open is unknown or not open)",
        "owner is distinct from 'a' and id = total and id > -7",
        "owner = any (array['a', 'b']) and owner <> all (array['c', 'd'])",
        "(owner = 'a' and kind = 'x') or (owner = 'b' and (kind = 'y' or total < 0))",
        "owner > 'm' collate \\\"C\\\" and id > 7",
    ] {
        let config = config(&route(rule));
        let outcome = shop.walcast(&config, &["setup", "--row-filters"]);
        assert_eq!(outcome.code, Some(0), "{rule}: {}", outcome.stderr);
        let filters = shop.sql(FILTERS);
        assert_ne!(filters, ["none"], "{rule}");
        assert!(outcome.stderr.contains("0 errors, 0 warnings"), "{rule} is {filters:?}: {}", outcome.stderr);
        let again = shop.walcast(&config, &["setup", "--row-filters"]);
        assert!(again.stderr.starts_with("nothing to do"), "{rule} is {filters:?}: {}", again.stderr);
    }
    for rule in ["note like 'a%'", "owner = 'a' or note like 'b%'", "note = claims.sub"] {
        let text = config(&route(rule))
            .replace("mode = \"none\"", "mode = \"jwt\"\nsecret = \"a secret of more than 32 bytes\"");
        let outcome = shop.walcast(&text, &["setup", "--row-filters"]);
        assert_eq!(outcome.code, Some(0), "{rule}: {}", outcome.stderr);
        assert_eq!(shop.sql(FILTERS), ["none"], "{rule} is nothing for a row filter");
    }
}

#[test]
fn a_route_that_shows_more_than_is_published_is_refused() {
    let shop = Shop::open(&[("max_slot_wal_keep_size", "4GB")]);
    shop.sql(TABLE);
    if !supports_row_filters(&shop) {
        return;
    }
    let narrow = config(&route("kind <> 'draft' and id > 0"));
    assert_eq!(shop.walcast(&narrow, &["setup", "--row-filters"]).code, Some(0));
    for rule in ["kind <> 'draft'", "id > 0", "kind <> 'draft' or id > 0", "kind <> 'other' and id > 0"] {
        let loosened = config(&route(rule));
        let outcome = shop.walcast(&loosened, &["check", "--database"]);
        assert_eq!(outcome.code, Some(1), "{rule}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("error[row-filter]"), "{rule}: {}", outcome.stderr);
        let outcome = shop.walcast(&loosened, &["run"]);
        assert_eq!(outcome.code, Some(1), "{rule}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("error[row-filter]"), "{rule}: {}", outcome.stderr);
    }
    let narrower = config(&route("id > 0 and total > 5 and kind <> 'draft'"));
    assert_eq!(shop.walcast(&narrower, &["check", "--database"]).code, Some(0));
    let without = config("table = \"public.orders\"\ntopic = \"orders\"");
    assert_eq!(shop.walcast(&without, &["check", "--database"]).code, Some(1));
    assert_eq!(shop.walcast(&without, &["setup"]).code, Some(1), "the flag is what was meant");
    assert_eq!(shop.walcast(&without, &["setup", "--row-filters"]).code, Some(0));
    assert_eq!(shop.sql(FILTERS), ["none"]);
}

#[test]
fn the_columns_of_a_table_are_those_that_routes_need() {
    let shop = Shop::open(&[("max_slot_wal_keep_size", "4GB")]);
    shop.sql("create table orders (id int primary key, owner text, kind text, total numeric, secret text)");
    if !supports_row_filters(&shop) {
        return;
    }
    let names = "select array_to_string(attnames, ',') from pg_publication_tables";
    let one = config("table = \"public.orders\"\ntopic = \"orders\"\ncolumns = [\"owner\"]");
    let outcome = shop.walcast(&one, &["setup", "--row-filters"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(shop.sql(names), ["id,owner"]);
    shop.sql("insert into orders values (1, 'a', 'b', 2, 'c'); update orders set id = 2; delete from orders");
    let two = one + "\n[[route]]\ntable = \"public.orders\"\ntopic = \"totals\"\ncolumns = [\"total\"]\n";
    let lacking = shop.walcast(&two, &["check", "--database"]);
    assert!(lacking.stderr.contains("error[column-not-published]"), "{}", lacking.stderr);
    assert_eq!(shop.walcast(&two, &["setup", "--row-filters"]).code, Some(0));
    assert_eq!(shop.sql(names), ["id,owner,total"]);
    let all = config("table = \"public.orders\"\ntopic = \"orders\"");
    assert!(shop.walcast(&all, &["check", "--database"]).stderr.contains("warning[column-not-published]"));
    assert_eq!(shop.walcast(&all, &["setup", "--row-filters"]).code, Some(0));
    assert_eq!(shop.sql(names), ["id,owner,kind,total,secret"]);
}

/// What a client makes of what it is shown up to the next mark.
async fn follow(client: &mut Client, replica: &mut BTreeMap<i64, String>) {
    loop {
        let message = client.next().await;
        match message[3].as_str().unwrap() {
            "new_updates" => {
                for update in message[4]["updates"].as_array().unwrap() {
                    let row = |key: &str| {
                        update[key].as_object().map(|row| (row["id"].as_i64().unwrap(), row["kind"].to_string()))
                    };
                    let (old, new) = (row("old_record"), row("record"));
                    if let Some((id, _)) = old.filter(|_| update["op"] != "insert") {
                        assert!(replica.remove(&id).is_some(), "{update} of a row that is not there");
                    }
                    if let Some((id, kind)) = new {
                        let known = replica.insert(id, kind);
                        let has_none = update["op"] == "insert" || update["old_record"].is_object();
                        assert_eq!(known.is_none(), has_none, "{update}");
                    }
                }
            }
            "cursor" => {}
            "mark" => return,
            _ => panic!("{message}"),
        }
    }
}

async fn leaves_nothing_and_loses_nothing(table: &str, kinds: &[&str]) {
    let routes = "[[route]]\ntable = \"public.orders\"\ntopic = \"orders\"\nwhere = \"kind <> 'draft'\"\n\
                  [[route]]\ntable = \"public.orders\"\ntopic = \"mine\"\n\
                  where = \"kind = 'sent' and owner = claims.sub\"\n";
    let bench = Bench::set_up("setup --row-filters", table, routes).await;
    let version: i32 = bench.database.value("select current_setting('server_version_num')::int").await;
    if version < 150_000 {
        return;
    }
    let filter: String = bench.database.value("select rowfilter from pg_publication_tables").await;
    assert_eq!(filter, "((kind <> 'draft'::text) OR (kind = 'sent'::text))");
    bench.database.execute("select pg_create_logical_replication_slot('peek', 'pgoutput')").await;
    let mut all = bench.joined("orders", json!({"sub": "ann"}), json!({})).await;
    let mut mine = bench.joined("mine", json!({"sub": "ann"}), json!({})).await;
    let (mut all_rows, mut my_rows) = (BTreeMap::new(), BTreeMap::new());
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..20 {
        for _ in 0..15 {
            let (id, owner) = (random.u32(0..12), random.choice(["ann", "bob"]).unwrap());
            let kind = random.choice(kinds).unwrap();
            let note = if *kind == "'draft'" { "a hidden draft" } else { "shown" };
            let statement = match random.u8(0..5) {
                0 | 1 => format!(
                    "insert into orders select {id}, '{owner}', {kind}, '{note}' \
                     where not exists (select from orders where id = {id})"
                ),
                2 => format!("update orders set kind = {kind}, note = '{note}' where id = {id}"),
                3 => format!(
                    "update orders set owner = '{owner}', id = {} where id = {id} \
                              and not exists (select from orders where id = {0})",
                    random.u32(0..12)
                ),
                _ => format!("delete from orders where id = {id}"),
            };
            bench.database.execute(&statement).await;
        }
        bench.run("orders", &["select walcast.broadcast('mine', 'mark', '{}')"]).await;
        follow(&mut all, &mut all_rows).await;
        follow(&mut mine, &mut my_rows).await;
        for (rows, rule) in [(&all_rows, "kind <> 'draft'"), (&my_rows, "kind = 'sent' and owner = 'ann'")] {
            let sql = format!(
                "select coalesce(string_agg(concat(id, to_json(kind)), ' ' order by id), '') from orders where {rule}"
            );
            let table: String = bench.database.value(&sql).await;
            let replica: Vec<String> = rows.iter().map(|(id, kind)| format!("{id}{kind}")).collect();
            assert_eq!(replica.join(" "), table, "round {round}, {rule}");
        }
    }
    let sent: i64 = bench
        .database
        .value(
            "select count(*) from pg_logical_slot_get_binary_changes('peek', null, null, 'proto_version', '1', \
         'publication_names', 'walcast') where position('a hidden draft'::bytea in data) > 0",
        )
        .await;
    assert_eq!(sent, 0, "a draft has left the database");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_may_see_does_not_leave_the_database_and_clients_have_the_rest() {
    let table = "create table orders (id int primary key, owner text, kind text, note text);
                 alter table orders replica identity full";
    leaves_nothing_and_loses_nothing(table, &["'draft'", "'sent'", "'open'", "null"]).await;
}

/// Old rows are keys, which have what decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_of_a_table_in_partitions() {
    let table = "create table orders (id int, owner text, kind text, note text, primary key (id, kind, owner)) \
                 partition by hash (id);
                 create table orders_0 partition of orders for values with (modulus 2, remainder 0);
                 create table orders_1 partition of orders for values with (modulus 2, remainder 1)";
    leaves_nothing_and_loses_nothing(table, &["'draft'", "'sent'", "'open'"]).await;
}
