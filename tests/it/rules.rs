//! `where`, `allow` and `filter` through the real binary, from the configuration file to a client.

use serde_json::{Value, json};

use super::support::database::Database;
use super::support::gateway::Gateway;
use super::support::phoenix::Client;

const ROUTES: &str = r#"
[[route]]
table = "public.orders"
topic = "orders"
columns = ["id", "status", "total"]
where = "status <> 'draft' and total < 1000.5"

[[route]]
table = "public.orders"
topic = "customers:{customer}"
allow = "customer in (7, 8)"
"#;

async fn database() -> Database {
    let database = Database::start().await;
    database
        .execute(
            "create type state as enum ('draft', 'open', 'paid');
             create table orders (id int primary key, customer int, status state, total numeric, secret text);
             alter table orders replica identity full",
        )
        .await;
    database
}

fn seen(message: &Value) -> Vec<(&str, &Value)> {
    let updates = message["updates"].as_array().unwrap().iter();
    updates
        .map(|update| {
            let row = if update["op"] == "delete" { &update["old_record"] } else { &update["record"] };
            (update["op"].as_str().unwrap(), &row["id"])
        })
        .collect()
}

#[tokio::test]
async fn clients_see_the_rows_of_their_rules_and_filters() {
    let database = database().await;
    database.execute("insert into orders values (1, 7, 'open', 10), (2, 7, 'draft', 20), (3, 7, 'open', 5000)").await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut all = Client::connect(&gateway).await;
    let joined = all.try_join("orders", json!({"snapshot": true})).await;
    assert_eq!(joined["status"], "ok", "{joined}");
    assert_eq!(seen(&all.next_updates().await), [("snapshot", &json!(1))]);
    let mut some = Client::connect(&gateway).await;
    let joined = some.try_join("orders", json!({"filter": "total=gte.100&status=in.(open,paid)"})).await;
    assert_eq!(joined["status"], "ok", "{joined}");

    database.execute("insert into orders values (4, 7, 'open', 50), (5, 7, 'paid', 500), (6, 7, 'draft', 600)").await;
    assert_eq!(seen(&all.next_updates().await), [("insert", &json!(4)), ("insert", &json!(5))]);
    assert_eq!(seen(&some.next_updates().await), [("insert", &json!(5))]);
    // Out of the filter, out of the rule, into both.
    database
        .execute("update orders set total = case id when 4 then 150 when 5 then 2000 end, status = 'open' where id in (4, 5)")
        .await;
    assert_eq!(seen(&all.next_updates().await), [("update", &json!(4)), ("delete", &json!(5))]);
    assert_eq!(seen(&some.next_updates().await), [("insert", &json!(4)), ("delete", &json!(5))]);
    database.execute("update orders set status = 'paid', total = 900 where id = 6").await;
    assert_eq!(seen(&all.next_updates().await), [("insert", &json!(6))]);
    assert_eq!(seen(&some.next_updates().await), [("insert", &json!(6))]);
}

#[tokio::test]
async fn what_a_filter_asks_wrongly_is_answered_and_hidden_columns_are_none() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut client = Client::connect(&gateway).await;
    for (filter, message) in [
        (
            "total=above.5",
            "`total=above.5`: `above` is no operator; use one of eq, neq, gt, gte, lt, lte, in, is, like, ilike",
        ),
        ("total=gt.much", "`total=gt.much`: `much` can't be read as numeric; write a decimal number"),
        ("secret=eq.a", "there is no column `secret`"),
        ("sacred=eq.a", "there is no column `sacred`"),
    ] {
        let refused = client.try_join("orders", json!({"filter": filter})).await;
        assert_eq!(refused["response"], json!({"reason": "invalid_filter", "message": message}), "{filter}");
    }
    for (topic, status) in [("customers:7", "ok"), ("customers:9", "error")] {
        assert_eq!(client.try_join(topic, json!({})).await["status"], status, "{topic}");
    }
}
