//! A DBA's trial: a database of two hundred relations by many hands (`dba/estate.sql`). `setup`, `check` and `run` tell
//! what is wrong before anything breaks, all at once, and no app's update or delete ever fails for what setup did.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::check::{Shop, config};
use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::phoenix::Client;

const ESTATE: &str = include_str!("dba/estate.sql");
const BOUNDED: (&str, &str) = ("max_slot_wal_keep_size", "4GB");

fn open() -> Shop {
    let shop = Shop::open(&[BOUNDED]);
    shop.sql(ESTATE);
    shop
}

/// Tables with changes in the WAL whose updates or deletes Postgres refuses right now. It decides that before it looks
/// for rows.
fn refused(shop: &Shop) -> BTreeSet<String> {
    shop.sql(
        "create temporary table refused (name text);
         do $$
         declare target record;
         begin
           for target in
             select c.oid::regclass::text as name,
                    (select quote_ident(attname) from pg_attribute where attrelid = c.oid and attnum > 0
                       and not attisdropped and attgenerated = '' and attidentity <> 'a' limit 1) as col
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relkind = 'r' and c.relpersistence = 'p' and n.nspname !~ '^pg_|^information_schema$|^walcast$'
           loop
             begin
               execute format('delete from %s where false', target.name);
               if target.col is not null then
                 execute format('update %s set %s = null where false', target.name, target.col);
               end if;
             exception when object_not_in_prerequisite_state or invalid_column_reference then
               insert into refused values (target.name);
             end;
           end loop;
         end $$;
         select name from refused",
    )
    .into_iter()
    .collect()
}

/// A configuration with several routes.
fn routes(patterns: &[&str]) -> String {
    let route = |pattern: &&str| format!("[[route]]\ntable = '{pattern}'\ntopic = \"everything\"\n");
    let all: String = patterns.iter().map(route).collect();
    format!("[postgres]\nurl = \"${{DATABASE_URL}}\"\n\n[auth]\nmode = \"none\"\n\n{all}")
}

/// The codes that were printed, and how often.
fn codes(stderr: &str) -> BTreeMap<&str, usize> {
    let mut codes = BTreeMap::new();
    for line in stderr.lines() {
        let code = line.strip_prefix("error[").or_else(|| line.strip_prefix("warning["));
        if let Some((code, _)) = code.and_then(|rest| rest.split_once(']')) {
            *codes.entry(code).or_default() += 1;
        }
    }
    codes
}

/// The statements that help lines recommend.
fn remedies(stderr: &str) -> Vec<&str> {
    let of_line = |line: &'_ str| -> Option<(usize, usize)> {
        let start = line.find("= help: run `alter table ")? + "= help: run `".len();
        Some((start, start + line[start..].find('`')?))
    };
    stderr.lines().filter_map(|line| of_line(line).map(|(start, end)| &line[start..end])).collect()
}

