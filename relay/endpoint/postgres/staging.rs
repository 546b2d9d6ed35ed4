//! Big transactions, kept until they commit, and then read in parts.
//!
//! Nobody may see a change before its transaction has committed, and nobody may have to hold a big
//! transaction whole. What the server streams early, and what is too much of one that comes whole,
//! is kept here by transaction, in memory up to [`limits::MEMORY_BYTES_MAX`] for all together, then
//! on disk, sealed with a key that lives only in this process: whatever a crash leaves behind can't
//! be read. Called by `transactions`; knows nothing of what the messages mean, but the
//! (sub)transaction that each belongs to.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::super::EndpointError;

pub(super) mod limits {
    /// For all running transactions together. The server streams one when it exceeds its
    /// `logical_decoding_work_mem` (64 MB), so those that come are big: they belong on disk.
    pub(crate) const MEMORY_BYTES_MAX: usize = 16 << 20;
    /// A sealed block on disk holds about this much.
    pub(crate) const BLOCK_BYTES: usize = 256 << 10;
}

/// Sealed bytes carry their length, their number and a 16-byte tag.
const BLOCK_HEADER: usize = 4 + 8;
/// Length, subtransaction and place of a message.
const ENTRY_HEADER: usize = 4 + 4 + 8;
const SUFFIX: &str = "staged";

/// All transactions that are kept at the moment, by xid.
pub(super) struct Staging {
    dir: PathBuf,
    key: Arc<LessSafeKey>,
    /// Each block's nonce; never used twice with the key.
    blocks_sealed: u64,
    memory_bytes: usize,
    memory_bytes_max: usize,
    transactions: BTreeMap<u32, Staged>,
}

/// One running transaction.
#[derive(Default)]
struct Staged {
    memory: VecDeque<Bytes>,
    memory_bytes: usize,
    file: Option<File>,
    /// Rolled-back subtransactions.
    aborted: HashSet<u32>,
}

/// A committed transaction, to be read once in the order in which it was put. A file that is not
/// read to its end stays until the next start.
pub(super) struct Replay {
    key: Arc<LessSafeKey>,
    staged: Staged,
    path: PathBuf,
    block: Bytes,
}

/// One staged message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub message: Bytes,
    /// Where in the WAL, as [`Staging::put`] was told.
    pub at: u64,
    /// It belongs to a subtransaction that was rolled back.
    pub aborted: bool,
}

impl Staging {
    /// Stages in `dir`, which is made, and in which whatever an earlier run left is removed.
    pub(super) async fn open(
        dir: &Path,
        memory_bytes_max: usize,
    ) -> Result<Staging, EndpointError> {
        fs::create_dir_all(dir).await.map_err(disk)?;
        let mut left = fs::read_dir(dir).await.map_err(disk)?;
        while let Some(entry) = left.next_entry().await.map_err(disk)? {
            if entry
                .path()
                .extension()
                .is_some_and(|suffix| suffix == SUFFIX)
            {
                fs::remove_file(entry.path()).await.map_err(disk)?;
            }
        }
        let mut secret = Zeroizing::new([0u8; 32]);
        aws_lc_rs::rand::fill(&mut *secret).map_err(|_| sealing())?;
        let key = UnboundKey::new(&AES_256_GCM, &*secret).map_err(|_| sealing())?;
        Ok(Staging {
            dir: dir.to_owned(),
            key: Arc::new(LessSafeKey::new(key)),
            blocks_sealed: 0,
            memory_bytes: 0,
            memory_bytes_max,
            transactions: BTreeMap::new(),
        })
    }

    /// Keeps one message of transaction `xid`, made by its subtransaction `subxid` (or itself) `at`
    /// this place of the WAL.
    pub(super) async fn put(
        &mut self,
        (xid, subxid): (u32, u32),
        at: u64,
        message: &[u8],
    ) -> Result<(), EndpointError> {
        let mut entry = BytesMut::with_capacity(ENTRY_HEADER + message.len());
        entry.put_u32(message.len() as u32);
        entry.put_u32(subxid);
        entry.put_u64(at);
        entry.put_slice(message);
        let staged = self.transactions.entry(xid).or_default();
        staged.memory_bytes += entry.len();
        self.memory_bytes += entry.len();
        staged.memory.push_back(entry.freeze());
        if self.memory_bytes > self.memory_bytes_max {
            self.spill_biggest().await?;
        }
        Ok(())
    }

