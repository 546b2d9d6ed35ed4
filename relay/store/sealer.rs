//! Seals secrets and record keys before they reach the disk, and hashes keys for look-up.
//!
//! A box is `key id (1) | nonce (12) | ciphertext | tag (16)`, AES-256-GCM, with the column's label
//! as associated data, so that a box moved to another column does not open. Each label has its own
//! key, derived from the master key: random 96-bit nonces are then safe for 2^32 boxes per column
//! (NIST SP 800-38D, 8.3). Rotation will add key ids; today there is one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::StoreError;

/// Name of the key file in the data directory.
pub(super) const MASTER_KEY_FILE: &str = "master.key";
/// Variable that replaces the key file: 32 bytes in base64.
pub(super) const MASTER_KEY_VARIABLE: &str = "TIDEGATE_MASTER_KEY";

/// Set by systemd's `LoadCredential=`.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

const KEY_ID: u8 = 1;
const TAG_LEN: usize = 16;
const NONCES_AT_ONCE: usize = 64;
const OVERHEAD: usize = 1 + NONCE_LEN + TAG_LEN;

type KeyBytes = Zeroizing<[u8; 32]>;

/// Where the master key comes from.
pub enum KeySource {
    /// A file in the data directory, made on the first start (mode 0600).
    File(PathBuf),
    /// 32 bytes in base64, for example from `TIDEGATE_MASTER_KEY`.
    Given(Zeroizing<String>),
}

impl KeySource {
    /// The variable when it is set, else systemd's credential `master.key` when there is one, else the
    /// file in `data_dir`.
    pub fn from_environment(data_dir: &Path) -> Self {
        Self::parse(data_dir, &|name| std::env::var(name).ok())
    }

    fn parse(data_dir: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        if let Some(text) = environment(MASTER_KEY_VARIABLE)
            && !text.trim().is_empty()
        {
            return Self::Given(Zeroizing::new(text));
        }
        let credential = environment(CREDENTIALS_VARIABLE)
            .map(|directory| Path::new(&directory).join(MASTER_KEY_FILE))
            .filter(|file| file.exists());
        Self::File(credential.unwrap_or_else(|| data_dir.join(MASTER_KEY_FILE)))
    }

    /// The key as text. A missing key file is made when `may_create`, that is when nothing was sealed
    /// with it yet; else it is an error that says what is lost.
    pub(super) fn text(&self, may_create: bool) -> Result<Zeroizing<String>, StoreError> {
        let path = match self {
            Self::Given(text) => return Ok(text.clone()),
            Self::File(path) => path,
        };
        match fs::read_to_string(path) {
            Ok(text) => {
                warn_when_readable_by_others(path);
                Ok(Zeroizing::new(text))
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::file("read", path)(error))
            }
            Err(_) if may_create => create_key_file(path),
            Err(_) => Err(StoreError::MasterKeyMissing(path.clone())),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Given(_) => MASTER_KEY_VARIABLE.to_owned(),
        }
    }
}

/// Seals, opens and hashes with keys derived from the master key. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    inner: Arc<Inner>,
}

struct Inner {
    sealing_root: KeyBytes,
    hashing_root: KeyBytes,
    keys: RwLock<HashMap<&'static str, Arc<LessSafeKey>>>,
}

impl Sealer {
    /// Derives everything from a master key.
    pub fn from_master_key(master: &[u8; 32]) -> Self {
        let derive = |purpose: &str| {
            let label = format!("tidegate relay store 2026-11 {purpose}");
            Zeroizing::new(blake3::derive_key(&label, master))
        };
        Self {
            inner: Arc::new(Inner {
                sealing_root: derive("sealing"),
                hashing_root: derive("hashing"),
                keys: RwLock::default(),
            }),
        }
    }

    /// Loads the master key; `may_create` as in [`KeySource::text`].
    pub(super) fn load(source: &KeySource, may_create: bool) -> Result<Self, StoreError> {
        let text = source.text(may_create)?;
        let malformed = || StoreError::MasterKeyMalformed(source.describe());
        let bytes = STANDARD
            .decode(text.trim())
            .map(Zeroizing::new)
            .map_err(|_| malformed())?;
        let key: KeyBytes = Zeroizing::new(bytes.as_slice().try_into().map_err(|_| malformed())?);
        Ok(Self::from_master_key(&key))
    }

    /// Compares this key with the one that the database remembers.
    pub(super) fn check(&self, source: &KeySource, known: &[u8]) -> Result<(), StoreError> {
        if self.check_value() == known {
            Ok(())
        } else {
            Err(StoreError::MasterKeyWrong(source.describe()))
        }
    }

    /// Recognises the master key without telling anything about it.
    pub(super) fn check_value(&self) -> [u8; 16] {
        self.keyed_hash("master key check", b"")
    }

