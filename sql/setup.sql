-- What walcast keeps in the database that it reads, beside its publication and its slot.
-- `walcast setup` runs this file; it may be run any number of times.

create schema if not exists walcast;
comment on schema walcast is 'walcast, revision 6: live updates from the write-ahead log';

-- The role that walcast connects as needs no more than the following. `walcast setup` does not create it.
--
--   create role walcast with login replication password '…';
--   grant connect on database … to walcast;
--   grant usage on schema public to walcast;
--   grant select on all tables in schema public to walcast;

-- What came of clients' writes (`[route.write]`), by the id that the client gave each: a request that is repeated
-- because its answer was lost is answered as it was first, and not carried out again. walcast forgets old rows
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

-- Where clients may write, the role that walcast connects as needs this, unless it has run this file itself; and it
-- must be a member of every role that clients' tokens (or `role` in `[route.write]`) name, since writes run as those:
--
--   grant usage on schema walcast to walcast;
--   grant select, insert, update, delete on walcast.mutations to walcast;
--   grant web to walcast;

-- What a gateway that starts has to know of its slot. Without it, more is in doubt, and clients may have to resync that
-- need not.
create table if not exists walcast.slots (
    name   text primary key,
    -- Since when the slot has everything: what was altered by transactions before this one had been before the slot
    -- was.
    since  xid8,
    -- The database system that all of this is of: a dump may be restored into another one.
    system bigint not null
);
alter table walcast.slots alter column since drop not null;
-- The timeline on which that was noted: a standby that was promoted has a slot of its own under the same name.
alter table walcast.slots add column if not exists timeline bigint;
-- What the gateway has noticed of the publication: the tables, as they were when it looked last, and from which
-- positions on cursors can be resumed of those that were altered.
alter table walcast.slots add column if not exists noticed json;
-- For a role that has not run this file itself:
--
--   grant usage on schema walcast to walcast;
--   grant select, insert, update on walcast.slots to walcast;

-- Messages to topics, for triggers, functions and apps:
--
--   select walcast.broadcast('notifications:lobby', 'new_notification', '{"title": "Dinner is ready"}');
--
-- Whoever is to call them needs, for example:
--
--   grant usage on schema walcast to app;
--   grant execute on function walcast.broadcast(text, text, jsonb) to app;
--
-- Postgres lets every role write messages into the log by itself (pg_logical_emit_message). Where that must not be a
-- way around these grants, a superuser takes it away; the functions below run with the rights of who ran this file:
--
--   revoke execute on function pg_logical_emit_message(boolean, text, text) from public;
--   revoke execute on function pg_logical_emit_message(boolean, text, bytea) from public;
--
-- From Postgres 17 on each of them has one more parameter: (boolean, text, text, boolean) and so on.

-- A message as walcast reads it: version, kind (0: JSON, 1: binary), topic, event, payload.
create or replace function walcast.encode_message(kind int, topic text, event text, payload bytea) returns bytea
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    name_bytes_max constant int := 255;
    payload_bytes_max constant int := 1048576;
    topic_bytes bytea := convert_to(topic, 'UTF8');
    event_bytes bytea := convert_to(event, 'UTF8');
begin
    if topic is null or event is null or payload is null then
        raise exception 'topic, event and payload of a broadcast must not be null'
            using errcode = 'null_value_not_allowed';
    end if;
    if octet_length(topic_bytes) not between 1 and name_bytes_max then
        raise exception 'the topic of a broadcast has 1 to % bytes, not %', name_bytes_max, octet_length(topic_bytes)
            using errcode = 'invalid_parameter_value';
    end if;
    if octet_length(event_bytes) not between 1 and name_bytes_max then
        raise exception 'the event of a broadcast has 1 to % bytes, not %', name_bytes_max, octet_length(event_bytes)
            using errcode = 'invalid_parameter_value';
    end if;
    if starts_with(event, 'phx_') or starts_with(event, 'chan_reply_')
       or event in ('presence_state', 'presence_diff', 'cursor') then
        raise exception 'the event `%` has a meaning of its own to clients', event
            using errcode = 'invalid_parameter_value',
                  hint = 'Reserved are phx_…, chan_reply_…, presence_state, presence_diff and cursor.';
    end if;
    if octet_length(payload) > payload_bytes_max then
        raise exception 'the payload of a broadcast has at most % bytes, not %',
            payload_bytes_max, octet_length(payload)
            using errcode = 'program_limit_exceeded', hint = 'Send where the data is, and let clients fetch it.';
    end if;
    return '\x01'::bytea || set_byte('\x00'::bytea, 0, kind) || int4send(octet_length(topic_bytes)) || topic_bytes
           || int4send(octet_length(event_bytes)) || event_bytes || payload;
end $$;

-- Clients of Phoenix Channels expect an object.
create or replace function walcast.encode_message(topic text, event text, payload jsonb) returns bytea
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if jsonb_typeof(payload) <> 'object' then
        raise exception 'the payload of a broadcast is a JSON object, not %', jsonb_typeof(payload)
            using errcode = 'invalid_parameter_value', hint = 'Wrap it, as in {"value": …}.';
    end if;
    return walcast.encode_message(0, topic, event, convert_to(payload::text, 'UTF8'));
end $$;

-- Sent if and only if the transaction commits, in order with its row changes, and again to who resumes before it.
create or replace function walcast.broadcast(topic text, event text, payload jsonb) returns pg_lsn
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return pg_logical_emit_message(true, 'walcast.broadcast', walcast.encode_message(topic, event, payload));
end $$;

create or replace function walcast.broadcast_binary(topic text, event text, payload bytea) returns pg_lsn
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return pg_logical_emit_message(true, 'walcast.broadcast', walcast.encode_message(1, topic, event, payload));
end $$;

-- Sent whether the transaction commits or not, as soon as the log up to here is on disk, which is when the transaction
-- ends at the latest. To those who listen then, once: it has no place among the changes that a client resumes from.
create or replace function walcast.broadcast_now(topic text, event text, payload jsonb) returns pg_lsn
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    -- The end of a transaction that has an id is written to disk.
    perform pg_current_xact_id();
    return pg_logical_emit_message(false, 'walcast.broadcast', walcast.encode_message(topic, event, payload));
end $$;

create or replace function walcast.broadcast_binary_now(topic text, event text, payload bytea) returns pg_lsn
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_current_xact_id();
    return pg_logical_emit_message(false, 'walcast.broadcast', walcast.encode_message(1, topic, event, payload));
end $$;

revoke all on function walcast.encode_message(int, text, text, bytea) from public;
revoke all on function walcast.encode_message(text, text, jsonb) from public;
revoke all on function walcast.broadcast(text, text, jsonb) from public;
revoke all on function walcast.broadcast_binary(text, text, bytea) from public;
revoke all on function walcast.broadcast_now(text, text, jsonb) from public;
revoke all on function walcast.broadcast_binary_now(text, text, bytea) from public;
