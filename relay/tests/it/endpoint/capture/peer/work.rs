//! Random transactions of one writer. Writers keep to their own rows, so that none waits for or
//! fails because of another.

use crate::support::chance::Chance;

/// Characters of a value that is kept out of line.
pub const LONG: usize = 4_000;
/// Rows of a transaction that is streamed while it runs.
pub const MANY: usize = 400;

/// Rows of a writer that its statements choose from: few, so that they meet.
const ROWS: usize = 12;

const TEXTS: [&str; 8] = [
    "''",
    "'plain'",
    "'it''s'",
    "'back\\slash'",
    "'two\nlines'",
    "'ünï'",
    "'unchanged-toast-datum'",
    "null",
];

pub struct Work {
    chance: Chance,
    /// The first of the writer's ids.
    first: usize,
}

impl Work {
    pub fn of(writer: u64, seed: u64) -> Work {
        Work {
            chance: Chance::seeded(seed + writer),
            first: writer as usize * 10_000,
        }
    }

    /// One transaction as one query string.
    pub fn transaction(&mut self) -> String {
        let mut sql = String::from("begin; ");
        if self.chance.below(12) == 0 {
            sql += &self.many();
        }
        for _ in 0..=self.chance.below(5) {
            sql += &self.statement();
        }
        if self.chance.below(4) == 0 {
            let lost = self.statement();
            sql += &format!("savepoint a; {lost} rollback to a; {}", self.statement());
        }
        let is_lost = self.chance.below(8) == 0;
        sql + if is_lost { "rollback" } else { "commit" }
    }

    fn many(&mut self) -> String {
        let from = self.first + 1_000;
        let to = from + MANY;
        format!(
            "insert into posts select id, 'many', repeat('m', 200) \
             from generate_series({from}, {to}) id; delete from posts where id between {from} and {to}; "
        )
    }

    fn statement(&mut self) -> String {
        let (id, other) = (self.id(), self.id());
        let (text, body) = (self.text(), self.body());
        match self.chance.below(13) {
            0..=2 => format!(
                "insert into posts values ({id}, {text}, {body}, {other}) on conflict do nothing; "
            ),
            3 => format!("update posts set title = {text} where id = {id}; "),
            4 => format!("update posts set body = {body}, n = n + 1 where id = {id}; "),
            5 => format!(
                "update posts set id = {other}, title = {text} where id = {id} \
                 and not exists (select from posts where id = {other}); "
            ),
            6 => format!("delete from posts where id = {id}; "),
            7 | 8 => format!(
                "insert into files values ({id}, 'a,b', {text}, {body}) on conflict do nothing; "
            ),
            9 => format!("update files set note = {text} where part = {id}; "),
            10 => format!(
                "update files set part = {other} where part = {id} \
                 and not exists (select from files where part = {other}); "
            ),
            11 => format!("delete from files where part = {id}; "),
            _ => format!("insert into unbound values ({id}) on conflict do nothing; "),
        }
    }

    fn id(&mut self) -> usize {
        self.first + self.chance.below(ROWS)
    }

    fn text(&mut self) -> &'static str {
        TEXTS[self.chance.below(TEXTS.len())]
    }

    fn body(&mut self) -> String {
        let letter = *self.chance.one_of(&['x', 'y', 'z']);
        match self.chance.below(3) {
            0 => "null".into(),
            1 => format!("'{letter}'"),
            _ => format!("repeat('{letter}', {LONG})"),
        }
    }
}
