//! The codec's two ends agree: what `travel` says of a pair of types is what `holds` says of their
//! values, over their whole domains. `CODEC_CASES` sets the number of values for each type.

mod any;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tidegate_sync::codec::app::app_types;
use tidegate_sync::codec::{FieldType, Relation, Travel, holds, relate, travel};
use tidegate_sync::value::Value;

fn cases() -> u32 {
    let wanted = std::env::var("CODEC_CASES").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(64)
}

/// Every kind of type, with limits that are neighbours.
fn types() -> Vec<FieldType> {
    let mut types: Vec<FieldType> = app_types().into_iter().map(|of| of.field_type).collect();
    types.extend(numbers());
    types.extend(texts());
    types.extend(times());
    let array = |of: FieldType| FieldType::Array { of: Box::new(of) };
    let list = |of: FieldType, distinct| FieldType::List {
        of: Box::new(of),
        distinct,
    };
    types.extend([
        array(FieldType::Int { bits: 32 }),
        array(FieldType::Int { bits: 64 }),
        array(labels(&["new", "open", "done", "x"])),
        array(text(None)),
        array(FieldType::Uuid),
        list(text(None), false),
        list(text(None), true),
        list(text(Some(3)), true),
    ]);
    types.dedup();
    types
}

fn numbers() -> Vec<FieldType> {
    let decimal = |precision, scale| FieldType::Decimal { precision, scale };
    let fixed = |digits, scale| FieldType::Fixed { digits, scale };
    vec![
        FieldType::Bool,
        FieldType::Int { bits: 16 },
        FieldType::Int { bits: 32 },
        FieldType::Int { bits: 64 },
        decimal(None, None),
        decimal(Some(10), Some(2)),
        decimal(Some(12), Some(2)),
        decimal(Some(15), Some(0)),
        decimal(Some(16), Some(0)),
        decimal(Some(6), Some(3)),
        decimal(Some(9), Some(3)),
        decimal(Some(3), Some(-2)),
        decimal(Some(2), Some(4)),
        decimal(Some(19), Some(0)),
        FieldType::Float { bits: 32 },
        FieldType::Float { bits: 64 },
        fixed(4, 0),
        fixed(5, 0),
        fixed(18, 0),
        fixed(19, 0),
        fixed(16, 2),
    ]
}

fn text(max: Option<u32>) -> FieldType {
    FieldType::Text {
        max,
        ignores_case: false,
    }
}

fn labels(names: &[&str]) -> FieldType {
    FieldType::Enum {
        labels: names.iter().map(|name| name.to_string()).collect(),
    }
}

fn texts() -> Vec<FieldType> {
    let bits = |length, fixed| FieldType::Bits { length, fixed };
    vec![
        text(None),
        FieldType::Text {
            max: None,
            ignores_case: true,
        },
        text(Some(3)),
        text(Some(63)),
        FieldType::Short { bytes: 63 },
        FieldType::Short { bytes: 252 },
        FieldType::Padded { length: Some(2) },
        FieldType::Padded { length: Some(36) },
        FieldType::Padded { length: None },
        labels(&["a", "b"]),
        labels(&["b", "a", "c"]),
        labels(&["longer", "ends ", ""]),
        FieldType::Uuid,
        FieldType::JsonText,
        FieldType::Json,
        FieldType::Bytes,
        FieldType::Opaque {
            name: "tsrange".into(),
        },
        FieldType::Opaque {
            name: "row(a text)".into(),
        },
        bits(Some(3), true),
        bits(Some(4), true),
        bits(Some(3), false),
        bits(None, false),
    ]
}

fn times() -> Vec<FieldType> {
    let rounded = |of: FieldType, digits| FieldType::Rounded {
        of: Box::new(of),
        digits,
    };
    vec![
        FieldType::Date,
        FieldType::Time,
        FieldType::TimeTz,
        FieldType::Timestamp,
        FieldType::TimestampTz,
        FieldType::Interval,
        rounded(FieldType::Time, 0),
        rounded(FieldType::TimeTz, 0),
        rounded(FieldType::Timestamp, 0),
        rounded(FieldType::Timestamp, 3),
        rounded(FieldType::TimestampTz, 3),
        rounded(FieldType::TimestampTz, 0),
        rounded(FieldType::Interval, 3),
        FieldType::Moment {
            zoned: true,
            unit_micros: 1,
        },
    ]
}

