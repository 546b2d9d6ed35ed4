//! People and programs: who comes in, what each role may do, and what other sites' pages may not.

use std::sync::Mutex;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::refusal;
use crate::support::desk::Desk;

const PASSWORD: &str = "correct horse battery";

/// A browser: keeps the session's cookie, and sends what our page sends.
struct Browser {
    client: Client,
    base: String,
    cookie: Mutex<Option<String>>,
}

impl Browser {
    fn new(desk: &Desk) -> Browser {
        Browser {
            client: Client::new(),
            base: format!("{}/api/v1", desk.base),
            cookie: Mutex::default(),
        }
    }

    fn ask_plainly(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &*self.cookie.lock().unwrap() {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.ask_plainly(method, path).header("x-tidegate", "1")
    }

    async fn status(&self, method: Method, path: &str) -> StatusCode {
        self.ask(method, path).send().await.unwrap().status()
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Response {
        let answer = self.ask(method, path).json(&body).send().await.unwrap();
        if let Some(cookie) = answer.headers().get("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            *self.cookie.lock().unwrap() = Some(pair.to_owned());
        }
        answer
    }

    async fn sign_in(&self, name: &str, password: &str) -> Response {
        let body = json!({"name": name, "password": password});
        self.send(Method::POST, "/session", body).await
    }
}

/// A desk whose first administrator, `ada`, is signed in.
async fn set_up() -> (Desk, Browser) {
    let desk = Desk::start().await;
    let browser = Browser::new(&desk);
    let secret = desk.setup.split_once('#').unwrap().1.to_owned();
    let body = json!({"secret": secret, "name": "Ada", "password": PASSWORD});
    let made = browser.send(Method::POST, "/setup", body).await;
    assert_eq!(made.status(), 201);
    (desk, browser)
}

#[tokio::test]
async fn the_setup_link_makes_one_administrator_and_signs_in() {
    let desk = Desk::start().await;
    let browser = Browser::new(&desk);
    let entrance = async || -> Value {
        let answer = browser.ask(Method::GET, "/entrance").send().await.unwrap();
        answer.json().await.unwrap()
    };
    assert_eq!(entrance().await["needs_setup"], true);
    let secret = desk.setup.split_once('#').unwrap().1;
    let first = |secret: &str, password: &str| {
        let body = json!({"secret": secret, "name": " Ada ", "password": password});
        browser.send(Method::POST, "/setup", body)
    };
    let wrong = first("tg_setup_wrong", PASSWORD).await;
    assert_eq!(refusal(wrong, 403).await, "wrong-link");
    let weak = first(secret, "short").await;
    assert_eq!(refusal(weak, 422).await, "weak-password");
    let made = first(secret, PASSWORD).await;
    let cookie = made.headers()["set-cookie"].to_str().unwrap().to_owned();
    for part in [
        "tidegate_session=tg_ses_",
        "HttpOnly",
        "SameSite=Lax",
        "Path=/",
    ] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    let me: Value = made.json().await.unwrap();
    assert_eq!((&me["name"], &me["role"]), (&json!("ada"), &json!("admin")));
    let again = first(secret, PASSWORD).await;
    assert_eq!(refusal(again, 409).await, "set-up");
    assert_eq!(entrance().await["needs_setup"], false);
    assert_eq!(browser.status(Method::GET, "/users").await, 200);
}

#[tokio::test]
async fn a_session_lasts_until_it_is_ended_or_the_password_changes() {
    let (desk, browser) = set_up().await;
    assert_eq!(browser.status(Method::DELETE, "/session").await, 204);
    assert_eq!(browser.status(Method::GET, "/session").await, 401);
    let wrong = browser.sign_in("ada", "not the password").await;
    assert_eq!(refusal(wrong, 401).await, "wrong-sign-in");
    let nobody = browser.sign_in("grace", PASSWORD).await;
    assert_eq!(refusal(nobody, 401).await, "wrong-sign-in");
    assert_eq!(browser.sign_in("ADA", PASSWORD).await.status(), 200);

    let elsewhere = Browser::new(&desk);
    assert_eq!(elsewhere.sign_in("ada", PASSWORD).await.status(), 200);
    let new = "a longer sentence than before";
    let change = |old: &str| {
        let body = json!({"old": old, "new": new});
        browser.send(Method::POST, "/session/password", body)
    };
    assert_eq!(refusal(change("wrong").await, 403).await, "wrong-password");
    assert_eq!(change(PASSWORD).await.status(), 200);
    assert_eq!(browser.status(Method::GET, "/session").await, 200);
    assert_eq!(elsewhere.status(Method::GET, "/session").await, 401);
    assert_eq!(elsewhere.sign_in("ada", PASSWORD).await.status(), 401);
    assert_eq!(elsewhere.sign_in("ada", new).await.status(), 200);
}

#[tokio::test]
async fn each_role_may_do_what_is_listed_for_it_and_no_more() {
    let (desk, ada) = set_up().await;
    for role in ["viewer", "editor"] {
        let body = json!({"name": role, "role": role, "password": PASSWORD});
        assert_eq!(ada.send(Method::POST, "/users", body).await.status(), 201);
    }
    let may = async |browser: &Browser| {
        let mut allowed = Vec::new();
        for (method, path) in [
            (Method::GET, "/syncs"),
            (Method::POST, "/syncs/blog/pause"),
            (Method::POST, "/agents/office/revoke"),
            (Method::GET, "/tokens"),
        ] {
            let answer = browser.ask(method, path).send().await.unwrap();
            if answer.status() == 403 {
                assert_eq!(refusal(answer, 403).await, "role");
            } else {
                allowed.push(path);
            }
        }
        allowed
    };
    let viewer = Browser::new(&desk);
    viewer.sign_in("viewer", PASSWORD).await;
    assert_eq!(may(&viewer).await, ["/syncs"]);
    assert!(desk.orders().is_empty(), "nothing was done");
    let editor = Browser::new(&desk);
    editor.sign_in("editor", PASSWORD).await;
    assert_eq!(may(&editor).await, ["/syncs", "/syncs/blog/pause"]);
    assert_eq!(may(&ada).await.len(), 4);

    // A new role holds at once, and a removed person is out at once.
    let promoted = json!({"role": "editor"});
    let changed = ada.send(Method::PATCH, "/users/viewer", promoted).await;
    assert_eq!(changed.status(), 200);
    assert_eq!(may(&viewer).await.len(), 2);
    assert_eq!(ada.status(Method::DELETE, "/users/viewer").await, 204);
    assert_eq!(viewer.status(Method::GET, "/syncs").await, 401);
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let (_desk, ada) = set_up().await;
    let removed = ada.ask(Method::DELETE, "/users/ada").send().await.unwrap();
    refusal(removed, 409).await;
    let body = json!({"role": "viewer"});
    let demoted = ada.send(Method::PATCH, "/users/ada", body).await;
    refusal(demoted, 409).await;
    let body = json!({"name": "grace", "role": "admin", "password": PASSWORD});
    assert_eq!(ada.send(Method::POST, "/users", body).await.status(), 201);
    assert_eq!(ada.status(Method::DELETE, "/users/ada").await, 204);
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing_with_a_session() {
    let (desk, ada) = set_up().await;
    let plain = ada.ask_plainly(Method::POST, "/syncs/blog/pause").send();
    assert_eq!(refusal(plain.await.unwrap(), 403).await, "cross-site");
    let foreign = ada
        .ask(Method::POST, "/syncs/blog/pause")
        .header("sec-fetch-site", "cross-site");
    let foreign = foreign.send().await.unwrap();
    assert_eq!(refusal(foreign, 403).await, "cross-site");
    assert!(desk.orders().is_empty(), "nothing was done");
    let ours = ada
        .ask(Method::POST, "/syncs/blog/pause")
        .header("sec-fetch-site", "same-origin");
    assert_eq!(ours.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn whoever_guesses_passwords_is_slowed_down() {
    let (_desk, browser) = set_up().await;
    // Each takes a while, on a busy machine so long that one more is let in meanwhile.
    let mut guesses = 0;
    while browser.sign_in("grace", "a guess").await.status() != 429 {
        guesses += 1;
        assert!(guesses < 30, "nobody is slowed down");
    }
    assert!(guesses >= 10, "{guesses}");
    let right = browser.sign_in("ada", PASSWORD).await;
    assert_eq!(right.status(), 200, "others still come in");
}

#[tokio::test]
async fn a_token_has_a_role_and_an_end() {
    let (_desk, ada) = set_up().await;
    let body = json!({"name": "dashboard", "role": "viewer", "expires_s": 3600});
    let made: Value = ada
        .send(Method::POST, "/tokens", body)
        .await
        .json()
        .await
        .unwrap();
    let token = made["token"].as_str().unwrap();
    let ask = |method: Method, path: &str| {
        let request = Client::new().request(method, format!("{}{path}", ada.base));
        request.bearer_auth(token).send()
    };
    assert_eq!(ask(Method::GET, "/syncs").await.unwrap().status(), 200);
    let refused = ask(Method::POST, "/syncs/blog/pause").await.unwrap();
    assert_eq!(refusal(refused, 403).await, "role");
    let tokens: Value = ada
        .ask(Method::GET, "/tokens")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let listed = tokens.as_array().unwrap();
    let dashboard = listed.iter().find(|t| t["name"] == "dashboard").unwrap();
    assert_eq!(dashboard["role"], "viewer");
    assert!(dashboard["expires_at"].is_string());
}
