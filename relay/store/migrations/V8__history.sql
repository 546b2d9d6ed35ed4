-- Why and by which batch a record was written, and the values that the write replaced and left.

alter table history add column why integer not null default 0;
alter table history add column batch integer not null default 0;
-- The mapping by which it was written; 0: not known.
alter table history add column mapping integer not null default 0;
-- Fingerprint of the whole record as the write left it; 0 where nobody knows.
alter table history add column print integer not null default 0;
-- 0: values_sealed holds them; else why there are none.
alter table history add column kept integer not null default 2;
alter table history add column values_sealed blob;

-- How tables and fields were called when history was written: it names fields by their place.
create table mappings (
    sync  integer not null references syncs (id) on delete cascade,
    print integer not null,
    names text not null,
    primary key (sync, print)
) strict, without rowid;

-- What each run wrote to each side, counted by the settlements.
create table runs (
    sync     integer not null references syncs (id) on delete cascade,
    run      integer not null,
    side     integer not null,
    first_at integer not null,
    last_at  integer not null,
    creates  integer not null,
    updates  integer not null,
    deletes  integer not null,
    primary key (sync, run, side)
) strict, without rowid;

insert into runs
select sync, epoch, side, min(at), max(at), sum(write = 0), sum(write = 1), sum(write = 2)
from history group by sync, epoch, side;
