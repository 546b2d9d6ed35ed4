//! Calls an app: bounded in time, size and number, from the egress address, to one host only.
//!
//! Ambient proxy variables are not used: what leaves, leaves from the address that the operator
//! named. Redirects are followed on the same origin only. A call that was refused for its number
//! (429) was not carried out and is tried again; any other failure is the caller's to judge.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Method, Response, Url};
use serde_json::Value as Json;

use super::account;
use super::clock::Clock;
use super::limiter::Limiter;
use super::manifest::{CallKind, ErrorRule, Manifest, Meaning};
use super::path;
use super::publish::Unpublished;
use super::shape::NO_FIELD;
use super::template::Prepared;
use crate::endpoint::address::PublicOnly;
use crate::endpoint::{Account, Class, EndpointError};

/// The code of what this token may not read.
pub(super) const NOT_READABLE: &str = "not-readable";

/// One connection's way to its app. Shared by all syncs that use it, and so are its bounds.
pub(super) struct Client {
    pub manifest: Arc<Manifest>,
    pub clock: Clock,
    pub limiter: Limiter,
    pub unpublished: Unpublished,
    http: reqwest::Client,
    base: Url,
    proof: (HeaderName, HeaderValue),
    /// When the last write was given up without an answer.
    abandoned: Mutex<Option<Instant>>,
}

