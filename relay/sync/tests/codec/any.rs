//! Any value of a field type: its edges, and random ones of its whole domain. Also used by the
//! relay's tests against a real PostgreSQL.

use proptest::prelude::*;
use tidegate_sync::codec::{
    DATE_FIRST, DATE_LAST, FieldType, LineForm, TIMESTAMP_FIRST, TIMESTAMP_LAST,
};
use tidegate_sync::value::Value;

/// Edges one time in three, else anything.
pub fn values(of: &FieldType) -> BoxedStrategy<Value> {
    let edges = edges(of);
    if edges.is_empty() {
        return Just(Value::Null).boxed();
    }
    prop_oneof![1 => prop::sample::select(edges), 2 => random(of)].boxed()
}

/// Values at the borders of what the type holds.
pub fn edges(of: &FieldType) -> Vec<Value> {
    match of {
        FieldType::Bool => vec![Value::Bool(true), Value::Bool(false)],
        FieldType::Int { bits } => {
            let most = i64::MAX >> (64 - i32::from(*bits));
            [0, 1, -1, most, !most].map(Value::Int).to_vec()
        }
        FieldType::Decimal { precision, scale } => decimal_edges(*precision, scale.unwrap_or(0)),
        FieldType::Fixed { digits, scale } => limited_edges(i32::from(*digits), i32::from(*scale)),
        FieldType::Float { bits: 32 } => {
            let mut floats = special_floats();
            for float in [f32::MAX, f32::MIN_POSITIVE, 1e-45, 16_777_217.0, 0.1] {
                floats.push(printed(float));
            }
            floats.into_iter().map(Value::Float).collect()
        }
        FieldType::Float { .. } => {
            let mut floats = special_floats();
            floats.extend(finite_floats());
            floats.into_iter().map(Value::Float).collect()
        }
        FieldType::Number => finite_floats().into_iter().map(Value::Float).collect(),
        FieldType::Bytes => vec![Value::Bytes(vec![]), Value::Bytes(vec![0, 255, b'\\'])],
        FieldType::Uuid => vec![Value::Uuid([0; 16]), Value::Uuid([255; 16])],
        FieldType::Array { .. } | FieldType::List { .. } => list_edges(of),
        FieldType::Files => Vec::new(),
        FieldType::Date
        | FieldType::Day
        | FieldType::Time
        | FieldType::TimeTz
        | FieldType::Timestamp
        | FieldType::TimestampTz
        | FieldType::Moment { .. }
        | FieldType::Interval
        | FieldType::Rounded { .. } => time_edges(of),
        _ => text_edges(of),
    }
}

fn printed(float: f32) -> f64 {
    float.to_string().parse().expect("a float prints as one")
}

fn special_floats() -> Vec<f64> {
    vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0]
}

fn finite_floats() -> Vec<f64> {
    let two_53 = 9_007_199_254_740_992.0;
    vec![
        0.0,
        0.1,
        1e21,
        1e-7,
        f64::MAX,
        f64::MIN,
        5e-324,
        two_53,
        -0.5,
    ]
}

fn decimal_edges(precision: Option<u16>, scale: i16) -> Vec<Value> {
    let named = |name: &str| Value::Decimal(name.into());
    let Some(precision) = precision else {
        let mut edges: Vec<Value> = ["NaN", "Infinity", "-Infinity", "0", "-0.00", "1.50"]
            .map(named)
            .to_vec();
        let thousand = "123456789".repeat(112);
        edges.push(Value::Decimal(format!("-{}.{thousand}", &thousand[..1000])));
        edges.push(Value::Decimal("9".repeat(131_072)));
        edges.push(Value::Decimal(format!("0.{}1", "0".repeat(16_382))));
        return edges;
    };
    let mut edges = limited_edges(i32::from(precision), i32::from(scale));
    edges.push(named("NaN"));
    edges
}

/// The greatest number of `digits` digits with `scale` after the point, and the smallest.
fn limited_edges(digits: i32, scale: i32) -> Vec<Value> {
    let most = at_scale(&"9".repeat(digits as usize), scale);
    let least = at_scale("1", scale);
    let minus = format!("-{most}");
    [most, minus, least, "0".into()]
        .map(Value::Decimal)
        .to_vec()
}

