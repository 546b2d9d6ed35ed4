//! What a field holds that names other records of the sync: a key, or a set of keys.
//!
//! A reference is never copied: it crosses by the link of the record that it names
//! ([`crate::plan`] translates it). Fingerprints of references stay in each side's own keys, so that
//! what a scan finds unchanged needs no translation. A set is a list in one order ([`set`]), which
//! differs between the sides as their keys do; that nobody is named is null, and no empty list.

use serde::{Deserialize, Serialize};

use crate::codec::FieldType;
use crate::model::Key;
use crate::value::{Value, parse_uuid, uuid_text};

/// What a side's keys are made of, where a reference holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyForm {
    Text,
    Int,
    Uuid,
}

impl KeyForm {
    /// The form of keys that a field of this type holds; `None` where it can't hold any.
    pub fn of(of: &FieldType) -> Option<KeyForm> {
        match of {
            FieldType::Int { .. } => Some(KeyForm::Int),
            FieldType::Uuid => Some(KeyForm::Uuid),
            FieldType::Text { ignores_case, .. } if !ignores_case => Some(KeyForm::Text),
            _ => None,
        }
    }

    /// The value that holds the key; `None` for a key that is not of this form.
    pub fn value(self, key: &Key) -> Option<Value> {
        let [part] = key.0.as_slice() else {
            return None;
        };
        match self {
            KeyForm::Text => Some(Value::Text(part.clone())),
            KeyForm::Int => part.parse().ok().map(Value::Int),
            KeyForm::Uuid => parse_uuid(part).map(Value::Uuid),
        }
    }
}

/// The key that a value is; `None` for one that can't be a key.
fn key(value: &Value) -> Option<Key> {
    match value {
        Value::Text(text) => Some(Key::single(text.clone())),
        Value::Int(number) => Some(Key::single(number.to_string())),
        Value::Uuid(bytes) => Some(Key::single(uuid_text(bytes))),
        _ => None,
    }
}

/// The keys that a reference names, in their order.
pub fn keys(value: &Value) -> Vec<Key> {
    match value {
        Value::List(items) => items.iter().flat_map(keys).collect(),
        other => key(other).into_iter().collect(),
    }
}

/// The references that name these records, each once and in an order of their own; null for none.
pub fn set(mut items: Vec<Value>) -> Value {
    let canonical = |value: &Value| {
        let mut bytes = Vec::new();
        value.canonical(&mut bytes);
        bytes
    };
    items.sort_by(|a, b| match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (a, b) => canonical(a).cmp(&canonical(b)),
    });
    items.dedup();
    match items.is_empty() {
        true => Value::Null,
        false => Value::List(items),
    }
}

/// The same reference in the other side's keys, which have the form `form`. `partner` tells them.
/// What can't be said there is [`Value::Unmapped`].
pub fn translate<E>(
    value: &Value,
    form: KeyForm,
    partner: &mut impl FnMut(&Key) -> Result<Key, E>,
) -> Result<Value, E> {
    let unmapped = || Value::Unmapped(Box::new(value.clone()));
    match value {
        Value::Null => Ok(Value::Null),
        Value::List(items) => {
            let items = items.iter().map(|item| translate(item, form, partner));
            items.collect::<Result<Vec<Value>, E>>().map(set)
        }
        other => match key(other) {
            Some(key) => Ok(form.value(&partner(&key)?).unwrap_or_else(unmapped)),
            None => Ok(unmapped()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    /// Numbers 7 and 8 are `a` and `b` on the other side.
    fn partner(key: &Key) -> Result<Key, Key> {
        match key.0[0].as_str() {
            "7" => Ok(Key::single("a")),
            "8" => Ok(Key::single("b")),
            _ => Err(key.clone()),
        }
    }

    #[test]
    fn keys_and_sets_of_keys_are_translated_and_null_stays_null() {
        let cross = |value: &Value| translate(value, KeyForm::Text, &mut partner);
        assert_eq!(cross(&Value::Int(7)), Ok(text("a")));
        assert_eq!(cross(&Value::Null), Ok(Value::Null));
        let list = Value::List(vec![Value::Int(8), Value::Int(7)]);
        let expected = Value::List(vec![text("a"), text("b")]);
        assert_eq!(cross(&list), Ok(expected));
    }

    #[test]
    fn a_set_has_one_order_nothing_twice_and_is_null_when_it_is_empty() {
        let ints = |numbers: &[i64]| numbers.iter().copied().map(Value::Int).collect::<Vec<_>>();
        assert_eq!(set(ints(&[10, -1, 9, 10])), Value::List(ints(&[-1, 9, 10])));
        let texts = set(vec![text("b"), text("a"), text("b")]);
        assert_eq!(texts, Value::List(vec![text("a"), text("b")]));
        assert_eq!(set(Vec::new()), Value::Null);
    }

    #[test]
    fn a_list_waits_for_the_first_record_that_has_no_partner() {
        let list = Value::List(vec![Value::Int(7), Value::Int(9)]);
        let crossed = translate(&list, KeyForm::Text, &mut partner);
        assert_eq!(crossed, Err(Key::single("9")));
    }

    #[test]
    fn what_is_no_key_or_fits_no_key_is_unmapped() {
        let number = Value::Bool(true);
        let crossed = translate(&number, KeyForm::Text, &mut partner);
        assert_eq!(crossed, Ok(Value::Unmapped(Box::new(number))));
        let crossed = translate(&Value::Int(7), KeyForm::Int, &mut partner);
        assert_eq!(crossed, Ok(Value::Unmapped(Box::new(Value::Int(7)))));
    }

    #[test]
    fn every_form_reads_its_own_keys() {
        let uuid = Value::Uuid([9; 16]);
        let forms = [
            (KeyForm::Int, Value::Int(-5)),
            (KeyForm::Text, text("x")),
            (KeyForm::Uuid, uuid),
        ];
        for (form, value) in forms {
            assert_eq!(form.value(&keys(&value)[0]), Some(value));
        }
    }
}