/// What an app answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Json,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Client {
    pub(super) fn new(
        manifest: Arc<Manifest>,
        account: &Account,
        egress: Option<IpAddr>,
    ) -> Result<Client, EndpointError> {
        let base = account::base(account, &manifest)?;
        let proof = account::proof(account, &manifest.auth)?;
        let timeout = manifest
            .http
            .timeout_s
            .map_or(limits::ANSWER, Duration::from_secs);
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .redirect(same_origin(base.clone()))
            .connect_timeout(limits::CONNECT)
            .timeout(timeout)
            .local_address(egress);
        if !account.allow_private {
            builder = builder.dns_resolver(Arc::new(PublicOnly));
        }
        let http = builder.build().map_err(|error| {
            EndpointError::bug("http-client", "the HTTP client can't be made").caused_by(error)
        })?;
        Ok(Client {
            clock: Clock::default(),
            limiter: Limiter::new(manifest.limits.clone()),
            unpublished: Unpublished::default(),
            http,
            base,
            proof,
            abandoned: Mutex::default(),
            manifest,
        })
    }

    /// The host, for people.
    pub(super) fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        match self.base.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Calls, and again while the app says that there were too many calls. An answer that is no
    /// success is the caller's, unless it concerns the connection as a whole.
    pub(super) async fn call(
        &self,
        kind: CallKind,
        container: Option<&str>,
        request: &Prepared,
    ) -> Result<Answer, EndpointError> {
        let mut refusals = 0;
        loop {
            let answer = self.call_once(kind, container, request).await?;
            if answer.is_success() {
                return Ok(answer);
            }
            match self.meaning(answer.status, &answer.body) {
                Meaning::Limited if refusals < limits::REFUSALS => {
                    refusals += 1;
                    self.limiter.silence(self.pause(&answer, refusals));
                }
                Meaning::Limited => {
                    let text = format!("{} refuses calls for their number", self.title());
                    return Err(retry_after(
                        "rate-limited",
                        text,
                        self.pause(&answer, refusals),
                    ));
                }
                Meaning::Exhausted => {
                    let text = format!("{}'s calls of this period are used up", self.title());
                    let pause = self.asked_pause(&answer).unwrap_or(limits::PAUSE_MAX);
                    return Err(retry_after("calls-exhausted", text, pause));
                }
                Meaning::Unavailable => {
                    let status = answer.status;
                    let text = format!("{} is not available (HTTP {status})", self.title());
                    return Err(retry_after("unavailable", text, self.pause(&answer, 1)));
                }
                Meaning::Login => {
                    let text = format!(
                        "{} does not accept the token: add the connection with a new one",
                        self.title()
                    );
                    return Err(EndpointError::operator("login-refused", text));
                }
                _ => return Ok(answer),
            }
        }
    }

    /// Like [`Client::call`]; what is no success is an error.
    pub(super) async fn ask(
        &self,
        kind: CallKind,
        container: Option<&str>,
        request: &Prepared,
    ) -> Result<Answer, EndpointError> {
        let answer = self.call(kind, container, request).await?;
        match answer.is_success() {
            true => Ok(answer),
            false => Err(self.unreadable(request, &answer)),
        }
    }

    /// Why something can't be read or asked, and what to do.
    pub(super) fn unreadable(&self, request: &Prepared, answer: &Answer) -> EndpointError {
        let (title, status) = (self.title(), answer.status);
        let path = request.path.split('?').next().unwrap_or_default();
        match self.meaning(status, &answer.body) {
            Meaning::Forbidden => {
                let text = format!("{title} does not let this token use {path} (HTTP {status})");
                EndpointError::operator(NOT_READABLE, text)
            }
            Meaning::NoField => {
                let text = format!(
                    "{title} has not all mapped fields at {path} any more (HTTP {status}): put \
                     the names that they have now into the sync file"
                );
                EndpointError::operator(NO_FIELD, text)
            }
            Meaning::Missing => {
                let text = format!("{title} has no {path} (HTTP {status}): check the table's name");
                EndpointError::operator("no-table", text)
            }
            _ if status >= 500 => {
                let text = format!("{title} failed at {path} (HTTP {status})");
                retry_after("app-failed", text, limits::PAUSE)
            }
            _ => {
                let text = format!("{title} refuses {path} (HTTP {status})");
                EndpointError::operator("request-refused", text)
            }
        }
    }

    /// What an answer that is no success means, by the manifest's rules and then by its status.
    pub(super) fn meaning(&self, status: u16, body: &Json) -> Meaning {
        if let Some(rule) = self.rule(status, body) {
            return rule.means;
        }
        match status {
            401 => Meaning::Login,
            403 => Meaning::Forbidden,
            404 | 410 => Meaning::Missing,
            409 => Meaning::Exists,
            412 => Meaning::Stale,
            429 => Meaning::Limited,
            502..=504 | 529 => Meaning::Unavailable,
            _ => Meaning::Refused,
        }
    }

    /// The manifest's first rule that fits.
    fn rule(&self, status: u16, body: &Json) -> Option<&ErrorRule> {
        let fits = |rule: &&ErrorRule| {
            rule.status == status
                && rule.at.as_ref().is_none_or(|at| {
                    let found = path::text(body, at);
                    found.is_some() && rule.is.as_ref().is_none_or(|is| found.as_ref() == Some(is))
                })
        };
        self.manifest.errors.iter().find(fits)
    }

    /// Until no write that was given up can be carried out any more, and shows everywhere.
    pub(super) async fn calls_are_over(&self, started: Option<Instant>) {
        let outlives = self.manifest.http.outlives_s;
        let outlives = outlives.map_or(limits::OUTLIVES, Duration::from_secs);
        let lag = Duration::from_millis(self.manifest.changes.lag_ms);
        let abandoned = *self
            .abandoned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = abandoned.max(started) {
            tokio::time::sleep_until((last + outlives + lag).into()).await;
        }
    }

    fn title(&self) -> &str {
        &self.manifest.title
    }

    /// How long to be silent.
    fn pause(&self, answer: &Answer, refusals: u32) -> Duration {
        let asked = self.asked_pause(answer);
        let pause = asked.unwrap_or(limits::PAUSE * refusals.max(1));
        pause.min(limits::PAUSE_MAX)
    }

    /// How long the app, or its manifest, wants silence.
    fn asked_pause(&self, answer: &Answer) -> Option<Duration> {
        let asked = answer.header(RETRY_AFTER.as_str());
        let asked = asked.and_then(|text| text.trim().parse().ok());
        let by_rule = || self.rule(answer.status, &answer.body)?.wait_s;
        asked.or_else(by_rule).map(Duration::from_secs)
    }

    async fn call_once(
        &self,
        kind: CallKind,
        container: Option<&str>,
        request: &Prepared,
    ) -> Result<Answer, EndpointError> {
        let permit = self.limiter.permit(kind, container).await;
        let flying = (kind == CallKind::Write).then(|| Flying { client: self });
        let sent = Instant::now();
        let response = self
            .send(request)
            .await
            .map_err(|error| self.failed(error))?;
        let received = Instant::now();
        let date = response
            .headers()
            .get(DATE)
            .and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(http_date) {
            self.clock.observe(date, sent, received);
        }
        let answer = self.read(response).await?;
        self.limiter.heed(&permit, |name| {
            let text = answer.header(name)?;
            text.trim().parse().ok()
        });
        if let Some(flying) = flying {
            flying.land();
        }
        drop(permit);
        Ok(answer)
    }

    async fn send(&self, request: &Prepared) -> Result<Response, reqwest::Error> {
        let mut url = self.base.clone();
        let (path, query) = match request.path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (request.path.as_str(), None),
        };
        let full = format!("{}{path}", url.path().trim_end_matches('/'));
        url.set_path(&full);
        url.set_query(query);
        let (name, value) = &self.proof;
        let mut call = self.http.request(request.method.clone(), url);
        call = call.header(name, value);
        for (name, value) in self.manifest.http.headers.iter() {
            call = call.header(name, value);
        }
        for (name, value) in &request.headers {
            call = call.header(name, value);
        }
        if let Some(body) = &request.body {
            call = call
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        call.send().await
    }

    async fn read(&self, mut response: Response) -> Result<Answer, EndpointError> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            if bytes.len() + chunk.len() > limits::BODY_BYTES {
                let text = format!("{} answers with more than {} MiB", self.title(), BODY_MIB);
                return Err(EndpointError::bug("answer-too-long", text));
            }
            bytes.extend_from_slice(&chunk);
        }
        let body = match serde_json::from_slice(&bytes) {
            Ok(body) => body,
            // Errors of what stands before the app are often no JSON.
            Err(_) if bytes.is_empty() || !(200..300).contains(&status) => Json::Null,
            Err(error) => {
                let text = format!("{} answers with something that is no JSON", self.title());
                return Err(EndpointError::bug("answer-unreadable", text).caused_by(error));
            }
        };
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    fn failed(&self, error: reqwest::Error) -> EndpointError {
        // The URL may hold record ids and values of a search.
        let error = error.without_url();
        let (title, host) = (self.title(), self.host());
        if error.is_timeout() && !error.is_connect() {
            let text = format!("{title} did not answer in time");
            return EndpointError::retry("no-answer", text).caused_by(error);
        }
        let text = format!("{title} can't be reached at {host}");
        EndpointError::retry("connection-refused", text).caused_by(error)
    }

    /// The request for a next page's address, which must be below our base URL.
    pub(super) fn next_page(&self, address: &str) -> Result<Prepared, EndpointError> {
        let elsewhere = || {
            let text = format!("{} names a next page that is not its own", self.title());
            EndpointError::bug("paging-elsewhere", text)
        };
        let url = self.base.join(address).map_err(|_| elsewhere())?;
        let below = self.base.path().trim_end_matches('/');
        // What stands before the app may have another name or scheme: only the path is taken.
        let path = url.path().strip_prefix(below).ok_or_else(elsewhere)?;
        let query = url
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        Ok(Prepared {
            method: Method::GET,
            path: format!("{path}{query}"),
            headers: Vec::new(),
            body: None,
        })
    }
}