/// An integer's digits with the point moved.
fn at_scale(digits: &str, scale: i32) -> String {
    if scale <= 0 {
        return format!("{digits}{}", "0".repeat(scale.unsigned_abs() as usize));
    }
    let scale = scale as usize;
    let padded = format!(
        "{}{digits}",
        "0".repeat((scale + 1).saturating_sub(digits.len()))
    );
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{whole}.{fraction}")
}

fn text_edges(of: &FieldType) -> Vec<Value> {
    let texts = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| Value::Text((*text).into()))
            .collect()
    };
    let opaque = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| Value::Opaque((*text).into()))
            .collect()
    };
    let longest = |max: &u32| Value::Text("😀".repeat(*max as usize));
    match of {
        FieldType::Text { max, .. } | FieldType::Padded { length: max } => {
            let mut edges: Vec<Value> = texts(&["", "\n", "a\nb", "NULL", "\\N", "\t\u{1}", " x"]);
            if matches!(of, FieldType::Text { .. }) {
                edges.extend(texts(&["x ", " "]));
            }
            edges.extend(max.as_ref().map(longest));
            if max.is_none() {
                edges.push(longest(&200_000));
            }
            edges.retain(|edge| tidegate_sync::codec::holds(of, edge).is_ok());
            edges
        }
        FieldType::Short { bytes } => {
            let mut edges: Vec<Value> = texts(&["", "a\nb", "x "]);
            edges.push(Value::Text("x".repeat(*bytes as usize)));
            edges.push(longest(&(bytes / 4)));
            edges
        }
        FieldType::Line { max, form } => {
            let (prefix, edge) = match form {
                LineForm::Any => ("", vec!["", "x ", "\t"]),
                LineForm::Email => ("a@", vec!["a@b", "a@@"]),
                LineForm::Url => ("http://", vec!["https://x", "http://a@b"]),
            };
            let mut edges: Vec<Value> = texts(&edge);
            let most = max.unwrap_or(100_001) as usize - prefix.len();
            edges.push(Value::Text(format!("{prefix}{}", "x".repeat(most))));
            edges
        }
        FieldType::Enum { labels } => labels.iter().cloned().map(Value::Label).collect(),
        FieldType::Bits { length, fixed } => {
            let length = length.map_or(200_000, |length| length as usize);
            let mut edges: Vec<Value> = opaque(&["1".repeat(length).as_str()]);
            if !fixed {
                edges.extend::<Vec<Value>>(opaque(&["", "0"]));
            }
            edges
        }
        FieldType::JsonText | FieldType::Json | FieldType::Document => document_edges(of),
        _ => {
            let long = "x".repeat(200_000);
            opaque(&["", "a\nb", "(1,\"a b\")", "x ", &long])
        }
    }
}

fn document_edges(of: &FieldType) -> Vec<Value> {
    let texts: [&str; 4] = match of {
        FieldType::JsonText => [
            "{\"b\": 1, \"a\": [1.50, null], \"b\":\n2}",
            "1E+5",
            " [] ",
            "1",
        ],
        FieldType::Json => [
            "[99999999999999999999999999999999999999999999999999.99]",
            "{\"bb\": 1.50, \"a\": {}}",
            "2",
            "\"\"",
        ],
        _ => [
            "{\"b\":1.50,\"a\":[]}",
            "[1e300,5e-324]",
            "\"é\\u0001\"",
            "3",
        ],
    };
    let texts = texts.into_iter().map(str::to_owned).chain([long_json()]);
    let value = match of {
        FieldType::JsonText => Value::Json,
        _ => Value::Document,
    };
    texts.map(value).collect()
}

fn long_json() -> String {
    format!("\"{}\"", "ü".repeat(200_000))
}