    /// Seals `plain` for the column `label` (`"table.column"`).
    pub fn seal(&self, label: &'static str, plain: &[u8]) -> Vec<u8> {
        let nonce = next_nonce();
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        sealed.push(KEY_ID);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = self
            .key(label)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(label),
                &mut sealed[1 + NONCE_LEN..],
            )
            .expect("AES-256-GCM seals any value that fits in memory");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens a box that [`Sealer::seal`] made for the same label.
    pub fn open(
        &self,
        label: &'static str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let unsealable = || StoreError::Unsealable(label);
        let (key_id, rest) = sealed.split_first().ok_or_else(unsealable)?;
        if *key_id != KEY_ID || rest.len() < NONCE_LEN + TAG_LEN {
            return Err(unsealable());
        }
        let (nonce, body) = rest.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| unsealable())?;
        let mut plain = Zeroizing::new(body.to_vec());
        self.key(label)
            .open_in_place(nonce, Aad::from(label), &mut plain)
            .map_err(|_| unsealable())?;
        plain.truncate(body.len() - TAG_LEN);
        Ok(plain)
    }

    /// A 128-bit keyed hash for look-ups. Different labels give unrelated hashes. A collision in a
    /// table of a billion entries has a chance below 2^-68.
    pub fn keyed_hash(&self, label: &str, bytes: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.inner.hashing_root);
        hasher.update(&(label.len() as u64).to_le_bytes());
        hasher.update(label.as_bytes());
        hasher.update(bytes);
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        short
    }

    fn key(&self, label: &'static str) -> Arc<LessSafeKey> {
        let known = self.inner.keys.read().unwrap_or_else(|e| e.into_inner());
        if let Some(key) = known.get(label) {
            return Arc::clone(key);
        }
        drop(known);
        let bytes = blake3::keyed_hash(&self.inner.sealing_root, label.as_bytes());
        let unbound = UnboundKey::new(&AES_256_GCM, bytes.as_bytes())
            .expect("a 32-byte key fits AES-256-GCM");
        let key = Arc::new(LessSafeKey::new(unbound));
        let mut keys = self.inner.keys.write().unwrap_or_else(|e| e.into_inner());
        Arc::clone(keys.entry(label).or_insert(key))
    }
}

/// A random nonce. Drawn from the generator many at a time: one call for each would cost more than
/// sealing a record key (measured: 0.4 of 0.8 µs).
fn next_nonce() -> [u8; NONCE_LEN] {
    thread_local! {
        /// Random bytes, and how many of them are left.
        static DRAWN: RefCell<([u8; NONCES_AT_ONCE * NONCE_LEN], usize)> =
            const { RefCell::new(([0; NONCES_AT_ONCE * NONCE_LEN], 0)) };
    }
    DRAWN.with_borrow_mut(|(bytes, left)| {
        if *left == 0 {
            fill_random(bytes);
            *left = bytes.len();
        }
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&bytes[*left - NONCE_LEN..*left]);
        *left -= NONCE_LEN;
        nonce
    })
}

/// Fills `bytes` from the operating system's generator, by way of the one crypto provider.
pub(super) fn fill_random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the system's random generator works after boot");
}

/// Writes a secret file completely or not at all, readable by its owner only.
pub(super) fn write_secret_file(path: &Path, text: &str) -> Result<(), StoreError> {
    let temporary = path.with_extension("tmp");
    // A leftover of a crash between create and rename was never used by anybody.
    let _ = fs::remove_file(&temporary);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(StoreError::file("create", &temporary))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(StoreError::file("write", &temporary))?;
    fs::rename(&temporary, path).map_err(StoreError::file("rename", path))?;
    if let Some(dir) = path.parent() {
        fs::File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(StoreError::file("flush", dir))?;
    }
    Ok(())
}

fn create_key_file(path: &Path) -> Result<Zeroizing<String>, StoreError> {
    let mut key: KeyBytes = Zeroizing::new([0; 32]);
    fill_random(key.as_mut());
    let text = Zeroizing::new(STANDARD.encode(key.as_slice()) + "\n");
    write_secret_file(path, &text)?;
    tracing::info!(path = %path.display(), "Made the master key. Back it up apart from the data.");
    Ok(text)
}

fn warn_when_readable_by_others(path: &Path) {
    let mode = fs::metadata(path).map_or(0, |m| m.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "The master key is readable by others: chmod 600 it.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        Sealer::from_master_key(&[7; 32])
    }

    #[test]
    fn a_box_opens_for_its_own_label_only() {
        let sealed = sealer().seal("links.left_key", b"alice@example.com");
        assert_eq!(
            sealer().open("links.left_key", &sealed).unwrap().as_slice(),
            b"alice@example.com"
        );
        assert!(sealer().open("links.right_key", &sealed).is_err());
        let other = Sealer::from_master_key(&[8; 32]);
        assert!(other.open("links.left_key", &sealed).is_err());
    }

    #[test]
    fn the_key_comes_from_the_variable_then_the_credential_then_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = dir.path().join("credentials");
        let source = |variables: &[(&str, &str)]| {
            let environment = |name: &str| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            KeySource::parse(dir.path(), &environment).describe()
        };
        let credential = (CREDENTIALS_VARIABLE, credentials.to_str().unwrap());
        let own = dir.path().join(MASTER_KEY_FILE).display().to_string();
        assert_eq!(source(&[]), own);
        assert_eq!(source(&[credential]), own, "credentials without a key");
        fs::create_dir(&credentials).unwrap();
        fs::write(credentials.join(MASTER_KEY_FILE), "").unwrap();
        let given = credentials.join(MASTER_KEY_FILE).display().to_string();
        assert_eq!(source(&[credential]), given);
        let variable = (MASTER_KEY_VARIABLE, "AAAA");
        assert_eq!(source(&[credential, variable]), MASTER_KEY_VARIABLE);
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let sealed = sealer().seal("a.b", b"value");
        for index in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[index] ^= 1;
            assert!(sealer().open("a.b", &bad).is_err(), "byte {index}");
            assert!(
                sealer().open("a.b", &sealed[..index]).is_err(),
                "length {index}"
            );
        }
    }

    #[test]
    fn the_same_value_seals_differently_and_hashes_equally() {
        let s = sealer();
        assert_ne!(s.seal("a.b", b"x"), s.seal("a.b", b"x"));
        assert_eq!(s.keyed_hash("a", b"x"), s.keyed_hash("a", b"x"));
        assert_ne!(s.keyed_hash("a", b"x"), s.keyed_hash("b", b"x"));
        assert_ne!(s.keyed_hash("a", b"bx"), s.keyed_hash("ab", b"x"));
    }
}
