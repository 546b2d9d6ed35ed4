//! Custody of the relay's secrets of trust: both certificate authorities, the relay's own
//! certificate, and the keys that must survive a restart. All of it lives in `data_dir/identity`,
//! in files of mode 0600. What certificates mean is decided in `tidegate_shared::identity`;
//! who gets one, in `pairing`. `app` opens it, `tunnel` and `pairing` use it.

mod authorities;
mod files;

pub use authorities::{AuthorityState, RollOver};

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tidegate_shared::Class;
use tidegate_shared::identity::{
    AgentIdentity, AuthorityKind, CertificateFacts, IdentityError, Issued, Validity, pem_of,
    relay_chain_names_match, tls,
};
use tidegate_shared::pairing::CaPin;
use tidegate_shared::tunnel::StableKeys;
use tidegate_shared::wire::Trust;
use tokio::sync::watch;
use zeroize::{Zeroize, Zeroizing};

use self::authorities::Authorities;

/// Bounds of this room.
pub mod limits {
    use std::time::Duration;

    /// Life of the relay's own certificate.
    pub const RELAY_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
    /// A file of this room is one or two PEM blocks.
    pub const FILE_BYTES_MAX: u64 = 64 * 1024;
}

const RELAY_FILE: &str = "relay.pem";
const STABLE_KEYS_FILE: &str = "stable.keys";
const RESET_KEY_BYTES: usize = 64;
const STABLE_KEYS_BYTES: usize = RESET_KEY_BYTES + 8;

/// Why the relay's identity can't be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    #[error("{action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} can be read by other users (mode {mode:o})", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{}: {source}", path.display())]
    Damaged {
        path: PathBuf,
        source: IdentityError,
    },
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the authority for {0} is being replaced already")]
    RollingOver(AuthorityKind),
    #[error("the authority for {0} is not being replaced")]
    NotRollingOver(AuthorityKind),
    #[error("the system gives no randomness")]
    Randomness,
}

impl CustodyError {
    pub fn class(&self) -> Class {
        match self {
            CustodyError::File { .. } => {
                Class::Operator("check that the data directory exists, is writable and has space")
            }
            CustodyError::Exposed { .. } => {
                Class::Operator("chmod 600 the file; if others could read it, revoke all agents")
            }
            CustodyError::Damaged { .. } => {
                Class::Operator("restore the identity directory from a backup")
            }
            CustodyError::Identity(error) => error.class(),
            CustodyError::RollingOver(_) => Class::Operator("`authority finish` drops the old one"),
            CustodyError::NotRollingOver(_) => Class::Operator("`authority renew` begins it"),
            CustodyError::Randomness => Class::Bug,
        }
    }
}

/// The open custody. Secrets stay inside; nothing of it is printable.
pub struct Custody {
    directory: PathBuf,
    names: Vec<String>,
    authorities: RwLock<Authorities>,
    /// Told of each change of the authorities.
    changes: watch::Sender<()>,
    stable_keys: StableKeys,
}

impl Custody {
    /// Opens `data_dir/identity`, or makes what is missing there. `names` are what agents dial.
    /// Blocks; called once, before anything is bound.
    pub fn open(data_dir: &Path, names: &[String], now: SystemTime) -> Result<Self, CustodyError> {
        let directory = data_dir.join("identity");
        files::create_directory(&directory)?;
        Ok(Self {
            authorities: RwLock::new(Authorities::open(&directory, now)?),
            changes: watch::Sender::new(()),
            stable_keys: load_stable_keys(&directory.join(STABLE_KEYS_FILE))?,
            names: names.to_vec(),
            directory,
        })
    }

    /// What pairing tokens pin.
    pub fn relay_pins(&self) -> Result<Vec<CaPin>, CustodyError> {
        let authorities = self.authorities();
        let pins = authorities.of_relays().into_iter();
        Ok(pins
            .map(|authority| authority.spki_pin())
            .collect::<Result<_, _>>()?)
    }