fn time_edges(of: &FieldType) -> Vec<Value> {
    let day = 86_400_000_000i64;
    match of {
        FieldType::Date => [i32::MIN, DATE_FIRST, -1, 0, DATE_LAST, i32::MAX]
            .map(Value::Date)
            .to_vec(),
        FieldType::Day => [-730_119, 0, 59, 2_921_939].map(Value::Date).to_vec(),
        FieldType::Time => [0, 1, day - 1, day].map(Value::Time).to_vec(),
        FieldType::TimeTz => [
            "24:00:00+15:59:59",
            "00:00:00.000001-15:59:59",
            "12:00:00.5+02",
        ]
        .map(|text| Value::Opaque(text.into()))
        .to_vec(),
        FieldType::Timestamp => timestamps().map(Value::Timestamp).to_vec(),
        FieldType::TimestampTz => timestamps().map(Value::TimestampTz).to_vec(),
        FieldType::Moment { zoned, unit_micros } => {
            let (first, last) = (-730_119 * day, 2_921_940 * day - unit_micros);
            let value = |micros| match zoned {
                true => Value::TimestampTz(micros),
                false => Value::Timestamp(micros),
            };
            [first, -unit_micros, 0, last].map(value).to_vec()
        }
        FieldType::Interval => {
            let (most, least) = ((i32::MAX, i64::MAX - 1), (i32::MIN, i64::MIN + 1));
            [(0, 0), most, least, (1, -1)]
                .map(|(number, micros)| Value::Interval {
                    months: number,
                    days: number,
                    micros,
                })
                .to_vec()
        }
        FieldType::Rounded { of, digits } => {
            let edges = time_edges(of).into_iter();
            edges.filter_map(|edge| cut(edge, *digits)).collect()
        }
        _ => Vec::new(),
    }
}

/// Both infinities and ends, a microsecond, and the hours around changes of clocks in Berlin.
fn timestamps() -> [i64; 10] {
    let hour = 3_600_000_000;
    let spring_2024 = 765_248_400 * 1_000_000;
    [
        i64::MIN,
        TIMESTAMP_FIRST,
        -1,
        0,
        1,
        spring_2024 - 1,
        spring_2024,
        spring_2024 + hour,
        TIMESTAMP_LAST,
        i64::MAX,
    ]
}

/// Rounded towards zero to so many decimals of a second; nothing for text.
fn cut(value: Value, digits: u8) -> Option<Value> {
    let unit = 10i64.pow(6 - u32::from(digits));
    let cut = |micros: i64| match micros {
        i64::MIN | i64::MAX => micros,
        _ => micros - micros % unit,
    };
    Some(match value {
        Value::Time(micros) => Value::Time(cut(micros)),
        Value::Timestamp(micros) => Value::Timestamp(cut(micros)),
        Value::TimestampTz(micros) => Value::TimestampTz(cut(micros)),
        Value::Interval {
            months,
            days,
            micros,
        } => Value::Interval {
            months,
            days,
            micros: cut(micros),
        },
        Value::Opaque(text) => {
            Value::Opaque(text.split_once('.').map_or(text.clone(), |(time, rest)| {
                let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("{time}{zone}")
            }))
        }
        other => other,
    })
}

fn list_edges(of: &FieldType) -> Vec<Value> {
    let (FieldType::Array { of: item } | FieldType::List { of: item, .. }) = of else {
        return Vec::new();
    };
    let items = edges(item);
    let mut lists = vec![Value::List(Vec::new())];
    let first: Vec<Value> = items.iter().take(3).cloned().collect();
    lists.push(Value::List(first.clone()));
    lists.extend(items.iter().map(|item| Value::List(vec![item.clone()])));
    if let FieldType::List { distinct: true, .. } = of {
        return lists;
    }
    lists.push(Value::List([first.clone(), first.clone()].concat()));
    if let FieldType::Array { .. } = of {
        let with_null = Value::List([vec![Value::Null], first.clone()].concat());
        lists.push(Value::List(vec![with_null.clone(), with_null.clone()]));
        lists.push(with_null);
        lists.push(Value::Shifted {
            lower: vec![-1],
            items: first.clone(),
        });
        let row = Value::List(first);
        lists.push(Value::Shifted {
            lower: vec![2, 1, -2_000_000],
            items: vec![Value::List(vec![row.clone()]), Value::List(vec![row])],
        });
    }
    lists
}

