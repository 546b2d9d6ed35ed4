-- What is remembered about a sync's records. Rows name their sync, whose record names the
-- workspace. Keys of records are sealed; a keyed hash of 128 bits, with a label for each sync,
-- finds them again.

-- A sync's table pairs, by their place in the sync file.
create table pairs (
    sync      integer not null references syncs (id) on delete cascade,
    pair      integer not null,
    -- True until the pair was live once: until then the policy for existing data rules.
    first_run integer not null default 1,
    -- Live links, counted by the settlements.
    linked    integer not null default 0,
    -- Writes to each side since the pair exists.
    left_writes  integer not null default 0,
    right_writes integer not null default 0,
    primary key (sync, pair)
) strict, without rowid;

create table links (
    id            integer primary key,
    sync          integer not null references syncs (id) on delete cascade,
    pair          integer not null,
    -- Null where the link is detached from that side.
    left_hash     blob,
    right_hash    blob,
    left_key      blob,
    right_key     blob,
    -- Eight bytes for each field pair.
    left_prints   blob not null,
    right_prints  blob not null,
    left_seen     integer not null,
    right_seen    integer not null,
    left_written  integer not null,
    right_written integer not null,
    check ((left_hash is null) = (left_key is null)),
    check ((right_hash is null) = (right_key is null))
) strict;

-- Finds a link by a key, and keeps the links of a pair a partial bijection. Apart from the links,
-- because a copy adds links in bulk: they are entered here in bulk too, when the copy is complete
-- or the next run begins (syncs.links_indexed_to).
create table link_keys (
    sync     integer not null references syncs (id) on delete cascade,
    pair     integer not null,
    side     integer not null,
    key_hash blob not null,
    link     integer not null,
    primary key (sync, pair, side, key_hash)
) strict, without rowid;

create index links_sync on links (sync, id);

-- Keys that no longer name a record, with how far their side's reports are known.
create table tombstones (
    sync     integer not null references syncs (id) on delete cascade,
    pair     integer not null,
    side     integer not null,
    key_hash blob not null,
    seen     integer not null,
    written  integer not null,
    primary key (sync, pair, side, key_hash)
) strict, without rowid;

create index tombstones_seen on tombstones (sync, side, seen);

create table positions (
    sync   integer not null references syncs (id) on delete cascade,
    side   integer not null,
    offset integer not null,
    passed integer not null,
    cursor text not null,
    primary key (sync, side)
) strict, without rowid;

-- The round that was intended and is not settled; at most one for each sync.
create table intents (
    sync  integer primary key references syncs (id) on delete cascade,
    epoch integer not null,
    round blob not null
) strict;

-- Records that could not be synced; one finding for each record.
create table findings (
    id            integer primary key,
    workspace     text not null,
    sync          integer not null references syncs (id) on delete cascade,
    pair          integer not null,
    side          integer not null,
    key_hash      blob not null,
    key_sealed    blob not null,
    code          text not null,
    detail_sealed blob not null,
    attempts      integer not null,
    first_at      integer not null,
    last_at       integer not null,
    -- Null: only a person's retry or a change of the record tries again.
    retry_at      integer,
    unique (sync, pair, side, key_hash)
) strict;

create index findings_retry on findings (sync, retry_at) where retry_at is not null;

-- Fields that both sides changed, with the losing values.
create table conflicts (
    id        integer primary key,
    workspace text not null,
    sync      integer not null references syncs (id) on delete cascade,
    pair      integer not null,
    at        integer not null,
    winner    integer not null,
    field     integer,
    body      blob not null
) strict;

create index conflicts_sync on conflicts (sync, at);

-- What was written, to which side, when and by which run. No values.
create table history (
    id          integer primary key,
    workspace   text not null,
    sync        integer not null references syncs (id) on delete cascade,
    epoch       integer not null,
    at          integer not null,
    source_at   integer,
    pair        integer not null,
    side        integer not null,
    write       integer not null,
    left_hash   blob,
    right_hash  blob,
    body        blob not null
) strict;

create index history_sync on history (sync, id);
