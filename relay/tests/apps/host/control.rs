//! What `Running` offers, over HTTP under `/_double`, for tests in other languages. It needs no
//! token and is not counted.

use serde_json::{Value, json};

use super::call::{Answer, Call};
use super::fault::Fault;
use super::trap::duration;
use super::{Control, Hand};

pub(super) const PREFIX: &str = "_double";

pub(super) fn answer(host: &dyn Control, call: &Call) -> Answer {
    match act(host, call) {
        Ok(done) => Answer::ok(&done),
        Err(why) => Answer::json(400, &json!({ "error": why })),
    }
}

fn act(host: &dyn Control, call: &Call) -> Result<Value, String> {
    let what = call.path.get(1).map_or("", String::as_str);
    let body = call.json().map_err(|error| error.to_string())?;
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let done = Value::Null;
    match (call.method.as_str(), what) {
        ("GET", "calls") => Ok(json!(host.calls())),
        ("DELETE", "calls") => {
            host.clear_calls();
            Ok(done)
        }
        ("POST", "faults") => host_fault(host, &body),
        ("DELETE", "faults") => {
            host.clear_faults();
            Ok(done)
        }
        ("PUT", "traps") => set_traps(host, &body),
        ("POST", "advance") => {
            let by = duration(&text("by")).ok_or("by: a time like 31s is meant")?;
            host.advance(by);
            Ok(done)
        }
        ("GET", "tables") => host.hand(Hand::Tables),
        ("GET", "rows") => host.hand(Hand::ReadAll {
            table: call.query("table").unwrap_or_default().to_owned(),
        }),
        ("POST", "rows") => host.hand(Hand::Create {
            table: text("table"),
            fields: body["fields"].clone(),
        }),
        ("PATCH", "rows") => host.hand(Hand::Update {
            table: text("table"),
            id: text("id"),
            fields: body["fields"].clone(),
        }),
        ("DELETE", "rows") => host.hand(Hand::Delete {
            table: text("table"),
            id: text("id"),
        }),
        ("POST", "hand") => host.hand(Hand::Other {
            what: text("what"),
            with: body["with"].clone(),
        }),
        (method, what) => Err(format!(
            "{method} /{PREFIX}/{what}: there is no such control"
        )),
    }
}

/// `{"harm": "status=503", "at": "PATCH", "after": 1, "times": 2}`
fn host_fault(host: &dyn Control, body: &Value) -> Result<Value, String> {
    let number = |name: &str, usual| {
        let number = body[name]
            .as_u64()
            .and_then(|number| u32::try_from(number).ok());
        number.unwrap_or(usual)
    };
    host.fault(Fault {
        harm: Fault::parse_harm(body["harm"].as_str().unwrap_or_default())?,
        at: body["at"].as_str().unwrap_or_default().to_owned(),
        after: number("after", 0),
        times: number("times", 1),
    });
    Ok(Value::Null)
}

/// `{"stale-reads": "2s", "read-only": "off"}`
fn set_traps(host: &dyn Control, body: &Value) -> Result<Value, String> {
    let settings = body.as_object().ok_or("traps by name are meant")?;
    for (name, value) in settings {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        host.trap(&format!("{name}={value}"))?;
    }
    Ok(Value::Null)
}
