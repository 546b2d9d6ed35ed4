//! Tables that change while their changes are read.

use tidegate_sync::model::PairId;

use crate::support::stream::{Stream, briefs};

const TWO: &str = "create table posts (id int primary key, title text); \
                   create table tags (id int primary key, label text);";
const TWO_FIELDS: &[(&str, &[&str])] = &[("posts", &["title"]), ("tags", &["label"])];

#[tokio::test(flavor = "multi_thread")]
async fn added_columns_and_unbound_tables_do_not_disturb() {
    let two = Stream::new("shape", TWO, TWO_FIELDS).await;
    let (mut capture, _) = two.start().await;
    two.execute("insert into posts values (1, 'a')").await;
    two.execute("alter table posts add extra text default 'e'")
        .await;
    two.execute("insert into posts values (2, 'b', 'c')").await;
    two.execute("alter table posts drop extra; create table x (id int primary key)")
        .await;
    two.execute("insert into x values (1); insert into posts values (3, 'c')")
        .await;
    let captured = two.read(&mut capture).await;
    assert_eq!(briefs(&captured), ["+1 a", "+2 b", "+3 c"]);
    assert_eq!(captured.reconcile, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn truncate_asks_for_a_reconcile_of_that_table_only() {
    let two = Stream::new("shape", TWO, TWO_FIELDS).await;
    let (mut capture, _) = two.start().await;
    two.execute("insert into posts values (1, 'a'); insert into tags values (1, 'x')")
        .await;
    two.execute("truncate posts; insert into tags values (2, 'y')")
        .await;
    let captured = two.read(&mut capture).await;
    assert_eq!(briefs(&captured), ["+1 a", "+1 x", "+2 y"]);
    let expected = (PairId(0), "the table was truncated".to_owned());
    assert_eq!(captured.reconcile, [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_lost_its_shape_asks_for_a_reconcile_and_others_go_on() {
    let changes = [
        (
            "alter table posts rename title to name",
            "column title was dropped or renamed",
        ),
        (
            "alter table posts alter title type varchar(9)",
            "column title has another type now",
        ),
        (
            "alter table posts drop constraint posts_pkey, alter title set not null, \
             add primary key (title)",
            "the table has another primary key now",
        ),
    ];
    for (ddl, reason) in changes {
        let two = Stream::new("shape", TWO, TWO_FIELDS).await;
        let (mut capture, _) = two.start().await;
        two.execute(ddl).await;
        two.execute("insert into posts values (1, 'a'); insert into tags values (1, 'x')")
            .await;
        let captured = two.read(&mut capture).await;
        assert_eq!(briefs(&captured), ["+1 x"], "{ddl}");
        assert_eq!(captured.reconcile, [(PairId(0), reason.to_owned())]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_and_back_is_resolved_anew() {
    let two = Stream::new("shape", TWO, TWO_FIELDS).await;
    let (mut capture, _) = two.start().await;
    two.execute("alter table posts rename title to name").await;
    two.execute("insert into posts values (1, 'a')").await;
    assert_eq!(two.read(&mut capture).await.reconcile.len(), 1);
    two.execute("alter table posts rename name to title").await;
    two.execute("insert into posts values (2, 'b')").await;
    let captured = two.read(&mut capture).await;
    assert_eq!(briefs(&captured), ["+2 b"]);
    assert_eq!(captured.reconcile, []);
}
