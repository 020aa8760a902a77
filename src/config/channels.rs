//! `[[channel]]`: from text to [`ChannelSpec`]s, and the mistakes that can be seen in the file.

use std::sync::Arc;

use super::code::Code;
use super::diagnostic::{Finding, Span, quoted_list};
use super::document::{Reader, Section, TextList};
use super::expand::Text;
use super::routes::{EVENT_BYTES_MAX, RESERVED_EVENTS, RESERVED_PREFIXES, culprit};
use super::{Channel, ChannelSpans, Route, rules};
use crate::routing::{ChannelSpec, MAX_CHANNELS, Piece, TopicPattern, TopicPatternErrorKind};

/// Phoenix' own topic, for heartbeats.
const PHOENIX_TOPIC: &str = "phoenix";
/// Events of clients that walcast itself answers, on top of those that it sends.
const ANSWERED_EVENTS: [&str; 5] = ["access_token", "fetch_updates", "heartbeat", "presence_update", "sync_request"];

/// The usable channels. `routes` are those that were usable.
pub(super) fn read(reader: &mut Reader<'_>, root: &mut Section<'_>, routes: &[Route]) -> Vec<Channel> {
    let sections = reader.sections(root, "channel");
    if let (true, Some(span)) = (sections.len() > MAX_CHANNELS, root.key_span("channel")) {
        reader.findings.push(
            Finding::error(Code::OutOfRange, format!("{} channels are more than {MAX_CHANNELS}", sections.len()))
                .label(span, "the first of them")
                .help("one channel can stand for many topics: `topic = \"rooms:*\"`"),
        );
    }
    let channels: Vec<Channel> = sections.into_iter().filter_map(|section| channel(reader, section)).collect();
    shadowed(reader, &channels);
    channels.iter().for_each(|channel| pretended(reader, channel, routes));
    channels
}

