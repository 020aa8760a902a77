//! The stable name of every finding. Names are public interface: scripts and documents refer to them.

use std::fmt;

/// Where a finding comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Seen in the file alone.
    File,
    /// Seen by comparing the file with a running server.
    Server,
}

macro_rules! codes {
    ($($tier:ident { $($variant:ident = $name:literal: $description:literal,)* })*) => {
        /// What kind of mistake a finding is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $description] $variant,)*)*
        }

        impl Code {
            pub const ALL: &'static [Self] = &[$($(Self::$variant,)*)*];

            /// The kebab-case name, as printed in `error[…]`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$variant => $name,)*)* }
            }

            /// One sentence on what it means.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $($(Self::$variant => $description,)*)* }
            }

            #[must_use]
            pub const fn tier(self) -> Tier {
                match self { $($(Self::$variant => Tier::$tier,)*)* }
            }
        }
    };
}

codes! {
    File {
        Syntax = "syntax": "The file is not TOML.",
        UnknownKey = "unknown-key": "A key or section that walcast does not know.",
        NotAvailable = "not-available": "A key that this version does not carry out yet, and must not ignore.",
        MissingKey = "missing-key": "A key that must be written out.",
        WrongType = "wrong-type": "A value of another type than the key takes.",
        UnknownValue = "unknown-value": "A word that is not among those the key takes.",
        OutOfRange = "out-of-range": "A number, size or duration outside its limits.",
        BadDuration = "bad-duration": "A duration that can't be read.",
        BadSize = "bad-size": "A size that can't be read.",
        BadAddress = "bad-address": "A listen address that is neither `ip:port` nor `unix:` and a path.",
        SameAddress = "same-address": "Two listeners on one address.",
        BadMode = "bad-mode": "Permissions of a Unix socket that are no octal number.",
        TlsFile = "tls-file": "A certificate or key for TLS that can't be read or used.",
        TlsMismatch = "tls-mismatch": "A certificate for TLS and a key that is another one's.",
        TlsUnused = "tls-unused": "A certificate for TLS where nobody connects by TCP.",
        CertificateExpired = "certificate-expired": "A certificate for TLS that clients refuse because of its dates.",
        BadUrl = "bad-url": "A connection string that can't be read.",
        BadName = "bad-name": "A publication or slot name that Postgres would refuse.",
        UnsetVariable = "unset-variable": "A `${VAR}` whose variable is not set and that has no default.",
        BadVariable = "bad-variable": "A `${…}` that can't be expanded.",
        WeakSecret = "weak-secret": "A secret for tokens that is short enough to be guessed.",
        KeyFile = "key-file": "A key file that can't be read, or holds no key that tokens can be checked with.",
        KeyUrl = "key-url": "An address that keys can't be fetched from, or not safely.",
        BadHost = "bad-host": "A host that no browser would send.",
        BadOrigin = "bad-origin": "An origin that no browser would send.",
        AuthKeys = "auth-keys": "Not exactly one key to verify tokens with, or one where none is used.",
        NoRoutes = "no-routes": "Neither a route nor a channel, so that nothing reaches anyone.",
        BadTable = "bad-table": "A table pattern that is not `schema.table`.",
        BadTopic = "bad-topic": "A topic template that can't be read.",
        BadExpression = "bad-expression": "A `where` or `allow` that is no expression of the SQL subset.",
        UnknownVariable = "unknown-variable": "An `allow` about something that the topic does not say.",
        ClaimsUnknown = "claims-unknown": "A rule about claims where nobody has any.",
        ReservedTopic = "reserved-topic": "A topic that belongs to the Phoenix protocol.",
        ReservedEvent = "reserved-event": "An event name that belongs to the Phoenix protocol.",
        BadEvent = "bad-event": "An entry of `publish` that is no event's name.",
        EmptyList = "empty-list": "A list that would let nothing through.",
        DuplicateColumn = "duplicate-column": "A column listed twice.",
        DuplicateOp = "duplicate-op": "An op listed twice.",
        DuplicateRoute = "duplicate-route": "A route that never gets a change, because an earlier one has them all.",
        DuplicateEvent = "duplicate-event": "An event listed twice.",
        DuplicateChannel = "duplicate-channel": "A channel that is never used, because an earlier one has its topics.",
        UnknownOp = "unknown-op": "An op that is none of insert, update, delete, truncate.",
        WriteGlob = "write-glob": "A route that clients may write by, and that does not name one table.",
        WriteHidden = "write-hidden": "A column that clients may write and can't see.",
        WriteKeys = "write-keys": "A key of `route.write` that its `conflict` does not use.",
        WriteRole = "write-role": "Clients' writes would run with the gateway's own rights.",
    }
    Server {
        ServerVersion = "server-version": "A server older than Postgres 14.",
        ServerMinor = "server-minor": "A minor release with a bug in logical decoding.",
        WalLevel = "wal-level": "`wal_level` is not `logical`.",
        WalSendersFull = "wal-senders-full": "Every `max_wal_senders` place is taken.",
        SlotsFull = "slots-full": "Every `max_replication_slots` place is taken.",
        WalKeepUnbounded = "wal-keep-unbounded": "Nothing bounds the WAL that the slot holds back.",
        WalKeepTooSmall = "wal-keep-too-small": "The server gives up the slot before `replay.wal` is reached.",
        RoleReplication = "role-replication": "The role may not replicate.",
        RoleSelect = "role-select": "The role may not read a routed table.",
        SlotMissing = "slot-missing": "The replication slot does not exist.",
        SlotPlugin = "slot-plugin": "The replication slot is not a `pgoutput` slot.",
        SlotDatabase = "slot-database": "The replication slot belongs to another database.",
        SlotLost = "slot-lost": "The server has removed WAL that the slot needed.",
        SlotActive = "slot-active": "Another process is streaming from the slot.",
        SlotHeld = "slot-held": "The slot holds back more WAL than `replay.wal`.",
        SlotIdleTimeout = "slot-idle-timeout": "The server gives up a slot that nobody has streamed from for a while.",
        SlotTwoPhase = "slot-two-phase": "The slot decodes prepared transactions before they are committed.",
        SlotSynced = "slot-synced": "The slot is a standby's copy of the primary's.",
        SlotFailover = "slot-failover": "Standbys don't copy the slot, or can't, though `failover` asks for it.",
        StandbySettings = "standby-settings": "A server lacks a setting that failover, or decoding on a standby, needs.",
        StandbyVersion = "standby-version": "A standby of a version that can't be decoded on.",
        StandbyWrites = "standby-writes": "A route that clients may write by, and a server that takes no writes.",
        SchemaOutdated = "schema-outdated": "The schema `walcast` is of another revision than this walcast's.",
        PublicationMissing = "publication-missing": "The publication does not exist.",
        PublicationViaRoot = "publication-via-root": "A partitioned table is published partition by partition.",
        TableMissing = "table-missing": "A routed table does not exist.",
        NoTableMatches = "no-table-matches": "A table pattern matches no table.",
        TableKind = "table-kind": "A view, or another relation whose changes are not in the WAL.",
        PartitionRouted = "partition-routed": "A route for a partition whose changes are published as its root's.",
        TableNotPublished = "table-not-published": "A routed table is not in the publication.",
        OpNotPublished = "op-not-published": "A route wants an op that the publication leaves out.",
        ColumnMissing = "column-missing": "A column that the table does not have.",
        ColumnNotPublished = "column-not-published": "A column that the publication leaves out.",
        RowFilter = "row-filter": "The publication's row filter holds back what a route shows.",
        GeneratedColumn = "generated-column": "A generated column, whose value the server does not send.",
        ExpressionType = "expression-type": "A `where` or `allow` that doesn't fit the types of its columns.",
        Collation = "collation": "A column of `where` whose equal texts may have different bytes.",
        IdentityTooWeak = "identity-too-weak": "The replica identity lacks a column that the topic or `where` needs.",
        PartitionsLater = "partitions-later": "Partitions that are created later will have a weaker replica identity.",
        PartitionSilent = "partition-silent": "A partition whose changes are not in the WAL.",
        InheritedRows = "inherited-rows": "A table whose queries show rows of other tables, which inherit from it.",
        RowSecurity = "row-security": "Row security, which does not hold for changes.",
        SetupRights = "setup-rights": "The role may not make what `walcast setup` is about to make.",
        UpdatesRefused = "updates-refused": "A published table whose updates and deletes Postgres refuses.",
        CastIgnored = "cast-ignored": "A type whose own cast to json the WAL can't use.",
        MutationsMissing = "mutations-missing": "`walcast.mutations` is missing, or the role may not use it.",
        WriteNoKey = "write-no-key": "A writable table without a primary key.",
        WriteGenerated = "write-generated": "A writable column whose values the database makes.",
        WriteConflictType = "write-conflict-type": "A version or timestamp column of a type that can't be one.",
        WriteRoleMissing = "write-role-missing": "The role that writes run as does not exist, or can't be taken.",
        WritePrivilege = "write-privilege": "The role that writes run as may not do what the route lets clients do.",
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_kebab_case() {
        let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
