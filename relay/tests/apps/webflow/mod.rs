//! Webflow, Data API version 2: items in the collections of sites, each with a staged copy and perhaps
//! a live one; 100 items a call, 60 calls a minute on the smaller plans, unique slugs.
//!
//! Sources: developers.webflow.com (reference: list, create, update, delete and publish items, field
//! types and item values, rate limits, error handling; guide: publishing with the CMS API; changelog
//! of 23 June 2025), and the models of Webflow's own client. By hand: `create-collection`,
//! `delete-field`, `archive`, `publish-site`, `import`; see `hand.rs`.

mod hand;
mod items;
mod listing;
mod publish;
mod schema;
mod sites;
mod values;

use std::io;

use serde_json::{Value, json};

use crate::host::call::{Answer, Call, Route};
use crate::host::limit::Charge;
use crate::host::options::Options;
use crate::host::trap::{Trap, Traps};
use crate::host::{App, Hand, Refusal, Running, World, start};

use schema::Collection;

/// Calls in a minute of the plans Starter and Basic: doc "Rate limits".
const CALLS: u32 = 60;
const MINUTE_MS: i64 = 60_000;

#[derive(Debug)]
pub struct Webflow {
    site: String,
    user: String,
    collections: Vec<Collection>,
}

impl Webflow {
    pub async fn start(options: Options) -> io::Result<Running> {
        start::<Webflow>(options).await
    }
}

fn error(status: u16, code: &str, message: impl Into<String>, details: Value) -> Answer {
    let message: String = message.into();
    let body =
        json!({ "code": code, "message": message, "externalReference": null, "details": details });
    Answer::json(status, &body)
}

/// One field is at fault.
fn invalid(param: &str, description: impl Into<String>) -> Answer {
    let description: String = description.into();
    let details = json!([{ "param": param, "description": description }]);
    error(400, "validation_error", "Validation Error", details)
}

fn bad_request(message: impl Into<String>) -> Answer {
    error(400, "bad_request", message, json!([]))
}

fn not_found(what: &str) -> Answer {
    let message = format!("Requested resource not found: The {what} cannot be found");
    error(404, "resource_not_found", message, json!([]))
}

fn body(call: &Call) -> Result<Value, Answer> {
    call.json().map_err(|_| Webflow::refusal(&Refusal::BadJson))
}

impl App for Webflow {
    const NAME: &'static str = "webflow";

