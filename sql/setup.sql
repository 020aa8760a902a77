-- What walcast keeps in the database that it reads, beside its publication and its slot.
-- `walcast setup` runs this file; it may be run any number of times.

create schema if not exists walcast;
comment on schema walcast is 'walcast, revision 1: live updates from the write-ahead log';

-- The role that walcast connects as needs no more than the following. `walcast setup` does not create it.
--
--   create role walcast with login replication password '…';
--   grant connect on database … to walcast;
--   grant usage on schema public to walcast;
--   grant select on all tables in schema public to walcast;
