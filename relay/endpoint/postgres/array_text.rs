//! PostgreSQL's text for arrays, to and from lists. Source: PostgreSQL manual 8.15.6.
//!
//! `{1,NULL}` is a list, `{{1},{2}}` a list of lists, and `[0:1]={1,2}` a list whose first index is
//! told as well. Items are separated by commas (only `box` has another separator, and arrays of it
//! are opaque). Called by [`super::types`].

use tidegate_sync::codec::Misfit;
use tidegate_sync::value::Value;

/// Reads an array whose items `item` reads.
pub(super) fn read(text: &str, item: &mut impl FnMut(&str) -> Option<Value>) -> Option<Value> {
    let (lower, body) = match text.strip_prefix('[') {
        Some(_) => {
            let (bounds, body) = text.split_once('=')?;
            (lower_bounds(bounds)?, body)
        }
        None => (Vec::new(), text),
    };
    let mut reader = Reader { rest: body, item };
    let items = reader.list(limits::DIMENSIONS)?;
    if !reader.rest.is_empty() {
        return None;
    }
    Some(match lower.is_empty() {
        true => Value::List(items),
        false => Value::Shifted { lower, items },
    })
}

/// `[2:3][0:0]`.
fn lower_bounds(text: &str) -> Option<Vec<i32>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let bounds = inner
        .split("][")
        .map(|bound| bound.split_once(':')?.0.parse().ok());
    bounds.collect()
}

struct Reader<'a, F> {
    rest: &'a str,
    item: F,
}

impl<F: FnMut(&str) -> Option<Value>> Reader<'_, F> {
    fn list(&mut self, depth: usize) -> Option<Vec<Value>> {
        let depth = depth.checked_sub(1)?;
        self.rest = self.rest.strip_prefix('{')?;
        let mut items = Vec::new();
        if let Some(rest) = self.rest.strip_prefix('}') {
            self.rest = rest;
            return Some(items);
        }
        loop {
            items.push(match self.rest.bytes().next()? {
                b'{' => Value::List(self.list(depth)?),
                b'"' => self.quoted()?,
                _ => self.plain()?,
            });
            let mut rest = self.rest.chars();
            let separator = rest.next()?;
            self.rest = rest.as_str();
            match separator {
                ',' => {}
                '}' => return Some(items),
                _ => return None,
            }
        }
    }

    fn quoted(&mut self) -> Option<Value> {
        let mut text = String::new();
        let mut rest = self.rest.strip_prefix('"')?.chars();
        loop {
            match rest.next()? {
                '"' => break,
                '\\' => text.push(rest.next()?),
                char => text.push(char),
            }
        }
        self.rest = rest.as_str();
        (self.item)(&text)
    }

    fn plain(&mut self) -> Option<Value> {
        let end = self.rest.find([',', '}'])?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        match text {
            "" => None,
            "NULL" => Some(Value::Null),
            text => (self.item)(text),
        }
    }
}

/// Writes an array whose items `item` writes.
pub(super) fn print(
    array: &Value,
    item: &mut impl FnMut(&Value) -> Result<String, Misfit>,
) -> Result<String, Misfit> {
    let mut out = String::new();
    let items = match array {
        Value::List(items) => items,
        Value::Shifted { lower, items } => {
            let mut level = items;
            for (depth, first) in lower.iter().enumerate() {
                let count = i32::try_from(level.len()).map_err(|_| Misfit::NotThisShape)?;
                let last = first.checked_add(count - 1).ok_or(Misfit::OutOfRange)?;
                out.push_str(&format!("[{first}:{last}]"));
                match level.first() {
                    Some(Value::List(inner)) => level = inner,
                    _ if depth + 1 == lower.len() => {}
                    _ => return Err(Misfit::NotThisShape),
                }
            }
            out.push('=');
            items
        }
        _ => return Err(Misfit::OtherType),
    };
    list(items, item, &mut out)?;
    Ok(out)
}

fn list(
    items: &[Value],
    item: &mut impl FnMut(&Value) -> Result<String, Misfit>,
    out: &mut String,
) -> Result<(), Misfit> {
    out.push('{');
    for (index, value) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match value {
            Value::Null => out.push_str("NULL"),
            Value::List(inner) => list(inner, item, out)?,
            value => quote(&item(value)?, out),
        }
    }
    out.push('}');
    Ok(())
}

/// Always in quotes, which the server strips.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            out.push('\\');
        }
        out.push(char);
    }
    out.push('"');
}

mod limits {
    /// `MAXDIM` in PostgreSQL's `array.h`.
    pub(super) const DIMENSIONS: usize = 6;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Option<Value> {
        read(text, &mut |item| Some(Value::Text(item.into())))
    }

    #[test]
    fn quotes_nulls_dimensions_and_bounds_are_read() {
        let text = |text: &str| Value::Text(text.into());
        let list = |items: &[Value]| Value::List(items.to_vec());
        let items = r#"{NULL,"NULL","a \"b\\ü, {c}","",x}"#;
        let expected = [
            Value::Null,
            text("NULL"),
            text("a \"b\\ü, {c}"),
            text(""),
            text("x"),
        ];
        assert_eq!(texts(items), Some(list(&expected)));
        assert_eq!(texts("{}"), Some(list(&[])));
        let row = list(&[text("1"), text("2")]);
        assert_eq!(
            texts("{{1,2},{1,2}}"),
            Some(list(&[row.clone(), row.clone()]))
        );
        let shifted = Value::Shifted {
            lower: vec![-1, 1],
            items: vec![row],
        };
        assert_eq!(texts("[-1:-1][1:2]={{1,2}}"), Some(shifted));
    }

    #[test]
    fn garbage_is_refused() {
        for text in [
            "",
            "{",
            "{a",
            "{a,}",
            "{,}",
            "{\"a}",
            "{\"a\"b}",
            "{}x",
            "[1:2]",
            "[a:b]={1}",
            "{a}}",
        ] {
            assert_eq!(texts(text), None, "{text}");
        }
        assert_eq!(texts("{{{{{{{1}}}}}}}"), None, "too deep");
    }
}
