-- Conflicts that wait for a person, and what a person picked. SQLite can't drop a `not null`.
create table conflicts_5 (
    id          integer primary key,
    workspace   text not null,
    sync        integer not null references syncs (id) on delete cascade,
    pair        integer not null,
    at          integer not null,
    -- Null while a person is asked, and where both sides came to agree by themselves.
    winner      integer,
    field       integer,
    -- The link of its records and, of a field, the baselines when they clashed: a waiting conflict
    -- is over when they move.
    link        integer,
    left_print  integer,
    right_print integer,
    waiting     integer not null default 0,
    -- What a person picked, and when.
    picked      integer,
    picked_at   integer,
    body        blob not null
) strict;

insert into conflicts_5 (id, workspace, sync, pair, at, winner, field, body)
select id, workspace, sync, pair, at, winner, field, body from conflicts;

drop table conflicts;
alter table conflicts_5 rename to conflicts;

create index conflicts_sync on conflicts (sync, at);
create index conflicts_waiting on conflicts (sync, link) where waiting = 1;
