//! Every topic that has subscribers or changes in the log.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use slab::Slab;

use crate::change::Lsn;
use crate::routing::{RouteId, Topic};

use super::audience::Audience;

/// Where the log keeps a batch: an entry's number and the batch's place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BatchRef {
    pub(super) entry: u64,
    pub(super) batch: usize,
}

/// Where a topic is as long as it is known, so that its name is looked up once for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TopicSlot(usize);

/// What a topic costs beside its batches: its name in a map that is half empty, its state among others with as much
/// room, and the room for its first batches.
pub(super) const TOPIC_OVERHEAD: usize =
    2 * (size_of::<(Topic, TopicSlot)>() + size_of::<TopicState>()) + 4 * size_of::<BatchRef>();

#[derive(Debug)]
pub(super) struct TopicState {
    pub(super) topic: Topic,
    /// The routes that feed it, by their numbers.
    pub(super) routes: Vec<RouteId>,
    /// Its batches in the log, oldest first.
    pub(super) batches: VecDeque<BatchRef>,
    /// Its subscribers.
    pub(super) audience: Audience,
    /// How many messages it got of the transaction that committed at this LSN: the next message's part.
    parts: (Lsn, u32),
}

impl TopicState {
    pub(super) fn new(topic: Topic, routes: Vec<RouteId>) -> Self {
        let (batches, audience, parts) = (VecDeque::new(), Audience::default(), (Lsn::ZERO, 0));
        Self { topic, routes, batches, audience, parts }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.batches.is_empty() && self.audience.is_empty()
    }

    /// The part number for the topic's next message of the transaction that committed at `lsn`.
    pub(super) fn next_part(&mut self, lsn: Lsn) -> u32 {
        let part = if self.parts.0 == lsn { self.parts.1 } else { 0 };
        self.parts = (lsn, part + 1);
        part
    }
}

/// A topic that got a part of a transaction which goes on: it is owed a last part.
#[derive(Debug, Clone)]
pub(super) struct OpenTopic {
    pub(super) topic: Topic,
    pub(super) event: Arc<str>,
}

/// A route has begun to feed a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun {
    /// None did before.
    pub(super) first: bool,
}

/// Topics by name, and by slot.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: HashMap<Topic, TopicSlot>,
    states: Slab<TopicState>,
}

impl Topics {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// In no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Topic, &TopicState)> {
        self.states.iter().map(|(_, state)| (&state.topic, state))
    }

    pub(super) fn find(&self, name: &str) -> Option<TopicSlot> {
        self.by_name.get(name).copied()
    }

    /// The topic in a slot; none where it is no longer known. A slot that is empty can be another topic's later.
    pub(super) fn at(&self, slot: TopicSlot) -> Option<&TopicState> {
        self.states.get(slot.0)
    }

    pub(super) fn at_mut(&mut self, slot: TopicSlot) -> Option<&mut TopicState> {
        self.states.get_mut(slot.0)
    }

    pub(super) fn get(&self, name: &str) -> Option<(&Topic, &TopicState)> {
        let state = self.at(self.find(name)?)?;
        Some((&state.topic, state))
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut TopicState> {
        self.at_mut(self.find(name)?)
    }

    /// A route has brought the topic something; none where it was known to feed it, or there is no such topic.
    pub(super) fn feed(&mut self, slot: TopicSlot, route: RouteId) -> Option<Begun> {
        let state = self.at_mut(slot)?;
        let place = state.routes.binary_search(&route).err()?;
        state.routes.insert(place, route);
        Some(Begun { first: state.routes.len() == 1 })
    }

    /// All of them, in the same order every time.
    pub(super) fn names(&self) -> Vec<Topic> {
        let mut names: Vec<Topic> = self.by_name.keys().cloned().collect();
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names
    }

    /// The slot that the next topic gets.
    pub(super) fn vacant(&self) -> TopicSlot {
        TopicSlot(self.states.vacant_key())
    }

    /// Takes in a topic that is not known.
    pub(super) fn insert(&mut self, state: TopicState) {
        let topic = state.topic.clone();
        let slot = TopicSlot(self.states.insert(state));
        let known = self.by_name.insert(topic, slot);
        debug_assert!(known.is_none(), "a topic has one slot");
    }

    pub(super) fn remove_if_idle(&mut self, slot: TopicSlot) {
        if self.at(slot).is_some_and(TopicState::is_idle)
            && let Some(state) = self.states.try_remove(slot.0)
        {
            self.by_name.remove(&state.topic);
        }
    }

    /// The topics that a route is known to feed, in the same order every time.
    pub(super) fn of_route(&self, route: RouteId) -> impl Iterator<Item = (TopicSlot, &Topic)> {
        let fed = self.states.iter().filter(|(_, state)| state.routes.contains(&route));
        let mut topics: Vec<(TopicSlot, &Topic)> = fed.map(|(slot, state)| (TopicSlot(slot), &state.topic)).collect();
        topics.sort_unstable_by_key(|(_, topic)| topic.as_str());
        topics.into_iter()
    }
}
