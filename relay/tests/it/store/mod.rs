//! The store's claims, checked through what other rooms call.

mod backups;
mod history;
mod layouts;
mod ledger;
mod moments;
mod nouns;
mod scans;
mod secrets;

use tempfile::TempDir;
use tidegate_relay::store::syncs::{NewSync, SyncId};
use tidegate_relay::store::{DEFAULT_WORKSPACE, Store, connections, syncs};
use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::model::{BatchId, BySide, Key, Link, LinkId, Place, Since};

/// A store in a directory of its own.
pub struct World {
    pub dir: TempDir,
    pub store: Store,
}

impl World {
    pub fn new() -> World {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path()).expect("a fresh store opens");
        World { dir, store }
    }

    /// Closes the store and opens it again, as after a restart.
    pub fn reopened(self) -> World {
        let World { dir, store } = self;
        drop(store);
        let store = Store::open(dir.path()).expect("the store opens again");
        World { dir, store }
    }

    /// A sync between two connections through agents.
    pub async fn add_sync(&self, name: &'static str) -> SyncId {
        let sealer = self.store.sealer().clone();
        self.store
            .transact(move |tx| {
                let mut ends = [0, 0];
                for (place, side) in ends.iter_mut().zip(["left", "right"]) {
                    let connection = format!("{name}-{side}");
                    let route = connections::Route::Agent {
                        agent: "office".to_owned(),
                        target: side.to_owned(),
                    };
                    let names = (connection.as_str(), "postgres");
                    *place = connections::add(tx, &sealer, DEFAULT_WORKSPACE, names, &route, 1)?;
                }
                let new = NewSync {
                    workspace: DEFAULT_WORKSPACE,
                    name,
                    left_conn: ends[0],
                    right_conn: ends[1],
                    definition: "name = \"x\"",
                    key: &syncs::new_key(),
                };
                syncs::add(tx, &sealer, &new, 1)
            })
            .await
            .expect("a sync is added")
    }
}

/// A link that was never stored; its baseline is made from `print`.
pub fn link(left: Option<&str>, right: Option<&str>, print: u64) -> Link {
    Link {
        id: LinkId(0),
        keys: BySide::new(left.map(Key::single), right.map(Key::single)),
        baseline: BySide::from_fn(|_| vec![Fingerprint(print), Fingerprint::UNKNOWN]),
        since: BySide::new(Since::default(), Since::written(BatchId::of_run(1, 2))),
        gone: BySide::default(),
        seen: BySide::new(Place { offset: 10, at: 3 }, Place::end_of(20)),
        written: BySide::new(BatchId::NONE, BatchId::of_run(1, 2)),
    }
}
