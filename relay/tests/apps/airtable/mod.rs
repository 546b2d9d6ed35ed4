//! Airtable: 10 records a call, 5 calls a second for each base and a lock of 30 s after a refusal,
//! empty cells left out, `performUpsert`, and a log of changes that is read by cursor.
//!
//! Sources: airtable.com/developers/web/api (list/create/update/delete records, get base schema,
//! webhooks overview, list webhook payloads, rate limits, errors).
//! By hand: `create-table`, `create-field`, `rename-field`, `retype-field`, `delete-field`,
//! `add-option`, `remove-option`; see `hand.rs`.

mod cells;
mod formula;
mod hand;
mod hooks;
mod listing;
mod records;
mod schema;
mod transaction;
mod upsert;

use std::collections::HashMap;
use std::io;

use serde_json::{Value, json};

use crate::host::call::{Answer, Call, Outcome, Route};
use crate::host::clock::Stamp;
use crate::host::limit::Charge;
use crate::host::options::Options;
use crate::host::trap::{Trap, Traps};
use crate::host::{App, Hand, Refusal, Running, World, start};

use hooks::Hook;
use listing::Iteration;
use schema::Table;

/// Calls a second: doc "Rate limits".
const PER_BASE: u32 = 5;
const PER_USER: u32 = 50;
const MONTH_MS: i64 = 31 * 86_400_000;

#[derive(Debug)]
pub struct Airtable {
    bases: Vec<Base>,
    user: String,
    /// Reads of lists that are under way, by the first part of their `offset`.
    iterations: HashMap<String, Iteration>,
}

#[derive(Debug)]
struct Base {
    id: String,
    name: String,
    tables: Vec<Table>,
    /// Number of the last transaction.
    transactions: u64,
    hooks: Vec<Hook>,
}

impl Airtable {
    pub async fn start(options: Options) -> io::Result<Running> {
        start::<Airtable>(options).await
    }

    fn find_base(&mut self, id: &str) -> Result<&mut Base, Answer> {
        let found = self.bases.iter_mut().find(|base| base.id == id);
        found.ok_or_else(not_found)
    }

    fn whoami(&mut self, _call: &Call, _world: &mut World) -> Outcome {
        Ok(Answer::ok(&json!({
            "id": self.user,
            "email": "someone@example.com",
            "scopes": [
                "data.records:read", "data.records:write", "schema.bases:read",
                "schema.bases:write", "webhook:manage", "user.email:read",
            ],
        })))
    }
}

impl Base {
    fn find_table(&mut self, id_or_name: &str) -> Result<&mut Table, Answer> {
        let is = |table: &&mut Table| table.id == id_or_name || table.name == id_or_name;
        self.tables.iter_mut().find(is).ok_or_else(no_model)
    }
}

/// `{"error": {"type", "message"}}`
fn error(status: u16, kind: &str, message: impl Into<String>) -> Answer {
    let message: String = message.into();
    Answer::json(
        status,
        &json!({ "error": { "type": kind, "message": message } }),
    )
}

/// The one error whose `error` is a text.
fn not_found() -> Answer {
    Answer::json(404, &json!({ "error": "NOT_FOUND" }))
}