    /// What paired agents trust.
    pub fn relay_authorities(&self) -> Vec<CertificateDer<'static>> {
        let authorities = self.authorities();
        let all = authorities.of_relays().into_iter();
        all.map(|authority| authority.certificate().clone())
            .collect()
    }

    /// The same as a list that agents believe; nothing while it is what each was paired with.
    pub fn trust(&self) -> Result<Option<Trust>, CustodyError> {
        self.authorities().trust()
    }

    /// Number of that list.
    pub fn trust_generation(&self) -> u64 {
        self.authorities().generation
    }

    pub fn state(&self, kind: AuthorityKind) -> Result<AuthorityState, CustodyError> {
        self.authorities().state(kind)
    }

    /// Begins to replace an authority. Blocks for as long as a few files take.
    pub fn renew(&self, kind: AuthorityKind, now: SystemTime) -> Result<(), CustodyError> {
        self.change(|authorities| authorities.renew(kind, now))
    }

    /// Drops the authority that was replaced. Blocks for as long as a few files take.
    pub fn finish(&self, kind: AuthorityKind) -> Result<(), CustodyError> {
        self.change(|authorities| authorities.finish(kind))
    }

    /// Tells of each change of the authorities.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Issues a client certificate; names in the request are ignored.
    pub fn issue_agent(
        &self,
        csr_der: &[u8],
        identity: &AgentIdentity,
        validity: Validity,
    ) -> Result<Issued, CustodyError> {
        let authorities = self.authorities();
        Ok(authorities
            .agents
            .issue_agent(csr_der, identity, validity)?)
    }

    /// The TLS side of the listener. Makes a new certificate for the relay when there is none for
    /// these names, or when two thirds of its life are over; so call it at start and daily.
    pub fn server_tls(&self, now: SystemTime) -> Result<rustls::ServerConfig, CustodyError> {
        let (chain, key) = self.relay_credentials(now)?;
        let authorities = self.authorities();
        let of_agents = [
            Some(&authorities.agents),
            authorities.former_agents.as_ref(),
        ];
        let of_agents: Vec<_> = of_agents
            .into_iter()
            .flatten()
            .map(|authority| authority.certificate().clone())
            .collect();
        Ok(tls::relay_server(&of_agents, chain, key)?)
    }

    fn authorities(&self) -> RwLockReadGuard<'_, Authorities> {
        // Each change leaves whole values.
        self.authorities
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Authorities) -> Result<(), CustodyError>,
    ) -> Result<(), CustodyError> {
        let mut authorities = self
            .authorities
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut authorities);
        drop(authorities);
        // Half of it may have happened.
        self.changes.send_replace(());
        changed
    }

    pub fn stable_keys(&self) -> &StableKeys {
        &self.stable_keys
    }

    fn relay_credentials(
        &self,
        now: SystemTime,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CustodyError> {
        let path = self.directory.join(RELAY_FILE);
        if let Some(pem) = files::read_private(&path)?
            && let Some(found) = parse_relay(&pem)
            && self.is_usable(&found.0, now)
        {
            return Ok(found);
        }
        let validity = Validity {
            now,
            life: limits::RELAY_LIFE,
        };
        let (issued, key) = self
            .authorities()
            .relays
            .issue_relay(&self.names, validity)?;
        let mut pem = Zeroizing::new(String::new());
        for certificate in &issued.chain {
            pem.push_str(&pem_of(certificate));
        }
        pem.push_str(&private_pem(&key));
        files::write_private(&path, pem.as_bytes())?;
        tracing::info!(names = ?self.names, "Made a new certificate for this relay.");
        Ok((issued.chain, key))
    }

    fn is_usable(&self, chain: &[CertificateDer<'static>], now: SystemTime) -> bool {
        let [leaf, authority] = chain else {
            return false;
        };
        let names_match = relay_chain_names_match(leaf, &self.names).unwrap_or(false);
        let Ok(facts) = CertificateFacts::read(leaf) else {
            return false;
        };
        let life = facts
            .not_after
            .duration_since(facts.not_before)
            .unwrap_or(Duration::ZERO);
        names_match
            && authority == self.authorities().relays.certificate()
            && facts.not_before <= now
            && now < facts.not_before + life * 2 / 3
    }
}

fn load_stable_keys(path: &Path) -> Result<StableKeys, CustodyError> {
    let bytes = match files::read_private(path)? {
        Some(bytes) if bytes.len() == STABLE_KEYS_BYTES => bytes,
        // A damaged file costs only a slower reconnect, so it is replaced.
        _ => {
            let mut fresh = Zeroizing::new(vec![0; STABLE_KEYS_BYTES]);
            aws_lc_rs::rand::fill(&mut fresh).map_err(|_| CustodyError::Randomness)?;
            files::write_private(path, &fresh)?;
            fresh
        }
    };
    let mut reset = [0; RESET_KEY_BYTES];
    let mut id = [0; 8];
    reset.copy_from_slice(&bytes[..RESET_KEY_BYTES]);
    id.copy_from_slice(&bytes[RESET_KEY_BYTES..]);
    let keys = StableKeys {
        reset,
        connection_id: u64::from_be_bytes(id),
    };
    reset.zeroize();
    Ok(keys)
}

fn parse_relay(pem: &[u8]) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .ok()?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem).ok()?;
    Some((chain, PrivateKeyDer::Pkcs8(key)))
}

