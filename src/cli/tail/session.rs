//! What `tail` says and hears as a Phoenix client (serializer 2.0.0), without a socket or a clock.
//!
//! ```text
//! opened ──▶ Joining ──ok──▶ Live ──resync_required──▶ Joining, without the cursor
//!               │              └─anything else that ends the channel──▶ Next::Reconnect
//!               ├─resync_required──▶ Joining, without the cursor
//!               ├─not_ready──▶ Next::Reconnect
//!               └─any other refusal──▶ Next::Refused
//! ```
//!
//! It outlives its connections: the cursor that it holds is where the next one goes on.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::line::Message;
use crate::phoenix::Refusal;

/// One topic, followed over as many connections as it takes.
#[derive(Debug)]
pub(super) struct Session {
    topic: String,
    snapshot: bool,
    cursor: Option<String>,
    next_ref: u64,
    /// The latest join.
    join_ref: String,
    live: bool,
    /// The heartbeat that has not been answered.
    heartbeat: Option<String>,
    /// The join was in work at the last heartbeat already.
    slow_join: bool,
}

/// What is to be done about a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Continue,
    /// The join was accepted.
    Joined(Beginning),
    /// The feed has a hole here: say so, and send this, which begins anew.
    BeginAnew(String),
    /// Connect again after a while.
    Reconnect(String),
    /// It makes no sense to try again.
    Refused(RefusedJoin),
}

/// Where the updates begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    Now,
    /// After the cursor that was shown: nothing is missing.
    Resumed,
    /// With the current rows.
    Snapshot,
    /// With the current rows, since the cursor that was shown can't be resumed.
    SnapshotInstead,
}

/// The server's word on a join that won't succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the gateway refuses topic `{topic}`: {reason}{}; {}", in_parentheses(message.as_deref()), advice(reason))]
pub(super) struct RefusedJoin {
    topic: String,
    reason: String,
    message: Option<String>,
}

fn in_parentheses(text: Option<&str>) -> String {
    text.map_or_else(String::new, |text| format!(" ({text})"))
}

fn advice(reason: &str) -> &'static str {
    let is = |refusal: &Refusal| refusal.reason() == reason;
    if is(&Refusal::UnmatchedTopic) {
        "compare it with the `topic` of the config's [[route]]s and [[channel]]s (a value in it must be in canonical form)"
    } else if is(&Refusal::Unauthorized) || is(&Refusal::TokenExpired) {
        "give a valid token in the url, as in --url 'ws://…/socket/websocket?token=…'"
    } else {
        "the gateway's log may say more"
    }
}

/// `[join_ref, ref, topic, event, payload]`.
#[derive(Deserialize)]
struct Frame<'a>(
    #[serde(borrow)] Option<Cow<'a, str>>,
    #[serde(borrow)] Option<Cow<'a, str>>,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] &'a RawValue,
);

#[derive(Deserialize)]
struct Reply {
    status: String,
    #[serde(default)]
    response: Response,
}

#[derive(Default, Deserialize)]
struct Response {
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    resumed: bool,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

impl Session {
    pub(super) fn new(topic: String, cursor: Option<String>, snapshot: bool) -> Self {
        let (join_ref, next_ref) = (String::new(), 0);
        Self { topic, snapshot, cursor, next_ref, join_ref, live: false, heartbeat: None, slow_join: false }
    }

    /// Everything up to here has been taken.
    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// A new connection; the first message to send on it.
    pub(super) fn opened(&mut self) -> String {
        self.heartbeat = None;
        self.join()
    }

    fn join(&mut self) -> String {
        (self.live, self.slow_join) = (false, false);
        self.join_ref = self.reference();
        let mut params = serde_json::Map::new();
        if let Some(cursor) = &self.cursor {
            params.insert("cursor".to_owned(), json!(cursor));
        }
        if self.snapshot {
            params.insert("snapshot".to_owned(), json!(true));
        }
        json!([self.join_ref, self.join_ref, self.topic, "phx_join", params]).to_string()
    }

