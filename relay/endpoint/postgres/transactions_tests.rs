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
        oid: 9,
        schema: "public".into(),
        name: "t".into(),
        key: vec!["id".into()],
        fields: Vec::new(),
        joins: 0,
        lens: Default::default(),
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
    for (at, message) in (1..).zip(messages) {
        transactions.handle(at, message).await.unwrap();
    }
}

/// All that is to be given, in batches.
async fn give_all(transactions: &mut Transactions) -> Vec<Batch> {
    let mut batches = Vec::new();
    loop {
        batches.extend(transactions.take_ready());
        if !transactions.is_delivering() {
            return batches;
        }
        transactions.deliver_part().await.unwrap();
    }
}

fn end_of(batch: &Batch) -> u64 {
    batch.captured.end.as_ref().unwrap().offset
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
    assert_eq!(end_of(&batch), 120);
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
    assert_eq!(batch.captured.end.unwrap().passed, BatchId(4));
}

#[tokio::test]
async fn fences_are_told_from_other_messages() {
    let (mut transactions, _dir) = transactions().await;
    for (prefix, is_awaited) in [("other", false), (FENCE_PREFIX, true)] {
        let lsn = transactions.position.offset + 10;
        take_all(&mut transactions, &[emitted(0, lsn, prefix, "")]).await;
        let batch = transactions.take_ready().unwrap();
        assert_eq!((end_of(&batch), batch.is_awaited), (lsn, is_awaited));
        let fence = emitted(1, lsn, prefix, "");
        take_all(
            &mut transactions,
            &[begin(), fence, commit(b'C', None, lsn + 5)],
        )
        .await;
        let batch = transactions.take_ready().unwrap();
        assert_eq!((end_of(&batch), batch.is_awaited), (lsn + 5, is_awaited));
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
    let batch = give_all(&mut transactions).await.pop().unwrap();
    let keys: Vec<_> = batch
        .captured
        .changes
        .iter()
        .map(|c| c.key.to_string())
        .collect();
    assert_eq!(keys, ["a", "d"]);
}

#[tokio::test]
async fn a_transaction_that_is_too_big_to_be_held_is_given_in_parts() {
    let (mut transactions, dir) = transactions().await;
    let [relation, insert] = rows("1", None);
    let small = [
        begin(),
        relation.clone(),
        insert.clone(),
        commit(b'C', None, 120),
    ];
    take_all(&mut transactions, &small).await;
    let count = 2 * limits::PART_CHANGES_MAX + 10;
    let marker = emitted(1, 90, MARKER_PREFIX, "s:l:9");
    let mut big = vec![begin(), marker, relation];
    big.extend(std::iter::repeat_n(insert, count));
    big.push(commit(b'C', None, 100_000));
    take_all(&mut transactions, &big).await;
    let batches = give_all(&mut transactions).await;
    let sizes: Vec<usize> = batches.iter().map(|b| b.captured.changes.len()).collect();
    let part = limits::PART_CHANGES_MAX;
    assert_eq!(sizes, [1, part, part, 10]);
    let ends = batches.iter().map(|b| b.captured.end.clone());
    let ends: Vec<Option<u64>> = ends.map(|end| end.map(|end| end.offset)).collect();
    assert_eq!(ends, [Some(120), None, None, Some(100_000)]);
    let changes: Vec<_> = batches.iter().flat_map(|b| &b.captured.changes).collect();
    assert!(changes[1..].is_sorted_by(|a, b| a.at < b.at), "in order");
    for change in &changes[1..] {
        assert_eq!((change.offset, change.time), (100_000, Some(7)));
        assert_eq!((change.passed, change.ours), (BatchId(9), true));
    }
    assert!(!changes[0].ours);
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
}

#[tokio::test]
async fn a_place_never_falls_within_a_transaction() {
    let (mut transactions, _dir) = transactions().await;
    let [relation, insert] = rows("1", None);
    let messages = [
        (0, begin()),
        (0, relation),
        (7, insert.clone()),
        (3, insert.clone()),
        (9, insert),
        (0, commit(b'C', None, 120)),
    ];
    for (at, message) in messages {
        transactions.handle(at, &message).await.unwrap();
    }
    let batch = transactions.take_ready().unwrap();
    let places: Vec<u64> = batch.captured.changes.iter().map(|c| c.at).collect();
    assert_eq!(places, [7, 7, 9]);
}

#[tokio::test]
async fn a_transaction_with_nothing_but_our_marker_moves_what_has_passed() {
    let (mut transactions, _dir) = transactions().await;
    let marker = emitted(1, 90, MARKER_PREFIX, "s:l:9");
    let ours = [begin(), marker, commit(b'C', None, 120)];
    take_all(&mut transactions, &ours).await;
    let batch = transactions.take_ready().unwrap();
    assert!(batch.is_awaited && batch.captured.changes.is_empty());
    assert_eq!(batch.captured.end.unwrap().passed, BatchId(9));
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
        let refused = transactions.handle(1, last).await.unwrap_err();
        assert_eq!(refused.code, "protocol-violation", "{messages:?}");
    }
}

/// Peek reads from the confirmed position again and again.
#[tokio::test]
async fn a_big_transaction_that_is_read_again_gives_nothing() {
    let (mut transactions, _dir) = transactions().await;
    let [relation, insert] = rows("1", None);
    let mut messages = vec![begin(), relation];
    messages.extend(vec![insert; limits::PART_CHANGES_MAX + 1]);
    messages.push(commit(b'C', None, 120));
    take_all(&mut transactions, &messages).await;
    let given = give_all(&mut transactions).await;
    assert_eq!(end_of(given.last().unwrap()), 120);
    transactions.begin_again();
    take_all(&mut transactions, &messages).await;
    assert!(give_all(&mut transactions).await.is_empty());
}

/// Its first changes are held, the rest is staged: none of them is news.
#[tokio::test]
async fn a_big_transaction_that_the_view_shows_gives_its_end_alone() {
    let (mut transactions, _dir) = transactions().await;
    transactions.shown = Shown::new(200, "10:20:");
    let [relation, insert] = rows("1", None);
    let mut messages = vec![begin(), relation];
    messages.extend(vec![insert.clone(); limits::PART_CHANGES_MAX + 1]);
    messages.push(commit(b'C', None, 120));
    take_all(&mut transactions, &messages).await;
    let given = give_all(&mut transactions).await;
    assert_eq!(given.len(), 1);
    assert_eq!(
        (given[0].captured.changes.len(), end_of(&given[0])),
        (0, 120)
    );
    let later = [begin(), insert, commit(b'C', None, 201)];
    take_all(&mut transactions, &later).await;
    let given = transactions.take_ready().unwrap();
    assert_eq!(given.captured.changes.len(), 1);
}
