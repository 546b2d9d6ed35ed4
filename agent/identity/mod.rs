//! Who this agent is: its key and certificate on disk, how it got them, how it renews them.
//!
//! The key is made here and never leaves the host. What a certificate means and how TLS checks it
//! is `tidegate_shared::identity`'s.

pub mod keystore;

pub mod enroll;
pub mod renew;
