//! What is told of what is seen: a thing begins when it was bad for as long as its event says, and is over
//! when it was well for a while; in between it is not told again. Pure.

use std::collections::HashMap;
use std::time::Duration;

use super::event::{Detail, Event, Subject};
use super::limits::CALM;
use super::watch::{Sight, Verdict};

/// A thing of one workspace.
pub(super) type Thing = (String, Event, Subject);

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub thing: Thing,
    pub detail: Detail,
    pub since_ms: i64,
    pub is_over: bool,
}

/// How one thing stands.
#[derive(Clone, Copy, Debug)]
enum Standing {
    /// Bad since then, and not told yet.
    Suspected { since_ms: i64 },
    /// Told; well again since then, if it is.
    Told {
        since_ms: i64,
        well_since_ms: Option<i64>,
    },
}

/// Everything that is, or may be, the matter.
#[derive(Debug, Default)]
pub(super) struct Matters {
    things: HashMap<Thing, Standing>,
    /// No wait is longer than this.
    delay_max: Option<Duration>,
}

impl Matters {
    pub(super) fn new(delay_max: Option<Duration>) -> Matters {
        Matters {
            things: HashMap::new(),
            delay_max,
        }
    }

    /// It was told, by this relay or the one before it.
    pub(super) fn remember(&mut self, thing: Thing, since_ms: i64) {
        let told = Standing::Told {
            since_ms,
            well_since_ms: None,
        };
        self.things.insert(thing, told);
    }

    /// Nobody in these workspaces is told of anything any more.
    pub(super) fn retain(&mut self, is_told: impl Fn(&str) -> bool) {
        self.things.retain(|(workspace, ..), _| is_told(workspace));
    }

    /// Takes all sights of one workspace in.
    pub(super) fn take(&mut self, workspace: &str, sights: Vec<Sight>, now_ms: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut seen = Vec::with_capacity(sights.len());
        for sight in sights {
            let thing = (workspace.to_owned(), sight.event, sight.subject);
            changes.extend(self.judge(&thing, sight.verdict, now_ms));
            seen.push(thing);
        }
        changes.extend(self.gone(workspace, &seen));
        changes.sort_by(|a, b| a.thing.cmp(&b.thing));
        changes
    }

    fn judge(&mut self, thing: &Thing, verdict: Verdict, now_ms: i64) -> Option<Change> {
        let capped = |wait: Duration| self.delay_max.map_or(wait, |most| wait.min(most));
        let (hold, calm) = (capped(thing.1.hold()), capped(CALM));
        let has_passed =
            |since_ms: i64, wait: Duration| now_ms - since_ms >= wait.as_millis() as i64;
        let change = |detail, since_ms, is_over| Change {
            thing: thing.clone(),
            detail,
            since_ms,
            is_over,
        };
        match (self.things.get(thing).copied(), verdict) {
            (_, Verdict::Unknown) | (None, Verdict::Well) => None,
            (Some(Standing::Suspected { .. }), Verdict::Well) => {
                self.things.remove(thing);
                None
            }
            (known @ (None | Some(Standing::Suspected { .. })), Verdict::Bad(detail)) => {
                let since_ms = match known {
                    Some(Standing::Suspected { since_ms }) => since_ms,
                    _ => now_ms,
                };
                if has_passed(since_ms, hold) {
                    self.remember(thing.clone(), since_ms);
                    return Some(change(detail, since_ms, false));
                }
                let suspected = Standing::Suspected { since_ms };
                self.things.insert(thing.clone(), suspected);
                None
            }
            (Some(Standing::Told { since_ms, .. }), Verdict::Bad(_)) => {
                self.remember(thing.clone(), since_ms);
                None
            }
            (
                Some(Standing::Told {
                    since_ms,
                    well_since_ms,
                }),
                Verdict::Well,
            ) => {
                let well_since = well_since_ms.unwrap_or(now_ms);
                if has_passed(well_since, calm) {
                    self.things.remove(thing);
                    return Some(change(Detail::default(), since_ms, true));
                }
                let told = Standing::Told {
                    since_ms,
                    well_since_ms: Some(well_since),
                };
                self.things.insert(thing.clone(), told);
                None
            }
        }
    }

