//! The outbox: makes messages of news, one at a time for each channel, and sends each until it arrives or
//! is given up. While one waits, what happens goes into the next one together.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::event::{Event, Subject};
use super::forms::{self, Around};
use super::limits::{
    ATTEMPT_MAX, ATTEMPTS_MAX, BUSY_MESSAGES, GAP, GAP_BUSY, NEWS_MAX, OUTBOX_EVERY, RETRY_MAX,
    RETRY_MIN, UNDER_WAY_MAX,
};
use super::message::{Item, Message};
use super::signature::key_of;
use super::smtp::{self, Mail};
use super::target::{Target, checked_url};
use super::webhook::{self, Way};
use crate::config::AllowPrivate;
use crate::store::channels::{self, ChannelRecord};
use crate::store::deliveries::{self, DeliveryRecord};
use crate::store::matters::{self, NewsRecord};
use crate::store::{Store, StoreError};

const HOUR_MS: i64 = 3_600_000;

/// Why a message did not arrive, for people: no secret and no words of the other side.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct Undelivered {
    pub text: String,
    /// What the other side asked for.
    pub(super) retry_after: Option<Duration>,
}

impl Undelivered {
    pub(super) fn new(text: impl Into<String>) -> Undelivered {
        Undelivered {
            text: text.into(),
            retry_after: None,
        }
    }
}

/// What the operator chose.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What leaves, leaves from here.
    pub egress: Option<IpAddr>,
    /// Whose channels may lead to private addresses.
    pub allow_private: AllowPrivate,
    /// Where the console is, for links.
    pub console_url: Option<String>,
    /// No wait before something is told is longer.
    pub delay_max: Option<Duration>,
}

/// Sends messages. Shared by the API, which asks for tests.
pub struct Courier {
    pub(super) store: Store,
    pub(super) settings: Settings,
    wake: Notify,
}

/// A message that is due.
type Due = (ChannelRecord, DeliveryRecord);

impl Courier {
    pub fn new(store: Store, settings: Settings) -> Courier {
        Courier {
            store,
            settings,
            wake: Notify::new(),
        }
    }

    /// There may be something to send.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Sends until `stop`. What is under way then is sent again by the next relay.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut under_way: JoinSet<()> = JoinSet::new();
        let mut busy: HashMap<Id, i64> = HashMap::new();
        let mut ticks = tokio::time::interval(OUTBOX_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(ended) = under_way.join_next_with_id() => {
                    let id = ended.map_or_else(|panicked| panicked.id(), |(id, ())| id);
                    busy.remove(&id);
                }
                _ = ticks.tick() => {}
                () = self.wake.notified() => {}
            }
            let taken: HashSet<i64> = busy.values().copied().collect();
            match self.due(&taken).await {
                Ok(due) => {
                    for (channel, delivery) in due {
                        if busy.len() < UNDER_WAY_MAX {
                            let id = channel.id;
                            let courier = Arc::clone(&self);
                            let task = under_way.spawn(courier.attempt(channel, delivery));
                            busy.insert(task.id(), id);
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "Notifications could not be looked up."),
            }
        }
    }

