//! Moments of a side's history at rest: packed so that SQLite compares them as the history is
//! ordered.

use tidegate_sync::model::{BatchId, Place, Since};

use super::sql::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

const BYTES: usize = 24;

/// From when on a key names a record: batch, offset and place, big-endian, without the zeros at
/// the end. Leaving them out keeps both order and meaning, and most moments are short: the very
/// beginning is empty, a batch of ours takes eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub Since);

impl ToSql for Moment {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(pack(&self.0)))
    }
}

impl FromSql for Moment {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        unpack(value.as_blob()?)
            .map(Moment)
            .ok_or(FromSqlError::InvalidType)
    }
}

fn pack(since: &Since) -> Vec<u8> {
    let numbers = [since.batch.0, since.place.offset, since.place.at];
    let bytes = numbers.map(u64::to_be_bytes).concat();
    let length = bytes.iter().rposition(|&byte| byte != 0);
    bytes[..length.map_or(0, |last| last + 1)].to_vec()
}

fn unpack(packed: &[u8]) -> Option<Since> {
    let mut bytes = [0; BYTES];
    bytes.get_mut(..packed.len())?.copy_from_slice(packed);
    let (numbers, _) = bytes.as_chunks::<8>();
    let number = |index: usize| u64::from_be_bytes(numbers[index]);
    Some(Since {
        batch: BatchId(number(0)),
        place: Place {
            offset: number(1),
            at: number(2),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_moments_read_back_and_compare_as_the_history_is_ordered() {
        let numbers = [0, 1, 255, 256, 1 << 40, u64::MAX];
        let mut moments = Vec::new();
        for batch in numbers {
            for offset in numbers {
                for at in numbers {
                    let place = Place { offset, at };
                    let batch = BatchId(batch);
                    moments.push(Since { batch, place });
                }
            }
        }
        let packed: Vec<Vec<u8>> = moments.iter().map(pack).collect();
        assert!(moments.is_sorted() && packed.is_sorted());
        for (moment, packed) in moments.iter().zip(&packed) {
            assert_eq!(unpack(packed), Some(*moment));
        }
        assert!(packed[0].is_empty());
        assert_eq!(unpack(&[0; BYTES + 1]), None);
    }
}
