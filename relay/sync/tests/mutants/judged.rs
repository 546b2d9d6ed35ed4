//! Mutants that no test here notices, each with the reason why that is right or where it is noticed.

const FILTERS: &str = "Filters and looks: the planner's tests and the relay's end-to-end tests look at \
                       what worlds of the kind `filtered` do not show.";

const PREVIEW: &str = "It only counts for the preview, which is the relay's.";

const LATER: &str = "What is refused or missed then has a finding or finds its record, and comes \
                     right with the next try: slower, not wrong.";

const REPLAYS: &str = "One of several guards against replays of moved keys; the next one (what a \
                       link or a trace has seen) catches the same change.";

const FIGURES: &str = "A figure or a state for the engine (back-pressure, logs, progress): the session \
                       itself does not ask.";

const RARE: &str = "Which of two records a key names needs worlds of moving keys that are rarer than \
                    those of one run: `make sim KIND=worst SEEDS=1000000`.";

/// How its name begins, judgement.
pub const JUDGED: &[(&str, &str)] = &[
    ("decide.rs outside:", FILTERS),
    ("decide.rs is_looked_at:", FILTERS),
    ("decide.rs both: not !asks", FILTERS),
    ("merge.rs FieldState::is_news:", FILTERS),
    ("plan/outside.rs ", FILTERS),
    ("scope.rs ", FILTERS),
    ("decide.rs Tally::", PREVIEW),
    (
        "plan.rs Planner::is_recorded: returns true",
        "Recording a value that a person chose to overwrite is one line too many, not one too few.",
    ),
    (
        "plan/deletion.rs Planner::recreate_on: not !self.policy.records_flow_to(side)",
        "A blind spot: the record is detached, not made anew, and a detached link explains to the \
         oracles why it is alone.",
    ),
    (
        "session/round.rs: a step that waits counts as settled",
        "The links of such cases are unchanged, so that nothing is settled but what was.",
    ),
    ("session/round.rs: children are ", LATER),
    ("session/live.rs reused_match_keys:", LATER),
    (
        "session/live.rs: a position stops short of a case that waits",
        "Holding back a position for longer is safe; the next settlement moves it.",
    ),
    (
        "session/counterpart.rs Session::check_lone: not is_taken",
        "A finding is moved to another record one try later.",
    ),
    (
        "session/counterpart.rs join_lone: not side == Side::Left",
        "Two new records that are not joined in one round meet by the create's match key.",
    ),
    (
        "session/book.rs Book::highest_fence: returns None",
        "It tells the engine to ask an idle side for news; a simulated side tells them unasked.",
    ),
    (
        "session/book.rs Book::is_empty: returns true",
        "Only `is_quiet` asks, after everything else has come to rest.",
    ),
    (
        "session/book.rs Book::move_findings: returns",
        "A finding of a record that is gone is closed one try later.",
    ),
    (
        "session/book.rs Book::next_read:",
        "How many records are read at once; each is read in the end.",
    ),
    ("session/book.rs Book::report: not !is_traced", REPLAYS),
    ("session/book/since.rs is_past: returns false", REPLAYS),
    (
        "session/book.rs: a change at the settled place is news",
        REPLAYS,
    ),
    (
        "session/book.rs: a key used again is its former record's",
        "At one and the same moment the stored link and the open case are of one record.",
    ),
    (
        "session/copying.rs Session::handle_fetched:",
        "When a scanned record got its key, and what a case relies on, matter only to changes from \
         before the scan, which no stream repeats.",
    ),
    (
        "session/copying.rs: a scan takes earlier batches for later ones",
        "A simulated side tells with its view, and with every change, which batch was its last. One that \
         learns it from the marks of its log alone would lose changes: the relay's end-to-end tests.",
    ),
    (
        "session/copying.rs since_of:",
        "The same: a scanned record has its key since the scan at the latest.",
    ),
    (
        "session/mod.rs Current::is_worth_a_record: returns true",
        "A round that is recorded needlessly costs time alone.",
    ),
    ("session/mod.rs Session::awaited_fence:", FIGURES),
    ("session/mod.rs Session::awaits_numbers:", FIGURES),
    ("session/live.rs Session::backlog", FIGURES),
    ("session/mod.rs Session::is_live:", FIGURES),
    ("session/mod.rs Session::is_quiet:", FIGURES),
    ("session/mod.rs Session::waiting_count:", FIGURES),
    ("session/live.rs Session::hold_back_reused_keys:", LATER),
    (
        "session/mod.rs Session::surprises: returns 0",
        "It is what an oracle reads, 0 wherever all is well.",
    ),
    ("session/open.rs Open::has_kept: returns false", "The same."),
    (
        "session/open.rs Open::fence: returns None",
        "It only finds the cases that may be ready; each is asked once more.",
    ),
    ("session/open.rs Open::found_any:", RARE),
    (
        "session/open.rs Open::is_held: returns true",
        "More keys are looked up than needed.",
    ),
    ("session/open.rs Open::is_unheard: returns true", RARE),
    (
        "session/open.rs Open::report: not change.old_key.is_none()",
        RARE,
    ),
];
