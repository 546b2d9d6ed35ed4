//! Documentation that must not fall behind the code.

use std::collections::BTreeSet;

const FINDINGS: &str = include_str!("../../sync/model/step.rs");
const TROUBLESHOOTING: &str = include_str!("../../../docs/troubleshooting.md");

#[test]
fn each_findings_code_has_its_section_in_the_troubleshooting_page() {
    let codes: BTreeSet<&str> = FINDINGS
        .lines()
        .filter_map(|line| line.trim().strip_prefix("FindingCode::"))
        .filter_map(|arm| arm.split(" => \"").nth(1))
        .filter_map(|code| code.strip_suffix("\","))
        .filter(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        .collect();
    assert!(codes.len() >= 13 && codes.contains("unique-violation"));
    let sections: BTreeSet<&str> = TROUBLESHOOTING
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    assert_eq!(codes, sections);
}
