//! A message: one thing that began or is over, several of them at once, or a test. Its sentences are made
//! here; how names are written in them is each channel's matter.

use serde::{Deserialize, Serialize};

use super::event::{Detail, Event, Subject};
use super::limits::{ITEMS_MAX, NAME_CHARS_MAX};

/// What goes to one channel at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub workspace: String,
    /// Milliseconds since 1970: when it was made.
    pub at_ms: i64,
    /// Empty for a test. Of many only the first.
    pub items: Vec<Item>,
    /// Things that are the matter, all of them.
    pub open: u64,
    /// And those that are over.
    pub over: u64,
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub event: Event,
    pub subject: Subject,
    pub detail: Detail,
    pub since_ms: i64,
    /// When it was over; absent while it is the matter.
    pub over_ms: Option<i64>,
}

impl Message {
    pub(super) fn test(workspace: &str, at_ms: i64) -> Message {
        Message {
            workspace: workspace.to_owned(),
            at_ms,
            items: Vec::new(),
            open: 0,
            over: 0,
        }
    }

    /// Of news in their order: what began and is over meanwhile is one thing, and there are only so many.
    pub(super) fn of(workspace: &str, at_ms: i64, news: Vec<Item>) -> Message {
        let mut items: Vec<Item> = Vec::new();
        for item in news {
            let is_same =
                |known: &Item| (known.event, &known.subject) == (item.event, &item.subject);
            match items.iter().position(is_same) {
                // What it was like counts, and how it ended.
                Some(at) if item.over_ms.is_some() => items[at].over_ms = item.over_ms,
                Some(at) => items[at] = item,
                None => items.push(item),
            }
        }
        // What is the matter goes before what is over.
        items.sort_by_key(|item| item.over_ms.is_some());
        let over = items.iter().filter(|item| item.over_ms.is_some()).count() as u64;
        let open = items.len() as u64 - over;
        items.truncate(ITEMS_MAX);
        Message {
            workspace: workspace.to_owned(),
            at_ms,
            items,
            open,
            over,
        }
    }

    /// Things that there was no room for.
    pub(super) fn left_out(&self) -> u64 {
        (self.open + self.over).saturating_sub(self.items.len() as u64)
    }

    /// What kind of message it is, as programs see it.
    pub fn kind(&self) -> &'static str {
        match &self.items[..] {
            [] => "test",
            [item] => item.event.name(),
            _ => "digest",
        }
    }

    /// In a few words, without marks.
    pub fn title(&self) -> String {
        let shown = |name: &str| plain(name);
        match &self.items[..] {
            [] => "A test: notifications arrive here".to_owned(),
            [item] => item.sentence(&shown),
            _ => match (self.open, self.over) {
                (0, over) => format!("{} over", things(over)),
                (open, 0) => format!("{} the matter", things(open)),
                (open, over) => format!("{} the matter, {over} over", things(open)),
            },
        }
    }
}

fn things(count: u64) -> String {
    match count {
        1 => "1 thing is".to_owned(),
        _ => format!("{count} things are"),
    }
}

impl Item {
    /// What happened, with names as `shown` writes them.
    pub(super) fn sentence(&self, shown: &dyn Fn(&str) -> String) -> String {
        if self.over_ms.is_none() {
            return self.filled(self.event.open(), shown);
        }
        match self.detail.removed {
            true => format!(
                "Over, because it was removed: {}",
                self.subject_words(shown)
            ),
            false => self.filled(self.event.over(), shown),
        }
    }

    /// What to do, while it is the matter.
    pub(super) fn advice(&self, shown: &dyn Fn(&str) -> String) -> Option<String> {
        let is_open = self.over_ms.is_none();
        is_open.then(|| self.filled(self.event.advice(), shown))
    }

    /// The tables that it concerns, and the time that is left.
    pub(super) fn more(&self, shown: &dyn Fn(&str) -> String) -> Option<String> {
        if self.over_ms.is_some() {
            return None;
        }
        let tables: Vec<String> = self.detail.tables.iter().map(|name| shown(name)).collect();
        let left = self.detail.hours_left.map(|hours| match hours {
            0 => "Less than an hour is left".to_owned(),
            1..=47 => format!("{hours} hours are left"),
            _ => format!("{} days are left", hours / 24),
        });
        match (tables.is_empty(), left) {
            (false, _) => Some(format!("In {}", tables.join(", "))),
            (true, left) => left,
        }
    }

