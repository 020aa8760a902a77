//! What an error of Postgres means to the client who asked, and what to do about it.

use tokio_postgres::error::SqlState;

use crate::replication::wire::WireError;

use super::outcome::Refusal;

/// Why an attempt at a request ended without being done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It is the client's to know.
    #[error("refused")]
    Refused(Refusal),
    /// The same may succeed at once: others were in the way, or the connection is gone.
    #[error("{action}: {}", harmless(.source))]
    Again { action: &'static str, source: tokio_postgres::Error },
    #[error("connect to write: {0}")]
    Connect(WireError),
    /// It is the operator's to know; clients are told that it can't be done now.
    #[error("{action}: {}", harmless(.source))]
    Broken { action: &'static str, source: tokio_postgres::Error },
    #[error("{0}")]
    Odd(String),
}

impl Failure {
    /// What an error outside of the client's own changes means.
    pub(super) fn during(action: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| match meaning(&source, None) {
            Meaning::Again => Self::Again { action, source },
            Meaning::Refused(refusal @ Refusal::Timeout) => Self::Refused(refusal),
            Meaning::Refused(_) | Meaning::Broken => Self::Broken { action, source },
        }
    }

    /// What an error of a client's change means; `None` where all of them are checked together.
    pub(super) fn of_change(change: Option<usize>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| match meaning(&source, change) {
            Meaning::Again => Self::Again { action: "write a row", source },
            Meaning::Refused(refusal) => Self::Refused(refusal),
            Meaning::Broken => Self::Broken { action: "write a row", source },
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

enum Meaning {
    Again,
    Refused(Refusal),
    Broken,
}

fn meaning(error: &tokio_postgres::Error, change: Option<usize>) -> Meaning {
    let Some(database) = error.as_db_error() else {
        return if error.is_closed() || error.code().is_none() { Meaning::Again } else { Meaning::Broken };
    };
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let (code, constraint, column) = (database.code(), database.constraint(), database.column());
    meaning_of(code, change, owned(constraint), owned(column))
}

/// By SQLSTATE: the texts hold values, and are translated.
fn meaning_of(code: &SqlState, change: Option<usize>, constraint: Option<String>, column: Option<String>) -> Meaning {
    let text = code.code().to_owned();
    Meaning::Refused(match code {
        &SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED => return Meaning::Again,
        &SqlState::LOCK_NOT_AVAILABLE | &SqlState::QUERY_CANCELED => Refusal::Timeout,
        &SqlState::INSUFFICIENT_PRIVILEGE => Refusal::NotPermitted { change, message: None },
        _ => match text.get(..2) {
            Some("23") => Refusal::Constraint { change, code: text, constraint, column },
            // Data exceptions; a value too deep or too large for what is to be made of it.
            Some("22" | "54") => Refusal::InvalidValue { change, code: text },
            // The server ends the connection, or is not up.
            Some("57" | "08") => return Meaning::Again,
            // No such table or column or cast; out of memory, disk or connections; read-only; the server's own faults.
            Some("42" | "53" | "25" | "58" | "XX" | "3D" | "3F") => return Meaning::Broken,
            _ => Refusal::Rejected { change, code: text },
        },
    })
}

/// The server's words, where they can't quote a value.
fn harmless(error: &tokio_postgres::Error) -> String {
    /// Data exceptions, violated constraints, and what functions raise.
    const TELLING: [&str; 3] = ["22", "23", "P0"];
    match error.as_db_error() {
        Some(error) if TELLING.iter().any(|class| error.code().code().starts_with(class)) => {
            format!("SQLSTATE {}", error.code().code())
        }
        Some(error) => format!("{} (SQLSTATE {})", error.message(), error.code().code()),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: &str) -> String {
        match meaning_of(&SqlState::from_code(code), Some(3), Some("c".to_owned()), None) {
            Meaning::Again => "again".to_owned(),
            Meaning::Broken => "broken".to_owned(),
            Meaning::Refused(refusal) => refusal.to_json(),
        }
    }

    #[test]
    fn sqlstates_become_reasons() {
        for (code, meaning) in [
            ("40001", "again"),
            ("40P01", "again"),
            ("57P01", "again"),
            ("08006", "again"),
            ("42P01", "broken"),
            ("42703", "broken"),
            ("53300", "broken"),
            ("25006", "broken"),
            ("XX000", "broken"),
            ("55P03", r#"{"reason":"timeout"}"#),
            ("57014", r#"{"reason":"timeout"}"#),
            ("42501", r#"{"reason":"not_permitted","change":3}"#),
            ("23505", r#"{"reason":"constraint","change":3,"code":"23505","constraint":"c"}"#),
            ("22P02", r#"{"reason":"invalid_value","change":3,"code":"22P02"}"#),
            ("P0001", r#"{"reason":"rejected","change":3,"code":"P0001"}"#),
            ("44000", r#"{"reason":"rejected","change":3,"code":"44000"}"#),
        ] {
            assert_eq!(told(code), meaning, "{code}");
        }
    }
}
