//! Whether one identity is in use at two places: which processes of an agent came one after another.
//! A process that was followed by another one does not come back, unless both are running.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// Processes that are remembered of each agent.
const INSTANCES_MAX: usize = 4;
/// Two that run drive each other out again and again; it is told as often as this.
const TOLD_EVERY: Duration = Duration::from_secs(3600);

/// By agent's id; as many as there are agents.
#[derive(Default)]
pub(super) struct Instances(HashMap<String, Seen>);

#[derive(Default)]
struct Seen {
    /// The newest last.
    instances: Vec<u64>,
    cloned: Option<SystemTime>,
    told: Option<SystemTime>,
}

impl Instances {
    /// Notes who came. Whether it is to be told now that another process with the same identity was
    /// here between two visits of this one. Zero is nobody in particular.
    pub(super) fn arrived(&mut self, agent: &str, instance: u64, now: SystemTime) -> bool {
        if instance == 0 {
            return false;
        }
        let seen = self.0.entry(agent.to_owned()).or_default();
        let place = seen.instances.iter().position(|known| *known == instance);
        let is_back = place.is_some_and(|place| place + 1 < seen.instances.len());
        seen.instances.retain(|known| *known != instance);
        if seen.instances.len() >= INSTANCES_MAX {
            seen.instances.remove(0);
        }
        seen.instances.push(instance);
        if !is_back {
            return false;
        }
        seen.cloned = Some(now);
        let is_told = seen.told.is_some_and(|at| {
            // A clock that was set back tells once more.
            now.duration_since(at).is_ok_and(|since| since < TOLD_EVERY)
        });
        if !is_told {
            seen.told = Some(now);
        }
        !is_told
    }

    pub(super) fn cloned(&self, agent: &str) -> Option<SystemTime> {
        self.0.get(agent).and_then(|seen| seen.cloned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_followed_by_another_and_is_back_is_one_of_two() {
        let mut instances = Instances::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        // Restarts, reconnects, and agents that don't tell.
        for instance in [1, 1, 2, 2, 3, 0, 0, 3] {
            assert!(!instances.arrived("a", instance, now));
        }
        assert!(!instances.arrived("b", 1, now), "another agent");
        assert_eq!(instances.cloned("a"), None);
        assert!(instances.arrived("a", 2, now));
        assert_eq!(instances.cloned("a"), Some(now));
        // Told once an hour, however often they drive each other out.
        let later = now + Duration::from_secs(60);
        assert!(!instances.arrived("a", 3, later));
        assert_eq!(instances.cloned("a"), Some(later));
        assert!(instances.arrived("a", 2, now + TOLD_EVERY));
    }

    #[test]
    fn few_processes_are_remembered() {
        let mut instances = Instances::default();
        for instance in 1..100 {
            assert!(!instances.arrived("a", instance, SystemTime::UNIX_EPOCH));
        }
        assert_eq!(instances.0["a"].instances.len(), INSTANCES_MAX);
    }
}
