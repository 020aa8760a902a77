//! Labels that an enum does not have, through the real binary and Postgres.

use serde_json::json;

use super::{Bench, THINGS, shown, things};

/// Postgres raises an error for a label that its enum does not have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_that_an_enum_does_not_have_is_told_and_a_new_one_is_one() {
    let routes = things() + "[[route]]\ntable = \"public.things\"\ntopic = \"mood\"\nwhere = \"mood = claims.mood\"\n";
    let bench = Bench::start(THINGS, &routes).await;
    let somebody = || json!({"sub": "x"});
    for filter in ["mood=eq.glad", "mood=in.(sad,glad)"] {
        let refused = bench.refused("things", somebody(), json!({"filter": filter})).await;
        assert_eq!(refused["reason"], "invalid_filter", "{refused}");
        let message = refused["message"].as_str().unwrap();
        assert!(message.ends_with("`glad` is no label of enum mood; its labels: sad, ok, happy"), "{message}");
    }
    let refused = bench.refused("mood", json!({"mood": "glad"}), json!({})).await;
    let expected = json!({"reason": "invalid_claim", "message": "`claims.mood` is no label of enum mood"});
    assert_eq!(refused, expected);
    bench.joined("mood", json!({"mood": "sad"}), json!({})).await;
    bench.database.execute("alter type mood add value 'glad'").await;
    let mut client = bench.joined("things", somebody(), json!({"filter": "mood=eq.glad"})).await;
    let mut own = bench.joined("mood", json!({"mood": "glad"}), json!({})).await;
    bench.run("things", &["insert into things (id, mood) values (4, 'glad'), (5, 'sad')"]).await;
    assert_eq!(shown(&mut client).await.len(), 1);
    bench.run("mood", &[]).await;
    assert_eq!(shown(&mut own).await.len(), 1);
}