fn random(of: &FieldType) -> BoxedStrategy<Value> {
    match of {
        FieldType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        FieldType::Int { bits } => {
            let shift = 64 - u32::from(*bits);
            (any::<i64>(), shift..64)
                .prop_map(|(i, shift)| Value::Int(i >> shift))
                .boxed()
        }
        FieldType::Decimal {
            precision: None, ..
        } => "-?(0|[1-9][0-9]{0,999})(\\.[0-9]{1,999})?"
            .prop_map(Value::Decimal)
            .boxed(),
        FieldType::Decimal {
            precision: Some(digits),
            scale,
        } => decimals(*digits, i32::from(scale.unwrap_or(0))),
        FieldType::Fixed { digits, scale } => decimals(*digits, i32::from(*scale)),
        FieldType::Float { bits: 32 } => any::<u32>()
            .prop_map(f32::from_bits)
            .prop_map(|float| match float.is_finite() {
                true => Value::Float(printed(float)),
                false => Value::Float(float.into()),
            })
            .boxed(),
        FieldType::Float { .. } => any::<u64>()
            .prop_map(|bits| Value::Float(f64::from_bits(bits)))
            .boxed(),
        FieldType::Number => any::<u64>()
            .prop_map(f64::from_bits)
            .prop_filter("a number of JSON", |float| {
                float.is_finite() && *float != 0.0
            })
            .prop_map(Value::Float)
            .boxed(),
        FieldType::Bytes => any::<Vec<u8>>().prop_map(Value::Bytes).boxed(),
        FieldType::Uuid => any::<[u8; 16]>().prop_map(Value::Uuid).boxed(),
        FieldType::JsonText => (json(4), "[ \n\t]{0,3}")
            .prop_map(|(text, blank)| Value::Json(format!("{blank}{text}")))
            .boxed(),
        FieldType::Json => json(40).prop_map(Value::Document).boxed(),
        FieldType::Document => json(15).prop_map(Value::Document).boxed(),
        FieldType::Array { of: item } => arrays(item),
        FieldType::List { of: item, distinct } => {
            let distinct = *distinct;
            prop::collection::vec(values(item), 0..5)
                .prop_map(move |items| Value::List(deduplicated(items, distinct)))
                .boxed()
        }
        FieldType::Files => Just(Value::Null).boxed(),
        _ => random_time(of).unwrap_or_else(|| random_text(of)),
    }
}

fn deduplicated(items: Vec<Value>, distinct: bool) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for item in items {
        if !distinct || !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

fn decimals(digits: u16, scale: i32) -> BoxedStrategy<Value> {
    let pattern = format!("-?[1-9][0-9]{{0,{}}}", digits - 1);
    let digits = proptest::string::string_regex(&pattern).expect("a pattern");
    digits
        .prop_map(move |digits| match digits.strip_prefix('-') {
            Some(digits) => Value::Decimal(format!("-{}", at_scale(digits, scale))),
            None => Value::Decimal(at_scale(&digits, scale)),
        })
        .boxed()
}

/// A list of lists of items or nulls, sometimes with first indices of its own.
fn arrays(item: &FieldType) -> BoxedStrategy<Value> {
    let item = values(item);
    let flat = prop::collection::vec(prop_oneof![1 => Just(Value::Null), 4 => item.clone()], 0..4);
    let plane = (1usize..3, 1usize..3).prop_flat_map(move |(rows, columns)| {
        let row = prop::collection::vec(item.clone(), columns).prop_map(Value::List);
        prop::collection::vec(row, rows)
    });
    let lower = || -3i32..2;
    prop_oneof![
        flat.clone().prop_map(Value::List),
        plane.clone().prop_map(Value::List),
        (flat, lower()).prop_map(|(items, lower)| shifted(vec![lower], items)),
        (plane, lower(), lower()).prop_map(|(items, a, b)| shifted(vec![a, b], items)),
    ]
    .boxed()
}

fn shifted(lower: Vec<i32>, items: Vec<Value>) -> Value {
    if items.is_empty() || lower.iter().all(|bound| *bound == 1) {
        return Value::List(items);
    }
    Value::Shifted { lower, items }
}

/// JSON whose numbers have at most so many digits.
fn json(digits: usize) -> BoxedStrategy<String> {
    let number = format!("-?[1-9][0-9]{{0,{}}}(\\.[0-9]{{1,2}})?", digits.max(4) - 4);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        proptest::string::string_regex(&number).expect("a pattern"),
        "[a-z ü😀/]{0,8}".prop_map(|text| format!("\"{text}\"")),
        Just("\"\\\\\\\"\\n\\u0007\"".to_owned()),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|i| format!("[{}]", i.join(","))),
            prop::collection::vec(("[a-zä]{0,3}", inner), 0..4).prop_map(|entries| {
                let entries = entries
                    .iter()
                    .map(|(key, value)| format!("\"{key}\" :{value}"));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }),
        ]
    })
    .boxed()
}

