//! Golden bytes, garbage, and agreement with another decoder.

use pg_walstream::protocol::{LogicalReplicationMessage as Theirs, LogicalReplicationParser};
use proptest::prelude::*;

use super::*;

/// Builds messages the way the manual writes them.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn tag(tag: u8) -> Bytes {
        Bytes(vec![tag])
    }
    fn u8(mut self, n: u8) -> Self {
        self.0.push(n);
        self
    }
    fn u16(mut self, n: u16) -> Self {
        self.0.extend(n.to_be_bytes());
        self
    }
    fn u32(mut self, n: u32) -> Self {
        self.0.extend(n.to_be_bytes());
        self
    }
    fn u64(mut self, n: u64) -> Self {
        self.0.extend(n.to_be_bytes());
        self
    }
    fn text(mut self, text: &str) -> Self {
        self.0.extend(text.as_bytes());
        self.u8(0)
    }
    fn cell(self, text: &str) -> Self {
        let mut out = self.u8(b't').u32(text.len() as u32);
        out.0.extend(text.as_bytes());
        out
    }
}

fn plain(bytes: &[u8]) -> Message<'_> {
    let (xid, message) = decode(bytes, false).unwrap();
    assert_eq!(xid, None);
    message
}

#[test]
fn begin_and_commit_carry_positions_and_time() {
    let begin = Bytes::tag(b'B').u64(0x10).u64(77).u32(9).0;
    assert_eq!(
        plain(&begin),
        Message::Begin {
            final_lsn: 0x10,
            commit_time: 77,
            xid: 9
        }
    );
    let commit = Bytes::tag(b'C').u8(0).u64(0x10).u64(0x20).u64(77).0;
    assert_eq!(
        plain(&commit),
        Message::Commit(Commit {
            commit_lsn: 0x10,
            end_lsn: 0x20,
            time: 77
        })
    );
}

#[test]
fn update_tells_key_whole_and_no_old_row_apart() {
    let new = |bytes: Bytes| bytes.u8(b'N').u16(2).cell("2").u8(b'u').0;
    let head = || Bytes::tag(b'U').u32(5);
    let row = vec![Cell::Text(b"2"), Cell::Unchanged];
    assert_eq!(
        plain(&new(head())),
        Message::Update {
            relation: 5,
            old: None,
            new: row.clone()
        }
    );
    let key = head().u8(b'K').u16(2).cell("1").u8(b'n');
    assert_eq!(
        plain(&new(key)),
        Message::Update {
            relation: 5,
            old: Some(Old::Key(vec![Cell::Text(b"1"), Cell::Null])),
            new: row.clone(),
        }
    );
    let whole = head().u8(b'O').u16(2).cell("1").cell("long");
    assert_eq!(
        plain(&new(whole)),
        Message::Update {
            relation: 5,
            old: Some(Old::Whole(vec![Cell::Text(b"1"), Cell::Text(b"long")])),
            new: row,
        }
    );
}

#[test]
fn streamed_changes_carry_their_subtransaction() {
    let insert = Bytes::tag(b'I')
        .u32(1234)
        .u32(5)
        .u8(b'N')
        .u16(1)
        .cell("x")
        .0;
    let (xid, message) = decode(&insert, true).unwrap();
    assert_eq!(xid, Some(1234));
    assert_eq!(
        message,
        Message::Insert {
            relation: 5,
            new: vec![Cell::Text(b"x")]
        }
    );
    // Stream control messages carry no second xid.
    let abort = Bytes::tag(b'A').u32(7).u32(8).0;
    assert_eq!(
        decode(&abort, true).unwrap(),
        (None, Message::StreamAbort { xid: 7, subxid: 8 })
    );
}

