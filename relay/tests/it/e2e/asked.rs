//! Conflicts about which a person is asked.

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::stage::Stage;

const TABLE: &str = "create table t (id int primary key, title text, note text)";
const FILE: &str = "name = \"t\"\nleft = \"office-db\"\nright = \"marketing\"\n[[table]]\n\
                    left = \"t\"\nright = \"t\"\nkey = [[\"id\", \"id\"]]\nconflict = \"ask\"\n\
                    conflict_delete = \"ask\"\nfields = [{ left = \"title\", right = \"title\" }, \
                    { left = \"note\", right = \"note\" }]\n";

/// Two databases with three equal records, then edits on both sides at once.
async fn clash(stage: &Stage, left: &Client, right: &Client) {
    left.batch_execute(TABLE).await.unwrap();
    right.batch_execute(TABLE).await.unwrap();
    left.batch_execute("insert into t select n, 'old', 'old' from generate_series(1, 3) n")
        .await
        .unwrap();
    stage.apply(FILE).await;
    stage.assert_equal("t").await;
    stage.post("syncs/t/pause", json!({})).await;
    left.batch_execute(
        "update t set title = 'from the left', note = 'new' where id = 1; delete from t where id = 2",
    )
    .await
    .unwrap();
    right
        .batch_execute("update t set title = 'from the right' where id in (1, 2)")
        .await
        .unwrap();
    stage.post("syncs/t/resume", json!({})).await;
    wait_asked(stage, 2).await;
}

async fn wait_asked(stage: &Stage, count: u64) {
    let asked = async |stage: &Stage| {
        let status = stage.get("syncs/t").await;
        status["asked"] == count && status["quiet"] == true
    };
    stage.wait("the questions", asked).await;
}