fn random_text(of: &FieldType) -> BoxedStrategy<Value> {
    let pattern = |pattern: &str| proptest::string::string_regex(pattern).expect("a pattern");
    let up_to = |max: Option<u32>, cap: u32| max.unwrap_or(cap).min(cap);
    match of {
        FieldType::Text { max, .. } => pattern(&format!("[^\\x00]{{0,{}}}", up_to(*max, 60)))
            .prop_map(Value::Text)
            .boxed(),
        FieldType::Short { bytes } => pattern(&format!("[^\\x00]{{0,{}}}", bytes / 4))
            .prop_map(Value::Text)
            .boxed(),
        FieldType::Padded { length } => pattern(&format!("[^\\x00]{{0,{}}}", up_to(*length, 60)))
            .prop_map(|text| Value::Text(text.trim_end_matches(' ').to_owned()))
            .boxed(),
        FieldType::Line { max, form } => match form {
            LineForm::Any => pattern(&format!("[a-zA-Zü😀\\t ]{{0,{}}}", up_to(*max, 60))),
            LineForm::Email => pattern("[a-z.+]{1,20}@[a-zü.]{1,20}"),
            LineForm::Url => pattern("https?://[a-z.]{1,30}(/[a-z?=&#%]{0,30})?"),
        }
        .prop_map(Value::Text)
        .boxed(),
        FieldType::Enum { labels } => prop::sample::select(labels.clone())
            .prop_map(Value::Label)
            .boxed(),
        FieldType::Bits { length, fixed } => {
            let most = up_to(*length, 100);
            let least = if *fixed { most } else { 0 };
            pattern(&format!("[01]{{{least},{most}}}"))
                .prop_map(Value::Opaque)
                .boxed()
        }
        _ => "[^\\x00]{0,60}".prop_map(Value::Opaque).boxed(),
    }
}

fn random_time(of: &FieldType) -> Option<BoxedStrategy<Value>> {
    let day = 86_400_000_000i64;
    Some(match of {
        FieldType::Date => (DATE_FIRST..=DATE_LAST).prop_map(Value::Date).boxed(),
        FieldType::Day => (-730_119..=2_921_939).prop_map(Value::Date).boxed(),
        FieldType::Time => (0..=day).prop_map(Value::Time).boxed(),
        FieldType::TimeTz => (0..day, -57_599..57_600i32)
            .prop_map(|(micros, zone)| Value::Opaque(time_with_zone(micros, zone)))
            .boxed(),
        FieldType::Timestamp => (TIMESTAMP_FIRST..=TIMESTAMP_LAST)
            .prop_map(Value::Timestamp)
            .boxed(),
        FieldType::TimestampTz => (TIMESTAMP_FIRST..=TIMESTAMP_LAST)
            .prop_map(Value::TimestampTz)
            .boxed(),
        FieldType::Moment { zoned, unit_micros } => {
            let (zoned, unit) = (*zoned, *unit_micros);
            (-730_119 * day / unit..2_921_940 * day / unit)
                .prop_map(move |units| match zoned {
                    true => Value::TimestampTz(units * unit),
                    false => Value::Timestamp(units * unit),
                })
                .boxed()
        }
        FieldType::Interval => (any::<i32>(), any::<i32>(), i64::MIN + 1..i64::MAX)
            .prop_map(|(months, days, micros)| Value::Interval {
                months,
                days,
                micros,
            })
            .boxed(),
        FieldType::Rounded { of, digits } => {
            let digits = *digits;
            random_time(of)?
                .prop_filter_map("has a time", move |value| cut(value, digits))
                .boxed()
        }
        _ => return None,
    })
}

/// As PostgreSQL prints `timetz`.
fn time_with_zone(micros: i64, zone: i32) -> String {
    let seconds = micros / 1_000_000;
    let mut text = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if micros % 1_000_000 != 0 {
        let fraction = format!("{:06}", micros % 1_000_000);
        text.push_str(&format!(".{}", fraction.trim_end_matches('0')));
    }
    let sign = if zone < 0 { '-' } else { '+' };
    let zone = zone.abs();
    text.push_str(&format!("{sign}{:02}", zone / 3600));
    if zone % 3600 != 0 {
        text.push_str(&format!(":{:02}", zone / 60 % 60));
    }
    if zone % 60 != 0 {
        text.push_str(&format!(":{:02}", zone % 60));
    }
    text
}
