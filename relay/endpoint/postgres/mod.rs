//! PostgreSQL as a side of a sync.