/// Its values are text that could be another type's: only where they come from tells them apart.
fn is_opaque(of: &FieldType) -> bool {
    match of {
        FieldType::Opaque { .. } | FieldType::Bits { .. } | FieldType::TimeTz => true,
        FieldType::Rounded { of, .. } => is_opaque(of),
        _ => false,
    }
}

/// Goes into a list of anything.
fn is_empty_list(value: &Value) -> bool {
    let all_null = |items: &[Value]| {
        items
            .iter()
            .all(|item| item.is_null() || is_empty_list(item))
    };
    matches!(value, Value::List(items) | Value::Shifted { items, .. } if all_null(items))
}

#[test]
fn what_travels_is_what_the_other_type_holds() {
    let types = types();
    let mut witnesses = vec![[false; 2]; types.len() * types.len()];
    for (number, from) in types.iter().enumerate() {
        let strategy = any::values(from);
        let mut values = any::edges(from);
        let mut runner = TestRunner::new(Config {
            cases: cases(),
            failure_persistence: None,
            ..Config::default()
        });
        let done = runner.run(&strategy, |value| {
            check(from, &value, &types).map_err(TestCaseError::fail)
        });
        done.unwrap_or_else(|failure| panic!("{from:?}: {failure}"));
        for value in std::mem::take(&mut values) {
            check(from, &value, &types).expect("the edges");
            for (other, to) in types.iter().enumerate() {
                let fits = holds(to, &value).is_ok();
                if !value.is_null() && !is_empty_list(&value) {
                    witnesses[number * types.len() + other][usize::from(fits)] = true;
                    // What both hold is a witness for the way back.
                    if fits {
                        witnesses[other * types.len() + number][1] = true;
                    }
                }
            }
        }
    }
    let mut unshown = Vec::new();
    for (number, from) in types.iter().enumerate() {
        for (other, to) in types.iter().enumerate() {
            let [misfit, fit] = witnesses[number * types.len() + other];
            if let Travel::Most { reason } = travel(from, to)
                && !(misfit && fit)
            {
                unshown.push(format!("{reason}: some do not {misfit}, some do {fit}"));
            }
        }
    }
    assert!(unshown.is_empty(), "{unshown:#?}");
}

fn check(from: &FieldType, value: &Value, types: &[FieldType]) -> Result<(), String> {
    if let Err(misfit) = holds(from, value) {
        return Err(format!("{from:?} lacks {value:?}: {misfit:?}"));
    }
    for to in types {
        let held = holds(to, value);
        match (travel(from, to), held) {
            (Travel::All, Err(misfit)) => {
                return Err(format!("{from:?} to {to:?}, {value:?}: {misfit:?}"));
            }
            (Travel::None { reason }, Ok(())) => {
                let excused = is_opaque(to) || value.is_null() || is_empty_list(value);
                if !excused {
                    return Err(format!("{reason}, but {value:?} does"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn a_type_goes_into_itself_and_files_nowhere() {
    for of in types() {
        let nowhere = of == FieldType::Files;
        assert_eq!(relate(&of, &of) == Relation::Lossless, !nowhere, "{of:?}");
    }
}

#[test]
fn swapping_the_sides_mirrors_the_answer() {
    for a in types() {
        for b in types() {
            let mirrored = match relate(&b, &a) {
                Relation::LeftToRight { reason } => Relation::RightToLeft { reason },
                Relation::RightToLeft { reason } => Relation::LeftToRight { reason },
                other => other,
            };
            let found = relate(&a, &b);
            let same_kind = std::mem::discriminant(&found) == std::mem::discriminant(&mirrored);
            assert!(same_kind, "{a:?} {b:?}: {found:?} {mirrored:?}");
        }
    }
}

#[test]
fn travel_is_transitive() {
    let types = types();
    let open: Vec<Vec<bool>> = types
        .iter()
        .map(|a| types.iter().map(|b| travel(a, b) == Travel::All).collect())
        .collect();
    for (a, row) in open.iter().enumerate() {
        for (b, _) in row.iter().enumerate().filter(|(_, open)| **open) {
            for (c, _) in open[b].iter().enumerate().filter(|(_, open)| **open) {
                let (a_type, b_type, c_type) = (&types[a], &types[b], &types[c]);
                assert!(open[a][c], "{a_type:?} to {b_type:?} to {c_type:?}");
            }
        }
    }
}
