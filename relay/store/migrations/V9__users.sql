-- People who sign in, and their sessions.

create table users (
    id         integer primary key,
    workspace  text not null,
    -- Lower case, and unique across workspaces: people sign in with the name alone.
    name       text not null unique,
    role       text not null check (role in ('viewer', 'editor', 'admin')),
    -- argon2id as a PHC string; null: signs in elsewhere only.
    password   text,
    created_at integer not null
) strict;

-- A session is found by the SHA-256 of its cookie, which has 256 random bits.
create table sessions (
    hash       blob primary key,
    user       integer not null references users (id) on delete cascade,
    created_at integer not null,
    expires_at integer not null
) strict, without rowid;

create index sessions_user on sessions (user);
