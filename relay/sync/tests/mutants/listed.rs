//! Mutants that each break a rule which the sync model names.

use std::collections::BTreeMap;

use crate::mutant::{Insert, Mutant, Source, What};

/// What is broken, the file, the text there (once), and what it becomes. Of a text with marks («»)
/// the marked part is replaced.
type Listed = (&'static str, &'static str, &'static str, &'static str);

const MERGE: &[Listed] = &[
    (
        "a change is not carried over",
        "merge.rs",
        "return FieldVerdict::Write { to: side.other() };",
        "return FieldVerdict::Nothing;",
    ),
    (
        "a change is written back to where it was made",
        "merge.rs",
        "FieldVerdict::Write { to: side.other() }",
        "FieldVerdict::Write { to: side }",
    ),
    (
        "drift is left alone where it is to be put back",
        "merge.rs",
        "FieldVerdict::Restore { to: side }",
        "FieldVerdict::Nothing",
    ),
    (
        "the losing value of a conflict is not recorded",
        "merge.rs",
        "Some(winner) => «FieldVerdict::Conflict { winner }»",
        "FieldVerdict::Write { to: winner.other() }",
    ),
    (
        "what a person must pick is picked",
        "merge.rs",
        "None => «FieldVerdict::Ask»",
        "FieldVerdict::Conflict { winner: Side::Left }",
    ),
    (
        "a side is compared with the other one's baseline",
        "merge.rs",
        "now != self.baseline[side]",
        "now != self.baseline[side.other()]",
    ),
    (
        "a field without news counts as changed",
        "merge.rs",
        "self.observed[side].is_some_and(|now| now != self.baseline[side])",
        "self.observed[side].is_none_or(|now| now != self.baseline[side])",
    ),
    (
        "a side that came to what the other one has is carried over all the same",
        "merge.rs",
        "_ if «state.observed.left == state.observed.right» => FieldVerdict::Settle",
        "state.observed.left == state.observed.right && state.changed(Side::Left) && state.changed(Side::Right)",
    ),
    (
        "what a side had is taken for what it has",
        "merge.rs",
        "_ if «state.observed.left == state.observed.right» => FieldVerdict::Settle",
        "Side::BOTH.iter().any(|&s| state.observed[s].is_some() && state.observed[s] == Some(state.observed[s.other()].unwrap_or(state.baseline[s.other()])))",
    ),
    (
        "the oldest wins",
        "merge.rs",
        "right > left",
        "right < left",
    ),
    (
        "the right wins a tie",
        "merge.rs",
        "right > left",
        "right >= left",
    ),
    (
        "a one-way field is won by the side that it flows to",
        "merge.rs",
        "return Some(Side::Left)",
        "return Some(Side::Right)",
    ),
];

const DELETES: &[Listed] = &[
    (
        "a record is deleted over an edit of it",
        "plan/deletion.rs",
        "edited.is_empty()",
        "true",
    ),
    (
        "a deletion does not travel",
        "plan/deletion.rs",
        "None => «self.delete_on(other, link, lost)»",
        "self.detach(side, link)",
    ),
    (
        "the counterpart of a deleted record is not archived",
        "plan/deletion.rs",
        "self.archive_on(other, link, mark, lost)",
        "self.detach(side, link)",
    ),
    (
        "values that are deleted over an edit are not recorded",
        "plan/deletion.rs",
        "edited.iter().map(conflict).collect()",
        "edited.iter().map(conflict).take(0).collect()",
    ),
    (
        "a record is deleted whatever it looks like",
        "plan/deletion.rs",
        "expect: «self.expect(side, link)»",
        "vec![Fingerprint::UNKNOWN; self.policy.fields.len()]",
    ),
    (
        "a record that was created anew keeps its baseline",
        "plan/deletion.rs",
        "link.baseline = BySide::from_fn(|_| vec![Fingerprint::UNKNOWN; fields]);",
        "let _ = fields;",
    ),
    (
        "an edit that undid a deletion is not recorded",
        "plan/deletion.rs",
        "decided.conflicts.push(self.conflict(None, Some(from)));",
        "",
    ),
    (
        "a null that our create left counts as an edit",
        "plan/deletion.rs",
        "(base.is_known() || now != null)",
        "true",
    ),
    (
        "the scan deletes over an edit",
        "decide.rs",
        "edited && policy.conflict_delete == DeleteConflict::Keep",
        "false",
    ),
];

