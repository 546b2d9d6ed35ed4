//! Who may import whom. `ARCHITECTURE.md` shows the same table with the reasons in prose.

use crate::Violation;
use crate::paths::{Named, module_of, named};
use crate::source::Source;

/// One row: files under `room` may not name `forbidden`, but for `except`.
struct Fence {
    /// Module path, the crate first.
    room: &'static str,
    forbidden: &'static [&'static str],
    except: &'static [&'static str],
    remedy: &'static str,
}

const FENCES: &[Fence] = &[
    Fence {
        room: "tidegate_sync",
        forbidden: &["tidegate_shared", "tidegate_agent", "tidegate_relay"],
        except: &[],
        remedy: "sync is the vocabulary and the decision: it imports nothing of ours",
    },
    Fence {
        room: "tidegate_sync",
        forbidden: &[
            "std::time",
            "std::net",
            "std::fs",
            "std::env",
            "std::thread",
            "std::process",
            "tokio",
            "rand",
        ],
        except: &[],
        remedy: "sync has no I/O, no clock, no randomness: pass the value in",
    },
    Fence {
        room: "tidegate_shared",
        forbidden: &["tidegate_sync", "tidegate_agent", "tidegate_relay"],
        except: &[],
        remedy: "both ends agree on shared: it imports nothing of ours",
    },
    Fence {
        room: "tidegate_agent",
        forbidden: &["tidegate_sync", "tidegate_relay"],
        except: &[],
        remedy: "an agent decides nothing about data: it imports shared alone",
    },
    Fence {
        room: "tidegate_agent::origin",
        forbidden: &["tidegate_agent::tunnel", "tidegate_agent::identity"],
        except: &[],
        remedy: "the gate is tested alone, without any tunnel: pass in what it needs",
    },
    Fence {
        room: "tidegate_relay::identity",
        forbidden: &[
            "tidegate_relay::tunnel",
            "tidegate_relay::endpoint",
            "tidegate_relay::engine",
            "tidegate_relay::api",
            "tidegate_sync",
        ],
        except: &[],
        remedy: "identity keeps the certificate authority and serves the tunnel: turn the call around",
    },
    Fence {
        room: "tidegate_relay::pairing",
        forbidden: &[
            "tidegate_relay::endpoint",
            "tidegate_relay::engine",
            "tidegate_relay::api",
            "tidegate_sync",
        ],
        except: &[],
        remedy: "pairing mints, redeems and revokes: it knows agents, not data",
    },
    Fence {
        room: "tidegate_relay::tunnel",
        forbidden: &[
            "tidegate_relay::endpoint",
            "tidegate_relay::engine",
            "tidegate_relay::api",
            "tidegate_sync",
        ],
        except: &[],
        remedy: "the tunnel moves bytes: it knows no database and no sync",
    },
    Fence {
        room: "tidegate_relay::endpoint",
        forbidden: &["tidegate_relay"],
        except: &["tidegate_relay::endpoint"],
        remedy: "an endpoint is handed a Dial and can't tell a tunnel from a socket",
    },
    Fence {
        room: "tidegate_relay::endpoint",
        forbidden: &["tidegate_sync"],
        except: &[
            "tidegate_sync::model",
            "tidegate_sync::value",
            "tidegate_sync::codec",
            "tidegate_sync::baseline",
            "tidegate_sync::reference",
        ],
        remedy: "an endpoint knows the sync model (nouns, values, types, fingerprints), not how it decides",
    },
    Fence {
        room: "tidegate_relay::engine",
        forbidden: &[
            "tidegate_relay::tunnel",
            "tidegate_relay::api",
            "tidegate_relay::pairing",
        ],
        except: &[],
        remedy: "the engine drives endpoints: how bytes travel and who asks is wired in app",
    },
    Fence {
        room: "tidegate_relay::engine",
        forbidden: &[
            "tidegate_relay::endpoint::postgres",
            "tidegate_relay::endpoint::rest",
        ],
        except: &[],
        remedy: "the engine knows the traits Endpoint and Dial: app chooses who stands behind them",
    },
    Fence {
        room: "tidegate_relay::store",
        forbidden: &["tidegate_relay"],
        except: &["tidegate_relay::store"],
        remedy: "the store keeps nouns of the sync model and knows no other room",
    },
    Fence {
        room: "tidegate_relay::notify",
        forbidden: &[
            "tidegate_relay::api",
            "tidegate_relay::pairing",
            "tidegate_relay::tunnel",
            "tidegate_relay::endpoint::postgres",
            "tidegate_relay::endpoint::rest",
        ],
        except: &[],
        remedy: "notifications are made of views that app hands in, and know no side and no caller",
    },
    Fence {
        room: "tidegate_relay::api",
        forbidden: &[
            "tidegate_relay::endpoint::postgres",
            "tidegate_relay::endpoint::rest",
        ],
        except: &[],
        remedy: "the API asks the engine's handle, never an endpoint's insides",
    },
    Fence {
        room: "tidegate_relay",
        forbidden: &["tidegate_relay::app"],
        except: &[],
        remedy: "app knows every room, so nobody imports app: pass in what is needed",
    },
];

