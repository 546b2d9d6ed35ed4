//! The agent's identity on disk: key, certificate and what it was paired with, in one file each.
//!
//! `<state_dir>/identity/` (mode 0700) holds `current.json`, after a renewal `next.json`, and while
//! a pairing answer may still be lost `pending.json`; all mode 0600. Everything that belongs
//! together is in one file, so that write, fsync, rename and fsync replace it whole or not at all.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use tidegate_shared::Class;
use tidegate_shared::identity::{AgentKey, CertificateFacts, IdentityError, pem_of, tls, trust};
use tidegate_shared::pairing::RelayAddr;
use tidegate_shared::wire::Trust;
use zeroize::{Zeroize, Zeroizing};

use crate::durable::{give_to_owner, replace_file, sync_directory};

/// An identity file holds a few certificates; more is damage, bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Where identities are kept.
#[derive(Debug, Clone)]
pub struct Keystore {
    directory: PathBuf,
}

/// Who the agent is and whom it trusts.
pub struct Identity {
    pub agent_name: String,
    pub workspace: String,
    /// At least one, tried in order.
    pub relays: Vec<RelayAddr>,
    pub key: AgentKey,
    /// The agent's certificate first, then its authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The authorities that relay certificates are signed by.
    pub relay_authorities: Vec<CertificateDer<'static>>,
    /// Which list of authorities this is. Zero is the one from pairing.
    pub trust_generation: u64,
}

/// Why an identity can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    #[error("this agent is not paired: run `tidegate-agent pair` with a token of the relay")]
    NotPaired,
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} can be read by others: run chmod 0600 on it", path.display())]
    OpenModes { path: PathBuf },
    #[error("{} is damaged ({what}): restore it from a backup, or pair again", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl KeystoreError {
    pub fn class(&self) -> Class {
        match self {
            KeystoreError::NotPaired => Class::Operator("pair this agent with a new token"),
            KeystoreError::Io { .. } => {
                Class::Operator("give the agent's user its state_dir: chown it and set mode 0700")
            }
            KeystoreError::OpenModes { .. } => Class::Operator("run chmod 0600 on the file"),
            KeystoreError::Damaged { .. } => Class::Operator("restore the file, or pair again"),
            KeystoreError::Identity(error) => error.class(),
        }
    }
}

impl Keystore {
    pub fn new(state_dir: &Path) -> Keystore {
        Keystore {
            directory: state_dir.join("identity"),
        }
    }

    /// The identity in use.
    pub fn current(&self) -> Result<Identity, KeystoreError> {
        self.load("current.json")?.ok_or(KeystoreError::NotPaired)
    }

    /// The renewed identity that hasn't connected yet, if there is one.
    pub fn next(&self) -> Result<Option<Identity>, KeystoreError> {
        self.load("next.json")
    }

    /// Makes an identity the one in use, durably. Forgets what was pending or renewed before.
    pub fn save_current(&self, identity: &Identity) -> Result<(), KeystoreError> {
        self.save("current.json", &Stored::of(identity))?;
        self.remove("next.json")?;
        self.remove("pending.json")
    }

    /// Keeps a renewed identity beside the old one, which stays until the new one has connected.
    pub fn save_next(&self, identity: &Identity) -> Result<(), KeystoreError> {
        self.save("next.json", &Stored::of(identity))
    }

    /// The renewed identity has connected: it replaces the old one in one step.
    pub fn promote_next(&self) -> Result<(), KeystoreError> {
        let (from, to) = (self.path("next.json"), self.path("current.json"));
        std::fs::rename(&from, &to)
            .and_then(|()| sync_directory(&self.directory))
            .map_err(|source| KeystoreError::Io { path: from, source })
    }

    /// Keeps which authorities to trust from now on, in the identity in use and in a renewed one. What
    /// is new of them; nothing if the list is not a later one.
    pub fn take_trust(&self, trust: &Trust) -> Result<Option<Identity>, KeystoreError> {
        let mut current = self.current()?;
        if !current.take_trust(trust)? {
            return Ok(None);
        }
        // The renewed one first: should it fail, the list is taken again.
        if let Some(mut next) = self.next()? {
            next.take_trust(trust)?;
            self.save_next(&next)?;
        }
        self.save("current.json", &Stored::of(&current))?;
        Ok(Some(current))
    }

    /// The renewed identity was refused.
    pub fn discard_next(&self) -> Result<(), KeystoreError> {
        self.remove("next.json")
    }