    /// Forgets what subtransaction `subxid` did; everything, when it is the transaction itself.
    pub(super) async fn abort(&mut self, xid: u32, subxid: u32) -> Result<(), EndpointError> {
        if xid != subxid {
            if let Some(staged) = self.transactions.get_mut(&xid) {
                staged.aborted.insert(subxid);
            }
            return Ok(());
        }
        let Some(staged) = self.transactions.remove(&xid) else {
            return Ok(());
        };
        self.memory_bytes -= staged.memory_bytes;
        if staged.file.is_some() {
            fs::remove_file(self.path(xid)).await.map_err(disk)?;
        }
        Ok(())
    }

    /// Takes a committed transaction out, to be read.
    pub(super) async fn replay(&mut self, xid: u32) -> Result<Replay, EndpointError> {
        let mut staged = self.transactions.remove(&xid).unwrap_or_default();
        self.memory_bytes -= staged.memory_bytes;
        let path = self.path(xid);
        if let Some(mut written) = staged.file.take() {
            written.flush().await.map_err(disk)?;
            staged.file = Some(File::open(&path).await.map_err(disk)?);
        }
        Ok(Replay {
            path,
            key: self.key.clone(),
            staged,
            block: Bytes::new(),
        })
    }

    async fn spill_biggest(&mut self) -> Result<(), EndpointError> {
        let biggest = self
            .transactions
            .iter()
            .max_by_key(|(_, staged)| staged.memory_bytes);
        let Some((&xid, _)) = biggest else {
            return Ok(());
        };
        let path = self.path(xid);
        let Some(staged) = self.transactions.get_mut(&xid) else {
            return Ok(());
        };
        let mut file = match staged.file.take() {
            Some(file) => file,
            None => create(&path).await?,
        };
        self.memory_bytes -= staged.memory_bytes;
        staged.memory_bytes = 0;
        let mut block = BytesMut::new();
        while let Some(entry) = staged.memory.pop_front() {
            block.put_slice(&entry);
            if block.len() >= limits::BLOCK_BYTES || staged.memory.is_empty() {
                self.blocks_sealed += 1;
                let sealed = seal(&self.key, self.blocks_sealed, &mut block)?;
                file.write_all(&sealed).await.map_err(disk)?;
                block.clear();
            }
        }
        staged.file = Some(file);
        Ok(())
    }

    fn path(&self, xid: u32) -> PathBuf {
        self.dir.join(format!("{xid}.{SUFFIX}"))
    }
}

impl Replay {
    /// The next message; `None` after the last, when the transaction's file is gone.
    pub(super) async fn next(&mut self) -> Result<Option<Entry>, EndpointError> {
        if self.block.is_empty()
            && let Some(block) = self.next_block().await?
        {
            self.block = block;
        }
        if self.block.is_empty() {
            return Ok(None);
        }
        let broken = || EndpointError::bug("staging-broken", "a staged transaction is cut short");
        let length = self.block.try_get_u32().map_err(|_| broken())? as usize;
        let subxid = self.block.try_get_u32().map_err(|_| broken())?;
        let at = self.block.try_get_u64().map_err(|_| broken())?;
        if self.block.len() < length {
            return Err(broken());
        }
        Ok(Some(Entry {
            message: self.block.split_to(length),
            at,
            aborted: self.staged.aborted.contains(&subxid),
        }))
    }

    async fn next_block(&mut self) -> Result<Option<Bytes>, EndpointError> {
        if let Some(file) = &mut self.staged.file {
            let mut header = [0u8; BLOCK_HEADER];
            if file.read(&mut header[..1]).await.map_err(disk)? == 1 {
                file.read_exact(&mut header[1..]).await.map_err(disk)?;
                let mut header = &header[..];
                let length = header.get_u32() as usize;
                let number = header.get_u64();
                let mut sealed = vec![0u8; length];
                file.read_exact(&mut sealed).await.map_err(disk)?;
                return unseal(&self.key, number, sealed).map(Some);
            }
            self.staged.file = None;
            fs::remove_file(&self.path).await.map_err(disk)?;
        }
        Ok(self.staged.memory.pop_front())
    }
}

async fn create(path: &Path) -> Result<File, EndpointError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(path).await.map_err(disk)
}

