//! Keys of syncs that were planned and are not started yet.
//!
//! A sync's slot and publication are named after its key. By remembering it, a plan can say which
//! publication the tables' owner must make, and the start finds just that one. Forgotten when the
//! relay ends: then the start names another one.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::store::syncs;

/// Names planned and not started; the oldest is forgotten beyond this.
const DRAFTS_MAX: usize = 64;

pub(super) type Key = Zeroizing<[u8; 32]>;

/// A sync's workspace and name.
type Named = (String, String);

#[derive(Default)]
pub(super) struct Drafts {
    /// The newest last.
    keys: Mutex<VecDeque<(Named, Key)>>,
}

impl Drafts {
    /// The key that a sync of this name would get.
    pub(super) fn key(&self, workspace: &str, name: &str) -> Key {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = keys.iter().find(|(known, _)| is(known, workspace, name)) {
            return key.clone();
        }
        if keys.len() >= DRAFTS_MAX {
            keys.pop_front();
        }
        let key = syncs::new_key();
        keys.push_back(((workspace.to_owned(), name.to_owned()), key.clone()));
        key
    }

    /// The sync exists now, or never will: the next one of its name gets another key.
    pub(super) fn forget(&self, workspace: &str, name: &str) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|(known, _)| !is(known, workspace, name));
    }
}

fn is(known: &Named, workspace: &str, name: &str) -> bool {
    known.0 == workspace && known.1 == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_until_its_sync_exists_or_too_many_were_planned() {
        let drafts = Drafts::default();
        let blog = drafts.key("w", "blog");
        assert_eq!(drafts.key("w", "blog"), blog);
        drafts.forget("w", "blog");
        let blog_again = drafts.key("w", "blog");
        assert_ne!(blog_again, blog);
        for number in 0..DRAFTS_MAX {
            drafts.key("w", &number.to_string());
        }
        assert_ne!(drafts.key("w", "blog"), blog_again);
    }
}
