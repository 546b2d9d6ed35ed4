//! The normal form of a JSON document: what `jsonb` prints, with numbers without needless zeros.
//!
//! Two documents are the same when their normal forms are. Keys are sorted by length, then by
//! bytes; of duplicates the last one stays; numbers are exact decimals of any size. Called by
//! [`crate::value`] for the canonical form, and by the codec. No general JSON parser: text that it
//! can't read stays as it is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::value::normal_decimal;

/// The normal form, or the text itself where it is no JSON, is nested more than
/// [`limits::DEPTH`] deep, or has a number with an exponent of more than [`limits::EXPONENT`].
pub fn normal_json(text: &str) -> Cow<'_, str> {
    parsed(text).map_or(Cow::Borrowed(text), |node| {
        let mut out = String::with_capacity(text.len());
        node.print(&mut out);
        Cow::Owned(out)
    })
}

/// Calls `see` with each number (normal form); false for text without a normal form.
pub(crate) fn numbers_all(text: &str, see: &mut impl FnMut(&str) -> bool) -> bool {
    parsed(text).is_some_and(|node| node.numbers_all(see))
}

/// Is there a character U+0000 in a string, or text that is no JSON?
pub(crate) fn is_storable(text: &str) -> bool {
    parsed(text).is_some_and(|node| node.is_storable())
}

enum Node {
    /// `null`, `true`, `false`.
    Word(&'static str),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(BTreeMap<(usize, String), Node>),
}

impl Node {
    fn print(&self, out: &mut String) {
        match self {
            Node::Word(word) => out.push_str(word),
            Node::Number(digits) => out.push_str(digits),
            Node::Text(text) => quote(text, out),
            Node::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    item.print(out);
                }
                out.push(']');
            }
            Node::Object(entries) => {
                out.push('{');
                for (index, ((_, key), value)) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    quote(key, out);
                    out.push_str(": ");
                    value.print(out);
                }
                out.push('}');
            }
        }
    }

    fn numbers_all(&self, see: &mut impl FnMut(&str) -> bool) -> bool {
        match self {
            Node::Number(digits) => see(digits),
            Node::List(items) => items.iter().all(|item| item.numbers_all(see)),
            Node::Object(entries) => entries.values().all(|value| value.numbers_all(see)),
            _ => true,
        }
    }

    fn is_storable(&self) -> bool {
        match self {
            Node::Text(text) => !text.contains('\0'),
            Node::List(items) => items.iter().all(Node::is_storable),
            Node::Object(entries) => entries
                .iter()
                .all(|((_, key), value)| !key.contains('\0') && value.is_storable()),
            _ => true,
        }
    }
}

/// As PostgreSQL's `escape_json`.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                // Writing to a String can't fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

