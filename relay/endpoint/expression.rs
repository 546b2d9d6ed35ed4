//! Expressions over a record's columns, in CEL (Common Expression Language): filters and computed
//! fields.
//!
//! An expression comes from the sync's author, not from the data, and is bounded all the same: 4 KiB
//! of text, 256 operators, no macros that loop. It sees columns by their names (`status == "published"`), or as
//! `row["Any Name"]`. Numbers are CEL's int and double (`numeric` is a double here), JSON is maps and
//! lists, dates and times are their ISO text, so that they compare as such.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, LiteralValue};
use cel::objects::{Key as CelKey, Map as CelMap};
use cel::{Context, Env, IdedExpr, Program, extensions};
use serde_json::Value as Json;
use tidegate_sync::model::{Cell, Row};
use tidegate_sync::value::Value;

/// An expression that was checked, with the columns that it reads.
pub struct Expression {
    source: String,
    program: Program,
    /// Names, and indices into the side's columns.
    inputs: Vec<(String, usize)>,
    uses_row: bool,
}

/// What an expression needs of its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub inputs: Vec<String>,
}

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    // Can't collide with the standard library: the extension is made for it.
    let _ = env.add_extension(extensions::strings);
    Arc::new(env)
});

impl Expression {
    /// Parses and checks an expression; `Err` says what is wrong with it, for people.
    pub fn check(source: &str) -> Result<Checked, String> {
        let (_, names) = parse(source)?;
        Ok(Checked {
            inputs: names.columns.into_iter().collect(),
        })
    }

    /// `columns` are the side's, in the order of its rows. `Err` names a column that isn't there.
    pub fn new(source: &str, columns: &[String]) -> Result<Expression, String> {
        let (program, names) = parse(source)?;
        let input = |name: String| {
            let column = columns.iter().position(|column| *column == name);
            let column = column.ok_or_else(|| format!("there is no column `{name}`"))?;
            Ok((name, column))
        };
        let inputs: Result<Vec<_>, String> = names.columns.into_iter().map(input).collect();
        Ok(Expression {
            source: source.to_owned(),
            program,
            inputs: inputs?,
            uses_row: names.uses_row,
        })
    }

    /// The value for a record: `Ok(None)` where a column that it reads was not sent, `Err` where it
    /// has none (null compared with a number, a division by zero).
    pub fn value(&self, columns: &Row) -> Result<Option<Value>, String> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        let mut row = Vec::new();
        for (name, column) in &self.inputs {
            let Some(Cell::Value(value)) = columns.get(*column) else {
                return Ok(None);
            };
            let value = to_cel(value);
            if self.uses_row {
                row.push((name.clone(), value.clone()));
            }
            context.add_variable_from_value(name.clone(), value);
        }
        if self.uses_row {
            let entries = row.into_iter();
            let map = entries.map(|(name, value)| (CelKey::String(Arc::new(name)), value));
            let map = CelMap {
                map: Arc::new(map.collect()),
            };
            context.add_variable_from_value("row", cel::Value::Map(map));
        }
        // The message may quote the record's values: it must not get into a log.
        let found = self.program.execute(&context);
        let found = found.map_err(|_| "the expression has no value for this record".to_owned())?;
        from_cel(&found).map(Some)
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Expression({})", self.source)
    }
}

#[derive(Default)]
struct Names {
    columns: BTreeSet<String>,
    uses_row: bool,
}

fn parse(source: &str) -> Result<(Program, Names), String> {
    if source.len() > limits::SOURCE_BYTES {
        let most = limits::SOURCE_BYTES;
        return Err(format!("the expression is longer than {most} bytes"));
    }
    let is_operator = |c: &char| "+-*/%&|?<>=!([{.".contains(*c);
    if source.chars().filter(is_operator).count() > limits::OPERATORS {
        let most = limits::OPERATORS;
        return Err(format!("the expression has more than {most} operators"));
    }
    let program = ENV.compile(source).map_err(|errors| {
        let first = errors.errors.first();
        first.map_or_else(
            || "it can't be read".to_owned(),
            |error| format!("column {}: {}", error.pos.1.max(0) + 1, error.msg),
        )
    })?;
    let mut names = Names::default();
    walk(program.expression(), &mut names)?;
    Ok((program, names))
}

/// Collects the columns that an expression reads, and refuses what could loop.
fn walk(expression: &IdedExpr, names: &mut Names) -> Result<(), String> {
    match &expression.expr {
        Expr::Comprehension(_) => {
            Err("all, exists, map and filter are not allowed in an expression".to_owned())
        }
        Expr::Struct(_) => Err("messages can't be made in an expression".to_owned()),
        Expr::Unspecified | Expr::Literal(_) => Ok(()),
        Expr::Ident(name) if name == "row" => {
            Err("`row` alone is not a value: write row[\"column\"]".to_owned())
        }
        Expr::Ident(name) => {
            names.columns.insert(name.clone());
            Ok(())
        }
        Expr::Select(select) if is_row(&select.operand) => {
            names.uses_row = true;
            names.columns.insert(select.field.clone());
            Ok(())
        }
        Expr::Select(select) => walk(&select.operand, names),
        Expr::Call(call) => match call.args.as_slice() {
            [row, index] if is_row(row) => match &index.expr {
                Expr::Literal(LiteralValue::String(name)) => {
                    names.uses_row = true;
                    names.columns.insert(name.inner().to_owned());
                    Ok(())
                }
                _ => Err("row[…] needs a column's name in quotes".to_owned()),
            },
            arguments => {
                let target = call.target.iter().map(|target| &**target);
                target.chain(arguments).try_for_each(|e| walk(e, names))
            }
        },
        Expr::List(list) => list.elements.iter().try_for_each(|e| walk(e, names)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                walk(&entry.key, names)?;
                walk(&entry.value, names)
            }
            EntryExpr::StructField(field) => walk(&field.value, names),
        }),
    }
}