fn private_pem(key: &PrivateKeyDer<'_>) -> Zeroizing<String> {
    use base64::Engine;
    let text = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(key.secret_der()));
    let mut pem = Zeroizing::new(String::from("-----BEGIN PRIVATE KEY-----\n"));
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names() -> Vec<String> {
        vec!["relay.example.com".into(), "127.0.0.1".into()]
    }

    #[test]
    fn a_second_opening_finds_the_same_identity() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let first = Custody::open(dir.path(), &names(), now).unwrap();
        let second = Custody::open(dir.path(), &names(), now).unwrap();
        assert_eq!(first.relay_pins().unwrap(), second.relay_pins().unwrap());
        assert_eq!(first.stable_keys.reset, second.stable_keys.reset);
        assert_eq!(
            first.stable_keys.connection_id,
            second.stable_keys.connection_id
        );
        let one = first.relay_credentials(now).unwrap().0;
        assert_eq!(one, second.relay_credentials(now).unwrap().0);
    }

    #[test]
    fn the_relay_certificate_follows_names_and_age() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let custody = Custody::open(dir.path(), &names(), now).unwrap();
        let one = custody.relay_credentials(now).unwrap().0;
        let later = now + limits::RELAY_LIFE * 3 / 4;
        let two = custody.relay_credentials(later).unwrap().0;
        assert_ne!(one[0], two[0]);
        assert_eq!(one[1], two[1], "the authority stays");
        let renamed = Custody::open(dir.path(), &["other.test".to_owned()], later).unwrap();
        assert_ne!(renamed.relay_credentials(later).unwrap().0[0], two[0]);
    }

    #[test]
    fn files_are_private_and_exposed_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let custody = Custody::open(dir.path(), &names(), now).unwrap();
        custody.server_tls(now).unwrap();
        let mut seen = 0;
        for entry in std::fs::read_dir(dir.path().join("identity")).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            seen += 1;
        }
        assert_eq!(seen, 4, "and no temporary file is left");
        let path = dir.path().join("identity").join("agent-authority.pem");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let result = Custody::open(dir.path(), &names(), now);
        assert!(matches!(
            result,
            Err(CustodyError::Exposed { mode: 0o644, .. })
        ));
    }

    #[test]
    fn swapped_or_damaged_authorities_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        drop(Custody::open(dir.path(), &names(), now).unwrap());
        let at = |file| dir.path().join("identity").join(file);
        std::fs::copy(at("agent-authority.pem"), at("relay-authority.pem")).unwrap();
        let swapped = Custody::open(dir.path(), &names(), now);
        assert!(matches!(swapped, Err(CustodyError::Damaged { .. })));
        std::fs::write(at("relay-authority.pem"), b"\xff\xfe").unwrap();
        let damaged = Custody::open(dir.path(), &names(), now);
        assert!(matches!(damaged, Err(CustodyError::Damaged { .. })));
    }
}
