//! The gateway under measure, with a database of its own.

use crate::place::Place;
use crate::support::database::Database;
use crate::support::gateway::Gateway;

/// Three tables of like rows. `sent` and `n` stand last, so that a subscriber finds them from the message's end; `n`
/// counts from 0 within a topic.
const TABLES: &str = "
create table feed (id bigint generated always as identity primary key, topic int not null, name text not null,
    price numeric not null, note text not null, sent bigint not null, n bigint not null);
create table spread (like feed including all);
create table live (like feed including all);
create procedure backlog(changes bigint, rows bigint) language plpgsql as $$
begin
    for begin_row in 0 .. changes - 1 by rows loop
        insert into feed (topic, name, price, note, sent, n)
            select 0, 'row ' || n, (n % 10000) / 100.0, repeat('x', 100), 0, n
            from generate_series(begin_row, least(begin_row + rows, changes) - 1) n;
        commit;
    end loop;
end $$;";

/// The rest is as it comes, but for what would end a run: silent subscribers, and a publisher's pace.
const CONFIG: &str = r#"
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

[[channel]]
topic = "said:*"

[[channel]]
topic = "rooms:*"
publish = ["message"]
presence = true

[limits]
idle = "1h"
posts_per_second = 1000000

[replay]
memory = "1GiB"
"#;

/// Nobody keeps the walsender from waiting for a receiver that is stopped.
const SETTINGS: &[(&str, &str)] = &[("wal_sender_timeout", "0"), ("max_wal_size", "8GB"), ("autovacuum", "off")];

/// Both end when it is dropped.
pub(crate) struct Bed {
    pub(crate) gateway: Gateway,
    pub(crate) database: Database,
}

impl Bed {
    /// With the gateway connected to Postgres over its Unix socket.
    pub(crate) async fn start(place: Place) -> Self {
        Self::start_over(place, Database::socket_url).await
    }

    pub(crate) async fn start_over(place: Place, url: impl Fn(&Database) -> String) -> Self {
        let database = Database::start_with(SETTINGS).await;
        database.execute(TABLES).await;
        let mut gateway = Gateway::configure(&url(&database), CONFIG);
        let setup = gateway.walcast("setup").await;
        assert!(setup.status.success(), "walcast setup: {}{}", setup.stdout, setup.stderr);
        gateway.spawn_under(place.of_server());
        gateway.wait_until_ready().await;
        Self { gateway, database }
    }
}
