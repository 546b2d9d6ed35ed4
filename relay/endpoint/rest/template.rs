//! Texts of a manifest with variables in braces: `/tables/{table}/records/{id}`.
//!
//! A tiny language on purpose: variables, and nothing else; `{{` and `}}` are braces themselves. In a
//! path a variable is encoded; in a query one that is a list becomes a parameter for each item; in a
//! body a text that is one variable and nothing else becomes its value, whatever JSON that is.
//! Parts of a query, of headers and of a body whose variables have no value are left out.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::Value as Json;

use super::manifest::Request;

/// All but RFC 3986's unreserved characters.
const RESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Values of variables.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables(BTreeMap<&'static str, Json>);

impl Variables {
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Json>) {
        self.0.insert(name, value.into());
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<Json>) -> Variables {
        self.set(name, value);
        self
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Json::Null => None,
            Json::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

/// A request that can be sent below a base URL.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub method: Method,
    /// With its query, encoded.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Json>,
}

/// Fills a request's variables in. The loader has checked their names; a path's that has no value
/// is the caller's mistake and becomes an empty segment.
pub(super) fn prepare(request: &Request, variables: &Variables) -> Prepared {
    let mut path = String::new();
    for part in parts(&request.path) {
        match part {
            Part::Text(text) | Part::Brace(text) => path.push_str(text),
            Part::Variable(name) => {
                path.push_str(&encode(&variables.text(name).unwrap_or_default()));
            }
        }
    }
    let mut separator = '?';
    for (name, value) in &request.query {
        let Some(name) = fill(name, variables) else {
            continue;
        };
        for value in values(value, variables) {
            path.push(separator);
            separator = '&';
            path.push_str(&encode(&name));
            path.push('=');
            path.push_str(&encode(&value));
        }
    }
    let headers = request.headers.iter();
    let headers = headers.filter_map(|(name, value)| Some((name.clone(), fill(value, variables)?)));
    Prepared {
        method: Method::from_bytes(request.method.as_bytes()).unwrap_or(Method::GET),
        path,
        headers: headers.collect(),
        body: request
            .body
            .as_ref()
            .and_then(|body| render(body, variables)),
    }
}

/// What a parameter is: several times where its variable is a list, not at all without a value.
fn values(template: &str, variables: &Variables) -> Vec<String> {
    let list = sole(template).and_then(|name| variables.0.get(name)?.as_array());
    match list {
        Some(items) => items
            .iter()
            .filter_map(|item| Some(item.as_str()?.to_owned()))
            .collect(),
        None => fill(template, variables).into_iter().collect(),
    }
}

/// The JSON that a template makes; `None` when it is one variable without a value.
pub(super) fn render(template: &Json, variables: &Variables) -> Option<Json> {
    Some(match template {
        Json::String(text) => match sole(text) {
            Some(name) => variables.0.get(name)?.clone(),
            None => Json::String(fill(text, variables)?),
        },
        Json::Array(items) => {
            let items = items.iter().filter_map(|item| render(item, variables));
            Json::Array(items.collect())
        }
        Json::Object(entries) => {
            let entries = entries.iter();
            let filled = entries.filter_map(|(name, value)| {
                Some((fill(name, variables)?, render(value, variables)?))
            });
            Json::Object(filled.collect())
        }
        other => other.clone(),
    })
}

/// Names of the variables of a text; `Err` for a brace without its other half.
pub(super) fn names(text: &str) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    for part in parts(text) {
        match part {
            Part::Text(text) if text.contains(['{', '}']) => {
                return Err("a brace lacks its other half".to_owned());
            }
            Part::Text(_) | Part::Brace(_) => {}
            Part::Variable(name) => names.push(name),
        }
    }
    Ok(names)
}

enum Part<'a> {
    Text(&'a str),
    Brace(&'a str),
    Variable(&'a str),
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let brace = &rest[at..=at];
        let is_doubled = rest[at + 1..].starts_with(brace);
        let close = rest[at..].find('}').filter(|_| brace == "{");
        let (part, end) = match close {
            _ if is_doubled => (Part::Brace(brace), at + 2),
            Some(close) => (Part::Variable(&rest[at + 1..at + close]), at + close + 1),
            None => break,
        };
        if at > 0 {
            parts.push(Part::Text(&rest[..at]));
        }
        parts.push(part);
        rest = &rest[end..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    parts
}

/// The variable that the text consists of.
fn sole(text: &str) -> Option<&str> {
    match parts(text).as_slice() {
        [Part::Variable(name)] => Some(name),
        _ => None,
    }
}

/// The text with its variables filled in; `None` when one has no value.
pub(super) fn fill(text: &str, variables: &Variables) -> Option<String> {
    let mut filled = String::new();
    for part in parts(text) {
        match part {
            Part::Text(text) | Part::Brace(text) => filled.push_str(text),
            Part::Variable(name) => filled.push_str(&variables.text(name)?),
        }
    }
    Some(filled)
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    utf8_percent_encode(text, &RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(toml: &str) -> Request {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn a_path_is_encoded_and_what_has_no_value_is_left_out() {
        let request = request(
            r#"path = "/t/{table}/{id}"
               query = { a = "{since}", b = "{cursor}", "in_{field}" = "x{since}" }
               headers = { If-Match = '"{version}"' }"#,
        );
        let variables = Variables::default()
            .with("table", "a/b")
            .with("id", "ü?")
            .with("field", "n")
            .with("since", 7);
        let made = prepare(&request, &variables);
        assert_eq!(made.path, "/t/a%2Fb/%C3%BC%3F?a=7&in_n=x7");
        assert!(made.headers.is_empty());
    }

    #[test]
    fn a_text_that_is_one_variable_becomes_its_json() {
        let variables = Variables::default()
            .with("fields", json!({"a": null}))
            .with("id", "7");
        let template = json!({"data": "{fields}", "key": "no-{id}", "rest": "{cursor}", "n": [1]});
        let made = render(&template, &variables);
        assert_eq!(
            made,
            Some(json!({"data": {"a": null}, "key": "no-7", "n": [1]}))
        );
    }

    #[test]
    fn doubled_braces_are_braces_and_lists_are_repeated_parameters() {
        let variables = Variables::default()
            .with("field", "a")
            .with("items", json!(["x", "y"]));
        let filled = fill("OR({{{field}}}=1)", &variables);
        assert_eq!(filled.as_deref(), Some("OR({a}=1)"));
        assert_eq!(names("{{{field}}}"), Ok(vec!["field"]));
        let request = request(
            r#"path = "/t"
               query = { "records[]" = "{items}" }"#,
        );
        let made = prepare(&request, &variables);
        assert_eq!(made.path, "/t?records%5B%5D=x&records%5B%5D=y");
    }

    #[test]
    fn a_lonely_brace_is_an_error() {
        assert_eq!(names("a{b}{c}"), Ok(vec!["b", "c"]));
        assert!(names("a{b").is_err());
        assert!(names("ab}").is_err());
    }
}
