//! The table that official clients of every kind are tried with, its topics, and what `feed.mjs` waits to see of it.

use super::database::Database;
use super::node::Script;

pub(crate) const TABLE: &str = "create table articles (id int primary key, title text not null, body text)";

/// Two topics from one table, so that a test can see one of them go quiet.
pub(crate) const ROUTES: &str = r#"
[[route]]
table = "public.articles"
topic = "updates:feed"

[[route]]
table = "public.articles"
topic = "updates:all"
"#;

/// Every kind of change, seen by a client that runs `feed.mjs`. Afterwards the table is empty again.
pub(crate) async fn every_kind_of_change(database: &Database, mut script: Script) {
    script.until("joined").await;
    database.execute("insert into articles values (1, 'first')").await;
    database.execute("update articles set title = 'first, edited', body = 'text'").await;
    let several = "begin; insert into articles values (2, 'second'), (3, 'third \"quoted\" ✓'); \
                   delete from articles where id = 1; commit";
    database.execute(several).await;
    database.execute("truncate articles").await;
    script.succeed().await;
}
