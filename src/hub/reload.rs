//! Other routes and channels take over while clients are there.
//!
//! Who is subscribed to a topic that is fed as before notices nothing. Where a topic's routes have changed, what its
//! subscribers have is no longer what they would be shown: they begin afresh, and so does who comes back with a cursor
//! from before. A topic that nothing gives any longer is closed.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::routing::{ChannelTable, RouteChanges, RouteId, RouteTable, Template, Topic};

use super::{Hub, Position, ShapeId, ToShard};

/// The routes and channels of a configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configured {
    pub routes: Arc<RouteTable>,
    pub channels: Arc<ChannelTable>,
}

/// Where other routes took over: of these topics, nobody reads what the log had before as theirs.
#[derive(Debug, Default)]
pub(super) struct Turns(VecDeque<Turn>);

#[derive(Debug)]
struct Turn {
    at: Position,
    topics: Template,
    /// There may be cursors at this very position for other rows, that nothing tells from those of today.
    ambiguous: bool,
}

impl Turns {
    fn add(&mut self, at: Position, topics: &Template, ambiguous: bool) {
        // The latest is as good as all of them.
        self.0.retain(|known| known.topics != *topics || known.ambiguous != ambiguous);
        self.0.push_back(Turn { at, topics: topics.clone(), ambiguous });
    }

    /// What the log has of a topic after this position was all routed by the routes of today.
    pub(super) fn are_before(&self, position: Position, topic: &str) -> bool {
        !self.0.iter().rev().take_while(|turn| turn.at > position).any(|turn| turn.topics.may_give(topic))
    }

    /// Whether a cursor without a fingerprint at this position may be one that was given out for other rows: those that
    /// are given out there from now on have one.
    pub(super) fn may_cut(&self, position: Position, topic: &str) -> bool {
        let here = self.0.iter().rev().take_while(|turn| turn.at >= position).filter(|turn| turn.at == position);
        here.filter(|turn| turn.ambiguous).any(|turn| turn.topics.may_give(topic))
    }

    /// Nobody can be resumed from before `tail` any longer.
    pub(super) fn forget_before(&mut self, tail: Position) {
        while self.0.front().is_some_and(|turn| turn.at < tail) {
            self.0.pop_front();
        }
    }
}

impl RouteChanges {
    fn may_concern(&self, topic: &str) -> bool {
        self.removed.iter().chain(&self.added).any(|template| template.may_give(topic))
    }
}

/// What becomes of a topic's subscribers.
enum Fate {
    Untouched,
    /// Nothing gives the topic any longer.
    Closed,
    /// What they have is not what they would be shown.
    Reset,
    /// They see what they saw, and may do other things or be no longer let in.
    Changed {
        channel: bool,
        admission: bool,
    },
}

impl Hub {
    /// Replaces all routes and channels at once.
    pub fn reload(&mut self, configured: Configured) {
        let (routes, changes) = RouteTable::clone(&configured.routes).succeeding(&self.tables.routes);
        let routes = Arc::new(routes);
        self.readers.snapshots.routes = Arc::clone(&routes);
        self.tables.reload(routes);
        self.look_for_unfed();
        let former = self.channels.reload(configured.channels);
        if let Some(log) = &mut self.log {
            // Cursors from before are behind this, unless nothing has come since the feed was here.
            let before = log.head;
            log.advance(Position::before(log.reached));
            let at = log.head;
            changes.removed.iter().chain(&changes.added).for_each(|topics| log.turns.add(at, topics, false));
            log.reroute();
            if before == at {
                changes.plain.iter().for_each(|topics| log.turns.add(at, topics, true));
            }
        }
        let topics = self.log.as_ref().map(|log| log.topics.names()).unwrap_or_default();
        for topic in topics {
            let fate = self.fate(&topic, &changes, &former);
            self.meet_fate(&topic, &fate);
        }
    }

    fn fate(&mut self, topic: &Topic, changes: &RouteChanges, former: &ChannelTable) -> Fate {
        let is_changed = changes.may_concern(topic.as_str());
        let routes = is_changed.then(|| self.tables.routes_for_topic(topic.as_str()));
        let Some(state) = self.log.as_mut().and_then(|log| log.topics.get_mut(topic.as_str())) else {
            return Fate::Untouched;
        };
        state.routes = routes.unwrap_or_else(|| std::mem::take(&mut state.routes));
        let (before, now) = (former.find(topic.as_str()), self.channels.find(topic.as_str()));
        let presence = [before, now].map(|channel| channel.is_some_and(|channel| channel.presence));
        let mut routes = self.tables.routes.iter();
        // Where a table does not fit its route any more, the topic is only out of order.
        if state.routes.is_empty() && now.is_none() && !routes.any(|(_, it)| it.topic.may_give(topic.as_str())) {
            return Fate::Closed;
        }
        if is_changed || presence[0] != presence[1] {
            return Fate::Reset;
        }
        let allow = [before, now].map(|channel| channel.and_then(|channel| channel.allow.as_ref()));
        let admission = state.routes.iter().any(|route| changes.admission.contains(route)) || allow[0] != allow[1];
        match before != now {
            false if !admission => Fate::Untouched,
            channel => Fate::Changed { channel, admission },
        }
    }

    fn meet_fate(&mut self, topic: &Topic, fate: &Fate) {
        for id in self.shapes_of(topic) {
            match fate {
                Fate::Untouched => {}
                Fate::Closed => self.close(id),
                Fate::Reset => self.reset(id),
                Fate::Changed { channel, admission } => {
                    if *channel {
                        let channel = self.channels.find(topic.as_str()).cloned();
                        self.tell_subscribers(id, &ToShard::Channel { shape: id, channel });
                    }
                    if *admission {
                        self.tell_subscribers(id, &ToShard::Recheck { shape: id });
                    }
                }
            }
        }
    }

    fn tell_subscribers(&mut self, id: ShapeId, message: &ToShard) {
        let shards: Vec<_> = self.shapes.get(&id).map(|shape| shape.shards().collect()).unwrap_or_default();
        shards.into_iter().for_each(|shard| self.tell(shard, message.clone()));
    }

    /// As users count the configuration's routes, from 1.
    pub(super) fn number_of(&self, route: RouteId) -> usize {
        self.tables.routes.place(route).map_or(0, |place| place + 1)
    }
}
