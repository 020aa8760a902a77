//! What to do about an error: the one place that decides.

use tokio_postgres::error::SqlState;

use super::error::{ServerError, WireError};
use super::tls;

/// How an error is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It passes by itself: try again, for ever.
    Retry,
    /// The slot can't give what was not received yet: continuity is gone.
    Lost,
    /// It stays until someone changes something.
    Operator,
}

/// A disposition, and for people what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub disposition: Disposition,
    pub advice: &'static str,
}

/// Decides how an error is met. Texts are looked at only where one SQLSTATE stands for several conditions; a server
/// that speaks another language is still understood, because `source` looks at the slot and the publication itself
/// before each start.
#[must_use]
pub fn classify(error: &WireError) -> Verdict {
    match error {
        WireError::Server(error) => classify_server(error),
        WireError::Config(_) => operator("correct the connection string"),
        WireError::RootCertificates { .. } => operator("correct sslrootcert in the connection string"),
        WireError::TlsNotOffered { .. } => {
            operator("turn on `ssl` in postgresql.conf, or choose sslmode=prefer where the network is trusted")
        }
        WireError::Tls { source, .. } if tls::is_certificate_problem(source) => operator(
            "make sslrootcert the authority that signed the server's certificate, and connect by a name that is among \
             its subject alternative names; version 1 certificates are not accepted",
        ),
        WireError::PasswordMissing => operator("add a password to the connection string"),
        WireError::AuthenticationUnsupported(_) => {
            operator("let pg_hba.conf ask walcast's role for scram-sha-256, md5, password or trust")
        }
        WireError::Scram(_) => operator("check the password and whether this is the right server"),
        WireError::ChannelBinding(_) => operator("use TLS and scram-sha-256, or take channel_binding=require away"),
        WireError::SessionSetting { .. } => {
            operator("connect to Postgres itself: a pooler in between can't carry replication")
        }
        WireError::Io { .. } | WireError::TimedOut { .. } | WireError::Closed(_) | WireError::Tls { .. } => {
            retry("check that the server runs and that nothing on the way cuts the connection")
        }
        WireError::SessionAttributes { .. } => {
            retry("waiting for a server of the kind that target_session_attrs names")
        }
        WireError::Protocol { .. } | WireError::FrameTooLarge { .. } | WireError::Query { .. } => {
            retry("check that host and port are those of a Postgres server")
        }
    }
}

fn classify_server(error: &ServerError) -> Verdict {
    /// Starting up, shutting down, terminated by an administrator, after a crash.
    const OPERATOR_INTERVENTION: &str = "57P";
    let says = |text: &str| error.message.contains(text);
    match &error.code {
        code if *code == SqlState::OBJECT_IN_USE => {
            retry("another process streams from the slot: walcast takes over when that one ends")
        }
        code if *code == SqlState::TOO_MANY_CONNECTIONS || *code == SqlState::CONFIGURATION_LIMIT_EXCEEDED => {
            retry("raise max_connections, max_wal_senders or max_replication_slots, or end what uses them up")
        }
        code if *code == SqlState::UNDEFINED_OBJECT && says("publication") => {
            operator("run `walcast setup`, which creates the publication, or correct `publication`")
        }
        code if *code == SqlState::UNDEFINED_OBJECT && says("replication slot") => {
            lost("run `walcast setup`, which creates the slot; clients will have to resync")
        }
        code if *code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => classify_state(error),
        code if *code == SqlState::UNDEFINED_FILE => {
            lost("WAL that the slot needs is gone: drop the slot and run `walcast setup`; clients will have to resync")
        }
        code if *code == SqlState::INVALID_PASSWORD => operator("correct the password in the connection string"),
        code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => operator(
            "check that the role exists, may log in and has REPLICATION, and that pg_hba.conf lets it in from here",
        ),
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            operator("run `alter role … replication` and grant SELECT on the published tables")
        }
        code if *code == SqlState::INVALID_CATALOG_NAME => operator("correct the database in the connection string"),
        code if code.code().starts_with(OPERATOR_INTERVENTION) => {
            retry("the server starts, stops or has ended the connection: walcast goes on when it is back")
        }
        code if is_misfit(code) => {
            operator("walcast needs Postgres 14 or later and a slot of the plugin pgoutput in this database")
        }
        _ => retry("the server's log says more"),
    }
}

/// SQLSTATE 55000 stands for a lost slot and for several settings.
fn classify_state(error: &ServerError) -> Verdict {
    /// As Postgres 14 to 17, 13 to 17 and 18 say it.
    const LOST: [&str; 4] = [
        "can no longer access replication slot",
        "cannot read from logical replication slot",
        "can no longer get changes from replication slot",
        "invalidated",
    ];
    if LOST.iter().any(|text| error.message.contains(text)) {
        return lost(
            "the slot was invalidated: drop it and run `walcast setup`; clients will have to resync. A larger \
             max_slot_wal_keep_size keeps WAL for longer outages",
        );
    }
    if error.message.contains("wal_level") {
        return operator("set wal_level = logical in postgresql.conf and restart Postgres");
    }
    retry("the server's log says more")
}

fn is_misfit(code: &SqlState) -> bool {
    [
        SqlState::FEATURE_NOT_SUPPORTED,
        SqlState::INVALID_PARAMETER_VALUE,
        SqlState::SYNTAX_ERROR,
        SqlState::INVALID_NAME,
        SqlState::CANT_CHANGE_RUNTIME_PARAM,
    ]
    .contains(code)
}

const fn retry(advice: &'static str) -> Verdict {
    Verdict { disposition: Disposition::Retry, advice }
}

const fn lost(advice: &'static str) -> Verdict {
    Verdict { disposition: Disposition::Lost, advice }
}

const fn operator(advice: &'static str) -> Verdict {
    Verdict { disposition: Disposition::Operator, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_errors() {
        let check = |code: &str, message: &str, expected: Disposition| {
            let error = ServerError {
                severity: "ERROR".to_owned(),
                code: SqlState::from_code(code),
                message: message.to_owned(),
                hint: None,
            };
            assert_eq!(classify(&WireError::Server(error)).disposition, expected, "{code} {message}");
        };
        check("57P03", "the database system is starting up", Disposition::Retry);
        check("57P01", "terminating connection due to administrator command", Disposition::Retry);
        check("55006", "replication slot \"walcast\" is active for PID 17", Disposition::Retry);
        check("53300", "sorry, too many clients already", Disposition::Retry);
        check("53400", "all replication slots are in use", Disposition::Retry);
        check("42704", "replication slot \"walcast\" does not exist", Disposition::Lost);
        check("42704", "publication \"walcast\" does not exist", Disposition::Operator);
        check("55000", "can no longer access replication slot \"walcast\"", Disposition::Lost);
        check("55000", "cannot read from logical replication slot \"walcast\"", Disposition::Lost);
        check("55000", "logical decoding requires wal_level >= logical", Disposition::Operator);
        check("58P01", "requested WAL segment 0001 has already been removed", Disposition::Lost);
        check("28P01", "password authentication failed for user \"walcast\"", Disposition::Operator);
        check("28000", "no pg_hba.conf entry", Disposition::Operator);
        check("42501", "must be superuser or replication role to start walsender", Disposition::Operator);
        check("3D000", "database \"nowhere\" does not exist", Disposition::Operator);
        check("XX000", "invalid memory alloc request size", Disposition::Retry);
    }

    #[test]
    fn our_own_errors() {
        assert_eq!(classify(&WireError::Closed("streaming")).disposition, Disposition::Retry);
        assert_eq!(classify(&WireError::PasswordMissing).disposition, Disposition::Operator);
    }
}
