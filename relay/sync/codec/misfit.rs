//! Why a value is none of a field's.

/// Said of one value and one [`super::FieldType`]. Holds no part of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    OtherType,
    OutOfRange,
    NotExact,
    TooLong,
    TrailingBlanks,
    NoSuchLabel,
    NulCharacter,
    LineBreak,
    NotThisForm,
    NotThisShape,
}

impl Misfit {
    /// One clause for a finding; `name` is the type as its side calls it.
    pub fn describe(self, name: &str) -> String {
        match self {
            Misfit::OtherType => format!("a value of another type can't be stored as {name}"),
            Misfit::OutOfRange => format!("the value is out of the range of {name}"),
            Misfit::NotExact => format!("{name} would not keep the value exactly"),
            Misfit::TooLong => format!("the text is too long for {name}"),
            Misfit::TrailingBlanks => format!("{name} does not keep trailing blanks"),
            Misfit::NoSuchLabel => format!("the text is no label of {name}"),
            Misfit::NulCharacter => format!("{name} can't hold the character U+0000"),
            Misfit::LineBreak => format!("{name} can't hold a line break"),
            Misfit::NotThisForm => format!("the text is no {name}"),
            Misfit::NotThisShape => {
                format!("the list has nulls, repeats or a shape that {name} lacks")
            }
        }
    }
}
