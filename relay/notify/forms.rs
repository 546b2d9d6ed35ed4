//! How a message looks: as JSON for programs, in Slack's marks, as an e-mail.

use serde_json::{Value, json};

use super::message::{Item, Message, plain};

/// What stands beside a message.
pub(super) struct Around<'a> {
    /// The same at each attempt.
    pub id: &'a str,
    /// Where the console is, if that is known.
    pub console: Option<&'a str>,
}

/// The payload of a webhook (Standard Webhooks, "Payload structure": type, timestamp, data).
pub(super) fn webhook(message: &Message, around: &Around<'_>) -> Vec<u8> {
    let same = |name: &str| plain(name);
    let item = |item: &Item| {
        let mut told = json!({
            "event": item.event,
            "status": if item.over_ms.is_some() { "over" } else { "open" },
            "subject": item.subject,
            "since": rfc3339(item.since_ms),
            "summary": item.sentence(&same),
        });
        let more = [
            ("over_at", item.over_ms.map(rfc3339).map(Value::from)),
            ("advice", item.advice(&same).map(Value::from)),
            ("link", link(around, item).map(Value::from)),
        ];
        if let (Some(told), Ok(Value::Object(detail))) =
            (told.as_object_mut(), serde_json::to_value(&item.detail))
        {
            told.extend(detail);
            told.extend(
                more.into_iter()
                    .filter_map(|(key, value)| Some((key.to_owned(), value?))),
            );
        }
        told
    };
    let items: Vec<Value> = message.items.iter().map(item).collect();
    let payload = json!({
        "type": message.kind(),
        "timestamp": rfc3339(message.at_ms),
        "data": {
            "workspace": message.workspace,
            "summary": message.title(),
            "items": items,
            "left_out": message.left_out(),
        },
    });
    payload.to_string().into_bytes()
}

/// For Slack's incoming webhooks, and those of apps that take the same: one text in "mrkdwn".
pub(super) fn slack(message: &Message, around: &Around<'_>) -> Vec<u8> {
    let code = |name: &str| slack_code(name);
    let mut lines = Vec::new();
    match &message.items[..] {
        [] => lines.push("*Tidegate*: a test. Notifications arrive here.".to_owned()),
        [_] => {}
        _ => lines.push(format!("*Tidegate*: {}", slack_text(&message.title()))),
    }
    for item in &message.items {
        let mark = if item.over_ms.is_some() {
            ":white_check_mark:"
        } else {
            ":warning:"
        };
        let mut line = format!("{mark} {}", item.sentence(&code));
        for more in [item.more(&code), advice_in_slack(item)]
            .into_iter()
            .flatten()
        {
            line.push_str(&format!("\n      {more}"));
        }
        if let Some(link) = link(around, item) {
            line.push_str(&format!("\n      <{}|Open the console>", slack_text(&link)));
        }
        lines.push(line);
    }
    if message.left_out() > 0 {
        lines.push(format!("…and {} more.", message.left_out()));
    }
    if message.workspace != crate::store::DEFAULT_WORKSPACE {
        lines.push(format!("Workspace {}", code(&message.workspace)));
    }
    json!({ "text": lines.join("\n") }).to_string().into_bytes()
}

/// Commands in it are marked as code already.
fn advice_in_slack(item: &Item) -> Option<String> {
    item.advice(&|name| slack_text(&plain(name)).replace('`', "'"))
}

/// Slack's three signs (docs.slack.dev, "Formatting message text", "Escaping text").
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A name as code: nothing in it is a mention, a link or a mark, neither for Slack nor for those that read
/// Markdown.
fn slack_code(name: &str) -> String {
    format!("`{}`", slack_text(&plain(name)).replace('`', "'"))
}

/// Subject and text.
pub(super) fn email(message: &Message, around: &Around<'_>) -> (String, String) {
    let same = |name: &str| plain(name);
    let mut text = String::new();
    if message.items.is_empty() {
        text.push_str("This is a test: notifications arrive here.\n");
    }
    for item in &message.items {
        text.push_str(&format!("* {}.\n", item.sentence(&same)));
        let since = format!("Since {}", rfc3339(item.since_ms));
        let time = match item.over_ms {
            Some(over) => format!("{since} until {}", rfc3339(over)),
            None => since,
        };
        text.push_str(&format!("  {time}.\n"));
        if let Some(more) = item.more(&same) {
            text.push_str(&format!("  {more}.\n"));
        }
        for more in [item.advice(&same), link(around, item)]
            .into_iter()
            .flatten()
        {
            text.push_str(&format!("  {more}\n"));
        }
        text.push('\n');
    }
    if message.left_out() > 0 {
        text.push_str(&format!("...and {} more.\n\n", message.left_out()));
    }
    text.push_str(&format!(
        "-- \nTidegate, workspace {}\n",
        same(&message.workspace)
    ));
    (format!("[Tidegate] {}", message.title()), text)
}

