//! Values of every kind arrive as they were sent, and can be compared with what was seen.

use serde_json::{Value, json};

use super::Device;
use crate::support::database::Database;
use crate::support::gateway::Gateway;

const TABLE: &str = "
create schema \"Other Schema\";
create type \"Other Schema\".mood as enum ('good', 'b\"ad');
create type pair as (a int, b json);
create domain present as text not null check (value <> '');
create table \"od\"\"d Table\" (
    \"the id\" uuid primary key, \"ä\" text, list int[], texts text[], doc json, docb jsonb, amount numeric(10, 2), big int8,
    ratio float8, at timestamptz, span tstzrange, raw bytea, mood \"Other Schema\".mood, pair pair, place point,
    padded char(5), short varchar(3), flag bool, present present
);
alter table \"od\"\"d Table\" replica identity full;
";

#[tokio::test]
async fn values_arrive_as_they_were_sent() {
    let database = Database::start().await;
    database.execute(TABLE).await;
    let route =
        "[[route]]\ntable = 'public.\"od\"\"d Table\"'\ntopic = \"odd\"\nevent = \"sync_update\"\n[route.write]\n";
    let gateway = Gateway::start(&database.url(), route).await;
    let mut device = Device::join(&gateway, "odd").await;
    let id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let record = json!({
        "the id": id, "ä": "naïve ✓ \"quoted\" \\ \n 𝄞", "list": [1, null, 3], "texts": ["a,b", "", null, "{x}"],
        "doc": {"k": [1, {"deep": "ü"}], "n": null}, "docb": [1, "two", null], "amount": 1.5, "big": 9_007_199_254_740_993_i64,
        "ratio": 0.1, "at": "2026-11-22T03:40:00.123456+00:00", "span": "[\"2026-01-01 00:00:00+00\",)", "raw": "\\x00ff",
        "mood": "b\"ad", "pair": {"a": 1, "b": {"c": 2}}, "place": "(1,2)", "padded": "ab", "short": "abc", "flag": false,
        "present": "x",
    });
    device.write("insert", json!([{"op": "insert", "record": record}])).await;
    let arrived = device.updates[0]["updates"][0]["record"].clone();
    let expected: String = database.value("select row_to_json(t)::text from \"od\"\"d Table\" t").await;
    assert_eq!(arrived, serde_json::from_str::<Value>(&expected).unwrap());
    for same in ["ä", "list", "texts", "doc", "docb", "big", "ratio", "at", "raw", "mood", "pair", "place", "flag"] {
        assert_eq!(arrived[same], record[same], "{same}");
    }
    // Each column as it came is what was seen of it, whatever its type's idea of equality.
    for (name, value) in arrived.as_object().unwrap().iter().filter(|(name, _)| *name != "the id") {
        let new = if name == "present" { json!("y") } else { Value::Null };
        let change = |record: Value, base: Value| json!([{"op": "update", "key": {"the id": id}, "record": {name: record}, "base": {name: base}}]);
        device.write(&format!("{name} away"), change(new.clone(), value.clone())).await;
        let response = device.refused(&format!("{name} again"), change(new.clone(), value.clone())).await;
        assert_eq!(response["conflicts"][0]["columns"], json!([name]), "{response}");
        assert_eq!(response["conflicts"][0]["current"][name], new);
        device.write(&format!("{name} back"), change(value.clone(), new)).await;
    }
    let back: String = database.value("select row_to_json(t)::text from \"od\"\"d Table\" t").await;
    assert_eq!(serde_json::from_str::<Value>(&back).unwrap(), arrived);
}
