//! Where in a JSON document something is: `data.items.0.name`; `*` is each item of a list.

use serde_json::Value as Json;

use super::manifest::Sign;

/// Whether it is there as the sign says.
pub(super) fn shows(document: &Json, sign: &Sign) -> bool {
    *find(document, &sign.at).unwrap_or(&Json::Null) == sign.is
}

/// What is there; the empty path is the document itself.
pub(super) fn find<'a>(document: &'a Json, path: &str) -> Option<&'a Json> {
    let mut at = document;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        at = match at {
            Json::Array(items) => items.get(step.parse::<usize>().ok()?)?,
            Json::Object(_) => at.get(step)?,
            _ => return None,
        };
    }
    Some(at)
}

/// What is there as text: a text itself, a number or a boolean as it is printed.
pub(super) fn text(document: &Json, path: &str) -> Option<String> {
    match find(document, path)? {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// The items that are there; none where it is no list.
pub(super) fn items<'a>(document: &'a Json, path: &str) -> &'a [Json] {
    let found = find(document, path).and_then(Json::as_array);
    found.map_or(&[], Vec::as_slice)
}

/// The items that are there, of a list or of what is keyed by names.
pub(super) fn members<'a>(document: &'a Json, path: &str) -> Vec<&'a Json> {
    match find(document, path) {
        Some(Json::Array(items)) => items.iter().collect(),
        Some(Json::Object(entries)) => entries.values().collect(),
        _ => Vec::new(),
    }
}

/// Everything that a path with one `*` leads to.
pub(super) fn all<'a>(document: &'a Json, list: &str, rest: &str) -> Vec<&'a Json> {
    let items = items(document, list.trim_end_matches('.')).iter();
    items.filter_map(|item| find(item, rest)).collect()
}

/// Every text that a path with at most one `*` leads to.
pub(super) fn texts(document: &Json, path: &str) -> Vec<String> {
    match path.split_once('*') {
        None => text(document, path).into_iter().collect(),
        Some((list, rest)) => {
            let items = items(document, list.trim_end_matches('.')).iter();
            items.filter_map(|item| text(item, rest)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_through_objects_and_lists() {
        let document = json!({"a": [{"b": 1}, {"b": "x"}], "": 2});
        assert_eq!(text(&document, "a.1.b"), Some("x".into()));
        assert_eq!(texts(&document, "a.*.b"), ["1", "x"]);
        assert_eq!(find(&document, ""), Some(&document));
        assert_eq!(find(&document, "a.b"), None);
        assert!(items(&document, "a.0").is_empty());
    }
}