/// External crates that only some rooms may name.
const KEPT: &[(&str, &[&str], &str)] = &[
    (
        "bincode",
        &["tidegate_shared::wire"],
        "bincode is unmaintained and must stay bounded: only shared/wire decodes",
    ),
    (
        "quinn",
        &["tidegate_shared::tunnel"],
        "the transport hides behind shared::tunnel::Tunnel",
    ),
    (
        "tokio_rustls",
        &[
            "tidegate_shared::tunnel",
            "tidegate_agent::origin",
            "tidegate_relay::endpoint::postgres",
        ],
        "the tunnel's TLS hides behind shared::tunnel::Tunnel; the others speak it to PostgreSQL",
    ),
    (
        "lettre",
        &["tidegate_relay::notify"],
        "mail is sent by relay/notify/smtp.rs alone, which says what may be told of a failure",
    ),
    (
        "rusqlite",
        &["tidegate_relay::store"],
        "state is the store's: add a function there, named for what it does",
    ),
    (
        "tokio_postgres",
        &["tidegate_relay::endpoint::postgres"],
        "PostgreSQL is spoken in relay/endpoint/postgres alone",
    ),
];

/// The binary and the file that wires.
const KNOWS_APP: [&str; 3] = ["relay/main.rs", "relay/lib.rs", "relay/app.rs"];

pub fn check(source: &Source) -> Vec<Violation> {
    let Some(module) = module_of(&source.path) else {
        return Vec::new();
    };
    let here = Named {
        segments: module,
        line: 1,
    };
    let mut found = Vec::new();
    for path in named(source) {
        if !source.is_outside_rooms() {
            check_fences(source, &here, &path, &mut found);
        }
        check_kept(source, &here, &path, &mut found);
    }
    found
}

fn check_fences(source: &Source, here: &Named, path: &Named, found: &mut Vec<Violation>) {
    for fence in FENCES.iter().filter(|fence| here.is_under(fence.room)) {
        let is_any = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.is_under(prefix));
        if !is_any(fence.forbidden) || is_any(fence.except) {
            continue;
        }
        let is_app = fence.forbidden == ["tidegate_relay::app"];
        let knows_app =
            KNOWS_APP.contains(&source.path.as_str()) || here.is_under("tidegate_relay::app");
        if is_app && knows_app {
            continue;
        }
        let what = format!("{} names {}", here.text(), path.text());
        found.push(source.violation(path.line, what, fence.remedy));
    }
}