    const TRAPS: &'static [Trap] = &[
        Trap {
            name: "shuffled-results",
            usual: "off",
            what: "what a call for several items answers comes in an order of its own",
        },
        Trap {
            name: "shuffled-ties",
            usual: "off",
            what: "items of the same moment come in another order each time they are listed",
        },
        Trap {
            name: "page-cap",
            usual: "100",
            what: "a page has no more items than this, whatever is asked for",
        },
        Trap {
            name: "html-rewritten",
            usual: "on",
            what: "rich text comes back as the editor writes it: each element has an id",
        },
        Trap {
            name: "locales",
            usual: "1",
            what: "an item counts as so many of the 100 that a call may have",
        },
        Trap {
            name: "publish-refused",
            usual: "off",
            what: "items can't be published: the site never was",
        },
        Trap {
            name: "publishing-updates",
            usual: "off",
            what: "lastUpdated changes when an item is published",
        },
        Trap {
            name: "refuses",
            usual: "off",
            what: "no text takes one that begins with `refuse`",
        },
    ];

    const ROUTES: &'static [Route<Webflow>] = &[
        Route {
            pattern: "GET /v2/token/authorized_by",
            act: Webflow::authorized_by,
        },
        Route {
            pattern: "GET /v2/token/introspect",
            act: Webflow::introspect,
        },
        Route {
            pattern: "GET /v2/sites",
            act: Webflow::list_sites,
        },
        Route {
            pattern: "GET /v2/sites/{site}",
            act: Webflow::read_site,
        },
        Route {
            pattern: "POST /v2/sites/{site}/publish",
            act: Webflow::publish_site,
        },
        Route {
            pattern: "GET /v2/sites/{site}/collections",
            act: Webflow::list_collections,
        },
        Route {
            pattern: "GET /v2/collections/{collection}",
            act: Webflow::read_collection,
        },
        Route {
            pattern: "POST /v2/collections/{collection}/fields",
            act: Webflow::create_field,
        },
        Route {
            pattern: "GET /v2/collections/{collection}/items",
            act: Webflow::list_items,
        },
        Route {
            pattern: "POST /v2/collections/{collection}/items",
            act: Webflow::create_items,
        },
        Route {
            pattern: "PATCH /v2/collections/{collection}/items",
            act: Webflow::update_items,
        },
        Route {
            pattern: "DELETE /v2/collections/{collection}/items",
            act: Webflow::delete_items,
        },
        Route {
            pattern: "POST /v2/collections/{collection}/items/publish",
            act: Webflow::publish_items,
        },
        Route {
            pattern: "GET /v2/collections/{collection}/items/live",
            act: Webflow::list_live,
        },
        Route {
            pattern: "DELETE /v2/collections/{collection}/items/live",
            act: Webflow::withdraw_items,
        },
        Route {
            pattern: "GET /v2/collections/{collection}/items/{item}",
            act: Webflow::read_item,
        },
        Route {
            pattern: "PATCH /v2/collections/{collection}/items/{item}",
            act: Webflow::update_item,
        },
        Route {
            pattern: "DELETE /v2/collections/{collection}/items/{item}",
            act: Webflow::delete_item,
        },
        Route {
            pattern: "GET /v2/collections/{collection}/items/{item}/live",
            act: Webflow::read_live,
        },
    ];

    fn new(options: &Options, world: &mut World) -> Result<Webflow, String> {
        let mut webflow = Webflow {
            site: world.ids.hex(24),
            user: world.ids.hex(24),
            collections: Vec::new(),
        };
        if options.has_sample {
            webflow.make_sample(options.rows, world)?;
        }
        Ok(webflow)
    }

    fn charges(&self, call: &Call, _traps: &Traps) -> Vec<Charge> {
        let charge = |bucket, max| Charge {
            bucket,
            whose: String::new(),
            max,
            per_ms: MINUTE_MS,
            lock_ms: 0,
        };
        let mut charges = vec![charge("key", CALLS)];
        if call.endpoint.ends_with("{site}/publish") {
            charges.push(charge("publish", 1));
        }
        charges
    }

    fn told_rate(max: u32, left: u32) -> Vec<(&'static str, String)> {
        vec![
            ("x-ratelimit-limit", max.to_string()),
            ("x-ratelimit-remaining", left.to_string()),
        ]
    }

    fn refusal(refusal: &Refusal) -> Answer {
        let of = |status, code: &str, message: &str| error(status, code, message, json!([]));
        match refusal {
            Refusal::NotSignedIn => of(401, "not_authorized", "Request not authorized"),
            Refusal::NotAllowed => {
                let message = "OAuthForbidden: You are missing the following scopes - cms:write";
                of(403, "missing_scopes", message)
            }
            Refusal::NoSuchRoute => of(404, "route_not_found", "Route not found"),
            Refusal::Limited { retry_after_s, .. } => {
                let answer = of(429, "too_many_requests", "Too Many Requests");
                match retry_after_s {
                    Some(seconds) => answer.header("retry-after", seconds.to_string()),
                    None => answer,
                }
            }
            Refusal::Status(500) => of(500, "internal_error", "An internal error occurred"),
            Refusal::Status(status) => of(*status, "injected", "a fault of the double"),
            Refusal::BadJson => bad_request("Bad Request: Request is malformed"),
        }
    }

    fn hand(&mut self, hand: Hand, world: &mut World) -> Result<Value, String> {
        self.by_hand(hand, world)
    }
}
