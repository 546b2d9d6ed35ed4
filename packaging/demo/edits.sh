#!/usr/bin/env bash
# Edits both sides of the demo at random, a few times a second, until it is told to stop.
#
# LEFT and RIGHT are libpq connection strings; passwords come from PGPASSFILE. Deletions take
# archived posts alone and nothing else touches those, so that no edit fails for want of its post.
set -euo pipefail

run() {
  psql -X -q -v ON_ERROR_STOP=1 -d "$1" >/dev/null
}

left_edit() {
  case $((RANDOM % 6)) in
    0 | 1) echo "update posts set title = split_part(title, ' #', 1) || ' #' || $RANDOM,
                   edited_at = now()
                 where id = (select id from posts where status <> 'archived'
                             order by random() limit 1);" ;;
    2) echo "update posts set views = views + $RANDOM,
               metadata = metadata || jsonb_build_object('rank', $RANDOM)
             where id = (select id from posts where status <> 'archived'
                         order by random() limit 1);" ;;
    3) echo "insert into posts (author_id, slug, title, body, status, keywords)
             select id, 'note-' || gen_random_uuid(), 'A note at ' || to_char(now(), 'HH24:MI:SS'),
                    repeat('Written in the office. ', 1 + $RANDOM % 50), 'published', '{note}'
             from authors order by random() limit 1;" ;;
    4) echo "insert into post_tags (post_id, tag_slug)
             select posts.id, tags.slug from posts, tags where posts.status = 'published'
             order by random() limit 1 on conflict do nothing;" ;;
    5) echo "delete from posts where id = (select id from posts where status = 'archived'
                                           order by random() limit 1);" ;;
  esac
}

right_edit() {
  case $((RANDOM % 5)) in
    0 | 1) echo "update cms.articles set headline = split_part(headline, ' !', 1) || ' !' || $RANDOM,
                   touched_at = now()
                 where article_id = (select article_id from cms.articles where stage <> 'archived'
                                     order by random() limit 1);" ;;
    2) echo "update cms.articles set fee = round($RANDOM / 100.0, 2),
               search_words = array['sale', 'n$RANDOM']
             where article_id = (select article_id from cms.articles where stage <> 'archived'
                                 order by random() limit 1);" ;;
    3) echo "insert into cms.articles (writer_id, path, headline, content, stage)
             select writer_id, 'offer-' || gen_random_uuid(), 'An offer for ' || full_name,
                    'Written by marketing.', 'review'
             from cms.writers order by random() limit 1;" ;;
    4) echo "update cms.writers set stars = round(($RANDOM % 500) / 100.0, 2)
             where writer_id = (select writer_id from cms.writers order by random() limit 1);" ;;
  esac
}

while true; do
  if ((RANDOM % 2)); then left_edit | run "$LEFT"; else right_edit | run "$RIGHT"; fi
  sleep "0.$((RANDOM % 5 + 1))"
done
