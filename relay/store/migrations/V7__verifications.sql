-- The last complete comparison of each sync's sides.
create table verifications (
    sync        integer primary key references syncs (id) on delete cascade,
    at          integer not null,
    took_ms     integer not null,
    records     integer not null,
    differences integer not null
) strict;