fn parsed(text: &str) -> Option<Node> {
    let mut reader = Reader { rest: text };
    let node = reader.node(limits::DEPTH)?;
    reader.blanks();
    reader.rest.is_empty().then_some(node)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn node(&mut self, depth: usize) -> Option<Node> {
        self.blanks();
        let depth = depth.checked_sub(1)?;
        match self.rest.bytes().next()? {
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b'"' => self.text().map(Node::Text),
            b'-' | b'0'..=b'9' => self.number().map(Node::Number),
            _ => ["null", "true", "false"]
                .into_iter()
                .find(|word| self.eat(word))
                .map(Node::Word),
        }
    }

    fn list(&mut self, depth: usize) -> Option<Node> {
        self.eat("[");
        let mut items = Vec::new();
        self.blanks();
        if self.eat("]") {
            return Some(Node::List(items));
        }
        loop {
            items.push(self.node(depth)?);
            self.blanks();
            if self.eat("]") {
                return Some(Node::List(items));
            }
            self.expect(",")?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<Node> {
        self.eat("{");
        let mut entries = BTreeMap::new();
        self.blanks();
        if self.eat("}") {
            return Some(Node::Object(entries));
        }
        loop {
            self.blanks();
            let key = self.text()?;
            self.blanks();
            self.expect(":")?;
            entries.insert((key.len(), key), self.node(depth)?);
            self.blanks();
            if self.eat("}") {
                return Some(Node::Object(entries));
            }
            self.expect(",")?;
        }
    }

    fn text(&mut self) -> Option<String> {
        self.expect("\"")?;
        let mut text = String::new();
        loop {
            let end = self.rest.find(['"', '\\'])?;
            let plain = self.take(end);
            if plain.bytes().any(|b| b < b' ') {
                return None;
            }
            text.push_str(plain);
            if self.eat("\"") {
                return Some(text);
            }
            text.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Option<char> {
        self.expect("\\")?;
        let char = match self.rest.bytes().next()? {
            b'u' => return self.code_point(),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            same @ (b'"' | b'\\' | b'/') => char::from(same),
            _ => return None,
        };
        self.take(1);
        Some(char)
    }

    fn code_point(&mut self) -> Option<char> {
        let first = self.unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        self.expect("\\")?;
        let second = self.unit()?;
        let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + low)
    }

    fn unit(&mut self) -> Option<u32> {
        self.expect("u")?;
        let digits = self.rest.get(..4)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.take(4);
        u32::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Option<String> {
        let sign = if self.eat("-") { "-" } else { "" };
        let whole = self.digits()?;
        if whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let fraction = if self.eat(".") { self.digits()? } else { "" };
        let mut exponent = 0;
        if self.eat("e") || self.eat("E") {
            let is_negative = self.eat("-");
            if !is_negative {
                self.eat("+");
            }
            exponent = self.digits()?.parse::<i64>().ok()?;
            if is_negative {
                exponent = -exponent;
            }
        }
        plain_number(sign, whole, fraction, exponent)
    }

    fn digits(&mut self) -> Option<&'a str> {
        let end = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        (end > 0).then(|| self.take(end))
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, text: &str) -> Option<()> {
        self.eat(text).then_some(())
    }
}

/// Moves the point by the exponent and strips zeros.
fn plain_number(sign: &str, whole: &str, fraction: &str, exponent: i64) -> Option<String> {
    if exponent.abs() > limits::EXPONENT {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let point = whole.len() as i64 + exponent;
    let text = if point <= 0 {
        let zeros = "0".repeat(point.unsigned_abs() as usize);
        format!("{sign}0.{zeros}{digits}")
    } else if point as usize >= digits.len() {
        let zeros = "0".repeat(point as usize - digits.len());
        format!("{sign}{digits}{zeros}")
    } else {
        let (whole, fraction) = digits.split_at(point as usize);
        format!("{sign}{whole}.{fraction}")
    };
    Some(normal_decimal(&text).into_owned())
}

mod limits {
    /// Levels of nesting: each takes a stack frame of its own.
    pub(super) const DEPTH: usize = 256;
    /// Of ten: enough for every double (308, and 324 below the point). `jsonb` prints none at all,
    /// and a short text may not become a long one.
    pub(super) const EXPONENT: i64 = 400;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_form_is_what_jsonb_prints() {
        for (text, normal) in [
            (
                " {\"bb\" :1, \"a\":[ ] ,\"a\": {}}",
                "{\"a\": {}, \"bb\": 1}",
            ),
            (
                "[1.50, 1E+2, 1.0e-3, -0, 0.0, 1e3]",
                "[1.5, 100, 0.001, 0, 0, 1000]",
            ),
            (
                "\"\\u00e9\\u2028\\u0001\\/\\ud83d\\ude00\\t\"",
                "\"é\u{2028}\\u0001/😀\\t\"",
            ),
            (
                "123456789012345678901234567890.5",
                "123456789012345678901234567890.5",
            ),
            ("12.5e-4", "0.00125"),
            ("null", "null"),
        ] {
            assert_eq!(normal_json(text), normal, "{text}");
            assert_eq!(normal_json(normal), normal);
        }
    }

    #[test]
    fn what_is_no_json_stays_as_it_is() {
        let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "01",
            "1.",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"a\nb\"",
            "1 2",
            "nul",
            "1e999999",
            "-",
            "{1:2}",
            &deep,
        ] {
            assert_eq!(normal_json(text), text);
        }
    }
}
