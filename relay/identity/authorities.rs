//! Both authorities, and how each is replaced while agents are paired.
//!
//! That of the agents signs anew at once, and the former one is accepted until it is dropped: agents
//! renew their certificates by themselves. That of the relays is told to all agents first, signed by
//! the present one, and signs nothing before it takes its place.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tidegate_shared::identity::limits::CLOCK_SKEW;
use tidegate_shared::identity::{
    AuthorityKind, CertificateAuthority, CertificateFacts, IdentityError, trust,
};
use tidegate_shared::wire::Trust;

use super::{CustodyError, files};

/// Certificates know whole seconds (RFC 5280, section 4.1.2.5), cut off.
const X509_TICK: Duration = Duration::from_secs(1);

const AGENTS_FILE: &str = "agent-authority.pem";
const FORMER_AGENTS_FILE: &str = "agent-authority-former.pem";
const RELAYS_FILE: &str = "relay-authority.pem";
const NEXT_RELAYS_FILE: &str = "relay-authority-next.pem";
const GENERATION_FILE: &str = "relay-authority.generation";

/// How one authority stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityState {
    pub kind: AuthorityKind,
    /// SHA-256 of its public key, which is what pairing tokens pin.
    pub pin: [u8; 32],
    pub until: SystemTime,
    pub roll_over: Option<RollOver>,
}

/// An authority that is being replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollOver {
    /// Of agents: the one before. Of relays: the one to come.
    pub pin: [u8; 32],
    /// When it began, up to a second later: whoever was certified before is certified before this, and
    /// whoever was certified since, within that second, is waited for without need.
    pub since: SystemTime,
}

pub(super) struct Authorities {
    directory: PathBuf,
    pub(super) agents: CertificateAuthority,
    /// Signs nothing more; its certificates are still accepted.
    pub(super) former_agents: Option<CertificateAuthority>,
    pub(super) relays: CertificateAuthority,
    /// Signs nothing yet; agents trust it already.
    pub(super) next_relays: Option<CertificateAuthority>,
    /// Counts the lists of relays' authorities that agents were told. Zero is the one from pairing.
    pub(super) generation: u64,
}

impl Authorities {
    /// Reads both, or makes what is missing.
    pub(super) fn open(directory: &Path, now: SystemTime) -> Result<Self, CustodyError> {
        let (of_agents, of_relays) = (AuthorityKind::Agents, AuthorityKind::Relays);
        let read = |file: &str, kind| read_authority(&directory.join(file), kind);
        let made = |file: &str, kind| match read(file, kind)? {
            Some(found) => Ok(found),
            None => make_authority(&directory.join(file), kind, now),
        };
        let agents = made(AGENTS_FILE, of_agents)?;
        // The same one, if the relay stopped before the new one was there.
        let former_agents = read(FORMER_AGENTS_FILE, of_agents)?
            .filter(|former| former.certificate() != agents.certificate());
        Ok(Self {
            agents,
            former_agents,
            relays: made(RELAYS_FILE, of_relays)?,
            next_relays: read(NEXT_RELAYS_FILE, of_relays)?,
            generation: read_generation(&directory.join(GENERATION_FILE))?,
            directory: directory.to_owned(),
        })
    }

    /// Makes the authority that shall replace one.
    pub(super) fn renew(
        &mut self,
        kind: AuthorityKind,
        now: SystemTime,
    ) -> Result<(), CustodyError> {
        if self.state(kind)?.roll_over.is_some() {
            return Err(CustodyError::RollingOver(kind));
        }
        match kind {
            AuthorityKind::Agents => {
                let former = self.path(FORMER_AGENTS_FILE);
                files::write_private(&former, self.agents.to_pem().as_bytes())?;
                let next = make_authority(&self.path(AGENTS_FILE), kind, now)?;
                self.former_agents = Some(std::mem::replace(&mut self.agents, next));
            }
            AuthorityKind::Relays => {
                // First, so that no list is ever told under the number of another one.
                self.write_generation(self.generation + 1)?;
                self.next_relays = Some(make_authority(&self.path(NEXT_RELAYS_FILE), kind, now)?);
            }
        }
        Ok(())
    }

