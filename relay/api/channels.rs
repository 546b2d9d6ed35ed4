//! Channels: where notifications go. Added, changed, tried out, removed; what came of each message.
//! Addresses and keys are taken and never given.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::access::{Caller, now_ms, rfc3339};
use super::page::{Page, Paged};
use super::version::{IfMatch, etag};
use super::{Api, Problem};
use crate::notify::event::Event;
use crate::notify::message::Message;
use crate::notify::new_secret;
use crate::notify::target::{Mailbox, Security, Target};
use crate::store::audit;
use crate::store::channels::{self, ChannelRecord, Content};
use crate::store::deliveries::{self, DeliveryRecord, Standing, State as Became};

/// Deliveries on a page unless asked otherwise.
const PAGE: u32 = 50;
/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 63;

/// A channel, without its address and keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChannelInfo {
    pub name: String,
    /// `webhook`, `slack` or `email`.
    pub kind: String,
    /// The host that is called, or the recipients.
    pub target: String,
    /// What it is told of; absent: everything.
    pub events: Option<Vec<Event>>,
    pub enabled: bool,
    /// Its target may be at a private address, and be spoken to without TLS.
    pub allow_private: bool,
    /// Grows with each change; the same as `ETag`.
    pub version: i64,
    /// RFC 3339: when a message arrived last.
    pub delivered_at: Option<String>,
    /// Why the last message has not arrived, if it has not.
    pub last_error: Option<String>,
    /// How often that was tried in vain.
    pub failed_attempts: u32,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub changed_at: String,
}

/// A webhook that is signed as Standard Webhooks 1.0 says.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = NewWebhook)]
pub struct WebhookTarget {
    /// Sealed: whoever has it may post there.
    #[schema(value_type = String)]
    pub url: Zeroizing<String>,
    /// `whsec_…`, 24 to 64 bytes in base64; the present one, or a new one, unless given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub secret: Option<Zeroizing<String>>,
}

/// An incoming webhook of Slack's, or of what takes the same.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = NewSlackTarget)]
pub struct SlackTarget {
    /// Sealed: whoever has it may post there.
    #[schema(value_type = String)]
    pub url: Zeroizing<String>,
}

/// A mail server, and from whom to whom.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = NewEmailTarget)]
pub struct EmailTarget {
    pub host: String,
    /// 465 for `tls`, 587 for `starttls`, 25 for `none` unless given.
    #[serde(default)]
    pub port: Option<u16>,
    /// `tls` unless given. The server's certificate is verified.
    #[serde(default)]
    pub security: Security,
    #[serde(default)]
    pub user: Option<String>,
    /// Sealed; the present one unless given, if host, port, security and user stay the same.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub password: Option<Zeroizing<String>>,
    pub from: String,
    /// 1 to 20 addresses.
    pub to: Vec<String>,
}

/// A new channel: one of `webhook`, `slack` and `email`.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct NewChannel {
    /// 1 to 63 of a-z, A-Z, 0-9, - and _.
    pub name: String,
    #[serde(default)]
    pub webhook: Option<WebhookTarget>,
    #[serde(default)]
    pub slack: Option<SlackTarget>,
    #[serde(default)]
    pub email: Option<EmailTarget>,
    /// What it is told of; everything unless given.
    #[serde(default)]
    pub events: Option<Vec<Event>>,
    /// Its target may be at a private address, and be spoken to without TLS. For workspaces that may
    /// (`allow_private` of `/egress`).
    #[serde(default)]
    pub allow_private: bool,
}

/// What changes; the rest stays. A channel's kind does not change.
#[derive(Default, Serialize, Deserialize, ToSchema)]
pub struct ChannelChange {
    #[serde(default)]
    pub webhook: Option<WebhookTarget>,
    #[serde(default)]
    pub slack: Option<SlackTarget>,
    #[serde(default)]
    pub email: Option<EmailTarget>,
    /// What it is told of from now on; an empty list: everything.
    #[serde(default)]
    pub events: Option<Vec<Event>>,
    /// Whether it is told of anything.
    #[serde(default)]
    pub enabled: Option<bool>,
    #[serde(default)]
    pub allow_private: Option<bool>,
    /// Makes another secret for a webhook.
    #[serde(default)]
    pub new_secret: bool,
}

/// A channel as it is now.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ChannelMade {
    pub channel: ChannelInfo,
    /// The secret that was made for a webhook. Shown once.
    pub secret: Option<String>,
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChannelTest {
    pub delivered: bool,
    /// Why it did not arrive.
    pub error: Option<String>,
}

