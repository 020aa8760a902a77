//! What SQL says to a topic, and the cursor after it.

use super::sight::{FULL, docs, inserted, on_docs, sub};
use super::*;
use crate::change::{Announcement, Broadcast, BroadcastPayload};

/// A broadcast between two rows, of which this one is the owner's.
fn commit(bench: &mut Bench, owners: [&str; 2]) {
    bench.lsn += 10;
    let lsn = bench.lsn;
    let header = TransactionHeader {
        xid: u32::try_from(lsn).unwrap(),
        commit_lsn: Lsn::new(lsn),
        commit_timestamp: PgTimestamp::from_micros(0),
    };
    let change = |owner, ordinal| Change { relation: docs(FULL), operation: inserted(["1", owner, "x", "x"]), ordinal };
    let payload = BroadcastPayload::Json(Bytes::from_static(b"{}"));
    let broadcast = Broadcast { topic: "docs".into(), event: "said".into(), payload };
    let changes = vec![change(owners[0], 1), change(owners[1], 3)];
    let announcements = vec![Announcement { ordinal: 2, broadcast: Ok(broadcast) }];
    let end_lsn = Some(Lsn::new(lsn + 5));
    bench.feed(FeedEvent::Part(TransactionPart { header, changes, announcements, first: true, end_lsn }));
}

fn events(publications: &[Arc<Publication>], shape: ShapeId) -> Vec<String> {
    publications.iter().filter(|it| it.shape == shape).map(|it| it.event.to_string()).collect()
}

/// Those who are shown nothing of what follows a broadcast would be sent it again on coming back.
#[test]
fn a_broadcast_is_followed_by_rows_or_by_the_cursor() {
    let mut bench = Bench { relation: docs(FULL), ..Bench::new(vec![on_docs("docs", Some("owner = claims.sub"))]) };
    bench.connect(SYSTEM);
    let [ann, bob, cid] = ["ann", "bob", "cid"].map(|name| {
        bench.claims = sub(name);
        bench.join("docs", None).unwrap()
    });
    let mute = View { ops: [Op::Delete].into_iter().collect(), ..View::default() };
    bench.view = mute.clone();
    let mute_bob = bench.join("docs", None).unwrap();
    commit(&mut bench, ["ann", "bob"]);
    let published = bench.published();
    let expected = [
        // The last part of what ann is shown is empty.
        ("ann", View::default(), &ann, vec!["new_updates", "said", "new_updates"]),
        ("bob", View::default(), &bob, vec!["said", "new_updates"]),
        ("cid", View::default(), &cid, vec!["said", "cursor"]),
        ("cid", mute, &mute_bob, vec!["said", "cursor"]),
    ];
    for (name, view, joined, expected) in &expected {
        assert_eq!(events(&published, joined.shape), *expected, "{name}");
        (bench.claims, bench.view) = (sub(name), view.clone());
        // The same to who comes back, and nothing to who has seen the last of it.
        let resumed = bench.join("docs", Some(&joined.cursor)).unwrap();
        let read = bench.read(resumed.shape, resumed.resume_after.unwrap()).unwrap();
        assert_eq!(events(&read, resumed.shape), *expected, "{name}, again");
        for seen in [&published, &read] {
            let last = seen.iter().rfind(|it| it.shape == joined.shape).unwrap();
            let cursor = last.cursor().unwrap();
            let resumed = bench.join("docs", Some(cursor)).unwrap();
            let rest = bench.read(resumed.shape, resumed.resume_after.unwrap()).unwrap();
            assert!(rest.is_empty(), "{name}: {rest:?}");
            // Whoever has a place for its cursor can lose the connection right after the broadcast.
            let said = seen.iter().position(|it| it.shape == joined.shape && &*it.event == "said").unwrap();
            let resumed = bench.join("docs", Some(&seen[said].id().unwrap())).unwrap();
            let rest = bench.read(resumed.shape, resumed.resume_after.unwrap()).unwrap();
            let after = expected.iter().skip_while(|event| **event != "said").skip(1).filter(|it| **it != "cursor");
            assert_eq!(events(&rest, resumed.shape), after.copied().collect::<Vec<_>>(), "{name}, after the broadcast");
        }
    }
}
