//! What was measured, as `results.json` keeps it.

use serde::{Deserialize, Serialize};

use crate::statistics::{median, ratio};

/// One number of one workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    pub workload: String,
    pub unit: String,
    pub value: f64,
}

impl Figure {
    pub fn new(workload: &str, unit: &str, value: f64) -> Figure {
        Figure {
            workload: workload.to_owned(),
            unit: unit.to_owned(),
            value,
        }
    }
}

/// A figure of one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// The path: loopback, or a link's rate, round trip and loss.
    pub shape: String,
    pub transport: String,
    pub round: u32,
    #[serde(flatten)]
    pub figure: Figure,
}

/// The whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub date: String,
    /// Processor, kernel, PostgreSQL, and how busy the machine was.
    pub machine: Vec<String>,
    pub quick: bool,
    pub rounds: u32,
    /// What was not measured, and why.
    pub missing: Vec<String>,
    pub samples: Vec<Sample>,
}

impl Results {
    pub fn add(&mut self, shape: &str, transport: &str, round: u32, figures: Vec<Figure>) {
        self.samples
            .extend(figures.into_iter().map(|figure| Sample {
                shape: shape.to_owned(),
                transport: transport.to_owned(),
                round,
                figure,
            }));
    }

    /// Each round of a peer that stalls fails alike: once is enough.
    pub fn miss(&mut self, shape: &str, transport: &str, error: &anyhow::Error) {
        let text = format!("{error:#}");
        let first = text.lines().next().unwrap_or_default();
        let text = format!("{shape}, {transport}: {first}");
        if !self.missing.contains(&text) {
            self.missing.push(text);
        }
    }

    /// Those of one cell of the table, by round.
    pub fn rounds_of(&self, shape: &str, transport: &str, row: (&str, &str)) -> Vec<(u32, f64)> {
        let is_it = |sample: &&Sample| {
            sample.shape == shape
                && sample.transport == transport
                && (sample.figure.workload.as_str(), sample.figure.unit.as_str()) == row
        };
        let found = self.samples.iter().filter(is_it);
        found
            .map(|sample| (sample.round, sample.figure.value))
            .collect()
    }

    pub fn median_of(&self, shape: &str, transport: &str, row: (&str, &str)) -> Option<f64> {
        let values: Vec<f64> = self
            .rounds_of(shape, transport, row)
            .iter()
            .map(|entry| entry.1)
            .collect();
        median(&values)
    }

    pub fn ratio_of(
        &self,
        shape: &str,
        (transport, to): (&str, &str),
        row: (&str, &str),
    ) -> Option<f64> {
        let reference = self.rounds_of(shape, to, row);
        ratio(&self.rounds_of(shape, transport, row), &reference)
    }

    /// Distinct values in the order in which they were first measured.
    pub fn shapes(&self) -> Vec<&str> {
        distinct(self.samples.iter().map(|sample| sample.shape.as_str()))
    }

    pub fn transports(&self, shape: &str) -> Vec<&str> {
        let of_shape = self.samples.iter().filter(|sample| sample.shape == shape);
        distinct(of_shape.map(|sample| sample.transport.as_str()))
    }

    /// Workloads and units.
    pub fn rows(&self, shape: &str) -> Vec<(&str, &str)> {
        let of_shape = self.samples.iter().filter(|sample| sample.shape == shape);
        let rows = of_shape.map(|s| (s.figure.workload.as_str(), s.figure.unit.as_str()));
        distinct(rows)
    }
}

fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut all = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}
