//! People's values carry tokens, so that each can be found again wherever it went.

use tidegate_sync::value::Value;

use crate::rng::Rng;

/// Field kinds of a simulated table, by place: match key, then these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Decimal,
    /// One of a few words, the second part of a match key. Carries no token.
    Word,
    /// Whether the record is inside its side's filter, or null where that can't be told.
    Inside,
    /// The match key of a record of the first table. Carries no token.
    Reference,
    /// The key of a record of the sync. Carries no token.
    Link,
    /// A list of such keys. Carries no token.
    Links,
}

/// A fresh value of a person, in a form that a side may normalise.
pub fn fresh(token: u64, kind: Kind, rng: &mut Rng) -> Value {
    match (kind, rng.below(4)) {
        (Kind::Decimal, 0) => Value::Decimal(format!("{token}")),
        (Kind::Decimal, 1) => Value::Decimal(format!("{token}.50")),
        (Kind::Decimal, _) => Value::Decimal(format!("{token}.12345")),
        (Kind::Text, 0) => Value::Text(format!(" t{token} ")),
        (Kind::Text, 1) => Value::Text(format!("T{token}")),
        (Kind::Text, _) => Value::Text(format!("t{token}")),
        (Kind::Word, n) => Value::Text(format!("w{}", n / 2)),
        (Kind::Inside, n) => Value::Bool(n > 0),
        (Kind::Link | Kind::Links, _) => Value::Null,
        (Kind::Reference, _) => Value::Text(format!("k{}", rng.below(14))),
    }
}

/// The token in a value, in any form.
pub fn token(value: &Value) -> Option<u64> {
    match value {
        Value::Text(text) => text.trim().strip_prefix(['t', 'T'])?.parse().ok(),
        Value::Decimal(text) => text.split('.').next()?.parse().ok(),
        _ => None,
    }
}

/// The value modulo what sides do to it.
pub fn normal(value: &Value) -> String {
    match (value, token(value)) {
        (_, Some(token)) => format!("#{token}"),
        (Value::Text(text), None) => text.trim().to_lowercase(),
        (Value::Null, None) => "null".to_owned(),
        (other, None) => format!("{other:?}"),
    }
}

/// What a trigger makes of field 1.
pub fn derived(value: &Value) -> Value {
    Value::Text(format!("d-{}", normal(value)))
}

/// True for a value that a trigger made.
pub fn is_derived(normal: &str) -> bool {
    normal.starts_with("d-")
}
