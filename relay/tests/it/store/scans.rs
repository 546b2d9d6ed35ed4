//! A reconcile's matches: linked, matched by key, alone, duplicate, null, re-keyed.

use tidegate_relay::store::scans::{Cursor, Scan, ScanRow};
use tidegate_relay::store::{Ledger, Store};
use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::decide::Match;
use tidegate_sync::model::{BatchId, FindingCode, Key, PairId, Side, Since};
use tidegate_sync::session::Settlement;

use super::{World, link};

const PAIR: PairId = PairId(0);

fn row(key: &str, match_key: Option<u8>) -> ScanRow {
    ScanRow {
        key: Key::single(key),
        match_key: match_key.map(|byte| [byte; 16]),
        fingerprints: vec![Fingerprint(7), Fingerprint(8)],
        place: None,
        bytes: 10,
    }
}

/// Pages of two, so that every test turns pages.
async fn all(scan: &Scan) -> Vec<Match> {
    let mut found = Vec::new();
    let mut cursor = Cursor::START;
    loop {
        let page = scan.matches(PAIR, cursor, 2).await.unwrap();
        found.extend(page.found);
        cursor = page.next;
        if page.done {
            return found;
        }
    }
}

/// Each match as `link-left|link-right scanned-left|scanned-right problem`, sorted.
fn lines(found: &[Match]) -> Vec<String> {
    let name = |key: Option<&Key>| key.map_or_else(|| "-".to_owned(), Key::to_string);
    let mut lines: Vec<String> = found
        .iter()
        .map(|found| {
            let link = found.link.as_ref().map_or_else(String::new, |link| {
                let left = name(link.key(Side::Left));
                format!("[{left}|{}] ", name(link.key(Side::Right)))
            });
            let left = name(found.scanned.left.as_ref().map(|s| &s.key));
            let right = name(found.scanned.right.as_ref().map(|s| &s.key));
            let problem = found.problem.map_or("", FindingCode::name);
            format!("{link}{left}|{right} {problem}").trim().to_owned()
        })
        .collect();
    lines.sort();
    lines
}

/// Counted or met: each match is one of the two, once.
async fn check_counts(scan: &Scan, found: &[Match]) {
    let is_met = |found: &&Match| {
        found.link.is_some() || (found.scanned.left.is_some() && found.scanned.right.is_some())
    };
    let met = scan.met(PAIR, Cursor::START, 100).await.unwrap();
    let expected: Vec<&Match> = found.iter().filter(is_met).collect();
    assert_eq!(met.found.iter().collect::<Vec<_>>(), expected);
    let mut alone = found.len() as u64 - expected.len() as u64;
    for (group, count) in scan.alone(PAIR).await.unwrap() {
        let is_of = |found: &&Match| {
            !is_met(found)
                && found.problem == group.problem
                && found.scanned.left.is_some() == group.scanned.left.is_some()
        };
        assert_eq!(found.iter().filter(is_of).count() as u64, count);
        alone -= count;
    }
    assert_eq!(alone, 0);
}

