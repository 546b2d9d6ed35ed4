//! Bad input: one clear line that says what to do next, and the sync goes on once its cause is
//! gone.

use serde_json::json;

use crate::support::postgres::Server;

use super::stage::Stage;
use super::two_way::{FILE, POSTS};

async fn tables(stage: &Stage, sql: &str) {
    stage.left.client().await.batch_execute(sql).await.unwrap();
    stage.right.client().await.batch_execute(sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_sync_files_are_refused_with_what_to_do() {
    let stage = Stage::start("wrong_files").await;
    tables(&stage, POSTS).await;
    tables(&stage, "create table plain (name text, note text)").await;
    stage
        .right
        .client()
        .await
        .batch_execute("alter table posts alter rating type text")
        .await
        .unwrap();
    let refused = async |file: String| {
        let (ok, answer) = stage.try_post("syncs/apply", json!({"file": file})).await;
        assert!(!ok, "{answer}");
        answer["detail"].as_str().unwrap().to_owned()
    };
    let column = refused(FILE.replace("left = \"title\"", "left = \"headline\"")).await;
    assert!(
        column.contains("no column `headline`; it has id, slug, title"),
        "{column}"
    );
    let table = refused(FILE.replace("right = \"public.posts\"", "right = \"public.news\"")).await;
    assert!(table.contains("there is no table `public.news`"), "{table}");
    let lossy = refused(FILE.to_owned()).await;
    assert!(lossy.contains("posts.rating"), "{lossy}");
    let syntax = refused(FILE.replace("key =", "keys =")).await;
    assert!(syntax.starts_with("line "), "{syntax}");
    let plain = r#"
name = "plain"
left = "office-db"
right = "marketing"
[[table]]
left = "plain"
right = "plain"
key = [["name", "name"]]
fields = [{ left = "name", right = "name" }]
"#;
    let keyless = refused(plain.to_owned()).await;
    assert!(keyless.contains("primary key"), "{keyless}");

    // The two ready-made fixes, and one of them run.
    let fixed = stage
        .post("connections/office-db/fix-key", json!({"table": "plain"}))
        .await;
    assert!(
        fixed["sql"].to_string().to_lowercase().contains("identity"),
        "{fixed}"
    );
    let by_column = json!({"table": "plain", "column": "name"});
    let right = stage.right.client().await;
    right
        .batch_execute("insert into plain values (null, 'no key')")
        .await
        .unwrap();
    let (ok, answer) = stage
        .try_post("connections/marketing/fix-key", by_column.clone())
        .await;
    assert!(!ok, "a column with a null is no key: {answer}");
    right.batch_execute("delete from plain").await.unwrap();
    stage.post("connections/marketing/fix-key", by_column).await;
    stage
        .left
        .client()
        .await
        .batch_execute("insert into plain values ('a', 'b')")
        .await
        .unwrap();
    stage.apply(plain).await;
    stage.assert_equal("plain").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_and_null_match_keys_are_findings_that_heal() {
    let stage = Stage::start("findings").await;
    let table = "create table people (id int primary key, email text, name text)";
    tables(&stage, table).await;
    let left = stage.left.client().await;
    left.batch_execute(
        "insert into people values (1, 'a@x', 'A'), (2, 'twice@x', 'B'), (3, 'twice@x', 'C'),
             (4, null, 'D')",
    )
    .await
    .unwrap();
    let file = r#"
name = "people"
left = "office-db"
right = "marketing"
[[table]]
left = "people"
right = "people"
key = [["email", "email"]]
fields = [
  { left = "id", right = "id" },
  { left = "email", right = "email" },
  { left = "name", right = "name" },
]
"#;
    stage.apply(file).await;
    let findings = stage.get("syncs/people/findings").await;
    let mut codes: Vec<&str> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["code"].as_str().unwrap())
        .collect();
    codes.sort_unstable();
    assert_eq!(
        codes,
        [
            "duplicate-match-key",
            "duplicate-match-key",
            "null-match-key"
        ]
    );
    left.batch_execute(
        "update people set email = 'once@x' where id = 3;
         update people set email = 'now@x' where id = 4",
    )
    .await
    .unwrap();
    stage.post("syncs/people/retry", json!({})).await;
    stage
        .wait("the findings to heal", async |stage: &Stage| {
            stage
                .get("syncs/people/findings")
                .await
                .as_array()
                .unwrap()
                .is_empty()
        })
        .await;
    assert_eq!(stage.assert_equal("people").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_record_is_a_finding_and_the_others_go_on() {
    let stage = Stage::start("refused").await;
    tables(&stage, POSTS).await;
    let right = stage.right.client().await;
    let check = "alter table posts add constraint short check (length(title) < 20)";
    right.batch_execute(check).await.unwrap();
    stage.apply(FILE).await;
    let left = stage.left.client().await;
    left.batch_execute(
        "insert into posts (slug, title) select 's' || n, 'short' from generate_series(1, 200) n;
         update posts set title = repeat('long ', 10) where slug = 's77'",
    )
    .await
    .unwrap();
    stage
        .wait("the finding", async |stage: &Stage| {
            let findings = stage.get("syncs/blog/findings").await;
            findings.as_array().is_some_and(|list| list.len() == 1)
        })
        .await;
    let finding = stage.get("syncs/blog/findings").await[0].clone();
    assert_eq!(finding["code"], "check-violation", "{finding}");
    assert!(
        !finding.to_string().contains("long long"),
        "no row value in {finding}"
    );
    // Its own batch went through without it, and everybody sees that it is missing.
    let there = right.query_one("select count(*) from posts", &[]).await;
    assert_eq!(there.unwrap().get::<_, i64>(0), 199);
    let status = stage.get("syncs/blog").await;
    assert_eq!(
        (&status["findings"], &status["tables"][0]["findings"]),
        (&json!(1), &json!(1))
    );
    right
        .batch_execute("alter table posts drop constraint short")
        .await
        .unwrap();
    stage.post("syncs/blog/retry", json!({})).await;
    stage
        .wait("the finding to heal", async |stage: &Stage| {
            stage
                .get("syncs/blog/findings")
                .await
                .as_array()
                .unwrap()
                .is_empty()
        })
        .await;
    assert_eq!(stage.assert_equal("blog").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_applies_the_file_again_has_findings_tried_again_at_once() {
    let stage = Stage::start("reapplied").await;
    tables(&stage, POSTS).await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    let check = "alter table posts add constraint short check (length(title) < 20)";
    right.batch_execute(check).await.unwrap();
    stage.apply(FILE).await;
    let insert = "insert into posts (slug, title) values ('a', repeat('long ', 10))";
    left.batch_execute(insert).await.unwrap();
    let findings = async |stage: &Stage| {
        let found = stage.get("syncs/blog/findings").await;
        found.as_array().unwrap().len()
    };
    stage
        .wait("the finding", async |stage: &Stage| {
            findings(stage).await == 1
        })
        .await;
    let drop = "alter table posts drop constraint short";
    right.batch_execute(drop).await.unwrap();
    let began = std::time::Instant::now();
    stage.apply(FILE).await;
    stage
        .wait("the finding to heal", async |stage: &Stage| {
            findings(stage).await == 0
        })
        .await;
    // By itself it would be tried again after a minute.
    assert!(began.elapsed().as_secs() < 45, "{:?}", began.elapsed());
    assert_eq!(stage.assert_equal("blog").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_down_is_waited_for() {
    let private = Server::start_with(&[]);
    let stage = Stage::start_on(&private, &Server::shared(), "down").await;
    tables(&stage, POSTS).await;
    stage.apply(FILE).await;
    private.stop(true);
    stage
        .wait("the status to tell", async |stage: &Stage| {
            let status = stage.get("syncs/blog").await;
            status["state"] == "waiting" && status["last_error"].is_string()
        })
        .await;
    let error = stage.get("syncs/blog").await["last_error"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(error.starts_with("left: "), "{error}");
    // Until then the last error may be that of the session which broke.
    stage
        .wait("the leg to be told", async |stage: &Stage| {
            let broken = &stage.get("syncs/blog").await["broken"];
            *broken == json!({"side": "left", "code": "server-unavailable"})
        })
        .await;
    let right = stage.right.client().await;
    right
        .batch_execute("insert into posts (slug) values ('meanwhile')")
        .await
        .unwrap();
    private.start();
    stage.wait_live("blog").await;
    let left = stage.left.client().await;
    left.batch_execute("insert into posts (slug) values ('after')")
        .await
        .unwrap();
    assert_eq!(stage.assert_equal("blog").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_database_password_is_told_and_heals() {
    let stage = Stage::start("password").await;
    tables(&stage, POSTS).await;
    let file = stage.dir.path().join("main.password");
    let right_one = std::fs::read(&file).unwrap();
    std::fs::write(&file, "not-the-password\n").unwrap();
    let (ok, answer) = stage
        .try_post("connections/office-db/test", json!({}))
        .await;
    assert!(!ok, "{answer}");
    let detail = answer["detail"].as_str().unwrap();
    assert!(
        detail.contains("password") && !detail.contains("not-the-password"),
        "{detail}"
    );
    std::fs::write(&file, right_one).unwrap();
    let tested = stage.post("connections/office-db/test", json!({})).await;
    assert!(
        tested["server"]
            .as_str()
            .unwrap()
            .starts_with("PostgreSQL 1"),
        "{tested}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_targets_agents_and_connections_are_named() {
    let stage = Stage::start("unknown").await;
    let refused = async |path: &str, body: serde_json::Value| {
        let (ok, answer) = stage.try_post(path, body).await;
        assert!(!ok, "{answer}");
        answer["detail"].as_str().unwrap().to_owned()
    };
    let agent = json!({"name": "x", "kind": "postgres", "agent": "nobody", "target": "main"});
    let text = refused("connections", agent).await;
    assert!(text.contains("there is no agent `nobody`"), "{text}");
    let target = json!({"name": "y", "kind": "postgres", "agent": "office-db", "target": "other"});
    stage.post("connections", target).await;
    let text = refused("connections/y/test", json!({})).await;
    assert!(
        text.contains("no target named") && text.contains("agent.toml"),
        "{text}"
    );
    let text = refused(
        "syncs/apply",
        json!({"file": FILE.replace("office-db", "office")}),
    )
    .await;
    assert!(text.contains("there is no connection `office`"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_value_crosses_unchanged() {
    let stage = Stage::start("values").await;
    let table = "create type mood as enum ('sad', 'ok', 'happy');
        create table things (id int primary key, n numeric, f float8, d date, t timestamptz,
            j jsonb, a int[], m mood, b bytea, big text, u uuid, i interval);
        alter table things alter j set storage external, alter a set storage external";
    tables(&stage, table).await;
    let names = [
        "id", "n", "f", "d", "t", "j", "a", "m", "b", "big", "u", "i",
    ];
    let fields: Vec<String> = names
        .iter()
        .map(|name| format!("{{ left = \"{name}\", right = \"{name}\" }}"))
        .collect();
    let file = format!(
        "name = \"things\"\nleft = \"office-db\"\nright = \"marketing\"\n[[table]]\n\
         left = \"things\"\nright = \"things\"\nkey = [[\"id\", \"id\"]]\nfields = [{}]\n",
        fields.join(", ")
    );
    let left = stage.left.client().await;
    let insert = "insert into things values
        (1, repeat('9', 1000)::numeric, 'NaN', 'infinity', '-infinity', '{\"a\": [1, null]}',
         '{{1,null},{3,4}}', 'happy', '\\x00ff', repeat('é', 4000000), gen_random_uuid(), '1 mon -2 days 03:04:05.6'),
        (2, 'NaN', '-0', '0044-03-15 BC', '294276-12-31 23:59:59.999999+00', 'null', '{}', null,
         '', '', null, null),
        (3, 1e-20, '1e308', '2024-02-29', 'epoch', '1e100', null, 'sad', null, null, null, '-178000000 years')";
    left.batch_execute(insert).await.unwrap();
    stage.apply(&file).await;
    assert_eq!(stage.assert_equal("things").await, 3);
    let right = stage.right.client().await;
    right
        .batch_execute("update things set n = '-Infinity'::numeric - 0, a[2] = 9 where id = 3")
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    stage.assert_equal("things").await;
    let text = "select md5(string_agg(t::text, '|' order by id)) from things t";
    let digest = async |client: &tokio_postgres::Client| -> String {
        client.query_one(text, &[]).await.unwrap().get(0)
    };
    assert_eq!(digest(&left).await, digest(&right).await);

    // Out of line and unchanged is neither null nor sent, on either side and under another key.
    let wide = "update things set j = jsonb_build_object('a', repeat('x', 9000)),
                    a = array(select generate_series(1, 3000)) where id = 1";
    left.batch_execute(wide).await.unwrap();
    stage.assert_equal("things").await;
    right
        .batch_execute("update things set f = 2.5 where id = 1")
        .await
        .unwrap();
    stage.assert_equal("things").await;
    left.batch_execute("update things set id = 9, i = '1 day' where id = 1")
        .await
        .unwrap();
    stage.assert_equal("things").await;
    assert_eq!(digest(&left).await, digest(&right).await);
    let kept = "select count(*) from things where id = 9 and f = 2.5 and i = '1 day'
                and cardinality(a) = 3000 and length(j ->> 'a') = 9000 and length(big) = 4000000";
    let kept = right.query_one(kept, &[]).await.unwrap();
    assert_eq!(kept.get::<_, i64>(0), 1);
}
