//! Backups: what is in one, what opens it, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tidegate_relay::store::agents::{CertificateRow, Known, Presented};
use tidegate_relay::store::{Store, StoreError, agents, backup};

use super::World;

const NOW_MS: i64 = 1_795_000_000_000;
const SECRET: &str = "-----BEGIN PRIVATE KEY----- planted";

/// A world with an authority, and a backup of it.
fn backed_up(with_master_key: bool) -> (World, tempfile::TempDir, std::path::PathBuf) {
    let world = World::new();
    let identity = world.dir.path().join("identity");
    fs::create_dir(&identity).unwrap();
    fs::write(identity.join("agent-authority.pem"), SECRET).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("relay.db");
    let done = backup::back_up(world.dir.path(), &file, with_master_key, NOW_MS).unwrap();
    assert_eq!(done.bytes, fs::metadata(&file).unwrap().len());
    (world, elsewhere, file)
}

fn holds(file: &Path, planted: &[u8]) -> bool {
    let bytes = fs::read(file).unwrap();
    bytes.windows(planted.len()).any(|found| found == planted)
}

#[tokio::test]
async fn a_backup_holds_the_authorities_sealed_and_the_master_key_only_when_asked() {
    for with_master_key in [false, true] {
        let (world, elsewhere, file) = backed_up(with_master_key);
        let key = fs::read(world.dir.path().join("master.key")).unwrap();
        assert!(!holds(&file, SECRET.as_bytes()));
        assert_eq!(holds(&file, &key), with_master_key);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(elsewhere.path()).unwrap().count(),
            1,
            "one file"
        );

        let place = elsewhere.path().join("restored");
        if !with_master_key {
            let refused = backup::restore(&file, &place, false, NOW_MS).unwrap_err();
            assert!(
                matches!(refused, StoreError::MasterKeyMissing(_)),
                "{refused}"
            );
            fs::write(place.join("master.key"), &key).unwrap();
        }
        let restored = backup::restore(&file, &place, false, NOW_MS).unwrap();
        assert_eq!(restored.taken_at_ms, NOW_MS);
        let authority = place.join("identity/agent-authority.pem");
        assert_eq!(fs::read_to_string(&authority).unwrap(), SECRET);
        assert_eq!(
            fs::metadata(&authority).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read(place.join("master.key")).unwrap(), key);
        assert!(
            !holds(&place.join("tidegate.db"), &key),
            "the key is in its file only"
        );
        drop(Store::open(&place).unwrap());
    }
}

#[tokio::test]
async fn a_wrong_key_half_a_file_and_a_place_that_is_taken_are_refused() {
    let (world, elsewhere, file) = backed_up(false);
    let again = backup::back_up(world.dir.path(), &file, false, NOW_MS).unwrap_err();
    assert!(matches!(again, StoreError::File { .. }), "{again}");
    let nothing = backup::back_up(elsewhere.path(), &file, false, NOW_MS).unwrap_err();
    assert!(matches!(nothing, StoreError::NoState(_)), "{nothing}");
    let running = backup::restore(&file, world.dir.path(), false, NOW_MS).unwrap_err();
    assert!(matches!(running, StoreError::InUse(_)), "{running}");

    let other = World::new();
    let World { dir: taken, store } = other;
    drop(store);
    let refused = backup::restore(&file, taken.path(), false, NOW_MS).unwrap_err();
    assert!(matches!(refused, StoreError::Occupied(_)), "{refused}");
    for name in ["tidegate.db", "tidegate.db-wal", "tidegate.db-shm"] {
        let _ = fs::remove_file(taken.path().join(name));
    }
    let refused = backup::restore(&file, taken.path(), false, NOW_MS).unwrap_err();
    assert!(
        matches!(refused, StoreError::MasterKeyWrong(_)),
        "{refused}"
    );

    let bytes = fs::read(&file).unwrap();
    let half = elsewhere.path().join("half.db");
    for text in [&bytes[..bytes.len() / 2], b"no database at all", b""] {
        fs::write(&half, text).unwrap();
        let place = elsewhere.path().join("from-half");
        let refused = backup::restore(&half, &place, false, NOW_MS).unwrap_err();
        assert!(matches!(refused, StoreError::NoBackup { .. }), "{refused}");
        assert!(!place.join("tidegate.db").exists());
    }
}

#[tokio::test]
async fn a_certificate_from_after_the_backup_is_as_good_as_another_one_of_its_key() {
    let world = World::new();
    let known = CertificateRow {
        serial: "s1".to_owned(),
        workspace: "default".to_owned(),
        agent: "a1".to_owned(),
        key: [1; 32],
        not_before: NOW_MS,
        not_after: NOW_MS + 1000,
        issued_at: NOW_MS,
        revoked_at: None,
    };
    let added = world.store.transact(move |tx| {
        agents::add(tx, "default", "office-db", "a1", NOW_MS)?;
        agents::add_certificate(tx, &known)
    });
    assert!(added.await.unwrap());
    let admitted = async |agent: &str, serial: &str, key: u8| {
        let presented = Presented {
            workspace: "default".to_owned(),
            agent: agent.to_owned(),
            serial: serial.to_owned(),
            key: [key; 32],
        };
        let admitted = world
            .store
            .view(move |conn| agents::known(conn, &presented));
        admitted.await.unwrap() == Known::Good
    };
    assert!(admitted("a1", "s1", 1).await);
    assert!(admitted("a1", "s2", 1).await, "renewed after the backup");
    assert!(!admitted("a1", "s2", 2).await, "a key that nobody knows");
    assert!(!admitted("a2", "s2", 1).await, "somebody else's key");
    let retired = world
        .store
        .transact(|tx| agents::pair_with_key(tx, "default", "a1", &[3; 32], NOW_MS));
    retired.await.unwrap();
    assert!(!admitted("a1", "s1", 1).await, "retired");
    assert!(!admitted("a1", "s2", 1).await, "retired with its key");
    let revoked = world
        .store
        .transact(|tx| agents::revoke(tx, "default", "office-db", NOW_MS));
    revoked.await.unwrap();
    assert!(!admitted("a1", "s2", 1).await);
}