fn is_row(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == "row")
}

fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null | Value::Unmapped(_) => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Int(value) => cel::Value::Int(*value),
        Value::Decimal(text) => cel::Value::Float(text.parse().unwrap_or(f64::NAN)),
        Value::Float(value) => cel::Value::Float(*value),
        Value::Bytes(bytes) => cel::Value::Bytes(Arc::new(bytes.clone())),
        Value::Json(text) | Value::Document(text) => match serde_json::from_str(text) {
            Ok(json) => json_to_cel(&json),
            Err(_) => cel::Value::Null,
        },
        Value::List(items) | Value::Shifted { items, .. } => {
            cel::Value::List(Arc::new(items.iter().map(to_cel).collect()))
        }
        Value::Text(text) | Value::Label(text) | Value::Opaque(text) => {
            cel::Value::String(Arc::new(text.clone()))
        }
        Value::Date(_)
        | Value::Time(_)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Interval { .. }
        | Value::Uuid(_) => cel::Value::String(Arc::new(value.to_string())),
    }
}

fn json_to_cel(json: &Json) -> cel::Value {
    match json {
        Json::Null => cel::Value::Null,
        Json::Bool(value) => cel::Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => cel::Value::Int(whole),
            None => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => cel::Value::String(Arc::new(text.clone())),
        Json::Array(items) => cel::Value::List(Arc::new(items.iter().map(json_to_cel).collect())),
        Json::Object(fields) => {
            let entries = fields.iter();
            let map = entries.map(|(k, v)| (CelKey::String(Arc::new(k.clone())), json_to_cel(v)));
            cel::Value::Map(CelMap {
                map: Arc::new(map.collect()),
            })
        }
    }
}

fn from_cel(value: &cel::Value) -> Result<Value, String> {
    Ok(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(value) => Value::Bool(*value),
        cel::Value::Int(value) => Value::Int(*value),
        cel::Value::UInt(value) => Value::Decimal(value.to_string()),
        cel::Value::Float(value) => Value::Float(*value),
        cel::Value::String(text) => Value::Text(text.to_string()),
        cel::Value::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        _ => return Err("the expression's value is no text, number or boolean".to_owned()),
    })
}

mod limits {
    pub(super) const SOURCE_BYTES: usize = 4096;
    /// Parsing and evaluation recurse, also along flat chains: 2,000 additions overflow 2 MiB of stack
    /// in an unoptimised build.
    pub(super) const OPERATORS: usize = 256;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(source: &str, columns: &[(&str, Value)]) -> Result<Option<Value>, String> {
        let names: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let row = columns.iter().map(|(_, value)| Cell::Value(value.clone()));
        Expression::new(source, &names)?.value(&row.collect())
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn columns_are_read_by_name_or_as_parts_of_the_row() {
        let columns = [
            ("status", text("published")),
            ("Unit Price", Value::Decimal("12.50".into())),
            ("created", Value::Date(9497)),
            ("extra", Value::Document(r#"{"tags": ["a", "b"]}"#.into())),
        ];
        for (source, expected) in [
            (r#"status == "published""#, true),
            (r#"row["Unit Price"] > 12"#, true),
            (r#"row.status in ["draft", "hidden"]"#, false),
            (r#"created >= "2026-01-01""#, true),
            (r#""b" in extra.tags && extra.tags.size() == 2"#, true),
            (r#"status.startsWith("pub") ? false : true"#, false),
        ] {
            assert_eq!(
                value(source, &columns),
                Ok(Some(Value::Bool(expected))),
                "{source}"
            );
        }
    }

    #[test]
    fn null_is_equal_to_null_alone_and_has_no_order() {
        let columns = [("n", Value::Null)];
        assert_eq!(value("n == null", &columns), Ok(Some(Value::Bool(true))));
        assert_eq!(value("n == 5", &columns), Ok(Some(Value::Bool(false))));
        assert!(value("n > 5", &columns).is_err());
    }

    #[test]
    fn what_was_not_sent_is_not_guessed() {
        let expression = Expression::new("a + b", &["a".into(), "b".into()]).unwrap();
        let row = vec![Cell::Value(text("x")), Cell::Unchanged];
        assert_eq!(expression.value(&row), Ok(None));
    }

    #[test]
    fn loops_and_long_and_wrong_expressions_are_refused() {
        for source in [
            "[1, 2].exists(x, x > 1)",
            "[1, 2].map(x, x * 2)",
            "status ==",
            "row",
            "row[status]",
        ] {
            assert!(Expression::check(source).is_err(), "{source}");
        }
        let long = vec!["a"; 3_000].join("+");
        assert!(Expression::check(&long).is_err());
        let deep = "(".repeat(2_000) + "a" + &")".repeat(2_000);
        assert!(Expression::check(&deep).is_err());
        assert!(value("missing == 1", &[("n", Value::Null)]).is_err());
    }

    #[test]
    fn the_longest_chain_that_is_allowed_is_evaluated() {
        let count = limits::OPERATORS + 1;
        let chain = vec!["a"; count].join("+");
        let found = value(&chain, &[("a", Value::Int(1))]);
        assert_eq!(found, Ok(Some(Value::Int(count as i64))));
    }
}
