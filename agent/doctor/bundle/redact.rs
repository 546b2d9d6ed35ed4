//! Takes secrets out of texts and documents: those that this host is known to hold, and what looks like
//! one.

use serde_json::Value;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::origin::password::Places;
use crate::route::Routes;

/// What stands in a secret's place.
const REMOVED: &str = "[removed]";
/// A shorter password would be found in every other word, characters.
const SECRET_CHARS_MIN: usize = 4;
/// How texts begin that are secrets up to the next character that can't be part of one.
const PREFIXES: [&str; 4] = ["tg_pair_", "password=", "Basic ", "Bearer "];

/// Knows what to look for.
pub(super) struct Redactor {
    secrets: Vec<Zeroizing<String>>,
}

impl Redactor {
    /// All passwords that can be read here now. One that can't be read was read by nobody else of ours
    /// either.
    pub(super) fn of(config: &Config) -> Redactor {
        let places = Places::from_env();
        let of_target = |target| {
            let password = places.find(target).ok().flatten()?;
            Some(String::from_utf8_lossy(password.expose()).into_owned())
        };
        let passwords = config.targets.iter().filter_map(of_target);
        let mut secrets: Vec<_> = passwords.map(Zeroizing::new).collect();
        secrets.extend(Routes::of(config).ok().and_then(|r| r.proxy_password()));
        Redactor::new(secrets)
    }

    fn new(found: Vec<Zeroizing<String>>) -> Redactor {
        let mut secrets = Vec::with_capacity(found.len());
        for secret in found {
            if secret.chars().count() < SECRET_CHARS_MIN {
                continue;
            }
            // A log may have it as a string of a document.
            let quoted = Zeroizing::new(Value::from(secret.as_str()).to_string());
            let within = quoted
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            if let Some(within) = within.filter(|within| *within != secret.as_str()) {
                secrets.push(Zeroizing::new(within.to_owned()));
            }
            secrets.push(secret);
        }
        // One that is part of another one must not break it first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Redactor { secrets }
    }

    /// Each text of a document by itself. Its keys are ours.
    pub(super) fn clean_document(&self, document: Value) -> Value {
        match document {
            Value::String(text) => Value::String(self.clean(&text)),
            Value::Array(parts) => {
                let parts = parts.into_iter().map(|part| self.clean_document(part));
                Value::Array(parts.collect())
            }
            Value::Object(members) => {
                let members = members.into_iter();
                let cleaned = members.map(|(key, part)| (key, self.clean_document(part)));
                Value::Object(cleaned.collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => document,
        }
    }

    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), REMOVED);
        }
        for prefix in PREFIXES {
            text = without_values(&text, prefix);
        }
        without_logins(&text)
    }
}

/// Takes what follows each `prefix` out, up to white space, a quote, a comma or an ampersand.
fn without_values(text: &str, prefix: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(prefix) {
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '&' | '\\');
        let value = &after[..after.find(ends).unwrap_or(after.len())];
        clean.push_str(before);
        clean.push_str(prefix);
        if !value.is_empty() {
            clean.push_str(REMOVED);
        }
        rest = &after[value.len()..];
    }
    clean + rest
}

/// Takes user and password out of URLs (`scheme://user:password@host`).
fn without_logins(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '?');
        let authority = &after[..after.find(ends).unwrap_or(after.len())];
        clean.push_str(before);
        clean.push_str("://");
        if let Some((_, place)) = authority.rsplit_once('@') {
            clean.push_str(REMOVED);
            clean.push('@');
            clean.push_str(place);
        } else {
            clean.push_str(authority);
        }
        rest = &after[authority.len()..];
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(secrets: &[&str], text: &str) -> String {
        let secrets = secrets.iter().map(|s| Zeroizing::new((*s).to_owned()));
        Redactor::new(secrets.collect()).clean(text)
    }

    #[test]
    fn known_secrets_are_removed_however_they_are_written() {
        let text = "a s3\"cret b {\"x\":\"s3\\\"cret\"} s3\"cret-longer";
        assert_eq!(
            cleaned(&["s3\"cret", "s3\"cret-longer"], text),
            "a [removed] b {\"x\":\"[removed]\"} [removed]"
        );
        // Quotes at its ends are part of it.
        assert_eq!(
            cleaned(&["\"quoted\""], r#"{"x":"\"quoted\"","y":1} "quoted""#),
            r#"{"x":"[removed]","y":1} [removed]"#
        );
        // Too short to be searched for without making the rest unreadable.
        assert_eq!(cleaned(&["abc"], "abcdef"), "abcdef");
    }

    #[test]
    fn documents_stay_documents_whatever_a_secret_looks_like() {
        let document = serde_json::json!({
            "state": "waiting",
            "sessions": 4711,
            "last_error": "login of ada: state\":\" is wrong",
            "nested": [{ "text": "password=hunter2 x" }, null, true],
        });
        let secrets = ["state", "4711", "state\":\""];
        let secrets = secrets.map(|secret| Zeroizing::new(secret.to_owned()));
        let cleaned = Redactor::new(secrets.into()).clean_document(document);
        let expected = serde_json::json!({
            "state": "waiting",
            "sessions": 4711,
            "last_error": "login of ada: [removed] is wrong",
            "nested": [{ "text": "password=[removed] x" }, null, true],
        });
        assert_eq!(cleaned, expected);
    }

    #[test]
    fn what_looks_like_a_secret_is_removed() {
        for (text, expected) in [
            (
                "proxy http://ada:pw@proxy:3128/x failed",
                "proxy http://[removed]@proxy:3128/x failed",
            ),
            ("https://example.com/a@b", "https://example.com/a@b"),
            ("\"tg_pair_1Ab-C_d\"", "\"tg_pair_[removed]\""),
            (
                "host=x password=hunter2 user=y",
                "host=x password=[removed] user=y",
            ),
            ("password=", "password="),
            (
                "Proxy-Authorization: Basic YWRh==",
                "Proxy-Authorization: Basic [removed]",
            ),
        ] {
            assert_eq!(cleaned(&[], text), expected);
        }
    }
}
