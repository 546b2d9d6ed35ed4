//! A call and its answer, and which function of an app takes which path.

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::Value;

use super::World;

/// A request that has been read whole.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    /// Decoded, without empty ones.
    pub path: Vec<String>,
    /// As sent, with the query.
    pub target: String,
    /// Decoded, in the order sent.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The pattern that took it: `GET /v0/{base}/{table}`.
    pub endpoint: &'static str,
    /// What stood in the pattern's braces.
    pub params: Vec<String>,
}

impl Call {
    pub fn param(&self, at: usize) -> &str {
        self.params.get(at).map_or("", String::as_str)
    }

    /// The first value of that name.
    pub fn query(&self, name: &str) -> Option<&str> {
        let mut found = self.query.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// Every value of `name` and of `name[]`.
    pub fn query_all(&self, name: &str) -> Vec<&str> {
        let is = |key: &str| key == name || key.strip_suffix("[]") == Some(name);
        let found = self.query.iter().filter(|(key, _)| is(key));
        found.map(|(_, value)| value.as_str()).collect()
    }

    pub fn query_number(&self, name: &str) -> Option<usize> {
        self.query(name)?.parse().ok()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// An empty body is `null`.
    pub fn json(&self) -> Result<Value, serde_json::Error> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body)
    }

    pub fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

impl Answer {
    pub fn json(status: u16, body: &Value) -> Answer {
        Answer {
            status,
            headers: vec![("content-type", "application/json; charset=utf-8".to_owned())],
            body: body.to_string().into(),
        }
    }

    pub fn ok(body: &Value) -> Answer {
        Answer::json(200, body)
    }

    pub fn empty(status: u16) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }
}

/// `Err` is an answer too: of a call that did nothing.
pub type Outcome = Result<Answer, Answer>;

/// Which function takes which calls.
pub struct Route<A> {
    /// `GET /v0/{base}/{table}`.
    pub pattern: &'static str,
    pub act: fn(&mut A, &Call, &mut World) -> Outcome,
}

/// What stands in the braces of `pattern`, if it takes this call.
pub fn params(pattern: &str, method: &str, path: &[String]) -> Option<Vec<String>> {
    let (its_method, its_path) = pattern.split_once(' ')?;
    let parts: Vec<&str> = its_path
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    if its_method != method || parts.len() != path.len() {
        return None;
    }
    let mut found = Vec::new();
    for (part, given) in parts.iter().zip(path) {
        if part.starts_with('{') {
            // `{range}:append`: an action behind the name.
            let action = part.split_once('}').map_or("", |(_, action)| action);
            let name = given.strip_suffix(action)?;
            let is_other_action = action.is_empty() && !part.ends_with("…}") && is_action(given);
            if name.is_empty() || is_other_action {
                return None;
            }
            found.push(name.to_owned());
        } else if part != given {
            return None;
        }
    }
    Some(found)
}

/// Google's custom verbs stand behind a colon: `…/abc:batchUpdate`. A range has colons as well, but
/// ends in an address and never in one of these.
fn is_action(part: &str) -> bool {
    let verb = part.rsplit_once(':').map_or("", |(_, verb)| verb);
    matches!(
        verb,
        "append" | "clear" | "getByDataFilter" | "batchUpdate" | "batchGet"
    ) || verb.starts_with("batch") && verb.len() > 5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, call: &str, expected: Option<&[&str]>) {
        let (method, path) = call.split_once(' ').expect("a call is a method and a path");
        let path: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
        let found = params(pattern, method, &path);
        let expected = expected.map(|all| all.iter().map(|part| (*part).to_owned()).collect());
        assert_eq!(found, expected, "{pattern}: {call}");
    }

    #[test]
    fn pattern_takes_its_own_calls_alone() {
        check("GET /v0/{base}/{table}", "GET /v0/a/b", Some(&["a", "b"]));
        check("GET /v0/{base}/{table}", "POST /v0/a/b", None);
        check("GET /v0/{base}/{table}", "GET /v0/a/b/c", None);
        check(
            "PUT /s/{id}/values/{range}",
            "PUT /s/1/values/A1:B2",
            Some(&["1", "A1:B2"]),
        );
        check(
            "PUT /s/{id}/values/{range}",
            "PUT /s/1/values/A1:append",
            None,
        );
        check(
            "PUT /s/{id}/values/{range}:append",
            "PUT /s/1/values/A1:B2:append",
            Some(&["1", "A1:B2"]),
        );
        check(
            "POST /s/{id}:batchUpdate",
            "POST /s/1:batchUpdate",
            Some(&["1"]),
        );
    }
}
