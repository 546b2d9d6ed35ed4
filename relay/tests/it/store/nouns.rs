//! Connections, syncs, tokens, the audit log, and the data directory itself.

use rusqlite::Connection;
use secrecy::{ExposeSecret, SecretString};
use tidegate_relay::store::audit::{AuditEvent, Chain};
use tidegate_relay::store::connections::{Route, Via};
use tidegate_relay::store::roles::Role;
use tidegate_relay::store::syncs::Wanted;
use tidegate_relay::store::{
    Class, DEFAULT_WORKSPACE, Store, StoreError, audit, connections, syncs, tokens,
};

use super::World;

#[tokio::test]
async fn two_relays_cannot_share_a_data_directory() {
    let world = World::new();
    let error = Store::open(world.dir.path()).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    assert!(matches!(error.class(), Class::Operator(_)));
}

#[tokio::test]
async fn migrations_run_twice_do_nothing_and_a_newer_database_is_refused() {
    let world = World::new();
    let versions = |store: &Store| {
        let store = store.clone();
        async move {
            let sql = "select count(*), max(applied_on) from refinery_schema_history";
            let read = store.read(move |conn| {
                conn.query_row(sql, (), |row| {
                    Ok((row.get::<i64>(0)?, row.get::<String>(1)?))
                })
            });
            read.await.unwrap()
        }
    };
    let before = versions(&world.store).await;
    let world = world.reopened();
    assert_eq!(versions(&world.store).await, before);
    let insert =
        "insert into refinery_schema_history values (99, 'future', '2030-01-01T00:00:00Z', '1')";
    world
        .store
        .write(move |tx| tx.execute(insert, ()))
        .await
        .unwrap();
    let World { dir, store } = world;
    drop(store);
    let error = Store::open(dir.path()).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Migration(_)), "{error}");
    assert!(matches!(error.class(), Class::Operator(advice) if advice.contains("newer")));
}

#[tokio::test]
async fn a_direct_connection_gives_its_url_back_and_an_agents_has_none() {
    let world = World::new();
    let sealer = world.store.sealer().clone();
    let add = |name: &'static str, route: Route| {
        let sealer = sealer.clone();
        world.store.transact(move |tx| {
            connections::add(
                tx,
                &sealer,
                DEFAULT_WORKSPACE,
                (name, "postgres"),
                &route,
                5,
            )
        })
    };
    let url = "postgres://u:p@h/d";
    let direct = || Route::Direct {
        url: SecretString::from(url),
    };
    let id = add("shop", direct()).await.unwrap();
    let error = add("shop", direct()).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Taken {
                noun: "connection",
                ..
            }
        ),
        "{error}"
    );
    let through = Route::Agent {
        agent: "office".to_owned(),
        target: "main".to_owned(),
    };
    let other = add("crm", through).await.unwrap();
    let (list, first, second) = world
        .store
        .view(move |conn| {
            let list = connections::list(conn, DEFAULT_WORKSPACE)?;
            let first = connections::url(conn, &sealer, id)?;
            Ok((list, first, connections::url(conn, &sealer, other)?))
        })
        .await
        .unwrap();
    let names: Vec<_> = list.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["crm", "shop"]);
    assert_eq!(list[1].via, Via::Direct);
    assert_eq!(first.unwrap().expose_secret(), url);
    assert!(second.is_none());
}

#[tokio::test]
async fn a_connection_that_a_sync_uses_stays_until_the_sync_is_gone() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let remove = || {
        world
            .store
            .transact(|tx| connections::remove(tx, DEFAULT_WORKSPACE, "blog-left"))
    };
    let error = remove().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "connection blog-left is still used by sync blog"
    );
    world
        .store
        .transact(move |tx| syncs::remove(tx, sync))
        .await
        .unwrap();
    remove().await.unwrap();
    let error = remove().await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn a_sync_keeps_its_key_and_its_epoch_only_grows() {
    let world = World::new();
    let sync = world.add_sync("blog").await;
    let key = |store: &Store| {
        let sealer = store.sealer().clone();
        let store = store.clone();
        async move {
            let read = store.view(move |conn| syncs::fingerprint_key(conn, &sealer, sync));
            *read.await.unwrap()
        }
    };
    let before = key(&world.store).await;
    let begin = |store: &Store| {
        let store = store.clone();
        async move {
            store
                .transact(move |tx| syncs::begin_run(tx, sync, 2))
                .await
                .unwrap()
        }
    };
    assert_eq!(begin(&world.store).await, 1);
    world
        .store
        .transact(move |tx| syncs::raise_epoch(tx, sync, 40))
        .await
        .unwrap();
    assert_eq!(begin(&world.store).await, 41);
    let paused = world
        .store
        .transact(move |tx| syncs::set_wanted(tx, sync, Wanted::Paused, 3));
    paused.await.unwrap();
    let world = world.reopened();
    assert_eq!(key(&world.store).await, before);
    assert_eq!(begin(&world.store).await, 42);
    let record = world
        .store
        .view(move |conn| syncs::by_name(conn, DEFAULT_WORKSPACE, "blog"));
    assert_eq!(record.await.unwrap().wanted, Wanted::Paused);
    let wanted = world.store.view(syncs::list_wanted).await.unwrap();
    assert!(wanted.is_empty());
}