/// A write under way. Dropped without an answer, it may still be carried out.
struct Flying<'a> {
    client: &'a Client,
}

impl Flying<'_> {
    /// It was answered.
    fn land(self) {
        std::mem::forget(self);
    }
}

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        let mut abandoned = self
            .client
            .abandoned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *abandoned = Some(Instant::now());
    }
}

fn retry_after(code: &'static str, text: String, pause: Duration) -> EndpointError {
    EndpointError {
        class: Class::Retry(pause),
        ..EndpointError::retry(code, text)
    }
}

fn same_origin(base: Url) -> Policy {
    Policy::custom(move |attempt| {
        let is_same = attempt.url().origin() == base.origin();
        match is_same && attempt.previous().len() <= limits::REDIRECTS {
            true => attempt.follow(),
            false => attempt.stop(),
        }
    })
}

/// Seconds since 1970 of an HTTP date (RFC 9110, 5.6.7).
fn http_date(text: &str) -> Option<u64> {
    let parsed = jiff::fmt::rfc2822::parse(text).ok()?;
    u64::try_from(parsed.timestamp().as_second()).ok()
}

const BODY_MIB: usize = 64;

mod limits {
    use super::Duration;

    pub(super) const CONNECT: Duration = Duration::from_secs(10);
    pub(super) const ANSWER: Duration = Duration::from_secs(30);
    pub(super) const OUTLIVES: Duration = Duration::from_secs(60);
    /// Bytes of one answer: a page of records is far smaller.
    pub(super) const BODY_BYTES: usize = super::BODY_MIB << 20;
    pub(super) const REDIRECTS: usize = 3;
    /// Refusals in a row before the run is told.
    pub(super) const REFUSALS: u32 = 5;
    /// Silence where the app names none.
    pub(super) const PAUSE: Duration = Duration::from_secs(2);
    /// An app that wants to be left alone for longer is told to a person.
    pub(super) const PAUSE_MAX: Duration = Duration::from_secs(120);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_date_is_read() {
        assert_eq!(
            http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        assert_eq!(http_date("yesterday"), None);
    }
}
