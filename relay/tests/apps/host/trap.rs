//! Traps: what is unpleasant about an app, by name, to be switched while it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A trap as it is documented.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    pub name: &'static str,
    /// `on`, `off`, a time (`2s`, `300ms`, `7d`) or a number: how the app is unless told otherwise.
    pub usual: &'static str,
    pub what: &'static str,
}

/// Those of every app.
pub const EVERYWHERE: &[Trap] = &[
    Trap {
        name: "limits",
        usual: "1",
        what: "rate limits: off, or how many times the documented rate is allowed",
    },
    Trap {
        name: "retry-after",
        usual: "on",
        what: "a refusal for rate says for how long, where the app ever does",
    },
    Trap {
        name: "clock-skew",
        usual: "0ms",
        what: "how far the app's clock is ahead (-90s: behind)",
    },
    Trap {
        name: "latency",
        usual: "0ms",
        what: "time that each call takes",
    },
    Trap {
        name: "read-only",
        usual: "off",
        what: "the token may not write",
    },
    Trap {
        name: "token-revoked",
        usual: "off",
        what: "the token is no longer good",
    },
    Trap {
        name: "stale-reads",
        usual: "0ms",
        what: "reads see writes only after so long",
    },
    Trap {
        name: "shifting-pages",
        usual: "off",
        what: "pages are positions in an order that edits change: rows are skipped or come twice",
    },
    Trap {
        name: "hooks-lost",
        usual: "0",
        what: "of each N notices one is lost",
    },
    Trap {
        name: "hooks-doubled",
        usual: "off",
        what: "each notice comes twice",
    },
    Trap {
        name: "hooks-late",
        usual: "0ms",
        what: "notices come so much later, and the later ones first",
    },
    Trap {
        name: "hooks-signed",
        usual: "on",
        what: "on, off, or wrong: whether notices bear a valid signature",
    },
];

/// The state of all traps of one app.
#[derive(Clone, Debug)]
pub struct Traps {
    known: Arc<Vec<Trap>>,
    set: BTreeMap<String, String>,
}

impl Traps {
    pub fn new(own: &[Trap]) -> Traps {
        // An app's own word on a trap comes first.
        Traps {
            known: Arc::new(own.iter().chain(EVERYWHERE).copied().collect()),
            set: BTreeMap::new(),
        }
    }

    /// `name=value`; `name` alone is `name=on`.
    pub fn set(&mut self, setting: &str) -> Result<(), String> {
        let (name, value) = setting.split_once('=').unwrap_or((setting, "on"));
        if !self.known.iter().any(|trap| trap.name == name) {
            let names: Vec<&str> = self.known.iter().map(|trap| trap.name).collect();
            return Err(format!(
                "{name}: no such trap; there are {}",
                names.join(", ")
            ));
        }
        let is_word = ["on", "off", "wrong"].contains(&value);
        if !is_word && duration(value).is_none() && value.parse::<f64>().is_err() {
            return Err(format!(
                "{setting}: on, off, a number, or a time like 2s is meant"
            ));
        }
        self.set.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    pub fn text(&self, name: &str) -> &str {
        if let Some(value) = self.set.get(name) {
            return value;
        }
        let known = self.known.iter().find(|trap| trap.name == name);
        known.map_or("off", |trap| trap.usual)
    }

    pub fn is_on(&self, name: &str) -> bool {
        !matches!(self.text(name), "off" | "0" | "0ms")
    }

    /// 0 when off.
    pub fn ms(&self, name: &str) -> i64 {
        let text = self.text(name);
        let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let ms = duration(text).map_or(0, |time| time.as_millis());
        sign * i64::try_from(ms).unwrap_or(i64::MAX)
    }

    /// `None` when off.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.text(name).parse().ok()
    }
}

/// `300ms`, `2s`, `5m`, `2h`, `7d`, with a sign perhaps.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_start_matches('-');
    let unit_at = digits.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = digits.split_at(unit_at);
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.saturating_mul(unit_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_are_set_by_name_and_unknown_ones_refused() {
        let mut traps = Traps::new(&[]);
        assert!(!traps.is_on("read-only"));
        assert!(traps.is_on("retry-after"));
        traps.set("read-only").unwrap();
        traps.set("stale-reads=2s").unwrap();
        traps.set("clock-skew=-90s").unwrap();
        assert!(traps.is_on("read-only"));
        assert_eq!(traps.ms("stale-reads"), 2_000);
        assert_eq!(traps.ms("clock-skew"), -90_000);
        assert!(
            traps
                .set("stale-reeds=2s")
                .unwrap_err()
                .contains("stale-reads")
        );
        assert!(traps.set("stale-reads=soon").is_err());
    }
}
