//! Signing in with a provider of identities: who comes in, and what is not believed.

use std::collections::HashMap;
use std::sync::Mutex;

use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde_json::{Value, json};
use tidegate_relay::api::access::Access;
use tidegate_relay::api::access::oidc::Provider as Configured;
use tidegate_relay::config::{Admit, Oidc};
use tidegate_relay::store::roles::Role;

use super::refusal;
use crate::support::desk::Desk;
use crate::support::provider::{Provider, SECRET, Script, pairs};

fn domain(role: Role) -> Admit {
    Admit {
        email: None,
        domain: Some("example.com".into()),
        group: None,
        role,
        workspace: "default".into(),
    }
}

fn group(name: &str, role: Role) -> Admit {
    Admit {
        domain: None,
        group: Some(name.into()),
        ..domain(role)
    }
}

/// A relay that knows a provider. Its first administrator, `ada`, has a password.
struct World {
    desk: Desk,
    provider: Provider,
}

impl World {
    async fn new(admit: Vec<Admit>) -> World {
        let provider = Provider::start().await;
        let issuer = provider.issuer.clone();
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), format!("{SECRET}\n")).unwrap();
        let config = Oidc {
            name: "Example".into(),
            issuer,
            client_id: "tidegate".into(),
            client_secret_file: Some(secret.path().to_owned()),
            scopes: vec!["openid".into(), "email".into()],
            groups_claim: "groups".into(),
            admit,
        };
        let access = |base: &str| Access::new(Some(Configured::new(config, base, None).unwrap()));
        let desk = Desk::start_with(access).await;
        World { desk, provider }
    }

    async fn with_ada(admit: Vec<Admit>) -> (World, Browser) {
        let world = World::new(admit).await;
        let ada = world.browser();
        let secret = world.desk.setup.split_once('#').unwrap().1.to_owned();
        let body = json!({"secret": secret, "name": "ada", "password": "correct horse battery"});
        assert_eq!(ada.post("setup", &body).await.status(), 201);
        (world, ada)
    }

    fn browser(&self) -> Browser {
        let client = Client::builder().redirect(Policy::none());
        Browser {
            client: client.build().unwrap(),
            cookies: Mutex::default(),
            base: format!("{}/api/v1", self.desk.base),
        }
    }

    /// The whole way of one browser; where it ends.
    async fn sign_in(&self, browser: &Browser) -> String {
        let (_, back) = self.to_provider_and_back(browser, "session/oidc").await;
        browser.follow(&back).await
    }

    /// Where the relay sent the browser, and the address by which the provider sends it back.
    async fn to_provider_and_back(&self, browser: &Browser, begin: &str) -> (Url, Url) {
        let answer = browser.post(begin, &json!({"to": "/syncs"})).await;
        assert_eq!(answer.status(), 200);
        let door: Value = answer.json().await.unwrap();
        let location = Url::parse(door["location"].as_str().unwrap()).unwrap();
        let asked = pairs(location.query().unwrap());
        let code = self.provider.sign_in_at(&asked);
        let mut back = Url::parse(&asked["redirect_uri"]).unwrap();
        back.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", &asked["state"])
            .append_pair("iss", &self.provider.issuer);
        (location, back)
    }

    /// Where a sign-in ends about which the provider says this.
    async fn told(&self, change: impl FnOnce(&mut Script)) -> String {
        self.provider.set(|script| {
            script.claims = json!({});
            script.header = json!({});
            change(script);
        });
        self.sign_in(&self.browser()).await
    }
}

/// Keeps cookies, and sends what our page sends.
struct Browser {
    client: Client,
    cookies: Mutex<HashMap<String, String>>,
    base: String,
}