#[test]
fn everything_is_told_at_once_and_nothing_is_done_before() {
    let shop = open();
    assert!(refused(&shop).is_empty());
    let text = routes(&["*.*"]);
    let checked = shop.walcast(&text, &["check", "--database"]);
    assert_eq!(checked.code, Some(1));
    let expected = [
        ("generated-column", 1),
        ("partition-silent", 2),
        ("partitions-later", 1),
        ("publication-missing", 1),
        ("row-security", 1),
        ("slot-missing", 1),
        ("table-kind", 1),
        ("updates-refused", 4),
    ];
    assert_eq!(codes(&checked.stderr), BTreeMap::from(expected), "{}", checked.stderr);
    let gravest = "\
error[updates-refused]: in a publication of them, Postgres would refuse updates and deletes of `app.clicks`
 --> walcast.toml:8:9
  |
8 | table = '*.*'
  |         ^^^^^ has no primary key, and no other replica identity
  |
  = note: the apps that write to it would fail
  = note: the same goes for `app.imports`, `app.metrics`, `app.mixed`, `app.no_columns`, `app.nullable_unique`, \
`app.things_tags`, `app.unique_only` and `app.vehicles`
  = help: run `alter table app.clicks replica identity full`; where rows are only inserted, it costs nothing
  = help: run `alter table app.imports replica identity full`; where rows are only inserted, it costs nothing
  = help: run `alter table app.metrics_0 replica identity full`; where rows are only inserted, it costs nothing
  = help: run `alter table app.metrics_1 replica identity full`; where rows are only inserted, it costs nothing
  = help: run `alter table app.mixed_2 replica identity full`; where rows are only inserted, it costs nothing
  = help: run `alter table app.no_columns replica identity full`; where rows are only inserted, it costs nothing
  = help: run `alter table app.nullable_unique replica identity full`; where rows are only inserted, it costs nothing
  = help: run `alter table app.things_tags replica identity full`; where rows are only inserted, it costs nothing
  = help: run `alter table app.unique_only replica identity using index unique_only_code_key`
  = help: run `alter table app.vehicles replica identity full`; where rows are only inserted, it costs nothing
  = help: or give it a primary key
";
    assert!(checked.stderr.contains(gravest), "{}", checked.stderr);

    let run = shop.walcast(&text, &["run"]);
    assert_eq!(run.code, Some(1));
    assert_eq!(codes(&run.stderr), codes(&checked.stderr), "{}", run.stderr);

    let setup = shop.walcast(&text, &["setup"]);
    assert_eq!(setup.code, Some(1));
    assert_eq!(codes(&setup.stderr), BTreeMap::from([("updates-refused", 4)]), "{}", setup.stderr);
    assert!(setup.stderr.ends_with("nothing was changed\n"), "{}", setup.stderr);
    assert_eq!(shop.sql("select count(*) from pg_publication where pubname = 'walcast'"), ["0"]);
    assert!(refused(&shop).is_empty());
}

#[test]
fn what_help_lines_say_mends_it() {
    let shop = open();
    let text = routes(&["*.*"]);
    let checked = shop.walcast(&text, &["check", "--database"]);
    let remedies = remedies(&checked.stderr);
    assert!(remedies.len() > 10, "{remedies:?}");
    shop.sql(&remedies.join(";\n"));
    let setup = shop.walcast(&text, &["setup"]);
    assert_eq!(setup.code, Some(0), "{}", setup.stderr);
    assert!(refused(&shop).is_empty());
    let checked = shop.walcast(&text, &["check", "--database"]);
    assert_eq!((checked.code, codes(&checked.stderr).contains_key("updates-refused")), (Some(0), false));
    assert!(checked.stderr.ends_with("1 route, 0 errors, 4 warnings\n"), "{}", checked.stderr);
}

/// Each odd table by itself, on an estate that nobody mended: it is refused, or its apps and all others go on writing.
#[test]
fn no_table_that_setup_publishes_takes_updates_from_an_app() {
    let shop = open();
    let tables = shop.sql(
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p') and not c.relispartition and n.nspname = 'app' and c.relpersistence = 'p'
           and c.relname !~ '^thing_' order by 1",
    );
    assert!(tables.len() > 20, "{tables:?}");
    let mut stopped = BTreeSet::new();
    for table in &tables {
        let setup = shop.walcast(&routes(&[table]), &["setup"]);
        let published = shop.sql("select tablename from pg_publication_tables where pubname = 'walcast'");
        if codes(&setup.stderr).contains_key("updates-refused") {
            assert_eq!(published, [""; 0], "{table}: {}", setup.stderr);
            stopped.insert(table.as_str());
        } else {
            assert_eq!(published.len(), 1, "{table} {published:?}: {}", setup.stderr);
        }
        assert_eq!(refused(&shop), BTreeSet::new(), "{table}: {}", setup.stderr);
        shop.sql("drop publication if exists walcast");
    }
    let expected = [
        "app.clicks",
        "app.identity_dropped",
        "app.identity_nothing",
        "app.imports",
        "app.metrics",
        "app.mixed",
        "app.no_columns",
        "app.nullable_unique",
        "app.seats",
        "app.things_tags",
        "app.unique_only",
        "app.vehicles",
    ];
    assert_eq!(stopped, BTreeSet::from(expected));
}