/// A message to a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    pub id: i64,
    /// What the receiver is told as its id, the same at each attempt.
    pub message: String,
    /// In a few words.
    pub summary: String,
    /// `pending`, `delivered` or `given-up`.
    pub state: String,
    /// Attempts in vain.
    pub failed_attempts: u32,
    pub last_error: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339: when it is tried again.
    pub next_at: Option<String>,
    /// RFC 3339: when it arrived or was given up.
    pub ended_at: Option<String>,
}

/// The channels of this workspace.
#[utoipa::path(get, path = "/api/v1/channels", operation_id = "list_channels", params(Page),
    responses((status = 200, body = Vec<ChannelInfo>), (status = 401, body = Problem),
        (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_channels(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(page): Query<Page>,
) -> Result<Paged<ChannelInfo>, Problem> {
    let found = api.store.view(move |conn| {
        let list = channels::list(conn, &caller.workspace)?.into_iter();
        let of =
            |record: ChannelRecord| Ok((deliveries::standing(conn, record.id, i64::MAX)?, record));
        list.map(of).collect::<Result<Vec<_>, _>>()
    });
    let found = found.await?.into_iter();
    let list = found.map(|(standing, record)| info(record, standing));
    page.by_name(list.collect(), |channel| &channel.name)
}

/// One channel.
#[utoipa::path(get, path = "/api/v1/channels/{name}", operation_id = "show_channel",
    params(("name" = String, Path)),
    responses((status = 200, body = ChannelInfo), (status = 401, body = Problem),
        (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn show_channel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let found = api.store.view(move |conn| {
        let record = channels::by_name(conn, &caller.workspace, &name)?;
        Ok((deliveries::standing(conn, record.id, i64::MAX)?, record))
    });
    let (standing, record) = found.await?;
    Ok((etag(record.version), Json(info(record, standing))))
}

/// Adds a channel. Nothing is sent: test it.
#[utoipa::path(post, path = "/api/v1/channels", operation_id = "add_channel",
    request_body = NewChannel,
    responses((status = 201, body = ChannelMade), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn add_channel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Json(new): Json<NewChannel>,
) -> Result<impl IntoResponse, Problem> {
    check_name(&new.name)?;
    let (target, secret) = match (new.webhook, new.slack, new.email) {
        (Some(given), None, None) => webhook_of(given, None),
        (None, Some(given), None) => (Target::Slack { url: given.url }, None),
        (None, None, Some(given)) => (email_of(given, None), None),
        _ => return Err(bad_target("give one of `webhook`, `slack` and `email`")),
    };
    let content = content(
        &api,
        &caller,
        &target,
        new.allow_private,
        (new.events, true),
    )?;
    let (sealer, event) = (
        api.store.sealer().clone(),
        caller.did("channel.add", &new.name),
    );
    let added = api
        .store
        .transact(move |tx| {
            let named = (caller.workspace.as_str(), new.name.as_str());
            let added = channels::add(tx, &sealer, named, &content, now_ms())?;
            audit::append(tx, &sealer, &event)?;
            Ok(added)
        })
        .await?;
    let (version, channel) = (etag(added.version), info(added, Standing::default()));
    Ok((
        StatusCode::CREATED,
        version,
        Json(ChannelMade { channel, secret }),
    ))
}

/// Changes a channel. What could not be delivered is tried again at once.
#[utoipa::path(patch, path = "/api/v1/channels/{name}", operation_id = "change_channel",
    params(("name" = String, Path),
        ("if-match" = Option<String>, Header, description = "only if it is this version")),
    request_body = ChannelChange,
    responses((status = 200, body = ChannelMade), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 412, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn change_channel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    version: IfMatch,
    Json(change): Json<ChannelChange>,
) -> Result<impl IntoResponse, Problem> {
    let version = version.number()?;
    let (sealer, workspace) = (api.store.sealer().clone(), caller.workspace.clone());
    let wanted = name.clone();
    let found = api.store.view(move |conn| {
        let record = channels::by_name(conn, &workspace, &wanted)?;
        Ok((channels::target(conn, &sealer, record.id)?, record))
    });
    let (document, record) = found.await?;
    let present = Target::from_document(&document)
        .ok_or_else(|| bad_target("the channel is unreadable: remove it and add it anew"))?;
    let allow_private = change.allow_private.unwrap_or(record.allow_private);
    let enabled = change.enabled.unwrap_or(record.enabled);
    let events = match change.events.clone() {
        Some(events) if events.is_empty() => None,
        Some(events) => Some(events),
        None => events_of(&record),
    };
    let (target, secret) = changed(present, change)?;
    let content = content(&api, &caller, &target, allow_private, (events, enabled))?;
    let (sealer, event) = (
        api.store.sealer().clone(),
        caller.did("channel.change", &name),
    );
    // Between looking and replacing it may have been changed: then the caller looks again.
    let (id, version) = (record.id, version.unwrap_or(record.version));
    let replaced = api
        .store
        .transact(move |tx| {
            let replaced = channels::replace(tx, &sealer, (id, Some(version)), &content, now_ms())?;
            audit::append(tx, &sealer, &event)?;
            Ok((deliveries::standing(tx, id, i64::MAX)?, replaced))
        })
        .await?;
    api.courier.wake();
    let (standing, record) = replaced;
    let (version, channel) = (etag(record.version), info(record, standing));
    Ok((version, Json(ChannelMade { channel, secret })))
}

/// Removes a channel, with what was to be delivered to it.
#[utoipa::path(delete, path = "/api/v1/channels/{name}", operation_id = "remove_channel",
    params(("name" = String, Path),
        ("if-match" = Option<String>, Header, description = "only if it is this version")),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 412, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn remove_channel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    version: IfMatch,
) -> Result<StatusCode, Problem> {
    let version = version.number()?;
    let (sealer, event) = (
        api.store.sealer().clone(),
        caller.did("channel.remove", &name),
    );
    api.store
        .transact(move |tx| {
            channels::remove(tx, (&caller.workspace, &name, version))?;
            audit::append(tx, &sealer, &event)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test to a channel now, and says whether it arrived.
#[utoipa::path(post, path = "/api/v1/channels/{name}/test", operation_id = "test_channel",
    params(("name" = String, Path)),
    responses((status = 200, body = ChannelTest), (status = 401, body = Problem),
        (status = 404, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn test_channel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<ChannelTest>, Problem> {
    let record = api
        .store
        .view(move |conn| channels::by_name(conn, &caller.workspace, &name))
        .await?;
    let error = api.courier.test(&record).await.err();
    Ok(Json(ChannelTest {
        delivered: error.is_none(),
        error: error.map(|error| error.text),
    }))
}

/// Messages to a channel, the newest first.
#[utoipa::path(get, path = "/api/v1/channels/{name}/deliveries", operation_id = "list_deliveries",
    params(("name" = String, Path), Page),
    responses((status = 200, body = Vec<Delivery>), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn list_deliveries(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Result<Paged<Delivery>, Problem> {
    let (limit, before) = (page.limit(PAGE)?, page.number()?);
    let found = api.store.view(move |conn| {
        let channel = channels::by_name(conn, &caller.workspace, &name)?.id;
        deliveries::list(conn, channel, before, limit)
    });
    Ok(Paged::up_to(limit, found.await?, |one| one.id).map(delivery))
}

/// Sends a message that was given up again, with its former id, at once and then as often as a new one.
#[utoipa::path(post, path = "/api/v1/channels/{name}/deliveries/{id}/resend",
    operation_id = "resend_delivery",
    params(("name" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = Delivery), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)),
    security(("token" = []), ("session" = [])))]
pub(super) async fn resend_delivery(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((name, id)): Path<(String, i64)>,
) -> Result<Json<Delivery>, Problem> {
    let refused = |code: &str, detail: &str| Problem::new(StatusCode::CONFLICT, code, detail);
    let (sealer, event) = (
        api.store.sealer().clone(),
        caller.did("channel.resend", &name),
    );
    let done = api.store.transact(move |tx| {
        let channel = channels::by_name(tx, &caller.workspace, &name)?;
        if !channel.enabled {
            return Ok(None);
        }
        let resent = deliveries::resend(tx, channel.id, id, now_ms())?;
        if resent.is_some() {
            audit::append(tx, &sealer, &event)?;
        }
        Ok(Some(resent))
    });
    let off = "the channel is off, so nothing is sent to it: turn it on first";
    let resent = done.await?.ok_or_else(|| refused("channel-off", off))?;
    let not = "only a message that was given up is sent again: this one arrived, or is on its way";
    let resent = resent.ok_or_else(|| refused("not-given-up", not))?;
    api.courier.wake();
    Ok(Json(delivery(resent)))
}

/// What is stored of a channel that this caller may have.
fn content(
    api: &Api,
    caller: &Caller,
    target: &Target,
    allow_private: bool,
    (events, enabled): (Option<Vec<Event>>, bool),
) -> Result<Content, Problem> {
    if allow_private && !api.allow_private.holds_for(&caller.workspace) {
        let detail = "this workspace may not have private addresses called: ask who runs the relay \
                      (allow_private of [egress])";
        return Err(Problem::new(StatusCode::FORBIDDEN, "workspace", detail));
    }
    target
        .check(allow_private)
        .map_err(|text| bad_target(&text))?;
    let names = |events: Vec<Event>| serde_json::to_string(&events).unwrap_or_default();
    Ok(Content {
        kind: target.kind().to_owned(),
        target: target.to_document(),
        shown: target.shown(),
        events: events.filter(|events| !events.is_empty()).map(names),
        enabled,
        allow_private,
    })
}

/// The target after a change, and the secret that was made for it.
fn changed(present: Target, change: ChannelChange) -> Result<(Target, Option<String>), Problem> {
    let is_one_at_most = [
        change.webhook.is_some(),
        change.slack.is_some(),
        change.email.is_some(),
    ];
    if is_one_at_most.into_iter().filter(|given| *given).count() > 1 {
        return Err(bad_target(
            "give at most one of `webhook`, `slack` and `email`",
        ));
    }
    let (new, renew) = (
        (change.webhook, change.slack, change.email),
        change.new_secret,
    );
    match (present, new) {
        (Target::Webhook { url, .. }, (None, None, None)) if renew => {
            let given = WebhookTarget { url, secret: None };
            Ok(webhook_of(given, None))
        }
        (Target::Webhook { secret, .. }, (Some(given), None, None)) => {
            Ok(webhook_of(given, (!renew).then_some(secret)))
        }
        (_, _) if renew => Err(bad_target("only a webhook has a secret")),
        (present, (None, None, None)) => Ok((present, None)),
        (Target::Slack { .. }, (None, Some(given), None)) => {
            Ok((Target::Slack { url: given.url }, None))
        }
        (Target::Email(present), (None, None, Some(given))) => {
            Ok((email_of(given, Some(present)), None))
        }
        (present, _) => {
            let text = format!(
                "this channel is of kind `{}`: add another one",
                present.kind()
            );
            Err(bad_target(&text))
        }
    }
}

/// With the secret that is given, else the present one, else a new one, which is told.
fn webhook_of(
    given: WebhookTarget,
    present: Option<Zeroizing<String>>,
) -> (Target, Option<String>) {
    let (secret, told) = match given.secret.or(present) {
        Some(secret) => (secret, None),
        None => {
            let secret = new_secret();
            let told = secret.to_string();
            (secret, Some(told))
        }
    };
    let url = given.url;
    (Target::Webhook { url, secret }, told)
}

/// The present password goes to where it went before, and nowhere else.
fn email_of(given: EmailTarget, present: Option<Mailbox>) -> Target {
    let port = given.port.unwrap_or(match given.security {
        Security::Tls => 465,
        Security::Starttls => 587,
        Security::None => 25,
    });
    let is_same = |present: &Mailbox| {
        let before = (&present.host, present.port, present.security, &present.user);
        before == (&given.host, port, given.security, &given.user)
    };
    let kept = || present.filter(is_same)?.password;
    let password = given.password.or_else(kept);
    Target::Email(Mailbox {
        port,
        password,
        host: given.host,
        security: given.security,
        user: given.user,
        from: given.from,
        to: given.to,
    })
}

fn check_name(name: &str) -> Result<(), Problem> {
    let is_of_a_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_of_a_name) {
        return Ok(());
    }
    let detail = "a channel's name has 1 to 63 of a-z, A-Z, 0-9, - and _";
    Err(Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "bad-name",
        detail,
    ))
}

fn bad_target(text: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-target", text)
}

/// Events of another version are left out.
fn events_of(record: &ChannelRecord) -> Option<Vec<Event>> {
    let names: Vec<String> = serde_json::from_str(record.events.as_deref()?).unwrap_or_default();
    Some(names.iter().filter_map(|name| Event::parse(name)).collect())
}

fn info(record: ChannelRecord, standing: Standing) -> ChannelInfo {
    ChannelInfo {
        events: events_of(&record),
        name: record.name,
        kind: record.kind,
        target: record.shown,
        enabled: record.enabled,
        allow_private: record.allow_private,
        version: record.version,
        delivered_at: standing.delivered_at_ms.map(rfc3339),
        last_error: standing.last_error,
        failed_attempts: standing.failed_attempts,
        created_at: rfc3339(record.created_at_ms),
        changed_at: rfc3339(record.changed_at_ms),
    }
}

fn delivery(record: DeliveryRecord) -> Delivery {
    let message: Option<Message> = serde_json::from_str(&record.body).ok();
    let is_pending = record.state == Became::Pending;
    Delivery {
        id: record.id,
        message: record.message,
        summary: message.map(|message| message.title()).unwrap_or_default(),
        state: record.state.name().to_owned(),
        failed_attempts: record.attempts,
        last_error: record.last_error,
        created_at: rfc3339(record.created_at_ms),
        next_at: is_pending.then(|| rfc3339(record.next_at_ms)),
        ended_at: record.ended_at_ms.map(rfc3339),
    }
}
