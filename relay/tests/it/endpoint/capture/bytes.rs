//! The decoder against another one, on bytes that a real server sent.

use pg_walstream::protocol::{
    LogicalReplicationMessage as Theirs, LogicalReplicationParser, TupleData,
};
use tidegate_relay::endpoint::postgres::pgoutput::{Cell, Message, Old, Relation, decode};

use crate::support::postgres::Server;
use crate::support::stream::Stream;

const DDL: &str = "create table posts (id int primary key, title text, body text); \
                   alter table posts alter body set storage external; \
                   create type mood as enum ('ok', 'meh'); \
                   create table moods (id int primary key, mood mood); \
                   alter table moods replica identity full;";

const WORK: &str = "insert into posts values (1, 'a', repeat('x', 9000)), (2, null, ''); \
    update posts set title = 'ünïcode'; update posts set id = 9 where id = 1; delete from posts; \
    insert into moods values (1, 'ok'); update moods set mood = 'meh'; update moods set id = 2; \
    delete from moods; truncate posts, moods; alter table posts add extra numeric; \
    insert into posts values (3, 'b', 'c', 1.50); \
    select pg_logical_emit_message(true, 'p', 'transactional'), \
           pg_logical_emit_message(false, 'q', 'not'); \
    begin; insert into posts select n, 'streamed' from generate_series(10, 4000) n; \
    savepoint a; insert into posts select n, 'lost' from generate_series(5000, 8000) n; \
    rollback to a; insert into posts values (9999, 'end'); commit; \
    begin; insert into posts select n, 'lost' from generate_series(20000, 24000) n; rollback;";

#[tokio::test(flavor = "multi_thread")]
async fn both_decoders_read_the_same_from_a_real_server() {
    let server = Server::start_with(&["logical_decoding_work_mem = '64kB'"]);
    let tables: &[(&str, &[&str])] = &[("posts", &["title"]), ("moods", &["id"])];
    let stream = Stream::on(server.database("bytes").await, DDL, tables).await;
    stream.start_over().await;
    for statement in WORK.split_inclusive(';') {
        stream.execute(statement).await;
    }
    let sql = format!(
        "select data from pg_logical_slot_peek_binary_changes('{}', null, null, \
         'proto_version', '2', 'streaming', 'on', 'messages', 'true', \
         'publication_names', '{}')",
        stream.names.slot, stream.names.publication
    );
    let rows = stream.client.query(&sql, &[]).await.unwrap();
    let mut parser = LogicalReplicationParser::with_protocol_version(2);
    let mut in_chunk = false;
    let mut kinds = std::collections::BTreeSet::new();
    for row in &rows {
        let bytes: &[u8] = row.get(0);
        kinds.insert(bytes[0] as char);
        let (xid, ours) = decode(bytes, in_chunk).unwrap();
        let theirs = parser.parse_wal_message(bytes).unwrap();
        if in_chunk && xid.is_some() {
            assert_eq!(xid, theirs.xid);
        }
        assert_same(&ours, &theirs.message);
        match ours {
            Message::StreamStart { .. } => in_chunk = true,
            Message::StreamStop => in_chunk = false,
            _ => {}
        }
    }
    assert_eq!(kinds.iter().collect::<String>(), "ABCDEIMRSTUYc");
}

fn assert_same(ours: &Message<'_>, theirs: &Theirs) {
    match (ours, theirs) {
        (
            Message::Begin {
                final_lsn,
                commit_time,
                xid,
            },
            Theirs::Begin {
                final_lsn: lsn,
                timestamp,
                xid: other,
            },
        ) => assert_eq!((final_lsn, commit_time, xid), (lsn, timestamp, other)),
        (
            Message::Commit(commit),
            Theirs::Commit {
                commit_lsn,
                end_lsn,
                timestamp,
                ..
            },
        )
        | (
            Message::StreamCommit { commit, .. },
            Theirs::StreamCommit {
                commit_lsn,
                end_lsn,
                timestamp,
                ..
            },
        ) => assert_eq!(
            (&commit.commit_lsn, &commit.end_lsn, &commit.time),
            (commit_lsn, end_lsn, timestamp)
        ),
        (
            Message::StreamStart { xid, first },
            Theirs::StreamStart {
                xid: other,
                first_segment,
            },
        ) => assert_eq!((xid, first), (other, first_segment)),
        (
            Message::StreamAbort { xid, subxid },
            Theirs::StreamAbort {
                xid: other,
                subtransaction_xid,
                ..
            },
        ) => assert_eq!((xid, subxid), (other, subtransaction_xid)),
        (Message::StreamStop, Theirs::StreamStop) | (Message::Type, Theirs::Type { .. }) => {}
        (ours, theirs) => assert_same_change(ours, theirs),
    }
}

fn assert_same_change(ours: &Message<'_>, theirs: &Theirs) {
    match (ours, theirs) {
        (Message::Insert { relation, new }, Theirs::Insert { relation_id, tuple }) => {
            assert_eq!(relation, relation_id);
            assert_same_row(new, tuple);
        }
        (
            Message::Update { relation, old, new },
            Theirs::Update {
                relation_id,
                old_tuple,
                new_tuple,
                ..
            },
        ) => {
            assert_eq!(relation, relation_id);
            assert_same_row(new, new_tuple);
            assert_eq!(old.is_some(), old_tuple.is_some());
            if let (Some(Old::Key(old) | Old::Whole(old)), Some(theirs)) = (old, old_tuple) {
                assert_same_row(old, theirs);
            }
        }
        (
            Message::Delete {
                old: Old::Key(old) | Old::Whole(old),
                ..
            },
            Theirs::Delete { old_tuple, .. },
        ) => assert_same_row(old, old_tuple),
        (Message::Truncate { relations }, Theirs::Truncate { relation_ids, .. }) => {
            assert_eq!(relations, relation_ids);
        }
        (
            Message::Emitted {
                transactional,
                lsn,
                prefix,
                content,
            },
            Theirs::Message {
                flags,
                lsn: other,
                prefix: name,
                content: bytes,
            },
        ) => assert_eq!(
            (u8::from(*transactional), lsn, *prefix, *content),
            (*flags, other, name.as_str(), &bytes[..])
        ),
        (Message::Relation(ours), theirs) => assert_same_relation(ours, theirs),
        (ours, theirs) => panic!("{ours:?} is not {theirs:?}"),
    }
}

fn assert_same_relation(ours: &Relation<'_>, theirs: &Theirs) {
    let Theirs::Relation {
        relation_id,
        relation_name,
        columns,
        ..
    } = theirs
    else {
        panic!("{ours:?} is not {theirs:?}");
    };
    assert_eq!((ours.oid, ours.name), (*relation_id, &**relation_name));
    assert_eq!(ours.columns.len(), columns.len());
    for (ours, theirs) in ours.columns.iter().zip(columns) {
        assert_eq!((ours.name, ours.type_oid), (&*theirs.name, theirs.type_id));
        assert_eq!(ours.type_modifier, theirs.type_modifier);
        assert_eq!(ours.is_key, theirs.is_key());
    }
}

fn assert_same_row(ours: &[Cell<'_>], theirs: &TupleData) {
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
