//! Sessions: cancelling, and TLS as strict as the URL says.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use secrecy::SecretString;
use tidegate_relay::endpoint::postgres::PostgresEndpoint;
use tidegate_relay::endpoint::postgres::connect::{self, SessionLimits};
use tidegate_relay::endpoint::postgres::direct::DirectDial;
use tidegate_relay::endpoint::{Dial, Endpoint, EndpointError, StreamLabel};

use crate::support::postgres::{PASSWORD, ROLE, Server};

#[tokio::test(flavor = "multi_thread")]
async fn a_running_statement_is_cancelled_over_a_second_stream() {
    let database = Server::shared().database("cancel").await;
    let label = StreamLabel {
        sync: "blog".into(),
        run: "inspect".into(),
        epoch: 0,
    };
    let session = connect::client(&database.dial(), &label, SessionLimits::SNAPSHOT)
        .await
        .unwrap();
    let name = session
        .query_one("show application_name", &[])
        .await
        .unwrap();
    assert_eq!(name.get::<_, String>(0), "tidegate/blog/inspect");
    let sleep = session.bounded("sleep", session.batch_execute("select pg_sleep(600)"));
    let cancel = async {
        // A cancel that comes before the statement does nothing: asked until it is there.
        let client = database.client().await;
        let running = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)'
                       and datname = current_database() and pid <> pg_backend_pid()";
        while client
            .query_one(running, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 0
        {}
        session.cancel().await.unwrap();
    };
    let (slept, ()) = tokio::join!(sleep, cancel);
    assert_eq!(slept.unwrap_err().code, "statement-timeout");
}

struct Secured {
    server: Arc<Server>,
    ca: std::path::PathBuf,
    other_ca: std::path::PathBuf,
}

/// A server with TLS, whose certificate is for `localhost` only.
fn secured() -> Secured {
    let server = Server::start_with(&[]);
    server.stop(false);
    let data = server.socket_dir().join("data");
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let path = server.socket_dir().join(name);
        fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        (Issuer::new(params, key), path)
    };
    let (issuer, ca) = authority("ca.pem");
    let (_, other_ca) = authority("other.pem");
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    fs::write(data.join("server.crt"), certificate.pem()).unwrap();
    let key_file = data.join("server.key");
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    // The server runs as whoever owns its data.
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(&data).unwrap();
    chown(&key_file, Some(owner.uid()), Some(owner.gid())).unwrap();
    let config = data.join("postgresql.conf");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}ssl = on\n")).unwrap();
    server.start();
    Secured {
        server,
        ca,
        other_ca,
    }
}

async fn inspect(url: String) -> Result<(), EndpointError> {
    let dial = DirectDial::new(&SecretString::from(url), None, true)?;
    let dial: Arc<dyn Dial> = Arc::new(dial);
    PostgresEndpoint::new(dial).inspect().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_as_strict_as_the_url_says() {
    let Secured {
        server,
        ca,
        other_ca,
    } = secured();
    let port = server.port();
    let url = |host: &str, options: &str| {
        format!("postgres://{ROLE}:{PASSWORD}@{host}:{port}/postgres?{options}")
    };
    let (ca, other_ca) = (ca.display(), other_ca.display());
    let good = [
        url(
            "localhost",
            &format!("sslmode=verify-full&sslrootcert={ca}"),
        ),
        url("127.0.0.1", &format!("sslmode=verify-ca&sslrootcert={ca}")),
        url("127.0.0.1", "sslmode=require"),
        url("127.0.0.1", "sslmode=prefer"),
        url("127.0.0.1", "sslmode=disable"),
    ];
    for url in good {
        inspect(url.clone())
            .await
            .unwrap_or_else(|error| panic!("{url}: {error}"));
    }
    let bad = [
        url(
            "127.0.0.1",
            &format!("sslmode=verify-full&sslrootcert={ca}"),
        ),
        url(
            "localhost",
            &format!("sslmode=verify-full&sslrootcert={other_ca}"),
        ),
        url(
            "localhost",
            &format!("sslmode=verify-ca&sslrootcert={other_ca}"),
        ),
        // The default: verify-full with the system's roots.
        url("localhost", ""),
    ];
    for url in bad {
        let error = inspect(url.clone())
            .await
            .err()
            .unwrap_or_else(|| panic!("{url} passed"));
        assert!(
            ["tls-failed", "tls-roots"].contains(&error.code),
            "{url}: {error}"
        );
        assert!(!format!("{error:?}").contains(PASSWORD));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_refused_unless_told_otherwise() {
    let server = Server::shared();
    let port = server.port();
    let url = |mode: &str| {
        format!("postgres://{ROLE}:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode={mode}")
    };
    assert_eq!(
        inspect(url("require")).await.unwrap_err().code,
        "tls-not-offered"
    );
    inspect(url("prefer")).await.unwrap();
    inspect(url("disable")).await.unwrap();
}
