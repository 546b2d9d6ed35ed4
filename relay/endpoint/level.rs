//! The ways to learn of a side's changes, best first, and which of them a sync takes.
//!
//! A side offers each level or says what is in its way ([`Offer`]); the sync file may ask for one,
//! otherwise the first that can be had is taken ([`choose`]). Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::catalog::Problem;

/// How a side's changes are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The server's replication protocol: every commit, at once.
    #[default]
    Stream,
    /// The same slot read by SQL, where something between refuses the replication protocol.
    Peek,
    /// Statement triggers that write into an outbox beside the data.
    Triggers,
    /// Looks at the records that transactions since the last look have written.
    Poll,
    /// Looks at all records.
    Compare,
}

impl Level {
    /// The best first.
    pub const ALL: [Level; 5] = [
        Level::Stream,
        Level::Peek,
        Level::Triggers,
        Level::Poll,
        Level::Compare,
    ];

    /// As in sync files and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Level::Stream => "stream",
            Level::Peek => "peek",
            Level::Triggers => "triggers",
            Level::Poll => "poll",
            Level::Compare => "compare",
        }
    }

    /// The level of that name.
    pub fn of_name(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }

    /// What the level does not tell as it happens, for people.
    pub fn caveat(self) -> Option<&'static str> {
        match self {
            Level::Stream | Level::Peek | Level::Triggers => None,
            Level::Poll => Some(
                "by itself it can't see deletions: each look counts the records, and compares all \
                 keys when some are gone; of several changes between two looks only the last is seen",
            ),
            Level::Compare => Some(
                "each look reads all records; of several changes between two looks only the last \
                 is seen",
            ),
        }
    }
}

/// What a side says to one level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Offer {
    pub level: Level,
    /// What is in the way; empty when it can be had.
    pub obstacles: Vec<Problem>,
    /// What it does not tell as it happens, where the side's is another than the level's.
    #[serde(default)]
    pub caveat: Option<String>,
}

/// A level that was taken, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    pub level: Level,
    pub reason: String,
}

/// A level that somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub level: Level,
    /// Who asks, for people: `the sync file`.
    pub by: &'static str,
}

/// Takes `wanted`, or the first level that can be had.
///
/// # Errors
/// What is in the way of `wanted`, or of the best level when none can be had.
pub fn choose(offers: &[Offer], wanted: Option<Asked>) -> Result<Chosen, Vec<Problem>> {
    if let Some(Asked { level, by }) = wanted {
        let offer = offers.iter().find(|offer| offer.level == level);
        return match offer {
            Some(offer) if !offer.obstacles.is_empty() => Err(offer.obstacles.clone()),
            _ => Ok(Chosen {
                level,
                reason: with_caveat(level, offer, format!("{by} asks for it")),
            }),
        };
    }
    let Some(taken) = offers.iter().position(|offer| offer.obstacles.is_empty()) else {
        let best = offers.first().map(|offer| offer.obstacles.clone());
        return Err(best.unwrap_or_default());
    };
    let missed = offers[..taken].iter().map(|offer| {
        let texts: Vec<&str> = offer.obstacles.iter().map(|o| o.message.as_str()).collect();
        format!("no {}: {}", offer.level.name(), texts.join(", "))
    });
    let reason = match taken {
        0 => "the best there is".to_owned(),
        _ => missed.collect::<Vec<_>>().join("; "),
    };
    let level = offers[taken].level;
    Ok(Chosen {
        level,
        reason: with_caveat(level, offers.get(taken), reason),
    })
}

fn with_caveat(level: Level, offer: Option<&Offer>, reason: String) -> String {
    let own = offer.and_then(|offer| offer.caveat.as_deref());
    match own.or(level.caveat()) {
        Some(caveat) => format!("{reason}; {caveat}"),
        None => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(level: Level, obstacle: Option<&str>) -> Offer {
        let problem = |message: &str| Problem {
            code: "x".into(),
            message: message.into(),
            remedy: String::new(),
            blocking: true,
        };
        Offer {
            level,
            obstacles: obstacle.into_iter().map(problem).collect(),
            caveat: None,
        }
    }

    #[test]
    fn the_best_that_can_be_had_is_taken_and_says_why_not_a_better_one() {
        let offers = [
            offer(Level::Stream, Some("wal_level is replica")),
            offer(Level::Peek, Some("wal_level is replica")),
            offer(Level::Triggers, None),
        ];
        let chosen = choose(&offers, None).unwrap();
        assert_eq!(chosen.level, Level::Triggers);
        let reason = "no stream: wal_level is replica; no peek: wal_level is replica";
        assert_eq!(chosen.reason, reason);
        assert_eq!(choose(&offers[..2], None).unwrap_err().len(), 1);
    }

    #[test]
    fn what_is_asked_for_is_taken_or_refused_and_never_replaced() {
        let offers = [
            offer(Level::Stream, None),
            offer(Level::Peek, Some("no slot is free")),
            offer(Level::Triggers, None),
        ];
        assert_eq!(choose(&offers, None).unwrap().level, Level::Stream);
        let by = "the sync file";
        let level = Level::Triggers;
        let asked = choose(&offers, Some(Asked { level, by })).unwrap();
        assert_eq!(asked.level, Level::Triggers);
        assert_eq!(asked.reason, "the sync file asks for it");
        let level = Level::Peek;
        assert!(choose(&offers, Some(Asked { level, by })).is_err());
    }
}
