//! The throwaway server itself: it is what the other tests take it for.

use crate::support::postgres::Server;

#[tokio::test(flavor = "multi_thread")]
async fn throwaway_server_decodes_logically_and_asks_for_a_password() {
    let database = Server::shared().database("self").await;
    let client = database.client().await;
    let one = |sql: &'static str| {
        let client = &client;
        async move {
            client
                .query_one(sql, &[])
                .await
                .unwrap()
                .get::<_, String>(0)
        }
    };
    assert_eq!(one("show wal_level").await, "logical");
    assert_eq!(one("select current_user::text").await, "tidegate");
    assert_eq!(one("show password_encryption").await, "scram-sha-256");

    let wrong = database.dial_as("tidegate", "not the password");
    let error = crate::support::postgres::connect(&wrong)
        .await
        .err()
        .unwrap();
    assert_eq!(error.code().unwrap().code(), "28P01");
}
