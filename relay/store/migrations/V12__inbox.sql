-- What waits for a person is listed across syncs, in pages.
create index findings_workspace on findings (workspace, id);
create index conflicts_workspace on conflicts (workspace, waiting, id);

-- Answers to requests that carried a key, so that a repetition gets the same one. Answers may hold
-- secrets that are shown once, so they are sealed.
create table answers (
    workspace text not null,
    actor     text not null,
    key_hash  blob not null,
    -- Of method, path and body: another request with the same key is refused.
    request   blob not null,
    at        integer not null,
    body      blob not null,
    primary key (workspace, actor, key_hash)
) strict;

create index answers_at on answers (at);
