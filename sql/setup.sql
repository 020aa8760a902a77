-- What walcast keeps in the database that it reads, beside its publication and its slot.
-- `walcast setup` runs this file; it may be run any number of times.

create schema if not exists walcast;
comment on schema walcast is 'walcast, revision 2: live updates from the write-ahead log';

-- The role that walcast connects as needs no more than the following. `walcast setup` does not create it.
--
--   create role walcast with login replication password '…';
--   grant connect on database … to walcast;
--   grant usage on schema public to walcast;
--   grant select on all tables in schema public to walcast;

-- What came of clients' writes (`[route.write]`), by the id that the client gave each: a request that is repeated because
-- its answer was lost is answered as it was first, and not carried out again. walcast forgets old rows
-- (`limits.write_retention`). Not to be published: nobody but walcast needs to know.
create table if not exists walcast.mutations (
    -- The role and the subject of the token that it came with.
    identity text not null,
    topic    text not null,
    id       text not null,
    -- The error that it was answered with; null where it was carried out.
    outcome  json,
    -- The transaction that carried it out.
    xid      xid8 not null default pg_current_xact_id(),
    at       timestamptz not null default now(),
    primary key (identity, topic, id)
);
create index if not exists mutations_at on walcast.mutations (at);

-- Where clients may write, the role that walcast connects as needs this, unless it has run this file itself; and it must
-- be a member of every role that clients' tokens (or `role` in `[route.write]`) name, since writes run as those:
--
--   grant usage on schema walcast to walcast;
--   grant select, insert, update, delete on walcast.mutations to walcast;
--   grant web to walcast;
