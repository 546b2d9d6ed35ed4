//! HubSpot, CRM API v3: objects (contacts, companies, deals, tickets, and one's own) of properties
//! whose values are texts; batches of 100 that are done in part, a search that lags and is capped,
//! records that are archived or merged away, and three budgets of calls at once.
//!
//! Sources: developers.hubspot.com (reference: CRM objects, search, properties, error handling,
//! usage guidelines; changelog: merge functionality of contacts and companies), and the models of
//! HubSpot's own client. By hand: `create-object`, `create-property`, `merge`, `restore`, `purge`,
//! `import`; see `hand.rs`.

mod batch;
mod hand;
mod records;
mod schema;
mod search;
mod values;

use std::io;

use serde_json::{Value, json};

use crate::host::call::{Answer, Call, Outcome, Route};
use crate::host::limit::Charge;
use crate::host::options::Options;
use crate::host::trap::{Trap, Traps};
use crate::host::{App, Hand, Refusal, Running, World, start};

use schema::Object;

/// Calls in ten seconds of the smaller plans: doc "Usage guidelines".
const BURST: u32 = 100;
/// Searches a second: doc "Search the CRM", limits.
const SEARCHES: u32 = 5;
const DAY_MS: i64 = 86_400_000;

#[derive(Debug)]
pub struct HubSpot {
    portal: u64,
    next_id: u64,
    objects: Vec<Object>,
}

impl HubSpot {
    pub async fn start(options: Options) -> io::Result<Running> {
        start::<HubSpot>(options).await
    }

    fn account(&mut self, _call: &Call, _world: &mut World) -> Outcome {
        Ok(Answer::ok(&json!({
            "portalId": self.portal, "accountType": "STANDARD", "timeZone": "Europe/Berlin",
            "companyCurrency": "EUR", "additionalCurrencies": [], "utcOffset": "+01:00",
            "utcOffsetMilliseconds": 3_600_000, "uiDomain": "app.hubspot.com",
            "dataHostingLocation": "na1",
        })))
    }
}

fn failure(status: u16, category: &str, message: impl Into<String>) -> Answer {
    Answer::json(status, &said(category, message, json!([])))
}

/// A refusal's body. `errors` has the codes, where there are any.
fn said(category: &str, message: impl Into<String>, errors: Value) -> Value {
    let message: String = message.into();
    json!({
        "status": "error", "message": message, "errors": errors, "category": category,
        "correlationId": "d0ab1e00-0000-4000-8000-000000000000",
    })
}

fn invalid(message: impl Into<String>) -> Answer {
    failure(400, "VALIDATION_ERROR", message)
}

fn limited(policy: &str) -> Answer {
    let message = format!("You have reached your {} limit.", policy.to_lowercase());
    let mut body = said("RATE_LIMITS", message, json!([]));
    body["errorType"] = "RATE_LIMIT".into();
    body["policyName"] = policy.into();
    Answer::json(429, &body)
}

fn body(call: &Call) -> Result<Value, Answer> {
    call.json().map_err(|_| HubSpot::refusal(&Refusal::BadJson))
}

impl App for HubSpot {
    const NAME: &'static str = "hubspot";