/// Somebody's publication of inserts, over tables whose updates it could not bear, is not made one of updates.
#[test]
fn no_publication_of_inserts_is_widened_over_what_could_not_bear_it() {
    let shop = open();
    let versions = shop.sql("show server_version_num");
    let mut publications = vec!["for all tables", "for table app.thing_1, app.clicks"];
    if versions[0].as_str() >= "150000" {
        publications.extend([
            "for tables in schema app",
            "for table app.typed (email)",
            "for table app.identity_full (id)",
            "for table app.thing_1 where (name <> '')",
            "for table app.thing_1 (id, name) where (id > 0), app.identity_index (id, name)",
        ]);
    }
    for publication in publications {
        shop.sql(&format!("create publication walcast {publication} with (publish = 'insert')"));
        assert_eq!(refused(&shop), BTreeSet::new(), "{publication}");
        let text = routes(&["app.thing_1", "app.thing_2"]);
        let checked = shop.walcast(&text, &["check", "--database"]);
        let setup = shop.walcast(&text, &["setup"]);
        assert_eq!(setup.code, Some(1), "{publication}: {}", setup.stderr);
        for said in [&checked.stderr, &setup.stderr] {
            assert!(codes(said).contains_key("updates-refused"), "{publication}: {said}");
        }
        assert_eq!(refused(&shop), BTreeSet::new(), "{publication}");
        // What only takes inserts may go on.
        let inserts = text.replace("topic = \"everything\"\n", "topic = \"everything\"\nops = [\"insert\"]\n");
        let setup = shop.walcast(&inserts, &["setup"]);
        assert!(!codes(&setup.stderr).contains_key("updates-refused"), "{publication}: {}", setup.stderr);
        assert_eq!(refused(&shop), BTreeSet::new(), "{publication}");
        shop.sql("drop publication walcast");
    }
}

/// A migration made a table without a key, and `for all tables` took it: its writers fail already. walcast says so, and
/// serves what it is there for.
#[test]
fn a_table_of_others_does_not_keep_the_gateway_from_running() {
    let shop = Shop::open(&[BOUNDED]);
    shop.sql(
        "create table articles (id int primary key); create table keyless (line text);
         create publication walcast for all tables with (publish_via_partition_root = true)",
    );
    let text = config("table = \"public.articles\"\ntopic = \"feed\"");
    let setup = shop.walcast(&text, &["setup"]);
    assert_eq!(setup.code, Some(0), "{}", setup.stderr);
    let expected = "\
warning[updates-refused]: Postgres refuses updates and deletes of `public.keyless`
--> walcast.toml
 = note: has no primary key, and no other replica identity
 = note: no route takes the table, but the publication has it
 = note: the apps that write to it would fail
 = help: run `alter table public.keyless replica identity full`; where rows are only inserted, it costs nothing
 = help: or give it a primary key
";
    assert!(setup.stderr.contains(expected), "{}", setup.stderr);
}

