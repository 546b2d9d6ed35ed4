//! Notifications: from what is seen to what arrives, over a real store and real sockets. What is seen is
//! said by the test.

mod mail;
pub mod receiver;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_relay::notify::target::Target;
use tidegate_relay::notify::watch::{AgentSeen, Seen};
use tidegate_relay::notify::{self, Courier, Lookout, Settings};
use tidegate_relay::store::channels::{self, ChannelRecord, Content};
use tidegate_relay::store::{Store, deliveries};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use self::receiver::Receiver;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const WORKSPACE: &str = "default";

/// Nothing waits longer before it is told, here.
const DELAY_MAX: Duration = Duration::from_millis(300);

/// Agents that are offline, as the test says.
#[derive(Clone, Default)]
struct Scene(Arc<Mutex<Vec<AgentSeen>>>);

impl Scene {
    fn set(&self, agents: impl IntoIterator<Item = (String, bool)>) {
        let agents = agents.into_iter().map(|(name, online)| AgentSeen {
            name,
            online,
            ..AgentSeen::default()
        });
        *self.0.lock().unwrap() = agents.collect();
    }

    fn one(&self, online: bool) {
        self.set([("office".to_owned(), online)]);
    }
}

#[async_trait]
impl Lookout for Scene {
    async fn look(&self, workspaces: &BTreeSet<String>) -> Result<Vec<Seen>, String> {
        let of = |workspace: &String| Seen {
            workspace: workspace.clone(),
            agents: self.0.lock().unwrap().clone(),
            ..Seen::default()
        };
        Ok(workspaces.iter().map(of).collect())
    }
}

