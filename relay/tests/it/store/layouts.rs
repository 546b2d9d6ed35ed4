//! An edited mapping: links keep what was agreed of the fields that stay, under their pairs' new
//! numbers.

use tidegate_relay::store::layouts::{self, LayoutChange, PairRemap, Remap};
use tidegate_relay::store::{Ledger, conflicts, findings, pairs};
use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::model::{
    BySide, Cell, Conflict, Finding, FindingCode, Key, PairId, Position, Side,
};
use tidegate_sync::session::{Noted, Round, Settlement};

use super::{World, link};

const A: PairId = PairId(0);
const B: PairId = PairId(1);
const C: PairId = PairId(2);

fn noted(pair: PairId, field: usize) -> Noted {
    let conflict = Conflict {
        pair,
        keys: BySide::new(Some(Key::single("l")), Some(Key::single("r"))),
        field: Some(field),
        values: BySide::new(Cell::Unchanged, Cell::Unchanged),
        times: BySide::default(),
        winner: Some(Side::Left),
    };
    let link = None;
    Noted { conflict, link }
}

/// Three pairs of two fields, each with a link of the same keys.
async fn three_pairs(world: &World) -> Ledger {
    let sync = world.add_sync("blog").await;
    let ledger = Ledger::begin(&world.store, sync, 3, 5).await.unwrap();
    let finding = |pair| Finding {
        pair,
        side: Side::Left,
        key: Key::single("f"),
        code: FindingCode::CheckViolation,
        detail: String::new(),
    };
    let links =
        [(A, 10), (B, 20), (C, 30)].map(|(p, print)| (p, link(Some("l"), Some("r"), print)));
    let settlement = Settlement {
        links: links.into(),
        conflicts: [(B, 0), (C, 0), (C, 1)]
            .map(|(pair, field)| noted(pair, field))
            .into(),
        findings: vec![finding(A), finding(C)],
        positions: BySide::new(Some(Position::default()), Some(Position::default())),
        live: true,
        ..Settlement::default()
    };
    ledger.settle(settlement, 1).await.unwrap();
    ledger
}

/// The first pair goes, the other two exchange their numbers, and a new one comes between. The last
/// one's fields turn round, with a new one in front and the first one gone.
fn change() -> LayoutChange {
    let remap = |from, fields: &[Option<usize>], due| PairRemap {
        from,
        fields: fields.to_vec(),
        fields_before: 2,
        due,
    };
    LayoutChange {
        remap: Remap {
            pairs: vec![
                remap(Some(C), &[None, Some(1)], true),
                remap(None, &[None], false),
                remap(Some(B), &[Some(0), Some(1)], false),
            ],
        },
        layout: "{}".to_owned(),
        definition: "later".to_owned(),
    }
}

#[tokio::test]
async fn links_follow_their_pairs_and_fingerprints_their_fields() {
    let world = World::new();
    let ledger = three_pairs(&world).await;
    let sync = ledger.sync();
    ledger.lay_out(change(), 9).await.unwrap();

    let keys = [A, B, C].map(|pair| (Side::Right, pair, Key::single("r")));
    let found = ledger.load(keys.to_vec()).await.unwrap();
    let print = |at: usize| {
        found[at]
            .links
            .first()
            .map(|link| link.baseline.left.clone())
    };
    let unknown = Fingerprint::UNKNOWN;
    assert_eq!(print(0), Some(vec![Fingerprint::NEW, unknown]));
    assert_eq!(print(1), None);
    assert_eq!(print(2), Some(vec![Fingerprint(20), unknown]));

    let resume = ledger.resume().await.unwrap();
    assert!(resume.positions.is_some(), "the streams go on");
    assert_eq!(resume.first_run, [false, true, false]);
    assert_eq!(resume.due, [true, true, false]);
    assert_eq!(resume.pairs_due().collect::<Vec<_>>(), [A, B]);

    let sealer = world.store.sealer().clone();
    let listed = world.store.view(move |conn| {
        let of_sync = findings::Filter {
            sync: Some(sync),
            limit: 10,
            ..findings::Filter::default()
        };
        let found = findings::list(conn, &sealer, "default", &of_sync)?;
        let of_sync = conflicts::Filter {
            sync: Some(sync),
            limit: 10,
            ..conflicts::Filter::default()
        };
        let conflicts = conflicts::list(conn, &sealer, "default", &of_sync)?;
        let first = layouts::first_definition(conn, sync)?;
        Ok((found, conflicts, pairs::list(conn, sync)?, first))
    });
    let (found, conflicts, pairs, first) = listed.await.unwrap();
    let of: Vec<PairId> = found.iter().map(|f| f.finding.pair).collect();
    assert_eq!(of, [A], "the finding of the pair that stays");
    let of: Vec<_> = conflicts
        .iter()
        .map(|c| (c.conflict.pair, c.conflict.field))
        .collect();
    assert_eq!(
        of,
        [(A, Some(1)), (C, Some(0))],
        "a field that is gone has no conflict"
    );
    assert_eq!(
        pairs.iter().map(|pair| pair.linked).collect::<Vec<_>>(),
        [1, 0, 1]
    );
    assert_eq!(first.as_deref(), Some("later"));
}

#[tokio::test]
async fn a_reconciled_pair_is_due_no_more_and_knows_up_to_where() {
    let world = World::new();
    let ledger = three_pairs(&world).await;
    ledger.lay_out(change(), 9).await.unwrap();
    let known = BySide::new(70, 80);
    let settlement = Settlement {
        reconciled: vec![(A, known)],
        ..Settlement::default()
    };
    ledger.settle(settlement, 10).await.unwrap();
    let resume = ledger.resume().await.unwrap();
    assert_eq!(resume.due, [false, true, false]);
    assert_eq!(resume.known, [known, BySide::default(), BySide::default()]);
    let live = Settlement {
        live: true,
        ..Settlement::default()
    };
    ledger.settle(live, 11).await.unwrap();
    assert_eq!(ledger.resume().await.unwrap().pairs_due().count(), 0);
}

#[tokio::test]
async fn the_layout_stays_while_a_round_of_it_is_open() {
    let world = World::new();
    let ledger = three_pairs(&world).await;
    ledger.intend(&Round::default()).await.unwrap();
    assert!(ledger.lay_out(change(), 9).await.is_err());
    let resume = ledger.resume().await.unwrap();
    assert_eq!(resume.due, [false, false, false]);
}
