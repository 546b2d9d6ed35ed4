//! What work would take of a side that counts calls: for people who are about to have it done.

/// What a side would be asked to do to one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Records that are read.
    pub records: u64,
    pub creates: u64,
    pub updates: u64,
    pub deletes: u64,
}

/// About what that takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub calls: u64,
    /// As fast as the side lets, seconds.
    pub seconds: u64,
}
