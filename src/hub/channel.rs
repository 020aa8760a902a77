//! What goes over a topic beside the feed: who may do what there, clients' broadcasts, and who is present.
//!
//! None of it is in the log. Changes of presence are told once for everything that a turn of the hub has brought, just
//! before it lets go of its messages: first to those who know the topic's state, then that state to those who have
//! come. So everyone's picture is complete, and nobody is told of anything twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::routing::{ChannelSpec, ChannelTable, Claims, Topic};

use super::broadcast::{Content, Member};
use super::presence::{Presence, Refs};
use super::{Hub, Refusal, ShapeId, ShardId, ToShard};

const DIFF_EVENT: &str = "presence_diff";
const STATE_EVENT: &str = "presence_state";
/// The longest key that a client may choose, in bytes: a user's id, not a profile.
const KEY_LENGTH_MAX: usize = 255;
/// Names that every JavaScript object has: clients that keep presences in one take them for members that are there.
const NO_KEYS: [&str; 12] = [
    "__proto__",
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
];

/// How a member wants to be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Introduction {
    /// Its name, where its claims don't say `sub`.
    pub key: Option<String>,
    /// Its meta: the entries of a JSON object, without the braces.
    pub meta: Bytes,
}

/// The channels of the configuration, and who is on those with presence.
#[derive(Debug)]
pub struct Channels {
    table: Arc<ChannelTable>,
    /// The most members that a topic may have.
    members_max: usize,
    refs: Refs,
    presences: BTreeMap<Topic, Presence>,
    places: BTreeMap<Member, Place>,
    by_shape: BTreeSet<(ShapeId, Member)>,
    /// Topics on which something has changed since they were last told.
    changed: BTreeSet<Topic>,
    /// Who has come since, by topic.
    arrived: BTreeMap<Topic, Vec<Member>>,
}

#[derive(Debug)]
struct Place {
    topic: Topic,
    shape: ShapeId,
}

/// What a join has been granted.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) channel: Option<Arc<ChannelSpec>>,
    /// Its key and meta, where the channel has presence.
    present: Option<(Arc<str>, Bytes)>,
}

impl Channels {
    /// `members_max` bounds each topic's presence. `seed` is to differ from run to run: refs begin with it.
    #[must_use]
    pub fn new(table: Arc<ChannelTable>, members_max: usize, seed: u32) -> Self {
        Self {
            table,
            members_max,
            refs: Refs::new(seed),
            presences: BTreeMap::new(),
            places: BTreeMap::new(),
            by_shape: BTreeSet::new(),
            changed: BTreeSet::new(),
            arrived: BTreeMap::new(),
        }
    }

    /// Takes other channels, and gives the former ones. Who is present stays so until the topic is reset.
    pub(super) fn reload(&mut self, table: Arc<ChannelTable>) -> Arc<ChannelTable> {
        std::mem::replace(&mut self.table, table)
    }

    pub(super) fn find(&self, topic: &str) -> Option<&Arc<ChannelSpec>> {
        self.table.find(topic)
    }

    /// What a join of this topic gives beside the feed. `is_fed` says whether some route feeds it.
    ///
    /// # Errors
    /// Neither a route nor a channel has the topic, or its presence can't take this member.
    pub(super) fn grant(
        &mut self,
        topic: &Topic,
        is_fed: bool,
        claims: &Claims,
        introduction: Option<Introduction>,
    ) -> Result<Grant, Refusal> {
        let channel = self.table.find(topic).cloned();
        if channel.is_none() && !is_fed {
            return Err(Refusal::UnmatchedTopic);
        }
        let Some(introduction) = introduction.filter(|_| channel.as_ref().is_some_and(|channel| channel.presence))
        else {
            return Ok(Grant { channel, present: None });
        };
        if self.presences.get(topic).is_some_and(|presence| presence.len() >= self.members_max) {
            return Err(Refusal::PresenceFull);
        }
        let key = match subject(claims).or(introduction.key) {
            Some(key) if key.len() > KEY_LENGTH_MAX => {
                return Err(Refusal::InvalidPresence(format!("a key has at most {KEY_LENGTH_MAX} bytes")));
            }
            Some(key) if NO_KEYS.contains(&key.as_str()) => {
                return Err(Refusal::InvalidPresence("this key has a meaning of its own in JavaScript".to_owned()));
            }
            Some(key) if key.is_empty() => {
                return Err(Refusal::InvalidPresence("the key is empty".to_owned()));
            }
            Some(key) => key,
            None => {
                let reference = self.refs.next();
                self.refs.text(reference)
            }
        };
        Ok(Grant { channel, present: Some((key.into(), introduction.meta)) })
    }

