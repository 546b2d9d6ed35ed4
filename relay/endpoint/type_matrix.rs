//! The types of all kinds of sides and what travels between them: one table for the command
//! `connection types` and for `docs/types.md`. Nothing here decides; [`codec::travel`] does.

use std::fmt::Write as _;

use serde::Serialize;
use tidegate_sync::codec::app::app_types;
use tidegate_sync::codec::{FieldType, Travel, travel};

use super::postgres::type_list::listed_types;

/// The whole table.
#[derive(Clone, Debug, Serialize)]
pub struct TypeMatrix {
    pub types: Vec<TypeEntry>,
    /// Every pair of which at least some values travel. Others are refused.
    pub pairs: Vec<PairEntry>,
}

/// One type of one kind of side.
#[derive(Clone, Debug, Serialize)]
pub struct TypeEntry {
    /// As SQL declares it; of apps `app:number`.
    pub name: String,
    /// `postgres` or `app`.
    pub kind: &'static str,
    /// The form of its values between the sides.
    pub value: String,
    /// What it can hold, as the sync model calls it.
    pub holds: String,
    pub note: &'static str,
    #[serde(skip)]
    field_type: FieldType,
}

/// One direction of a pair.
#[derive(Clone, Debug, Serialize)]
pub struct PairEntry {
    pub from: String,
    pub to: String,
    #[serde(flatten)]
    pub travel: Travel,
}

/// A pair seen from one of its types.
#[derive(Clone, Debug)]
pub struct Partner {
    pub name: String,
    /// `both ways`, `to it only`, `from it only`, `refused`.
    pub relation: &'static str,
    /// Why each closed direction is closed.
    pub reasons: Vec<String>,
}

impl TypeMatrix {
    pub fn new() -> TypeMatrix {
        let postgres = listed_types().into_iter().map(|of| TypeEntry {
            name: of.sql.to_owned(),
            kind: "postgres",
            value: of.field_type.value_form(),
            holds: of.field_type.name(),
            note: of.note,
            field_type: of.field_type,
        });
        let apps = app_types().into_iter().map(|of| TypeEntry {
            name: format!("app:{}", of.name),
            kind: "app",
            value: of.field_type.value_form(),
            holds: of.field_type.name(),
            note: of.range,
            field_type: of.field_type,
        });
        let types: Vec<TypeEntry> = postgres.chain(apps).collect();
        let mut pairs = Vec::new();
        for from in &types {
            for to in &types {
                let travel = travel(&from.field_type, &to.field_type);
                if !matches!(travel, Travel::None { .. }) {
                    pairs.push(PairEntry {
                        from: from.name.clone(),
                        to: to.name.clone(),
                        travel,
                    });
                }
            }
        }
        TypeMatrix { types, pairs }
    }

    /// All pairs of one type of which at least some values travel; nothing for a name that is not
    /// listed.
    pub fn partners(&self, name: &str) -> Option<Vec<Partner>> {
        let of = self.types.iter().find(|of| of.name == name)?;
        let related = self.types.iter().filter_map(|other| {
            let there = travel(&of.field_type, &other.field_type);
            let back = travel(&other.field_type, &of.field_type);
            let both = [there, back];
            if both.iter().all(|way| matches!(way, Travel::None { .. })) {
                return None;
            }
            let reasons = both.iter().filter_map(|way| match way {
                Travel::All => None,
                Travel::Most { reason } | Travel::None { reason } => Some(reason.clone()),
            });
            Some(Partner {
                name: other.name.clone(),
                reasons: reasons.collect(),
                relation: match both {
                    [Travel::All, Travel::All] => "both ways",
                    [Travel::All, _] => "to it only",
                    [_, Travel::All] => "from it only",
                    _ => "refused",
                },
            })
        });
        Some(related.collect())
    }