#[tokio::test]
async fn a_token_is_accepted_until_it_expires_or_is_revoked() {
    let world = World::new();
    let text = world
        .store
        .transact(|tx| {
            tokens::create(
                tx,
                DEFAULT_WORKSPACE,
                ("ci", Role::Viewer.into()),
                Some(100),
                1,
            )
        })
        .await
        .unwrap();
    let check = |text: String, now| {
        let store = world.store.clone();
        async move {
            store
                .view(move |conn| tokens::verify(conn, &text, now))
                .await
                .unwrap()
        }
    };
    assert_eq!(
        check(text.to_string(), 99).await.unwrap().scope.role,
        Role::Viewer
    );
    assert!(check(text.to_string(), 100).await.is_none());
    assert!(check(format!("{}x", *text), 99).await.is_none());
    let revoke = world
        .store
        .transact(|tx| tokens::revoke(tx, DEFAULT_WORKSPACE, "ci"));
    revoke.await.unwrap();
    assert!(check(text.to_string(), 99).await.is_none());
}

#[tokio::test]
async fn the_operator_token_stays_the_same_until_its_file_is_lost() {
    let world = World::new();
    let path = world.dir.path().join("operator.token");
    let text = || std::fs::read_to_string(&path).unwrap();
    tokens::ensure_operator_token(&world.store, 1)
        .await
        .unwrap();
    let first = text();
    let world = world.reopened();
    tokens::ensure_operator_token(&world.store, 2)
        .await
        .unwrap();
    assert_eq!(text(), first);
    std::fs::remove_file(&path).unwrap();
    tokens::ensure_operator_token(&world.store, 3)
        .await
        .unwrap();
    assert_ne!(text(), first);
    let old = first.trim().to_owned();
    let found = world
        .store
        .view(move |conn| tokens::verify(conn, &old, 4))
        .await;
    assert!(found.unwrap().is_none(), "the lost token is refused");
}

#[tokio::test]
async fn the_audit_log_only_grows_and_shows_tampering() {
    let world = World::new();
    for index in 0..3 {
        let sealer = world.store.sealer().clone();
        let event = AuditEvent {
            at_ms: index,
            workspace: DEFAULT_WORKSPACE.to_owned(),
            actor: "operator".to_owned(),
            action: "agent.invite".to_owned(),
            object: format!("office-{index}"),
        };
        let append = world
            .store
            .transact(move |tx| audit::append(tx, &sealer, &event));
        append.await.unwrap();
    }
    let verify = |store: &Store| {
        let sealer = store.sealer().clone();
        let store = store.clone();
        async move {
            store
                .view(move |conn| audit::verify(conn, &sealer))
                .await
                .unwrap()
        }
    };
    assert_eq!(verify(&world.store).await, Chain::Intact { records: 3 });
    for sql in ["update audit set actor = 'me'", "delete from audit"] {
        assert!(
            world
                .store
                .write(move |tx| tx.execute(sql, ()))
                .await
                .is_err()
        );
    }
    let World { dir, store } = world;
    drop(store);
    let raw = Connection::open(dir.path().join("tidegate.db")).unwrap();
    raw.execute_batch(
        "drop trigger audit_is_append_only; update audit set object = 'x' where seq = 2",
    )
    .unwrap();
    drop(raw);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(verify(&store).await, Chain::Broken { seq: 2 });
    let newest = store
        .view(|conn| audit::list(conn, DEFAULT_WORKSPACE, None, 1))
        .await;
    assert_eq!(newest.unwrap()[0].event.object, "office-2");
}
