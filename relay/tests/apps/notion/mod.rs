//! Notion, API version 2025-09-03: pages in data sources, one page a call, about 3 calls a second,
//! stamps of whole minutes, and lists that end after 10,000 results as if that were all.
//!
//! Sources: developers.notion.com (reference: query a data source, page, page property values,
//! request limits, status codes; guides: upgrade to 2025-09-03, query large data sources).
//! By hand: `create-data-source`, `rename-property`, `delete-property`, `restore`, `move`; see `hand.rs`.

mod cells;
mod hand;
mod pages;
mod query;
mod schema;

use std::collections::HashMap;
use std::io;

use serde_json::{Value, json};

use crate::host::call::{Answer, Call, Outcome, Route};
use crate::host::limit::Charge;
use crate::host::options::Options;
use crate::host::trap::{Trap, Traps};
use crate::host::{App, Hand, Refusal, Running, World, start};

use query::Rest;
use schema::DataSource;

/// Calls a second: doc "Request limits", an average.
const CALLS: u32 = 3;

#[derive(Debug)]
pub struct Notion {
    user: String,
    sources: Vec<DataSource>,
    /// What queries have not shown yet, by the cursor that goes on.
    rests: HashMap<String, Rest>,
}

impl Notion {
    pub async fn start(options: Options) -> io::Result<Running> {
        start::<Notion>(options).await
    }

    fn me(&mut self, call: &Call, _world: &mut World) -> Outcome {
        versioned(call)?;
        Ok(Answer::ok(&json!({
            "object": "user", "id": self.user, "type": "bot", "name": "Double", "avatar_url": null,
            "bot": { "owner": { "type": "workspace", "workspace": true }, "workspace_name": "Double" },
        })))
    }
}

/// The header that every call must have.
fn versioned(call: &Call) -> Result<(), Answer> {
    match call.header("notion-version") {
        Some("2025-09-03") => Ok(()),
        Some(_) => Err(error(
            400,
            "validation_error",
            "Notion-Version is not known",
        )),
        None => {
            let message = "Notion-Version header should be defined";
            Err(error(400, "missing_version", message))
        }
    }
}

fn error(status: u16, code: &str, message: impl Into<String>) -> Answer {
    let message: String = message.into();
    let body = json!({ "object": "error", "status": status, "code": code, "message": message });
    Answer::json(status, &body)
}

fn invalid(message: impl Into<String>) -> Answer {
    error(400, "validation_error", message)
}

/// What does not exist and what is not shared look alike.
fn not_found(what: &str, id: &str) -> Answer {
    let message = format!(
        "Could not find {what} with ID: {id}. Make sure the relevant pages and databases are \
         shared with your integration."
    );
    error(404, "object_not_found", message)
}

fn body(call: &Call) -> Result<Value, Answer> {
    call.json().map_err(|_| Notion::refusal(&Refusal::BadJson))
}

impl App for Notion {
    const NAME: &'static str = "notion";

    const TRAPS: &'static [Trap] = &[
        Trap {
            name: "stamps",
            usual: "1m",
            what: "what created_time and last_edited_time are rounded down to",
        },
        Trap {
            name: "query-cap",
            usual: "10000",
            what: "a query ends after so many results, with has_more false",
        },
        Trap {
            name: "references-shown",
            usual: "25",
            what: "a page shows so many references of a relation",
        },
        Trap {
            name: "overloaded",
            usual: "off",
            what: "refusals for rate are 529 in place of 429",
        },
        Trap {
            name: "restores-unstamped",
            usual: "off",
            what: "a page that is taken out of the trash keeps its last_edited_time",
        },
        Trap {
            name: "refuses",
            usual: "off",
            what: "no text takes one that begins with `refuse`",
        },
    ];

    const ROUTES: &'static [Route<Notion>] = &[
        Route {
            pattern: "GET /v1/users/me",
            act: Notion::me,
        },
        Route {
            pattern: "POST /v1/search",
            act: Notion::search,
        },
        Route {
            pattern: "GET /v1/databases/{database}",
            act: Notion::read_database,
        },
        Route {
            pattern: "GET /v1/data_sources/{source}",
            act: Notion::read_source,
        },
        Route {
            pattern: "POST /v1/data_sources/{source}/query",
            act: Notion::query,
        },
        Route {
            pattern: "POST /v1/pages",
            act: Notion::create_page,
        },
        Route {
            pattern: "GET /v1/pages/{page}",
            act: Notion::read_page,
        },
        Route {
            pattern: "PATCH /v1/pages/{page}",
            act: Notion::update_page,
        },
    ];

    fn new(options: &Options, world: &mut World) -> Result<Notion, String> {
        let mut notion = Notion {
            user: world.ids.uuid(),
            sources: Vec::new(),
            rests: HashMap::new(),
        };
        if options.has_sample {
            notion.make_sample(options.rows, world)?;
        }
        Ok(notion)
    }

    fn charges(&self, _call: &Call, traps: &Traps) -> Vec<Charge> {
        let bucket = match traps.is_on("overloaded") {
            true => "overload",
            false => "connection",
        };
        vec![Charge {
            bucket,
            whose: String::new(),
            max: CALLS,
            per_ms: 1_000,
            lock_ms: 0,
        }]
    }

    fn is_read(call: &Call) -> bool {
        call.is_read() || call.endpoint.ends_with("/query") || call.endpoint.ends_with("/search")
    }

    fn refusal(refusal: &Refusal) -> Answer {
        match refusal {
            Refusal::NotSignedIn => error(401, "unauthorized", "API token is invalid."),
            Refusal::NotAllowed => {
                let message = "Insufficient permissions for this endpoint.";
                error(403, "restricted_resource", message)
            }
            Refusal::NoSuchRoute => error(400, "invalid_request_url", "Invalid request URL."),
            Refusal::Limited {
                bucket,
                retry_after_s,
            } => {
                let answer = match *bucket {
                    "overload" => error(529, "service_overload", "Try again later."),
                    _ => error(429, "rate_limited", "You have been rate limited."),
                };
                match retry_after_s {
                    Some(seconds) => answer.header("retry-after", seconds.to_string()),
                    None => answer,
                }
            }
            Refusal::Status(409) => error(409, "conflict_error", "Conflict occurred while saving."),
            Refusal::Status(500) => error(500, "internal_server_error", "Unexpected error"),
            Refusal::Status(503) => error(503, "service_unavailable", "Notion is unavailable."),
            Refusal::Status(status) => error(*status, "injected", "a fault of the double"),
            Refusal::BadJson => error(400, "invalid_json", "Error parsing JSON body."),
        }
    }

    fn hand(&mut self, hand: Hand, world: &mut World) -> Result<Value, String> {
        self.by_hand(hand, world)
    }
}
