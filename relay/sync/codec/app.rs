//! Field types that apps have in common, as data: a connector names one for each field of its app.

use super::field_type::{FieldType, LineForm};

/// One of an app's kinds of field.
#[derive(Clone, Debug)]
pub struct AppType {
    /// As connectors name it.
    pub name: &'static str,
    pub field_type: FieldType,
    /// What it holds, in words.
    pub range: &'static str,
}

/// All of them. Those with choices or limits of their own are shown with an example's.
pub fn app_types() -> Vec<AppType> {
    [numbers(), texts(), times(), rest()].concat()
}

fn of(name: &'static str, field_type: FieldType, range: &'static str) -> AppType {
    AppType {
        name,
        field_type,
        range,
    }
}

fn numbers() -> Vec<AppType> {
    vec![
        of("checkbox", FieldType::Bool, "true and false"),
        of(
            "integer",
            FieldType::Int { bits: 54 },
            "whole numbers of −2⁵³ to 2⁵³−1, which a double holds exactly",
        ),
        of(
            "number",
            FieldType::Number,
            "finite doubles without −0, compared by their shortest decimal",
        ),
        of(
            "currency",
            FieldType::Fixed {
                digits: 15,
                scale: 2,
            },
            "decimals of 13 digits before and 2 after the point",
        ),
        of(
            "decimal",
            FieldType::Fixed {
                digits: 38,
                scale: 10,
            },
            "exact decimals, sent as text, of 28 digits before and 10 after the point",
        ),
    ]
}

fn texts() -> Vec<AppType> {
    let line = |max, form| FieldType::Line { max, form };
    let labels = ["new", "open", "done"].map(String::from);
    vec![
        of(
            "single-line-text",
            line(Some(255), LineForm::Any),
            "at most 255 characters without line breaks",
        ),
        of(
            "long-text",
            FieldType::Text {
                max: Some(100_000),
                ignores_case: false,
            },
            "at most 100,000 characters",
        ),
        of(
            "email",
            line(Some(254), LineForm::Email),
            "at most 254 characters with an @ and no blanks",
        ),
        of(
            "url",
            line(Some(2_000), LineForm::Url),
            "at most 2,000 characters, http or https, no blanks",
        ),
        of(
            "select",
            FieldType::Enum {
                labels: labels.to_vec(),
            },
            "one of the field's choices (here new, open, done)",
        ),
        of(
            "multi-select",
            FieldType::List {
                of: Box::new(FieldType::Enum {
                    labels: labels.to_vec(),
                }),
                distinct: true,
            },
            "several of the field's choices, none of them twice, in order",
        ),
    ]
}

fn times() -> Vec<AppType> {
    let moment = |zoned, unit_micros| FieldType::Moment { zoned, unit_micros };
    vec![
        of("date", FieldType::Day, "years 1 to 9999"),
        of(
            "datetime-milliseconds",
            moment(true, 1_000),
            "instants of the years 1 to 9999",
        ),
        of(
            "datetime-seconds",
            moment(true, 1_000_000),
            "instants of the years 1 to 9999",
        ),
        of(
            "datetime-minutes",
            moment(true, 60_000_000),
            "instants of the years 1 to 9999",
        ),
        of(
            "local-datetime",
            moment(false, 1_000),
            "years 1 to 9999 in milliseconds, no zone",
        ),
    ]
}

fn rest() -> Vec<AppType> {
    vec![
        of(
            "json",
            FieldType::Document,
            "any JSON whose numbers are finite doubles; keys without order, no U+0000",
        ),
        of(
            "attachment",
            FieldType::Files,
            "files; refused until their contents are carried",
        ),
        of(
            "link",
            FieldType::List {
                of: Box::new(FieldType::Text {
                    max: None,
                    ignores_case: false,
                }),
                distinct: true,
            },
            "ids of records, none of them twice; with `link`, the other side names its own",
        ),
    ]
}
