//! What every level of capture promises, checked for each of them; and the traps of single levels.

mod claims;
mod looks;
mod switching;
mod triggers;

/// One test per claim and level: `ladder::peek::…`.
macro_rules! at_every_level {
    ($($claim:ident),* $(,)?) => {
        at_every_level!(@level stream, Stream, $($claim),*);
        at_every_level!(@level peek, Peek, $($claim),*);
        at_every_level!(@level outbox, Triggers, $($claim),*);
        at_every_level!(@level poll, Poll, $($claim),*);
        at_every_level!(@level compare, Compare, $($claim),*);
    };
    (@level $module:ident, $level:ident, $($claim:ident),*) => {
        mod $module {
            use tidegate_relay::endpoint::level::Level;

            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $claim() {
                    super::claims::$claim(Level::$level).await;
                }
            )*
        }
    };
}

at_every_level!(
    view_and_changes_meet_without_gap_or_double,
    an_open_transaction_is_neither_missed_nor_waited_for,
    changes_of_one_record_come_in_their_order,
    what_is_rolled_back_leaves_nothing,
    a_prepared_transaction_comes_when_it_is_committed,
    own_writes_carry_their_batch_and_fences_are_passed,
    what_commits_before_our_batch_has_not_passed_it,
    a_big_transaction_comes_in_parts_and_whole,
    triggers_of_the_customer_do_not_hide_the_last_state,
    a_cascade_is_reported_for_each_table,
    partitions_written_directly_are_reported,
    a_new_key_keeps_the_record,
    writes_in_replica_role_are_reported,
    values_read_as_the_view_reads_them,
    truncate_and_lost_columns_ask_for_a_reconcile,
    reading_goes_on_where_it_was_settled,
    forgetting_leaves_nothing,
);
