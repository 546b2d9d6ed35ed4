//! Signing in, against a server played by the test.

use std::sync::Mutex;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, DuplexStream};

use super::*;
use crate::endpoint::Class;

/// Dials one prepared stream.
struct Prepared {
    stream: Mutex<Option<DuplexStream>>,
    login: Login,
}

#[async_trait]
impl Dial for Prepared {
    async fn dial(
        &self,
        purpose: Purpose,
        _label: &StreamLabel,
    ) -> Result<Box<dyn ByteStream>, EndpointError> {
        assert_eq!(purpose, Purpose::Replication);
        let stream = self.stream.lock().unwrap().take();
        Ok(Box::new(stream.expect("dialled once")))
    }

    fn login(&self) -> Login {
        self.login.clone()
    }
}

fn password() -> Login {
    Login::Password {
        user: "someone".into(),
        password: "a secret".to_owned().into(),
        database: "shop".into(),
    }
}

/// Answers the startup message and each further message with the next of `answers`; returns what
/// the client said.
async fn play(login: Login, answers: &[&[u8]]) -> (Result<(), EndpointError>, Vec<u8>) {
    let (ours, mut theirs) = tokio::io::duplex(4096);
    let dial = Prepared {
        stream: Mutex::new(Some(ours)),
        login,
    };
    let label = StreamLabel::default();
    let open = async {
        let opened = Connection::open(&dial, &label).await.map(drop);
        drop(dial);
        opened
    };
    let server = async {
        let mut said = Vec::new();
        for answer in answers {
            let mut buffer = [0u8; 4096];
            let count = theirs.read(&mut buffer).await.unwrap();
            said.extend_from_slice(&buffer[..count]);
            theirs.write_all(answer).await.unwrap();
        }
        drop(theirs);
        said
    };
    tokio::join!(open, server)
}

const OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
const READY: &[u8] = b"Z\0\0\0\x05I";
const SCRAM: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";

#[tokio::test]
async fn behind_an_agent_no_password_is_needed() {
    let ready = [OK, READY].concat();
    let (opened, said) = play(Login::ByAgent, &[&ready, READY]).await;
    opened.unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("replication\0database\0"), "{said}");
    assert!(said.contains("set DateStyle = 'ISO, YMD'"), "{said}");
}

#[tokio::test]
async fn the_password_is_given_away_in_no_form() {
    let clear: &[u8] = b"R\0\0\0\x08\0\0\0\x03";
    let md5: &[u8] = b"R\0\0\0\x0c\0\0\0\x05salt";
    let other: &[u8] = b"R\0\0\0\x0f\0\0\0\x0aOTHER\0\0";
    for question in [clear, md5, other] {
        let (opened, said) = play(password(), &[question]).await;
        let error = opened.unwrap_err();
        assert_eq!(
            (error.class, error.code),
            (Class::Operator, "weak-authentication")
        );
        assert!(!said.windows(8).any(|window| window == b"a secret"));
        let (opened, _) = play(Login::ByAgent, &[question]).await;
        assert_eq!(opened.unwrap_err().class, Class::Bug);
    }
}

#[tokio::test]
async fn a_server_that_cannot_prove_itself_is_refused() {
    let broken: &[u8] = b"R\0\0\0\x0d\0\0\0\x0br=xyz";
    for answer in [OK, broken] {
        let (opened, _) = play(password(), &[SCRAM, answer]).await;
        assert_eq!(opened.unwrap_err().code, "login-refused");
    }
}

#[tokio::test]
async fn a_connection_cut_while_signing_in_can_be_tried_again() {
    for answers in [&[&b""[..]][..], &[OK], &[b"R\0\0\0"]] {
        let (opened, _) = play(password(), answers).await;
        let error = opened.unwrap_err();
        assert!(matches!(error.class, Class::Retry(_)), "{error:?}");
    }
}
