//! Values survive the trip through PostgreSQL's text, over whole domains; the rest is refused.

use proptest::prelude::*;

use super::*;

fn plain(oid: u32, modifier: i32) -> PgType {
    let base = BaseType {
        oid,
        modifier,
        ..BaseType::default()
    };
    PgType::new(oid, "test", "test", base)
}

fn numeric(precision: i32, scale: i32) -> PgType {
    plain(1700, (precision << 16 | (scale & 0x7ff)) + 4)
}

#[track_caller]
fn round_trips(of: &PgType, value: Value) {
    let text = encode(of, &value).expect("fits");
    let back = decode(of, text.as_deref()).expect("decodes");
    let canonical = |value: &Value| {
        let mut out = Vec::new();
        value.canonical(&mut out);
        out
    };
    assert_eq!(canonical(&back), canonical(&value), "{value:?} by {text:?}");
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
    assert_eq!(
        numeric(10, 2).kind,
        Kind::Numeric {
            limits: Some((10, 2))
        }
    );
    assert_eq!(
        numeric(3, -2).kind,
        Kind::Numeric {
            limits: Some((3, -2))
        }
    );
    assert_eq!(
        plain(1043, 84).field_type(),
        FieldType::Text {
            max: Some(80),
            ignores_case: false
        }
    );
    assert_eq!(plain(1186, -1).field_type(), FieldType::Interval);
    assert_eq!(plain(1186, 0x7fff_0003).kind, Kind::Interval { digits: 3 });
    assert_eq!(plain(1186, 6 << 16 | 0xffff).kind, Kind::Opaque);
    let seconds = plain(1114, 0).field_type();
    assert!(matches!(seconds, FieldType::Rounded { digits: 0, .. }));
}

#[test]
fn what_the_server_would_round_or_cut_silently_is_refused() {
    refused(&numeric(10, 2), Value::Decimal("1.005".into()));
    refused(&numeric(4, 2), Value::Decimal("100".into()));
    refused(&numeric(4, 2), Value::Decimal("Infinity".into()));
    refused(&numeric(3, -2), Value::Decimal("150".into()));
    refused(&numeric(2, 4), Value::Decimal("0.01".into()));
    round_trips(&numeric(2, 4), Value::Decimal("0.0099".into()));
    round_trips(&numeric(3, -2), Value::Decimal("99900".into()));
    round_trips(&numeric(4, 2), Value::Decimal("99.9900".into()));
    round_trips(&numeric(4, 2), Value::Decimal("NaN".into()));
    refused(&plain(1043, 4 + 3), Value::Text("abc ".into()));
    round_trips(&plain(1043, 4 + 3), Value::Text("äöü".into()));
    refused(&plain(1042, 4 + 3), Value::Text("a ".into()));
    refused(&plain(19, -1), Value::Text("x".repeat(64)));
    refused(&plain(1114, 0), Value::Timestamp(1_500_000));
    round_trips(&plain(1114, 0), Value::Timestamp(i64::MAX));
    refused(&plain(700, -1), Value::Float(0.1));
    refused(&plain(700, -1), Value::Float(1e300));
    refused(&plain(21, -1), Value::Int(40_000));
    refused(&plain(23, -1), Value::Decimal("1.5".into()));
    refused(&plain(25, -1), Value::Text("a\0b".into()));
    refused(&plain(25, -1), Value::Int(1));
}

#[test]
fn fixed_length_text_loses_its_padding() {
    let padded = plain(1042, 4 + 5);
    assert_eq!(decode(&padded, Some("ab   ")), Ok(Value::Text("ab".into())));
}

#[test]
fn labels_must_exist() {
    let mood = PgType::new(
        90_000,
        "public.mood",
        "public.mood",
        BaseType {
            oid: 90_000,
            name: "mood".into(),
            modifier: -1,
            enum_labels: vec!["fine".into(), "it's ok".into()],
        },
    );
    round_trips(&mood, Value::Label("it's ok".into()));
    assert_eq!(
        encode(&mood, &Value::Text("fine".into())),
        Ok(Some("fine".into()))
    );
    refused(&mood, Value::Label("sad".into()));
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

proptest! {
    #[test]
    fn integers_round_trip(value: i64) {
        round_trips(&plain(20, -1), Value::Int(value));
        round_trips(&plain(1700, -1), Value::Int(value));
    }

    #[test]
    fn floats_round_trip_by_their_bits(bits: u64, narrow: u32) {
        round_trips(&plain(701, -1), Value::Float(f64::from_bits(bits)));
        round_trips(&plain(700, -1), Value::Float(f64::from(f32::from_bits(narrow))));
    }

    #[test]
    fn decimals_round_trip(text in "-?[0-9]{1,1000}(\\.[0-9]{1,1000})?") {
        round_trips(&plain(1700, -1), Value::Decimal(text));
    }

    #[test]
    fn bytes_round_trip(bytes: Vec<u8>) {
        round_trips(&plain(17, -1), Value::Bytes(bytes));
    }

    #[test]
    fn uuids_round_trip(bytes: [u8; 16]) {
        round_trips(&plain(2950, -1), Value::Uuid(bytes));
    }

    #[test]
    fn text_round_trips(text in "[^\\x00]{0,200}") {
        round_trips(&plain(25, -1), Value::Text(text));
    }

    #[test]
    fn decoding_never_panics(oid in prop::sample::select(vec![
        16u32, 17, 19, 20, 21, 23, 25, 114, 700, 701, 1042, 1043, 1082, 1083, 1114, 1184, 1186,
        1700, 2950, 3802, 99_999,
    ]), text: String) {
        let _ = decode(&plain(oid, -1), Some(&text));
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
