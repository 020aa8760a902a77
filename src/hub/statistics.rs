//! How the hub is doing: numbers that it counts as it works, and what an operator asks of its topics.

use std::time::Duration;

use crate::routing::Topic;

use super::topics::TopicState;
use super::{Hub, ShapeId};

/// The most topics that are looked at for one answer: some milliseconds, while everyone else waits.
const TOPICS_MAX: usize = 20_000;

/// What a route has brought to topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteCounts {
    /// One for each change and topic.
    pub changes: u64,
    /// Changes that it could not route, and that are holes.
    pub holes: u64,
}

/// Counted since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Whole ones, with changes for some topic or without.
    pub transactions: u64,
    /// Changes of published tables.
    pub changes: u64,
    /// Broadcasts of clients …
    pub said_by_clients: u64,
    /// … and of SQL.
    pub said_by_sql: u64,
    /// Values that were left out because their types don't write them.
    pub malformed: u64,
}

/// The hub at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    pub counters: Counters,
    /// By the routes' place in the config.
    pub routes: Box<[RouteCounts]>,
    /// By the routes' place in the config: those that bring nothing as things are, because their table is not published
    /// or no longer fits them.
    pub broken: Box<[bool]>,
    pub log: LogStatistics,
    /// With subscribers, or with changes in the log.
    pub topics: usize,
    /// Groups of subscribers who are sent the same bytes.
    pub shapes: usize,
    /// On all topics with presence.
    pub presence_members: usize,
    pub caught_up: bool,
}

/// What the replay log holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStatistics {
    /// Transactions, or parts of large ones.
    pub entries: usize,
    /// Of memory, about.
    pub bytes: usize,
    /// Since the oldest one arrived.
    pub span: Duration,
}

/// Some of the topics, for a person to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Those with the most subscribers first.
    pub topics: Vec<InspectedTopic>,
    /// How many there are of which these are some.
    pub found: usize,
    /// There are so many topics that not all were looked at.
    pub incomplete: bool,
    /// What routes can't do, as the operator is told it; routes by their places in the config, from 1.
    pub problems: Vec<(usize, String)>,
    /// Routes whose table the publication does not give.
    pub unfed: Vec<usize>,
}

/// A topic with subscribers, or with changes in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedTopic {
    pub topic: Topic,
    /// Their places in the config, from 1.
    pub routes: Vec<usize>,
    pub subscribers: u64,
    /// Messages in the log.
    pub messages: usize,
}

impl Hub {
    /// How the hub is doing, `now` after the process began. Costs little, however many topics there are.
    #[must_use]
    pub fn statistics(&self, now: Duration) -> Statistics {
        let log = self.log.as_ref();
        Statistics {
            counters: self.counters,
            routes: self.tables.counts.clone(),
            broken: self.broken(),
            log: log.map(|log| log.statistics(now)).unwrap_or_default(),
            topics: log.map_or(0, |log| log.topics.len()),
            shapes: self.shapes.len(),
            presence_members: self.channels.members(),
            caught_up: self.caught_up(),
        }
    }

    /// The topics whose name contains `search`, at most `most` of them.
    #[must_use]
    pub fn inspect(&self, search: &str, most: usize) -> Inspection {
        let mut inspection = Inspection {
            problems: self
                .problems()
                .map(|(_, problem)| (self.number_of(problem.route()), problem.to_string()))
                .collect(),
            unfed: self.unfed().map(|(route, _)| self.number_of(route)).collect(),
            ..Inspection::default()
        };
        let Some(log) = &self.log else { return inspection };
        inspection.incomplete = log.topics.len() > TOPICS_MAX;
        let mut found: Vec<(u64, &Topic, &TopicState)> = log
            .topics
            .iter()
            .take(TOPICS_MAX)
            // However many there are, one that is asked for by its name is found.
            .filter(|(topic, _)| topic.as_str() != search)
            .chain(log.topics.get(search))
            .filter(|(topic, _)| topic.as_str().contains(search))
            .map(|(topic, state)| (self.subscribers(state), topic, state))
            .collect();
        found.sort_unstable_by(|(more, a, _), (less, b, _)| less.cmp(more).then_with(|| a.as_str().cmp(b.as_str())));
        inspection.found = found.len();
        let inspected = found.into_iter().take(most).map(|(subscribers, topic, state)| InspectedTopic {
            topic: topic.clone(),
            routes: state.routes.iter().map(|route| self.number_of(*route)).collect(),
            subscribers,
            messages: state.batches.len(),
        });
        inspection.topics = inspected.collect();
        inspection
    }

    fn broken(&self) -> Box<[bool]> {
        let mut broken = vec![false; self.tables.counts.len()];
        let unfit = self.problems().map(|(_, problem)| problem.route());
        for route in unfit.chain(self.unfed().map(|(route, _)| route)) {
            if let Some(broken) = broken.get_mut(self.number_of(route).saturating_sub(1)) {
                *broken = true;
            }
        }
        broken.into()
    }

    fn subscribers(&self, state: &TopicState) -> u64 {
        let count = |id: ShapeId| self.shapes.get(&id).map_or(0, super::shape::Shape::subscribers);
        state.audience.shapes().into_iter().map(count).sum()
    }
}
