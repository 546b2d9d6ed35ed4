//! Cancel keys: what the relay gets instead of PostgreSQL's, and how a request is carried out.
//!
//! A key is good only for the target and while the session lives that it was given out for, so
//! that the relay can't cancel sessions of others on the same server. Called by `Origin`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::{self, Security};
use super::error::OriginError;
use super::login::CancelKey;
use crate::config::Target;

/// PostgreSQL closes after it has signalled the backend.
const CLOSE: Duration = Duration::from_secs(5);

/// A live session's real key and the way to its server.
#[derive(Clone)]
pub struct Cancellable {
    pub target: Arc<Target>,
    pub security: Security,
    pub key: CancelKey,
}

/// The substituted keys of all live sessions.
#[derive(Default)]
pub struct Keys {
    given: HashMap<CancelKey, Cancellable>,
}

impl Keys {
    /// Gives out a random key for a session. The process id stays positive, as clients print it.
    pub fn give(&mut self, session: Cancellable, random: &mut dyn FnMut() -> u64) -> CancelKey {
        loop {
            let bits = random();
            let process_id = i32::from_be_bytes(((bits >> 33) as u32).to_be_bytes());
            let secret_key = i32::from_be_bytes((bits as u32).to_be_bytes());
            let key = CancelKey {
                process_id,
                secret_key,
            };
            if let Entry::Vacant(place) = self.given.entry(key) {
                place.insert(session);
                return key;
            }
        }
    }

    /// The session behind a key, if it is alive and belongs to the target.
    pub fn find(&self, key: CancelKey, target: &str) -> Option<Cancellable> {
        self.given
            .get(&key)
            .filter(|session| session.target.name == target)
            .cloned()
    }

    /// Forgets a key when its session ends.
    pub fn take_back(&mut self, key: CancelKey) {
        self.given.remove(&key);
    }
}

/// Sends the real request over a connection of its own and waits until PostgreSQL has taken it.
pub async fn cancel(session: &Cancellable) -> Result<(), OriginError> {
    let mut dialled = connect::dial(&session.target, session.security).await?;
    let mut request = BytesMut::new();
    frontend::cancel_request(session.key.process_id, session.key.secret_key, &mut request);
    dialled.stream.write_all(&request).await?;
    dialled.stream.flush().await?;
    // The server answers nothing; its close says that the signal was sent. TLS may end roughly.
    let mut rest = [0; 64];
    let closed = async { while matches!(dialled.stream.read(&mut rest).await, Ok(1..)) {} };
    let step = "cancel request";
    tokio::time::timeout(CLOSE, closed)
        .await
        .map_err(|_| OriginError::Timeout {
            step,
            seconds: CLOSE.as_secs(),
        })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn session(secret_key: i32) -> Cancellable {
        let text = "[[target]]\nname='main'\naddress='db:1'\ndatabase='d'\nuser='u'";
        let config = Config::parse(text, Path::new("agent.toml")).unwrap();
        Cancellable {
            target: Arc::new(config.targets[0].clone()),
            security: Security::Plain,
            key: CancelKey {
                process_id: 1,
                secret_key,
            },
        }
    }

    #[test]
    fn key_is_good_for_its_own_live_session_only() {
        let mut keys = Keys::default();
        // The generator repeats itself once: the second session must get another key.
        let mut numbers = [7 << 33 | 1, 7 << 33 | 1, 8 << 33 | 2].into_iter();
        let mut random = || numbers.next().unwrap();
        let first = keys.give(session(11), &mut random);
        let second = keys.give(session(22), &mut random);
        assert!(first != second && first.process_id == 7);
        let found = |keys: &Keys, key, target| keys.find(key, target).map(|s| s.key.secret_key);
        assert_eq!(found(&keys, first, "main"), Some(11));
        assert_eq!(found(&keys, second, "main"), Some(22));
        assert_eq!(found(&keys, first, "other"), None);
        keys.take_back(first);
        assert_eq!(found(&keys, first, "main"), None);
    }
}
