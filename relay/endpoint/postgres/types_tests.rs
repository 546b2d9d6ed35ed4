//! Values survive the trip through PostgreSQL's text, over whole domains; the rest is refused.
//! `CODEC_CASES` sets the number of values for each type.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tidegate_sync::codec::{Travel, travel};

use super::super::type_list::listed_types;
use super::*;

#[path = "../../sync/tests/codec/any.rs"]
mod any;

fn plain(oid: u32, modifier: i32) -> PgType {
    let base = BaseType {
        oid,
        modifier,
        ..BaseType::default()
    };
    PgType::new(oid, "test", "test", base)
}

fn column(field_type: &FieldType) -> PgType {
    PgType {
        oid: 0,
        name: field_type.name(),
        bare_name: String::new(),
        field_type: field_type.clone(),
    }
}

fn numeric(precision: i32, scale: i32) -> PgType {
    plain(1700, (precision << 16 | (scale & 0x7ff)) + 4)
}

fn array(of: &PgType) -> PgType {
    column(&FieldType::Array {
        of: Box::new(of.field_type.clone()),
    })
}

fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    value.canonical(&mut out);
    out
}

/// Written to a column and read back: the same value, or refused.
fn trip(of: &PgType, value: &Value) -> Result<bool, String> {
    let Ok(text) = encode(of, value) else {
        return Ok(false);
    };
    let back = decode(of, text.as_deref()).map_err(|e| format!("{e}: {value:?} by {text:?}"))?;
    if canonical(&back) != canonical(value) {
        return Err(format!("{}: {value:?} by {text:?} is {back:?}", of.name));
    }
    Ok(true)
}

#[track_caller]
fn round_trips(of: &PgType, value: Value) {
    assert_eq!(trip(of, &value), Ok(true), "{value:?}");
}

#[track_caller]
fn refused(of: &PgType, value: Value) {
    assert!(encode(of, &value).is_err(), "{value:?}");
}

#[test]
fn null_is_null_and_empty_text_is_text() {
    let text = plain(25, -1);
    assert_eq!(encode(&text, &Value::Null), Ok(None));
    assert_eq!(decode(&text, Some("")), Ok(Value::Text(String::new())));
}

#[test]
fn modifiers_are_read_as_the_server_packs_them() {
    let decimal = |precision, scale| FieldType::Decimal {
        precision: Some(precision),
        scale: Some(scale),
    };
    assert_eq!(numeric(10, 2).field_type, decimal(10, 2));
    assert_eq!(numeric(3, -2).field_type, decimal(3, -2));
    assert_eq!(
        plain(1043, 84).field_type,
        FieldType::Text {
            max: Some(80),
            ignores_case: false
        }
    );
    assert_eq!(plain(1186, -1).field_type, FieldType::Interval);
    assert_eq!(
        plain(1186, 0x7fff_0003).field_type,
        FieldType::Rounded {
            of: Box::new(FieldType::Interval),
            digits: 3
        }
    );
    let years = plain(1186, 6 << 16 | 0xffff).field_type;
    assert!(matches!(years, FieldType::Opaque { .. }));
    let seconds = plain(1114, 0).field_type;
    assert!(matches!(seconds, FieldType::Rounded { digits: 0, .. }));
    let bits = |length, fixed| FieldType::Bits { length, fixed };
    assert_eq!(plain(1560, 3).field_type, bits(Some(3), true));
    assert_eq!(plain(1562, -1).field_type, bits(None, false));
}

#[test]
fn what_the_server_would_round_or_cut_silently_is_refused() {
    refused(&numeric(10, 2), Value::Decimal("1.005".into()));
    refused(&numeric(4, 2), Value::Decimal("100".into()));
    refused(&numeric(4, 2), Value::Decimal("Infinity".into()));
    refused(&numeric(3, -2), Value::Decimal("150".into()));
    refused(&numeric(2, 4), Value::Decimal("0.01".into()));
    refused(&plain(1700, -1), Value::Float(-0.0));
    round_trips(&numeric(2, 4), Value::Decimal("0.0099".into()));
    round_trips(&numeric(3, -2), Value::Decimal("99900".into()));
    round_trips(&numeric(4, 2), Value::Decimal("99.9900".into()));
    round_trips(&numeric(4, 2), Value::Decimal("NaN".into()));
    let items = |text: &str| Value::List(vec![Value::Null, Value::Decimal(text.into())]);
    refused(&array(&numeric(10, 2)), items("1.005"));
    round_trips(&array(&numeric(10, 2)), items("1.05"));
    refused(&plain(1043, 4 + 3), Value::Text("abc ".into()));
    round_trips(&plain(1043, 4 + 3), Value::Text("äöü".into()));
    refused(&plain(1042, 4 + 3), Value::Text("a ".into()));
    refused(&plain(19, -1), Value::Text("x".repeat(64)));
    refused(&plain(19, -1), Value::Text("ä".repeat(32)));
    refused(&plain(1114, 0), Value::Timestamp(1_500_000));
    round_trips(&plain(1114, 0), Value::Timestamp(i64::MAX));
    refused(&plain(1114, -1), Value::Timestamp(i64::MAX - 1));
    refused(&plain(1082, -1), Value::Date(i32::MAX - 1));
    refused(&plain(1266, 0), Value::Opaque("12:00:00.5+02".into()));
    refused(&plain(1560, 3), Value::Opaque("1010".into()));
    refused(&plain(21, -1), Value::Int(40_000));
    refused(&plain(23, -1), Value::Decimal("1.5".into()));
    refused(&plain(25, -1), Value::Text("a\0b".into()));
    refused(&plain(25, -1), Value::Int(1));
}

