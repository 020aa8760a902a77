//! What the benches with real parts share: subscribers that cost little, a publisher, and a look at the gateway's cost.
#![allow(dead_code, reason = "each bench uses a part of this")]

pub(crate) mod client;
pub(crate) mod cost;
pub(crate) mod frames;
pub(crate) mod subscribers;

use std::time::Duration;

use subscribers::Plan;

use crate::support::database::Database;
use crate::support::gateway::Gateway;

/// Three tables of like rows. `sent` and `n` stand last, so that a subscriber finds them from the message's end; `n`
/// counts from 0 within a topic.
pub(crate) const TABLES: &str = "
create table feed (id bigint generated always as identity primary key, topic int not null, name text not null,
    price numeric not null, note text not null, sent bigint not null, n bigint not null);
create table spread (like feed including all);
create table live (like feed including all);
create function now_us() returns bigint language sql as
    'select (extract(epoch from clock_timestamp()) * 1000000)::bigint';
create procedure publish(target regclass, first bigint, rows bigint, topics int) language plpgsql as $$
begin
    for i in first .. first + rows - 1 loop
        execute format(
            'insert into %s (topic, name, price, note, sent, n) values ($1, $2, $3, $4, now_us(), $5)', target)
            using (i % topics)::int, 'row ' || i, (i % 10000) / 100.0, repeat('x', 100), i / topics;
        commit;
    end loop;
end $$;
create procedure backlog(changes bigint, rows bigint) language plpgsql as $$
begin
    for first in 0 .. changes - 1 by rows loop
        insert into feed (topic, name, price, note, sent, n)
            select 0, 'row ' || n, (n % 10000) / 100.0, repeat('x', 100), now_us(), n
            from generate_series(first, least(first + rows, changes) - 1) n;
        commit;
    end loop;
end $$;";

pub(crate) const CONFIG: &str = r#"
[[route]]
table = "public.feed"
topic = "updates:feed"

[[route]]
table = "public.spread"
topic = "spread:{topic}"
ops = ["insert"]

[[route]]
table = "public.live"
topic = "updates:live"

[limits]
idle = "1h" # the subscribers send no heartbeat

[replay]
memory = "1GiB" # a resume is measured, not the bound
"#;

/// Handshakes and joins that are unfinished at once, where that is not what is measured.
const JOINS_AT_ONCE: usize = 64;

/// A database and the gateway in front of it, both of their own.
pub(crate) struct Bed {
    pub(crate) gateway: Gateway,
    pub(crate) database: Database,
}

impl Bed {
    pub(crate) async fn start() -> Self {
        let database = Database::start().await;
        database.execute(TABLES).await;
        let gateway = Gateway::start(&database.url(), CONFIG).await;
        Self { gateway, database }
    }

    /// Subscribers who begin where the feed is, a few at a time.
    pub(crate) const fn plan(&self, topic: &'static str, connections: u64) -> Plan {
        let port = self.gateway.port();
        Plan { port, connections, topic, cursor: None, first: 0, at_once: JOINS_AT_ONCE, latencies: false }
    }

    /// Commits so many single-row transactions, numbered from `first`, as fast as the server can.
    pub(crate) async fn publish(&self, table: &str, first: u64, transactions: u64, topics: u64) {
        self.database.execute(&format!("call publish('{table}', {first}, {transactions}, {topics})")).await;
    }

    /// Writes to one topic at a steady pace, for ever, over a connection of its own.
    pub(crate) async fn writer(&self, table: &'static str, pace: Duration) -> impl Future<Output = ()> + use<> {
        let client = self.database.connect().await;
        async move {
            let mut due = tokio::time::interval(pace);
            for n in 0_u64.. {
                due.tick().await;
                client.batch_execute(&format!("call publish('{table}', {n}, 1, 1)")).await.expect("write a row");
            }
        }
    }

    /// The same as [`Bed::publish`], one topic, at a steady pace.
    pub(crate) async fn publish_paced(&self, table: &str, first: u64, transactions: u64, pace: Duration) {
        let mut due = tokio::time::interval(pace);
        for n in first..first + transactions {
            due.tick().await;
            self.publish(table, n, 1, 1).await;
        }
    }
}

/// The value that so large a share of the sorted values does not exceed.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is between 0 and the length")]
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
