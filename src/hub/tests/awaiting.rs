//! Subscribers who have written: when they are told where the feed is, and where it is then.

use super::*;
use crate::change::Committed;

fn locate(bench: &mut Bench, shape: ShapeId, number: u32, write: Option<Committed>) {
    bench.hub.command(Command::Locate { shard: SHARD, join: NOBODY, shape, number, write });
}

/// The numbers of answers among what was told, with their cursors' positions; and how many publications came before the
/// first of them.
fn positions(told: &[ToShard]) -> (Vec<(u32, Position)>, usize) {
    let position = |message: &ToShard| match message {
        ToShard::Position { number, cursor, .. } => {
            Some((*number, cursor.trim_matches('"').parse::<Cursor>().unwrap().position))
        }
        _ => None,
    };
    let before = told.iter().take_while(|message| !matches!(message, ToShard::Position { .. }));
    let publications = before.filter(|message| matches!(message, ToShard::Publish(_))).count();
    (told.iter().filter_map(position).collect(), publications)
}

fn bench() -> (Bench, ShapeId) {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    let shape = bench.join("orders", None).unwrap().shape;
    (bench, shape)
}

/// What [`Bench::commit`] is going to give the next transaction.
fn next(bench: &Bench, before: Option<u64>) -> Option<Committed> {
    Some(Committed { xid: u32::try_from(bench.lsn + 10).unwrap(), before: before.map(Lsn::new) })
}

#[test]
fn the_answer_comes_behind_the_transaction_and_with_its_cursor() {
    let (mut bench, shape) = bench();
    let write = next(&bench, Some(10_000));
    locate(&mut bench, shape, 7, write);
    assert!(bench.told().is_empty());
    bench.commit(&[vec![insert(1)], vec![insert(2)]]);
    let (answers, publications) = positions(&bench.told());
    assert_eq!((answers, publications), (vec![(7, Position { lsn: Lsn::new(bench.lsn), ordinal: 2 })], 2));
    // One that comes after the transaction is answered at once.
    let write = Some(Committed { xid: u32::try_from(bench.lsn).unwrap(), before: Some(Lsn::new(10_000)) });
    locate(&mut bench, shape, 8, write);
    assert_eq!(positions(&bench.told()).0.len(), 1);
}

#[test]
fn a_transaction_that_shows_nothing_is_known_by_what_comes_after_it() {
    let (mut bench, shape) = bench();
    locate(&mut bench, shape, 1, Some(Committed { xid: 77, before: Some(Lsn::new(150)) }));
    bench.feed(FeedEvent::Progress(Lsn::new(149)));
    assert!(positions(&bench.told()).0.is_empty());
    bench.feed(FeedEvent::Progress(Lsn::new(150)));
    assert_eq!(positions(&bench.told()).0, [(1, Position::before(Lsn::new(150)))]);
}

#[test]
fn a_feed_that_is_far_behind_is_not_waited_for() {
    let (mut bench, shape) = bench();
    locate(&mut bench, shape, 1, Some(Committed { xid: 77, before: None }));
    bench.hub.tick(Duration::from_secs(3));
    assert!(bench.told().is_empty());
    bench.hub.tick(Duration::from_secs(5));
    // Where it is: before the write, so that nothing is left out.
    assert_eq!(positions(&bench.told()).0, [(1, Position::before(Lsn::new(100)))]);
    locate(&mut bench, shape, 2, None);
    assert_eq!(positions(&bench.told()).0.len(), 1);
}

#[test]
fn who_is_gone_or_is_reset_is_not_answered() {
    let (mut bench, shape) = bench();
    let write = next(&bench, None);
    locate(&mut bench, shape, 1, write);
    bench.hub.command(Command::Unsubscribe { shard: SHARD, join: NOBODY, shape });
    bench.commit(&[vec![insert(1)]]);
    assert_eq!(positions(&bench.told()).0, []);
    let shape = bench.join("orders", None).unwrap().shape;
    let write = next(&bench, None);
    locate(&mut bench, shape, 2, write);
    bench.feed(FeedEvent::Lost { reason: "a test".to_owned() });
    bench.hub.tick(Duration::from_secs(60));
    locate(&mut bench, shape, 3, None);
    assert_eq!(positions(&bench.told()).0, []);
}
