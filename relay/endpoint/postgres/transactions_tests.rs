//! Order and limits of what the stream may say, without a server.

use tidegate_sync::model::PairId;

use super::super::mapping::CaptureTable;
use super::*;

const START: u64 = 100;

async fn transactions() -> (Transactions, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let staging = Staging::open(dir.path(), 1 << 20).await.unwrap();
    let mapping = Mapping::new(vec![CaptureTable {
        pair: PairId(0),
        schema: "public".into(),
        name: "t".into(),
        key: vec!["id".into()],
        fields: Vec::new(),
    }]);
    let position = Position {
        offset: START,
        passed: BatchId(4),
        cursor: "here".into(),
    };
    let names = Names::new("s", tidegate_sync::model::Side::Left);
    (Transactions::new(names, mapping, staging, position), dir)
}

fn message(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(parts.concat());
    out
}

fn begin() -> Vec<u8> {
    message(b'B', &[&[0; 20]])
}

fn commit(tag: u8, xid: Option<u32>, end: u64) -> Vec<u8> {
    let xid = xid
        .map(|xid| xid.to_be_bytes().to_vec())
        .unwrap_or_default();
    message(
        tag,
        &[&xid, &[0; 9], &end.to_be_bytes(), &7i64.to_be_bytes()],
    )
}

/// A Relation and an insert of `id`; streamed, with the xid that made them.
fn rows(id: &str, xid: Option<u32>) -> [Vec<u8>; 2] {
    let xid = xid
        .map(|xid| xid.to_be_bytes().to_vec())
        .unwrap_or_default();
    let table = b"\0\0\0\x09public\0t\0d\0\x01\x01id\0\0\0\0\x17\xff\xff\xff\xff";
    let length = (id.len() as u32).to_be_bytes();
    let row = [&b"\0\0\0\x09N\0\x01t"[..], &length, id.as_bytes()].concat();
    [message(b'R', &[&xid, table]), message(b'I', &[&xid, &row])]
}

fn emitted(transactional: u8, lsn: u64, prefix: &str, content: &str) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    let prefix = prefix.as_bytes();
    let content = content.as_bytes();
    message(
        b'M',
        &[
            &[transactional],
            &lsn.to_be_bytes(),
            prefix,
            &[0],
            &length,
            content,
        ],
    )
}

async fn take_all(transactions: &mut Transactions, messages: &[Vec<u8>]) {
    for message in messages {
        transactions.handle(message).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_given_before_its_commit() {
    let (mut transactions, _dir) = transactions().await;
    let [relation, insert] = rows("1", None);
    take_all(&mut transactions, &[begin(), relation, insert]).await;
    // A keepalive in the middle says nothing about this transaction.
    transactions.handle_keepalive(500);
    assert!(transactions.take_ready().is_none());
    take_all(&mut transactions, &[commit(b'C', None, 120)]).await;
    let batch = transactions.take_ready().unwrap();
    assert_eq!(batch.captured.position.offset, 120);
    let change = &batch.captured.changes[0];
    assert_eq!(
        (change.offset, change.time, change.passed),
        (120, Some(7), BatchId(4))
    );
    assert!(transactions.take_ready().is_none());
    transactions.handle_keepalive(110);
    assert!(
        transactions.take_ready().is_none(),
        "positions do not go back"
    );
}

#[tokio::test]
async fn what_an_earlier_run_delivered_is_skipped() {
    let (mut transactions, _dir) = transactions().await;
    let [relation, insert] = rows("1", None);
    let marker = emitted(1, 90, MARKER_PREFIX, "s:l:9");
    let before = [
        begin(),
        marker,
        relation,
        insert.clone(),
        commit(b'C', None, START),
    ];
    take_all(&mut transactions, &before).await;
    assert!(transactions.take_ready().is_none());
    take_all(
        &mut transactions,
        &[begin(), insert, commit(b'C', None, START + 1)],
    )
    .await;
    let batch = transactions.take_ready().unwrap();
    assert_eq!(batch.captured.changes.len(), 1);
    assert_eq!(batch.captured.position.passed, BatchId(4));
}

#[tokio::test]
async fn fences_are_told_from_other_messages() {
    let (mut transactions, _dir) = transactions().await;
    for (prefix, is_awaited) in [("other", false), (FENCE_PREFIX, true)] {
        let lsn = transactions.position.offset + 10;
        take_all(&mut transactions, &[emitted(0, lsn, prefix, "")]).await;
        let batch = transactions.take_ready().unwrap();
        assert_eq!(
            (batch.captured.position.offset, batch.is_awaited),
            (lsn, is_awaited)
        );
        let fence = emitted(1, lsn, prefix, "");
        take_all(
            &mut transactions,
            &[begin(), fence, commit(b'C', None, lsn + 5)],
        )
        .await;
        let batch = transactions.take_ready().unwrap();
        assert_eq!(
            (batch.captured.position.offset, batch.is_awaited),
            (lsn + 5, is_awaited)
        );
    }
}

#[tokio::test]
async fn streamed_chunks_of_several_transactions_keep_apart() {
    let (mut transactions, _dir) = transactions().await;
    let chunk = |xid: u32, id: &str, by: u32| {
        let start = message(b'S', &[&xid.to_be_bytes(), &[1]]);
        let [relation, insert] = rows(id, Some(by));
        vec![start, relation, insert, b"E".to_vec()]
    };
    for (xid, id, by) in [(1, "a", 1), (2, "b", 2), (1, "c", 3), (1, "d", 1)] {
        take_all(&mut transactions, &chunk(xid, id, by)).await;
    }
    let abort = |xid: u32, sub: u32| message(b'A', &[&xid.to_be_bytes(), &sub.to_be_bytes()]);
    take_all(&mut transactions, &[abort(1, 3), abort(2, 2)]).await;
    assert!(transactions.take_ready().is_none());
    take_all(&mut transactions, &[commit(b'c', Some(1), 200)]).await;
    let batch = transactions.take_ready().unwrap();
    let keys: Vec<_> = batch
        .captured
        .changes
        .iter()
        .map(|c| c.key.to_string())
        .collect();
    assert_eq!(keys, ["a", "d"]);
}

#[tokio::test]
async fn a_stream_out_of_order_is_refused() {
    let start = || message(b'S', &[&1u32.to_be_bytes(), &[1]]);
    let orders = [
        vec![commit(b'C', None, 200)],
        vec![rows("1", None)[1].clone()],
        vec![begin(), begin()],
        vec![begin(), start()],
        vec![begin(), commit(b'c', Some(1), 200)],
        vec![b"E".to_vec()],
        vec![start(), begin()],
        vec![start(), commit(b'c', Some(1), 200)],
        vec![b"?".to_vec()],
        vec![Vec::new()],
    ];
    for messages in orders {
        let (mut transactions, _dir) = transactions().await;
        let (last, before) = messages.split_last().unwrap();
        take_all(&mut transactions, before).await;
        let refused = transactions.handle(last).await.unwrap_err();
        assert_eq!(refused.code, "protocol-violation", "{messages:?}");
    }
}
