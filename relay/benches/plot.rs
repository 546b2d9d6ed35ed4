//! The run as a picture: one block of bars per row that is worth a look. Plain SVG, readable on light and
//! dark pages.

use std::fmt::Write;

use crate::results::Results;

/// Workload, unit, title.
const ROWS: [(&str, &str, &str); 5] = [
    (
        "COPY wide",
        "CPU s/GB",
        "CPU of both ends per GB of COPY, seconds (less is better)",
    ),
    (
        "pgbench -S -c 16",
        "CPU us/txn",
        "CPU of both ends per transaction, microseconds (less)",
    ),
    ("COPY typical", "MB/s", "COPY of typical rows, MB/s (more)"),
    ("one COPY", "MB/s", "One COPY, MB/s (more)"),
    (
        "8 COPYs + pgbench -c 8",
        "p95 ms",
        "pgbench's p95 beside eight COPYs, ms (less)",
    ),
];

const LINE: u32 = 18;
const LABEL: u32 = 150;
const BAR: f64 = 480.0;
const WIDTH: u32 = 720;

pub fn svg(results: &Results) -> String {
    let (mut body, mut y) = (String::new(), LINE);
    for shape in results.shapes() {
        for row in ROWS {
            y = block(&mut body, results, shape, row, y);
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#777\">\n{body}</svg>\n"
    )
}

fn block(
    body: &mut String,
    results: &Results,
    shape: &str,
    (workload, unit, title): (&str, &str, &str),
    mut y: u32,
) -> u32 {
    let bars: Vec<(&str, f64)> = results
        .transports(shape)
        .into_iter()
        .filter_map(|name| Some((name, results.median_of(shape, name, (workload, unit))?)))
        .collect();
    let most = bars.iter().map(|bar| bar.1).fold(0.0, f64::max);
    if most <= 0.0 {
        return y;
    }
    // Writing into a string does not fail.
    let _ = writeln!(
        body,
        "<text x=\"4\" y=\"{y}\" font-weight=\"bold\">{}: {title}</text>",
        escaped(shape)
    );
    for (name, value) in bars {
        y += LINE;
        let color = if name.starts_with("tidegate") {
            "#2a78c8"
        } else {
            "#9aa4ae"
        };
        let (top, width) = (y - 11, (value / most * BAR).max(1.0));
        let end = f64::from(LABEL) + width + 6.0;
        let _ = writeln!(
            body,
            "<text x=\"4\" y=\"{y}\">{}</text><rect x=\"{LABEL}\" y=\"{top}\" width=\"{width:.1}\" \
             height=\"13\" fill=\"{color}\"/><text x=\"{end:.1}\" y=\"{y}\">{value:.2}</text>",
            escaped(name)
        );
    }
    y + 2 * LINE
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