fn seal(key: &LessSafeKey, number: u64, block: &mut BytesMut) -> Result<BytesMut, EndpointError> {
    let tag = key
        .seal_in_place_separate_tag(nonce(number), Aad::empty(), block)
        .map_err(|_| sealing())?;
    let mut sealed = BytesMut::with_capacity(BLOCK_HEADER + block.len() + tag.as_ref().len());
    sealed.put_u32((block.len() + tag.as_ref().len()) as u32);
    sealed.put_u64(number);
    sealed.put_slice(block);
    sealed.put_slice(tag.as_ref());
    Ok(sealed)
}

fn unseal(key: &LessSafeKey, number: u64, mut sealed: Vec<u8>) -> Result<Bytes, EndpointError> {
    let open = key
        .open_in_place(nonce(number), Aad::empty(), &mut sealed)
        .map_err(|_| sealing())?
        .len();
    sealed.truncate(open);
    Ok(sealed.into())
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0u8; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn disk(error: std::io::Error) -> EndpointError {
    EndpointError::operator(
        "staging-disk",
        "a big transaction can't be kept on the relay's disk: see that its data directory is \
         writable and has room",
    )
    .caused_by(error)
}

fn sealing() -> EndpointError {
    EndpointError::bug("staging-broken", "a staged block can't be sealed or opened")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(staging: &mut Staging, xid: u32) -> Vec<(String, u64, bool)> {
        let mut replay = staging.replay(xid).await.unwrap();
        let mut out = Vec::new();
        while let Some(entry) = replay.next().await.unwrap() {
            let text = String::from_utf8(entry.message.to_vec()).unwrap();
            out.push((text, entry.at, entry.aborted));
        }
        out
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }

    #[tokio::test]
    async fn interleaved_transactions_come_back_whole_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for memory in [1 << 20, 100, 0] {
            let mut staging = Staging::open(dir.path(), memory).await.unwrap();
            for number in 0..50 {
                for xid in [7, 8] {
                    let message = format!("{xid}-{number}");
                    staging
                        .put((xid, xid), number, message.as_bytes())
                        .await
                        .unwrap();
                }
            }
            for xid in [8, 7] {
                let expected: Vec<_> = (0..50).map(|n| (format!("{xid}-{n}"), n, false)).collect();
                assert_eq!(read(&mut staging, xid).await, expected, "{memory}");
            }
            assert_eq!(staging.memory_bytes, 0);
            assert!(files(dir.path()).is_empty());
        }
    }

    #[tokio::test]
    async fn rolled_back_subtransactions_are_marked_and_rolled_back_ones_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut staging = Staging::open(dir.path(), 10).await.unwrap();
        for (subxid, message) in [(1, "a"), (2, "b"), (3, "c"), (1, "d")] {
            staging
                .put((1, subxid), 0, message.as_bytes())
                .await
                .unwrap();
        }
        staging.put((9, 9), 0, b"x").await.unwrap();
        staging.abort(1, 2).await.unwrap();
        staging.abort(9, 9).await.unwrap();
        let expected = [("a", false), ("b", true), ("c", false), ("d", false)];
        assert_eq!(
            read(&mut staging, 1).await,
            expected.map(|(text, aborted)| (text.to_owned(), 0, aborted))
        );
        assert_eq!(read(&mut staging, 9).await, []);
        assert!(files(dir.path()).is_empty());
    }

    #[tokio::test]
    async fn disk_holds_no_readable_value_and_leftovers_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut staging = Staging::open(dir.path(), 0).await.unwrap();
        staging
            .put((1, 1), 0, b"a very private value")
            .await
            .unwrap();
        let mut replay = staging.replay(1).await.unwrap();
        let stored = std::fs::read(&replay.path).unwrap();
        assert!(stored.len() > 20);
        assert!(!stored.windows(7).any(|window| window == b"private"));
        assert!(replay.next().await.unwrap().is_some());
        drop(staging);
        std::fs::write(dir.path().join("5.staged"), b"left by a crash").unwrap();
        Staging::open(dir.path(), 0).await.unwrap();
        assert!(files(dir.path()).is_empty());
    }

    #[tokio::test]
    async fn a_damaged_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut staging = Staging::open(dir.path(), 0).await.unwrap();
        staging.put((1, 1), 0, b"value").await.unwrap();
        let mut replay = staging.replay(1).await.unwrap();
        let mut stored = std::fs::read(&replay.path).unwrap();
        *stored.last_mut().unwrap() ^= 1;
        std::fs::write(&replay.path, stored).unwrap();
        assert!(replay.next().await.is_err());
    }
}
