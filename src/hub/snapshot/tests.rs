//! Who is sent which part when, and who is let go.

use crate::hub::ConnectionKey;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn reader(join: u32) -> Reader {
    Reader { shard: ShardId(0), join: JoinToken { connection: ConnectionKey { slot: 0, generation: 0 }, join } }
}

fn shape(number: u64) -> Shape {
    let topic = Topic::parse(&format!("topic:{number}")).unwrap();
    let mark = Sight::default().mark(&RouteTable::default(), topic.as_str());
    Shape::new(ShapeId(number), topic, Arc::default(), mark, (Duration::ZERO, Position::default()))
}

fn part() -> SnapshotPart {
    SnapshotPart { event: "new_updates".into(), updates: Bytes::from_static(b"{}") }
}

fn begun(snapshots: &mut Snapshots) -> Vec<u64> {
    let begin = |command| match command {
        SnapshotCommand::Begin(SnapshotRequest { id, .. }) => Some(id.0),
        SnapshotCommand::More(_) | SnapshotCommand::End(_) => None,
    };
    snapshots.take_commands().into_iter().filter_map(begin).collect()
}

fn end() -> (Cursor, After) {
    let system = crate::change::FeedSystem { system_id: 1, timeline: 1 };
    let position = Position::before(Lsn::new(9));
    (Cursor { system, position, splice: None, fingerprint: None }, After::Log(position))
}

#[test]
fn the_same_shape_is_read_once_until_it_has_ended() {
    let mut snapshots = Snapshots::default();
    let first = snapshots.join(&shape(1), reader(1)).unwrap();
    assert_eq!(snapshots.join(&shape(1), reader(2)), Some(first));
    let other = snapshots.join(&shape(2), reader(3)).unwrap();
    assert_eq!(begun(&mut snapshots), [first.0, other.0]);
    let (cursor, after) = end();
    snapshots.push(first, &part(), Some((&cursor, after.clone())));
    let third = snapshots.join(&shape(1), reader(4)).unwrap();
    assert_ne!(third, first);
    for join in [1, 2] {
        let answer = snapshots.read(first, reader(join), 7).unwrap();
        let cursor = format!(r#"{{"cursor":"{cursor}","snapshot":true,"part":0,"updates":[{{}}]}}"#);
        assert_eq!((answer.number, &answer.publications[0].payload[..]), (7, cursor.as_bytes()));
        assert_eq!(answer.outcome, ReadOutcome::More(after.clone()));
    }
    assert_eq!(snapshots.take_commands().pop(), Some(SnapshotCommand::End(first)));
    assert!(snapshots.subject(first).is_none());
}

#[test]
fn another_part_is_wanted_when_everybody_has_one() {
    let mut snapshots = Snapshots::default();
    let id = snapshots.join(&shape(1), reader(1)).unwrap();
    snapshots.join(&shape(1), reader(2)).unwrap();
    assert!(snapshots.read(id, reader(1), 1).is_none(), "nothing is there yet");
    let answers = snapshots.push(id, &part(), None);
    assert_eq!(answers.iter().map(|answer| answer.reader).collect::<Vec<_>>(), [reader(1)]);
    snapshots.take_commands();
    snapshots.push(id, &part(), None);
    assert_eq!(snapshots.take_commands(), []);
    let answer = snapshots.read(id, reader(2), 1).unwrap();
    assert!(answer.publications[0].payload.starts_with(br#"{"snapshot":true,"part":0,"more":true,"#));
    assert_eq!(snapshots.take_commands(), [SnapshotCommand::More(id)]);
    // Who has begun is not joined by somebody who has not.
    assert_ne!(snapshots.join(&shape(1), reader(3)), Some(id));
    // One who leaves makes nobody wait.
    snapshots.read(id, reader(1), 2).unwrap();
    snapshots.take_commands();
    snapshots.leave(reader(2));
    assert_eq!(snapshots.take_commands(), [SnapshotCommand::More(id)]);
    snapshots.leave(reader(1));
    assert_eq!(snapshots.take_commands(), [SnapshotCommand::End(id)]);
}

#[test]
fn a_slow_reader_is_let_go_before_others_have_waited_for_long() {
    let mut snapshots = Snapshots::default();
    let id = snapshots.join(&shape(1), reader(1)).unwrap();
    snapshots.join(&shape(1), reader(2)).unwrap();
    for number in 0..LEAD_PARTS {
        snapshots.push(id, &part(), None);
        snapshots.read(id, reader(1), u32::try_from(number).unwrap()).unwrap();
    }
    assert!(snapshots.read(id, reader(1), 9).is_none());
    let seconds = (1..60).find(|_| {
        snapshots.tick(SECOND);
        snapshots.take_commands().contains(&SnapshotCommand::More(id))
    });
    assert_eq!(seconds, Some(10));
    assert_eq!(snapshots.read(id, reader(2), 1).unwrap().outcome, ReadOutcome::Lost);
    assert_eq!(snapshots.push(id, &part(), None)[0].number, 9);
}

#[test]
fn a_reader_who_has_stopped_is_let_go_even_if_nobody_waits() {
    let mut snapshots = Snapshots::default();
    let id = snapshots.join(&shape(1), reader(1)).unwrap();
    // As long as there is nothing to read, nobody is slow.
    (0..100).for_each(|_| snapshots.tick(SECOND));
    assert!(snapshots.subject(id).is_some());
    snapshots.push(id, &part(), None);
    let seconds = (1..60).find(|_| {
        snapshots.tick(SECOND);
        snapshots.subject(id).is_none()
    });
    assert_eq!(seconds, Some(30));
}

#[test]
fn a_bounded_number_is_open_and_a_bounded_number_waits() {
    let mut snapshots = Snapshots::default();
    let all = OPEN_MAX + WAITING_MAX;
    for number in 0..all {
        let number = u32::try_from(number).unwrap();
        assert!(snapshots.join(&shape(u64::from(number)), reader(number)).is_some());
    }
    assert_eq!(begun(&mut snapshots).len(), OPEN_MAX);
    assert_eq!(snapshots.join(&shape(1 << 40), reader(1 << 30)), None);
    snapshots.leave(reader(5));
    assert_eq!(begun(&mut snapshots), [OPEN_MAX as u64]);
    assert!(snapshots.join(&shape(1 << 40), reader(1 << 30)).is_some());
}

#[test]
fn a_failure_is_told_to_those_who_ask() {
    let mut snapshots = Snapshots::default();
    let id = snapshots.join(&shape(1), reader(1)).unwrap();
    snapshots.join(&shape(1), reader(2)).unwrap();
    assert!(snapshots.read(id, reader(1), 3).is_none());
    let failed = ReadOutcome::Failed(SnapshotFailure::TooLarge);
    let answers = snapshots.fail(id, &failed);
    assert_eq!(answers.iter().map(|answer| (answer.reader, answer.number)).collect::<Vec<_>>(), [(reader(1), 3)]);
    assert_eq!(snapshots.take_commands().pop(), Some(SnapshotCommand::End(id)));
    assert!(snapshots.push(id, &part(), None).is_empty(), "what comes late is for nobody");
    // One who comes now has another one; one who was writing at the time is told the reason, and then forgotten.
    assert_ne!(snapshots.join(&shape(1), reader(3)), Some(id));
    assert_eq!(snapshots.read(id, reader(2), 1).unwrap().outcome, failed);
    assert!(snapshots.subject(id).is_none());
}
