//! The fuzzer's entry to the start-up parser on the stable toolchain, as `relay/tests/it/hostile` has
//! the others.

#[path = "../../../relay/tests/it/support/chance.rs"]
mod chance;
#[path = "../../../relay/tests/it/hostile/mutation.rs"]
mod mutation;
#[path = "../../../relay/fuzz/entry/startup.rs"]
mod startup;

use chance::Chance;

#[test]
fn hostile_first_bytes_never_panic() {
    mutation::check("startup", startup::run);
}
