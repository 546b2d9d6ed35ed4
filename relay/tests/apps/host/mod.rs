//! What all doubles share: a server on loopback, faults on demand, traps, rate limits, a count of
//! calls, and hands (what a person does in the app itself). What an app says is in its own module.

pub mod call;
pub mod clock;
mod control;
pub mod fault;
pub mod ids;
pub mod limit;
mod notify;
pub mod options;
pub mod past;
mod serve;
pub mod trap;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use call::{Answer, Call, Route};
use clock::Stamp;
use fault::Fault;
use limit::Charge;
use options::Options;
use serve::Host;
use trap::{Trap, Traps};

/// One app's contract. Calls come one at a time: `&mut self` is the whole state.
pub trait App: Sized + Send + 'static {
    /// As on the command line.
    const NAME: &'static str;
    /// What is unpleasant about the app and can be switched; besides those of every app.
    const TRAPS: &'static [Trap];
    const ROUTES: &'static [Route<Self>];
    /// Routes that need no token.
    const OPEN: &'static [&'static str] = &[];

    /// The app as it is before the first call. Fails on a seed that it can't read.
    fn new(options: &Options, world: &mut World) -> Result<Self, String>;

    /// The buckets that a call is charged to.
    fn charges(&self, call: &Call, traps: &Traps) -> Vec<Charge>;

    /// The app's words for what the host refuses on its behalf.
    fn refusal(refusal: &Refusal) -> Answer;

    /// What each answer tells of the call's first bucket: how many calls it takes in all, and how many
    /// more by now.
    fn told_rate(_max: u32, _left: u32) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Whether this token, which the app itself gave out, is still good.
    fn is_good_token(&self, _token: &str, _now: Stamp) -> bool {
        false
    }

    /// Whether a call only reads.
    fn is_read(call: &Call) -> bool {
        call.is_read()
    }

    /// Runs before each call: what time has done meanwhile.
    fn pass_time(&mut self, _world: &mut World) {}

    /// What a person does in the app, past limits, faults and traps.
    fn hand(&mut self, hand: Hand, world: &mut World) -> Result<Value, String>;
}

/// What the host refuses for every app.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// No token, or one that is unknown or no longer good.
    NotSignedIn,
    /// The token may read only.
    NotAllowed,
    NoSuchRoute,
    /// The name of the bucket that is full, and the wait in whole seconds where it is told.
    Limited {
        bucket: &'static str,
        retry_after_s: Option<u64>,
    },
    /// An injected fault.
    Status(u16),
    BadJson,
}

/// What somebody does by hand. Fields are the app's own JSON.
#[derive(Clone, Debug)]
pub enum Hand {
    Tables,
    ReadAll {
        table: String,
    },
    Create {
        table: String,
        fields: Value,
    },
    Update {
        table: String,
        id: String,
        fields: Value,
    },
    Delete {
        table: String,
        id: String,
    },
    /// What only this app has: `merge`, `rename-field`, …; its module documents them.
    Other {
        what: String,
        with: Value,
    },
}

/// What surrounds an app during one call.
pub struct World {
    /// Milliseconds since 1970 by the app's own clock.
    pub now: Stamp,
    pub traps: Traps,
    /// `http://127.0.0.1:1234`, without a slash at the end.
    pub address: String,
    pub ids: ids::Ids,
    /// To be sent after the call.
    pub notices: Vec<notify::Notice>,
}

impl World {
    /// The moment that reads see: in the past while `lag` (a trap of a duration) is set.
    pub fn seen(&self, lag: &str) -> Stamp {
        self.now - self.traps.ms(lag)
    }
}

pub use notify::Notice;

/// A record as a person sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub id: String,
    pub fields: Value,
}

/// A double that listens. Dropped, it stops.
pub struct Running {
    /// `http://127.0.0.1:1234`, without a slash at the end.
    pub address: String,
    /// What every call must bring.
    pub token: String,
    host: Arc<dyn Control>,
    task: JoinHandle<()>,
}

