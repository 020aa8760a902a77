//! Writes by a route with `where`: what a client does not see it does not write, and can't make.

use serde_json::{Value, json};
use walcast::routing::Conflict;

use super::rights::{Writer, prepared, start_with};
use super::{Device, NOTES};
use crate::support::database::Database;
use crate::support::gateway::Gateway;

const STATUS: &str = "
create type status as enum ('draft', 'open');
create table team (id int primary key, owner text, status status, rank numeric, title text);
grant select, insert, update, delete on team to author;
insert into team values (1, 'u1', 'open', 1, 'mine'), (2, 'u2', 'open', 1, 'theirs'), (3, 'u1', 'draft', 1, 'draft'),
    (4, 'u1', 'open', null, 'nothing');
alter table notes rename to other;
alter table team rename to notes;
";
const RULE: &str = "owner = claims.sub and status <> 'draft' and rank > 0";

async fn writer(conflict: Conflict) -> (Database, Writer) {
    let database = prepared().await;
    database.execute(STATUS).await;
    let writer = start_with(&database, None, conflict, Some(RULE));
    (database, writer)
}

fn claims() -> Value {
    json!({"sub": "u1", "role": "author"})
}

fn update(id: u32, record: &Value, base: &Value) -> Value {
    json!([{"op": "update", "key": {"id": id}, "record": record, "base": base}])
}

async fn rows(database: &Database) -> String {
    database
        .value("select string_agg(concat_ws(',', id, owner, status, rank, title), ' ' order by id) from notes")
        .await
}

#[tokio::test]
async fn a_row_that_is_not_seen_is_as_one_that_is_not_there() {
    let (database, mut writer) = writer(Conflict::Columns).await;
    let before = rows(&database).await;
    let mut answers = Vec::new();
    // Another's, a draft, one of which nothing is known, and none at all.
    for id in [2, 3, 4, 99] {
        for (number, base) in ["theirs", "draft", "nothing", "guess"].iter().enumerate() {
            let change = update(id, &json!({"title": "x"}), &json!({"title": base}));
            answers.push((id, writer.ask(claims(), &format!("u{id}{number}"), change).await.unwrap_err()));
        }
        let delete = json!([{"op": "delete", "key": {"id": id}}]);
        answers.push((id, writer.ask(claims(), &format!("d{id}"), delete).await.unwrap_err()));
        let guess = json!([{"op": "delete", "key": {"id": id}, "base": {"title": "draft"}}]);
        answers.push((id, writer.ask(claims(), &format!("g{id}"), guess).await.unwrap_err()));
    }
    let plain = |(id, answer): &(u32, Value)| answer.to_string().replace(&format!("\"id\":{id}"), "\"id\":0");
    let (unseen, absent): (Vec<_>, Vec<_>) = answers.iter().partition(|(id, _)| *id != 99);
    for (place, answer) in unseen.into_iter().enumerate() {
        assert_eq!(plain(answer), plain(absent[place % absent.len()]), "{answer:?}");
    }
    assert_eq!(rows(&database).await, before);
}

#[tokio::test]
async fn no_row_is_made_that_its_writer_would_not_see() {
    let (database, mut writer) = writer(Conflict::Columns).await;
    let before = rows(&database).await;
    let mine = json!({"title": "mine", "owner": "u1", "status": "open", "rank": 1});
    for (number, record) in [
        json!({"owner": "u2"}),
        json!({"owner": null}),
        json!({"status": "draft"}),
        json!({"rank": 0}),
        json!({"rank": null}),
        json!({"title": "x", "rank": -1}),
    ]
    .iter()
    .enumerate()
    {
        let refused = writer.ask(claims(), &format!("u{number}"), update(1, record, &mine)).await.unwrap_err();
        assert_eq!(refused, json!({"reason": "not_permitted", "change": 0}), "{record}");
        let mut row = mine.clone();
        row["id"] = json!(10);
        row.as_object_mut().unwrap().extend(record.as_object().unwrap().clone());
        let insert = json!([{"op": "insert", "record": row}]);
        let refused = writer.ask(claims(), &format!("i{number}"), insert).await.unwrap_err();
        assert_eq!(refused, json!({"reason": "not_permitted", "change": 0}), "{row}");
    }
    // One that is refused takes the others with it.
    let both = json!([
        {"op": "update", "key": {"id": 1}, "record": {"title": "x"}, "base": {"title": "mine"}},
        {"op": "insert", "record": {"id": 10, "owner": "u2", "status": "open", "rank": 1}}
    ]);
    assert_eq!(writer.ask(claims(), "both", both).await.unwrap_err()["change"], 1);
    assert_eq!(rows(&database).await, before);
}