    fn subject_words(&self, shown: &dyn Fn(&str) -> String) -> String {
        let Subject { kind, name, side } = &self.subject;
        match side {
            Some(side) => format!("{kind} of {} ({side})", shown(name)),
            None => format!("{kind} {}", shown(name)),
        }
    }

    fn filled(&self, text: &str, shown: &dyn Fn(&str) -> String) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (place, behind) = after.split_once('}').unwrap_or((after, ""));
            filled.push_str(before);
            match (place, place.strip_prefix("count:")) {
                ("name", _) => filled.push_str(&shown(&self.subject.name)),
                ("side", _) => filled.push_str(self.subject.side.as_deref().unwrap_or("one")),
                (_, Some(noun)) => {
                    let count = self.detail.count.unwrap_or(0);
                    let plural = if count == 1 { "" } else { "s" };
                    filled.push_str(&format!("{count} {noun}{plural}"));
                }
                _ => {}
            }
            rest = behind;
        }
        filled + rest
    }
}

/// A name without what could steer a terminal or a mail header, and not too long: names of tables come
/// from databases.
pub(super) fn plain(name: &str) -> String {
    let mut text: String = name
        .chars()
        .map(|c| if is_visible(c) { c } else { '\u{fffd}' })
        .take(NAME_CHARS_MAX)
        .collect();
    if name.chars().nth(NAME_CHARS_MAX).is_some() {
        text.push('…');
    }
    text
}

/// Neither a control character nor one that turns the direction of what follows (Unicode TR 36, 2.2).
fn is_visible(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn item(event: Event, name: &str, over_ms: Option<i64>) -> Item {
        Item {
            event,
            subject: Subject::new("sync", name),
            detail: Detail {
                count: Some(1),
                ..Detail::default()
            },
            since_ms: 0,
            over_ms,
        }
    }

    fn same(name: &str) -> String {
        name.to_owned()
    }

    #[test]
    fn every_event_says_what_is_the_matter_with_what_and_what_to_do() {
        for event in Event::ALL {
            let mut item = item(event, "blog", None);
            item.subject.side = Some("left".into());
            let (open, advice) = (item.sentence(&same), item.advice(&same).unwrap());
            item.over_ms = Some(1);
            let over = item.sentence(&same);
            for text in [&open, &advice, &over] {
                assert!(!text.contains(['{', '}']), "{text}");
            }
            assert!(
                open.contains("blog") && over.contains("blog"),
                "{open}, {over}"
            );
            assert!(open != over && item.advice(&same).is_none());
            item.detail.removed = true;
            assert!(item.sentence(&same).contains("removed"));
        }
    }

    #[test]
    fn one_of_something_is_told_as_one() {
        let mut one = item(Event::SyncFindings, "blog", None);
        assert_eq!(one.sentence(&same), "Sync blog: 1 record can't be synced");
        one.detail.count = Some(12);
        assert_eq!(one.sentence(&same), "Sync blog: 12 records can't be synced");
    }

    #[test]
    fn what_began_and_ended_between_two_messages_is_one_thing() {
        let news = vec![
            item(Event::SyncStopped, "a", None),
            item(Event::SyncStopped, "b", None),
            item(Event::SyncStopped, "a", Some(9)),
        ];
        let message = Message::of("w", 10, news);
        assert_eq!(message.kind(), "digest");
        let told: Vec<_> = message
            .items
            .iter()
            .map(|item| (item.subject.name.as_str(), item.over_ms))
            .collect();
        assert_eq!(told, [("b", None), ("a", Some(9))]);
        assert_eq!(message.title(), "1 thing is the matter, 1 over");
    }

    #[test]
    fn a_storm_is_one_message_of_bounded_size() {
        let news = (0..500).map(|n| item(Event::AgentOffline, &n.to_string(), None));
        let message = Message::of("w", 1, news.collect());
        assert_eq!(message.items.len(), ITEMS_MAX);
        assert_eq!(message.left_out(), 480);
        assert_eq!(message.title(), "500 things are the matter");
        let over = (0..500).map(|n| item(Event::AgentOffline, &n.to_string(), Some(2)));
        let message = Message::of("w", 1, over.collect());
        assert_eq!(message.title(), "500 things are over");
    }

    #[test]
    fn names_lose_what_is_not_seen_and_their_length() {
        assert_eq!(plain("a\r\nBcc: x"), "a\u{fffd}\u{fffd}Bcc: x");
        assert_eq!(plain("a\u{202e}b\u{200b}"), "a\u{fffd}b\u{fffd}");
        assert_eq!(plain(&"x".repeat(500)).chars().count(), NAME_CHARS_MAX + 1);
    }
}
