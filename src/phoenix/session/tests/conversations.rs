//! Random conversations, watched by an observer who knows the rules.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// A step of a random conversation. Topics and channels are chosen by number.
#[derive(Debug, Clone)]
enum Step {
    Message { topic: usize, event: usize, join_ref: Option<u8> },
    Accept(usize),
    Refuse(usize),
    Unmatched(usize),
    End { channel: usize, error: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let message = (0..4_usize, 0..4_usize, proptest::option::of(0..4_u8))
        .prop_map(|(topic, event, join_ref)| Step::Message { topic, event, join_ref });
    let end = (0..4_usize, any::<bool>()).prop_map(|(channel, error)| Step::End { channel, error });
    let answers = (0..4_usize, 0..4_u8).prop_map(|(join, kind)| match kind {
        0 => Step::Refuse(join),
        1 => Step::Unmatched(join),
        _ => Step::Accept(join),
    });
    proptest::collection::vec(prop_oneof![4 => message, 3 => answers, 1 => end], 0..60)
}

/// What an observer between session, client and caller has seen.
#[derive(Default)]
struct Observer {
    /// The live subscription of each topic, and whether its join was answered.
    live: HashMap<Arc<str>, (JoinId, bool)>,
    unanswered: Vec<JoinId>,
    replies: HashMap<String, usize>,
    opened: usize,
    ended: usize,
}

impl Observer {
    fn see(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Join { join, topic, .. } => {
                    assert!(self.live.insert(topic, (join, false)).is_none(), "one subscription a topic");
                    self.unanswered.push(join);
                }
                Effect::Leave { join } => self.live.retain(|_, (live, answered)| *live != join || !*answered),
                Effect::Event { join, topic, .. } => assert_eq!(self.live.get(&topic), Some(&(join, true))),
                Effect::Close(reason) => panic!("closed: {reason}"),
                Effect::Send(message) => self.sent(message),
            }
        }
    }

    fn sent(&mut self, Outgoing { topic, event, .. }: Outgoing) {
        match event {
            Event::Reply { reference, .. } => {
                *self.replies.entry(reference.unwrap().as_json().to_owned()).or_default() += 1;
            }
            Event::Close | Event::Error { .. } => self.ended += 1,
            Event::Push { .. } => {}
        }
        assert!(self.live.get(&topic).is_none_or(|(_, answered)| *answered), "the answer comes first");
    }

    /// An answer to the join in work with this number, if there is one: before its effects are seen.
    fn answer(&mut self, number: usize, accepted: bool) -> Option<JoinId> {
        let join = (!self.unanswered.is_empty()).then(|| self.unanswered.remove(number % self.unanswered.len()))?;
        if accepted {
            self.opened += 1;
            self.live.values_mut().filter(|(live, _)| *live == join).for_each(|(_, answered)| *answered = true);
        } else {
            self.live.retain(|_, (live, _)| *live != join);
        }
        Some(join)
    }
}

fn message(topic: usize, event: usize, join_ref: Option<u8>, reference: usize) -> ClientMessage {
    ClientMessage {
        join_ref: join_ref.and_then(|number| Ref::from_bare(&number.to_string())),
        reference: Ref::from_bare(&format!("r{reference}")),
        topic: ["a", "b", "c", "d"][topic].into(),
        event: ["phx_join", "phx_join", "phx_leave", "event"][event].into(),
        payload: Payload::Json(RawValue::from_string("{}".into()).unwrap()),
    }
}

proptest! {
    #[test]
    fn random_conversations_keep_the_rules(steps in steps()) {
        let (mut session, mut observer) = (Session::new(3), Observer::default());
        let mut joins = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            let mut effects = Vec::new();
            match step {
                Step::Message { topic, event, join_ref } => {
                    let message = message(topic, event, join_ref, number);
                    if message.event == "phx_join" {
                        joins.push(format!("\"r{number}\""));
                    }
                    session.receive(message, &mut effects);
                }
                Step::Accept(join) => if let Some(join) = observer.answer(join, true) {
                    session.join_accepted(join, Body::EMPTY, &mut effects);
                },
                Step::Refuse(join) => if let Some(join) = observer.answer(join, false) {
                    session.join_refused(join, Refusal::NotReady.response(), &mut effects);
                },
                Step::Unmatched(join) => if let Some(join) = observer.answer(join, false) {
                    session.join_unmatched(join, &mut effects);
                },
                Step::End { channel, error } => {
                    let topic: Arc<str> = ["a", "b", "c", "d"][channel].into();
                    if let Some((join, true)) = observer.live.get(&topic).copied() {
                        observer.live.remove(&topic);
                        if error {
                            session.channel_error(join, &Refusal::ResyncRequired, &mut effects);
                        } else {
                            session.channel_close(join, &mut effects);
                        }
                    }
                }
            }
            observer.see(effects);
            prop_assert!(session.channels.len() <= 3);
            prop_assert_eq!(session.channels.len(), observer.live.len());
        }
        while let Some(join) = observer.answer(0, true) {
            let mut effects = Vec::new();
            session.join_accepted(join, Body::EMPTY, &mut effects);
            observer.see(effects);
        }
        for reference in joins {
            prop_assert_eq!(observer.replies.get(&reference), Some(&1), "{} is answered once", reference);
        }
        // A channel that was opened and is not live any more has had its phx_close or phx_error.
        prop_assert_eq!(observer.ended, observer.opened - session.channels.len());
        prop_assert_eq!((session.queued.messages, session.queued.bytes), (0, 0));
    }
}