    /// The text of `docs/types.md`.
    pub fn markdown(&self) -> String {
        let mut out = String::from(INTRODUCTION);
        for (kind, title) in [("postgres", "PostgreSQL"), ("app", "Apps")] {
            let _ = write!(
                out,
                "\n## {title}\n\n| type | value | holds | note |\n|---|---|---|---|\n"
            );
            for of in self.types.iter().filter(|of| of.kind == kind) {
                let _ = writeln!(
                    out,
                    "| `{}` | {} | {} | {} |",
                    of.name,
                    of.value,
                    escaped(&of.holds),
                    escaped(of.note)
                );
            }
        }
        out.push_str(GRID);
        self.grid(&mut out);
        out.push_str(LISTS);
        for of in self.types.iter().filter(|of| of.kind == "postgres") {
            self.row(of, &mut out);
        }
        out
    }

    /// PostgreSQL's types down, apps' across.
    fn grid(&self, out: &mut String) {
        let (down, across): (Vec<_>, Vec<_>) =
            self.types.iter().partition(|of| of.kind == "postgres");
        let names: Vec<&str> = across
            .iter()
            .map(|of| of.name.trim_start_matches("app:"))
            .collect();
        let _ = writeln!(out, "| | {} |", names.join(" | "));
        let _ = writeln!(out, "|---|{}", "---|".repeat(names.len()));
        for of in down {
            let cells: Vec<&str> = across.iter().map(|to| sign(of, to)).collect();
            let _ = writeln!(out, "| `{}` | {} |", of.name, cells.join(" | "));
        }
    }

    fn row(&self, of: &TypeEntry, out: &mut String) {
        let others = |sign_is: &str| {
            let names = self.types.iter().filter_map(|other| {
                let is_other = other.kind == of.kind && other.name != of.name;
                (is_other && sign(of, other) == sign_is).then(|| format!("`{}`", other.name))
            });
            names.collect::<Vec<_>>().join(", ")
        };
        let (both, to, from) = (others("="), others("→"), others("←"));
        let _ = writeln!(out, "| `{}` | {both} | {to} | {from} |", of.name);
    }
}

impl Default for TypeMatrix {
    fn default() -> TypeMatrix {
        TypeMatrix::new()
    }
}

fn sign(left: &TypeEntry, right: &TypeEntry) -> &'static str {
    let there = travel(&left.field_type, &right.field_type);
    let back = travel(&right.field_type, &left.field_type);
    match (there, back) {
        (Travel::All, Travel::All) => "=",
        (Travel::All, _) => "→",
        (_, Travel::All) => "←",
        (Travel::None { .. }, Travel::None { .. }) => "",
        _ => "·",
    }
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

const INTRODUCTION: &str = "# Types

<!-- Generated: do not edit. `cargo run -p tidegate-relay -- connection types --markdown >
docs/types.md` rewrites this file; a test fails when it is stale. -->

What a field of each type holds and which pairs of types can be synced. The same table is printed by
`tidegate-relay connection types`; `connection types TYPE` tells why a pair is closed.

A direction is open when the receiving type holds *every* value of the sending one, so that what is
read back is what was sent. If it holds all but some (a decimal may be NaN, a text may be too long),
the direction is closed, since one of those may come. Tests check each pair over the whole domain of
its values, and on a real server.

Between the sides values have the form in the second column. Two values are the same when their
canonical forms are: numbers by their digits (`5`, `5.00` and the float 5), text, labels, uuids and
JSON by their characters, lists item by item. Null goes with every type; that a column may not be null,
a check of a domain and the like are constraints: what breaks one is a finding.

Modifiers count: `varchar(10)` goes into `varchar(20)` and not back, `numeric(10,2)` into
`numeric(12,2)`, `timestamp(0)` into `timestamp(3)`, an enum into one that has all its labels. What
only PostgreSQL understands travels as the text that it prints, between columns of the same type or
structure; its name and schema do not matter.

Not seen: a label that is renamed changes what is printed of every record without a change of any; the
next reconcile or `sync verify` finds it.
";

const GRID: &str = "
## PostgreSQL and apps

`=` both ways, `→` to the app only, `←` from the app only, `·` closed, since only some values fit.

";

const LISTS: &str = "
## PostgreSQL and PostgreSQL

Each type goes both ways with itself. What is not listed is closed.

| type | both ways | only into | only from |
|---|---|---|---|
";