    /// Messages to be sent now: of each channel at most one. Makes those that are due to be made.
    async fn due(&self, busy: &HashSet<i64>) -> Result<Vec<Due>, StoreError> {
        let now = now_ms();
        let (gap, gap_busy) = (self.capped(GAP), self.capped(GAP_BUSY));
        let looked = self.store.view(move |conn| {
            let (mut due, mut to_make) = (Vec::new(), Vec::new());
            for channel in channels::enabled(conn)? {
                match deliveries::pending(conn, channel.id)? {
                    Some(pending) if pending.next_at_ms <= now => due.push((channel, pending)),
                    Some(_) => {}
                    None => {
                        let standing = deliveries::standing(conn, channel.id, now - HOUR_MS)?;
                        let is_busy = standing.made_since >= BUSY_MESSAGES;
                        let gap = if is_busy { gap_busy } else { gap };
                        let waits = standing
                            .made_at_ms
                            .is_some_and(|made| now - made < gap.as_millis() as i64);
                        if !waits && !matters::untold(conn, channel.id, 1)?.is_empty() {
                            to_make.push(channel);
                        }
                    }
                }
            }
            Ok((due, to_make))
        });
        let (mut due, to_make) = looked.await?;
        if !to_make.is_empty() {
            let made = self.store.transact(move |tx| {
                let mut made = Vec::new();
                for channel in to_make {
                    let compose = |news| composed(&channel, now, news);
                    if let Some(new) = deliveries::make(tx, channel.id, NEWS_MAX, now, compose)? {
                        made.push((channel, new));
                    }
                }
                Ok(made)
            });
            due.extend(made.await?);
        }
        due.retain(|(channel, _)| !busy.contains(&channel.id));
        Ok(due)
    }

    pub(super) fn capped(&self, wait: Duration) -> Duration {
        let most = self.settings.delay_max;
        most.map_or(wait, |most| wait.min(most))
    }

    /// Sends a message once and notes what came of it.
    async fn attempt(self: Arc<Self>, channel: ChannelRecord, delivery: DeliveryRecord) {
        let message: Result<Message, _> = serde_json::from_str(&delivery.body);
        let sent = match message {
            Ok(message) => self.send(&channel, &message, &delivery.message).await,
            Err(_) => Err(Undelivered::new("the message is one of another version")),
        };
        let (id, attempts) = (delivery.id, delivery.attempts + 1);
        let noted = match sent {
            Ok(()) => {
                self.store
                    .transact(move |tx| deliveries::note_delivered(tx, id, now_ms()))
                    .await
            }
            Err(error) => {
                let (workspace, name) = (&channel.workspace, &channel.name);
                tracing::info!(workspace, channel = name, %error, "A notification did not arrive.");
                let wait = pause(attempts, rand::random::<f64>());
                let wait = wait.map(|wait| wait.max(error.retry_after.unwrap_or_default()));
                let next_at = wait.map(|wait| now_ms() + wait.as_millis() as i64);
                self.store
                    .transact(move |tx| {
                        deliveries::note_failed(tx, id, &error.text, next_at, now_ms())
                    })
                    .await
            }
        };
        if let Err(error) = noted {
            tracing::warn!(%error, "What came of a notification could not be noted.");
        }
    }

    /// Sends a test to a channel now, past the outbox.
    ///
    /// # Errors
    /// Why it did not arrive.
    pub async fn test(&self, channel: &ChannelRecord) -> Result<(), Undelivered> {
        let message = Message::test(&channel.workspace, now_ms());
        self.send(channel, &message, &message_id()).await
    }

    async fn send(
        &self,
        channel: &ChannelRecord,
        message: &Message,
        id: &str,
    ) -> Result<(), Undelivered> {
        let (sealer, number) = (self.store.sealer().clone(), channel.id);
        let target = self
            .store
            .view(move |conn| channels::target(conn, &sealer, number));
        let target = target
            .await
            .map_err(|error| Undelivered::new(error.to_string()))?;
        let unreadable = || Undelivered::new("the channel is unreadable: add it anew");
        let target = Target::from_document(&target).ok_or_else(unreadable)?;
        let way = Way {
            egress: self.settings.egress,
            // What was allowed once may be no more.
            allow_private: channel.allow_private
                && self.settings.allow_private.holds_for(&channel.workspace),
        };
        let around = Around {
            id,
            console: self.settings.console_url.as_deref(),
        };
        let sent = tokio::time::timeout(ATTEMPT_MAX, sent_to(&target, message, &around, way));
        sent.await.unwrap_or_else(|_| {
            let text = format!("{} did not answer in time", target.shown());
            Err(Undelivered::new(text))
        })
    }
}

