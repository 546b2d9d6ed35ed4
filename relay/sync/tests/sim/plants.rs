//! Each oracle sees the bug that it is there for: a planted one makes it fire.

use crate::oracle::Violation;
use crate::world::{Plant, Troubles, World};

/// Worlds tried before an oracle is taken for blind.
const TRIES: u64 = 3_000;

fn first_violation(plant: Plant, wanted: &[&str]) -> Option<(u64, Violation)> {
    (0..TRIES).find_map(|seed| {
        let violation = World::new(seed, Troubles::ALL, plant, false).run().err()?;
        wanted
            .contains(&violation.invariant)
            .then_some((seed, violation))
    })
}

fn check(plant: Plant, wanted: &[&str]) {
    let found = first_violation(plant, wanted);
    assert!(found.is_some(), "{plant:?} goes unnoticed by {wanted:?}");
}

#[test]
fn i1_sees_a_lost_change() {
    check(Plant::LoseChange, &["I1"]);
}

#[test]
fn i1_sees_unchanged_cells_taken_for_null() {
    check(Plant::ToastIsNull, &["I1"]);
}

#[test]
fn i8_sees_a_write_over_an_unseen_value() {
    check(Plant::NoGuard, &["I8"]);
}

#[test]
fn i2_sees_a_conflict_that_was_not_recorded() {
    check(Plant::LoseConflicts, &["I2"]);
}

#[test]
fn i3_sees_a_write_planned_back() {
    check(Plant::NoReadBack, &["I3"]);
}

#[test]
fn i4_sees_replays_that_are_taken_for_news() {
    check(Plant::ForgetSeen, &["I4"]);
}

#[test]
fn i5_sees_a_delete_that_nobody_made() {
    check(Plant::PhantomDelete, &["I5"]);
}

#[test]
fn i6_sees_a_create_repeated_after_a_crash() {
    check(Plant::NoOutcomes, &["I6"]);
}

#[test]
fn i7_sees_a_baseline_moved_on_one_side_only() {
    check(Plant::EagerBaseline, &["I7"]);
}

#[test]
fn i9_sees_a_position_acknowledged_before_it_is_settled() {
    check(Plant::AcknowledgeFirst, &["I9"]);
}

#[test]
fn i10_sees_a_record_that_is_never_tried_again() {
    check(Plant::NeverRetry, &["I10"]);
}

#[test]
fn i14_sees_a_run_that_waits_for_ever() {
    check(Plant::LoseReply, &["I14"]);
}

#[test]
fn own_batches_must_be_marked_in_the_log() {
    check(Plant::NoMarker, &["I1", "I2", "I3", "I4"]);
}

fn log_of(seed: u64, plant: Plant) -> Vec<String> {
    let mut world = World::new(seed, Troubles::ALL, plant, true);
    match world.run() {
        Ok(summary) => summary.log,
        Err(_) => world.log.take().unwrap_or_default(),
    }
}

/// I13.
#[test]
fn same_seed_gives_the_same_trace() {
    for seed in 0..300 {
        assert_eq!(
            log_of(seed, Plant::None),
            log_of(seed, Plant::None),
            "seed {seed}"
        );
    }
}

#[test]
fn i13_sees_an_order_that_chance_decides() {
    let differs = (0..100).any(|seed| log_of(seed, Plant::Shuffle) != log_of(seed, Plant::Shuffle));
    assert!(differs);
}
