//! A message with updates, and the lines that are printed for it.
//!
//! ```text
//! {"cursor":null,"commit_timestamp":"…","xid":752,"op":"insert","schema":"public","table":"orders","record":{…}}
//! {"cursor":"…", "commit_timestamp":"…","xid":752,"op":"delete","schema":"public","table":"orders","old_record":{…}}
//! ```
//!
//! A line is one element of `updates`, with what its message says of all of them in front: `part` and `more`, and
//! `snapshot`, where the message has them. The cursor stands on a message's last line only: whoever has handled a line
//! with a cursor has handled everything up to there.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The payload of `new_updates`, and of `cursor`, which has a cursor only. Values stay as they came.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub(super) cursor: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    commit_timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    xid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    part: Option<&'a RawValue>,
    #[serde(borrow, default)]
    more: Option<&'a RawValue>,
    #[serde(borrow, default)]
    snapshot: Option<&'a RawValue>,
    #[serde(borrow)]
    updates: Option<Vec<&'a RawValue>>,
}

impl<'a> Message<'a> {
    /// None where the payload is none of ours: events of another kind come to topics, too.
    pub(super) fn parse(payload: &'a str) -> Option<Self> {
        serde_json::from_str(payload).ok()
    }

    /// Whether it has updates, be it none of them: what only has a cursor has not.
    pub(super) const fn has_updates(&self) -> bool {
        self.updates.is_some()
    }

    /// Appends a line for each update.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let updates = self.updates.as_deref().unwrap_or_default();
        for (index, update) in updates.iter().enumerate() {
            let cursor = self.cursor.as_deref().filter(|_| index + 1 == updates.len());
            self.write_line(cursor, update.get(), out);
        }
    }

    fn write_line(&self, cursor: Option<&str>, update: &str, out: &mut Vec<u8>) {
        let mut field = |name: &str, value: &str| {
            out.push(if name == "cursor" { b'{' } else { b',' });
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(value.as_bytes());
        };
        field(
            "cursor",
            &cursor.map_or_else(|| "null".to_owned(), |cursor| serde_json::Value::from(cursor).to_string()),
        );
        let about_all = [
            ("commit_timestamp", self.commit_timestamp),
            ("xid", self.xid),
            ("part", self.part),
            ("more", self.more),
            ("snapshot", self.snapshot),
        ];
        for (name, value) in about_all {
            if let Some(value) = value {
                field(name, value.get());
            }
        }
        match update.trim_start().strip_prefix('{') {
            Some(rest) => {
                out.push(b',');
                out.extend_from_slice(rest.as_bytes());
            }
            // No walcast sends an update that is no object; what it is should still be seen.
            None => {
                field("update", update);
                out.push(b'}');
            }
        }
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(payload: &str) -> Vec<String> {
        let mut out = Vec::new();
        Message::parse(payload).unwrap().write(&mut out);
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_update_is_a_line_and_the_last_one_has_the_cursor() {
        let payload = r#"{"cursor":"abc","commit_timestamp":"2026-11-22T03:40:00+00:00","xid":7,
            "updates":[{"op":"insert","record":{"n":1.50}},{"op":"truncate"}]}"#;
        assert_eq!(
            lines(payload),
            [
                concat!(
                    r#"{"cursor":null,"commit_timestamp":"2026-11-22T03:40:00+00:00","#,
                    r#""xid":7,"op":"insert","record":{"n":1.50}}"#
                ),
                r#"{"cursor":"abc","commit_timestamp":"2026-11-22T03:40:00+00:00","xid":7,"op":"truncate"}"#,
            ]
        );
    }

    #[test]
    fn parts_and_snapshots_say_so() {
        assert_eq!(
            lines(r#"{"part":0,"more":true,"snapshot":true,"updates":[{"op":"snapshot"}]}"#),
            [r#"{"cursor":null,"part":0,"more":true,"snapshot":true,"op":"snapshot"}"#]
        );
        assert_eq!(lines(r#"{"cursor":"abc","updates":[]}"#), [""; 0]);
    }

    #[test]
    fn a_line_is_json_whatever_the_message_holds() {
        for payload in [
            r#"{"cursor":"a\"b","updates":[{"op":"insert"}]}"#,
            r#"{"cursor":"a","updates":[ 7 ]}"#,
            r#"{"cursor":"a","updates":[ {"op":"x"} ]}"#,
        ] {
            for line in lines(payload) {
                serde_json::from_str::<serde_json::Value>(&line).unwrap();
            }
        }
        assert!(!Message::parse(r#"{"cursor":"a"}"#).unwrap().has_updates());
        assert!(Message::parse(r#"{"updates":7}"#).is_none());
    }
}
