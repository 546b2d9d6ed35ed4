//! What every connector keeps. Each claim takes an app of its own and starts a whole sync with it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{App, Row, Rows, Scene};

/// Records that are there before a sync of existing data: some on both sides.
const APP_ONLY: usize = 30;
const BOTH: usize = 20;

fn row(title: &str, qty: i32) -> Row {
    Row {
        title: Some(title.to_owned()),
        qty: Some(qty),
        done: Some(qty % 2 == 0),
    }
}

/// `left-…` on the left, `both-…` on both sides with another title, `app-…` in the app.
async fn existing<A: App>(app: A, hint: &str) -> Scene<A> {
    let scene = Scene::start(app, hint).await;
    scene
        .sql(
            "insert into things (slug, title, qty) select 'left-' || n, 'left', n
             from generate_series(1, 40) n;
             insert into things (slug, title, qty) select 'both-' || n, 'left', n
             from generate_series(1, 20) n",
        )
        .await;
    let mut rows = Rows::new();
    rows.extend((1..=APP_ONLY).map(|n| (format!("app-{n}"), row("app", n as i32))));
    rows.extend((1..=BOTH).map(|n| (format!("both-{n}"), row("app", n as i32))));
    scene.app.seed(&rows).await;
    scene
}

async fn apply<A: App>(scene: &Scene<A>, more: &str) {
    scene.stage.apply(&scene.file(more)).await;
}

fn count(rows: &Rows, prefix: &str) -> usize {
    rows.keys().filter(|slug| slug.starts_with(prefix)).count()
}

fn titled(rows: &Rows, prefix: &str, title: &str) -> usize {
    let of_prefix = rows.iter().filter(|(slug, _)| slug.starts_with(prefix));
    of_prefix
        .filter(|(_, row)| row.title.as_deref() == Some(title))
        .count()
}

/// Nothing is written while nobody edits.
pub async fn assert_no_echo<A: App>(scene: &Scene<A>) {
    scene.quiet().await;
    let before = scene.proxy.writes();
    let status = scene.stage.get("syncs/things").await;
    // Several looks long: there is no event for something that must not happen.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(scene.proxy.writes(), before, "{}", scene.stage.logs());
    let writes = scene.stage.get("syncs/things").await["writes"].clone();
    let history = scene.stage.get("syncs/things/history?limit=3").await;
    assert_eq!(
        writes,
        status["writes"],
        "{history:#}\n{}",
        scene.stage.logs()
    );
}

/// An edit of `row-1` by the app and one of `row-2` by the left arrive at the other side.
pub async fn edits_of_both_sides_cross<A: App>(scene: &Scene<A>, round: &str) {
    scene.app.edit("row-1", &Row::titled(round)).await;
    scene
        .sql(&format!(
            "update things set title = '{round}' where slug = 'row-2'"
        ))
        .await;
    let met = |rows: &Rows| {
        let is = |slug: &str| rows[slug].title.as_deref() == Some(round);
        is("row-1") && is("row-2")
    };
    scene.wait_left("the app's edit", met).await;
    scene.wait_app("the left's edit", met).await;
}

pub async fn connection<A: App>(app: A) {
    let scene = Scene::start(app, "connection").await;
    let test = scene.stage.post("connections/app/test", Value::Null).await;
    assert_eq!(test["ok"], true, "{test}");
    assert_eq!(test["user"], scene.app.user().as_str(), "{test}");
    assert!(test["writable"].as_u64() >= Some(1), "{test}");
    let tables = scene.stage.get("connections/app/tables").await;
    let ours = scene.app.table();
    let named = |table: &&Value| {
        let (schema, name) = (table["schema"].as_str(), table["name"].as_str());
        format!("{}.{}", schema.unwrap(), name.unwrap()) == ours || name == Some(ours.as_str())
    };
    let tables = tables["tables"].as_array().unwrap();
    let table = tables.iter().find(named).unwrap();
    let names = table["columns"].as_array().unwrap().iter();
    let names: Vec<&str> = names
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    for name in ["id", "slug", "title", "qty", "done"] {
        assert!(names.contains(&name), "{name} of {names:?}");
    }
    let stranger = json!({"name": "stranger", "kind": scene.app.kind(),
        "base_url": scene.proxy.base_url(), "token": "no:body", "allow_private": true});
    scene.stage.post("connections", stranger).await;
    let (ok, refused) = scene
        .stage
        .try_post("connections/stranger/test", Value::Null)
        .await;
    assert!(!ok && refused["code"] == "login-refused", "{refused}");
    let private = json!({"name": "private", "kind": scene.app.kind(),
        "base_url": "https://127.0.0.1/v1", "token": "a:b"});
    let (ok, refused) = scene.stage.try_post("connections", private).await;
    assert!(!ok && refused["code"] == "private-address", "{refused}");
}

