//! Worlds that once broke an invariant. The seed replays the world; the name says what was wrong.
//!
//! A seed stands for a world only as long as the draw stays the same; where the draw changes, the
//! claims below are kept by the worlds of the default run.

use crate::world::{Plant, Troubles, World};

const CALM: Troubles = Troubles::NONE;

fn check(seed: u64, troubles: Troubles) {
    if let Err(violation) = World::new(seed, troubles, Plant::None, false).run() {
        panic!(
            "seed {seed} breaks {}: {}",
            violation.invariant, violation.what
        );
    }
}

#[test]
fn a_retried_record_is_not_planned_twice_at_once() {
    check(0, CALM);
}

#[test]
fn a_key_used_again_ends_the_former_link() {
    check(8, CALM);
}

#[test]
fn a_value_never_agreed_on_is_read_before_it_is_deleted() {
    check(8, CALM);
    check(17, CALM);
}

#[test]
fn a_one_way_field_records_what_it_overwrites_on_the_chosen_side() {
    check(29, CALM);
}

#[test]
fn a_read_at_the_last_settled_offset_is_not_read_again_for_ever() {
    check(134, CALM);
}

#[test]
fn a_new_record_takes_over_a_detached_link() {
    check(379, CALM);
}

#[test]
fn a_half_done_record_is_planned_again_from_what_was_written() {
    check(653, CALM);
}