/// A host with the app's type erased.
trait Control: Send + Sync {
    fn hand(&self, hand: Hand) -> Result<Value, String>;
    fn fault(&self, fault: Fault);
    fn clear_faults(&self);
    fn trap(&self, setting: &str) -> Result<(), String>;
    fn calls(&self) -> BTreeMap<String, u64>;
    fn clear_calls(&self);
    fn advance(&self, by: Duration);
    fn traps(&self) -> Traps;
}

/// Starts `A`, listening on loopback.
pub(crate) async fn start<A: App>(options: Options) -> io::Result<Running> {
    let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], options.port))).await?;
    let address = format!("http://{}", listener.local_addr()?);
    let host = Arc::new(Host::<A>::new(&options, address.clone()).map_err(invalid)?);
    let task = tokio::spawn(serve::accept(listener, Arc::clone(&host)));
    Ok(Running {
        address,
        token: options.token,
        host,
        task,
    })
}

impl Running {
    /// Names of tables, as the other methods take them.
    pub fn tables(&self) -> Vec<String> {
        let tables = self.host.hand(Hand::Tables).unwrap_or_default();
        let names = tables.as_array().cloned().unwrap_or_default();
        let text = |name: &Value| name.as_str().map(str::to_owned);
        names.iter().filter_map(text).collect()
    }

    /// Every record of a table as it is now, whatever reads are made to see.
    pub fn rows(&self, table: &str) -> Result<Vec<Row>, String> {
        let table = table.to_owned();
        let rows = self.host.hand(Hand::ReadAll { table })?;
        let row = |row: &Value| Row {
            id: row["id"].as_str().unwrap_or_default().to_owned(),
            fields: row["fields"].clone(),
        };
        Ok(rows
            .as_array()
            .map(|rows| rows.iter().map(row).collect())
            .unwrap_or_default())
    }

    /// A person makes a record; answers its id.
    pub fn create(&self, table: &str, fields: Value) -> Result<String, String> {
        let table = table.to_owned();
        let made = self.host.hand(Hand::Create { table, fields })?;
        Ok(made.as_str().unwrap_or_default().to_owned())
    }

    /// A person changes some fields of a record.
    pub fn update(&self, table: &str, id: &str, fields: Value) -> Result<(), String> {
        let (table, id) = (table.to_owned(), id.to_owned());
        self.host.hand(Hand::Update { table, id, fields }).map(drop)
    }

    pub fn delete(&self, table: &str, id: &str) -> Result<(), String> {
        let (table, id) = (table.to_owned(), id.to_owned());
        self.host.hand(Hand::Delete { table, id }).map(drop)
    }

    /// What only this app has; see its module.
    pub fn hand(&self, what: &str, with: Value) -> Result<Value, String> {
        let what = what.to_owned();
        self.host.hand(Hand::Other { what, with })
    }

    /// The next calls that fit meet this fault. Faults wait in the order in which they were set.
    pub fn fault(&self, fault: Fault) {
        self.host.fault(fault);
    }

    pub fn clear_faults(&self) {
        self.host.clear_faults();
    }

    /// Switches a trap, as on the command line: `stale-reads=2s`, `stale-reads=off`.
    pub fn trap(&self, setting: &str) -> Result<(), String> {
        self.host.trap(setting)
    }

    /// How often each endpoint was called since the start or the last `clear_calls`, by method and
    /// pattern: `PATCH /v0/{base}/{table}`. What was refused counts too.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.host.calls()
    }

    pub fn clear_calls(&self) {
        self.host.clear_calls();
    }

    /// Moves the app's clock ahead: links and hooks expire, locks end.
    pub fn advance(&self, by: Duration) {
        self.host.advance(by);
    }

    /// Serves until it is dropped.
    pub async fn wait(mut self) {
        // The task ends only when it is aborted.
        let _ended = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