#[tokio::test]
async fn what_is_seen_is_written_and_conflicts_show_nothing_else() {
    let (database, mut writer) = writer(Conflict::Columns).await;
    writer
        .ask(claims(), "a", update(1, &json!({"title": "new", "rank": 2.5}), &json!({"title": "mine", "rank": 1})))
        .await
        .unwrap();
    let row = json!({"id": 10, "owner": "u1", "status": "open", "rank": 3, "title": "made"});
    writer.ask(claims(), "b", json!([{"op": "insert", "record": row}])).await.unwrap();
    let stale = update(10, &json!({"title": "x"}), &json!({"title": "stale"}));
    let stale = writer.ask(claims(), "c", stale).await.unwrap_err();
    assert_eq!(stale["conflicts"][0]["current"], row);
    for (id, current) in [
        (1, json!({"id": 1, "owner": "u1", "status": "open", "rank": 2.5, "title": "new"})),
        (2, Value::Null),
        (3, Value::Null),
    ] {
        let taken = json!([{"op": "insert", "record": {"id": id, "owner": "u1", "status": "open", "rank": 1}}]);
        let taken = writer.ask(claims(), &format!("t{id}"), taken).await.unwrap_err();
        assert_eq!((&taken["reason"], &taken["conflicts"][0]["current"]), (&json!("conflict"), &current), "{id}");
    }
    writer.ask(claims(), "d", json!([{"op": "delete", "key": {"id": 10}}])).await.unwrap();
    // By other claims the same rows are others'.
    let theirs = json!({"sub": "u2", "role": "author"});
    writer.ask(theirs.clone(), "e", update(2, &json!({"title": "seen"}), &json!({"title": "theirs"}))).await.unwrap();
    let no_more =
        writer.ask(theirs, "f", update(1, &json!({"title": "x"}), &json!({"title": "new"}))).await.unwrap_err();
    assert_eq!(no_more["conflicts"][0]["current"], Value::Null);
    // Nobody's claims see nothing.
    let nobody =
        writer.ask(json!({"role": "author"}), "g", update(1, &json!({"title": "x"}), &json!({"title": "new"}))).await;
    assert_eq!(nobody.unwrap_err()["conflicts"][0]["current"], Value::Null);
    assert_eq!(rows(&database).await, "1,u1,open,2.5,new 2,u2,open,1,seen 3,u1,draft,1,draft 4,u1,open,nothing");
}

#[tokio::test]
async fn a_claim_that_fits_nothing_writes_nothing() {
    let database = prepared().await;
    let mut writer = start_with(&database, None, Conflict::Overwrite, Some("id < claims.level"));
    let change = || update(1, &json!({"title": "x"}), &json!({}));
    let odd = writer.ask(json!({"sub": "u1", "role": "author", "level": "high"}), "a", change()).await.unwrap_err();
    assert_eq!(odd["reason"], "not_permitted", "{odd}");
    assert!(!odd.to_string().contains("high"), "{odd}");
    // It was no outcome of the request: with other claims it succeeds.
    writer.ask(json!({"sub": "u1", "role": "author", "level": 2}), "a", change()).await.unwrap();
}

/// What was seen when the write began, and is not when it comes to the row.
#[tokio::test]
async fn the_rule_is_asked_where_the_row_is_locked() {
    let (database, mut writer) = writer(Conflict::Overwrite).await;
    let other = database.connect().await;
    other.batch_execute("begin; update notes set status = 'draft' where id = 1").await.unwrap();
    let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
    let change = update(1, &json!({"title": "x"}), &json!({}));
    let (answer, ()) = tokio::join!(writer.ask(claims(), "a", change), async {
        crate::support::eventually("the write waits for the row", async || {
            (database.value::<i64>(waits).await > 0).then_some(())
        })
        .await;
        other.batch_execute("commit").await.unwrap();
    });
    assert_eq!(answer.unwrap_err()["reason"], "not_found");
    let title: String = database.value("select title from notes where id = 1").await;
    assert_eq!(title, "mine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_with_both_is_served() {
    let database = Database::start().await;
    database.execute(NOTES).await;
    let route = "[[route]]\ntable = \"public.notes\"\ntopic = \"sync:{workspace_id}\"\nevent = \"sync_update\"\n\
                 where = \"rank > 0\"\n[route.write]\nrole = \"web\"\n";
    let gateway = Gateway::start(&database.url(), route).await;
    let mut device = Device::join(&gateway, "sync:1").await;
    device.write("a", json!([{"op": "insert", "record": {"id": 1, "title": "t", "rank": 5}}])).await;
    let hidden = json!([{"op": "insert", "record": {"id": 2, "title": "t", "rank": 0}}]);
    assert_eq!(device.refused("b", hidden).await, json!({"reason": "not_permitted", "change": 0}));
    let leaving = update(1, &json!({"rank": -1}), &json!({"rank": 5}));
    assert_eq!(device.refused("c", leaving).await, json!({"reason": "not_permitted", "change": 0}));
    database.execute("update notes set rank = -1 where id = 1").await;
    let gone = device.refused("d", update(1, &json!({"rank": 6}), &json!({"rank": 5}))).await;
    assert_eq!((&gone["reason"], &gone["conflicts"][0]["current"]), (&json!("conflict"), &Value::Null));
}
