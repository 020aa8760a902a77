//! Replication commands as text.

use crate::change::{Lsn, quoted_identifier};

/// What `START_REPLICATION` needs to know.
#[derive(Debug, Clone)]
pub struct StartReplication<'a> {
    pub slot: &'a str,
    /// Transactions that committed before this do not come. Postgres moves it forward to the slot's
    /// `confirmed_flush_lsn` without a word, so that [`Lsn::ZERO`] means just that.
    pub start: Lsn,
    pub publications: &'a [String],
}

impl StartReplication<'_> {
    /// The command, with pgoutput's options, the same for Postgres 14 to 18:
    ///
    /// - `proto_version '1'`: a transaction comes whole, after its commit. Later versions add transactions that come
    ///   while they run (2), prepared ones (3) and parallel apply (4); the first would have to be spooled here until
    ///   their commit, which Postgres does as well on its side, the others serve replicas.
    /// - `messages`: `pg_logical_emit_message` comes along.
    /// - values as text (no `binary`): text is what JSON is made of, and every type has it.
    pub(super) fn command(&self) -> String {
        let publications: Vec<String> = self.publications.iter().map(|name| quoted_identifier(name)).collect();
        format!(
            "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {}, messages 'true')",
            quoted_identifier(self.slot),
            self.start,
            quote_literal(&publications.join(",")),
        )
    }
}

/// Lets standbys copy a slot that nobody streams from (Postgres 17 and later).
#[must_use]
pub fn alter_failover(slot: &str) -> String {
    format!("ALTER_REPLICATION_SLOT {} (FAILOVER true)", quoted_identifier(slot))
}

/// `'text'`, for the replication grammar, in which a backslash is a character like any other.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_for_both_grammars() {
        let publications = ["plain".to_owned(), r#"o'clock "sharp""#.to_owned()];
        let start = StartReplication { slot: "walcast", start: Lsn::new(0x16_0000_00AB), publications: &publications };
        assert_eq!(
            start.command(),
            concat!(
                r#"START_REPLICATION SLOT "walcast" LOGICAL 16/AB (proto_version '1', "#,
                r#"publication_names '"plain","o''clock ""sharp"""', messages 'true')"#
            )
        );
    }
}