pub async fn existing_merge<A: App>(app: A) {
    let scene = existing(app, "merge").await;
    let file = scene.file("existing = \"merge\"\nconflict = \"left\"");
    let plan = scene.stage.plan(&file).await;
    scene.stage.apply(&file).await;
    let rows = scene.wait_equal().await;
    assert_eq!(rows.len(), 40 + APP_ONLY + BOTH, "{plan}");
    assert_eq!(titled(&rows, "both-", "left"), BOTH);
    assert_eq!(scene.stage.assert_equal("things").await, rows.len() as u64);
    assert_no_echo(&scene).await;
}

pub async fn existing_to_app<A: App>(app: A) {
    let scene = existing(app, "to_app").await;
    apply(&scene, "existing = \"left-to-right\"").await;
    scene.quiet().await;
    let (left, there) = (scene.left().await, scene.app.all().await);
    assert_eq!(count(&left, "app-"), 0);
    assert_eq!(
        (count(&there, "left-"), count(&there, "app-")),
        (40, APP_ONLY)
    );
    assert_eq!(titled(&there, "both-", "left"), BOTH);
    assert_no_echo(&scene).await;
}

pub async fn existing_from_app<A: App>(app: A) {
    let scene = existing(app, "from_app").await;
    apply(&scene, "existing = \"right-to-left\"").await;
    scene.quiet().await;
    let (left, there) = (scene.left().await, scene.app.all().await);
    assert_eq!(count(&there, "left-"), 0);
    assert_eq!(
        (count(&left, "left-"), count(&left, "app-")),
        (40, APP_ONLY)
    );
    assert_eq!(titled(&left, "both-", "app"), BOTH);
    assert_no_echo(&scene).await;
}

pub async fn existing_link_only<A: App>(app: A) {
    let scene = existing(app, "link_only").await;
    apply(&scene, "existing = \"link-only\"").await;
    scene.quiet().await;
    let (left, there) = (scene.left().await, scene.app.all().await);
    assert_eq!((count(&left, "app-"), count(&there, "left-")), (0, 0));
    assert_eq!(titled(&there, "both-", "app"), BOTH);
    scene
        .sql("update things set title = 'later' where slug = 'both-7'")
        .await;
    scene
        .wait_app("an edit to cross", |rows| {
            titled(rows, "both-", "later") == 1
        })
        .await;
}

