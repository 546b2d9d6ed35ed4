//! Writes a sync file that parses to the same sync.

use tidegate_sync::model::Side;
use tidegate_sync::policy::FieldPair;

use super::{
    CAPTURE, CONFLICT, CONFLICT_DELETE, DELETES, DIRECTION, DRIFT, EXISTING, SyncFile, TableFile,
    name_in,
};
use crate::endpoint::Through;
use crate::engine::forms::{FieldForm, Scalar};

impl SyncFile {
    /// A file that parses to this sync, with every policy spelled out.
    pub fn render(&self) -> String {
        let mut out = format!("name = {}\n", quote(&self.name));
        out += &format!("left = {}\n", quote(&self.left));
        out += &format!("right = {}\n", quote(&self.right));
        for side in Side::BOTH {
            let word = name_in(CAPTURE, self.captures[side]);
            out += &format!("capture_{} = \"{word}\"\n", side.name());
        }
        if let Some(every) = self.verify {
            out += &format!("verify = \"{}m\"\n", every.as_secs() / 60);
        }
        out += &format!("history = \"{}\"\n", self.history.render());
        for table in &self.tables {
            table.render(&mut out);
        }
        out
    }
}

impl TableFile {
    fn render(&self, out: &mut String) {
        let policy = &self.policy;
        let pair = |field: &FieldPair| format!("[{}, {}]", quote(&field.left), quote(&field.right));
        let key = policy.match_key.iter();
        let key: Vec<String> = key.map(|&field| pair(&policy.fields[field])).collect();
        *out += "\n[[table]]\n";
        *out += &format!("left = {}\n", quote(&self.left));
        *out += &format!("right = {}\n", quote(&self.right));
        *out += &format!("key = [{}]\n", key.join(", "));
        *out += &format!("existing = \"{}\"\n", name_in(EXISTING, policy.existing));
        if policy.once {
            *out += "changes = \"existing\"\n";
        }
        *out += &format!("deletes = \"{}\"\n", name_in(DELETES, policy.deletes));
        *out += &format!("deletes_unasked = {}\n", self.unasked.render());
        for side in Side::BOTH {
            if let Some(mark) = &self.archive[side] {
                let (side, field, value) = (side.name(), quote(&mark.field), scalar(&mark.value));
                *out += &format!("archive_{side} = {{ field = {field}, value = {value} }}\n");
            }
        }
        *out += &format!("conflict = \"{}\"\n", name_in(CONFLICT, policy.conflict));
        let delete = name_in(CONFLICT_DELETE, policy.conflict_delete);
        *out += &format!("conflict_delete = \"{delete}\"\n");
        *out += &format!("drift = \"{}\"\n", name_in(DRIFT, policy.drift));
        for side in Side::BOTH {
            if let Some(filter) = &self.filters[side] {
                *out += &format!("filter_{} = {}\n", side.name(), quote(filter));
            }
        }
        *out += "fields = [\n";
        for (field, form) in policy.fields.iter().zip(&self.forms) {
            *out += &format!("  {{ {} }},\n", render_field(field, form));
        }
        *out += "]\n";
    }
}

fn render_field(field: &FieldPair, form: &FieldForm) -> String {
    let end = |side: Side, name: &str| match form {
        FieldForm::Computed { on, source } if *on == side => {
            format!("{}_value = {}", side.name(), quote(source))
        }
        _ => match form.through(side) {
            Some(through) => format!("{}_links = {}", side.name(), render_through(through)),
            None => format!("{} = {}", side.name(), quote(name)),
        },
    };
    let mut parts = vec![
        end(Side::Left, &field.left),
        end(Side::Right, &field.right),
        format!("direction = \"{}\"", name_in(DIRECTION, field.direction)),
    ];
    if let Some(to) = form.linked() {
        parts.push(format!("link = {}", quote(&to.left)));
    }
    if let FieldForm::Words { values, null } = form {
        let pair =
            |(left, right): &(Scalar, Scalar)| format!("[{}, {}]", scalar(left), scalar(right));
        let pairs: Vec<String> = values.iter().map(pair).collect();
        if !pairs.is_empty() {
            parts.push(format!("values = [{}]", pairs.join(", ")));
        }
        for side in Side::BOTH {
            if let Some(word) = &null[side] {
                parts.push(format!("null_{} = {}", side.name(), scalar(word)));
            }
        }
    }
    parts.join(", ")
}

fn render_through(through: &Through) -> String {
    let Through { table, from, to } = through;
    let [table, from, to] = [table, from, to].map(|name| quote(name));
    format!("{{ through = {table}, from = {from}, to = {to} }}")
}

fn scalar(value: &Scalar) -> String {
    match value {
        Scalar::Text(text) => quote(text),
        Scalar::Int(number) => number.to_string(),
        Scalar::Bool(value) => value.to_string(),
    }
}

/// A TOML string on one line.
fn quote(text: &str) -> String {
    // JSON's escapes are a subset of those of a TOML basic string, but for the delete character.
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007F")
}
