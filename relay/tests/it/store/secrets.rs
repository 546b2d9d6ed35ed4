//! Nothing readable on disk, and clear words when the master key is not there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::SecretString;
use tidegate_relay::store::roles::Role;
use tidegate_relay::store::scans::ScanRow;
use tidegate_relay::store::{
    Class, DEFAULT_WORKSPACE, KeySource, Ledger, Store, StoreError, connections, tokens,
};
use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::decide::Write;
use tidegate_sync::model::{
    BatchId, BySide, Cell, Conflict, Finding, FindingCode, Key, PairId, Side,
};
use tidegate_sync::session::{Applied, FieldWrite, Noted, Settlement, Values, Why};
use tidegate_sync::value::Value;

use super::{World, link};

/// In none of the files, under any name.
fn assert_absent(dir: &Path, planted: &str) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_absent(&path, planted);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let found = bytes
            .windows(planted.len())
            .any(|w| w == planted.as_bytes());
        assert!(!found, "{planted} is readable in {}", path.display());
    }
}

/// One of each record that holds a key or a value.
fn planted_settlement(pair: PairId) -> Settlement {
    let key = || Key::single("planted-record-key");
    Settlement {
        links: vec![(
            pair,
            link(Some("planted-record-key"), Some("planted-other-key"), 1),
        )],
        findings: vec![Finding {
            pair,
            side: Side::Left,
            key: key(),
            code: FindingCode::CheckViolation,
            detail: "planted-detail".to_owned(),
        }],
        conflicts: vec![Noted {
            conflict: Conflict {
                pair,
                keys: BySide::new(Some(key()), None),
                field: Some(0),
                values: BySide::from_fn(|_| Cell::Value(Value::Text("planted-value".to_owned()))),
                times: BySide::default(),
                winner: Some(Side::Left),
            },
            link: None,
        }],
        applied: vec![Applied {
            pair,
            side: Side::Left,
            write: Write::Create,
            why: Why::Change,
            batch: BatchId::NONE,
            keys: BySide::new(Some(key()), None),
            former_key: Some(key()),
            fields: vec![0],
            values: Values::Kept(vec![FieldWrite {
                field: 0,
                before: Some(Value::Text("planted-value-before".to_owned())),
                after: Some(Value::Text("planted-value-after".to_owned())),
            }]),
            print: Fingerprint::UNKNOWN,
            source_time: None,
        }],
        ..Settlement::default()
    }
}

#[tokio::test]
async fn keys_values_and_passwords_are_not_readable_on_disk() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let ledger = Ledger::begin(&world.store, sync, 1, 1).await.unwrap();
    let pair = PairId(0);
    ledger.settle(planted_settlement(pair), 1).await.unwrap();
    let scan = ledger.scan().await.unwrap();
    let row = ScanRow {
        key: Key::single("planted-record-key"),
        match_key: Some([1; 16]),
        fingerprints: Vec::new(),
        place: None,
        bytes: 0,
    };
    scan.add(pair, Side::Left, vec![row]).await.unwrap();
    scan.finish().await.unwrap();
    let sealer = world.store.sealer().clone();
    let token = world
        .store
        .transact(move |tx| {
            let url = SecretString::from("postgres://u:planted-password@db.example/x");
            let route = connections::Route::Direct { url };
            connections::add(
                tx,
                &sealer,
                DEFAULT_WORKSPACE,
                ("direct", "postgres"),
                &route,
                1,
            )?;
            tokens::create(tx, DEFAULT_WORKSPACE, ("ci", Role::Admin.into()), None, 1)
        })
        .await
        .unwrap();
    let planted = [
        "planted-record-key",
        "planted-other-key",
        "planted-detail",
        "planted-value",
        "planted-password",
        token.as_str(),
    ];
    for text in planted {
        assert_absent(world.dir.path(), text);
    }
    drop((scan, ledger));
    let world = world.reopened();
    for text in planted {
        assert_absent(world.dir.path(), text);
    }
}

#[tokio::test]
async fn files_are_readable_by_their_owner_only() {
    let world = World::new();
    world.add_sync("blog").await;
    tokens::ensure_operator_token(&world.store, 1)
        .await
        .unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(world.dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        if entry.metadata().unwrap().is_file() {
            assert_eq!(mode & 0o077, 0, "{:?} {mode:o}", entry.path());
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    for name in [
        "master.key",
        "operator.token",
        "tidegate.db",
        "tidegate.db-wal",
    ] {
        assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
    }
}

#[tokio::test]
async fn a_missing_or_wrong_master_key_is_told_clearly_and_nothing_is_overwritten() {
    let world = World::new();
    world.add_sync("blog").await;
    let World { dir, store } = world;
    drop(store);
    let path = dir.path().join("master.key");
    let key = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let error = Store::open(dir.path()).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::MasterKeyMissing(_)));
    assert!(matches!(error.class(), Class::Operator(_)));
    let text = error.to_string();
    assert!(
        text.contains("master.key") && text.contains("Only sealed secrets are lost"),
        "{text}"
    );
    assert!(!path.exists());

    let given = |text: &str| KeySource::Given(text.to_owned().into());
    let wrong = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let error = Store::open_with(dir.path(), &given(wrong))
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, StoreError::MasterKeyWrong(_)), "{error}");
    let error = Store::open_with(dir.path(), &given("short"))
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(error, StoreError::MasterKeyMalformed(_)),
        "{error}"
    );
    assert!(!error.to_string().contains("short"));

    Store::open_with(dir.path(), &given(&key)).expect("the key opens it from the variable too");
}