#[test]
fn relation_lists_columns_with_key_flags() {
    let relation = Bytes::tag(b'R')
        .u32(5)
        .text("public")
        .text("posts")
        .u8(b'd')
        .u16(2);
    let relation = relation.u8(1).text("id").u32(20).u32(u32::MAX);
    let relation = relation.u8(0).text("title").u32(1043).u32(84).0;
    let Message::Relation(relation) = plain(&relation) else {
        panic!()
    };
    assert_eq!((relation.schema, relation.name), ("public", "posts"));
    assert_eq!(relation.identity, Identity::Default);
    assert_eq!(relation.columns[0].type_modifier, -1);
    assert!(relation.columns[0].is_key && !relation.columns[1].is_key);
}

#[test]
fn every_shorter_and_longer_form_is_refused() {
    let whole = Bytes::tag(b'U')
        .u32(5)
        .u8(b'K')
        .u16(1)
        .cell("1")
        .u8(b'N')
        .u16(1)
        .cell("2")
        .0;
    for end in 0..whole.len() {
        assert!(decode(&whole[..end], false).is_err(), "{end}");
    }
    let mut longer = whole;
    longer.push(0);
    assert!(decode(&longer, false).is_err());
}

#[test]
fn claimed_lengths_beyond_the_input_reserve_nothing() {
    let rows = Bytes::tag(b'I').u32(5).u8(b'N').u16(u16::MAX).0;
    assert!(decode(&rows, false).is_err());
    let relations = Bytes::tag(b'T').u32(u32::MAX).u8(0).0;
    assert!(decode(&relations, false).is_err());
    let content = Bytes::tag(b'M').u8(0).u64(0).text("p").u32(u32::MAX).0;
    assert!(decode(&content, false).is_err());
}

const TAGS: &[u8] = b"BCORYIUDTMSEcA";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn garbage_never_panics(
        tag in proptest::sample::select(TAGS.to_vec()),
        rest in proptest::collection::vec(any::<u8>(), 0..80),
        streamed: bool,
    ) {
        let mut bytes = vec![tag];
        bytes.extend(rest);
        let _ = decode(&bytes, streamed);
    }

    #[test]
    fn rows_read_as_the_other_decoder_reads_them(row in row(), old in proptest::option::of(row())) {
        let mut bytes = Bytes::tag(b'U').u32(5);
        if let Some(old) = &old {
            bytes = put_row(bytes.u8(b'O'), old);
        }
        let bytes = put_row(bytes.u8(b'N'), &row).0;
        let mut parser = LogicalReplicationParser::with_protocol_version(2);
        let theirs = parser.parse_wal_message(&bytes).unwrap().message;
        let Theirs::Update { old_tuple, new_tuple, .. } = theirs else { panic!() };
        let Message::Update { old: ours_old, new, .. } = plain(&bytes) else { panic!() };
        assert_same(&new, &new_tuple);
        prop_assert_eq!(ours_old.is_some(), old_tuple.is_some());
        if let (Some(Old::Whole(ours)), Some(theirs)) = (ours_old, old_tuple) {
            assert_same(&ours, &theirs);
        }
    }
}

fn row() -> impl Strategy<Value = Vec<Option<Option<String>>>> {
    proptest::collection::vec(proptest::option::of(proptest::option::of(".{0,12}")), 0..12)
}

fn put_row(bytes: Bytes, row: &[Option<Option<String>>]) -> Bytes {
    let bytes = bytes.u16(row.len() as u16);
    row.iter().fold(bytes, |bytes, cell| match cell {
        None => bytes.u8(b'u'),
        Some(None) => bytes.u8(b'n'),
        Some(Some(text)) => bytes.cell(text),
    })
}

fn assert_same(ours: &[Cell<'_>], theirs: &pg_walstream::protocol::TupleData) {
    assert_eq!(ours.len(), theirs.column_count());
    for (index, cell) in ours.iter().enumerate() {
        let other = theirs.get_column(index).unwrap();
        match cell {
            Cell::Null => assert!(other.is_null()),
            Cell::Unchanged => assert!(other.is_unchanged()),
            Cell::Text(text) => assert_eq!(other.as_bytes(), *text),
            Cell::Binary(bytes) => assert_eq!(other.raw_bytes(), *bytes),
        }
    }
}
