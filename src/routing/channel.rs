//! What clients may do on a topic beside listening: `[[channel]]`, parsed.

use std::sync::Arc;

use super::predicate::Expression;
use super::topic_pattern::TopicPattern;

/// The most `[[channel]]`s in one config: every joined topic is held against each of them until one matches.
pub const MAX_CHANNELS: usize = 1_000;
/// Phoenix' own topic, for heartbeats: nobody joins it.
const PHOENIX_TOPIC: &str = "phoenix";

/// One `[[channel]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSpec {
    pub topic: TopicPattern,
    /// The events that clients may broadcast.
    pub publish: Box<[Arc<str>]>,
    /// Whether members are told who else is there.
    pub presence: bool,
    /// Whether who broadcasts is sent the broadcast too.
    pub include_sender: bool,
    /// Who may join, by their claims and the pattern's variables, which are of type text.
    pub allow: Option<Expression>,
}

impl ChannelSpec {
    /// The event's name, if clients may broadcast it.
    #[must_use]
    pub fn published(&self, event: &str) -> Option<&Arc<str>> {
        self.publish.iter().find(|published| &***published == event)
    }
}

/// All channels in config order. A reload makes a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelTable {
    channels: Box<[Arc<ChannelSpec>]>,
}

impl ChannelTable {
    #[must_use]
    pub fn new(channels: impl IntoIterator<Item = ChannelSpec>) -> Self {
        Self { channels: channels.into_iter().map(Arc::new).collect() }
    }

    /// The first channel whose pattern matches the topic: it alone says what may be done there.
    #[must_use]
    pub fn find(&self, topic: &str) -> Option<&Arc<ChannelSpec>> {
        self.channels.iter().find(|channel| channel.topic.matches(topic)).filter(|_| topic != PHOENIX_TOPIC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_match_wins() {
        let channel = |topic: &str| ChannelSpec {
            topic: TopicPattern::parse(topic).unwrap(),
            publish: [Arc::from(topic)].into(),
            presence: false,
            include_sender: true,
            allow: None,
        };
        let table = ChannelTable::new(["rooms:lobby", "rooms:{room}", "*"].map(channel));
        for (topic, first) in [("rooms:lobby", "rooms:lobby"), ("rooms:1", "rooms:{room}"), ("rooms:1:2", "*")] {
            assert!(table.find(topic).unwrap().published(first).is_some(), "{topic}");
        }
        assert_eq!(table.find("phoenix"), None);
        assert_eq!(ChannelTable::default().find("rooms:1"), None);
    }
}
