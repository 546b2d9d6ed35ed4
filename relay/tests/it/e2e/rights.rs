//! What the relay may do to the databases, and what a person does instead of it.

use serde_json::{Value, json};

use super::stage::Stage;
use super::two_way::{FILE, POSTS};
use crate::support::postgres::ROLE;

/// The statement that a message quotes.
#[track_caller]
fn quoted(message: &str, beginning: &str) -> String {
    let found = message.split('`').find(|part| part.starts_with(beginning));
    found
        .unwrap_or_else(|| panic!("no `{beginning}…` in: {message}"))
        .to_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_agent_does_not_keep_its_sync() {
    let mut stage = Stage::start("revoked").await;
    stage
        .left
        .client()
        .await
        .batch_execute(POSTS)
        .await
        .unwrap();
    let right = stage.right.client().await;
    right.batch_execute(POSTS).await.unwrap();
    right
        .batch_execute("insert into posts (slug) values ('a')")
        .await
        .unwrap();
    stage.apply(FILE).await;
    // Through an agent that is there, the revocation would have dropped all of it.
    stage.kill_agent();
    stage
        .wait("the agent to be gone", async |stage: &Stage| {
            stage.get("agents/office-db").await["state"] == "offline"
        })
        .await;
    stage.post("agents/office-db/revoke", json!({})).await;

    let (removed, refusal) = stage.try_delete("syncs/blog").await;
    let detail = text(&refusal["detail"]);
    assert!(!removed && detail.contains("left (office-db)"), "{refusal}");
    assert!(detail.contains("sync remove blog --force"), "{refusal}");
    assert_eq!(stage.get("syncs/blog").await["state"], "paused");

    let removed = stage.delete("syncs/blog?force=true").await;
    let left_behind = removed["left_behind"].as_array().unwrap();
    assert_eq!(
        left_behind.len(),
        1,
        "the right side was cleaned up: {removed}"
    );
    assert_eq!(left_behind[0]["side"], "left");
    assert!(stage.try_get("syncs/blog").await.is_none());
    stage.delete("connections/office-db").await;

    let traces = "select (select count(*) from pg_replication_slots
            where database = current_database() and slot_name like 'tidegate%')
        + (select count(*) from pg_publication where pubname like 'tidegate%')
        + (select count(*) from pg_namespace where nspname = 'tidegate')";
    let admin = stage.left.admin().await;
    let count = async || admin.query_one(traces, &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(count().await, 3, "the traces are seen");
    for statement in left_behind[0]["sql"].as_array().unwrap() {
        admin
            .batch_execute(statement.as_str().unwrap())
            .await
            .unwrap();
    }
    assert_eq!(count().await, 0);
    let rows = admin
        .query_one("select count(*) from posts", &[])
        .await
        .unwrap();
    assert_eq!(rows.get::<_, i64>(0), 1, "no record was touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_names_the_publication_that_the_tables_owner_must_make() {
    let stage = Stage::start("owner").await;
    let admin = stage.left.admin().await;
    admin.batch_execute(POSTS).await.unwrap();
    let grant = format!("grant select, insert, update, delete on posts to {ROLE}");
    admin.batch_execute(&grant).await.unwrap();
    stage
        .right
        .client()
        .await
        .batch_execute(POSTS)
        .await
        .unwrap();

    let plan = stage.plan(FILE).await;
    let warnings = plan["warnings"].to_string();
    assert!(warnings.contains("does not own public.posts"), "{warnings}");
    let warning = text(&plan["warnings"][0]);
    let sql = quoted(&warning, "create publication");
    assert!(warning.starts_with("left: "), "{warning}");
    admin.batch_execute(&sql).await.unwrap();

    assert_eq!(stage.plan(FILE).await["warnings"], json!([]));
    stage.apply(FILE).await;
    admin
        .batch_execute("insert into posts (slug) values ('a')")
        .await
        .unwrap();
    assert_eq!(stage.assert_equal("blog").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_allow_ddl_the_relay_changes_no_schema_and_says_what_to_run() {
    let mut stage = Stage::start("ddl").await;
    stage
        .restart_agent_with("allow_ddl = true", "allow_ddl = false")
        .await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    left.batch_execute(POSTS).await.unwrap();
    left.batch_execute("create table plain (note text)")
        .await
        .unwrap();
    right.batch_execute(POSTS).await.unwrap();

    let agent = stage.get("agents/office-db").await;
    assert_eq!(agent["targets"][0]["allow_ddl"], false);
    let fix = json!({"table": "plain"});
    let (fixed, refusal) = stage.try_post("connections/office-db/fix-key", fix).await;
    let detail = text(&refusal["detail"]);
    assert!(!fixed && detail.contains("allow_ddl = true"), "{refusal}");
    let columns = "select count(*) from pg_attribute where attrelid = 'plain'::regclass
        and attnum > 0";
    let count = left.query_one(columns, &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(count, 1, "the table is as it was");
    left.batch_execute(&quoted(&detail, "alter table"))
        .await
        .unwrap();

    let warned = quoted(
        &text(&stage.plan(FILE).await["warnings"][0]),
        "create publication",
    );
    stage.post("syncs/apply", json!({"file": FILE})).await;
    stage
        .wait(
            "the sync to ask for its publication",
            async |stage: &Stage| {
                text(&stage.get("syncs/blog").await["last_error"]).contains("create publication")
            },
        )
        .await;
    let status = stage.get("syncs/blog").await;
    assert_eq!(
        quoted(&text(&status["last_error"]), "create publication"),
        warned
    );
    left.batch_execute(&warned).await.unwrap();
    stage.wait_live("blog").await;

    let (removed, refusal) = stage.try_delete("syncs/blog").await;
    assert!(!removed, "{refusal}");
    let sql = quoted(&text(&refusal["detail"]), "drop publication");
    left.batch_execute(&sql).await.unwrap();
    stage.delete("syncs/blog").await;
}
