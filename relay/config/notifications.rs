//! `[notifications]`: what whoever runs the relay chooses about them; where they go is told by channels.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, Source};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notifications {
    /// Where people find the console: messages lead there. `None`: they have no links.
    pub console_url: Option<String>,
    /// Nothing waits longer before it is told; `None`: as long as each kind of event says.
    pub delay_max: Option<Duration>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawNotifications {
    console_url: Option<Spanned<String>>,
    delay_max: Option<Spanned<String>>,
}

impl Notifications {
    pub(super) fn read(
        source: &Source<'_>,
        raw: RawNotifications,
    ) -> Result<Notifications, ConfigError> {
        let console = "TIDEGATE_NOTIFICATIONS_CONSOLE_URL";
        let delay = "TIDEGATE_NOTIFICATIONS_DELAY_MAX";
        Ok(Notifications {
            console_url: source.one(console, raw.console_url, web_address)?,
            delay_max: source.one(delay, raw.delay_max, duration)?,
        })
    }

    /// Messages lead where browsers find the console, unless told otherwise.
    pub(super) fn or_console_at(mut self, public_url: Option<&str>) -> Notifications {
        self.console_url = self.console_url.or(public_url.map(str::to_owned));
        self
    }

    pub(super) fn render(&self) -> String {
        let mut out = "\n[notifications]\n".to_owned();
        match &self.console_url {
            Some(url) => out += &format!("console_url = {url:?}\n"),
            None => out += "# console_url is not set: messages have no links\n",
        }
        if let Some(delay) = self.delay_max {
            out += &format!("delay_max = \"{}s\"\n", delay.as_secs());
        }
        out
    }
}

/// What was found is not repeated: it may hold a password.
pub(super) fn web_address(text: &str) -> Result<String, String> {
    let wrong = || "expected a URL such as \"https://tidegate.example.com\"".to_owned();
    let url = reqwest::Url::parse(text).map_err(|_| wrong())?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
    let has_more = url.query().is_some() || url.fragment().is_some();
    match is_web && !has_more && url.username().is_empty() && url.password().is_none() {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err(wrong()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as \"30s\", \"15m\" or \"2h\"".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| wrong())?;
    let seconds = number.checked_mul(factor).filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_addresses_are_read_or_refused() {
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        for wrong in ["", "0s", "5", "m", "1d", "-1s", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        let url = web_address("https://tidegate.example.com/");
        assert_eq!(url.as_deref(), Ok("https://tidegate.example.com"));
        for wrong in [
            "",
            "tidegate",
            "ftp://a",
            "https://u:hunter2@a",
            "https://a/?b",
        ] {
            let refusal = web_address(wrong).expect_err(wrong);
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
    }
}