fn channel(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Channel> {
    let help = "write `topic = \"notifications:*\"`; `*` stands for any characters";
    let topic = reader.required_text(&mut section, "topic", help);
    let publish = reader.texts(&mut section, "publish");
    let presence = reader.flag(&mut section, "presence").is_some_and(|(flag, _)| flag);
    let include_sender = reader.flag(&mut section, "self").is_none_or(|(flag, _)| flag);
    let allow = reader.text(&mut section, "allow");
    reader.finish(section);

    let (publish, publish_spans) = publish.map(|list| events(reader, list)).unwrap_or_default();
    let topic = topic.map(|text| (pattern(reader, &text), text));
    let (allow, allow_sql) = allow.and_then(|text| rules::expression(reader, "channel.allow", text)).unzip();
    let (topic, topic_text) = topic?;
    let topic = topic?;
    let spec = ChannelSpec { topic, publish: publish.into(), presence, include_sender, allow };
    if let Some(sql) = &allow_sql {
        rules::check_channel(reader, &spec, sql);
    }
    let spans = ChannelSpans { topic: topic_text.span, publish: publish_spans, allow: allow_sql };
    Some(Channel { spec, spans })
}

fn pattern(reader: &mut Reader<'_>, text: &Text) -> Option<TopicPattern> {
    let error = match TopicPattern::parse(&text.value) {
        Ok(pattern) => {
            check_reserved(reader, text);
            return Some(pattern);
        }
        Err(error) => error,
    };
    let help = match error.kind {
        TopicPatternErrorKind::Empty => "write a name, as in `topic = \"lobby\"`",
        TopicPatternErrorKind::TooLong => "shorten it",
        TopicPatternErrorKind::CrowdedPart => "put a colon between them, as in `rooms:{room}:*`",
        TopicPatternErrorKind::SecondStar => "keep one `*`, or name the other part, as in `{part}`",
        _ => "write it like `rooms:{room}` or `notifications:*`",
    };
    reader.findings.push(
        Finding::error(Code::BadTopic, "`channel.topic` is not a topic or a pattern of topics")
            .label(text.span_of(culprit(&text.value, error.offset)), error.kind.to_string())
            .help(help),
    );
    None
}

fn check_reserved(reader: &mut Reader<'_>, text: &Text) {
    let starts_reserved = RESERVED_PREFIXES.iter().find(|prefix| text.value.starts_with(**prefix));
    let length =
        if text.value == PHOENIX_TOPIC { Some(PHOENIX_TOPIC.len()) } else { starts_reserved.map(|it| it.len()) };
    if let Some(length) = length {
        reader.findings.push(
            Finding::error(Code::ReservedTopic, "this topic belongs to the Phoenix protocol")
                .label(text.span_of(0..length), "reserved")
                .help("choose another name, or put a word before it, as in `app:…`"),
        );
    }
}

fn events(reader: &mut Reader<'_>, list: TextList) -> (Vec<Arc<str>>, Vec<Span>) {
    for (index, text) in list.items.iter().enumerate() {
        check_event(reader, text);
        if let Some(first) = list.items.iter().take(index).find(|earlier| earlier.value == text.value) {
            reader.findings.push(
                Finding::error(Code::DuplicateEvent, format!("event `{}` is listed twice", text.value))
                    .label(text.span.clone(), "again here")
                    .label(first.span.clone(), "first here")
                    .help("remove one of them"),
            );
        }
    }
    list.items.into_iter().map(|text| (Arc::from(text.value), text.span)).unzip()
}

fn check_event(reader: &mut Reader<'_>, text: &Text) {
    let name = text.value.as_str();
    let own = || RESERVED_EVENTS.iter().chain(&ANSWERED_EVENTS).copied();
    if own().any(|event| event == name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        reader.findings.push(
            Finding::error(Code::ReservedEvent, format!("the event `{name}` has a meaning of its own"))
                .label(text.span.clone(), "clients can't broadcast it")
                .note("reserved: `phx_…`, `chan_reply_…`, ".to_owned() + &quoted_list(own()))
                .help("choose another name"),
        );
    } else if name.contains('*') {
        reader.findings.push(
            Finding::error(Code::BadEvent, "`publish` lists events by their names")
                .label(text.span.clone(), "no pattern can be given here")
                .help("list each event that clients may broadcast, as in `publish = [\"message\", \"typing\"]`"),
        );
    } else if !(1..=EVENT_BYTES_MAX).contains(&name.len()) {
        reader.findings.push(
            Finding::error(Code::OutOfRange, "an event of `channel.publish` is out of range")
                .label(text.span.clone(), format!("a name of 1 to {EVENT_BYTES_MAX} bytes is expected"))
                .help("shorten it, or remove it"),
        );
    }
}

/// The first channel that matches a topic is the topic's: one that matches nothing else would do nothing.
fn shadowed(reader: &mut Reader<'_>, channels: &[Channel]) {
    for (index, channel) in channels.iter().enumerate() {
        let covers = |first: &&Channel| first.spec.topic.covers(&channel.spec.topic);
        if let Some(first) = channels.iter().take(index).find(covers) {
            reader.findings.push(
                Finding::error(Code::DuplicateChannel, "this channel would never be used")
                    .label(channel.spans.topic.clone(), "every such topic belongs to an earlier channel")
                    .label(first.spans.topic.clone(), "this one")
                    .note("a topic belongs to the first channel whose pattern matches it")
                    .help("put the narrower pattern first, or remove one of the two"),
            );
        }
    }
}

/// Clients must not be able to send each other what looks like rows.
fn pretended(reader: &mut Reader<'_>, channel: &Channel, routes: &[Route]) {
    for (event, span) in channel.spec.publish.iter().zip(&channel.spans.publish) {
        let pretends = |route: &&Route| route.spec.event == *event && may_meet(&channel.spec.topic, route);
        if let Some(route) = routes.iter().find(pretends) {
            reader.findings.push(
                Finding::error(Code::ReservedEvent, format!("the event `{event}` carries a table's rows here"))
                    .label(span.clone(), "clients could send what looks like rows")
                    .label(route.spans.topic.clone(), "this route sends rows by that event to such topics")
                    .help("choose another name, or give the route an `event` of its own"),
            );
        }
    }
}

/// Whether some topic may be both the channel's and the route's, as far as their beginnings tell.
fn may_meet(pattern: &TopicPattern, route: &Route) -> bool {
    if let Some(topic) = route.spec.topic.as_static() {
        return pattern.matches(topic);
    }
    let beginning = match route.spec.topic.pieces().first() {
        Some(Piece::Literal(text)) => text,
        _ => "",
    };
    let prefix = pattern.prefix();
    prefix.starts_with(beginning) || beginning.starts_with(prefix)
}
