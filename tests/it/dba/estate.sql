-- A database as one finds them: two hundred tables and other relations by many hands over many years.

-- 150 ordinary tables in three schemas, as an application's migrations make them.
create schema app;
create schema billing;
create schema archive;
do $$
begin
  for number in 1 .. 50 loop
    execute format('create table app.thing_%s (id bigint generated always as identity primary key, name text, '
                   'created_at timestamptz not null default now())', number);
    execute format('create table billing.entry_%s (id uuid primary key, amount numeric(12,2), account int)', number);
    execute format('create table archive.log_%s (id int primary key, line text)', number);
  end loop;
end $$;

-- Without a primary key: what logs, imports and join tables are.
create table app.clicks (at timestamptz default now(), page text);
create table app.things_tags (thing_id bigint not null, tag text not null);
create table app.imports (line text);
create table app.unique_only (code text unique not null, title text);
create table app.nullable_unique (code text unique, title text);
-- A deferrable key is a key to people, and none to replication.
create table app.seats (id int primary key deferrable initially deferred, guest text);

-- Every replica identity.
create table app.identity_nothing (id int primary key, name text);
alter table app.identity_nothing replica identity nothing;
create table app.identity_full (id int, name text);
alter table app.identity_full replica identity full;
create table app.identity_index (id int primary key, tenant int not null, name text);
create unique index identity_index_key on app.identity_index (id, tenant);
alter table app.identity_index replica identity using index identity_index_key;
-- The index that was the identity is gone.
create table app.identity_dropped (id int primary key, tenant int not null);
create unique index identity_dropped_key on app.identity_dropped (tenant, id);
alter table app.identity_dropped replica identity using index identity_dropped_key;
drop index app.identity_dropped_key;

-- Partitioned by range, list and hash, with partitions of partitions.
create table app.events (id bigint not null, at date not null, kind text, primary key (id, at)) partition by range (at);
create table app.events_2025 partition of app.events for values from ('2025-01-01') to ('2026-01-01');
create table app.events_2026 partition of app.events for values from ('2026-01-01') to ('2027-01-01')
  partition by range (at);
create table app.events_2026_h1 partition of app.events_2026 for values from ('2026-01-01') to ('2026-07-01');
create table app.events_2026_h2 partition of app.events_2026 for values from ('2026-07-01') to ('2027-01-01');
create table app.regions (id int, region text, name text) partition by list (region);
create table app.regions_eu partition of app.regions for values in ('eu');
create table app.regions_us partition of app.regions for values in ('us');
alter table app.regions_eu replica identity full;
alter table app.regions_us replica identity full;
create table app.metrics (id int, value float8) partition by hash (id);
create table app.metrics_0 partition of app.metrics for values with (modulus 2, remainder 0);
create table app.metrics_1 partition of app.metrics for values with (modulus 2, remainder 1);
create table app.nothing_in_it (id int primary key, at date) partition by range (id);

-- Inherited: children have no primary key of their own.
create table app.assets (id int primary key, name text);
create table app.vehicles (wheels int) inherits (app.assets);
create table app.trucks (load int, primary key (id)) inherits (app.vehicles);

-- What has no changes in the write-ahead log.
create unlogged table app.cache (id int primary key, value text);
create temporary table scratch (id int primary key);
create view app.latest as select * from app.thing_1;
create materialized view app.counted as select count(*) from app.thing_1;
create foreign data wrapper nowhere;
create server elsewhere foreign data wrapper nowhere;
create foreign table app.remote (id int, name text) server elsewhere;
-- A partitioned table of which a part is elsewhere, and another is not logged.
create table app.mixed (id int not null, name text) partition by list (id);
create table app.mixed_1 partition of app.mixed for values in (1);
alter table app.mixed_1 replica identity full;
create unlogged table app.mixed_2 partition of app.mixed for values in (2);
create foreign table app.mixed_3 partition of app.mixed for values in (3) server elsewhere;

-- Names.
create schema "Odd Schema";
create schema "select";
create table "Odd Schema"."Mixed Case" ("Id" int primary key, "Full Name" text);
create table "Odd Schema"."with ""quotes""" ("a ""b""" int primary key);
create table "Odd Schema"."dots.in.it" ("x.y" int primary key);
create table "Odd Schema"."stars*and?" (id int primary key);
create table "Odd Schema"."Straße–日本語" ("größe" int primary key);
create table "Odd Schema"."{braces}" ("{id}" int primary key);
create table "Odd Schema"."it's; drop table x; --" (id int primary key);
create table "Odd Schema"." leading and trailing " (id int primary key);
create table "Odd Schema"."sixty_three_bytes_012345678901234567890123456789012345678901234"
  ("column_of_sixty_three_bytes_01234567890123456789012345678901234" int primary key);
create table "select"."table" ("user" int primary key, "order" text, "group" int);
create table "select"."back\slash" ("a\b" int primary key);
create table "select"."line
feed" (id int primary key);

-- Types.
create domain app.email as text check (value like '%@%');
create domain app.emails as app.email[];
create type app.mood as enum ('sad', 'ok', 'it''s fine');
create type app.address as (street text, town text, zip app.email);
create table app.typed (
  id int primary key, email app.email, emails app.emails, mood app.mood, moods app.mood[],
  address app.address, addresses app.address[], during tstzrange, spans int4multirange, tags text[][],
  blob bytea, doc jsonb, raw json, net inet, bits bit(8), flags varbit, cost money, place point, search tsvector,
  doubled int generated always as (id * 2) stored, serial int generated by default as identity);
create table app.no_columns ();
create table app.only_generated (id int generated always as identity primary key,
  twice int generated always as (1 + 1) stored);

-- Row security, and a table that another role owns.
create role owner_of_secrets nologin;
create table app.secrets (id int primary key, owner text, body text);
alter table app.secrets enable row level security;
alter table app.secrets force row level security;
create policy own on app.secrets using (owner = current_user);
alter table app.secrets owner to owner_of_secrets;

-- A publication that somebody made for something else, with a column list and a row filter.
create publication reporting for table app.thing_1, app.clicks, app.typed (id, email),
  app.identity_index where (tenant > 0) with (publish = 'insert');

-- Types of extensions, where they are to be had.
do $$
declare wanted text;
begin
  foreach wanted in array array['hstore', 'citext', 'ltree'] loop
    if exists (select from pg_available_extensions where name = wanted) then
      execute format('create extension %I', wanted);
      execute format('create table app.%I (id int primary key, value %I)', 'of_' || wanted, wanted);
    end if;
  end loop;
end $$;
