//! The manifests that come with the program.

use std::sync::{Arc, LazyLock};

use super::manifest::{Manifest, load};

/// Names and texts.
const BUILT_IN: &[(&str, &str)] = &[
    ("airtable", include_str!("airtable.toml")),
    ("hubspot", include_str!("hubspot.toml")),
    ("kinto", include_str!("kinto.toml")),
    ("nocodb", include_str!("nocodb.toml")),
    ("notion", include_str!("notion.toml")),
    ("webflow", include_str!("webflow.toml")),
];

static LOADED: LazyLock<Vec<Arc<Manifest>>> = LazyLock::new(|| {
    let texts = BUILT_IN.iter();
    // A test loads each of them.
    texts
        .filter_map(|(_, text)| load(text).ok().map(Arc::new))
        .collect()
});

/// The manifest of that name.
pub fn built_in(name: &str) -> Option<Arc<Manifest>> {
    LOADED
        .iter()
        .find(|manifest| manifest.name == name)
        .cloned()
}

/// The text of that manifest.
pub fn text(name: &str) -> Option<&'static str> {
    let found = BUILT_IN.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| *text)
}

/// All names.
pub fn names() -> Vec<&'static str> {
    BUILT_IN.iter().map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_example_of_the_documentation_is_a_manifest() {
        let page = include_str!("../../../../docs/connectors.md");
        let example = page.split("```toml\n").nth(1).unwrap();
        let example = example.split("```").next().unwrap();
        let manifest = load(example).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(manifest.name, "notes");
    }

    #[test]
    fn every_manifest_loads_under_its_name() {
        for (name, text) in BUILT_IN {
            let manifest = load(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(manifest.name, *name);
            assert!(built_in(name).is_some());
        }
    }
}