#[test]
fn a_real_is_the_number_that_it_prints() {
    let real = plain(700, -1);
    assert_eq!(decode(&real, Some("0.1")), Ok(Value::Float(0.1)));
    round_trips(&real, Value::Float(0.1));
    refused(&real, Value::Float(0.123_456_789));
    refused(&real, Value::Float(1e300));
    refused(&real, Value::Int(16_777_217));
}

#[test]
fn fixed_length_text_loses_its_padding() {
    let padded = plain(1042, 4 + 5);
    assert_eq!(decode(&padded, Some("ab   ")), Ok(Value::Text("ab".into())));
}

#[test]
fn a_label_added_since_the_type_was_read_is_left_to_the_server() {
    let base = BaseType {
        oid: 90_000,
        name: "mood".into(),
        modifier: -1,
        enum_labels: vec!["fine".into(), "it's ok".into()],
    };
    let mood = PgType::new(90_000, "public.mood", "public.mood", base);
    round_trips(&mood, Value::Label("it's ok".into()));
    round_trips(&mood, Value::Label("new".into()));
    let text = encode(&mood, &Value::Text("fine".into()));
    assert_eq!(text, Ok(Some("fine".into())));
    refused(&mood, Value::Int(1));
}

#[test]
fn unreadable_text_is_an_error_that_does_not_show_it() {
    for (oid, text) in [
        (16, "maybe"),
        (23, "1.5"),
        (1700, "1e5"),
        (17, "abc"),
        (2950, "12"),
    ] {
        let error = decode(&plain(oid, -1), Some(text)).expect_err("refused");
        assert!(!error.to_string().contains(text));
    }
}

/// For each of the listed types and each of them as the receiver.
#[test]
fn every_value_of_every_type_goes_into_every_type_exactly_or_not_at_all() {
    let types = listed_types();
    let columns: Vec<PgType> = types.iter().map(|of| column(&of.field_type)).collect();
    let wanted = std::env::var("CODEC_CASES").ok();
    let cases = wanted.and_then(|text| text.parse().ok()).unwrap_or(32);
    for from in &columns {
        let check = |value: &Value| {
            for to in &columns {
                let arrived = trip(to, value)?;
                let open = travel(&from.field_type, &to.field_type) == Travel::All;
                if open && !arrived {
                    return Err(format!("{} to {}: {value:?}", from.name, to.name));
                }
            }
            Ok(())
        };
        for value in any::edges(&from.field_type) {
            check(&value).expect("an edge");
        }
        let mut runner = TestRunner::new(Config {
            cases,
            failure_persistence: None,
            ..Config::default()
        });
        let done = runner.run(&any::values(&from.field_type), |value| {
            check(&value).map_err(TestCaseError::fail)
        });
        done.unwrap_or_else(|failure| panic!("{}: {failure}", from.name));
    }
}

proptest! {
    #[test]
    fn decoding_never_panics(
        of in prop::sample::select(listed_types()),
        text in prop_oneof![any::<String>(), "[\\[\\]{}:=,\"\\\\0-9NULP.TZ-]{0,30}"],
    ) {
        let _ = decode(&column(&of.field_type), Some(&text));
    }

    #[test]
    fn what_a_limited_decimal_accepts_it_holds(
        text in "-?[0-9]{1,8}(\\.[0-9]{1,8})?", precision in 1i32..12, scale in -4i32..12,
    ) {
        let limited = numeric(precision, scale);
        if encode(&limited, &Value::Decimal(text.clone())).is_ok() {
            // |x| < 10^(precision - scale), and x is a multiple of 10^-scale.
            let x: f64 = text.parse().expect("a number");
            prop_assert!(x.abs() < 10f64.powi(precision - scale));
        }
    }
}
