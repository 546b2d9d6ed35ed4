-- Edits of a sync: what the links' pairs and fields are, in the order in which they are stored.
-- JSON; null until a run of this version has written it.
alter table syncs add column layout text;

-- The sync file's text by the first run that used it: history names fields by their places in it.
create table definitions (
    sync  integer not null references syncs (id) on delete cascade,
    epoch integer not null,
    text  text not null,
    primary key (sync, epoch)
) strict, without rowid;

-- 1: the pair's data is to be reconciled, though changes are streamed from settled positions.
alter table pairs add column due integer not null default 0;
-- What the histories say of the pair up to these offsets was part of what its reconcile saw.
alter table pairs add column left_known integer not null default 0;
alter table pairs add column right_known integer not null default 0;
