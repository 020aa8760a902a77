//! What apps say by HTTP: a broadcast, on a topic that there is.

use crate::routing::RouteId;

use super::broadcast::Saying;
use super::{Hub, Refusal};

impl Hub {
    /// Tells everyone on a topic what an app has posted, whether somebody is there or not.
    pub(super) fn announce(&mut self, saying: Saying) -> Result<(), Refusal> {
        // Nobody can have joined before.
        if self.log.is_none() || !self.caught_up {
            return Err(Refusal::NotReady);
        }
        let routes = self.routes_of(&saying.topic);
        if routes.is_empty() && !self.channels.has(&saying.topic) {
            return Err(Refusal::UnmatchedTopic);
        }
        // Rows are Postgres' alone.
        let carries_rows = |id: &RouteId| self.tables.routes.route(*id).is_some_and(|it| it.event == saying.event);
        if routes.iter().any(carries_rows) {
            return Err(Refusal::EventNotAllowed);
        }
        self.say(saying);
        Ok(())
    }

    /// The routes that feed a topic, as far as the tables are known.
    pub(super) fn routes_of(&self, topic: &str) -> Vec<RouteId> {
        let known = self.log.as_ref().and_then(|log| log.topics.get(topic)).map(|(_, state)| &state.routes);
        // A topic that only a channel has may be fed by a table that has come since.
        match known.filter(|routes| !routes.is_empty()) {
            Some(routes) => routes.clone(),
            None => self.tables.routes_for_topic(topic),
        }
    }
}