fn check_kept(source: &Source, here: &Named, path: &Named, found: &mut Vec<Violation>) {
    for (kept, rooms, remedy) in KEPT {
        let may_name = rooms.iter().any(|room| here.is_under(room));
        // Tests speak to a real PostgreSQL as its administrator, and look into the store's file.
        let is_test = source.is_outside_rooms() && *kept != "bincode";
        if path.is_under(kept) && !may_name && !is_test {
            let what = format!("{} names {}", here.text(), path.text());
            found.push(source.violation(path.line, what, remedy));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_refused(path: &str, text: &str) {
        let found = check(&Source::new(path, text));
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
    }

    fn check_allowed(path: &str, text: &str) {
        assert_eq!(check(&Source::new(path, text)), [], "{path}: {text}");
    }

    #[test]
    fn sync_and_shared_import_nothing_of_ours() {
        check_refused("relay/sync/plan.rs", "use tidegate_shared::wire;");
        check_refused("shared/wire/mod.rs", "use tidegate_sync::value::Value;");
        check_refused("agent/tunnel/dial.rs", "use tidegate_sync::model::Side;");
        check_allowed("agent/tunnel/dial.rs", "use tidegate_shared::wire::Hello;");
    }

    #[test]
    fn sync_has_no_clock_no_io_and_no_randomness() {
        check_refused("relay/sync/session/live.rs", "use std::time::Instant;");
        check_refused("relay/sync/plan.rs", "fn f() { tokio::spawn(g()) }");
        check_refused("relay/sync/plan.rs", "use std::{fs, fmt};");
        check_allowed("relay/sync/plan.rs", "use std::collections::HashMap;");
        check_allowed("relay/sync/tests/sim/main.rs", "use std::time::Instant;");
    }

    #[test]
    fn gate_knows_no_tunnel() {
        check_refused("agent/origin/gate.rs", "use crate::tunnel::serve;");
        check_refused("agent/origin/mod.rs", "fn f() { super::tunnel::serve() }");
        check_allowed("agent/tunnel/serve.rs", "use crate::origin::Gate;");
    }

    #[test]
    fn endpoint_names_neither_tunnel_nor_store_nor_engine() {
        check_refused("relay/endpoint/mod.rs", "use crate::tunnel::Agents;");
        check_refused(
            "relay/endpoint/postgres/apply.rs",
            "use crate::store::Store;",
        );
        check_refused(
            "relay/endpoint/postgres/apply.rs",
            "use super::super::super::engine::X;",
        );
        check_refused(
            "relay/endpoint/postgres/apply.rs",
            "use tidegate_sync::plan::Case;",
        );
        check_allowed(
            "relay/endpoint/postgres/apply.rs",
            "use crate::endpoint::Dial;",
        );
        check_allowed(
            "relay/endpoint/postgres/apply.rs",
            "use tidegate_sync::model::Key;",
        );
    }

    #[test]
    fn store_knows_only_the_sync_model() {
        check_refused("relay/store/links.rs", "use crate::engine::Handle;");
        check_refused("relay/store/links.rs", "use crate::config::Config;");
        check_allowed("relay/store/links.rs", "use tidegate_sync::model::Link;");
        check_allowed("relay/store/links.rs", "use super::Store;");
    }

    #[test]
    fn engine_and_tunnel_do_not_know_each_other() {
        check_refused("relay/engine/driver.rs", "use crate::tunnel::Agents;");
        check_refused(
            "relay/engine/driver.rs",
            "use crate::endpoint::postgres::Postgres;",
        );
        check_refused("relay/tunnel/listen.rs", "use crate::engine::Handle;");
        check_allowed("relay/engine/driver.rs", "use crate::endpoint::Endpoint;");
    }

    #[test]
    fn notifications_know_neither_api_nor_sides() {
        check_refused("relay/notify/watch.rs", "use crate::api::Api;");
        check_refused("relay/api/channels.rs", "use lettre::Message;");
        check_allowed("relay/notify/smtp.rs", "use lettre::Message;");
        check_allowed("relay/api/channels.rs", "use crate::notify::Courier;");
    }

    #[test]
    fn nobody_imports_app() {
        check_refused("relay/cli.rs", "fn f() { crate::app::serve() }");
        check_refused("relay/api/mod.rs", "use super::app::App;");
        check_allowed(
            "relay/main.rs",
            "fn main() { tidegate_relay::app::serve() }",
        );
    }

    #[test]
    fn kept_crates_are_named_in_their_room_alone() {
        check_refused("shared/tunnel/quic.rs", "use bincode::Encode;");
        check_refused("shared/tests/wire/main.rs", "fn f() { bincode::decode(x) }");
        check_refused("relay/engine/driver.rs", "use rusqlite::Connection;");
        check_refused("agent/tunnel/dial.rs", "use quinn::Endpoint;");
        check_refused("relay/tunnel/listen.rs", "use tokio_rustls::TlsAcceptor;");
        check_refused("relay/api/mod.rs", "use tokio_postgres::Client;");
        check_allowed("shared/wire/frame.rs", "use bincode::Encode;");
        check_allowed("relay/tests/it/main.rs", "use tokio_postgres::Client;");
    }
}
