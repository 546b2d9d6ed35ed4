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
    // The same again, and a deletion: refused, and nothing is written.
    for conflict in &found {
        let path = format!("syncs/t/conflicts/{}/pick", conflict["id"]);
        let (done, refusal) = stage.try_post(&path, json!({"side": "right"})).await;
        assert!(!done && refusal["code"] == "pick-refused", "{refusal:#}");
    }

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

/// Which conflict the right side lost with its value `R`.
async fn lost(stage: &Stage) -> Option<Value> {
    let all = stage.get("syncs/t/conflicts").await;
    let found = all.as_array().unwrap().iter().find(|c| c["right"] == "R");
    found.map(|conflict| conflict["id"].clone())
}
