-- Syncs that a person has begun to configure. What they hold is the console's own document; filters in
-- it may name values, so it is sealed.
create table drafts (
    id         integer primary key,
    workspace  text not null,
    name       text not null,
    body       blob not null,
    -- Grows with each change: whoever changes it says which one was read.
    version    integer not null default 1,
    author     text not null,
    created_at integer not null,
    changed_at integer not null
) strict;

create index drafts_workspace on drafts (workspace, id);
