//! Custody of the relay's secrets of trust: both certificate authorities, the relay's own
//! certificate, and the keys that must survive a restart. All of it lives in `data_dir/identity`,
//! in files of mode 0600. What certificates mean is decided in `tidegate_shared::identity`;
//! who gets one, in `pairing`. `app` opens it, `tunnel` and `pairing` use it.

mod files;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tidegate_shared::Class;
use tidegate_shared::identity::{
    AgentIdentity, AuthorityKind, CertificateAuthority, CertificateFacts, IdentityError, Issued,
    Validity, pem_of, relay_chain_names_match, tls,
};
use tidegate_shared::pairing::CaPin;
use tidegate_shared::tunnel::StableKeys;
use zeroize::{Zeroize, Zeroizing};

/// Bounds of this room.
pub mod limits {
    use std::time::Duration;

    /// Life of the relay's own certificate.
    pub const RELAY_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
    /// A file of this room is one or two PEM blocks.
    pub const FILE_BYTES_MAX: u64 = 64 * 1024;
}

const AGENT_AUTHORITY_FILE: &str = "agent-authority.pem";
const RELAY_AUTHORITY_FILE: &str = "relay-authority.pem";
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
            CustodyError::Randomness => Class::Bug,
        }
    }
}

/// The open custody. Secrets stay inside; nothing of it is printable.
pub struct Custody {
    directory: PathBuf,
    names: Vec<String>,
    agents: CertificateAuthority,
    relays: CertificateAuthority,
    stable_keys: StableKeys,
}

impl Custody {
    /// Opens `data_dir/identity`, or makes what is missing there. `names` are what agents dial.
    /// Blocks; called once, before anything is bound.
    pub fn open(data_dir: &Path, names: &[String], now: SystemTime) -> Result<Self, CustodyError> {
        let directory = data_dir.join("identity");
        files::create_directory(&directory)?;
        let authority = |file: &str, kind| load_authority(&directory.join(file), kind, now);
        Ok(Self {
            agents: authority(AGENT_AUTHORITY_FILE, AuthorityKind::Agents)?,
            relays: authority(RELAY_AUTHORITY_FILE, AuthorityKind::Relays)?,
            stable_keys: load_stable_keys(&directory.join(STABLE_KEYS_FILE))?,
            names: names.to_vec(),
            directory,
        })
    }

    /// What pairing tokens pin.
    pub fn relay_pins(&self) -> Result<Vec<CaPin>, CustodyError> {
        Ok(vec![self.relays.spki_pin()?])
    }

    /// What paired agents trust.
    pub fn relay_authorities(&self) -> Vec<CertificateDer<'static>> {
        vec![self.relays.certificate().clone()]
    }

    /// Issues a client certificate; names in the request are ignored.
    pub fn issue_agent(
        &self,
        csr_der: &[u8],
        identity: &AgentIdentity,
        validity: Validity,
    ) -> Result<Issued, CustodyError> {
        Ok(self.agents.issue_agent(csr_der, identity, validity)?)
    }

    /// The TLS side of the listener. Makes a new certificate for the relay when there is none for
    /// these names, or when two thirds of its life are over; so call it at start and daily.
    pub fn server_tls(&self, now: SystemTime) -> Result<rustls::ServerConfig, CustodyError> {
        let (chain, key) = self.relay_credentials(now)?;
        let agent_authorities = [self.agents.certificate().clone()];
        Ok(tls::relay_server(&agent_authorities, chain, key)?)
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
        let (issued, key) = self.relays.issue_relay(&self.names, validity)?;
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
            && authority == self.relays.certificate()
            && facts.not_before <= now
            && now < facts.not_before + life * 2 / 3
    }
}

fn load_authority(
    path: &Path,
    kind: AuthorityKind,
    now: SystemTime,
) -> Result<CertificateAuthority, CustodyError> {
    let damaged = |source| CustodyError::Damaged {
        path: path.to_owned(),
        source,
    };
    if let Some(pem) = files::read_private(path)? {
        let text = std::str::from_utf8(&pem).map_err(|_| damaged(IdentityError::Pem("text")))?;
        let found = CertificateAuthority::from_pem(text).map_err(damaged)?;
        if found.kind() != kind {
            let found = found.kind();
            return Err(damaged(IdentityError::WrongAuthority {
                found,
                wanted: kind,
            }));
        }
        return Ok(found);
    }
    let made = CertificateAuthority::generate(kind, now)?;
    files::write_private(path, made.to_pem().as_bytes())?;
    tracing::info!(%kind, "Made a new certificate authority.");
    Ok(made)
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
        let path = dir.path().join("identity").join(AGENT_AUTHORITY_FILE);
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
        std::fs::copy(at(AGENT_AUTHORITY_FILE), at(RELAY_AUTHORITY_FILE)).unwrap();
        let swapped = Custody::open(dir.path(), &names(), now);
        assert!(matches!(swapped, Err(CustodyError::Damaged { .. })));
        std::fs::write(at(RELAY_AUTHORITY_FILE), b"\xff\xfe").unwrap();
        let damaged = Custody::open(dir.path(), &names(), now);
        assert!(matches!(damaged, Err(CustodyError::Damaged { .. })));
    }
}