    /// The key that this token is being redeemed for: the one of an earlier attempt whose answer
    /// got lost, else a new one. It is on disk before it is used, since the relay binds the token
    /// to it.
    pub fn pending_key(&self, token_id: &[u8; 16]) -> Result<AgentKey, KeystoreError> {
        let token_id = hex(token_id);
        let path = self.path("pending.json");
        if let Some(bytes) = self.read("pending.json")? {
            let pending: Pending =
                serde_json::from_slice(&bytes).map_err(|error| KeystoreError::Damaged {
                    path: path.clone(),
                    what: error.to_string(),
                })?;
            if pending.token_id == token_id {
                return Ok(AgentKey::from_pem(&pending.key_pem)?);
            }
        }
        let key = AgentKey::generate()?;
        let pending = Pending {
            token_id,
            key_pem: key.to_pem().to_string(),
        };
        self.save("pending.json", &pending)?;
        Ok(key)
    }

    fn load(&self, name: &str) -> Result<Option<Identity>, KeystoreError> {
        let Some(bytes) = self.read(name)? else {
            return Ok(None);
        };
        let damaged = |what: String| KeystoreError::Damaged {
            path: self.path(name),
            what,
        };
        let stored: Stored =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        stored.into_identity().map(Some).map_err(damaged)
    }

    /// The bytes of a file, `None` when it doesn't exist.
    fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        let path = self.path(name);
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeystoreError::Io { path, source }),
        };
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(KeystoreError::OpenModes { path });
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(KeystoreError::Damaged {
                path,
                what: "larger than 256 KiB".into(),
            });
        }
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(source) => Err(KeystoreError::Io { path, source }),
        }
    }

    fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<(), KeystoreError> {
        let path = self.path(name);
        let io = |source| KeystoreError::Io {
            path: path.clone(),
            source,
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(io)?;
        // Root pairs, and the service's user must be able to enter.
        let state_dir = self.directory.parent().unwrap_or(Path::new("."));
        let directory = File::open(&self.directory).map_err(io)?;
        give_to_owner(&directory, state_dir).map_err(io)?;
        let bytes =
            Zeroizing::new(serde_json::to_vec_pretty(value).map_err(|error| io(error.into()))?);
        replace_file(&path, &bytes, 0o600).map_err(io)
    }

    fn remove(&self, name: &str) -> Result<(), KeystoreError> {
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(KeystoreError::Io { path, source }),
        }
        sync_directory(&self.directory).map_err(|source| KeystoreError::Io { path, source })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Identity {
    /// Dates and key of the agent's certificate.
    pub fn facts(&self) -> Result<CertificateFacts, IdentityError> {
        let leaf = self
            .chain
            .first()
            .ok_or(IdentityError::Pem("a certificate"))?;
        CertificateFacts::read(leaf)
    }

    /// TLS for a session with the relay.
    pub fn client_config(&self) -> Result<rustls::ClientConfig, IdentityError> {
        tls::agent_client(
            &self.relay_authorities,
            self.chain.clone(),
            self.key.to_der(),
        )
    }

    /// TLS for the relay's pairing conversation, trusting the authorities known from pairing.
    pub fn pairing_config(&self) -> Result<rustls::ClientConfig, IdentityError> {
        let pins = self
            .relay_authorities
            .iter()
            .map(tidegate_shared::identity::spki_pin);
        tls::pairing_client(&pins.collect::<Result<Vec<_>, _>>()?)
    }

    /// The same identity with a new certificate, checked to be for this key.
    pub fn with_chain(&self, chain_der: Vec<Vec<u8>>) -> Result<Identity, IdentityError> {
        let chain: Vec<_> = chain_der.into_iter().map(CertificateDer::from).collect();
        check_chain(&self.key, &chain)?;
        Ok(Identity {
            agent_name: self.agent_name.clone(),
            workspace: self.workspace.clone(),
            relays: self.relays.clone(),
            key: AgentKey::from_pem(&self.key.to_pem())?,
            chain,
            relay_authorities: self.relay_authorities.clone(),
            trust_generation: self.trust_generation,
        })
    }

    /// Trusts the authorities of a list instead, if one that is trusted so far vouches for it. False if
    /// it is not a later list.
    pub fn take_trust(&mut self, trust: &Trust) -> Result<bool, IdentityError> {
        if trust.generation <= self.trust_generation {
            return Ok(false);
        }
        let authorities: Vec<_> = trust
            .authorities_der
            .iter()
            .map(|der| CertificateDer::from(der.clone()))
            .collect();
        trust::check(
            &self.relay_authorities,
            trust.generation,
            &authorities,
            &trust.signatures,
        )?;
        self.relay_authorities = authorities;
        self.trust_generation = trust.generation;
        Ok(true)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} in {})", self.agent_name, self.workspace)
    }
}

