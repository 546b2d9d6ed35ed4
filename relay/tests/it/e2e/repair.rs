//! `sync verify --repair`: what differs is planned and written by the running sync.

use serde_json::{Value, json};
use tidegate_relay::store::{DEFAULT_WORKSPACE, Ledger, Store, syncs};
use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::model::{Key, PairId, Side};
use tidegate_sync::session::Settlement;
use tokio_postgres::Client;

use super::stage::Stage;
use super::verify::{NOTES, NOTES_FILE};

/// The place of `title` among the field pairs.
const TITLE: usize = 1;

/// Changes a title on the right and what the relay remembers of it alike, so that neither side has
/// changed for all that the relay knows.
async fn corrupt(stage: &mut Stage, right: &Client, slug: &str, title: &str) {
    stage.kill_relay();
    let sql = "update notes set title = $2 where slug = $1 returning id";
    let id: i32 = right.query_one(sql, &[&slug, &title]).await.unwrap().get(0);
    let store = Store::open(stage.dir.path().join("relay")).unwrap();
    let sealer = store.sealer().clone();
    let found = store.view(move |conn| {
        let sync = syncs::by_name(conn, DEFAULT_WORKSPACE, "notes")?.id;
        Ok((sync, syncs::fingerprint_key(conn, &sealer, sync)?))
    });
    let (sync, key) = found.await.unwrap();
    let ledger = Ledger::begin(&store, sync, 1, 0).await.unwrap();
    let keys = vec![(Side::Right, PairId(0), Key::single(id.to_string()))];
    let mut link = ledger.load(keys).await.unwrap().remove(0).links.remove(0);
    let value = tidegate_sync::value::Value::Text(title.to_owned());
    link.baseline.right[TITLE] = Fingerprinter::new(*key).value(&value);
    let settlement = Settlement {
        links: vec![(PairId(0), link)],
        ..Settlement::default()
    };
    ledger.settle(settlement, 0).await.unwrap();
    drop((ledger, store));
    stage.start_relay().await;
    stage.wait_live("notes").await;
}

/// Does what the change stream is not told of: the table is not published meanwhile.
async fn unheard(right: &Client, sql: &str) {
    let name = "select pubname::text from pg_publication";
    let name: String = right.query_one(name, &[]).await.unwrap().get(0);
    let alter = |what: &str| format!("alter publication {name} {what} table notes");
    right.batch_execute(&alter("drop")).await.unwrap();
    right.batch_execute(sql).await.unwrap();
    right.batch_execute(&alter("add")).await.unwrap();
}

async fn title(client: &Client, slug: &str) -> Option<String> {
    let sql = "select title from notes where slug = $1";
    let row = client.query_opt(sql, &[&slug]).await.unwrap();
    row.and_then(|row| row.get(0))
}

/// What the copy wrote was heard of and settled when a later edit of that side has crossed: else it is told
/// once more after a restart, and is news beside a baseline that was changed by hand.
async fn edits_cross(stage: &Stage, left: &Client, right: &Client) {
    for (from, to) in [(right, left), (left, right)] {
        let edit = "update notes set title = title || '.' where slug = 's1' returning title";
        let edited: String = from.query_one(edit, &[]).await.unwrap().get(0);
        let crossed = async |_: &Stage| title(to, "s1").await.as_ref() == Some(&edited);
        stage.wait("the edit to cross", crossed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_baseline_hides_is_named_and_repaired_by_policy() {
    let mut stage = Stage::start("repair").await;
    let (left, right) = (stage.left.client().await, stage.right.client().await);
    left.batch_execute(NOTES).await.unwrap();
    right.batch_execute(NOTES).await.unwrap();
    let fill = "insert into notes (slug, title) select 's' || n, 'Title ' || n
        from generate_series(1, 3000) n";
    left.batch_execute(fill).await.unwrap();
    stage.apply(NOTES_FILE).await;
    stage.assert_equal("notes").await;
    edits_cross(&stage, &left, &right).await;
    corrupt(&mut stage, &right, "s7", "corrupted").await;
    unheard(
        &right,
        "update notes set title = 'edited' where slug = 's8';
         delete from notes where slug = 's9';
         insert into notes (slug, title) values ('new', 'born on the right')",
    )
    .await;

    let report = stage
        .post("syncs/notes/verify?repair=true", json!({}))
        .await;
    check_plan(&report);
    let untouched = title(&right, "s7").await;
    assert_eq!(
        untouched.as_deref(),
        Some("corrupted"),
        "nothing is written yet"
    );
    let status = stage.get("syncs/notes").await;
    assert_eq!(status["verified"]["difference_count"], 4);

    let mut other = report["repair"].clone();
    other[0]["delete_left"] = json!(2);
    let refused = stage
        .try_post("syncs/notes/repair", json!({"expected": other}))
        .await;
    assert_eq!(
        (refused.0, &refused.1["code"]),
        (false, &json!("plan-changed"))
    );
    let expected = json!({"expected": report["repair"]});
    let repaired = stage.post("syncs/notes/repair", expected).await;
    assert_eq!(
        (&repaired["equal"], &repaired["records"]),
        (&json!(true), &json!(3000))
    );
    for (slug, wanted) in [
        ("s7", Some("Title 7")),
        ("s8", Some("edited")),
        ("s9", None),
        ("new", Some("born on the right")),
    ] {
        assert_eq!(title(&left, slug).await.as_deref(), wanted, "{slug}");
        assert_eq!(title(&right, slug).await.as_deref(), wanted, "{slug}");
    }
    // The value that lost is kept, like in any conflict.
    let kept = async |stage: &Stage| stage.get("syncs/notes").await["conflicts"] == 1;
    stage.wait("the conflict's record", kept).await;
    assert_eq!(stage.get("syncs/notes").await["verified"]["equal"], true);

    stage.post("syncs/notes/pause", json!({})).await;
    let (ok, refused) = stage.try_post("syncs/notes/repair", json!({})).await;
    assert_eq!((ok, &refused["code"]), (false, &json!("sync-not-live")));
}

/// The two edits, the deletion and the record that the right side did not tell of.
fn check_plan(report: &Value) {
    let mut found: Vec<(&str, &Value)> = Vec::new();
    for one in report["differences"].as_array().unwrap() {
        found.push((one["kind"].as_str().unwrap(), &one["fields"]));
    }
    found.sort_by_key(|(kind, _)| *kind);
    let (title_field, none) = (json!(["title"]), json!([]));
    let expected = [
        ("fields", &title_field),
        ("fields", &title_field),
        ("only-left", &none),
        ("only-right", &none),
    ];
    assert_eq!(found, expected, "{report:#}");
    let plan = &report["repair"][0];
    let counts = ["update_right", "update_left", "delete_left", "create_left"];
    assert!(counts.iter().all(|name| plan[name] == 1), "{plan:#}");
    assert_eq!(plan["samples"].as_array().unwrap().len(), 4, "{plan:#}");
}