async fn rows(client: &Client) -> Vec<String> {
    let sql = "select concat_ws(' ', id, title, note) from t order by id";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn waiting(stage: &Stage) -> Vec<Value> {
    let found = stage.get("syncs/t/conflicts?waiting=true").await;
    found.as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_stops_nothing_else_and_ends_when_both_sides_agree() {
    let stage = Stage::start("asked").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    clash(&stage, &left, &right).await;
    assert_eq!(rows(&left).await, ["1 from the left new", "3 old old"]);
    let kept = ["1 from the right new", "2 from the right old", "3 old old"];
    assert_eq!(rows(&right).await, kept, "the other field has crossed");
    let found = waiting(&stage).await;
    let title = found.iter().find(|c| c["left_field"] == "title").unwrap();
    let values = (&title["left"], &title["right"], &title["winner"]);
    let expected = (
        &json!("from the left"),
        &json!("from the right"),
        &Value::Null,
    );
    assert_eq!(values, expected);

    // Further edits of such records don't pass the question by.
    left.batch_execute("update t set note = 'newer' where id = 1")
        .await
        .unwrap();
    right
        .batch_execute("update t set note = 'right' where id = 3")
        .await
        .unwrap();
    let crossed = async |_: &Stage| rows(&left).await.contains(&"3 old right".to_owned());
    stage.wait("the other record", crossed).await;
    let crossed = async |_: &Stage| rows(&right).await[0] == "1 from the right newer";
    stage.wait("the other field", crossed).await;
    wait_asked(&stage, 2).await;

    // People settle it by hand.
    right
        .batch_execute(
            "update t set title = 'from the left' where id = 1; delete from t where id = 2",
        )
        .await
        .unwrap();
    wait_asked(&stage, 0).await;
    assert_eq!(stage.assert_equal("t").await, 2);
    let all = stage.get("syncs/t/conflicts").await;
    assert_eq!(
        all.as_array().unwrap().len(),
        2,
        "they stay on record: {all:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_picks_either_value_also_after_a_policy_decided() {
    let stage = Stage::start("picked").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    clash(&stage, &left, &right).await;
    let found = waiting(&stage).await;
    let title = found.iter().find(|c| c["left_field"] == "title").unwrap();
    let path = format!("syncs/t/conflicts/{}/pick", title["id"]);
    let picked = stage.post(&path, json!({"side": "right"})).await;
    assert_eq!(picked["picked"], "right", "{picked:#}");
    let crossed = async |_: &Stage| rows(&left).await[0] == "1 from the right new";
    stage.wait("the picked value", crossed).await;
    wait_asked(&stage, 1).await;
    let (done, refusal) = stage.try_post(&path, json!({"side": "right"})).await;
    assert!(!done && refusal["code"] == "pick-refused", "{refusal:#}");
    let deletion = found.iter().find(|c| c["left_field"].is_null()).unwrap();
    pick(&stage, deletion, "right").await;
    wait_asked(&stage, 0).await;
    assert!(
        rows(&left)
            .await
            .contains(&"2 from the right old".to_owned())
    );
    let (done, refusal) = try_pick(&stage, deletion, "left").await;
    assert!(!done && refusal["code"] == "pick-refused", "{refusal:#}");

    // The left side wins by policy from now on; its value can be taken back.
    let file = FILE.replace("conflict = \"ask\"", "conflict = \"left\"");
    stage.apply(&file).await;
    stage.post("syncs/t/pause", json!({})).await;
    for (client, title) in [(&left, "L"), (&right, "R")] {
        let sql = format!("update t set title = '{title}' where id = 3");
        client.batch_execute(&sql).await.unwrap();
    }
    stage.post("syncs/t/resume", json!({})).await;
    let crossed = async |_: &Stage| rows(&right).await.contains(&"3 L old".to_owned());
    stage.wait("the winner", crossed).await;
    // A row is there before its settlement is: records of it are waited for.
    let recorded = async |stage: &Stage| lost(stage).await.is_some();
    stage.wait("the conflict's record", recorded).await;
    let path = format!("syncs/t/conflicts/{}/pick", lost(&stage).await.unwrap());
    stage.post(&path, json!({"side": "right"})).await;
    let crossed = async |_: &Stage| rows(&left).await.contains(&"3 R old".to_owned());
    stage.wait("the loser's value", crossed).await;
    let told = async |stage: &Stage| {
        let history = stage.get("syncs/t/history").await;
        let entries = history.as_array().unwrap();
        entries.iter().any(|entry| entry["why"] == "pick")
    };
    stage.wait("the pick in the history", told).await;
}

async fn pick(stage: &Stage, conflict: &Value, side: &str) {
    let (done, picked) = try_pick(stage, conflict, side).await;
    assert!(done && picked["picked"] == side, "{picked:#}");
}

async fn try_pick(stage: &Stage, conflict: &Value, side: &str) -> (bool, Value) {
    let path = format!("syncs/t/conflicts/{}/pick", conflict["id"]);
    stage.try_post(&path, json!({"side": side})).await
}

/// Keys are each side's own here.
const NUMBERED: &str = "create table t (id serial primary key, slug text unique not null, \
                        title text, archived boolean not null default false)";

async fn slugs(client: &Client) -> Vec<String> {
    let sql = "select concat_ws(' ', slug, title, case when archived then 'archived' end)
               from t order by slug";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Equal records `a` to `d`; then the left side deletes what the right side edits.
async fn deletions_clash(stage: &Stage, sides: [&Client; 2], deletes: &str, ask: &str) {
    for client in sides {
        client.batch_execute(NUMBERED).await.unwrap();
    }
    let sql = "insert into t (slug, title) select unnest('{a,b,c,d}'::text[]), 'old'";
    sides[0].batch_execute(sql).await.unwrap();
    let file = format!(
        "name = \"t\"\nleft = \"office-db\"\nright = \"marketing\"\n[[table]]\nleft = \"t\"\n\
         right = \"t\"\nkey = [[\"slug\", \"slug\"]]\n{deletes}\nconflict_delete = \"{ask}\"\n\
         fields = [{{ left = \"title\", right = \"title\" }}]\n"
    );
    stage.apply(&file).await;
    stage.assert_equal("t").await;
    stage.post("syncs/t/pause", json!({})).await;
    let gone = "delete from t where slug in ('a', 'b', 'c')";
    sides[0].batch_execute(gone).await.unwrap();
    let edited = "update t set title = 'new' where slug in ('a', 'b', 'c')";
    sides[1].batch_execute(edited).await.unwrap();
    stage.post("syncs/t/resume", json!({})).await;
}

async fn about<'a>(stage: &Stage, found: &'a [Value], client: &Client, slug: &str) -> &'a Value {
    let sql = "select id::text from t where slug = $1";
    let id: String = client.query_one(sql, &[&slug]).await.unwrap().get(0);
    let is_it = |conflict: &&Value| conflict["right_key"] == id;
    let logs = || panic!("{found:#?}\n{}", stage.logs());
    found.iter().find(is_it).unwrap_or_else(logs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_has_both_sides_delete_or_keep_what_one_deleted_and_the_other_edited() {
    let stage = Stage::start("asked_gone").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    deletions_clash(&stage, [&left, &right], "", "ask").await;
    wait_asked(&stage, 3).await;
    assert_eq!(slugs(&left).await, ["d old"]);
    let found = waiting(&stage).await;
    pick(&stage, about(&stage, &found, &right, "a").await, "left").await;
    wait_asked(&stage, 2).await;
    assert_eq!(slugs(&right).await, ["b new", "c new", "d old"]);
    // An edit that comes after the question goes along.
    right
        .batch_execute("update t set title = 'newer' where slug = 'b'")
        .await
        .unwrap();
    pick(&stage, about(&stage, &found, &right, "b").await, "right").await;
    wait_asked(&stage, 1).await;
    assert_eq!(slugs(&left).await, ["b newer", "d old"]);
    // A person who creates it anew by hand has answered, too.
    left.batch_execute("insert into t (slug, title) values ('c', 'new')")
        .await
        .unwrap();
    wait_asked(&stage, 0).await;
    assert_eq!(stage.assert_equal("t").await, 3);
    // All of them are linked again.
    left.batch_execute("update t set title = 'again'")
        .await
        .unwrap();
    let crossed = async |_: &Stage| slugs(&right).await == ["b again", "c again", "d again"];
    stage.wait("the edits of all", crossed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_lost_by_policy_is_picked_later() {
    let stage = Stage::start("kept_gone").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    deletions_clash(&stage, [&left, &right], "", "keep").await;
    let kept = async |stage: &Stage| {
        let all = stage.get("syncs/t/conflicts").await;
        all.as_array().unwrap().len() == 3 && stage.get("syncs/t").await["quiet"] == true
    };
    stage.wait("the records to be kept", kept).await;
    assert_eq!(slugs(&left).await, ["a new", "b new", "c new", "d old"]);
    let all = stage.get("syncs/t/conflicts").await;
    let conflict = about(&stage, all.as_array().unwrap(), &right, "b").await;
    let (done, refusal) = try_pick(&stage, conflict, "right").await;
    assert!(!done && refusal["code"] == "pick-refused", "{refusal:#}");
    pick(&stage, conflict, "left").await;
    let gone = async |_: &Stage| slugs(&right).await == ["a new", "c new", "d old"];
    stage.wait("the deletion", gone).await;
    assert_eq!(stage.assert_equal("t").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picked_deletion_archives_where_deletions_do() {
    let stage = Stage::start("asked_archive").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    let archive = "deletes = \"archive\"\narchive_right = { field = \"archived\", value = true }";
    deletions_clash(&stage, [&left, &right], archive, "ask").await;
    wait_asked(&stage, 3).await;
    let found = waiting(&stage).await;
    pick(&stage, about(&stage, &found, &right, "a").await, "left").await;
    wait_asked(&stage, 2).await;
    let expected = ["a new archived", "b new", "c new", "d old"];
    assert_eq!(slugs(&right).await, expected);
    assert_eq!(slugs(&left).await, ["d old"]);
}

/// Which conflict the right side lost with its value `R`.
async fn lost(stage: &Stage) -> Option<Value> {
    let all = stage.get("syncs/t/conflicts").await;
    let found = all.as_array().unwrap().iter().find(|c| c["right"] == "R");
    found.map(|conflict| conflict["id"].clone())
}
