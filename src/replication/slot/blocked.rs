//! Who keeps a slot from being created: it begins where everything that was running has ended.

use std::fmt;

use tokio_postgres::Client;

use crate::replication::wire::WireError;

/// More are counted, not named.
const BLOCKERS_NAMED: usize = 5;

/// One that has written and has not ended. What it runs is not told, since that may hold values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocker {
    Session {
        pid: i32,
        user: String,
        database: String,
        application: String,
        /// As in `pg_stat_activity`, and for how long it has been open; none where our role may not see either.
        state: Option<(String, i64)>,
    },
    Prepared {
        gid: String,
        owner: String,
        database: String,
        open_seconds: i64,
    },
}

impl Blocker {
    /// The process or the prepared transaction.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Session { pid, .. } => pid.to_string(),
            Self::Prepared { gid, .. } => gid.clone(),
        }
    }
}

/// All of them, those that have been open for longest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blockers {
    pub blockers: Vec<Blocker>,
    /// The server is a standby: there the primary's transactions are waited for, and a record that it writes.
    pub in_recovery: bool,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session { pid, user, database, application, state } => {
                write!(f, "pid {pid} ({user} in database {database}, application_name `{application}`")?;
                match state {
                    Some((state, open_seconds)) => write!(f, ", {state}), open for {open_seconds} s")?,
                    None => f.write_str("); `grant pg_monitor` to this role shows for how long")?,
                }
                write!(f, ": select pg_terminate_backend({pid}) ends it")
            }
            Self::Prepared { gid, owner, database, open_seconds } => write!(
                f,
                "prepared transaction '{gid}' ({owner} in database {database}), prepared {open_seconds} s ago: \
                 rollback prepared '{gid}' ends it"
            ),
        }
    }
}

impl fmt::Display for Blockers {
    /// One line each, indented; nothing where nobody is in the way.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.in_recovery {
            f.write_str(
                "\n  this is a standby: `select pg_log_standby_snapshot()` on the primary, once its transactions that \
                 run now have ended, lets it go on",
            )?;
        }
        for blocker in self.blockers.iter().take(BLOCKERS_NAMED) {
            write!(f, "\n  {blocker}")?;
        }
        match self.blockers.len().saturating_sub(BLOCKERS_NAMED) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// Every transaction that has written and is still open, in any database: all of them are waited for.
///
/// # Errors
/// The query failed.
pub async fn blockers(observer: &Client) -> Result<Blockers, WireError> {
    // pg_locks tells everyone who has an xid. Of other roles' sessions, the state and the times are null for most.
    const SESSIONS: &str = "\
select distinct l.pid, coalesce(a.usename::pg_catalog.text, '?'), coalesce(a.datname::pg_catalog.text, '?'),
       coalesce(a.application_name, ''), a.state,
       extract(epoch from pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.int8, a.xact_start
  from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid
 where l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.granted
   and l.pid <> pg_catalog.pg_backend_pid()
 order by a.xact_start";
    const PREPARED: &str = "\
select gid, owner::pg_catalog.text, database::pg_catalog.text,
       extract(epoch from pg_catalog.clock_timestamp() - prepared)::pg_catalog.int8
  from pg_catalog.pg_prepared_xacts
 order by prepared";
    let in_recovery: bool = observer.query_one("select pg_catalog.pg_is_in_recovery()", &[]).await?.try_get(0)?;
    let mut blockers = Vec::new();
    for row in observer.query(SESSIONS, &[]).await? {
        let state: Option<String> = row.try_get(4)?;
        let open_seconds: Option<i64> = row.try_get(5)?;
        blockers.push(Blocker::Session {
            pid: row.try_get(0)?,
            user: row.try_get(1)?,
            database: row.try_get(2)?,
            application: row.try_get(3)?,
            state: state.zip(open_seconds),
        });
    }
    for row in observer.query(PREPARED, &[]).await? {
        blockers.push(Blocker::Prepared {
            gid: row.try_get(0)?,
            owner: row.try_get(1)?,
            database: row.try_get(2)?,
            open_seconds: row.try_get(3)?,
        });
    }
    Ok(Blockers { blockers, in_recovery })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_the_way_is_named_and_the_many_are_counted() {
        let session = |pid| Blocker::Session {
            pid,
            user: "app".to_owned(),
            database: "shop".to_owned(),
            application: "nightly".to_owned(),
            state: Some(("idle in transaction".to_owned(), 90)),
        };
        let all = Blockers { blockers: (1..=7).map(session).collect(), in_recovery: false };
        let text = all.to_string();
        assert!(text.starts_with(
            "\n  pid 1 (app in database shop, application_name `nightly`, idle in transaction), open for 90 s: \
             select pg_terminate_backend(1) ends it\n  pid 2 "
        ));
        assert!(text.ends_with("\n  and 2 more"), "{text}");
        assert_eq!(Blockers::default().to_string(), "");
        let standby = Blockers { blockers: Vec::new(), in_recovery: true };
        assert!(standby.to_string().contains("pg_log_standby_snapshot()"));
    }
}
