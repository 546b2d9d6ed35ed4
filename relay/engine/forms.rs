//! What a field, a filter or an archive mark of the sync file is beside a plain pair of columns,
//! and the lens that comes of it.

use std::sync::Arc;

use tidegate_sync::codec::{FieldType, holds};
use tidegate_sync::model::{BySide, Side};
use tidegate_sync::policy::{Direction, FieldPair, PairPolicy};
use tidegate_sync::value::Value;

use super::syncfile::TableFile;
use crate::endpoint::Through;
use crate::endpoint::catalog::Table;
use crate::endpoint::expression::Expression;
use crate::endpoint::lens::{Keys, Lens, Source, ValueMap};

/// How the two columns of a field pair relate.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum FieldForm {
    /// They hold the same values.
    #[default]
    Same,
    /// One side's is no column but this expression.
    Computed { on: Side, source: String },
    /// They hold different words for the same: left and right, one to one. With `values`, others
    /// have no counterpart. `null` is what a side holds where the other one has null.
    Words {
        values: Vec<(Scalar, Scalar)>,
        null: BySide<Option<Scalar>>,
    },
    /// They hold keys of records of a table pair of the same sync, this one or another: the names of
    /// its tables.
    Link { to: BySide<String> },
    /// The same, and on the sides that name a join table the keys are in that one's rows.
    Joined {
        to: BySide<String>,
        through: BySide<Option<Through>>,
    },
}

impl FieldForm {
    /// The tables of the pair that the field links to.
    pub fn linked(&self) -> Option<&BySide<String>> {
        match self {
            FieldForm::Link { to } | FieldForm::Joined { to, .. } => Some(to),
            _ => None,
        }
    }

    /// The join table that holds a side's end.
    pub fn through(&self, side: Side) -> Option<&Through> {
        match self {
            FieldForm::Joined { through, .. } => through[side].as_ref(),
            _ => None,
        }
    }

    /// Whether a side's end is no column of its table.
    pub fn is_made(&self, side: Side) -> bool {
        matches!(self, FieldForm::Computed { on, .. } if *on == side)
            || self.through(side).is_some()
    }

    /// Whether a side's end holds as many keys as there are.
    fn is_list(&self, side: Side, table: &Table, field: &FieldPair) -> bool {
        let column = table.column(BySide::new(&field.left, &field.right)[side]);
        let of = column.map(|column| &column.field_type);
        let is_list = matches!(of, Some(FieldType::List { .. } | FieldType::Array { .. }));
        self.through(side).is_some() || is_list
    }
}

/// A value as the sync file can write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    Text(String),
    Int(i64),
    Bool(bool),
}

impl Scalar {
    fn value(&self) -> Value {
        match self {
            Scalar::Text(text) => Value::Text(text.clone()),
            Scalar::Int(number) => Value::Int(*number),
            Scalar::Bool(value) => Value::Bool(*value),
        }
    }
}

/// What is set on the side that still has a record whose counterpart was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub field: String,
    pub value: Scalar,
}

/// A table pair's columns and lenses.
pub(super) struct Looks {
    pub policy: PairPolicy,
    pub columns: BySide<Vec<String>>,
    pub joins: BySide<Vec<Through>>,
    pub lenses: BySide<Lens>,
}

/// Works out how each side's columns make the pair's fields. What can't be is added to `problems`.
pub(super) fn looks(
    file: &TableFile,
    tables: BySide<&Table>,
    problems: &mut Vec<String>,
) -> Option<Looks> {
    let mut policy = file.policy.clone();
    let mut builders = BySide::from_fn(|side| Builder::new(side, tables[side]));
    let before = problems.len();
    for (number, form) in file.forms.iter().enumerate() {
        let field = &policy.fields[number];
        let lists = BySide::from_fn(|side| form.is_list(side, tables[side], field));
        for side in Side::BOTH {
            builders[side].field(field, (form, &lists), problems);
        }
        check_words(field, form, &tables, problems);
    }
    if file.filters.left.is_some() || file.filters.right.is_some() {
        policy.scope = Some(policy.fields.len());
        policy.fields.push(looked_at("(filter)"));
        for side in Side::BOTH {
            builders[side].filter(file.filters[side].as_deref(), problems);
        }
    }
    for side in Side::BOTH {
        let Some(mark) = &file.archive[side] else {
            continue;
        };
        let name = |field: &FieldPair| match side {
            Side::Left => field.left.clone(),
            Side::Right => field.right.clone(),
        };
        check_value(tables[side], &mark.field, &mark.value, problems);
        let mapped = policy.fields.iter().position(|f| name(f) == mark.field);
        let form = mapped.and_then(|at| file.forms.get(at));
        if form.is_some_and(|form| form.linked().is_some()) {
            problems.push(format!(
                "{}: `{}` is a link, which can't mark a record as archived: name another field",
                side.name(),
                mark.field
            ));
        }
        let field = mapped.unwrap_or_else(|| {
            let (other, marked) = (side.other(), mark.field.clone());
            builders[side].column(&marked);
            builders[other].sources.push(Made::Constant(Value::Null));
            policy.fields.push(looked_at(&marked));
            policy.fields.len() - 1
        });
        policy.archive[side] = Some((field, mark.value.value()));
    }
    if problems.len() > before {
        return None;
    }
    let BySide { left, right } = builders;
    let (left, right) = (left.finish(problems)?, right.finish(problems)?);
    Some(Looks {
        policy,
        columns: BySide::new(left.columns, right.columns),
        joins: BySide::new(left.joins, right.joins),
        lenses: BySide::new(left.lens, right.lens),
    })
}