#[test]
fn a_role_without_the_rights_is_told_of_all_of_them_at_once() {
    let shop = open();
    shop.sql(
        "create role clerk login replication; grant usage on schema app to clerk;
         grant select on all tables in schema app to clerk",
    );
    let clerk = shop.cluster.url().replace("postgres@", "clerk@");
    let text = routes(&["app.thing_1", "app.secrets"]).replace("${DATABASE_URL}", &clerk);
    let setup = shop.walcast(&text, &["setup"]);
    assert_eq!(setup.code, Some(1));
    let caret = "^".repeat(clerk.len() + 2);
    let said = format!(
        "error[setup-rights]: the role `clerk` may not create a schema and a publication\n \
          --> walcast.toml:2:7\n  \
           |\n\
         2 | url = \"{clerk}\"\n  \
           |       {caret} connects as this role\n  \
           |\n  \
           = help: run `grant create on database postgres to clerk`\n\n\
         error[setup-rights]: the role `clerk` does not own `app.secrets` and `app.thing_1`\n \
          --> walcast.toml:2:7\n  \
           |\n\
         2 | url = \"{clerk}\"\n  \
           |       {caret} connects as this role\n  \
           |\n  \
           = note: who publishes a table must own it\n  \
           = help: or let who may do so run what `walcast setup --print` shows; `walcast run` needs none of these \
         rights\n\n\
         nothing was changed\n"
    );
    assert_eq!(setup.stderr, said);

    // Somebody who may runs what is printed; then the clerk is enough.
    let printed = shop.walcast(&text, &["setup", "--print"]);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    shop.sql(&printed.stdout);
    let checked = shop.walcast(&text, &["check", "--database"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert_eq!(codes(&checked.stderr), BTreeMap::from([("role-select", 1), ("row-security", 1)]));
}

#[test]
fn a_publication_of_others_says_what_it_leaves_out() {
    let shop = open();
    let text = "publication = \"reporting\"\n\n[auth]";
    let text = routes(&["app.typed", "app.thing_1", "app.cache", "pg_catalog.pg_class", "app.thing_1_id_seq"])
        .replace("[auth]", text);
    let checked = shop.walcast(&text, &["check", "--database"]);
    let expected = [
        ("column-not-published", 1),
        ("generated-column", 1),
        ("op-not-published", 1),
        ("slot-missing", 1),
        ("table-kind", 3),
        ("updates-refused", 1),
    ];
    assert_eq!(codes(&checked.stderr), BTreeMap::from(expected), "{}", checked.stderr);
    let list = "clients don't get `emails`, `mood`, `moods`, `address`, `addresses` and 13 more of `app.typed`";
    assert!(checked.stderr.contains(list), "{}", checked.stderr);
}

/// Whatever a name is made of: it is guessed, taken, published, and comes with its rows as it is.
#[tokio::test(flavor = "multi_thread")]
async fn odd_names_are_names() {
    let database = Database::start_with(&[BOUNDED]).await;
    database.execute(ESTATE).await;
    let names = "select array_agg(array[nspname::text, relname::text] order by nspname, relname)::text[]
                 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                 where c.relkind = 'r' and nspname in ('select', 'Odd Schema')";
    let flat: Vec<String> = database.value(&format!("select array(select unnest(({names})))")).await;
    let names: Vec<(&str, &str)> = flat.chunks(2).map(|pair| (&*pair[0], &*pair[1])).collect();
    assert_eq!(names.len(), 12);
    // As TOML has them: a literal string for quotes and backslashes, a basic one for the line feed.
    let pattern = |name: &str| {
        if name.contains(['.', '*', '?', '"']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.to_owned() }
    };
    let routes: String = names
        .iter()
        .map(|(schema, table)| {
            let table = serde_json::to_string(&format!("{}.{}", pattern(schema), pattern(table))).unwrap();
            format!("[[route]]\ntable = {table}\ntopic = \"odd\"\n")
        })
        .collect();
    let gateway = Gateway::start(&database.url(), &routes).await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.try_join("odd", json!({"snapshot": true})).await["status"], "ok");
    assert_eq!(client.next_updates().await["updates"], json!([]));
    for (schema, table) in names {
        database
            .execute(&format!(
                "do $$ begin execute format('insert into %I.%I values (1)', {}, {}); end $$",
                literal(schema),
                literal(table)
            ))
            .await;
        let message = client.next_updates().await;
        let update = &message["updates"][0];
        assert_eq!((&update["schema"], &update["table"]), (&json!(schema), &json!(table)));
        let mut values = update["record"].as_object().unwrap().values();
        assert!(values.any(|value| *value == json!(1)), "{message}");
    }
}

fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