async fn sent_to(
    target: &Target,
    message: &Message,
    around: &Around<'_>,
    way: Way,
) -> Result<(), Undelivered> {
    let url = |text: &str| checked_url(text, way.allow_private).map_err(Undelivered::new);
    match target {
        Target::Webhook { url: text, secret } => {
            let unreadable =
                || Undelivered::new("the channel's secret is none: give it another one");
            let key = key_of(secret).ok_or_else(unreadable)?;
            let payload = forms::webhook(message, around);
            let headers = webhook::signed(&key, around.id, now_ms() / 1000, &payload);
            webhook::post(&url(text)?, headers, payload, way).await
        }
        Target::Slack { url: text } => {
            let payload = forms::slack(message, around);
            webhook::post(&url(text)?, Default::default(), payload, way).await
        }
        Target::Email(mailbox) => {
            let (subject, text) = forms::email(message, around);
            let mail = Mail {
                id: around.id,
                at_ms: message.at_ms,
                subject,
                text,
            };
            smtp::send(mailbox, mail, way).await
        }
    }
}

/// A message of those news that a channel wants, and its id; `None` where it wants none of them.
fn composed(channel: &ChannelRecord, now: i64, news: Vec<NewsRecord>) -> Option<(String, String)> {
    let wanted = wanted(channel.events.as_deref());
    let items = news.into_iter().filter_map(item);
    let items: Vec<Item> = items.filter(|item| wanted(item.event)).collect();
    if items.is_empty() {
        return None;
    }
    let message = Message::of(&channel.workspace, now, items);
    Some((message_id(), serde_json::to_string(&message).ok()?))
}

/// Which events a channel wants, by the list that it keeps.
fn wanted(events: Option<&str>) -> impl Fn(Event) -> bool {
    let names: Option<Vec<String>> =
        events.map(|json| serde_json::from_str(json).unwrap_or_default());
    move |event| {
        names
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name == event.name()))
    }
}

/// `None` for what another version told.
fn item(news: NewsRecord) -> Option<Item> {
    let subject: Subject = serde_json::from_str(&news.subject).ok()?;
    Some(Item {
        event: Event::parse(&news.event)?,
        subject,
        detail: serde_json::from_str(&news.detail).ok()?,
        since_ms: news.since_ms,
        over_ms: news.is_over.then_some(news.at_ms),
    })
}

/// How long to wait after so many failed attempts: three times as long after each, with some chance so
/// that not everything comes back at once; `None`: it is given up.
fn pause(attempts: u32, chance: f64) -> Option<Duration> {
    if attempts >= ATTEMPTS_MAX {
        return None;
    }
    let grown = RETRY_MIN.saturating_mul(3_u32.saturating_pow(attempts.saturating_sub(1)));
    Some(grown.min(RETRY_MAX).mul_f64(0.8 + 0.4 * chance))
}

fn message_id() -> String {
    format!("msg_{}", uuid::Uuid::now_v7().simple())
}

pub(super) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_go_on_for_a_day_and_end() {
        let waits: Vec<u64> = (1..ATTEMPTS_MAX)
            .map(|attempt| pause(attempt, 0.5).unwrap().as_secs())
            .collect();
        assert_eq!(waits[..4], [5, 15, 45, 135]);
        assert_eq!(waits.last(), Some(&RETRY_MAX.as_secs()));
        let hours = waits.iter().sum::<u64>() / 3600;
        assert!((20..36).contains(&hours), "{hours} hours");
        assert_eq!(pause(ATTEMPTS_MAX, 0.5), None);
    }

    #[test]
    fn a_channel_gets_what_it_wants_and_all_unless_it_says() {
        let all = wanted(None);
        assert!(Event::ALL.into_iter().all(all));
        let some = wanted(Some(r#"["agent.offline","unknown"]"#));
        assert!(some(Event::AgentOffline) && !some(Event::SyncStuck));
    }
}
