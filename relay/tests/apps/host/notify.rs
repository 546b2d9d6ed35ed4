//! Sends an app's notices (webhooks), as unreliably as the traps say.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Control;

/// One POST to somebody's address.
#[derive(Clone, Debug)]
pub struct Notice {
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn send(mut outbox: mpsc::Receiver<Notice>, control: Arc<dyn Control>) {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build();
    let Ok(client) = client else {
        return;
    };
    let mut count = 0_usize;
    while let Some(first) = outbox.recv().await {
        let traps = control.traps();
        let late = Duration::from_millis(u64::try_from(traps.ms("hooks-late")).unwrap_or(0));
        let mut due = vec![first];
        if !late.is_zero() {
            tokio::time::sleep(late).await;
            while let Ok(notice) = outbox.try_recv() {
                due.push(notice);
            }
            due.reverse();
        }
        for notice in due {
            count += 1;
            let every = traps.number("hooks-lost").unwrap_or(0);
            if every > 0 && count.is_multiple_of(every) {
                continue;
            }
            let times = if traps.is_on("hooks-doubled") { 2 } else { 1 };
            for _ in 0..times {
                post(&client, &notice).await;
            }
        }
    }
}

/// A notice that does not arrive is lost: retries take an app ten minutes and more.
async fn post(client: &reqwest::Client, notice: &Notice) {
    let mut request = client.post(&notice.url).body(notice.body.clone());
    for (name, value) in &notice.headers {
        request = request.header(*name, value);
    }
    let _lost = request.send().await;
}