fn no_model() -> Answer {
    let message = "Invalid permissions, or the requested model was not found. Check that both your \
                   user and your token have the required permissions, and that the model names \
                   and/or ids are correct.";
    error(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", message)
}

fn bad_request() -> Answer {
    let message = "Invalid request: parameter validation failed. Check your request data.";
    error(422, "INVALID_REQUEST_UNKNOWN", message)
}

fn body(call: &Call) -> Result<Value, Answer> {
    call.json()
        .map_err(|_| Airtable::refusal(&Refusal::BadJson))
}

impl App for Airtable {
    const NAME: &'static str = "airtable";

    const TRAPS: &'static [Trap] = &[
        Trap {
            name: "retry-after",
            usual: "off",
            what: "a 429 says for how long; Airtable promises no such header",
        },
        Trap {
            name: "lock",
            usual: "30s",
            what: "all calls of a base are refused for so long after one was",
        },
        Trap {
            name: "monthly-calls",
            usual: "off",
            what: "calls of a month, after which all are refused with 429",
        },
        Trap {
            name: "page-tokens-live",
            usual: "5m",
            what: "after so long an offset is refused with LIST_RECORDS_ITERATOR_NOT_AVAILABLE",
        },
        Trap {
            name: "missing-as-403",
            usual: "off",
            what: "a record that is gone is answered with 403 in place of 404",
        },
        Trap {
            name: "skips-missing",
            usual: "off",
            what: "ids that are gone are left out of a batch with 200, in place of refusing it",
        },
        Trap {
            name: "drops-unknown",
            usual: "off",
            what: "unknown fields are dropped with 200 in place of 422",
        },
        Trap {
            name: "rounds-numbers",
            usual: "off",
            what: "numbers are rounded to the field's precision in silence",
        },
        Trap {
            name: "cuts-text",
            usual: "off",
            what: "longer texts are cut to so many characters in silence",
        },
        Trap {
            name: "refuses",
            usual: "off",
            what: "no text field takes a text that begins with `refuse`",
        },
        Trap {
            name: "file-links-live",
            usual: "2h",
            what: "links of attachments answer 410 after so long",
        },
        Trap {
            name: "hook-life",
            usual: "7d",
            what: "a webhook that is neither renewed nor read stops after so long",
        },
        Trap {
            name: "payloads-kept",
            usual: "7d",
            what: "payloads are gone after so long, read or not",
        },
    ];

    const ROUTES: &'static [Route<Airtable>] = &[
        Route {
            pattern: "GET /v0/meta/whoami",
            act: Airtable::whoami,
        },
        Route {
            pattern: "GET /v0/meta/bases",
            act: Airtable::list_bases,
        },
        Route {
            pattern: "GET /v0/meta/bases/{base}/tables",
            act: Airtable::list_tables,
        },
        Route {
            pattern: "POST /v0/meta/bases/{base}/tables",
            act: Airtable::create_table,
        },
        Route {
            pattern: "PATCH /v0/meta/bases/{base}/tables/{table}",
            act: Airtable::update_table,
        },
        Route {
            pattern: "POST /v0/meta/bases/{base}/tables/{table}/fields",
            act: Airtable::create_field,
        },
        Route {
            pattern: "PATCH /v0/meta/bases/{base}/tables/{table}/fields/{field}",
            act: Airtable::update_field,
        },
        Route {
            pattern: "GET /v0/bases/{base}/webhooks",
            act: Airtable::list_hooks,
        },
        Route {
            pattern: "POST /v0/bases/{base}/webhooks",
            act: Airtable::create_hook,
        },
        Route {
            pattern: "DELETE /v0/bases/{base}/webhooks/{hook}",
            act: Airtable::delete_hook,
        },
        Route {
            pattern: "POST /v0/bases/{base}/webhooks/{hook}/refresh",
            act: Airtable::refresh_hook,
        },
        Route {
            pattern: "POST /v0/bases/{base}/webhooks/{hook}/enableNotifications",
            act: Airtable::enable_hook,
        },
        Route {
            pattern: "GET /v0/bases/{base}/webhooks/{hook}/payloads",
            act: Airtable::payloads,
        },
        Route {
            pattern: "GET /_files/{file}/{expires}/{name}",
            act: Airtable::file,
        },
        Route {
            pattern: "GET /v0/{base}/{table}",
            act: Airtable::list_records,
        },
        Route {
            pattern: "POST /v0/{base}/{table}/listRecords",
            act: Airtable::list_records,
        },
        Route {
            pattern: "GET /v0/{base}/{table}/{record}",
            act: Airtable::read_record,
        },
        Route {
            pattern: "POST /v0/{base}/{table}",
            act: Airtable::create_records,
        },
        Route {
            pattern: "PATCH /v0/{base}/{table}",
            act: Airtable::update_records,
        },
        Route {
            pattern: "PUT /v0/{base}/{table}",
            act: Airtable::update_records,
        },
        Route {
            pattern: "PATCH /v0/{base}/{table}/{record}",
            act: Airtable::update_record,
        },
        Route {
            pattern: "PUT /v0/{base}/{table}/{record}",
            act: Airtable::update_record,
        },
        Route {
            pattern: "DELETE /v0/{base}/{table}",
            act: Airtable::delete_records,
        },
        Route {
            pattern: "DELETE /v0/{base}/{table}/{record}",
            act: Airtable::delete_record,
        },
    ];

    const OPEN: &'static [&'static str] = &["GET /_files/{file}/{expires}/{name}"];

    fn new(options: &Options, world: &mut World) -> Result<Airtable, String> {
        let mut airtable = Airtable {
            bases: vec![Base {
                id: world.ids.letters("app", 14),
                name: "Double".to_owned(),
                tables: Vec::new(),
                transactions: 0,
                hooks: Vec::new(),
            }],
            user: world.ids.letters("usr", 14),
            iterations: HashMap::new(),
        };
        if options.has_sample {
            airtable.make_sample(options.rows, world)?;
        }
        Ok(airtable)
    }

    fn charges(&self, call: &Call, traps: &Traps) -> Vec<Charge> {
        let charge = |bucket, whose: &str, max, per_ms, lock_ms| Charge {
            bucket,
            whose: whose.to_owned(),
            max,
            per_ms,
            lock_ms,
        };
        if call.endpoint.contains("/_files") {
            return Vec::new();
        }
        let mut charges = vec![charge("user", "", PER_USER, 1_000, traps.ms("lock"))];
        if call.endpoint.contains("{base}") {
            charges.push(charge(
                "base",
                call.param(0),
                PER_BASE,
                1_000,
                traps.ms("lock"),
            ));
        }
        if let Some(max) = traps.number("monthly-calls") {
            let max = u32::try_from(max).unwrap_or(u32::MAX);
            charges.push(charge("month", "", max, MONTH_MS, 0));
        }
        charges
    }

    fn is_read(call: &Call) -> bool {
        call.is_read() || call.endpoint.ends_with("/listRecords")
    }

    fn refusal(refusal: &Refusal) -> Answer {
        match refusal {
            Refusal::NotSignedIn => {
                error(401, "AUTHENTICATION_REQUIRED", "Authentication required")
            }
            Refusal::NotAllowed => no_model(),
            Refusal::NoSuchRoute => not_found(),
            Refusal::Limited {
                bucket: "month", ..
            } => limited(
                "PUBLIC_API_BILLING_LIMIT_EXCEEDED",
                "Billing limit exceeded",
                None,
            ),
            Refusal::Limited { retry_after_s, .. } => {
                let message = "Rate limit exceeded. Please try again later";
                limited("RATE_LIMIT_REACHED", message, *retry_after_s)
            }
            Refusal::Status(500) => error(500, "SERVER_ERROR", "Try again"),
            Refusal::Status(503) => error(503, "SERVICE_UNAVAILABLE", "Try again shortly"),
            Refusal::Status(status) => error(*status, "INJECTED", "a fault of the double"),
            Refusal::BadJson => error(422, "INVALID_REQUEST_BODY", "Could not parse request body"),
        }
    }

    fn pass_time(&mut self, world: &mut World) {
        let kept_ms = world.traps.ms("payloads-kept");
        for hook in self.bases.iter_mut().flat_map(|base| &mut base.hooks) {
            hook.pass_time(world.now, kept_ms);
        }
        let lives_ms = world.traps.ms("page-tokens-live");
        self.iterations
            .retain(|_, iteration| iteration.made + lives_ms > world.now);
    }

    fn hand(&mut self, hand: Hand, world: &mut World) -> Result<Value, String> {
        self.by_hand(hand, world)
    }
}

/// The shape of a 429 differs from that of every other error.
fn limited(kind: &str, message: &str, retry_after_s: Option<u64>) -> Answer {
    let answer = Answer::json(
        429,
        &json!({ "errors": [{ "error": kind, "message": message }] }),
    );
    match retry_after_s {
        Some(seconds) => answer.header("retry-after", seconds.to_string()),
        None => answer,
    }
}

/// Stamps of records are whole seconds.
fn whole_second(stamp: Stamp) -> String {
    crate::host::clock::iso(crate::host::clock::floor(stamp, 1_000))
}
