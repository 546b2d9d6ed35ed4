//! How many calls a copy takes, and how long the app's bounds make them last: an estimate for people,
//! from what the manifest says of pages, batches and limits. Called by a preview.

use super::manifest::{CallKind, Manifest, Write};
use crate::endpoint::{Cost, Work};

/// How long a call takes when nothing is in its way: seldom less, over the internet. Milliseconds.
const CALL_MS: u64 = 150;

/// Everything counts as if it were in one container, so that the time is not told too short.
pub(super) fn cost(manifest: &Manifest, work: &[Work]) -> Cost {
    let kinds = [CallKind::Read, CallKind::Search, CallKind::Write];
    let calls = kinds.map(|kind| {
        let of_table = |one: &Work| calls_of(manifest, kind, one);
        (kind, work.iter().map(of_table).sum::<u64>())
    });
    let total: u64 = calls.iter().map(|(_, count)| count).sum();
    let waits = manifest.limits.iter().map(|limit| {
        let counts = |kind: &CallKind| limit.only.is_empty() || limit.only.contains(kind);
        let counted = calls.iter().filter(|(kind, _)| counts(kind));
        let counted: u64 = counted.map(|(_, count)| count).sum();
        // The first window's calls need not wait.
        let windows = counted.saturating_sub(1) / u64::from(limit.calls.max(1));
        windows * limit.seconds
    });
    let at_best = (total * CALL_MS).div_ceil(1000);
    let seconds = waits.max().unwrap_or(0).max(at_best);
    Cost {
        calls: total,
        seconds,
    }
}

/// Records are listed. Before one is changed it is read, before one is created it is looked for.
fn calls_of(manifest: &Manifest, kind: CallKind, work: &Work) -> u64 {
    let changes = work.updates + work.deletes;
    match kind {
        CallKind::Read => {
            // An empty list is a call, too.
            let pages = in_parts(work.records, manifest.list.page).max(1);
            pages + in_parts(changes, manifest.read.max)
        }
        CallKind::Search => {
            let many = manifest.search.as_ref().map(|search| {
                let at_once = search.unique.as_ref().or(search.many.as_ref());
                at_once.map_or(1, |many| many.max)
            });
            many.map_or(0, |many| in_parts(work.creates, many))
        }
        CallKind::Write => match &manifest.batch {
            Some(batch) => in_parts(work.creates + changes, batch.max),
            None => {
                let each = |how: &Write, count: u64| {
                    in_parts(count, how.many.as_ref().map_or(1, |many| many.max))
                };
                each(&manifest.create, work.creates)
                    + each(&manifest.update, work.updates)
                    + each(&manifest.delete, work.deletes)
            }
        },
    }
}

fn in_parts(count: u64, size: u32) -> u64 {
    count.div_ceil(u64::from(size.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::rest::connectors;

    #[test]
    fn ten_records_a_call_and_five_calls_a_second_take_their_time() {
        let airtable = connectors::built_in("airtable").unwrap();
        let work = Work {
            records: 250,
            creates: 1000,
            updates: 5,
            deletes: 0,
        };
        // 3 pages, 1 read of five, 20 searches of fifty, 100 and 1 writes.
        let cost = cost(&airtable, &[work]);
        assert_eq!(cost.calls, 125);
        assert_eq!(cost.seconds, 24, "of 125 calls five each second");
    }

    #[test]
    fn nothing_to_do_is_a_look() {
        let kinto = connectors::built_in("kinto").unwrap();
        let cost = cost(&kinto, &[Work::default()]);
        assert_eq!((cost.calls, cost.seconds), (1, 1));
    }
}
