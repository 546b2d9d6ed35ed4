//! How long history keeps values: `history = "7d"` in a sync file, or `"off"`.

use std::time::Duration;

/// How long history keeps what writes replaced and left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// No values, and so no undo; who wrote what and when is kept for the default time.
    Off,
    For(Duration),
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for Retention {
    fn default() -> Self {
        Retention::For(7 * DAY)
    }
}

impl Retention {
    /// Longest: a history of all values for longer is a copy of the data, which belongs elsewhere.
    pub const MAX: Duration = Duration::from_secs(366 * 24 * 3600);

    pub fn keeps_values(self) -> bool {
        self != Retention::Off
    }

    /// How long a write is remembered at all.
    pub fn time(self) -> Duration {
        match (self, Retention::default()) {
            (Retention::For(time), _) | (Retention::Off, Retention::For(time)) => time,
            (Retention::Off, Retention::Off) => Duration::ZERO,
        }
    }

    pub(super) fn parse(text: &str) -> Option<Retention> {
        if text == "off" {
            return Some(Retention::Off);
        }
        let unit = match text.chars().next_back()? {
            'h' => HOUR,
            'd' => DAY,
            _ => return None,
        };
        let count: u32 = text[..text.len() - 1].parse().ok()?;
        let time = unit.checked_mul(count)?;
        (time >= HOUR && time <= Retention::MAX).then_some(Retention::For(time))
    }

    pub(super) fn render(self) -> String {
        match self {
            Retention::Off => "off".to_owned(),
            Retention::For(time) if time.as_secs().is_multiple_of(DAY.as_secs()) => {
                format!("{}d", time.as_secs() / DAY.as_secs())
            }
            Retention::For(time) => format!("{}h", time.as_secs() / HOUR.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_hours_or_days_and_reads_back() {
        for text in ["off", "1h", "36h", "7d", "366d"] {
            let read = Retention::parse(text).map(Retention::render);
            assert_eq!(read.as_deref(), Some(text));
        }
        for text in [
            "",
            "7",
            "d",
            "0d",
            "-1d",
            "7w",
            "367d",
            "99999999999d",
            "7 d",
            "٣d",
        ] {
            assert_eq!(Retention::parse(text), None, "{text}");
        }
        assert_eq!(Retention::default().render(), "7d");
    }
}
