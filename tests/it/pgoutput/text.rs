//! Messages as lines of text, without what differs from run to run.

use std::collections::HashMap;
use std::fmt::Write;

use walcast::change::{Datum, Oid, OldRow, RelationId, Row};
use walcast::replication::pgoutput::{Message, Relation, RelationColumn, Truncate};

/// Longer values are shown by their length and first byte; fixtures repeat one character.
const SHOWN_BYTES_MAX: usize = 100;

/// One line for each message. Transactions without content are left out: servers before 15 send them.
pub(super) fn of(messages: impl Iterator<Item = Message>) -> String {
    let mut names = Names::default();
    let mut lines: Vec<String> = Vec::new();
    for message in messages {
        let line = names.line(message);
        if line == "commit" && lines.last().is_some_and(|line| line == "begin") {
            lines.pop();
        } else {
            lines.push(line);
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// What the OIDs stand for, so far as the stream has told.
#[derive(Default)]
struct Names {
    relations: HashMap<RelationId, String>,
    types: HashMap<Oid, String>,
}

impl Names {
    fn line(&mut self, message: Message) -> String {
        match message {
            Message::Begin(_) => "begin".to_owned(),
            Message::Commit(_) => "commit".to_owned(),
            Message::Origin(origin) => format!("origin {} at {}", origin.name, origin.commit_lsn),
            Message::Type(ty) => {
                let name = format!("{}.{}", ty.schema, ty.name);
                self.types.insert(ty.oid, name.clone());
                format!("type {name}")
            }
            Message::Relation(relation) => self.relation(&relation),
            Message::Insert(insert) => format!("insert {} {}", self.relations[&insert.relation], row(&insert.new)),
            Message::Update(update) => {
                let old = update.old.map(|old| old_row(&old) + " -> ").unwrap_or_default();
                format!("update {} {old}{}", self.relations[&update.relation], row(&update.new))
            }
            Message::Delete(delete) => format!("delete {} {}", self.relations[&delete.relation], old_row(&delete.old)),
            Message::Truncate(truncate) => self.truncate(&truncate),
            Message::Logical(message) => format!(
                "message {} {:?} {}",
                if message.transactional { "transactional" } else { "at once" },
                message.prefix,
                message.content.escape_ascii()
            ),
        }
    }

    fn relation(&mut self, relation: &Relation) -> String {
        let name = format!("{}.{}", relation.schema, relation.name);
        self.relations.insert(relation.id, name.clone());
        let columns: Vec<String> = relation.columns.iter().map(|column| self.column(column)).collect();
        format!("relation {name} {:?} ({})", relation.replica_identity, columns.join(", "))
    }

    /// `name`, with an asterisk for the identity, then the type's name or its OID and the modifier.
    fn column(&self, column: &RelationColumn) -> String {
        let mut text = format!("{}{} ", column.name, if column.identity { "*" } else { "" });
        match self.types.get(&column.type_oid) {
            Some(name) => text.push_str(name),
            None => write!(text, "#{}", column.type_oid).unwrap(),
        }
        if column.type_modifier != -1 {
            write!(text, "({})", column.type_modifier).unwrap();
        }
        text
    }

    fn truncate(&self, truncate: &Truncate) -> String {
        // Postgres sends the relations in the order of their being opened: as listed, then as the cascade finds them.
        let names: Vec<&str> = truncate.relations.iter().map(|relation| &*self.relations[relation]).collect();
        let cascade = if truncate.cascade { " cascade" } else { "" };
        let restart = if truncate.restart_identity { " restart identity" } else { "" };
        format!("truncate {}{cascade}{restart}", names.join(", "))
    }
}

fn old_row(old: &OldRow) -> String {
    match old {
        OldRow::Key(key) => format!("key {}", row(key)),
        OldRow::Full(full) => format!("full {}", row(full)),
    }
}

fn row(row: &Row) -> String {
    let values: Vec<String> = row.iter().map(value).collect();
    format!("({})", values.join(", "))
}

fn value(datum: Datum<'_>) -> String {
    match datum {
        Datum::Null => "null".to_owned(),
        Datum::Unchanged => "unchanged".to_owned(),
        Datum::Text(text) if text.len() > SHOWN_BYTES_MAX => {
            assert!(text.iter().all(|byte| *byte == text[0]), "a long value must repeat one character");
            format!("{} times {:?}", text.len(), char::from(text[0]))
        }
        Datum::Text(text) => format!("{:?}", std::str::from_utf8(text).unwrap()),
    }
}
