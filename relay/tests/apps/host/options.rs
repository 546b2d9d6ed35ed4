//! How a double is started.

use serde_json::Value;

/// Built up, then given to an app's `start`.
#[derive(Clone, Debug)]
pub struct Options {
    /// 0: any that is free.
    pub port: u16,
    pub token: String,
    /// Whether there are tables and records to look at; otherwise there is an empty account.
    pub has_sample: bool,
    /// Further records of the sample's first table.
    pub rows: usize,
    /// What is there from the start, made by hand in this order: (what, with), as for
    /// `Running::hand`.
    pub made: Vec<(String, Value)>,
    pub traps: Vec<String>,
    /// Ids follow from it.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            port: 0,
            token: "double-token".to_owned(),
            has_sample: true,
            rows: 0,
            made: Vec::new(),
            traps: Vec::new(),
            seed: 1,
        }
    }
}

impl Options {
    /// An account with the sample.
    pub fn new() -> Options {
        Options::default()
    }

    /// An account without tables.
    pub fn empty() -> Options {
        Options {
            has_sample: false,
            ..Options::default()
        }
    }

    #[must_use]
    pub fn port(mut self, port: u16) -> Options {
        self.port = port;
        self
    }

    #[must_use]
    pub fn token(mut self, token: &str) -> Options {
        token.clone_into(&mut self.token);
        self
    }

    #[must_use]
    pub fn rows(mut self, rows: usize) -> Options {
        self.rows = rows;
        self
    }

    /// Something that is there from the start; see `Running::hand` and the app's module.
    #[must_use]
    pub fn made(mut self, what: &str, with: Value) -> Options {
        self.made.push((what.to_owned(), with));
        self
    }

    /// `stale-reads=2s`; a wrong one is told by `start`.
    #[must_use]
    pub fn trap(mut self, setting: &str) -> Options {
        self.traps.push(setting.to_owned());
        self
    }
}