    /// How many there are on all topics.
    pub(super) fn members(&self) -> usize {
        self.places.len()
    }

    /// The join has succeeded.
    pub(super) fn enter(&mut self, member: Member, topic: &Topic, shape: ShapeId, grant: Grant) {
        let Some((key, meta)) = grant.present else { return };
        self.presences.entry(topic.clone()).or_default().join(member, key, meta, &mut self.refs);
        self.places.insert(member, Place { topic: topic.clone(), shape });
        self.by_shape.insert((shape, member));
        self.arrived.entry(topic.clone()).or_default().push(member);
        self.changed.insert(topic.clone());
    }

    pub(super) fn leave(&mut self, member: Member) {
        if let Some(Place { topic, shape }) = self.places.remove(&member) {
            self.by_shape.remove(&(shape, member));
            self.change(topic, |presence, _| presence.leave(member));
        }
    }

    /// The shape's subscribers are told to begin anew, and are no longer there until they do.
    pub(super) fn reset(&mut self, shape: ShapeId) {
        let next = |members: &BTreeSet<(ShapeId, Member)>| {
            members.range((shape, Member::FIRST)..).next().filter(|(of, _)| *of == shape).map(|(_, member)| *member)
        };
        while let Some(member) = next(&self.by_shape) {
            self.leave(member);
        }
    }

    /// The member says something else of itself.
    pub(super) fn update(&mut self, member: Member, meta: Bytes) {
        if let Some(topic) = self.places.get(&member).map(|place| place.topic.clone()) {
            self.change(topic, |presence, refs| presence.update(member, meta, refs));
        }
    }

    /// The member has shown other claims: where they name somebody else, it is somebody else.
    pub(super) fn identify(&mut self, member: Member, claims: &Claims) {
        let key = subject(claims).filter(|key| !NO_KEYS.contains(&key.as_str()) && !key.is_empty());
        if let Some((place, key)) = self.places.get(&member).zip(key) {
            let topic = place.topic.clone();
            self.change(topic, |presence, refs| presence.rename(member, key.into(), refs));
        }
    }

    fn change(&mut self, topic: Topic, change: impl FnOnce(&mut Presence, &mut Refs)) {
        if let Some(presence) = self.presences.get_mut(&topic) {
            change(presence, &mut self.refs);
            self.changed.insert(topic);
        }
    }

    /// A topic's diff for those who know its state, then that state with those who don't know it.
    fn news(&mut self, topic: &Topic) -> Option<News> {
        let presence = self.presences.get_mut(topic)?;
        let diff = presence.take_diff(&self.refs);
        let arrived = self.arrived.remove(topic).unwrap_or_default();
        let state = (!arrived.is_empty()).then(|| presence.state());
        if presence.is_over() {
            self.presences.remove(topic);
        }
        Some(News { diff, state: state.map(|state| (arrived, state)) })
    }
}

struct News {
    diff: Option<Bytes>,
    state: Option<(Vec<Member>, Bytes)>,
}

/// Whom the claims name.
fn subject(claims: &Claims) -> Option<String> {
    match claims.get(["sub"])? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl Hub {
    /// Tells what has changed on topics with presence since the last call.
    pub(super) fn tell_presences(&mut self) {
        for topic in std::mem::take(&mut self.channels.changed) {
            let Some(News { diff, state }) = self.channels.news(&topic) else { continue };
            if let Some(diff) = diff
                && let Some((diff, shards)) = self.broadcast(&topic, DIFF_EVENT.into(), Content::Json(diff), None)
            {
                shards.into_iter().for_each(|shard| self.tell(shard, ToShard::PresenceDiff(Arc::clone(&diff))));
            }
            if let Some((arrived, state)) = state
                && let Some((state, _)) = self.broadcast(&topic, STATE_EVENT.into(), Content::Json(state), None)
            {
                let mut by_shard: BTreeMap<ShardId, Vec<_>> = BTreeMap::new();
                arrived.into_iter().for_each(|member| by_shard.entry(member.shard).or_default().push(member.join));
                for (shard, joins) in by_shard {
                    self.tell(shard, ToShard::PresenceState { joins, state: Arc::clone(&state) });
                }
            }
        }
    }
}