/// A field that flows nowhere.
fn looked_at(name: &str) -> FieldPair {
    FieldPair {
        left: name.to_owned(),
        right: name.to_owned(),
        direction: Direction::Neither,
    }
}

/// A field's source before all columns are known.
enum Made {
    Column(usize),
    Mapped(usize, Arc<ValueMap>),
    Keys(usize, Keys),
    /// The join table with this number.
    Joined(usize, Keys),
    Constant(Value),
    Computed(String),
    Filter(String),
}

/// Makes one side's lens.
struct Builder<'a> {
    side: Side,
    table: &'a Table,
    columns: Vec<String>,
    joins: Vec<Through>,
    sources: Vec<Made>,
}

/// What comes of a builder.
struct Built {
    columns: Vec<String>,
    joins: Vec<Through>,
    lens: Lens,
}

impl<'a> Builder<'a> {
    fn new(side: Side, table: &'a Table) -> Builder<'a> {
        Builder {
            side,
            table,
            columns: Vec::new(),
            joins: Vec::new(),
            sources: Vec::new(),
        }
    }

    fn place(&mut self, name: &str) -> usize {
        let known = self.columns.iter().position(|column| column == name);
        known.unwrap_or_else(|| {
            self.columns.push(name.to_owned());
            self.columns.len() - 1
        })
    }

    fn column(&mut self, name: &str) {
        let column = self.place(name);
        self.sources.push(Made::Column(column));
    }

    fn field(
        &mut self,
        field: &FieldPair,
        (form, lists): (&FieldForm, &BySide<bool>),
        problems: &mut Vec<String>,
    ) {
        let name = match self.side {
            Side::Left => &field.left,
            Side::Right => &field.right,
        };
        match form {
            FieldForm::Computed { on, source } if *on == self.side => {
                self.expression(source, "a computed field", problems);
                self.sources.push(Made::Computed(source.clone()));
            }
            FieldForm::Words { values, null } => {
                let column = self.place(name);
                match words(self.side, values, null) {
                    Some(map) => self.sources.push(Made::Mapped(column, Arc::new(map))),
                    None => self.sources.push(Made::Column(column)),
                }
            }
            FieldForm::Link { .. } | FieldForm::Joined { .. } if lists[self.side] => {
                let keys = match lists[self.side.other()] {
                    true => Keys::All,
                    false => Keys::One,
                };
                let made = match form.through(self.side) {
                    Some(through) => {
                        self.joins.push(through.clone());
                        Made::Joined(self.joins.len() - 1, keys)
                    }
                    None => Made::Keys(self.place(name), keys),
                };
                self.sources.push(made);
            }
            FieldForm::Same
            | FieldForm::Link { .. }
            | FieldForm::Joined { .. }
            | FieldForm::Computed { .. } => self.column(name),
        }
    }

    fn filter(&mut self, source: Option<&str>, problems: &mut Vec<String>) {
        match source {
            Some(source) => {
                let place = format!("filter_{}", self.side.name());
                self.expression(source, &place, problems);
                self.sources.push(Made::Filter(source.to_owned()));
            }
            None => self.sources.push(Made::Constant(Value::Bool(true))),
        }
    }

    /// Adds the columns that an expression reads.
    fn expression(&mut self, source: &str, place: &str, problems: &mut Vec<String>) {
        let side = self.side.name();
        match Expression::check(source) {
            Err(reason) => problems.push(format!("{side}: {place}: `{source}`: {reason}")),
            Ok(checked) => {
                for name in checked.inputs {
                    if self.table.column(&name).is_none() {
                        let names = self.table.columns.iter().map(|c| c.name.as_str());
                        let known = names.collect::<Vec<_>>().join(", ");
                        problems.push(format!(
                            "{side}: {place}: there is no column `{name}` in {}; it has {known}",
                            self.table.name
                        ));
                    }
                    self.place(&name);
                }
            }
        }
    }

    fn finish(self, problems: &mut Vec<String>) -> Option<Built> {
        let columns = self.columns;
        let mut sources = Vec::with_capacity(self.sources.len());
        for made in self.sources {
            let expression = |source: &str| Expression::new(source, &columns).map(Arc::new);
            let source = match made {
                Made::Column(column) => Ok(Source::Column(column)),
                Made::Mapped(column, map) => Ok(Source::Mapped(column, map)),
                Made::Keys(column, keys) => Ok(Source::Keys(column, keys)),
                Made::Joined(number, keys) => Ok(Source::Keys(columns.len() + number, keys)),
                Made::Constant(value) => Ok(Source::Constant(value)),
                Made::Computed(source) => expression(&source).map(Source::Computed),
                Made::Filter(source) => expression(&source).map(Source::Filter),
            };
            match source {
                Ok(source) => sources.push(source),
                Err(reason) => {
                    problems.push(format!("{}: {reason}", self.side.name()));
                    return None;
                }
            }
        }
        Some(Built {
            columns,
            joins: self.joins,
            lens: Lens::new(sources),
        })
    }
}

/// The side's value map: fields say what the left side says. `None` where nothing is different.
fn words(
    side: Side,
    values: &[(Scalar, Scalar)],
    null: &BySide<Option<Scalar>>,
) -> Option<ValueMap> {
    let mut entries: Vec<(Value, Value)> = Vec::new();
    if side == Side::Right {
        let pair = |(left, right): &(Scalar, Scalar)| (right.value(), left.value());
        entries.extend(values.iter().map(pair));
    }
    if let Some(word) = &null[side] {
        entries.push((word.value(), Value::Null));
    }
    let passes = side == Side::Left || values.is_empty();
    (!entries.is_empty()).then(|| ValueMap::new(entries, passes))
}

fn check_words(
    field: &FieldPair,
    form: &FieldForm,
    tables: &BySide<&Table>,
    problems: &mut Vec<String>,
) {
    match form {
        // What a link may hold, `linked` checks.
        FieldForm::Same | FieldForm::Link { .. } | FieldForm::Joined { .. } => {}
        FieldForm::Words { values, null } => {
            for (left, right) in values {
                check_value(tables.left, &field.left, left, problems);
                check_value(tables.right, &field.right, right, problems);
            }
            for (side, name) in [(Side::Left, &field.left), (Side::Right, &field.right)] {
                if let Some(word) = &null[side] {
                    check_value(tables[side], name, word, problems);
                }
            }
        }
        FieldForm::Computed { on, .. } => {
            let (table, name) = match on {
                Side::Left => (tables.right, &field.right),
                Side::Right => (tables.left, &field.left),
            };
            let column = table.column(name);
            if let Some(column) = column.filter(|column| !is_computable(&column.field_type)) {
                problems.push(format!(
                    "{}.{name} is of type {}: a computed field can fill text, numbers and booleans",
                    table.name,
                    column.field_type.name()
                ));
            }
        }
    }
}

/// Types whose every value an expression can say.
fn is_computable(of: &FieldType) -> bool {
    matches!(
        of,
        FieldType::Bool
            | FieldType::Int { .. }
            | FieldType::Decimal { .. }
            | FieldType::Float { .. }
            | FieldType::Text { .. }
            | FieldType::Short { .. }
            | FieldType::Padded { .. }
            | FieldType::Enum { .. }
            | FieldType::Fixed { .. }
            | FieldType::Number
            | FieldType::Line { .. }
            | FieldType::Bytes
    )
}

/// Whether a column can hold what the file says.
fn check_value(table: &Table, name: &str, value: &Scalar, problems: &mut Vec<String>) {
    let Some(column) = table.column(name) else {
        let names = table.columns.iter().map(|c| c.name.as_str());
        let known = names.collect::<Vec<_>>().join(", ");
        let table = &table.name;
        problems.push(format!("{table} has no column `{name}`; it has {known}"));
        return;
    };
    let value = value.value();
    if holds(&column.field_type, &value).is_err() {
        problems.push(format!(
            "{}.{name} is of type {} and can't hold `{value}`",
            table.name,
            column.field_type.name()
        ));
    }
}
