//! What two sides must agree on so that each hashes its own records, and nobody reads those of
//! blocks whose hashes are the same.
//!
//! A side prints each field as text, hashes the text of a whole record, and adds the hashes of a
//! block's records up. Which records make up a block is decided by the hash of the match key, since
//! the two sides may call a record by different keys. Equal prints must mean equal values; the
//! reverse costs only the reading of a block.

/// How a field is printed. Two fields of the same form that print the same hold the same value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    Bool,
    /// Integers and exact decimals, without needless zeros.
    Number,
    Float {
        bits: u8,
    },
    /// Text, labels, uuids, and what only one kind of side understands.
    Text,
    /// Text whose trailing blanks mean nothing and are printed.
    Padded,
    Document,
    Bytes,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    List(Box<Form>),
}

/// How a side hashes one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digestible {
    /// One for each field.
    pub forms: Vec<Form>,
    /// True when equal match keys always print the same, so that they are in the same block.
    pub key_is_exact: bool,
    /// True when no two records can have the same match key.
    pub key_is_unique: bool,
}

impl Digestible {
    /// True when the hashes of both sides can be compared.
    pub fn agrees_with(&self, other: &Digestible) -> bool {
        self.key_is_exact && other.key_is_exact && self.forms == other.forms
    }
}

/// How a table is cut into blocks: by the first bits of the match key's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    bits: u32,
    /// Count the match keys as well: records that share one can't be told apart by their hashes.
    pub counts_keys: bool,
}

impl Blocks {
    /// The block of the records whose match key holds a null.
    pub const WITHOUT_KEY: i32 = -1;

    /// For a table of about so many records.
    pub fn of(records: u64, counts_keys: bool) -> Blocks {
        let wanted = (records / limits::RECORDS_PER_BLOCK).max(1).ilog2();
        Blocks {
            bits: wanted.clamp(limits::BITS_MIN, limits::BITS_MAX),
            counts_keys,
        }
    }

    pub fn bits(self) -> u32 {
        self.bits
    }

    pub fn count(self) -> u64 {
        1 << self.bits
    }
}

/// What a side says of one block. Of parts of a table the sums are added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    pub records: u64,
    /// The first and the second 64 bits of the records' hashes, added up. Not combined by XOR, in
    /// which two equal records cancel each other out.
    pub sums: [i128; 2],
    /// Different match keys, where they are counted. Never taken apart: a part holds them all.
    pub keys: u64,
}

impl Digest {
    pub fn add(&mut self, other: &Digest) {
        self.records += other.records;
        self.keys += other.keys;
        for (sum, part) in self.sums.iter_mut().zip(other.sums) {
            *sum = sum.wrapping_add(part);
        }
    }
}

mod limits {
    /// A block that differs is read whole, and each block's hashes travel: about balanced.
    pub(super) const RECORDS_PER_BLOCK: u64 = 1_000;
    pub(super) const BITS_MIN: u32 = 2;
    /// 4,096 blocks: what both sides send of them is a few hundred kB.
    pub(super) const BITS_MAX: u32 = 12;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_grow_in_number_with_the_table_up_to_a_bound() {
        for (records, blocks) in [(0, 4), (10_000, 8), (1_000_000, 512), (u64::MAX, 4_096)] {
            assert_eq!(Blocks::of(records, false).count(), blocks, "{records}");
        }
    }
}
