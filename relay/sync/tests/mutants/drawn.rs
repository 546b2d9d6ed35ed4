//! Mutants that follow from the form of the sources: a function that does nothing or always answers
//! the same, a condition that holds when it should not.

use std::collections::HashMap;

use crate::mutant::{Insert, Mutant, Source, What};

/// Functions that only describe, for logs.
const SPARED: &[&str] = &["describe", "describe_open", "fmt"];

pub fn mutants(source: &Source) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let mut named: HashMap<String, usize> = HashMap::new();
    let mut place = Place::default();
    let mut at = 0;
    for line in source.text[..source.end].split_inclusive('\n') {
        place.enter(line);
        if let Some(function) = &place.function
            && !SPARED.contains(&function.as_str())
        {
            let owner = place.owner();
            for (what, inserts) in of_line(line, at, place.signature.take()) {
                let name = format!("{} {owner}: {what}", source.file);
                let count = named.entry(name.clone()).or_default();
                *count += 1;
                let name = match *count {
                    1 => name,
                    count => format!("{name} ({count})"),
                };
                mutants.push(Mutant {
                    name,
                    file: source.file,
                    inserts,
                });
            }
        }
        at += line.len();
    }
    mutants
}

/// In which function a line is.
#[derive(Default)]
struct Place {
    block: Option<String>,
    function: Option<String>,
    /// The function's signature as far as it was read.
    open: Option<String>,
    /// What it returns, on the line on which its body begins.
    signature: Option<String>,
}

impl Place {
    fn enter(&mut self, line: &str) {
        let text = line.trim();
        if !line.starts_with(' ') && text.starts_with("impl") {
            let name = text.rsplit(' ').nth(1).unwrap_or(text);
            self.block = Some(name.split('<').next().unwrap_or(name).to_owned());
        }
        if line.starts_with('}') {
            self.block = None;
        }
        if let Some(name) = function_name(text) {
            self.function = Some(name);
            self.open = Some(String::new());
        }
        let Some(open) = &mut self.open else { return };
        open.push_str(text);
        if text.ends_with('{') {
            self.signature = self.open.take();
        } else if text.ends_with(';') {
            self.open = None;
        }
    }

    fn owner(&self) -> String {
        let function = self.function.as_deref().unwrap_or_default();
        match &self.block {
            Some(block) => format!("{block}::{function}"),
            None => function.to_owned(),
        }
    }
}

fn function_name(text: &str) -> Option<String> {
    let text = text.trim_start_matches("pub(crate) ");
    let text = text
        .trim_start_matches("pub(super) ")
        .trim_start_matches("pub ");
    let rest = text.strip_prefix("fn ")?;
    let end = rest.find(['(', '<'])?;
    Some(rest[..end].to_owned())
}

type Found = Vec<(String, Vec<Insert>)>;

fn of_line(line: &str, at: usize, signature: Option<String>) -> Found {
    let text = line.trim_end();
    if let Some(signature) = signature {
        let at = at + text.len();
        let answers = answers(&signature).into_iter();
        let insert = |value: &str| {
            vec![Insert {
                at,
                what: What::Return(value.to_owned()),
            }]
        };
        return answers
            .map(|value| {
                (
                    format!("returns {value}").trim_end().to_owned(),
                    insert(value),
                )
            })
            .collect();
    }
    let condition = condition(text);
    let found = condition.map(|(from, to)| {
        let name = format!("not {}", &text[from..to]);
        let inserts = vec![
            Insert {
                at: at + from,
                what: What::NegateFrom,
            },
            Insert {
                at: at + to,
                what: What::NegateTo,
            },
        ];
        (name, inserts)
    });
    found.into_iter().collect()
}

/// What a function of this signature can answer without having done anything.
fn answers(signature: &str) -> Vec<&'static str> {
    let Some((_, result)) = signature.rsplit_once(") -> ") else {
        return vec![""];
    };
    match result.trim_end_matches('{').trim() {
        "bool" => vec!["true", "false"],
        "u64" | "usize" => vec!["0"],
        result if result.starts_with("Option<") => vec!["None"],
        result if result.starts_with("Vec<") || result.starts_with("BTreeSet<") => {
            vec!["Default::default()"]
        }
        _ => Vec::new(),
    }
}

/// Where the condition of a line stands, if it has one that binds nothing.
fn condition(text: &str) -> Option<(usize, usize)> {
    let trimmed = text.trim_start();
    let indent = text.len() - trimmed.len();
    let is_branch = trimmed.starts_with("if ") || trimmed.starts_with("} else if ");
    let (from, to) = if is_branch && text.ends_with('{') {
        (indent + trimmed.find("if ")? + 3, text.len() - 2)
    } else if let (Some(guard), Some(arrow)) = (text.find(" if "), text.rfind(" =>"))
        && guard < arrow
        && !trimmed.starts_with("//")
    {
        (guard + 4, arrow)
    } else if let Some(rest) = trimmed.strip_prefix("&& ").or(trimmed.strip_prefix("|| "))
        && !rest.contains(['&', '|'])
    {
        let end = text.trim_end_matches([';', ')', ',']).len();
        let end = if text.ends_with("()") {
            text.len()
        } else {
            end
        };
        (indent + 3, end)
    } else {
        return None;
    };
    let condition = &text[from..to];
    let is_whole = condition.matches('(').count() == condition.matches(')').count();
    (is_whole && !condition.contains("let ") && !condition.is_empty()).then_some((from, to))
}
