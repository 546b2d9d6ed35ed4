//! What the app made of a write whose answer tells a part of the record. The rest is read by a call of its
//! own, and what people have changed between the two is theirs, not ours: a look tells it as news.

use tidegate_sync::model::{Cell, Row};
use tidegate_sync::value::Value;

use super::manifest::Manifest;
use super::shape::{Record, Shape, stamp};
use super::write::Said;
use crate::endpoint::EndpointError;

/// The record as the write left it. `read` is that, unless its stamp is another one than the answer's.
pub(super) fn as_written(
    manifest: &Manifest,
    shape: &Shape,
    said: &Said,
    read: Record,
) -> Result<Record, EndpointError> {
    let answered = stamp(&manifest.record, &said.body);
    let Some(stamp) = answered.filter(|answered| *answered != read.stamp) else {
        return Ok(read);
    };
    let told = shape.part(manifest, &said.body)?;
    // Nobody has seen a new record before. Of what it was not given, only what is empty becomes known.
    let before = said.write.row.clone();
    let mut row = before.unwrap_or_else(|| read.row.clone());
    lay_over(&mut row, &said.write.set, told);
    Ok(Record { row, stamp, ..read })
}

/// What was written, as the answer tells it. What it does not tell is taken for what was sent: if it has
/// become something else, a look tells that.
fn lay_over(row: &mut Row, set: &[(usize, Value)], mut told: Row) {
    for (field, value) in set {
        if let (Some(cell), Some(told)) = (row.get_mut(*field), told.get_mut(*field)) {
            let sent = Cell::Value(value.clone());
            *cell = match std::mem::replace(told, Cell::Unchanged) {
                Cell::Unchanged => sent,
                told => told,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_as_it_was_told_else_as_it_was_sent_and_the_rest_as_before() {
        let text = |text: &str| Value::Text(text.to_owned());
        let cell = |of: &str| Cell::Value(text(of));
        let mut row = vec![cell("old"), cell("old"), cell("old")];
        let set = [(0, text(" Sent ")), (1, text("sent"))];
        let told = vec![cell("sent"), Cell::Unchanged, cell("not ours")];
        lay_over(&mut row, &set, told);
        assert_eq!(row, [cell("sent"), cell("sent"), cell("old")]);
    }
}