/// The console's page about it.
fn link(around: &Around<'_>, item: &Item) -> Option<String> {
    let page: &[&str] = match item.subject.kind.as_str() {
        "sync" | "slot" => &["syncs", &item.subject.name],
        "agent" => &["agents"],
        "channel" => &["notifications"],
        _ => &[],
    };
    let mut url = reqwest::Url::parse(around.console?).ok()?;
    // Escapes what a path may not have.
    url.path_segments_mut().ok()?.pop_if_empty().extend(page);
    Some(url.to_string())
}

fn rfc3339(at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms);
    at.map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::event::{Detail, Event, Subject};

    /// What somebody with rights on a database could call a table.
    const NASTY: &str =
        "x`</p>\r\nBcc: all@example.com\n<!channel> @here *b* [l](http://e) \u{202e}&amp;";

    fn message(tables: Vec<String>) -> Message {
        let item = Item {
            event: Event::SyncFindings,
            subject: Subject::new("sync", "blog"),
            detail: Detail {
                count: Some(3),
                tables,
                ..Detail::default()
            },
            since_ms: 1_000,
            over_ms: None,
        };
        Message::of("default", 2_000, vec![item])
    }

    fn around() -> Around<'static> {
        Around {
            id: "msg_1",
            console: Some("https://tidegate.example.com/"),
        }
    }

    fn text_in_slack(message: &Message) -> String {
        let told: Value = serde_json::from_slice(&slack(message, &around())).unwrap();
        let members: Vec<&String> = told.as_object().unwrap().keys().collect();
        assert_eq!(members, ["text"], "what @slack/webhook sends for a text");
        told["text"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_webhook_has_type_timestamp_and_data() {
        let told = webhook(&message(vec!["public.posts".into()]), &around());
        let told: Value = serde_json::from_slice(&told).unwrap();
        let expected = json!({
            "type": "sync.findings",
            "timestamp": "1970-01-01T00:00:02Z",
            "data": {
                "workspace": "default",
                "summary": "Sync blog: 3 records can't be synced",
                "left_out": 0,
                "items": [{
                    "event": "sync.findings",
                    "status": "open",
                    "subject": {"kind": "sync", "name": "blog"},
                    "since": "1970-01-01T00:00:01Z",
                    "summary": "Sync blog: 3 records can't be synced",
                    "advice": "`tidegate-relay sync findings blog` says why and what to do.",
                    "link": "https://tidegate.example.com/syncs/blog",
                    "count": 3,
                    "tables": ["public.posts"],
                }],
            },
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn a_table_with_a_nasty_name_calls_nobody_and_links_nowhere_in_slack() {
        let text = text_in_slack(&message(vec![NASTY.into()]));
        for bad in ["<!", "</p>", "\r", "\u{202e}", "\nBcc"] {
            assert!(!text.contains(bad), "{bad}: {text}");
        }
        // All of it is within one span of code, where nothing is a mention or a link.
        let spans: Vec<&str> = text.split('`').collect();
        let holding: Vec<usize> = (0..spans.len())
            .filter(|at| spans[*at].contains("@here"))
            .collect();
        assert_eq!(holding.len(), 1, "{text}");
        assert_eq!(holding[0] % 2, 1, "outside of code: {text}");
        assert!(text.contains("<https://tidegate.example.com/syncs/blog|Open the console>"));
    }

    #[test]
    fn an_email_keeps_nasty_names_on_their_line() {
        let mut nasty = message(vec![NASTY.into()]);
        nasty.items[0].subject.name = NASTY.into();
        let (subject, text) = email(&nasty, &around());
        assert!(!subject.contains(['\r', '\n']), "{subject}");
        assert!(!text.contains("\nBcc") && !text.contains('\r'), "{text}");
    }

    #[test]
    fn a_test_says_that_it_is_one() {
        let test = Message::test("acme", 1);
        let told: Value = serde_json::from_slice(&webhook(&test, &around())).unwrap();
        assert_eq!(
            (&told["type"], &told["data"]["items"]),
            (&json!("test"), &json!([]))
        );
        assert!(text_in_slack(&test).contains("a test"));
        let (subject, text) = email(&test, &around());
        assert!(subject.contains("test") && text.contains("workspace acme"));
    }
}
