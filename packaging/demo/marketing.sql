-- The other app's database of the demo: the same things under other names, and some records that
-- only it has. Run as its administrator.

begin;
create schema cms;

create type cms.stage as enum ('draft', 'review', 'published', 'archived');

create table cms.writers (
    writer_id uuid primary key default gen_random_uuid(),
    full_name text not null,
    mail text not null unique,
    about text,
    stars numeric(4, 2),
    since date not null,
    active boolean not null default true
);

create table cms.labels (
    label text primary key,
    caption text not null,
    colour text
);

create table cms.articles (
    article_id uuid primary key default gen_random_uuid(),
    writer_id uuid not null references cms.writers,
    path text not null unique,
    headline text not null,
    content text not null,
    stage cms.stage not null default 'draft',
    search_words text[] not null default '{}',
    extra jsonb not null default '{}',
    reads bigint not null default 0,
    fee numeric(10, 2),
    live_since timestamptz,
    touched_at timestamptz not null default now()
);

create table cms.article_labels (
    article_id uuid references cms.articles on delete cascade,
    label text references cms.labels on delete cascade,
    since date not null default current_date,
    primary key (article_id, label)
);

insert into cms.labels (label, caption)
values ('campaign', 'Campaign'), ('launch', 'Launch'), ('press', 'Press');

insert into cms.writers (full_name, mail, about, since)
select 'Agency ' || n, 'agency' || n || '@marketing.example', 'Writes campaigns', '2024-06-01'
from generate_series(1, 5) n;

insert into cms.articles (writer_id, path, headline, content, stage, search_words, extra, fee)
select (array(select writer_id from cms.writers order by mail))[1 + n % 5],
       'campaign-' || n,
       'Campaign ' || n,
       repeat('What everybody should know about number ' || n || '. ', 1 + n % 30),
       'published',
       array['campaign', 'n' || n],
       jsonb_build_object('channel', case n % 2 when 0 then 'mail' else 'web' end),
       n * 1.25
from generate_series(1, 150) n;

insert into cms.article_labels (article_id, label)
select article_id, 'campaign' from cms.articles;

commit;
