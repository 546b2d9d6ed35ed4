//! Many deletions at once wait for a person.

use super::stage::Stage;

const FILE: &str = "name = \"t\"\nleft = \"office-db\"\nright = \"marketing\"\n[[table]]\n\
                    left = \"t\"\nright = \"t\"\nkey = [[\"id\", \"id\"]]\nfields = []\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_not_emptied_before_a_person_approves() {
    let stage = Stage::start("deletes").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    let table = "create table t (id int primary key)";
    left.batch_execute(table).await.unwrap();
    right.batch_execute(table).await.unwrap();
    left.batch_execute("insert into t select generate_series(1, 200)")
        .await
        .unwrap();
    stage.apply(FILE).await;
    assert_eq!(stage.assert_equal("t").await, 200);

    // Some are a person's daily work.
    left.batch_execute("delete from t where id <= 40")
        .await
        .unwrap();
    assert_eq!(stage.assert_equal("t").await, 160);
    left.batch_execute("delete from t").await.unwrap();
    let asks = async |stage: &Stage| {
        let status = stage.get("syncs/t").await;
        let error = status["last_error"].as_str().unwrap_or_default();
        error.contains("sync approve") && error.contains("of t (right)")
    };
    stage.wait("the sync to ask", asks).await;
    let count = "select count(*) from t";
    let rest = async || right.query_one(count, &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(rest().await, 160);

    // A start that nobody approved asks again.
    stage.post("syncs/t/resume", serde_json::json!({})).await;
    stage.wait("the sync to ask again", asks).await;
    assert_eq!(rest().await, 160);

    stage.post("syncs/t/approve", serde_json::json!({})).await;
    let emptied = async |_: &Stage| rest().await == 0;
    stage.wait("the deletions", emptied).await;
    stage.wait_live("t").await;
    assert_eq!(stage.assert_equal("t").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_says_how_many_deletions_pass_unasked() {
    let stage = Stage::start("deletes_few").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    let table = "create table t (id int primary key)";
    left.batch_execute(table).await.unwrap();
    right.batch_execute(table).await.unwrap();
    left.batch_execute("insert into t select generate_series(1, 100)")
        .await
        .unwrap();
    let with = |unasked: &str| FILE.replace("fields", &format!("{unasked}\nfields"));
    let few = with("deletes_unasked = { records = 3, percent = 1 }");
    let plan = stage.plan(&few).await;
    let notes = plan["warnings"].to_string();
    assert!(notes.contains("up to 3 records or 1 %"), "{plan:#}");
    stage.apply(&few).await;
    assert_eq!(stage.assert_equal("t").await, 100);
    left.batch_execute("delete from t where id <= 3")
        .await
        .unwrap();
    assert_eq!(stage.assert_equal("t").await, 97);
    left.batch_execute("delete from t where id <= 10")
        .await
        .unwrap();
    let asks = async |stage: &Stage| {
        let status = stage.get("syncs/t").await;
        let error = status["last_error"].as_str().unwrap_or_default();
        error.contains("sync approve")
    };
    stage.wait("the sync to ask", asks).await;

    // With another bound they pass.
    let many = with("deletes_unasked = { records = 90 }");
    let plan = stage.plan(&many).await;
    assert_eq!(plan["edits"].as_array().unwrap().len(), 1, "{plan:#}");
    stage.apply(&many).await;
    assert_eq!(stage.assert_equal("t").await, 90);
    // To apply is to approve; that ends with a new start.
    stage.post("syncs/t/resume", serde_json::json!({})).await;
    stage.wait_live("t").await;
    left.batch_execute("delete from t where id <= 60")
        .await
        .unwrap();
    assert_eq!(stage.assert_equal("t").await, 40);
    let count = "select count(*) from t";
    let rest = right.query_one(count, &[]).await.unwrap();
    assert_eq!(rest.get::<_, i64>(0), 40);
}
