-- The private database of the demo: a blog with a few thousand posts. Run as its administrator.

begin;
do 'begin perform setseed(0.42); end';

create type post_status as enum ('draft', 'review', 'published', 'archived');

create table authors (
    id uuid primary key default gen_random_uuid(),
    name text not null,
    email text not null unique,
    bio text,
    rating numeric(4, 2),
    joined_on date not null,
    is_active boolean not null default true
);

create table tags (
    slug text primary key,
    title text not null,
    colour text
);

create table posts (
    id uuid primary key default gen_random_uuid(),
    author_id uuid not null references authors,
    slug text not null unique,
    title text not null,
    body text not null,
    status post_status not null default 'draft',
    keywords text[] not null default '{}',
    metadata jsonb not null default '{}',
    views bigint not null default 0,
    price numeric(10, 2),
    published_at timestamptz,
    edited_at timestamptz not null default now()
);

create table post_tags (
    post_id uuid references posts on delete cascade,
    tag_slug text references tags on delete cascade,
    added_on date not null default current_date,
    primary key (post_id, tag_slug)
);

create function pick(words text[]) returns text language sql volatile as
    'select words[1 + floor(random() * cardinality(words))::int]';

create function ramble(words text[], count int) returns text language sql volatile as
    $$ select string_agg(pick(words), '; ') || E'.\n' from generate_series(1, count) $$;

create temporary table words as select
    '{Ada,Bela,Chiara,Dmitri,Elif,Fatou,Goran,Hana,Ivo,Jana,Kofi,Lena,Mei,Noor,Olga,Priya}'::text[]
        as first_names,
    '{Okafor,Novák,García,Schmidt,Rossi,Yılmaz,Kowalski,Haddad,Lindqvist,Tanaka,O''Neill}'::text[]
        as last_names,
    '{Quiet,Patient,Bright,Northern,Hidden,Small,Honest,Slow,Salty,Early,Stubborn}'::text[]
        as adjectives,
    '{harbours,kitchens,rivers,databases,gardens,trains,islands,markets,letters,bridges}'::text[]
        as nouns,
    '{the tide turns twice a day,salt keeps better than sugar,nobody read the manual,
      a lock opens from both sides,the ferry leaves at dawn,every map is out of date,
      bread needs time and nothing else,the bridge was closed for a year}'::text[] as clauses;

insert into tags (slug, title, colour)
select lower(noun), initcap(noun), '#' || lpad(to_hex((random() * 16777215)::int), 6, '0')
from words, unnest(nouns || '{tides,bread,maps,winter,music,football,spring,travel}'::text[]) noun;

insert into authors (name, email, bio, rating, joined_on, is_active)
select pick(first_names) || ' ' || pick(last_names),
       'author' || n || '@blog.example',
       case when random() < 0.7 then 'Writes about ' || pick(nouns) || '. ' || pick(clauses) end,
       case when random() < 0.8 then round((random() * 5)::numeric, 2) end,
       date '2015-01-01' + (random() * 3800)::int,
       random() < 0.9
from words, generate_series(1, 120) n;

insert into posts (author_id, slug, title, body, status, keywords, metadata, views, price,
                   published_at, edited_at)
select (array(select id from authors order by email))[1 + floor(random() * 120)::int],
       'post-' || n,
       pick(adjectives) || ' ' || pick(nouns) || ', part ' || (1 + n % 9),
       ramble(clauses, 3 + n % 40),
       (enum_range(null::post_status))[1 + floor(random() * 4)::int],
       array[pick(nouns), pick(nouns), 'n' || n % 17],
       jsonb_build_object('words', 100 + n % 1400, 'language', pick('{en,de,tr,cs}'),
                          'cover', jsonb_build_object('alt', pick(nouns), 'wide', n % 3 = 0)),
       (random() * random() * 250000)::bigint,
       case when random() < 0.3 then round((random() * 40)::numeric, 2) end,
       case when random() < 0.6 then timestamptz '2021-03-01' + random() * interval '1700 days' end,
       timestamptz '2025-01-01' + random() * interval '600 days'
from words, generate_series(1, 3000) n;

insert into post_tags (post_id, tag_slug, added_on)
select posts.id, tags.slug, date '2024-01-01' + (random() * 600)::int
from posts join tags on random() < 0.12;

drop function ramble(text[], int), pick(text[]);
commit;
