-- Who and what exists: connections, syncs, tokens, and the audit log.
-- Every record names its workspace. Columns that end in _sealed hold AES-256-GCM boxes.

-- Facts about this database itself, for example the check value of its master key.
create table meta (
    name  text primary key,
    value blob not null
) strict, without rowid;

create table connections (
    id         integer primary key,
    workspace  text not null,
    name       text not null,
    kind       text not null,
    -- Through an agent: its name and the target; directly: the sealed URL.
    agent      text,
    target     text,
    url_sealed blob,
    created_at integer not null,
    unique (workspace, name),
    check ((agent is null) = (target is null)),
    check ((agent is null) <> (url_sealed is null))
) strict;

create table syncs (
    id           integer primary key,
    workspace    text not null,
    name         text not null,
    left_conn    integer not null references connections (id),
    right_conn   integer not null references connections (id),
    definition   text not null,
    state        text not null default 'planning',
    wanted       text not null default 'running' check (wanted in ('running', 'paused')),
    -- Grows with each run. Writes of a run with a smaller number are refused.
    epoch        integer not null default 0,
    -- Changes are streamed from settled positions; else a reconcile is due.
    live         integer not null default 0,
    -- While not live: links with greater numbers are not in link_keys yet.
    links_indexed_to integer not null default 0,
    key_sealed   blob not null,
    last_error   text,
    -- Counters for people, as one JSON document.
    counters     text not null default '{}',
    created_at   integer not null,
    changed_at   integer not null,
    unique (workspace, name)
) strict;

create table tokens (
    id         integer primary key,
    workspace  text not null,
    name       text not null,
    hash       blob not null unique,
    scope      text not null,
    expires_at integer,
    created_at integer not null,
    used_at    integer,
    unique (workspace, name)
) strict;

-- Append-only. Each row's hash covers the row and the hash before it.
create table audit (
    seq       integer primary key,
    at        integer not null,
    workspace text not null,
    actor     text not null,
    action    text not null,
    object    text not null,
    hash      blob not null
) strict;

create trigger audit_is_append_only before update on audit
begin
    select raise(abort, 'the audit log is append-only');
end;

create trigger audit_keeps_everything before delete on audit
begin
    select raise(abort, 'the audit log is append-only');
end;