    /// A heartbeat is due: what to send, or nothing where the connection seems dead.
    pub(super) fn heartbeat(&mut self) -> Option<String> {
        if self.heartbeat.is_some() || self.slow_join {
            return None;
        }
        self.slow_join = !self.live;
        let reference = self.reference();
        let message = json!([null, reference, "phoenix", "heartbeat", {}]).to_string();
        self.heartbeat = Some(reference);
        Some(message)
    }

    /// A text message; the lines to print are appended to `out`.
    pub(super) fn received(&mut self, text: &str, out: &mut Vec<u8>) -> Next {
        let Ok(Frame(join_ref, reference, topic, event, payload)) = serde_json::from_str::<Frame<'_>>(text) else {
            return Next::Reconnect("it sent what is no message of Phoenix'".to_owned());
        };
        let is_reply = event == "phx_reply";
        if is_reply && topic == "phoenix" && reference.as_deref() == self.heartbeat.as_deref() {
            self.heartbeat = None;
        }
        // What belongs to an earlier join is not this one's. A broadcast belongs to none.
        if topic != self.topic || join_ref.is_some_and(|join_ref| join_ref != self.join_ref) {
            return Next::Continue;
        }
        match &*event {
            "phx_reply" if !self.live && reference.as_deref() == Some(&*self.join_ref) => self.answered(payload.get()),
            "phx_reply" => Next::Continue,
            "phx_error" => {
                let response: Response = serde_json::from_str(payload.get()).unwrap_or_default();
                self.interrupted(&response.reason.unwrap_or_else(|| "the channel failed".to_owned()))
            }
            "phx_close" => Next::Reconnect("the gateway has closed the channel".to_owned()),
            event => self.update(event, payload.get(), out),
        }
    }

    fn answered(&mut self, payload: &str) -> Next {
        let Ok(Reply { status, response }) = serde_json::from_str(payload) else {
            return Next::Reconnect("its answer to the join can't be read".to_owned());
        };
        if status != "ok" {
            return self.refused(response);
        }
        self.live = true;
        let beginning = match (response.resumed, &response.cursor, &self.cursor) {
            (true, ..) => Beginning::Resumed,
            (false, Some(_), _) => Beginning::Now,
            (false, None, None) => Beginning::Snapshot,
            (false, None, Some(_)) => Beginning::SnapshotInstead,
        };
        // Without a cursor a snapshot is on its way: cut short, it starts over.
        self.cursor = response.cursor;
        Next::Joined(beginning)
    }

    fn refused(&mut self, response: Response) -> Next {
        let reason = response.reason.unwrap_or_else(|| "no reason was given".to_owned());
        let may_pass = [Refusal::NotReady, Refusal::JoinCrashed];
        if may_pass.iter().any(|refusal| refusal.reason() == reason) {
            return Next::Reconnect(format!("the join was refused for now: {reason}"));
        }
        if reason == Refusal::ResyncRequired.reason() && self.cursor.is_some() {
            return self.interrupted(&reason);
        }
        Next::Refused(RefusedJoin { topic: self.topic.clone(), reason, message: response.message })
    }

    fn interrupted(&mut self, reason: &str) -> Next {
        if reason != Refusal::ResyncRequired.reason() {
            return Next::Reconnect(format!("the channel has ended: {reason}"));
        }
        self.cursor = None;
        Next::BeginAnew(self.join())
    }

    /// A route's event has any name; what has no updates is a broadcast, of which no cursor is taken.
    fn update(&mut self, event: &str, payload: &str, out: &mut Vec<u8>) -> Next {
        let message = Message::parse(payload).filter(|message| message.has_updates() || event == "cursor");
        let Some(message) = message else { return Next::Continue };
        message.write(out);
        if let Some(cursor) = &message.cursor {
            self.cursor = Some(cursor.clone().into_owned());
        }
        Next::Continue
    }

