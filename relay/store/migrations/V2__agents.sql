-- Agents, the tokens that invite them, and the certificates that they were given.
-- Times are milliseconds since 1970.

create table agents (
    id           text primary key,
    workspace    text not null,
    name         text not null,
    created_at   integer not null,
    paired_at    integer,
    revoked_at   integer,
    -- What the agent last said about itself; for people, nothing is decided by it.
    host         text,
    version      text,
    last_seen_at integer
) strict, without rowid;

-- A revoked agent keeps its record, and gives its name free.
create unique index agents_name on agents (workspace, name) where revoked_at is null;

-- The secret is stored as its hash only. A used token keeps the key it was used with, so that a
-- lost answer can be asked for again.
create table pairing_tokens (
    id           blob primary key,
    workspace    text not null,
    agent        text not null references agents (id),
    secret_hash  blob not null,
    created_at   integer not null,
    expires_at   integer not null,
    redeemed_at  integer,
    redeemed_key blob,
    check ((redeemed_at is null) = (redeemed_key is null))
) strict, without rowid;

create index pairing_tokens_agent on pairing_tokens (agent);

create table certificates (
    serial     text primary key,
    workspace  text not null,
    agent      text not null references agents (id),
    -- SHA-256 of the public key.
    key        blob not null,
    not_before integer not null,
    not_after  integer not null,
    issued_at  integer not null,
    revoked_at integer
) strict, without rowid;

create index certificates_agent on certificates (agent);
create index certificates_key on certificates (key);
