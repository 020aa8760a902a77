//! Labels that an enum has not, and those that it has since a moment ago.

use super::sight::{docs, on_docs, sub};
use super::*;
use crate::change::{Enum, EnumLabels, Type, TypeKind};
use crate::routing::Filter;

const MOOD: u32 = 20_000;

/// `docs`, whose status is an enum; a topic by rule, and one for filters.
fn bench() -> Bench {
    let mut relation = Relation::clone(&docs(&["id", "owner", "status", "body"]));
    let mood = Type { oid: MOOD, base_oid: MOOD, name: "mood".into(), kind: TypeKind::Enum };
    relation.columns[2].ty = Arc::new(mood);
    let routes = vec![on_docs("ruled", Some("status = claims.sub or status = 'no label'")), on_docs("open", None)];
    Bench { relation: Arc::new(relation), ..Bench::new(routes) }.connected()
}

fn filtered(text: &str) -> View {
    View { filter: Some(Filter::parse(text).unwrap()), ..View::default() }
}

impl Bench {
    /// The catalogue is looked at.
    fn look(&mut self, labels: &[&str]) {
        let labels = labels.iter().map(|label| Box::from(*label)).collect();
        self.feed(FeedEvent::Labels([(MOOD, Enum { name: "mood".into(), labels })].into_iter().collect()));
    }

    /// A join with a filter, or with a claim, that is not answered yet.
    fn ask(&mut self, filter: &str) {
        let view = if filter.is_empty() { View::default() } else { filtered(filter) };
        let topic = if filter.is_empty() { "ruled" } else { "open" }.to_owned();
        let request = Subscribe { topic, claims: self.claims.clone(), view, ..Subscribe::default() };
        self.hub.command(Command::Subscribe { shard: SHARD, join: NOBODY, request: Box::new(request) });
    }

    fn answers(&mut self) -> Vec<Result<(), Refusal>> {
        let answer = |message| match message {
            ToShard::Subscribed { .. } => Ok(()),
            ToShard::Refused { refusal, .. } => Err(refusal),
            ToShard::Judged { result, .. } => result,
            other => panic!("{other:?}"),
        };
        self.told().into_iter().map(answer).collect()
    }
}

fn no_label(filter: &str) -> Result<(), Refusal> {
    let message = format!("`{filter}`: `glad` is no label of enum mood; its labels: sad, ok");
    Err(Refusal::InvalidFilter { message })
}

#[test]
fn a_label_that_is_not_there_is_refused_once_that_is_sure() {
    let mut bench = bench();
    bench.look(&["sad", "ok"]);
    for filter in ["status=eq.glad", "status=in.(glad,sad)"] {
        bench.ask(filter);
        assert_eq!(bench.answers(), [], "it may be new");
        // This look may have begun before the label was added.
        bench.look(&["sad", "ok"]);
        assert_eq!(bench.answers(), []);
        bench.look(&["sad", "ok"]);
        assert_eq!(bench.answers(), [no_label(filter)]);
    }
    for filter in ["status=eq.sad", "status=neq.ok", "owner=eq.glad"] {
        bench.ask(filter);
        assert_eq!(bench.answers(), [Ok(())], "{filter}");
    }
    bench.claims = sub("glad");
    bench.ask("");
    bench.look(&["sad", "ok"]);
    bench.look(&["sad", "ok"]);
    let message = "`claims.sub` is no label of enum mood".to_owned();
    assert_eq!(
        bench.answers(),
        [Err(Refusal::InvalidClaim { message })],
        "what the rule itself says is not their fault"
    );
    bench.claims = sub("sad");
    bench.ask("");
    assert_eq!(bench.answers(), [Ok(())]);
}

#[test]
fn a_label_that_has_just_been_added_is_none_to_refuse() {
    let mut bench = bench();
    bench.look(&["sad", "ok"]);
    bench.ask("status=eq.glad");
    bench.look(&["sad", "ok", "glad"]);
    assert_eq!(bench.answers(), [Ok(())]);
    bench.ask("status=eq.glad&id=gt.1");
    assert_eq!(bench.answers(), [Ok(())]);
}

#[test]
fn where_nobody_knows_the_labels_any_may_be_one() {
    let mut bench = bench();
    bench.ask("status=eq.glad");
    assert_eq!(bench.answers(), [Ok(())]);
    bench.feed(FeedEvent::Labels(EnumLabels::default()));
    bench.ask("status=eq.gladder");
    assert_eq!(bench.answers(), [Ok(())]);
}

#[test]
fn who_waits_in_vain_is_told_to_come_back() {
    let mut bench = bench();
    bench.look(&["sad", "ok"]);
    bench.ask("status=eq.glad");
    bench.pass(7);
    assert_eq!(bench.answers(), []);
    bench.pass(1);
    assert_eq!(bench.answers(), [Err(Refusal::NotReady)]);
    bench.look(&["sad", "ok"]);
    bench.look(&["sad", "ok"]);
    assert_eq!(bench.answers(), [], "once");
    (0..2000).for_each(|_| bench.ask("status=eq.glad"));
    assert_eq!(bench.answers().len(), 2000 - 1024);
}

#[test]
fn rows_are_fetched_by_labels_that_are_there() {
    let mut bench = bench();
    bench.look(&["sad", "ok"]);
    let shape = bench.join("open", None).unwrap().shape;
    let judge = |bench: &mut Bench, filter: &str| {
        let view = Box::new(filtered(filter));
        bench.hub.command(Command::Judge { shard: SHARD, join: NOBODY, shape, number: 1, view });
    };
    judge(&mut bench, "status=eq.glad");
    bench.look(&["sad", "ok"]);
    assert_eq!(bench.answers(), []);
    bench.look(&["sad", "ok"]);
    assert_eq!(bench.answers(), [no_label("status=eq.glad")]);
    judge(&mut bench, "status=eq.sad");
    assert_eq!(bench.answers(), [Ok(())]);
}