    /// What was told of something that is no more is over.
    fn gone(&mut self, workspace: &str, seen: &[Thing]) -> Vec<Change> {
        let mut changes = Vec::new();
        self.things.retain(|thing, standing| {
            if thing.0 != workspace || seen.contains(thing) {
                return true;
            }
            if let Standing::Told { since_ms, .. } = standing {
                changes.push(Change {
                    thing: thing.clone(),
                    detail: Detail {
                        removed: true,
                        ..Detail::default()
                    },
                    since_ms: *since_ms,
                    is_over: true,
                });
            }
            false
        });
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn sight(verdict: Verdict) -> Vec<Sight> {
        vec![Sight {
            event: Event::AgentOffline,
            subject: Subject::new("agent", "office"),
            verdict,
        }]
    }

    fn bad() -> Vec<Sight> {
        sight(Verdict::Bad(Detail::default()))
    }

    /// What is told at each of these minutes: true when it begins, false when it is over.
    fn told(matters: &mut Matters, looks: Vec<(i64, Vec<Sight>)>) -> Vec<(i64, bool)> {
        let mut told = Vec::new();
        for (minute, sights) in looks {
            let changes = matters.take("w", sights, minute * MINUTE_MS);
            told.extend(changes.iter().map(|change| (minute, !change.is_over)));
        }
        told
    }

    #[test]
    fn a_thing_is_told_once_after_its_time_and_once_when_it_is_over() {
        let mut matters = Matters::default();
        let well = || sight(Verdict::Well);
        let looks = vec![
            (0, bad()),
            (4, bad()),
            (5, bad()),
            (6, bad()),
            (60, bad()),
            (61, well()),
            (62, well()),
            (63, well()),
        ];
        assert_eq!(told(&mut matters, looks), [(5, true), (62, false)]);
    }

    #[test]
    fn what_comes_and_goes_is_told_once() {
        let mut matters = Matters::default();
        let mut looks = vec![(0, bad()), (5, bad())];
        for minute in 6..60 {
            looks.push((
                minute,
                if minute % 2 == 0 {
                    bad()
                } else {
                    sight(Verdict::Well)
                },
            ));
        }
        assert_eq!(told(&mut matters, looks), [(5, true)]);
        let mut matters = Matters::default();
        let short = vec![
            (0, bad()),
            (4, sight(Verdict::Well)),
            (5, bad()),
            (9, bad()),
        ];
        assert_eq!(told(&mut matters, short), [], "never for five minutes");
    }

    #[test]
    fn what_is_not_known_changes_nothing() {
        let mut matters = Matters::default();
        let unknown = || sight(Verdict::Unknown);
        let looks = vec![(0, bad()), (3, unknown()), (5, bad()), (99, unknown())];
        assert_eq!(told(&mut matters, looks), [(5, true)]);
    }

    #[test]
    fn what_was_told_before_a_restart_is_not_told_again_and_its_end_is() {
        let mut matters = Matters::default();
        let thing = |workspace: &str| {
            let subject = Subject::new("agent", "office");
            (workspace.to_owned(), Event::AgentOffline, subject)
        };
        matters.remember(thing("w"), 7);
        matters.remember(thing("other"), 7);
        let looks = vec![(0, bad()), (60, bad())];
        assert_eq!(told(&mut matters, looks), []);
        let gone = matters.take("w", Vec::new(), 61 * MINUTE_MS);
        assert_eq!(gone.len(), 1, "the other workspace's is not seen here");
        let [gone] = &gone[..] else { unreachable!() };
        assert!(gone.is_over && gone.detail.removed && gone.since_ms == 7);
    }

    #[test]
    fn no_wait_is_longer_than_the_operator_wants() {
        let mut matters = Matters::new(Some(Duration::from_secs(60)));
        let looks = vec![(0, bad()), (1, bad())];
        assert_eq!(told(&mut matters, looks), [(1, true)]);
    }
}