    fn reference(&mut self) -> String {
        self.next_ref += 1;
        self.next_ref.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JOIN_OK: &str =
        r#"["1","1","updates:feed","phx_reply",{"status":"ok","response":{"cursor":"c1","resumed":false}}]"#;

    fn session(cursor: Option<&str>, snapshot: bool) -> Session {
        Session::new("updates:feed".to_owned(), cursor.map(str::to_owned), snapshot)
    }

    /// Hears a message that prints nothing.
    fn hear(session: &mut Session, text: &str) -> Next {
        let mut out = Vec::new();
        let next = session.received(text, &mut out);
        assert!(out.is_empty(), "{}", String::from_utf8_lossy(&out));
        next
    }

    fn refusal(join_ref: u32, reason: &str) -> String {
        let response = json!({"reason": reason, "message": "near `x`"});
        json!([join_ref.to_string(), join_ref.to_string(), "updates:feed", "phx_reply",
            {"status": "error", "response": response}])
        .to_string()
    }

    #[test]
    fn begins_now_and_goes_on_where_it_was() {
        let mut session = session(None, false);
        assert_eq!(session.opened(), r#"["1","1","updates:feed","phx_join",{}]"#);
        assert_eq!(hear(&mut session, JOIN_OK), Next::Joined(Beginning::Now));
        assert_eq!(session.opened(), r#"["2","2","updates:feed","phx_join",{"cursor":"c1"}]"#);
        let resumed = JOIN_OK.replace("\"1\"", "\"2\"").replace("false", "true");
        assert_eq!(hear(&mut session, &resumed), Next::Joined(Beginning::Resumed));
        let mut out = Vec::new();
        let update =
            r#"[null,null,"updates:feed","new_updates",{"cursor":"c2","xid":7,"updates":[{"op":"truncate"}]}]"#;
        assert_eq!(session.received(update, &mut out), Next::Continue);
        assert_eq!(out, b"{\"cursor\":\"c2\",\"xid\":7,\"op\":\"truncate\"}\n");
        assert_eq!(session.cursor(), Some("c2"));
        assert_eq!(hear(&mut session, r#"[null,null,"updates:feed","cursor",{"cursor":"c3"}]"#), Next::Continue);
        assert_eq!(session.cursor(), Some("c3"));
    }

    #[test]
    fn a_snapshot_that_is_cut_short_starts_over() {
        let mut session = session(None, true);
        assert_eq!(session.opened(), r#"["1","1","updates:feed","phx_join",{"snapshot":true}]"#);
        let ok = JOIN_OK.replace("\"c1\"", "null");
        assert_eq!(hear(&mut session, &ok), Next::Joined(Beginning::Snapshot));
        let part = |join: u32, cursor: &str| {
            let payload = format!(r#"{{{cursor}"snapshot":true,"updates":[{{"op":"snapshot"}}]}}"#);
            format!(r#"["{join}",null,"updates:feed","new_updates",{payload}]"#)
        };
        let mut out = Vec::new();
        session.received(&part(1, ""), &mut out);
        assert_eq!(session.cursor(), None);
        assert_eq!(session.opened(), r#"["2","2","updates:feed","phx_join",{"snapshot":true}]"#);
        hear(&mut session, &ok.replace("\"1\"", "\"2\""));
        session.received(&part(2, r#""cursor":"c9","#), &mut out);
        assert_eq!(session.cursor(), Some("c9"));
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
        assert_eq!(session.opened(), r#"["3","3","updates:feed","phx_join",{"cursor":"c9","snapshot":true}]"#);
        let instead = Next::Joined(Beginning::SnapshotInstead);
        assert_eq!(hear(&mut session, &ok.replace("\"1\"", "\"3\"")), instead);
        assert_eq!(session.cursor(), None, "the cursor was too old, and a snapshot begins instead");
    }

    #[test]
    fn a_hole_makes_it_begin_anew() {
        let mut refused = session(Some("c0"), false);
        assert_eq!(refused.opened(), r#"["1","1","updates:feed","phx_join",{"cursor":"c0"}]"#);
        let anew = Next::BeginAnew(r#"["2","2","updates:feed","phx_join",{}]"#.to_owned());
        assert_eq!(hear(&mut refused, &refusal(1, "resync_required")), anew);
        // Without a cursor there is nothing to give up: asking again would go on for ever.
        assert!(matches!(hear(&mut refused, &refusal(2, "resync_required")), Next::Refused(_)));

        let mut live = session(None, false);
        live.opened();
        hear(&mut live, JOIN_OK);
        assert_eq!(hear(&mut live, r#"["1","1","updates:feed","phx_error",{"reason":"resync_required"}]"#), anew);
        assert_eq!(live.cursor(), None);
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_says_what_to_do() {
        let mut session = session(None, false);
        session.opened();
        assert!(matches!(hear(&mut session, &refusal(1, "not_ready")), Next::Reconnect(_)));
        let Next::Refused(refused) = hear(&mut session, &refusal(1, "unmatched topic")) else { panic!("not refused") };
        let text = refused.to_string();
        assert!(text.contains("`updates:feed`: unmatched topic (near `x`); compare it"), "{text}");
        assert!(matches!(hear(&mut session, r#"["1","1","updates:feed","phx_close",{}]"#), Next::Reconnect(_)));
        assert!(matches!(hear(&mut session, r#"["1","1","updates:feed","phx_error",{}]"#), Next::Reconnect(_)));
        assert!(matches!(hear(&mut session, "nonsense"), Next::Reconnect(_)));
    }

    #[test]
    fn a_heartbeat_without_an_answer_is_the_last() {
        let mut session = session(None, false);
        session.opened();
        hear(&mut session, JOIN_OK);
        assert_eq!(session.heartbeat().as_deref(), Some(r#"[null,"2","phoenix","heartbeat",{}]"#));
        let answer = r#"[null,"2","phoenix","phx_reply",{"status":"ok","response":{}}]"#;
        assert_eq!(hear(&mut session, answer), Next::Continue);
        assert!(session.heartbeat().is_some());
        assert_eq!(session.heartbeat(), None);
        session.opened();
        assert!(session.heartbeat().is_some(), "a new connection owes no answer");
    }

    #[test]
    fn a_join_without_an_answer_is_given_up() {
        let mut session = session(None, false);
        session.opened();
        session.heartbeat();
        hear(&mut session, r#"[null,"2","phoenix","phx_reply",{"status":"ok","response":{}}]"#);
        assert_eq!(session.heartbeat(), None);
    }

    #[test]
    fn what_is_not_meant_for_it_is_not_taken() {
        let mut session = session(None, false);
        session.opened();
        hear(&mut session, JOIN_OK);
        for other in [
            r#"[null,null,"updates:other","new_updates",{"cursor":"x","updates":[{"op":"truncate"}]}]"#,
            r#"["1","9","updates:feed","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]"#,
            r#"["0","0","updates:feed","phx_error",{"reason":"resync_required"}]"#,
            r#"["0",null,"updates:feed","new_updates",{"cursor":"x","updates":[{"op":"snapshot"}]}]"#,
            r#"[null,null,"updates:feed","shout",{"text":"hello"}]"#,
            r#"[null,null,"updates:feed","shout",{"cursor":"mine"}]"#,
            r#"[null,null,"updates:feed","shout",7]"#,
        ] {
            assert_eq!(hear(&mut session, other), Next::Continue);
        }
        assert_eq!(session.cursor(), Some("c1"));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(texts: Vec<String>) {
            let mut session = session(None, true);
            session.opened();
            for text in texts {
                session.received(&text, &mut Vec::new());
            }
        }
    }
}
