//! Decoder for what the `pgoutput` plugin sends, protocol versions 1 and 2. Borrows from its input.
//!
//! Never panics, whatever the bytes are; every length is checked against what is there, and bytes
//! left over are refused. It keeps no state: whether a message carries an xid (inside a streamed
//! chunk) is told by the caller. Source: PostgreSQL manual, "Logical Replication Message Formats".

use super::frame::Malformed;

/// One decoded message. LSNs are byte positions in the WAL, times microseconds since 2000-01-01
/// UTC, `relation` the oid that a [`Message::Relation`] gave before.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    Begin {
        /// Start of the commit record.
        final_lsn: u64,
        commit_time: i64,
        xid: u32,
    },
    Commit(Commit),
    Origin {
        name: &'a str,
    },
    Relation(Relation<'a>),
    /// A type that is not built in; its name is not needed.
    Type,
    Insert {
        relation: u32,
        new: Vec<Cell<'a>>,
    },
    Update {
        relation: u32,
        old: Option<Old<'a>>,
        new: Vec<Cell<'a>>,
    },
    Delete {
        relation: u32,
        old: Old<'a>,
    },
    Truncate {
        relations: Vec<u32>,
    },
    /// From `pg_logical_emit_message`.
    Emitted {
        transactional: bool,
        /// Start of the message's own WAL record.
        lsn: u64,
        prefix: &'a str,
        content: &'a [u8],
    },
    /// A chunk of a transaction that is still running begins.
    StreamStart {
        xid: u32,
        first: bool,
    },
    StreamStop,
    StreamCommit {
        xid: u32,
        commit: Commit,
    },
    /// `subxid` was rolled back; the whole transaction when it equals `xid`.
    StreamAbort {
        xid: u32,
        subxid: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Start of the commit record.
    pub commit_lsn: u64,
    /// End of the commit record: the position after the transaction.
    pub end_lsn: u64,
    pub time: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Relation<'a> {
    pub oid: u32,
    /// Empty for `pg_catalog`.
    pub schema: &'a str,
    pub name: &'a str,
    pub identity: Identity,
    pub columns: Vec<Column<'a>>,
}

/// `replica identity` of a table: what an update or delete tells about the old row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The primary key.
    Default,
    Nothing,
    /// The whole old row.
    Full,
    Index,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Column<'a> {
    /// Part of the replica identity.
    pub is_key: bool,
    pub name: &'a str,
    pub type_oid: u32,
    pub type_modifier: i32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    Null,
    /// An out-of-line value that the statement did not change: it was not read.
    Unchanged,
    Text(&'a [u8]),
    Binary(&'a [u8]),
}

/// The old row of an update or delete.
#[derive(Clone, Debug, PartialEq)]
pub enum Old<'a> {
    /// Only the replica identity's columns are filled; the others read null.
    Key(Vec<Cell<'a>>),
    /// Replica identity `full`.
    Whole(Vec<Cell<'a>>),
}

/// Decodes one message. `streamed` says whether it came between StreamStart and StreamStop; then
/// the answer's xid is that of the (sub)transaction that made it, where the message carries one.
pub fn decode(
    bytes: &[u8],
    streamed: bool,
) -> Result<(Option<u32>, Message<'_>), MalformedMessage> {
    let mut reader = Reader { rest: bytes };
    let tag = reader.u8()?;
    let carries_xid = matches!(tag, b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' | b'M');
    let xid = if streamed && carries_xid {
        Some(reader.u32()?)
    } else {
        None
    };
    let message = reader.message(tag)?;
    if !reader.rest.is_empty() {
        return Err(MalformedMessage(Malformed {
            what: "a change with bytes left over",
        }));
    }
    Ok((xid, message))
}

/// The bytes are no pgoutput message.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct MalformedMessage(Malformed);

impl From<MalformedMessage> for super::super::EndpointError {
    fn from(error: MalformedMessage) -> Self {
        error.0.into()
    }
}

const TRUNCATED: MalformedMessage = MalformedMessage(Malformed {
    what: "a change cut short",
});

fn bad(what: &'static str) -> MalformedMessage {
    MalformedMessage(Malformed { what })
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn message(&mut self, tag: u8) -> Result<Message<'a>, MalformedMessage> {
        Ok(match tag {
            b'B' => Message::Begin {
                final_lsn: self.u64()?,
                commit_time: self.i64()?,
                xid: self.u32()?,
            },
            b'C' => Message::Commit(self.commit()?),
            b'O' => {
                self.u64()?;
                Message::Origin { name: self.text()? }
            }
            b'R' => Message::Relation(self.relation()?),
            b'Y' => {
                self.u32()?;
                self.text()?;
                self.text()?;
                Message::Type
            }
            b'I' => self.insert()?,
            b'U' => self.update()?,
            b'D' => self.delete()?,
            b'T' => self.truncate()?,
            b'M' => self.emitted()?,
            b'S' => Message::StreamStart {
                xid: self.u32()?,
                first: self.u8()? == 1,
            },
            b'E' => Message::StreamStop,
            b'c' => Message::StreamCommit {
                xid: self.u32()?,
                commit: self.commit()?,
            },
            b'A' => Message::StreamAbort {
                xid: self.u32()?,
                subxid: self.u32()?,
            },
            _ => return Err(bad("a change of an unknown kind")),
        })
    }

    fn commit(&mut self) -> Result<Commit, MalformedMessage> {
        self.u8()?;
        Ok(Commit {
            commit_lsn: self.u64()?,
            end_lsn: self.u64()?,
            time: self.i64()?,
        })
    }

    fn relation(&mut self) -> Result<Relation<'a>, MalformedMessage> {
        let oid = self.u32()?;
        let schema = self.text()?;
        let name = self.text()?;
        let identity = match self.u8()? {
            b'd' => Identity::Default,
            b'n' => Identity::Nothing,
            b'f' => Identity::Full,
            b'i' => Identity::Index,
            _ => return Err(bad("a relation with an unknown replica identity")),
        };
        let count = self.u16()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(Column {
                is_key: self.u8()? & 1 != 0,
                name: self.text()?,
                type_oid: self.u32()?,
                type_modifier: self.u32()? as i32,
            });
        }
        Ok(Relation {
            oid,
            schema,
            name,
            identity,
            columns,
        })
    }

    fn insert(&mut self) -> Result<Message<'a>, MalformedMessage> {
        let relation = self.u32()?;
        self.expect(b'N')?;
        let new = self.tuple()?;
        Ok(Message::Insert { relation, new })
    }

    fn update(&mut self) -> Result<Message<'a>, MalformedMessage> {
        let relation = self.u32()?;
        let old = match self.u8()? {
            b'K' => Some(Old::Key(self.tuple()?)),
            b'O' => Some(Old::Whole(self.tuple()?)),
            b'N' => None,
            _ => return Err(bad("an update without rows")),
        };
        if old.is_some() {
            self.expect(b'N')?;
        }
        let new = self.tuple()?;
        Ok(Message::Update { relation, old, new })
    }

    fn delete(&mut self) -> Result<Message<'a>, MalformedMessage> {
        let relation = self.u32()?;
        let old = match self.u8()? {
            b'K' => Old::Key(self.tuple()?),
            b'O' => Old::Whole(self.tuple()?),
            _ => return Err(bad("a deletion without a row")),
        };
        Ok(Message::Delete { relation, old })
    }

    fn truncate(&mut self) -> Result<Message<'a>, MalformedMessage> {
        let count = self.u32()?;
        self.u8()?;
        let mut relations = Vec::new();
        for _ in 0..count {
            relations.push(self.u32()?);
        }
        Ok(Message::Truncate { relations })
    }

    fn emitted(&mut self) -> Result<Message<'a>, MalformedMessage> {
        let transactional = self.u8()? & 1 != 0;
        let lsn = self.u64()?;
        let prefix = self.text()?;
        let length = self.u32()? as usize;
        let content = self.take(length)?;
        Ok(Message::Emitted {
            transactional,
            lsn,
            prefix,
            content,
        })
    }

    fn tuple(&mut self) -> Result<Vec<Cell<'a>>, MalformedMessage> {
        let count = usize::from(self.u16()?);
        // Each cell takes a byte at least: a count beyond that is not worth reserving for.
        let mut cells = Vec::with_capacity(count.min(self.rest.len()));
        for _ in 0..count {
            cells.push(match self.u8()? {
                b'n' => Cell::Null,
                b'u' => Cell::Unchanged,
                b't' => Cell::Text(self.counted()?),
                b'b' => Cell::Binary(self.counted()?),
                _ => return Err(bad("a value of an unknown kind")),
            });
        }
        Ok(cells)
    }

    fn counted(&mut self) -> Result<&'a [u8], MalformedMessage> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    /// A zero-terminated name.
    fn text(&mut self) -> Result<&'a str, MalformedMessage> {
        let end = self
            .rest
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(TRUNCATED)?;
        let bytes = self.take(end)?;
        self.u8()?;
        std::str::from_utf8(bytes).map_err(|_| bad("a name that is not UTF-8"))
    }

    fn expect(&mut self, tag: u8) -> Result<(), MalformedMessage> {
        if self.u8()? == tag {
            Ok(())
        } else {
            Err(bad("a change without its new row"))
        }
    }

    fn u8(&mut self) -> Result<u8, MalformedMessage> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, MalformedMessage> {
        self.chunk().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, MalformedMessage> {
        self.chunk().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, MalformedMessage> {
        self.chunk().map(u64::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, MalformedMessage> {
        self.chunk().map(i64::from_be_bytes)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], MalformedMessage> {
        let (chunk, rest) = self.rest.split_first_chunk::<N>().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(*chunk)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], MalformedMessage> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
#[path = "pgoutput_tests.rs"]
mod tests;
