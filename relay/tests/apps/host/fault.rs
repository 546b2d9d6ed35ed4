//! Faults on demand: what happens to a connection or a server, not what the app is like.

use std::time::Duration;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Refused with this status, and nothing was done.
    Status(u16),
    /// 429 with `Retry-After` in seconds, or without one.
    Limited(Option<u64>),
    /// Nothing was done; the connection is cut.
    CutBefore,
    /// **It was done**, and the connection is cut.
    CutAfter,
    /// **It was done**, and this status (of a gateway, say) is answered.
    StatusAfter(u16),
    /// **It was done**, and the answer comes this much later.
    LateAnswer(Duration),
    /// Half of the answer, then the connection is cut.
    HalfAnswer,
    /// It is done after this long.
    Slow(Duration),
}

/// A harm, and which calls meet it.
#[derive(Clone, Debug)]
pub struct Fault {
    pub harm: Harm,
    /// A part of `PATCH /v0/{base}/{table}`, or of the path as called; empty: every call.
    pub at: String,
    /// Calls that fit and are spared first.
    pub after: u32,
    /// Calls that meet it.
    pub times: u32,
}

impl Fault {
    /// Once, at the next call.
    pub fn new(harm: Harm) -> Fault {
        Fault {
            harm,
            at: String::new(),
            after: 0,
            times: 1,
        }
    }

    #[must_use]
    pub fn at(mut self, at: &str) -> Fault {
        at.clone_into(&mut self.at);
        self
    }

    #[must_use]
    pub fn after(mut self, calls: u32) -> Fault {
        self.after = calls;
        self
    }

    #[must_use]
    pub fn times(mut self, times: u32) -> Fault {
        self.times = times;
        self
    }

    /// `status=503`, `limited=3`, `limited`, `cut-before`, `cut-after`, `status-after=502`,
    /// `late-answer=5s`, `half-answer`, `slow=2s`.
    pub fn parse_harm(text: &str) -> Result<Harm, String> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let number = || {
            value
                .parse::<u16>()
                .map_err(|_| format!("{text}: a number is missing"))
        };
        let wait =
            || super::trap::duration(value).ok_or(format!("{text}: a time like 2s is missing"));
        Ok(match name {
            "status" => Harm::Status(number()?),
            "limited" if value.is_empty() => Harm::Limited(None),
            "limited" => Harm::Limited(Some(number()?.into())),
            "cut-before" => Harm::CutBefore,
            "cut-after" => Harm::CutAfter,
            "status-after" => Harm::StatusAfter(number()?),
            "late-answer" => Harm::LateAnswer(wait()?),
            "half-answer" => Harm::HalfAnswer,
            "slow" => Harm::Slow(wait()?),
            _ => return Err(format!("{name}: no such fault")),
        })
    }
}

/// Those that wait for their calls.
#[derive(Debug, Default)]
pub struct Faults {
    waiting: Vec<Fault>,
}

impl Faults {
    pub fn add(&mut self, fault: Fault) {
        self.waiting.push(fault);
    }

    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// What this call meets.
    pub fn meet(&mut self, endpoint: &str, target: &str) -> Option<Harm> {
        let fits = |fault: &&mut Fault| endpoint.contains(&fault.at) || target.contains(&fault.at);
        let fault = self.waiting.iter_mut().find(fits)?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times = fault.times.saturating_sub(1);
        let harm = fault.harm;
        self.waiting.retain(|fault| fault.times > 0);
        Some(harm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_spares_first_then_harms_its_own_calls_alone() {
        let mut faults = Faults::default();
        faults.add(Fault::new(Harm::CutAfter).at("POST").after(1).times(2));
        assert_eq!(faults.meet("GET /x", "/x"), None);
        assert_eq!(faults.meet("POST /x", "/x"), None);
        assert_eq!(faults.meet("POST /x", "/x"), Some(Harm::CutAfter));
        assert_eq!(faults.meet("POST /x", "/x"), Some(Harm::CutAfter));
        assert_eq!(faults.meet("POST /x", "/x"), None);
    }
}