/// A relay's notifications, without the rest of it.
struct Running {
    store: Store,
    courier: Arc<Courier>,
    stop: CancellationToken,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Running {
    fn start(dir: &Path, scene: &Scene) -> Running {
        let store = Store::open(dir).unwrap();
        let settings = Settings {
            delay_max: Some(DELAY_MAX),
            ..Settings::default()
        };
        let courier = Arc::new(Courier::new(store.clone(), settings));
        let stop = CancellationToken::new();
        let look = notify::run(courier.clone(), Arc::new(scene.clone()), stop.clone());
        let send = courier.clone().run(stop.clone());
        Running {
            store,
            courier,
            stop,
            _tasks: [tokio::spawn(look), tokio::spawn(send)].map(AbortOnDropHandle::new),
        }
    }

    async fn channel(&self, name: &'static str, target: Target) -> ChannelRecord {
        let content = Content {
            kind: target.kind().to_owned(),
            target: target.to_document(),
            shown: target.shown(),
            events: None,
            enabled: true,
            allow_private: true,
        };
        let sealer = self.store.sealer().clone();
        let added = self
            .store
            .transact(move |tx| channels::add(tx, &sealer, (WORKSPACE, name), &content, 1));
        added.await.unwrap()
    }

    /// Ends it as a crash would.
    async fn crash(self) {
        let Running { store, stop, .. } = self;
        stop.cancel();
        drop((self.courier, self._tasks));
        // The tasks that are aborted let go of the store in their own time.
        let dir = store.data_dir().to_owned();
        drop(store);
        while let Err(error) = Store::open(&dir) {
            assert!(error.to_string().contains("another relay"), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn webhook(receiver: &Receiver) -> Target {
    Target::Webhook {
        url: Zeroizing::new(format!("{}/hook", receiver.url)),
        secret: Zeroizing::new(SECRET.to_owned()),
    }
}

fn items(posted: &receiver::Posted) -> Vec<(String, String, String)> {
    let told = posted.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = told["data"]["items"].as_array().unwrap().iter();
    items
        .map(|item| {
            let name = text(&item["subject"]["name"]);
            (text(&item["event"]), name, text(&item["status"]))
        })
        .collect()
}

fn item(event: &str, name: &str, status: &str) -> (String, String, String) {
    (event.to_owned(), name.to_owned(), status.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thing_is_told_once_by_a_signed_webhook_and_again_when_it_is_over() {
    let (dir, scene, receiver) = (
        TempDir::new().unwrap(),
        Scene::default(),
        Receiver::start().await,
    );
    scene.one(true);
    let running = Running::start(dir.path(), &scene);
    running.channel("pager", webhook(&receiver)).await;
    scene.one(false);
    let posted = receiver.wait(1).await;
    let first = &posted[0];
    assert_eq!(items(first), [item("agent.offline", "office", "open")]);
    assert_eq!(first.json()["type"], "agent.offline");
    assert_eq!(first.path, "/hook");
    assert_eq!(first.headers["content-type"], "application/json");
    assert!(first.headers["webhook-id"].starts_with("msg_"));
    assert!(first.is_signed_by(SECRET), "{first:?}");
    let other = notify::new_secret();
    assert!(!first.is_signed_by(&other), "by another key it is not");
    let mut changed = first.clone();
    changed.body.push(' ');
    assert!(!changed.is_signed_by(SECRET), "nor when it was changed");

    scene.one(true);
    let posted = receiver.wait(2).await;
    assert_eq!(items(&posted[1]), [item("agent.offline", "office", "over")]);
    assert!(posted[1].json()["data"]["items"][0]["over_at"].is_string());
    assert_ne!(posted[1].headers["webhook-id"], first.headers["webhook-id"]);
    assert_eq!(receiver.posted().len(), 2, "nothing was told twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_arrive_is_sent_again_by_the_next_relay_with_the_same_id() {
    let (dir, scene, receiver) = (
        TempDir::new().unwrap(),
        Scene::default(),
        Receiver::start().await,
    );
    scene.one(true);
    let running = Running::start(dir.path(), &scene);
    running.channel("pager", webhook(&receiver)).await;
    receiver.answer(&[500]);
    scene.one(false);
    receiver.wait(1).await;
    let standing = loop {
        let channel = 1;
        let look = move |conn: &_| deliveries::standing(conn, channel, 0);
        let standing = running.store.view(look).await.unwrap();
        if standing.failed_attempts > 0 {
            break standing;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(
        standing.last_error.as_deref(),
        Some("127.0.0.1 answers HTTP 500")
    );
    running.crash().await;

    let running = Running::start(dir.path(), &scene);
    let posted = receiver.wait(2).await;
    let ids: Vec<&String> = posted
        .iter()
        .map(|one| &one.headers["webhook-id"])
        .collect();
    assert_eq!(ids[0], ids[1]);
    assert!(
        posted[1].is_signed_by(SECRET),
        "with the time of its attempt"
    );
    // What was told before is not told again; its end is.
    scene.one(true);
    let posted = receiver.wait(3).await;
    assert_eq!(items(&posted[2]), [item("agent.offline", "office", "over")]);
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_sent_again_with_its_id_when_a_person_says_so() {
    let (dir, scene, receiver) = (
        TempDir::new().unwrap(),
        Scene::default(),
        Receiver::start().await,
    );
    scene.one(true);
    let running = Running::start(dir.path(), &scene);
    let channel = running.channel("pager", webhook(&receiver)).await.id;
    receiver.answer(&[500]);
    scene.one(false);
    receiver.wait(1).await;
    let id = loop {
        let look = move |conn: &_| deliveries::pending(conn, channel);
        let pending = running.store.view(look).await.unwrap();
        if let Some(pending) = pending.filter(|pending| pending.attempts > 0) {
            break pending.id;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let resend = async || {
        let again = running
            .store
            .transact(move |tx| deliveries::resend(tx, channel, id, 1));
        again.await.unwrap()
    };
    assert_eq!(resend().await, None, "it is still on its way");
    let given_up = running
        .store
        .transact(move |tx| deliveries::note_failed(tx, id, "HTTP 500", None, 1));
    given_up.await.unwrap();
    assert_eq!(resend().await.unwrap().attempts, 0);
    running.courier.wake();
    let posted = receiver.wait(2).await;
    let sent = |n: usize| (&posted[n].headers["webhook-id"], &posted[n].body);
    assert_eq!(sent(0), sent(1));
    // Now that it has arrived, there is nothing to send again.
    scene.one(true);
    receiver.wait(3).await;
    assert_eq!(resend().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_one_message_and_the_rest_a_number() {
    let (dir, scene, receiver) = (
        TempDir::new().unwrap(),
        Scene::default(),
        Receiver::start().await,
    );
    let agents = |online: bool| (0..300).map(move |n| (format!("agent-{n}"), online));
    scene.set(agents(true));
    let running = Running::start(dir.path(), &scene);
    running.channel("pager", webhook(&receiver)).await;
    scene.set(agents(false));
    let told = receiver.wait(1).await[0].json();
    assert_eq!(told["type"], "digest");
    assert_eq!(told["data"]["summary"], "300 things are the matter");
    assert_eq!(told["data"]["items"].as_array().unwrap().len(), 20);
    assert_eq!(told["data"]["left_out"], 280);
    scene.set(agents(true));
    let told = receiver.wait(2).await[1].json();
    assert_eq!(told["data"]["summary"], "300 things are over");
    // An agent that was revoked is over, too.
    scene.set(agents(false));
    receiver.wait(3).await;
    scene.set([]);
    let told = receiver.wait(4).await[3].json();
    assert_eq!(told["data"]["items"][0]["removed"], true);
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_does_not_work_is_told_to_the_others() {
    let (dir, scene) = (TempDir::new().unwrap(), Scene::default());
    let (broken, pager) = (Receiver::start().await, Receiver::start().await);
    scene.one(true);
    let running = Running::start(dir.path(), &scene);
    let channel = running.channel("broken", webhook(&broken)).await;
    running.channel("pager", webhook(&pager)).await;
    broken.answer(&[503; 3]);
    scene.one(false);
    pager.wait(1).await;
    // A change of a channel tries again at once: three attempts need no minute here.
    for attempt in 1..3 {
        broken.wait(attempt).await;
        try_again(&running, &channel).await;
    }
    let posted = pager.wait(2).await;
    assert_eq!(
        items(&posted[1]),
        [item("channel.failing", "broken", "open")]
    );
    try_again(&running, &channel).await;
    let posted = pager.wait(3).await;
    assert_eq!(
        items(&posted[2]),
        [item("channel.failing", "broken", "over")]
    );
    let ids: BTreeSet<String> = broken.posted()[..4]
        .iter()
        .map(|one| one.headers["webhook-id"].clone())
        .collect();
    assert_eq!(ids.len(), 1, "one message, tried four times");
    drop(running);
}

/// Replaces a channel by itself, once the attempt under way is noted.
async fn try_again(running: &Running, channel: &ChannelRecord) {
    let (sealer, id) = (running.store.sealer().clone(), channel.id);
    let before = running
        .store
        .view(move |conn| deliveries::pending(conn, id));
    let before = before.await.unwrap().map_or(0, |pending| pending.attempts);
    let record = channel.clone();
    running
        .store
        .transact(move |tx| {
            let content = Content {
                kind: record.kind,
                target: channels::target(tx, &sealer, id)?,
                shown: record.shown,
                events: None,
                enabled: true,
                allow_private: true,
            };
            channels::replace(tx, &sealer, (id, None), &content, 1)
        })
        .await
        .unwrap();
    running.courier.wake();
    loop {
        let look = move |conn: &_| deliveries::pending(conn, id);
        let pending = running.store.view(look).await.unwrap();
        if pending.is_none_or(|pending| pending.attempts > before) {
            return;
        }
        running.courier.wake();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_gets_one_text_and_no_more() {
    let (dir, scene, receiver) = (
        TempDir::new().unwrap(),
        Scene::default(),
        Receiver::start().await,
    );
    scene.one(true);
    let running = Running::start(dir.path(), &scene);
    let url = Zeroizing::new(format!("{}/services/T0/B0/secret", receiver.url));
    let channel = running.channel("ops", Target::Slack { url }).await;
    running.courier.test(&channel).await.unwrap();
    scene.one(false);
    let posted = receiver.wait(2).await;
    assert!(!posted[0].headers.contains_key("webhook-signature"));
    // What @slack/webhook sends for `send({ text })`.
    assert_eq!(posted[0].headers["content-type"], "application/json");
    let test = json!({"text": "*Tidegate*: a test. Notifications arrive here."});
    assert_eq!(posted[0].json(), test);
    let text = posted[1].json()["text"].as_str().unwrap().to_owned();
    assert!(
        text.starts_with(":warning: Agent `office` is not connected\n"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_a_private_address_is_not_called() {
    let (dir, scene, receiver) = (
        TempDir::new().unwrap(),
        Scene::default(),
        Receiver::start().await,
    );
    let running = Running::start(dir.path(), &scene);
    let port = receiver.url.rsplit(':').next().unwrap().to_owned();
    let url = Zeroizing::new(format!("https://localhost:{port}/hook"));
    let mut channel = running.channel("ops", Target::Slack { url }).await;
    channel.allow_private = false;
    let refusal = running
        .courier
        .test(&channel)
        .await
        .unwrap_err()
        .to_string();
    let expected = "localhost has no public address: `allow_private` allows others";
    assert_eq!(refusal, expected);
    assert_eq!(receiver.posted().len(), 0);
}
