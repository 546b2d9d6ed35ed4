//! What an app did not keep of the values that it was given: it answers with success, and holds less.
//!
//! An app may write a value in its own way: in lower case, without blanks, with more markup. That is no
//! loss. What is one is told by field and by how much, never by value.

use tidegate_sync::model::{Cell, Stored};
use tidegate_sync::value::Value;

use super::guard::Planned;
use super::shape::{Record, Shape};

/// The record as it was stored, with what it lacks of what was written.
pub(super) fn kept(shape: &Shape, write: &Planned, record: Record) -> Stored {
    let losses = write.set.iter().filter_map(|(field, sent)| {
        let held = record.row.get(*field).and_then(Cell::value)?;
        let loss = loss(sent, held)?;
        let column = shape.columns.get(shape.lens.column(*field)?)?;
        Some(format!("`{}` {loss}", column.name))
    });
    let losses: Vec<String> = losses.collect();
    let mut stored = record.stored();
    stored.altered = (!losses.is_empty()).then(|| losses.join("; "));
    stored
}

/// What is lost of a value, as the end of a sentence; `None` where nothing is.
fn loss(sent: &Value, held: &Value) -> Option<String> {
    if is_same(sent, held) || is_empty(sent) {
        return None;
    }
    match (sent, held) {
        (_, held) if is_empty(held) => Some("holds nothing of it".to_owned()),
        (Value::List(sent), Value::List(held)) => {
            let has = |item: &&Value| held.iter().any(|held| is_same(item, held));
            let kept = sent.iter().filter(has).count();
            (kept < sent.len()).then(|| format!("holds {kept} of {} items", sent.len()))
        }
        (sent, held) => match (text(sent), text(held)) {
            (Some(sent), Some(held)) => text_loss(sent, held),
            _ => Some("holds another value".to_owned()),
        },
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    let canonical = |value: &Value| {
        let mut bytes = Vec::new();
        value.canonical(&mut bytes);
        bytes
    };
    canonical(one) == canonical(other)
}

/// Apps have one way to say these.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::List(items) => items.is_empty(),
        value => text(value).is_some_and(|text| text.trim().is_empty()),
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Label(text) => Some(text),
        _ => None,
    }
}

/// Nothing is lost where every letter is there, in order.
fn text_loss(sent: &str, held: &str) -> Option<String> {
    let letters = |text: &str| {
        let letters = text.chars().filter(|letter| !letter.is_whitespace());
        letters.flat_map(char::to_lowercase).collect::<Vec<char>>()
    };
    let mut there = letters(held).into_iter();
    let is_there = letters(sent)
        .into_iter()
        .all(|letter| there.any(|other| other == letter));
    if is_there {
        return None;
    }
    let (of, count) = (sent.chars().count(), held.chars().count());
    Some(match sent.starts_with(held.trim_end()) {
        true => format!("holds {count} of {of} characters"),
        false => "holds another text".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn another_way_to_write_it_is_no_loss() {
        for (sent, held) in [
            (text(" Ada@Example.COM"), text("ada@example.com")),
            (text("<b>x</b>"), text("<b id=\"1\">x</b>\n")),
            (text(""), Value::Null),
            (Value::Bool(false), Value::Null),
            (Value::Null, text("a default")),
            (Value::Decimal("5.00".to_owned()), Value::Int(5)),
            (
                Value::List(vec![text("a"), text("b")]),
                Value::List(vec![text("b"), text("a")]),
            ),
        ] {
            assert_eq!(loss(&sent, &held), None, "{sent:?} {held:?}");
        }
    }

    #[test]
    fn what_is_lost_is_told_without_its_value() {
        for (sent, held, told) in [
            (text("secret"), text("sec"), "holds 3 of 6 characters"),
            (text("secret"), text("other"), "holds another text"),
            (text("secret"), Value::Null, "holds nothing of it"),
            (Value::Float(1.25), Value::Float(1.3), "holds another value"),
            (Value::Int(7), Value::Null, "holds nothing of it"),
            (
                Value::List(vec![text("a"), text("b")]),
                Value::List(vec![text("b")]),
                "holds 1 of 2 items",
            ),
        ] {
            assert_eq!(loss(&sent, &held).as_deref(), Some(told));
        }
    }
}
