//! Records with their recent past, so that a read can be made to see an earlier moment.

use std::collections::HashMap;

use super::clock::Stamp;

/// What a record was from a moment on; `None`: it was gone.
#[derive(Clone, Debug)]
struct Version<R> {
    from: Stamp,
    record: Option<R>,
}

/// Versions kept of each record; a trap that looks further back sees the oldest of these.
const VERSIONS_MAX: usize = 32;

/// Records in the order in which they were made.
#[derive(Clone, Debug)]
pub struct Past<R> {
    order: Vec<String>,
    versions: HashMap<String, Vec<Version<R>>>,
}

impl<R> Default for Past<R> {
    fn default() -> Past<R> {
        Past {
            order: Vec::new(),
            versions: HashMap::new(),
        }
    }
}

/// Later than anything.
pub const NOW: Stamp = Stamp::MAX;

impl<R> Past<R> {
    /// As it was at `at`.
    pub fn find(&self, id: &str, at: Stamp) -> Option<&R> {
        let versions = self.versions.get(id)?;
        let seen = versions.iter().rev().find(|version| version.from <= at)?;
        seen.record.as_ref()
    }

    /// All that were there at `at`, in the order in which they were made.
    pub fn all(&self, at: Stamp) -> impl DoubleEndedIterator<Item = (&str, &R)> {
        let ids = self.order.iter();
        ids.filter_map(move |id| Some((id.as_str(), self.find(id, at)?)))
    }

    pub fn put(&mut self, id: &str, record: R, now: Stamp) {
        if !self.versions.contains_key(id) {
            self.order.push(id.to_owned());
        }
        self.push(id, Some(record), now);
    }

    /// What was there.
    pub fn remove(&mut self, id: &str, now: Stamp) -> Option<R>
    where
        R: Clone,
    {
        let was = self.find(id, NOW).cloned()?;
        self.push(id, None, now);
        Some(was)
    }

    fn push(&mut self, id: &str, record: Option<R>, from: Stamp) {
        let versions = self.versions.entry(id.to_owned()).or_default();
        versions.push(Version { from, record });
        if versions.len() > VERSIONS_MAX {
            versions.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_in_the_past_is_seen_as_it_was() {
        let mut past = Past::default();
        past.put("a", 1, 10);
        past.put("b", 1, 20);
        past.put("a", 2, 30);
        past.remove("b", 40);
        let seen = |at| {
            past.all(at)
                .map(|(id, n)| (id.to_owned(), *n))
                .collect::<Vec<_>>()
        };
        assert_eq!(seen(5), []);
        assert_eq!(seen(25), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
        assert_eq!(seen(NOW), [("a".to_owned(), 2)]);
        assert_eq!(past.find("b", 39), Some(&1));
    }
}