/// A certificate for another key could never be used, and keeping it would lose a good one.
pub(super) fn check_chain(
    key: &AgentKey,
    chain: &[CertificateDer<'static>],
) -> Result<(), IdentityError> {
    let leaf = chain
        .first()
        .ok_or(IdentityError::Certificate("the relay sent none"))?;
    if CertificateFacts::read(leaf)?.key_pin != key.fingerprint() {
        return Err(IdentityError::Certificate("it is for another key"));
    }
    Ok(())
}

/// What is on disk. The key is wiped from memory when this is dropped.
#[derive(Serialize, Deserialize)]
struct Stored {
    agent_name: String,
    workspace: String,
    relays: Vec<StoredRelay>,
    key_pem: String,
    chain_pem: String,
    relay_ca_pem: String,
    #[serde(default)]
    trust_generation: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredRelay {
    host: String,
    port: u16,
}

#[derive(Serialize, Deserialize)]
struct Pending {
    token_id: String,
    key_pem: String,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.key_pem.zeroize();
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.key_pem.zeroize();
    }
}

impl Stored {
    fn of(identity: &Identity) -> Stored {
        let relay = |relay: &RelayAddr| StoredRelay {
            host: relay.host.clone(),
            port: relay.port,
        };
        Stored {
            agent_name: identity.agent_name.clone(),
            workspace: identity.workspace.clone(),
            relays: identity.relays.iter().map(relay).collect(),
            key_pem: identity.key.to_pem().to_string(),
            chain_pem: identity.chain.iter().map(pem_of).collect(),
            relay_ca_pem: identity.relay_authorities.iter().map(pem_of).collect(),
            trust_generation: identity.trust_generation,
        }
    }

    fn into_identity(self) -> Result<Identity, String> {
        let relay = |relay: &StoredRelay| RelayAddr {
            host: relay.host.clone(),
            port: relay.port,
        };
        let identity = Identity {
            agent_name: self.agent_name.clone(),
            workspace: self.workspace.clone(),
            relays: self.relays.iter().map(relay).collect(),
            key: AgentKey::from_pem(&self.key_pem).map_err(|error| error.to_string())?,
            chain: certificates(&self.chain_pem)?,
            relay_authorities: certificates(&self.relay_ca_pem)?,
            trust_generation: self.trust_generation,
        };
        if identity.relays.is_empty() {
            return Err("it names no relay".into());
        }
        check_chain(&identity.key, &identity.chain).map_err(|error| error.to_string())?;
        Ok(identity)
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = parsed.map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("a certificate is missing".into());
    }
    Ok(certificates)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tidegate_shared::identity::{AgentIdentity, AuthorityKind, CertificateAuthority, Validity};

    use super::*;

    fn identity(key: AgentKey) -> Identity {
        let now = SystemTime::now();
        let agents = CertificateAuthority::generate(AuthorityKind::Agents, now).unwrap();
        let relays = CertificateAuthority::generate(AuthorityKind::Relays, now).unwrap();
        let id = AgentIdentity::new("default", "a1").unwrap();
        let validity = Validity {
            now,
            life: Duration::from_secs(3600),
        };
        let issued = agents
            .issue_agent(&key.csr_der().unwrap(), &id, validity)
            .unwrap();
        Identity {
            agent_name: "office-db".into(),
            workspace: "default".into(),
            relays: vec![RelayAddr {
                host: "relay.example.com".into(),
                port: 443,
            }],
            key,
            chain: issued.chain,
            relay_authorities: vec![relays.certificate().clone()],
            trust_generation: 0,
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_root_pairs_can_be_entered_and_read_by_the_state_directorys_owner() {
        use std::os::unix::fs::{MetadataExt, chown};
        let dir = tempfile::tempdir().unwrap();
        let uid = |path: &Path| std::fs::metadata(path).unwrap().uid();
        // Not root: all that can be seen is that nothing changes hands.
        let own = uid(dir.path());
        let owner = if own == 0 { 65_532 } else { own };
        chown(dir.path(), Some(owner), None).unwrap();
        let store = Keystore::new(dir.path());
        store.save("current.json", &"anything").unwrap();
        assert_eq!(uid(&store.directory), owner);
        assert_eq!(uid(&store.path("current.json")), owner);
    }

    #[test]
    fn identity_survives_the_disk_in_private_files() {
        let dir = tempfile::tempdir().unwrap();
        let store = Keystore::new(dir.path());
        assert!(matches!(store.current(), Err(KeystoreError::NotPaired)));
        let key = store.pending_key(&[7; 16]).unwrap();
        let identity = identity(key);
        store.save_current(&identity).unwrap();
        let again = store.current().unwrap();
        assert_eq!(again.key.fingerprint(), identity.key.fingerprint());
        assert_eq!(again.chain, identity.chain);
        assert_eq!(again.relays, identity.relays);
        assert_eq!(mode(&dir.path().join("identity")), 0o700);
        assert_eq!(mode(&dir.path().join("identity/current.json")), 0o600);
        assert!(!dir.path().join("identity/pending.json").exists());
    }

    #[test]
    fn lost_answer_is_asked_again_with_the_same_key_of_the_same_token() {
        let dir = tempfile::tempdir().unwrap();
        let store = Keystore::new(dir.path());
        let first = store.pending_key(&[1; 16]).unwrap().fingerprint();
        assert_eq!(store.pending_key(&[1; 16]).unwrap().fingerprint(), first);
        assert_eq!(mode(&dir.path().join("identity/pending.json")), 0o600);
        assert_ne!(store.pending_key(&[2; 16]).unwrap().fingerprint(), first);
    }

    #[test]
    fn old_identity_stays_until_the_renewed_one_is_promoted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Keystore::new(dir.path());
        let old = identity(AgentKey::generate().unwrap());
        store.save_current(&old).unwrap();
        let renewed = identity(AgentKey::from_pem(&old.key.to_pem()).unwrap());
        store.save_next(&renewed).unwrap();
        assert_eq!(store.current().unwrap().chain, old.chain);
        assert_eq!(store.next().unwrap().unwrap().chain, renewed.chain);
        store.promote_next().unwrap();
        assert_eq!(store.current().unwrap().chain, renewed.chain);
        assert!(store.next().unwrap().is_none());
    }

    #[test]
    fn another_authority_is_trusted_when_the_present_one_vouches_for_it() {
        let now = SystemTime::now();
        let authority = || CertificateAuthority::generate(AuthorityKind::Relays, now).unwrap();
        let (first, second) = (authority(), authority());
        let list = |generation, signer: &CertificateAuthority, all: &[&CertificateAuthority]| {
            let all: Vec<_> = all.iter().map(|one| one.certificate().clone()).collect();
            Trust {
                generation,
                authorities_der: all.iter().map(|der| der.to_vec()).collect(),
                signatures: vec![trust::sign(signer, generation, &all).unwrap()],
            }
        };
        let dir = tempfile::tempdir().unwrap();
        let store = Keystore::new(dir.path());
        let mut paired = identity(AgentKey::generate().unwrap());
        paired.relay_authorities = vec![first.certificate().clone()];
        store.save_current(&paired).unwrap();
        store.save_next(&paired).unwrap();
        let forged = list(1, &second, &[&second]);
        assert!(store.take_trust(&forged).is_err());
        let both = list(1, &first, &[&first, &second]);
        assert!(store.take_trust(&both).unwrap().is_some());
        for kept in [store.current().unwrap(), store.next().unwrap().unwrap()] {
            assert_eq!(kept.relay_authorities.len(), 2);
            assert_eq!(kept.trust_generation, 1);
        }
        let one = list(2, &second, &[&second]);
        assert!(store.take_trust(&one).unwrap().is_some());
        // An older list, which was good once, brings nothing back.
        assert!(store.take_trust(&both).unwrap().is_none());
        let kept = store.current().unwrap();
        assert_eq!(kept.relay_authorities, [second.certificate().clone()]);
    }

    #[test]
    fn certificate_for_another_key_is_refused() {
        let identity = identity(AgentKey::generate().unwrap());
        let other = self::identity(AgentKey::generate().unwrap());
        let chain = other.chain.iter().map(|der| der.to_vec()).collect();
        assert!(matches!(
            identity.with_chain(chain),
            Err(IdentityError::Certificate(_))
        ));
    }

    #[test]
    fn readable_or_damaged_file_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = Keystore::new(dir.path());
        store
            .save_current(&identity(AgentKey::generate().unwrap()))
            .unwrap();
        let path = dir.path().join("identity/current.json");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(
            store.current(),
            Err(KeystoreError::OpenModes { .. })
        ));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&path, b"{}").unwrap();
        let error = store.current().unwrap_err().to_string();
        assert!(error.contains("current.json is damaged"), "{error}");
    }
}
