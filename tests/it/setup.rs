//! `walcast setup`, by the real binary against a real server.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use tokio_postgres::NoTls;

use crate::check::{Shop, config};

const ALL: &str = "table = \"public.*\"\ntopic = \"feed\"";
const BOUNDED: (&str, &str) = ("max_slot_wal_keep_size", "4GB");

/// Everything that setup makes, with the transaction that made it.
const STATE: &str = "\
    select pubname, xmin, puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot from pg_publication;
    select prrelid::regclass, xmin from pg_publication_rel order by 1;
    select slot_name, plugin, database, catalog_xmin from pg_replication_slots;
    select xmin, obj_description(oid, 'pg_namespace') from pg_namespace where nspname = 'walcast'";

fn open() -> Shop {
    let shop = Shop::open(&[BOUNDED]);
    shop.sql("create table articles (id int primary key); create table \"Odd \"\"name\" (id int primary key)");
    shop
}

#[test]
fn setup_makes_what_check_asks_for_and_a_second_time_nothing() {
    let shop = open();
    let outcome = shop.walcast(&config(ALL), &["setup"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(
        outcome.stderr,
        "done: create the schema walcast (sql/setup.sql)\n\
         done: create the publication walcast with 2 tables\n\
         done: create the replication slot walcast\n\
         walcast.toml: 1 route, 0 errors, 0 warnings\n"
    );
    let state = shop.sql(STATE);
    assert!(state.contains(&"\"Odd \"\"name\"".to_owned()), "{state:?}");

    let outcome = shop.walcast(&config(ALL), &["setup"]);
    assert_eq!(
        (outcome.code, &*outcome.stderr),
        (
            Some(0),
            "nothing to do: publication, slot and schema are as they should be\n\
             walcast.toml: 1 route, 0 errors, 0 warnings\n"
        )
    );
    assert_eq!(shop.sql(STATE), state);
}

#[test]
fn what_print_shows_does_the_same() {
    let shop = open();
    let before = shop.sql(STATE);
    let printed = shop.walcast(&config(ALL), &["setup", "--print"]);
    assert_eq!((printed.code, &*printed.stderr), (Some(0), ""));
    assert_eq!(shop.sql(STATE), before, "--print changes nothing");
    assert!(
        printed.stdout.contains(
            "begin;\n\
             do $walcast_setup$ begin\n\
             create publication walcast for table public.\"Odd \"\"name\", public.articles \
             with (publish = 'insert, update, delete, truncate', publish_via_partition_root = true);\n\
             exception when duplicate_object then raise notice 'done before: %', sqlerrm;\n\
             end $walcast_setup$;\n\
             commit;\n"
        ),
        "{}",
        printed.stdout
    );
    shop.sql(&printed.stdout);
    let (state, since) = (shop.sql(STATE), shop.sql("select since from walcast.slots"));
    // A migration may run where it has been run.
    shop.sql(&printed.stdout);
    assert_eq!((shop.sql(STATE), shop.sql("select since from walcast.slots")), (state, since));
    let again = shop.walcast(&config(ALL), &["setup", "--print"]);
    assert_eq!(again.stdout, "-- Nothing to do: publication, slot and schema are as they should be.\n");
    assert_eq!(shop.walcast(&config(ALL), &["check", "--database"]).code, Some(0));
}

#[test]
fn an_existing_publication_gets_what_routes_want_and_keeps_what_it_has() {
    let shop = open();
    shop.sql(
        "create table scores (id int primary key) partition by range (id);
         create table scores_1 partition of scores for values from (0) to (10);
         create schema other;
         create table other.kept (id int primary key);
         create publication walcast for table scores, other.kept with (publish = 'insert, delete')",
    );
    let route = format!("{ALL}\nops = [\"insert\", \"update\"]");
    let outcome = shop.walcast(&config(&route), &["setup"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let members = shop.sql("select prrelid::regclass from pg_publication_rel order by prrelid::regclass::text");
    assert_eq!(members, ["\"Odd \"\"name\"", "articles", "other.kept", "scores"]);
    let ops = shop.sql("select pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot from pg_publication");
    assert_eq!(ops, ["t", "t", "t", "f", "t"]);

    shop.sql("create table later (id int primary key)");
    let outcome = shop.walcast(&config(&route), &["setup"]);
    assert!(outcome.stderr.starts_with("done: extend the publication walcast by 1 table\n"), "{}", outcome.stderr);
}

#[test]
fn a_table_whose_updates_would_then_fail_is_not_published() {
    let shop = open();
    shop.sql("create table clicks (at timestamptz, page text); insert into clicks values (now(), '/')");
    let before = shop.sql(STATE);
    let outcome = shop.walcast(&config(ALL), &["setup"]);
    assert_eq!(outcome.code, Some(1));
    assert_eq!(
        outcome.stderr,
        "error[updates-refused]: in a publication of them, Postgres would refuse updates and deletes of `public.clicks`\n \
          --> walcast.toml:8:9\n  \
           |\n\
         8 | table = \"public.*\"\n  \
           |         ^^^^^^^^^^ has no primary key, and no other replica identity\n  \
           |\n  \
           = note: the apps that write to it would fail\n  \
           = help: run `alter table public.clicks replica identity full`; where rows are only inserted, it costs \
         nothing\n  \
           = help: or give it a primary key\n\n\
         nothing was changed\n"
    );
    assert_eq!(shop.sql(STATE), before);
    shop.sql("update clicks set page = '/home'");

    shop.sql("alter table public.clicks replica identity full");
    assert_eq!(shop.walcast(&config(ALL), &["setup"]).code, Some(0));
    shop.sql("update clicks set page = '/'");
}

#[test]
fn a_publication_is_not_widened_over_tables_that_could_not_bear_it() {
    let shop = open();
    shop.sql("create schema audit; create table audit.log (line text); insert into audit.log values ('x')");
    shop.sql("create publication walcast for table audit.log with (publish = 'insert')");
    let outcome = shop.walcast(&config(ALL), &["setup"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("updates and deletes of `audit.log`"), "{}", outcome.stderr);
    shop.sql("update audit.log set line = 'y'");
}

#[test]
fn whoever_keeps_the_slot_from_being_made_is_named() {
    let shop = open();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (writer, connection) = runtime.block_on(tokio_postgres::connect(&shop.cluster.url(), NoTls)).unwrap();
    let connection = runtime.spawn(connection);
    runtime.block_on(writer.batch_execute("begin; insert into articles values (1)")).unwrap();
    let pid: i32 = runtime.block_on(writer.query_one("select pg_backend_pid()", &[])).unwrap().get(0);

    let mut setup = shop.command(&config(ALL), &["setup"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(setup.stderr.take().unwrap());
    let mut said = String::new();
    // Each line comes as it is written; the blocker's is the last before the transaction ends.
    while !said.contains("pg_terminate_backend") {
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "setup ended early: {said}");
    }
    let line = said.lines().last().unwrap();
    assert!(said.contains("waiting for transactions that are running to end, for 60 s at most"), "{said}");
    assert!(
        line.starts_with(&format!(
            "  pid {pid} (postgres in database postgres, application_name ``, idle in transaction), open for "
        )),
        "{line}"
    );

    runtime.block_on(writer.batch_execute("commit")).unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert!(setup.wait().unwrap().success(), "{said}");
    assert!(said.contains("done: create the replication slot walcast"), "{said}");
    drop(writer);
    runtime.block_on(connection).unwrap().unwrap();
}