const GUARDS: &[Listed] = &[
    (
        "a record is overwritten whatever it looks like",
        "plan.rs",
        "StepKind::Update { key, set, expect }",
        "StepKind::Update { key, set, expect: vec![Fingerprint::UNKNOWN; expect.len()] }",
    ),
    (
        "a write expects the baseline and not what was seen",
        "plan.rs",
        "«[now, base]».into_iter().find(|print| print.is_known())",
        "[base, now]",
    ),
    (
        "a create does not look for its match key",
        "plan.rs",
        "self.values(from, &self.policy.match_key)",
        "Vec::new()",
    ),
    (
        "what a stale write read is planned before the history has told it",
        "session/open.rs",
        "self.hold(side, key, Some(row), fence(at));",
        "let _ = at; self.hold(side, key, Some(row), Fence { offset: 0, batch: BatchId::NONE });",
    ),
    (
        "a missing record counts as deleted before the history says so",
        "session/open.rs",
        "self.hold(side, key, None, fence(at));",
        "let _ = at; self.hold(side, key, None, Fence { offset: 0, batch: BatchId::NONE });",
    ),
    (
        "a candidate is taken before the history has told of it",
        "session/open.rs",
        "fence: «fence(at)»,\n",
        "Fence { offset: at.min(0), batch: BatchId::NONE }",
    ),
    (
        "a fence is passed without the batch's own marker",
        "session/open.rs",
        "reach.position.passed >= self.batch",
        "true",
    ),
    (
        "a candidate that was touched is taken as it was",
        "session/book.rs",
        "found.is_touched = true;",
        "",
    ),
];

const BASELINES: &[Listed] = &[
    (
        "agreement moves the left baseline alone",
        "plan.rs",
        "decided.link.baseline[side][field] = now;",
        "if side == Side::Left { decided.link.baseline[side][field] = now }",
    ),
    (
        "the written side's baseline stays",
        "session/round.rs",
        "link.baseline[side][field] = prints[field];",
        "let _ = prints;",
    ),
    (
        "the other side's baseline stays",
        "session/round.rs",
        "link.baseline[other][field] = self.observed[other][field];",
        "",
    ),
    (
        "the written side's baseline is what was sent and not what was read back",
        "session/round.rs",
        "link.baseline[side][field] = prints[field];",
        "let _ = prints; link.baseline[side][field] = self.observed[other][field];",
    ),
    (
        "a baseline moves though the step was not taken",
        "session/round.rs",
        "StepResult::Again => {\n                    «all_done = false;»",
        "all_done = false; let prints = self.observed[side].clone(); self.agree(&mut link, step, &ReadBack { prints, null: Fingerprint::UNKNOWN });",
    ),
    (
        "the batch that wrote a record is forgotten",
        "session/round.rs",
        "link.keys[side] = Some(key);\n                    «link.written[side] = batch;»",
        "",
    ),
    (
        "the batch that deleted a record is forgotten",
        "session/round.rs",
        "StepResult::Deleted(wrote) => {\n                    «link.written[side] = batch;»",
        "",
    ),
    (
        "what was taken in is not remembered as seen",
        "session/round.rs",
        "link.seen[side] = link.seen[side].max(self.seen[side]);",
        "",
    ),
    (
        "a step that waits counts as settled",
        "session/round.rs",
        "!all_done && !wrote && !rejected",
        "false",
    ),
    (
        "a key that we gave has no beginning",
        "session/round.rs",
        "link.since[side] = Since::written(batch);",
        "",
    ),
    (
        "a trace does not say who wrote last",
        "session/round.rs",
        "trace.written = link.written[side];",
        "",
    ),
];