    const TRAPS: &'static [Trap] = &[
        Trap {
            name: "search-lag",
            usual: "2s",
            what: "searches see writes only after so long",
        },
        Trap {
            name: "search-cap",
            usual: "10000",
            what: "results after so many of one search are refused",
        },
        Trap {
            name: "shuffled-results",
            usual: "on",
            what: "results of a batch come in an order of their own",
        },
        Trap {
            name: "partial-updates",
            usual: "off",
            what: "a batch of updates whose items have trace ids is done in part, as of creates",
        },
        Trap {
            name: "edited-behind",
            usual: "off",
            what: "right behind each write of a batch a person adds one to every number that it set",
        },
        Trap {
            name: "reads-fail-partly",
            usual: "off",
            what: "a batch of reads fails for every other record, with 207",
        },
        Trap {
            name: "merges-keep-id",
            usual: "off",
            what: "a merged record keeps the id of its primary, as in older accounts",
        },
        Trap {
            name: "no-deals",
            usual: "off",
            what: "the token has no scope for deals",
        },
        Trap {
            name: "daily-calls",
            usual: "250000",
            what: "calls of one day",
        },
        Trap {
            name: "trims",
            usual: "off",
            what: "texts lose the blanks at their ends; unique ones always do",
        },
        Trap {
            name: "refuses",
            usual: "off",
            what: "no text takes one that begins with `refuse`",
        },
    ];

    const ROUTES: &'static [Route<HubSpot>] = &[
        Route {
            pattern: "GET /account-info/v3/details",
            act: HubSpot::account,
        },
        Route {
            pattern: "GET /crm-object-schemas/v3/schemas",
            act: HubSpot::list_schemas,
        },
        Route {
            pattern: "GET /crm/v3/properties/{object}",
            act: HubSpot::list_properties,
        },
        Route {
            pattern: "POST /crm/v3/properties/{object}",
            act: HubSpot::create_property,
        },
        Route {
            pattern: "GET /crm/v3/objects/{object}",
            act: HubSpot::list,
        },
        Route {
            pattern: "POST /crm/v3/objects/{object}",
            act: HubSpot::create_one,
        },
        Route {
            pattern: "POST /crm/v3/objects/{object}/search",
            act: HubSpot::search,
        },
        Route {
            pattern: "POST /crm/v3/objects/{object}/merge",
            act: HubSpot::merge_two,
        },
        Route {
            pattern: "GET /crm/v3/objects/{object}/{record}",
            act: HubSpot::read_one,
        },
        Route {
            pattern: "PATCH /crm/v3/objects/{object}/{record}",
            act: HubSpot::update_one,
        },
        Route {
            pattern: "DELETE /crm/v3/objects/{object}/{record}",
            act: HubSpot::archive_one,
        },
        Route {
            pattern: "POST /crm/v3/objects/{object}/batch/read",
            act: HubSpot::read_batch,
        },
        Route {
            pattern: "POST /crm/v3/objects/{object}/batch/create",
            act: HubSpot::create_batch,
        },
        Route {
            pattern: "POST /crm/v3/objects/{object}/batch/update",
            act: HubSpot::update_batch,
        },
        Route {
            pattern: "POST /crm/v3/objects/{object}/batch/upsert",
            act: HubSpot::upsert_batch,
        },
        Route {
            pattern: "POST /crm/v3/objects/{object}/batch/archive",
            act: HubSpot::archive_batch,
        },
    ];

    fn new(options: &Options, world: &mut World) -> Result<HubSpot, String> {
        let mut hubspot = HubSpot {
            portal: 62_515,
            next_id: 100,
            objects: Object::standard(),
        };
        if options.has_sample {
            hubspot.make_sample(options.rows, world)?;
        }
        Ok(hubspot)
    }

    fn charges(&self, call: &Call, traps: &Traps) -> Vec<Charge> {
        let charge = |bucket, max, per_ms| Charge {
            bucket,
            whose: String::new(),
            max,
            per_ms,
            lock_ms: 0,
        };
        let daily = traps.number("daily-calls").unwrap_or(usize::MAX);
        let daily = u32::try_from(daily).unwrap_or(u32::MAX);
        let mut charges = vec![
            charge("DAILY", daily, DAY_MS),
            charge("TEN_SECONDLY_ROLLING", BURST, 10_000),
        ];
        if call.endpoint.ends_with("/search") {
            charges.push(charge("SECONDLY", SEARCHES, 1_000));
        }
        charges
    }

    fn is_read(call: &Call) -> bool {
        call.is_read() || call.endpoint.ends_with("/search") || call.endpoint.ends_with("/read")
    }

    fn refusal(refusal: &Refusal) -> Answer {
        match refusal {
            Refusal::NotSignedIn => {
                let message = "Authentication credentials not found. This API supports OAuth 2.0 \
                               authentication.";
                failure(401, "INVALID_AUTHENTICATION", message)
            }
            Refusal::NotAllowed => missing_scopes(),
            Refusal::NoSuchRoute => failure(404, "OBJECT_NOT_FOUND", "No such path."),
            // Nothing says for how long but the policy.
            Refusal::Limited { bucket, .. } if *bucket != "fault" => limited(bucket),
            Refusal::Limited { retry_after_s, .. } => {
                let answer = limited("TEN_SECONDLY_ROLLING");
                match retry_after_s {
                    Some(seconds) => answer.header("retry-after", seconds.to_string()),
                    None => answer,
                }
            }
            Refusal::Status(status) => failure(*status, "INJECTED", "a fault of the double"),
            Refusal::BadJson => invalid("Invalid input JSON on line 1, column 1."),
        }
    }

    fn hand(&mut self, hand: Hand, world: &mut World) -> Result<Value, String> {
        self.by_hand(hand, world)
    }
}

fn missing_scopes() -> Answer {
    let message = "This app hasn't been granted all required scopes to make this call.";
    failure(403, "MISSING_SCOPES", message)
}
