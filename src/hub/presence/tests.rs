use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::hub::{ConnectionKey, JoinToken, ShardId};

fn member(number: u32) -> Member {
    let connection = ConnectionKey { slot: number as usize / 2, generation: 1 };
    Member { shard: ShardId(number as usize % 2), join: JoinToken { connection, join: number } }
}

fn parsed(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// A topic and the refs of its process.
struct Bench {
    presence: Presence,
    refs: Refs,
}

impl Bench {
    fn new() -> Self {
        Self { presence: Presence::default(), refs: Refs::new(0xabc) }
    }

    fn join(&mut self, number: u32, key: &str, meta: &'static str) {
        self.presence.join(member(number), key.into(), Bytes::from_static(meta.as_bytes()), &mut self.refs);
    }

    fn update(&mut self, number: u32, meta: &'static str) {
        self.presence.update(member(number), Bytes::from_static(meta.as_bytes()), &mut self.refs);
    }

    fn diff(&mut self) -> Option<Value> {
        self.presence.take_diff(&self.refs).map(|diff| parsed(&diff))
    }

    fn state(&self) -> Value {
        parsed(&self.presence.state())
    }
}

#[test]
fn who_comes_changes_and_goes_is_told_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.diff(), None);
    bench.join(1, "u1", r#""a":1"#);
    bench.join(2, "u\"2", "");
    let u1 = json!({"metas": [{"phx_ref": "00000abc1", "a": 1}]});
    let u2 = json!({"metas": [{"phx_ref": "00000abc2"}]});
    assert_eq!(bench.diff(), Some(json!({"joins": {"u1": u1, "u\"2": u2}, "leaves": {}})));
    assert_eq!(bench.state(), json!({"u1": u1, "u\"2": u2}));
    bench.update(1, r#""a":2"#);
    let newer = json!({"metas": [{"phx_ref": "00000abc3", "phx_ref_prev": "00000abc1", "a": 2}]});
    assert_eq!(bench.diff(), Some(json!({"joins": {"u1": newer}, "leaves": {"u1": u1}})));
    assert_eq!(bench.state(), json!({"u1": newer, "u\"2": u2}));
    bench.presence.leave(member(1));
    bench.presence.leave(member(1));
    assert_eq!(bench.diff(), Some(json!({"joins": {}, "leaves": {"u1": newer}})));
    bench.presence.leave(member(2));
    assert!(!bench.presence.is_over());
    assert_eq!(bench.diff(), Some(json!({"joins": {}, "leaves": {"u\"2": u2}})));
    assert_eq!((bench.state(), bench.presence.is_over()), (json!({}), true));
}

#[test]
fn what_passed_between_two_tellings_is_not_told() {
    let mut bench = Bench::new();
    bench.join(1, "u", "");
    bench.presence.leave(member(1));
    assert_eq!(bench.diff(), None);
    assert!(bench.presence.is_over());
    // Nobody has seen what came before the update.
    bench.join(1, "u", r#""a":1"#);
    bench.update(1, r#""a":2"#);
    let once = json!({"metas": [{"phx_ref": "00000abc3", "a": 2}]});
    assert_eq!(bench.diff(), Some(json!({"joins": {"u": once}, "leaves": {}})));
    bench.update(1, r#""a":3"#);
    bench.update(1, r#""a":4"#);
    let last = json!({"metas": [{"phx_ref": "00000abc5", "phx_ref_prev": "00000abc3", "a": 4}]});
    assert_eq!(bench.diff(), Some(json!({"joins": {"u": last}, "leaves": {"u": once}})));
    bench.update(7, r#""a":4"#);
    assert_eq!(bench.diff(), None);
}

#[test]
fn one_user_with_several_connections_has_several_metas() {
    let mut bench = Bench::new();
    bench.join(1, "u", r#""a":1"#);
    bench.join(2, "u", r#""a":2"#);
    let metas = |value: &Value| value["u"]["metas"].as_array().unwrap().clone();
    assert_eq!(metas(&bench.diff().unwrap()["joins"]).len(), 2);
    bench.presence.rename(member(1), "v".into(), &mut bench.refs);
    bench.presence.rename(member(2), "u".into(), &mut bench.refs);
    let diff = bench.diff().unwrap();
    assert_eq!(diff["joins"], json!({"v": {"metas": [{"phx_ref": "00000abc3", "a": 1}]}}));
    assert_eq!(metas(&diff["leaves"]), [json!({"phx_ref": "00000abc1", "a": 1})]);
    assert_eq!(metas(&bench.state()), [json!({"phx_ref": "00000abc2", "a": 2})]);
}

/// A client's picture: metas by key and ref, kept as a client of Phoenix keeps it, but stricter.
#[derive(Debug, Default, PartialEq)]
struct Picture(BTreeMap<(String, String), Value>);

fn metas(presences: &Value) -> Vec<((String, String), Value)> {
    let of_key = |(key, presence): (&String, &Value)| {
        let metas = presence["metas"].as_array().unwrap().clone();
        assert!(!metas.is_empty());
        let key = key.clone();
        metas.into_iter().map(move |meta| ((key.clone(), meta["phx_ref"].as_str().unwrap().to_owned()), meta))
    };
    presences.as_object().unwrap().iter().flat_map(of_key).collect()
}

impl Picture {
    fn new(state: &Value) -> Self {
        Self(metas(state).into_iter().collect())
    }

    fn apply(&mut self, diff: &Value) {
        for (at, meta) in metas(&diff["joins"]) {
            if let Some(previous) = meta["phx_ref_prev"].as_str() {
                assert!(self.0.contains_key(&(at.0.clone(), previous.to_owned())), "an update of what was there");
            }
            assert!(self.0.insert(at, meta).is_none(), "nobody comes twice");
        }
        for (at, meta) in metas(&diff["leaves"]) {
            assert_eq!(self.0.remove(&at), Some(meta), "who goes was there");
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Join(u32, u8),
    Update(u32),
    Rename(u32, u8),
    Leave(u32),
    Tell,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        3 => (0_u32..8, 0_u8..3).prop_map(|(who, key)| Step::Join(who, key)),
        2 => (0_u32..8).prop_map(Step::Update),
        1 => (0_u32..8, 0_u8..3).prop_map(|(who, key)| Step::Rename(who, key)),
        3 => (0_u32..8).prop_map(Step::Leave),
        2 => Just(Step::Tell),
    ];
    prop::collection::vec(one, 0..60)
}

proptest! {
    #[test]
    fn every_picture_is_the_truth(steps in steps()) {
        let mut bench = Bench::new();
        let mut truth: BTreeMap<u32, (String, usize)> = BTreeMap::new();
        let mut pictures: Vec<Picture> = Vec::new();
        for (number, step) in steps.into_iter().chain([Step::Tell]).enumerate() {
            let meta = Bytes::from(format!(r#""n":{number}"#));
            match step {
                Step::Join(who, key) => {
                    if let std::collections::btree_map::Entry::Vacant(place) = truth.entry(who) {
                        bench.presence.join(member(who), format!("k{key}").into(), meta, &mut bench.refs);
                        place.insert((format!("k{key}"), number));
                    }
                }
                Step::Update(who) => {
                    bench.presence.update(member(who), meta, &mut bench.refs);
                    truth.entry(who).and_modify(|(_, meta)| *meta = number);
                }
                Step::Rename(who, key) => {
                    bench.presence.rename(member(who), format!("k{key}").into(), &mut bench.refs);
                    truth.entry(who).and_modify(|(current, _)| *current = format!("k{key}"));
                }
                Step::Leave(who) => {
                    bench.presence.leave(member(who));
                    truth.remove(&who);
                }
                Step::Tell => {
                    if let Some(diff) = bench.diff() {
                        pictures.iter_mut().for_each(|picture| picture.apply(&diff));
                    }
                    pictures.push(Picture::new(&bench.state()));
                    let mut expected: Vec<_> = truth.values().cloned().collect();
                    expected.sort();
                    for picture in &pictures {
                        let shown = |((key, _), meta): (&(String, String), &Value)| {
                            (key.clone(), usize::try_from(meta["n"].as_u64().unwrap()).unwrap())
                        };
                        let mut seen: Vec<_> = picture.0.iter().map(shown).collect();
                        seen.sort();
                        prop_assert_eq!(&seen, &expected);
                    }
                }
            }
        }
        prop_assert_eq!(bench.presence.len(), truth.len());
    }
}