/// Edits, creates and deletes of both sides cross, and nothing comes back.
pub async fn live<A: App>(app: A) {
    let scene = existing(app, "live").await;
    apply(&scene, "existing = \"merge\"\nconflict = \"right\"").await;
    scene.wait_equal().await;
    scene
        .sql(
            "update things set title = 'edited left', qty = -5 where slug = 'app-3';
             delete from things where slug = 'app-4';
             insert into things (slug, title, done) values ('new, \"left\"', 'ü ☃ \n', true)",
        )
        .await;
    scene
        .app
        .edit("left-3", &row("edited in the app", 2_147_483_647))
        .await;
    scene.app.delete("left-4").await;
    scene
        .app
        .seed(&Rows::from([("new-app".to_owned(), row("fresh", 0))]))
        .await;
    let rows = scene.wait_equal().await;
    let met = |rows: &Rows| {
        titled(rows, "app-3", "edited left") == 1
            && titled(rows, "left-3", "edited in the app") == 1
            && rows.contains_key("new, \"left\"")
            && rows.contains_key("new-app")
            && !rows.contains_key("app-4")
            && !rows.contains_key("left-4")
    };
    scene.wait_left("all edits to be there", met).await;
    scene.wait_app("all edits to be in the app", met).await;
    assert_eq!(rows.len(), 40 + APP_ONLY + BOTH);
    // The same record again and again, from both sides in turn.
    for turn in 0..3 {
        let title = format!("turn {turn}");
        scene.app.edit("both-1", &Row::titled(&title)).await;
        scene
            .wait_left("the app's turn", |rows| titled(rows, "both-1", &title) >= 1)
            .await;
        scene
            .sql("update things set title = 'back' where slug = 'both-1'")
            .await;
        scene
            .wait_app("the left's turn", |rows| {
                rows["both-1"].title.as_deref() == Some("back")
            })
            .await;
    }
    assert_no_echo(&scene).await;
    scene.stage.assert_equal("things").await;
}

/// Both sides edit one field while the relay is away: one wins, the other's value is kept.
pub async fn conflict<A: App>(app: A) {
    let mut scene = existing(app, "conflict").await;
    apply(&scene, "existing = \"merge\"\nconflict = \"right\"").await;
    scene.wait_equal().await;
    scene.quiet().await;
    scene.stage.kill_relay();
    scene
        .sql("update things set title = 'loses', qty = 77 where slug = 'both-2'")
        .await;
    scene.app.edit("both-2", &Row::titled("wins")).await;
    scene
        .sql("update things set title = 'kept' where slug = 'both-3'")
        .await;
    scene.app.delete("both-3").await;
    scene.stage.start_relay().await;
    let met = |rows: &Rows| {
        let (second, third) = (rows.get("both-2"), rows.get("both-3"));
        second.is_some_and(|row| row.title.as_deref() == Some("wins") && row.qty == Some(77))
            && third.is_some_and(|row| row.title.as_deref() == Some("kept"))
    };
    scene.wait_left("the conflict to be decided", met).await;
    scene.wait_app("the conflict to be decided", met).await;
    let is_recorded = async |stage: &crate::e2e::stage::Stage| {
        let conflicts = stage.get("syncs/things/conflicts").await.to_string();
        conflicts.contains("loses")
    };
    scene
        .stage
        .wait("the losing value to be recorded", is_recorded)
        .await;
}

/// One record is refused, with a reason; others are not held up, and it goes when it is mended.
pub async fn refused<A: App>(app: A) {
    let scene = Scene::start(app, "refused").await;
    apply(&scene, "").await;
    scene
        .sql(
            "insert into things (slug, title) select 'ok-' || n, 'fine' from generate_series(1, 40) n;
             insert into things (slug, title) values ('bad', 'refuse this')",
        )
        .await;
    scene
        .wait_app("the good ones to cross", |rows| count(rows, "ok-") == 40)
        .await;
    let stage = &scene.stage;
    stage
        .wait("a finding", async |stage: &crate::e2e::stage::Stage| {
            let findings = stage.get("syncs/things/findings").await;
            findings
                .as_array()
                .is_some_and(|found| found.len() == 1 && found[0]["code"] == scene.app.refusal())
        })
        .await;
    scene
        .sql("update things set title = 'mended' where slug = 'bad'")
        .await;
    scene
        .wait_app("the mended one to cross", |rows| {
            titled(rows, "bad", "mended") == 1
        })
        .await;
    scene.wait_equal().await;
    stage
        .wait("no finding", async |stage: &crate::e2e::stage::Stage| {
            stage.get("syncs/things/findings").await == json!([])
        })
        .await;
}

