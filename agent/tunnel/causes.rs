//! Each cause of a failure is logged once, and not at each of the attempts that go on for ever.

/// Remembered causes; with more of them the oldest is told once more.
const CAUSES_MAX: usize = 16;

/// What was logged since things were last good.
#[derive(Debug, Default)]
pub struct Causes(Vec<String>);

impl Causes {
    /// Whether this was not logged yet. From now on it was.
    pub fn is_new(&mut self, cause: &str) -> bool {
        if self.0.iter().any(|known| known == cause) {
            return false;
        }
        if self.0.len() >= CAUSES_MAX {
            self.0.remove(0);
        }
        self.0.push(cause.to_owned());
        true
    }

    /// Things are good again.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_that_take_turns_are_told_once_each() {
        let mut causes = Causes::default();
        let told = (0..20).filter(|n| causes.is_new(["no route", "expired"][n % 2]));
        assert_eq!(told.count(), 2);
        causes.forget();
        assert!(causes.is_new("expired"));
        for n in 0..1000 {
            causes.is_new(&n.to_string());
        }
        assert_eq!(causes.0.len(), CAUSES_MAX);
    }
}
