//! Claims of the doubles: what each trap and each fault does, seen by a plain HTTP client. That the
//! contract is the vendor's is shown by the vendor's own client (`packaging/test-apps.sh`).

mod airtable;
mod faults;
mod hubspot;
mod notion;
mod webflow;

use serde_json::Value;
use tidegate_apps::Running;

/// A client of one double.
pub struct Client<'a> {
    pub app: &'a Running,
    http: reqwest::Client,
}

impl Client<'_> {
    pub fn new(app: &Running) -> Client<'_> {
        let http = reqwest::Client::builder().no_proxy().build();
        Client {
            app,
            http: http.expect("a client without TLS roots can be made"),
        }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        body: Value,
    ) -> reqwest::Result<(u16, Value)> {
        let (status, _, body) = self.send_raw(method, path, body).await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// With `Retry-After`.
    pub async fn send_raw(
        &self,
        method: &str,
        path: &str,
        body: Value,
    ) -> reqwest::Result<(u16, Option<String>, Vec<u8>)> {
        let method = method.parse().expect("a method");
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.app.address)
        };
        let mut request = self.http.request(method, url).bearer_auth(&self.app.token);
        // Notion's; others ignore it.
        request = request.header("notion-version", "2025-09-03");
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let wait = answer.headers().get("retry-after");
        let wait = wait.and_then(|wait| Some(wait.to_str().ok()?.to_owned()));
        Ok((status, wait, answer.bytes().await?.to_vec()))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, Value::Null)
            .await
            .expect("an answer")
    }

    pub async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.send(method, path, body).await.expect("an answer")
    }
}