const ORDER: &[Listed] = &[
    (
        "a position is acknowledged before it is settled",
        "session/live.rs",
        "self.to_acknowledge = settlement.positions.clone();",
        "for side in Side::BOTH { if let Some(position) = settlement.positions[side].clone() { \
         self.commands.push_back(Command::Acknowledge { side, position }); } }",
    ),
    (
        "a position is never acknowledged",
        "session/live.rs",
        "self.to_acknowledge = settlement.positions.clone();",
        "",
    ),
    (
        "a position passes a case that waits",
        "session/live.rs",
        "end.offset >= bound",
        "false",
    ),
    (
        "a position stops short of a case that waits",
        "session/live.rs",
        "end.offset >= bound",
        "end.offset + 4 >= bound",
    ),
    (
        "a round is sent before it is intended",
        "session/mod.rs",
        "} else if «self.current.recorded» {",
        "false",
    ),
    (
        "what was settled before a crash is not acknowledged",
        "session/mod.rs",
        "let position = self.settled[side].clone();\n                \
         «self.commands\n                    .push_back(Command::Acknowledge { side, position });»",
        "let _ = position;",
    ),
    (
        "a batch takes the number of the last one",
        "session/mod.rs",
        "self.batch_count += 1;",
        "self.batch_count = 1;",
    ),
    (
        "a recovered round is not asked about",
        "session/mod.rs",
        "filter(|round| «round.has_steps()»)",
        "false && round.has_steps()",
    ),
    (
        "a scan takes earlier batches for later ones",
        "session/copying.rs",
        "None => «*passed = BatchId::of_run(self.config.epoch, 0)»,",
        "{}",
    ),
    (
        "children are deleted after their parents",
        "session/round.rs",
        "StepKind::Delete { .. } => «(2, -rank)»",
        "(2, rank)",
    ),
    (
        "children are created before their parents",
        "session/round.rs",
        "StepKind::Create { .. } => «(0, rank)»",
        "(0, -rank)",
    ),
];

const KEYS: &[Listed] = &[
    (
        "a change at the settled place is news",
        "session/book.rs",
        "change.place() <= self.seen || change.passed < self.written",
        "change.place() < self.seen || change.passed < self.written",
    ),
    (
        "what comes with our own write is known",
        "session/book.rs",
        "change.place() <= self.seen || change.passed < self.written",
        "change.place() <= self.seen || change.passed <= self.written",
    ),
    (
        "a replay is news",
        "session/book.rs",
        "change.place() <= self.seen || change.passed < self.written",
        "change.passed < self.written",
    ),
    (
        "what was before our own write is news",
        "session/book.rs",
        "change.place() <= self.seen || change.passed < self.written",
        "change.place() <= self.seen",
    ),
    (
        "a replay about a key that was given up is news",
        "inbox.rs",
        "change.place() <= trace.seen || change.passed < trace.written",
        "change.passed < trace.written",
    ),
    (
        "the first of a key's records has it for ever",
        "inbox.rs",
        "begun.max_by_key(|link| held_since(link, side, moment))",
        "begun.min_by_key(|link| held_since(link, side, moment))",
    ),
    (
        "a key used again is its former record's",
        "session/book.rs",
        "(Some(own), _) if «own_since >= stored_since» &&",
        "own_since > stored_since",
    ),
    (
        "an older cell wins over a newer one",
        "inbox.rs",
        "*cell == Cell::Unchanged",
        "true",
    ),
];

pub fn mutants(sources: &BTreeMap<&'static str, Source>) -> Vec<Mutant> {
    let groups = [MERGE, DELETES, GUARDS, BASELINES, ORDER, KEYS];
    let listed = groups.into_iter().flatten();
    listed.map(|listed| mutant(sources, listed)).collect()
}

fn mutant(sources: &BTreeMap<&'static str, Source>, listed: &Listed) -> Mutant {
    let (name, file, from, to) = *listed;
    let (before, rest) = from.split_once('«').unwrap_or(("", from));
    let (replaced, after) = rest.split_once('»').unwrap_or((rest, ""));
    let from = format!("{before}{replaced}{after}");
    let text = &sources[file].text[..sources[file].end];
    let places: Vec<usize> = text.match_indices(&from).map(|(at, _)| at).collect();
    let [at] = places.as_slice() else {
        panic!("{file} has {} places for: {name}", places.len());
    };
    let at = at + before.len();
    let inserts = vec![
        Insert {
            at,
            what: What::ReplaceFrom(to.to_owned()),
        },
        Insert {
            at: at + replaced.len(),
            what: What::ReplaceTo,
        },
    ];
    Mutant {
        name: format!("{file}: {name}"),
        file,
        inserts,
    }
}