impl Browser {
    async fn send(&self, request: RequestBuilder) -> Response {
        let pair = |(name, value): (&String, &String)| format!("{name}={value}");
        let jar: Vec<String> = self.cookies.lock().unwrap().iter().map(pair).collect();
        let request = request
            .header("x-tidegate", "1")
            .header("cookie", jar.join("; "));
        let answer = request.send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let mut cookies = self.cookies.lock().unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    async fn post(&self, path: &str, body: &Value) -> Response {
        let request = self.client.post(format!("{}/{path}", self.base));
        self.send(request.json(body)).await
    }

    async fn delete(&self, path: &str) -> Response {
        let url = format!("{}/{path}", self.base);
        self.send(self.client.delete(url)).await
    }

    async fn get(&self, path: &str) -> Response {
        let url = format!("{}/{path}", self.base);
        self.send(self.client.get(url)).await
    }

    /// Where the relay leads on to.
    async fn follow(&self, url: &Url) -> String {
        let answer = self.send(self.client.get(url.clone())).await;
        assert_eq!(answer.status(), 303);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        answer.headers()["location"].to_str().unwrap().to_owned()
    }

    async fn me(&self) -> Value {
        let answer = self.get("session").await;
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }
}

#[tokio::test]
async fn whom_a_rule_admits_comes_in_where_they_wanted_to_be() {
    let (world, ada) = World::with_ada(vec![domain(Role::Editor)]).await;
    let ann = world.browser();
    let entrance: Value = ann.get("entrance").await.json().await.unwrap();
    assert_eq!(entrance["provider"], "Example");
    let (location, back) = world.to_provider_and_back(&ann, "session/oidc").await;
    let asked = pairs(location.query().unwrap());
    assert_eq!(asked["scope"], "openid email");
    assert_eq!(asked["response_type"], "code");
    assert!(!location.as_str().contains("hunter2"));
    assert_eq!(ann.follow(&back).await, "/syncs");
    let me = ann.me().await;
    assert_eq!(
        (&me["name"], &me["role"]),
        (&json!("ann@example.com"), &json!("editor"))
    );
    let people = ada.get("users").await.text().await.unwrap();
    assert!(people.contains(r#""name":"ann@example.com","role":"editor","has_password":false"#));
    let log = ada.get("audit").await.text().await.unwrap();
    assert!(
        log.contains("user.add") && log.contains("user:ann@example.com"),
        "{log}"
    );
    // The next time the same person comes in, by whatever address.
    let led = world
        .told(|script| script.claims = json!({"email": "ann@other.example"}))
        .await;
    assert_eq!(led, "/sign-in?refused=not-admitted");
    assert_eq!(world.told(|_| {}).await, "/syncs");
    let people: Value = ada.get("users").await.json().await.unwrap();
    assert_eq!(people.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_the_provider_would_not_say_is_not_believed() {
    let (world, _) = World::with_ada(vec![domain(Role::Viewer)]).await;
    let now = jiff::Timestamp::now().as_second();
    let answer = "/sign-in?refused=provider-answer";
    for claims in [
        json!({"nonce": "another"}),
        json!({"nonce": null}),
        json!({"aud": "another"}),
        json!({"aud": ["tidegate", "another"]}),
        json!({"iss": "https://another.example"}),
        json!({"exp": now - 120}),
        json!({"iat": now + 3600}),
        json!({"sub": null}),
    ] {
        let led = world.told(|script| script.claims = claims.clone()).await;
        assert_eq!(led, answer, "{claims}");
    }
    for alg in ["none", "HS256", "RS256"] {
        let led = world
            .told(|script| script.header = json!({"alg": alg}))
            .await;
        assert_eq!(led, answer, "{alg}");
    }
    let unverified = "/sign-in?refused=unverified-email";
    for claims in [
        json!({"email_verified": false}),
        json!({"email_verified": null}),
    ] {
        let led = world.told(|script| script.claims = claims.clone()).await;
        assert_eq!(led, unverified, "{claims}");
    }
    let evil = json!({"email": "ann@example.com.evil.example"});
    let led = world.told(|script| script.claims = evil).await;
    assert_eq!(led, "/sign-in?refused=not-admitted");
    // Within the skew that clocks have.
    let led = world
        .told(|script| script.claims = json!({"exp": now - 5}))
        .await;
    assert_eq!(led, "/syncs");
}

#[tokio::test]
async fn a_new_key_is_looked_for_once_and_an_unknown_one_is_refused() {
    let (world, _) = World::with_ada(vec![domain(Role::Viewer)]).await;
    assert_eq!(world.told(|_| {}).await, "/syncs");
    assert_eq!(world.told(|_| {}).await, "/syncs");
    assert_eq!(world.provider.keys_asked(), 1, "kept");
    let renewed = |script: &mut Script| {
        script.published = "k2".into();
        script.header = json!({"kid": "k2"});
    };
    assert_eq!(world.told(renewed).await, "/syncs");
    assert_eq!(world.provider.keys_asked(), 2);
    let unknown = |script: &mut Script| script.header = json!({"kid": "k3"});
    assert_eq!(
        world.told(unknown).await,
        "/sign-in?refused=provider-answer"
    );
    assert_eq!(world.provider.keys_asked(), 3, "once, not for ever");
}

#[tokio::test]
async fn what_comes_back_is_good_once_and_in_the_browser_in_which_it_began() {
    let (world, _) = World::with_ada(vec![domain(Role::Viewer)]).await;
    let stale = "/sign-in?refused=stale";
    let ann = world.browser();
    let (_, back) = world.to_provider_and_back(&ann, "session/oidc").await;
    // Somebody else's link: their code must not sign this browser in.
    assert_eq!(world.browser().follow(&back).await, stale);
    let changed = |name: &str, value: &str| {
        let mut url = back.clone();
        let kept: Vec<(String, String)> = back.query_pairs().into_owned().collect();
        let pairs = kept.iter().map(|(key, old)| {
            let new = if key == name { value } else { old.as_str() };
            (key.as_str(), new)
        });
        url.query_pairs_mut().clear().extend_pairs(pairs);
        url
    };
    assert_eq!(ann.follow(&changed("state", "another")).await, stale);
    assert_eq!(ann.follow(&back).await, "/syncs");
    assert_eq!(ann.follow(&back).await, stale, "replayed");

    // A code that was redeemed already, under a state that is good.
    let (_, used) = world.to_provider_and_back(&ann, "session/oidc").await;
    let code = pairs(used.query().unwrap())["code"].clone();
    assert_eq!(ann.follow(&used).await, "/syncs");
    let (_, mut back) = world.to_provider_and_back(&ann, "session/oidc").await;
    let state = pairs(back.query().unwrap())["state"].clone();
    let again = [("code", code.as_str()), ("state", state.as_str())];
    back.query_pairs_mut().clear().extend_pairs(again);
    assert_eq!(ann.follow(&back).await, "/sign-in?refused=provider-answer");

    let (_, mut back) = world.to_provider_and_back(&ann, "session/oidc").await;
    let state = pairs(back.query().unwrap())["state"].clone();
    let no = [("error", "access_denied"), ("state", state.as_str())];
    back.query_pairs_mut().clear().extend_pairs(no);
    assert_eq!(ann.follow(&back).await, "/sign-in?refused=cancelled");

    let (_, mut back) = world.to_provider_and_back(&ann, "session/oidc").await;
    back.query_pairs_mut()
        .append_pair("iss", "https://another.example");
    let query: Vec<(String, String)> = back.query_pairs().into_owned().collect();
    let other = query
        .into_iter()
        .filter(|(key, value)| key != "iss" || value == "https://another.example");
    let other: Vec<_> = other.collect();
    back.query_pairs_mut().clear().extend_pairs(other);
    assert_eq!(ann.follow(&back).await, "/sign-in?refused=provider-answer");
}

#[tokio::test]
async fn a_user_with_a_password_is_connected_by_whoever_knows_it_and_not_by_an_address() {
    let (world, ada) = World::with_ada(vec![domain(Role::Viewer)]).await;
    let password = "a sentence that is long";
    let local = json!({"name": "ann@example.com", "role": "editor", "password": password});
    assert_eq!(ada.post("users", &local).await.status(), 201);
    assert_eq!(world.told(|_| {}).await, "/sign-in?refused=name-taken");

    let ann = world.browser();
    let sign_in = json!({"name": "ann@example.com", "password": password});
    assert_eq!(ann.post("session", &sign_in).await.status(), 200);
    let connect = "session/oidc/connect";
    let (_, back) = world.to_provider_and_back(&ann, connect).await;
    // Somebody else sits there by now.
    let (_, stolen) = world.to_provider_and_back(&ann, connect).await;
    assert_eq!(
        ann.follow(&back).await,
        "/sign-in?refused=stale",
        "one at a time"
    );
    assert_eq!(ann.delete("session").await.status(), 204);
    assert_eq!(ann.follow(&stolen).await, "/sign-in?refused=stale");
    assert_eq!(ann.post("session", &sign_in).await.status(), 200);
    let (_, back) = world.to_provider_and_back(&ann, connect).await;
    assert_eq!(ann.follow(&back).await, "/syncs");

    let elsewhere = world.browser();
    assert_eq!(world.sign_in(&elsewhere).await, "/syncs");
    let me = elsewhere.me().await;
    assert_eq!(
        (&me["name"], &me["role"]),
        (&json!("ann@example.com"), &json!("editor"))
    );
    // It is hers by now.
    let (_, back) = world.to_provider_and_back(&ada, connect).await;
    assert_eq!(ada.follow(&back).await, "/?refused=connected-elsewhere");
    let token = Client::new()
        .post(format!("{}/{connect}", ann.base))
        .bearer_auth(&world.desk.token)
        .json(&json!({}));
    assert_eq!(refusal(token.send().await.unwrap(), 403).await, "no-person");
}

#[tokio::test]
async fn an_invited_address_without_a_password_comes_in_with_the_role_it_was_given() {
    let (world, ada) = World::with_ada(Vec::new()).await;
    assert_eq!(world.told(|_| {}).await, "/sign-in?refused=not-admitted");
    let invited = json!({"name": "Ann@example.com", "role": "admin"});
    assert_eq!(ada.post("users", &invited).await.status(), 201);
    let ann = world.browser();
    assert_eq!(world.sign_in(&ann).await, "/syncs");
    assert_eq!(ann.me().await["role"], "admin");
    // Another subject with her address is somebody else.
    let led = world
        .told(|script| script.claims = json!({"sub": "8"}))
        .await;
    assert_eq!(led, "/sign-in?refused=name-taken");
    // Removed, she is out, and an address alone is no way back.
    assert_eq!(ada.delete("users/ann@example.com").await.status(), 204);
    assert_eq!(ann.get("session").await.status(), 401);
    assert_eq!(world.told(|_| {}).await, "/sign-in?refused=not-admitted");
}

#[tokio::test]
async fn groups_decide_the_role_at_each_sign_in() {
    let rules = vec![group("admins", Role::Admin), domain(Role::Viewer)];
    let (world, _ada) = World::with_ada(rules).await;
    let role = async |groups: Value| {
        world.provider.set(|script| {
            script.claims = json!({"email": null, "email_verified": null});
            script.userinfo = json!({"sub": "7", "groups": groups, "email": "ann@example.com",
                                     "email_verified": true});
        });
        let browser = world.browser();
        assert_eq!(world.sign_in(&browser).await, "/syncs");
        browser.me().await["role"].clone()
    };
    assert_eq!(role(json!(["staff"])).await, "viewer");
    assert_eq!(role(json!(["staff", "admins"])).await, "admin");
    assert_eq!(role(json!([])).await, "viewer");
    // What is told beside the token has to be about the same person.
    world
        .provider
        .set(|script| script.userinfo["sub"] = json!("8"));
    let led = world.sign_in(&world.browser()).await;
    assert_eq!(led, "/sign-in?refused=provider-answer");
}

#[tokio::test]
async fn the_first_who_comes_in_has_to_be_an_administrator() {
    let world = World::new(vec![group("admins", Role::Admin), domain(Role::Viewer)]).await;
    assert_eq!(world.told(|_| {}).await, "/sign-in?refused=not-set-up");
    let led = world
        .told(|script| script.claims = json!({"groups": ["admins"]}))
        .await;
    assert_eq!(led, "/syncs");
    // The last administrator stays one.
    let browser = world.browser();
    world.provider.set(|script| script.claims = json!({}));
    assert_eq!(world.sign_in(&browser).await, "/syncs");
    assert_eq!(browser.me().await["role"], "admin");
}

#[tokio::test]
async fn without_a_provider_nobody_is_sent_to_one() {
    let desk = Desk::start().await;
    let ask = |method: Method, path: &str| {
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        client.request(method, format!("{}/api/v1/{path}", desk.base))
    };
    let begun = ask(Method::POST, "session/oidc")
        .json(&json!({}))
        .send()
        .await;
    assert_eq!(refusal(begun.unwrap(), 404).await, "no-provider");
    let back = ask(Method::GET, "session/oidc/callback?code=x&state=y")
        .send()
        .await
        .unwrap();
    assert_eq!(back.status(), 303);
    assert_eq!(back.headers()["location"], "/sign-in?refused=stale");
    let invited = ask(Method::POST, "users")
        .bearer_auth(&desk.token)
        .json(&json!({"name": "ann@example.com", "role": "viewer"}));
    let invited = refusal(invited.send().await.unwrap(), 422).await;
    assert_eq!(invited, "no-provider");
}

#[tokio::test]
async fn a_provider_that_is_away_stops_nobody_with_a_password() {
    let (world, ada) = World::with_ada(vec![domain(Role::Viewer)]).await;
    let World { desk, provider } = world;
    drop(provider);
    let away = ada.post("session/oidc", &json!({})).await;
    assert_eq!(refusal(away, 502).await, "provider");
    let sign_in = json!({"name": "ada", "password": "correct horse battery"});
    assert_eq!(ada.post("session", &sign_in).await.status(), 200);
    drop(desk);
}