    /// Drops the one that was replaced.
    pub(super) fn finish(&mut self, kind: AuthorityKind) -> Result<(), CustodyError> {
        if self.state(kind)?.roll_over.is_none() {
            return Err(CustodyError::NotRollingOver(kind));
        }
        match kind {
            AuthorityKind::Agents => {
                let path = self.path(FORMER_AGENTS_FILE);
                fs::remove_file(&path).map_err(|source| CustodyError::File {
                    action: "remove",
                    path,
                    source,
                })?;
                self.former_agents = None;
            }
            AuthorityKind::Relays => {
                self.write_generation(self.generation + 1)?;
                if let Some(next) = self.next_relays.take() {
                    // The new one in the place of the old one first: the relay may stop in between.
                    files::write_private(&self.path(RELAYS_FILE), next.to_pem().as_bytes())?;
                    self.relays = next;
                    let path = self.path(NEXT_RELAYS_FILE);
                    fs::remove_file(&path).map_err(|source| CustodyError::File {
                        action: "remove",
                        path,
                        source,
                    })?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn state(&self, kind: AuthorityKind) -> Result<AuthorityState, CustodyError> {
        let (present, other, newest) = match kind {
            AuthorityKind::Agents => {
                let former = self.former_agents.as_ref();
                (&self.agents, former, Some(&self.agents))
            }
            AuthorityKind::Relays => {
                let next = self.next_relays.as_ref();
                let next = next.filter(|next| next.certificate() != self.relays.certificate());
                (&self.relays, next, next)
            }
        };
        let roll_over = match (other, newest) {
            (Some(other), Some(newest)) => Some(RollOver {
                pin: other.spki_pin()?,
                since: CertificateFacts::read(newest.certificate())?.not_before
                    + CLOCK_SKEW
                    + X509_TICK,
            }),
            _ => None,
        };
        let facts = CertificateFacts::read(present.certificate())?;
        Ok(AuthorityState {
            kind,
            pin: facts.key_pin,
            until: facts.not_after,
            roll_over,
        })
    }

    /// The relays' authorities that agents shall trust, the present one first.
    pub(super) fn of_relays(&self) -> Vec<&CertificateAuthority> {
        let next = self.next_relays.as_ref();
        let next = next.filter(|next| next.certificate() != self.relays.certificate());
        [Some(&self.relays), next].into_iter().flatten().collect()
    }

    /// The same for agents that are paired; nothing while it is what each was paired with.
    pub(super) fn trust(&self) -> Result<Option<Trust>, CustodyError> {
        if self.generation == 0 {
            return Ok(None);
        }
        let signers = self.of_relays();
        let list: Vec<_> = signers
            .iter()
            .map(|authority| authority.certificate().clone())
            .collect();
        let signed = signers
            .iter()
            .map(|authority| trust::sign(authority, self.generation, &list));
        Ok(Some(Trust {
            generation: self.generation,
            signatures: signed.collect::<Result<_, _>>()?,
            authorities_der: list.iter().map(|authority| authority.to_vec()).collect(),
        }))
    }

    fn write_generation(&mut self, generation: u64) -> Result<(), CustodyError> {
        let path = self.path(GENERATION_FILE);
        files::write_private(&path, generation.to_string().as_bytes())?;
        self.generation = generation;
        Ok(())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }
}

fn read_authority(
    path: &Path,
    kind: AuthorityKind,
) -> Result<Option<CertificateAuthority>, CustodyError> {
    let damaged = |source| CustodyError::Damaged {
        path: path.to_owned(),
        source,
    };
    let Some(pem) = files::read_private(path)? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&pem).map_err(|_| damaged(IdentityError::Pem("text")))?;
    let found = CertificateAuthority::from_pem(text).map_err(damaged)?;
    if found.kind() != kind {
        let found = found.kind();
        return Err(damaged(IdentityError::WrongAuthority {
            found,
            wanted: kind,
        }));
    }
    Ok(Some(found))
}

fn make_authority(
    path: &Path,
    kind: AuthorityKind,
    now: SystemTime,
) -> Result<CertificateAuthority, CustodyError> {
    let made = CertificateAuthority::generate(kind, now)?;
    files::write_private(path, made.to_pem().as_bytes())?;
    tracing::info!(%kind, "Made a new certificate authority.");
    Ok(made)
}

fn read_generation(path: &Path) -> Result<u64, CustodyError> {
    let Some(bytes) = files::read_private(path)? else {
        return Ok(0);
    };
    let text = std::str::from_utf8(&bytes).ok();
    let generation = text.and_then(|text| text.trim().parse().ok());
    generation.ok_or_else(|| CustodyError::Damaged {
        path: path.to_owned(),
        source: IdentityError::Pem("a number"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path) -> Authorities {
        Authorities::open(directory, SystemTime::now()).unwrap()
    }

    #[test]
    fn the_relays_next_authority_is_vouched_for_before_it_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let mut authorities = open(dir.path());
        let kind = AuthorityKind::Relays;
        assert_eq!(authorities.trust().unwrap(), None);
        let refused = authorities.finish(kind);
        assert!(matches!(refused, Err(CustodyError::NotRollingOver(_))));
        let first = authorities.relays.certificate().clone();
        authorities.renew(kind, SystemTime::now()).unwrap();
        let refused = authorities.renew(kind, SystemTime::now());
        assert!(matches!(refused, Err(CustodyError::RollingOver(_))));
        // As it was left, whenever it is opened.
        let mut authorities = open(dir.path());
        assert_eq!(*authorities.relays.certificate(), first);
        let both = authorities.trust().unwrap().unwrap();
        let list: Vec<_> = both
            .authorities_der
            .iter()
            .map(|der| rustls_pki_types::CertificateDer::from(der.clone()))
            .collect();
        let trusted = std::slice::from_ref(&first);
        assert_eq!((list.len(), &list[0], both.generation), (2, &first, 1));
        trust::check(trusted, 1, &list, &both.signatures).unwrap();
        authorities.finish(kind).unwrap();
        let authorities = open(dir.path());
        assert_eq!(*authorities.relays.certificate(), list[1]);
        let one = authorities.trust().unwrap().unwrap();
        assert_eq!((one.generation, one.authorities_der.len()), (2, 1));
        trust::check(&list, 2, &list[1..], &one.signatures).unwrap();
        assert!(authorities.state(kind).unwrap().roll_over.is_none());
    }

    #[test]
    fn the_former_authority_of_agents_stays_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let mut authorities = open(dir.path());
        let kind = AuthorityKind::Agents;
        let first = authorities.agents.certificate().clone();
        authorities.renew(kind, SystemTime::now()).unwrap();
        let mut authorities = open(dir.path());
        let former = authorities.former_agents.as_ref().unwrap();
        assert_eq!(*former.certificate(), first);
        assert_ne!(*authorities.agents.certificate(), first);
        assert_eq!(authorities.generation, 0, "no agent need be told");
        authorities.finish(kind).unwrap();
        assert!(open(dir.path()).former_agents.is_none());
    }
}
