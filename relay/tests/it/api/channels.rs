//! Channels: what goes in and never comes out, who may make one, and where it may lead.

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use super::{ask, refusal};
use crate::notify::receiver::Receiver;
use crate::support::desk::Desk;

const PATH: &str = "planted-path-4c1d9e";
const PASSWORD: &str = "planted-password-77e2a0";

async fn send(desk: &Desk, method: Method, path: &str, body: &Value) -> Response {
    let url = format!("{}/api/v1/channels{path}", desk.base);
    let request = Client::new().request(method, url).bearer_auth(&desk.token);
    request.json(body).send().await.unwrap()
}

async fn done(response: Response, status: u16) -> Value {
    let (found, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

async fn shown(desk: &Desk, name: &str) -> Value {
    let path = format!("/api/v1/channels/{name}");
    done(ask(desk, Method::GET, &path, Some(&desk.token)).await, 200).await
}

fn webhook(name: &str) -> Value {
    json!({"name": name, "webhook": {"url": format!("https://hooks.example.com/{PATH}")}})
}

fn email(password: Option<&str>) -> Value {
    json!({"email": {"host": "mail.example.com", "user": "relay", "password": password,
        "from": "relay@example.com", "to": ["ops@example.com"]}})
}

#[tokio::test]
async fn a_channels_address_and_keys_go_in_and_never_come_out() {
    let desk = Desk::start().await;
    let made = done(send(&desk, Method::POST, "", &webhook("pager")).await, 201).await;
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"));
    let mut mail = email(Some(PASSWORD));
    mail["name"] = "mail".into();
    mail["events"] = json!(["sync.stopped"]);
    let made = done(send(&desk, Method::POST, "", &mail).await, 201).await;
    assert_eq!(made["secret"], Value::Null);
    assert_eq!(made["channel"]["target"], "ops@example.com");
    assert_eq!(made["channel"]["events"], json!(["sync.stopped"]));

    let pager = shown(&desk, "pager").await;
    assert_eq!(pager["target"], "hooks.example.com");
    assert_eq!(
        (&pager["kind"], &pager["enabled"]),
        (&json!("webhook"), &json!(true))
    );
    let list = ask(&desk, Method::GET, "/api/v1/channels", Some(&desk.token)).await;
    let list = list.text().await.unwrap();
    for file in std::fs::read_dir(desk.dir.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        for hidden in [PATH, PASSWORD, &secret] {
            assert!(!text.contains(hidden), "{hidden} in {}", path.display());
            assert!(!list.contains(hidden) && !pager.to_string().contains(hidden));
        }
    }
    let audit = ask(&desk, Method::GET, "/api/v1/audit", Some(&desk.token)).await;
    let audit = audit.text().await.unwrap();
    assert!(
        audit.contains("channel.add") && !audit.contains(PATH),
        "{audit}"
    );
}

#[tokio::test]
async fn a_channel_is_changed_by_whoever_read_its_last_version() {
    let desk = Desk::start().await;
    done(send(&desk, Method::POST, "", &webhook("pager")).await, 201).await;
    let change = |version: Option<&'static str>, body: Value| {
        let url = format!("{}/api/v1/channels/pager", desk.base);
        let mut request = Client::new().patch(url).bearer_auth(&desk.token);
        if let Some(version) = version {
            request = request.header("if-match", version);
        }
        async move { request.json(&body).send().await.unwrap() }
    };
    let off = change(Some("\"1\""), json!({"enabled": false})).await;
    assert_eq!(off.headers()["etag"], "\"2\"");
    let off = done(off, 200).await;
    assert_eq!(
        (&off["channel"]["enabled"], &off["secret"]),
        (&json!(false), &Value::Null)
    );
    let late = change(Some("\"1\""), json!({"enabled": true})).await;
    assert_eq!(refusal(late, 412).await, "version-changed");
    let events = change(None, json!({"events": ["agent.offline"]})).await;
    let events = done(events, 200).await;
    assert_eq!(events["channel"]["events"], json!(["agent.offline"]));
    let all = done(change(None, json!({"events": []})).await, 200).await;
    assert_eq!(all["channel"]["events"], Value::Null);
    let renewed = done(change(None, json!({"new_secret": true})).await, 200).await;
    assert!(renewed["secret"].as_str().unwrap().starts_with("whsec_"));
    let moved = json!({"webhook": {"url": "https://other.example.com/x"}});
    let moved = done(change(None, moved).await, 200).await;
    assert_eq!(moved["channel"]["target"], "other.example.com");
    assert_eq!(moved["secret"], Value::Null, "the present one stays");
    let other = change(None, json!({"slack": {"url": "https://a.example.com"}})).await;
    assert_eq!(refusal(other, 422).await, "bad-target");
    let unknown = change(None, json!({"events": ["sync.nothing"]})).await;
    assert_eq!(refusal(unknown, 422).await, "bad-request");
    let path = "/pager";
    assert_eq!(
        send(&desk, Method::DELETE, path, &json!({})).await.status(),
        204
    );
    let gone = send(&desk, Method::DELETE, path, &json!({})).await;
    assert_eq!(refusal(gone, 404).await, "not-found");
}

#[tokio::test]
async fn a_mail_servers_password_stays_with_its_server() {
    let desk = Desk::start().await;
    let mut mail = email(Some(PASSWORD));
    mail["name"] = "mail".into();
    done(send(&desk, Method::POST, "", &mail).await, 201).await;
    let patch = |body: Value| {
        let desk = &desk;
        async move { send(desk, Method::PATCH, "/mail", &body).await }
    };
    let mut others = email(None);
    others["email"]["to"] = json!(["ada@example.com"]);
    let changed = done(patch(others).await, 200).await;
    assert_eq!(changed["channel"]["target"], "ada@example.com");
    for (key, value) in [
        ("host", json!("mail.attacker.example")),
        ("port", json!(2525)),
        ("security", json!("starttls")),
        ("user", json!("another")),
    ] {
        let mut moved = email(None);
        moved["email"][key] = value;
        let refused = patch(moved).await;
        assert_eq!(refusal(refused, 422).await, "bad-target", "{key}");
    }
}

#[tokio::test]
async fn channels_lead_to_public_places_unless_whoever_hosts_the_relay_says_so() {
    let desk = Desk::start().await;
    let private = |allow: bool| json!({"name": "in", "webhook": {"url": "http://10.0.0.7/x"}, "allow_private": allow});
    let refused = send(&desk, Method::POST, "", &private(false)).await;
    assert_eq!(refusal(refused, 422).await, "bad-target");
    let made = json!({"name": "acme-admin", "workspace": "acme"});
    let url = format!("{}/api/v1/tokens", desk.base);
    let request = Client::new().post(url).bearer_auth(&desk.token).json(&made);
    let made: Value = request.send().await.unwrap().json().await.unwrap();
    let url = format!("{}/api/v1/channels", desk.base);
    let request = Client::new().post(url);
    let request = request.bearer_auth(made["token"].as_str().unwrap());
    let refused = request.json(&private(true)).send().await.unwrap();
    assert_eq!(refusal(refused, 403).await, "workspace");
    done(send(&desk, Method::POST, "", &private(true)).await, 201).await;
    let closed = json!({"allow_private": false});
    let refused = send(&desk, Method::PATCH, "/in", &closed).await;
    assert_eq!(refusal(refused, 422).await, "bad-target");

    for (body, code) in [
        (json!({"name": "x"}), "bad-target"),
        (
            json!({"name": "a b", "slack": {"url": "https://a.example.com"}}),
            "bad-name",
        ),
        (
            json!({"name": "x", "slack": {"url": "https://a.example.com"}, "webhook":
            {"url": "https://a.example.com"}}),
            "bad-target",
        ),
        (
            json!({"name": "x", "webhook": {"url": "https://a.example.com", "secret": "short"}}),
            "bad-target",
        ),
    ] {
        let refused = send(&desk, Method::POST, "", &body).await;
        assert_eq!(refusal(refused, 422).await, code, "{body}");
    }
}

#[tokio::test]
async fn a_test_says_whether_it_arrived() {
    let (desk, receiver) = (Desk::start().await, Receiver::start().await);
    let url = format!("{}/{PATH}", receiver.url);
    let new = json!({"name": "ops", "slack": {"url": url}, "allow_private": true});
    done(send(&desk, Method::POST, "", &new).await, 201).await;
    let test = async || {
        let sent = send(&desk, Method::POST, "/ops/test", &json!({})).await;
        done(sent, 200).await
    };
    assert_eq!(test().await, json!({"delivered": true, "error": null}));
    assert_eq!(receiver.posted()[0].path, format!("/{PATH}"));
    receiver.answer(&[404]);
    let told = "127.0.0.1 answers HTTP 404: is the URL still the right one?";
    assert_eq!(test().await, json!({"delivered": false, "error": told}));
    receiver.answer(&[302]);
    assert_eq!(
        test().await["delivered"],
        false,
        "redirects are not followed"
    );
    drop(receiver);
    let told = test().await["error"].as_str().unwrap().to_owned();
    assert!(
        told.starts_with("127.0.0.1 can't be reached") && !told.contains(PATH),
        "{told}"
    );
    let path = "/api/v1/channels/ops/deliveries";
    let listed = ask(&desk, Method::GET, path, Some(&desk.token)).await;
    assert_eq!(
        done(listed, 200).await,
        json!([]),
        "tests are no deliveries"
    );
}

#[tokio::test]
async fn only_a_message_that_was_given_up_is_sent_again() {
    let desk = Desk::start().await;
    done(send(&desk, Method::POST, "", &webhook("pager")).await, 201).await;
    let conn = rusqlite::Connection::open(desk.dir.path().join("tidegate.db")).unwrap();
    let add = |state: &str| {
        let sql =
            "insert into deliveries (message, channel, body, state, next_at, created_at, ended_at)
                   values ('msg_1', 1, '{}', ?1, 1, 1, 1)";
        conn.execute(sql, [state]).unwrap();
        conn.last_insert_rowid()
    };
    let (given_up, delivered) = (add("given-up"), add("delivered"));
    let resend = async |id: i64| {
        let path = format!("/pager/deliveries/{id}/resend");
        send(&desk, Method::POST, &path, &json!({})).await
    };
    assert_eq!(refusal(resend(delivered).await, 409).await, "not-given-up");
    assert_eq!(refusal(resend(99).await, 404).await, "not-found");
    let off = json!({"enabled": false});
    done(send(&desk, Method::PATCH, "/pager", &off).await, 200).await;
    assert_eq!(refusal(resend(given_up).await, 409).await, "channel-off");
    let on = json!({"enabled": true});
    done(send(&desk, Method::PATCH, "/pager", &on).await, 200).await;
    let again = done(resend(given_up).await, 200).await;
    assert_eq!(again["state"], "pending");
    assert!(again["next_at"].is_string() && again["ended_at"].is_null());
    assert_eq!(refusal(resend(given_up).await, 409).await, "not-given-up");
}