struct Case {
    links: Vec<(Option<&'static str>, Option<&'static str>)>,
    left: Vec<(&'static str, Option<u8>)>,
    right: Vec<(&'static str, Option<u8>)>,
}

async fn check(case: Case, expected: &[&str]) {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = begin(&world.store, sync).await;
    let links = case.links.iter().map(|(l, r)| (PAIR, link(*l, *r, 1)));
    let settlement = Settlement {
        links: links.collect(),
        ..Settlement::default()
    };
    ledger.settle(settlement, 1).await.unwrap();
    let scan = ledger.scan().await.unwrap();
    for (side, rows) in [(Side::Left, case.left), (Side::Right, case.right)] {
        let rows: Vec<_> = rows.into_iter().map(|(k, m)| row(k, m)).collect();
        scan.add(PAIR, side, rows).await.unwrap();
    }
    scan.finish().await.unwrap();
    let found = all(&scan).await;
    check_counts(&scan, &found).await;
    for scanned in found
        .iter()
        .flat_map(|f| [&f.scanned.left, &f.scanned.right])
        .flatten()
    {
        assert_eq!(scanned.fingerprints, [Fingerprint(7), Fingerprint(8)]);
    }
    assert_eq!(lines(&found), expected);
}

async fn begin(store: &Store, sync: tidegate_relay::store::syncs::SyncId) -> Ledger {
    Ledger::begin(store, sync, 1, 5).await.unwrap()
}

#[tokio::test]
async fn unlinked_records_are_matched_by_key_or_stay_alone() {
    let case = Case {
        links: vec![],
        left: vec![("l1", Some(1)), ("l2", Some(2)), ("l3", Some(3))],
        right: vec![("r3", Some(3)), ("r1", Some(1)), ("r4", Some(4))],
    };
    check(case, &["-|r4", "l1|r1", "l2|-", "l3|r3"]).await;
}

#[tokio::test]
async fn linked_records_stay_linked_whatever_their_match_keys_are_now() {
    let case = Case {
        links: vec![
            (Some("l1"), Some("r1")),
            (Some("l2"), Some("r2")),
            (Some("l3"), Some("r3")),
        ],
        left: vec![("l1", Some(1)), ("l2", None)],
        right: vec![("r1", Some(9)), ("r2", Some(2))],
    };
    check(case, &["[l1|r1] l1|r1", "[l2|r2] l2|r2", "[l3|r3] -|-"]).await;
}

#[tokio::test]
async fn a_record_that_one_side_lost_is_shown_missing() {
    let case = Case {
        links: vec![(Some("l1"), Some("r1")), (Some("l2"), Some("r2"))],
        left: vec![("l1", Some(1))],
        right: vec![("r2", Some(2))],
    };
    check(case, &["[l1|r1] l1|-", "[l2|r2] -|r2"]).await;
}

#[tokio::test]
async fn duplicate_and_null_match_keys_are_findings_and_never_guesses() {
    let case = Case {
        links: vec![(Some("k"), Some("k"))],
        left: vec![
            ("a", Some(1)),
            ("b", Some(1)),
            ("n", None),
            ("k", Some(2)),
            ("k2", Some(2)),
        ],
        right: vec![("c", Some(1)), ("k", Some(2)), ("m", None)],
    };
    let expected = [
        "-|c duplicate-match-key",
        "-|m null-match-key",
        "[k|k] k|k",
        "a|- duplicate-match-key",
        "b|- duplicate-match-key",
        "k2|- duplicate-match-key",
        "n|- null-match-key",
    ];
    check(case, &expected).await;
}

#[tokio::test]
async fn a_match_key_of_a_record_that_is_linked_elsewhere_is_taken() {
    let case = Case {
        links: vec![(Some("l1"), Some("r1"))],
        left: vec![("l1", Some(5)), ("l2", Some(1))],
        right: vec![("r1", Some(1))],
    };
    check(case, &["[l1|r1] l1|r1", "l2|- match-key-taken"]).await;
}

#[tokio::test]
async fn a_rekeyed_record_is_found_in_its_link_and_a_detached_one_gets_company() {
    let case = Case {
        links: vec![(Some("old"), Some("r1")), (None, Some("r2"))],
        left: vec![("new", Some(1)), ("l2", Some(2))],
        right: vec![("r1", Some(1)), ("r2", Some(2))],
    };
    check(case, &["[-|r2] l2|r2", "[old|r1] new|r1"]).await;
}

#[tokio::test]
async fn a_record_belongs_to_the_link_that_got_its_key_last() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = begin(&world.store, sync).await;
    let since = |key: (&str, &str), right: u32| {
        let mut link = link(Some(key.0), Some(key.1), 1);
        link.since.right = Since::written(BatchId::of_run(1, right));
        (PAIR, link)
    };
    // The newest is neither the first nor the last that was stored.
    let settlement = Settlement {
        links: vec![
            since(("l1", "r"), 7),
            since(("l2", "r"), 9),
            since(("l3", "r"), 8),
        ],
        ..Settlement::default()
    };
    ledger.settle(settlement, 1).await.unwrap();
    let scan = ledger.scan().await.unwrap();
    for key in ["l1", "l2", "l4"] {
        let rows = vec![row(key, Some(key.as_bytes()[1]))];
        scan.add(PAIR, Side::Left, rows).await.unwrap();
    }
    let right = [row("r", Some(b'2')), row("new", Some(b'1'))];
    scan.add(PAIR, Side::Right, right.into()).await.unwrap();
    scan.finish().await.unwrap();
    // What has the match key of the first link's record joins it: its former record is gone.
    let expected = ["[l1|r] l1|new", "[l2|r] l2|r", "[l3|r] -|-", "l4|-"];
    assert_eq!(lines(&all(&scan).await), expected);
}

#[tokio::test]
async fn a_record_reported_twice_counts_once_as_last_reported() {
    let case = Case {
        links: vec![],
        left: vec![("l1", Some(1)), ("l1", Some(2))],
        right: vec![("r2", Some(2))],
    };
    check(case, &["l1|r2"]).await;
}

#[tokio::test]
async fn links_made_meanwhile_do_not_change_the_matches_and_dropped_ones_are_passed_over() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = begin(&world.store, sync).await;
    let gone = Settlement {
        live: true,
        links: vec![(PAIR, link(Some("x"), Some("y"), 1))],
        ..Settlement::default()
    };
    ledger.settle(gone, 1).await.unwrap();
    let scan = ledger.scan().await.unwrap();
    for index in 0..5u8 {
        let name = format!("k{index}");
        let both = [(Side::Left, &name), (Side::Right, &name)];
        for (side, key) in both {
            scan.add(PAIR, side, vec![row(key, Some(index))])
                .await
                .unwrap();
        }
    }
    scan.finish().await.unwrap();
    assert_eq!(scan.count(PAIR, Side::Left).await.unwrap(), 5);
    let keys = vec![(Side::Left, PAIR, Key::single("x"))];
    let id = ledger.load(keys).await.unwrap()[0].links[0].id;
    let mut cursor = Cursor::START;
    let mut count = 0;
    loop {
        let page = scan.matches(PAIR, cursor, 2).await.unwrap();
        let unlinked = page.found.iter().filter(|found| found.link.is_none());
        let links = unlinked.map(|found| {
            let key = |side: Side| found.scanned[side].as_ref().unwrap().key.0[0].clone();
            let link = link(Some(&key(Side::Left)), Some(&key(Side::Right)), 1);
            (PAIR, link)
        });
        let settlement = Settlement {
            links: links.collect(),
            dropped: vec![(PAIR, id)],
            ..Settlement::default()
        };
        count += page.found.len();
        cursor = page.next;
        ledger.settle(settlement, 1).await.unwrap();
        if page.done {
            break;
        }
    }
    // The link without records comes first and is seen before it is dropped.
    assert_eq!(count, 6);
}

#[tokio::test]
async fn the_file_goes_with_the_scan_and_leftovers_go_at_the_next_start() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = begin(&world.store, sync).await;
    let dir = world.dir.path().join("scans");
    let files = || std::fs::read_dir(&dir).map_or(0, Iterator::count);
    let scan = ledger.scan().await.unwrap();
    assert_eq!(files(), 1);
    drop(scan);
    assert_eq!(files(), 0);
    std::fs::write(dir.join("left.db"), "x").unwrap();
    drop(ledger);
    let _world = world.reopened();
    assert_eq!(files(), 0);
}
