-- Where a workspace wants to be told what waits for a person. Addresses are secrets, too: whoever has the
-- URL of a webhook may post to it. So target and keys are one sealed document.
create table channels (
    id         integer primary key,
    workspace  text not null,
    name       text not null,
    kind       text not null,
    target     blob not null,
    -- What people may see of it: a host, or the recipients.
    shown      text not null,
    -- The kinds of news that it wants, as JSON; null: all.
    events     text,
    enabled    integer not null default 1,
    allow_private integer not null default 0,
    -- Grows with each change: whoever changes it says which one was read.
    version    integer not null default 1,
    -- The last news that it was told of, and that it was added after.
    told_to    integer not null,
    added_at_news integer not null,
    created_at integer not null,
    changed_at integer not null,
    unique (workspace, name)
) strict;

-- What is the matter at present and has been told: it is told once, and again when it is over.
create table matters (
    workspace text not null,
    event     text not null,
    subject   text not null,
    since     integer not null,
    -- The news by which it was told.
    news      integer not null,
    primary key (workspace, event, subject)
) strict, without rowid;

-- What there is to tell, in order. No row values and no texts of databases but names of tables.
create table news (
    id        integer primary key autoincrement,
    workspace text not null,
    event     text not null,
    subject   text not null,
    detail    text not null,
    is_over   integer not null,
    since     integer not null,
    at        integer not null,
    -- The news of its beginning; its own number where it begins.
    begun     integer not null
) strict;

create index news_workspace on news (workspace, id);

-- The outbox: a message to one channel, tried until it arrives or is given up.
create table deliveries (
    id         integer primary key autoincrement,
    -- The same at each attempt, so that whoever gets it twice can tell.
    message    text not null,
    channel    integer not null references channels (id) on delete cascade,
    -- The message as JSON, before it takes its channel's form.
    body       text not null,
    -- pending, delivered or given-up.
    state      text not null default 'pending',
    attempts   integer not null default 0,
    next_at    integer not null,
    last_error text,
    created_at integer not null,
    ended_at   integer
) strict;

create index deliveries_channel on deliveries (channel, id);
create index deliveries_due on deliveries (channel) where state = 'pending';