/// The relay dies at every kind of moment while both sides are edited.
pub async fn crashes<A: App>(app: A) {
    let mut scene = existing(app, "crashes").await;
    let crowd = scene.app.crowd();
    scene
        .sql(&format!(
            "insert into things (slug, title, qty) select 'more-' || n, 'left', n
             from generate_series(1, {crowd}) n"
        ))
        .await;
    let file = scene.file("existing = \"merge\"\nconflict = \"right\"");
    scene.stage.post("syncs/apply", json!({"file": file})).await;
    scene.stage.relay_crashes_at("copied:1").await;
    scene.stage.start_relay().await;
    scene.stage.wait_live("things").await;
    scene.wait_equal().await;
    for (number, point) in ["applying:1", "applied:1", "settled:1"]
        .into_iter()
        .enumerate()
    {
        scene.stage.kill_relay();
        let slug = format!("crash-{number}");
        scene
            .sql(&format!(
                "insert into things (slug, title) values ('{slug}', 'created');
                 update things set qty = {number} + 1000 where slug = 'more-{number}9';
                 delete from things where slug = 'more-{number}8'"
            ))
            .await;
        let rows = Rows::from([(format!("app-{slug}"), row("created there", 1))]);
        scene.app.seed(&rows).await;
        scene
            .app
            .edit(&format!("app-{}", number + 1), &Row::titled(&slug))
            .await;
        scene.app.delete(&format!("app-{}", number + 10)).await;
        scene.stage.relay_crashes_at(point).await;
        scene.stage.start_relay().await;
        scene
            .wait_app("a create to cross", |rows| {
                rows.contains_key(&slug) && !rows.contains_key(&format!("more-{number}8"))
            })
            .await;
        scene
            .wait_left("the app's edits to cross", |rows| {
                titled(rows, &format!("app-{}", number + 1), &slug) == 1
                    && rows.contains_key(&format!("app-{slug}"))
                    && !rows.contains_key(&format!("app-{}", number + 10))
            })
            .await;
    }
    // Fails where two records have one slug.
    scene.wait_equal().await;
    assert_no_echo(&scene).await;
    scene.stage.assert_equal("things").await;
}

/// Writes are carried out and their answers are lost: nothing is written twice.
pub async fn lost_answers<A: App>(app: A) {
    let scene = Scene::start(app, "lost").await;
    apply(&scene, "").await;
    for (number, sql) in [
        "insert into things (slug, title) select 'new-' || n, 'x' from generate_series(1, 60) n",
        "update things set title = 'y' where slug < 'new-3'",
        "delete from things where slug like 'new-4%'",
    ]
    .into_iter()
    .enumerate()
    {
        scene.proxy.lose_answers(1);
        scene.sql(sql).await;
        scene.wait_equal().await;
        let is_lost = async |_: &crate::e2e::stage::Stage| scene.proxy.to_lose() == 0;
        scene.stage.wait("an answer to be lost", is_lost).await;
        let rows = scene.wait_equal().await;
        assert_eq!(rows.len(), if number < 2 { 60 } else { 49 });
        // A record that is deleted before the sync has found it again would come back: one call may
        // have made all of them.
        scene.quiet().await;
    }
    assert_no_echo(&scene).await;
}

/// As many records as a small business has, both ways, and how many calls that took.
pub async fn many<A: App>(app: A) {
    let scene = Scene::start(app, "many").await;
    let all = scene.app.many();
    let theirs = all / 10;
    scene
        .sql(&format!(
            "insert into things (slug, title, qty, done) select 'left-' || n, 'Title ' || n, n, true
             from generate_series(1, {}) n",
            all - theirs
        ))
        .await;
    let rows = (1..=theirs).map(|n| (format!("app-{n}"), row("app", n)));
    scene.app.seed(&rows.collect()).await;
    let (writes, reads, began) = (
        scene.proxy.writes(),
        scene.proxy.reads(),
        std::time::Instant::now(),
    );
    apply(&scene, "").await;
    let rows = scene.wait_equal().await;
    let took = began.elapsed();
    assert_eq!(rows.len(), all as usize);
    let (writes, reads) = (scene.proxy.writes() - writes, scene.proxy.reads() - reads);
    println!(
        "{}: {all} records in {:.1} s, {writes} writing and {reads} reading calls",
        scene.app.kind(),
        took.as_secs_f64()
    );
    assert_eq!(scene.proxy.refusals(), 0);
    assert_no_echo(&scene).await;
}
