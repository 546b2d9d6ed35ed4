-- Several links of one key, one after the other: from when on a link has a key is part of what
-- finds it. Moments are packed to at most 24 bytes that compare as the moments do; the very
-- beginning is empty.

alter table links add column left_since blob not null default x'';
alter table links add column right_since blob not null default x'';
-- The place within the transaction at left_seen; all bits set: that transaction is known whole.
alter table links add column left_seen_at integer not null default -1;
alter table links add column right_seen_at integer not null default -1;
-- 1 where the record was deleted on that side, and the deletion is still to be carried over.
alter table links add column left_gone integer not null default 0;
alter table links add column right_gone integer not null default 0;

create table link_keys_by_moment (
    sync     integer not null references syncs (id) on delete cascade,
    pair     integer not null,
    side     integer not null,
    key_hash blob not null,
    since    blob not null,
    link     integer not null,
    primary key (sync, pair, side, key_hash, since)
) strict, without rowid;

insert into link_keys_by_moment
select sync, pair, side, key_hash, x'', link from link_keys
order by sync, pair, side, key_hash;

drop table link_keys;
alter table link_keys_by_moment rename to link_keys;

create table tombstones_by_moment (
    sync     integer not null references syncs (id) on delete cascade,
    pair     integer not null,
    side     integer not null,
    key_hash blob not null,
    since    blob not null,
    seen     integer not null,
    seen_at  integer not null,
    written  integer not null,
    primary key (sync, pair, side, key_hash, since)
) strict, without rowid;

insert into tombstones_by_moment
select sync, pair, side, key_hash, x'', seen, -1, written from tombstones
order by sync, pair, side, key_hash;

drop table tombstones;
alter table tombstones_by_moment rename to tombstones;

create index tombstones_seen on tombstones (sync, side, seen);
