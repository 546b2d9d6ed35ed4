//! Takes connections and calls: faults first, then limits, the token, and the app itself.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::call::{Answer, Call, params};
use super::clock::Clock;
use super::clock::http_date;
use super::fault::{Fault, Faults, Harm};
use super::ids::Ids;
use super::limit::Limits;
use super::options::Options;
use super::trap::Traps;
use super::{App, Control, Hand, Notice, Refusal, World, control, notify};

/// Larger requests are refused; no app takes as much.
const BODY_BYTES_MAX: usize = 32 << 20;
/// Notices that wait to be sent; further ones are lost, as at an app whose queue is full.
const NOTICES_MAX: usize = 10_000;

pub(super) struct Host<A> {
    state: Mutex<State<A>>,
    clock: Clock,
    token: String,
    notices: mpsc::Sender<Notice>,
    /// Taken by `accept`.
    outbox: Mutex<Option<mpsc::Receiver<Notice>>>,
}

struct State<A> {
    app: A,
    world: World,
    limits: Limits,
    faults: Faults,
    calls: BTreeMap<String, u64>,
}

/// The connection ends here.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut on purpose")
    }
}

impl std::error::Error for Cut {}

type Body = UnsyncBoxBody<Bytes, Cut>;

impl<A: App> Host<A> {
    pub(super) fn new(options: &Options, address: String) -> Result<Host<A>, String> {
        let mut traps = Traps::new(A::TRAPS);
        for setting in &options.traps {
            traps.set(setting)?;
        }
        let clock = Clock::default();
        let mut world = World {
            now: clock.now() + traps.ms("clock-skew"),
            traps,
            address,
            ids: Ids::new(options.seed),
            notices: Vec::new(),
        };
        let mut app = A::new(options, &mut world)?;
        for (what, with) in &options.made {
            let (what, with) = (what.clone(), with.clone());
            app.hand(Hand::Other { what, with }, &mut world)?;
        }
        let (notices, outbox) = mpsc::channel(NOTICES_MAX);
        Ok(Host {
            state: Mutex::new(State {
                app,
                world,
                limits: Limits::default(),
                faults: Faults::default(),
                calls: BTreeMap::new(),
            }),
            clock,
            token: options.token.clone(),
            notices,
            outbox: Mutex::new(Some(outbox)),
        })
    }

    /// A panic of one call must not spoil the next.
    fn state(&self) -> MutexGuard<'_, State<A>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.world.now = self.clock.now() + state.world.traps.ms("clock-skew");
        state
    }

    fn send(&self, state: &mut State<A>) {
        for notice in state.world.notices.drain(..) {
            // A full queue loses notices, as at the app.
            let _lost = self.notices.try_send(notice);
        }
    }

    /// Finds the call's route, counts it, and tells which fault it meets and how slow it is.
    fn meet(&self, call: &mut Call) -> (Option<Harm>, Duration) {
        let mut state = self.state();
        let found = A::ROUTES.iter().find_map(|route| {
            let params = params(route.pattern, &call.method, &call.path)?;
            Some((route.pattern, params))
        });
        (call.endpoint, call.params) = found.unwrap_or(("unknown", Vec::new()));
        *state.calls.entry(call.endpoint.to_owned()).or_default() += 1;
        let latency = state.world.traps.ms("latency");
        let latency = Duration::from_millis(u64::try_from(latency).unwrap_or(0));
        (state.faults.meet(call.endpoint, &call.target), latency)
    }

    fn act(&self, call: &Call) -> Answer {
        let mut guard = self.state();
        let state = &mut *guard;
        state.app.pass_time(&mut state.world);
        let mut rate = Vec::new();
        let answer = match self.admit(state, call, &mut rate) {
            Ok(()) => {
                let route = A::ROUTES
                    .iter()
                    .find(|route| route.pattern == call.endpoint);
                let act = route.map(|route| route.act);
                act.map_or_else(
                    || A::refusal(&Refusal::NoSuchRoute),
                    |act| {
                        act(&mut state.app, call, &mut state.world).unwrap_or_else(|answer| answer)
                    },
                )
            }
            Err(refusal) => A::refusal(&refusal),
        };
        self.send(state);
        let answer = rate
            .into_iter()
            .fold(answer, |answer, (name, value)| answer.header(name, value));
        // Its own time, which may be wrong or ahead.
        answer.header("date", http_date(state.world.now))
    }

    fn admit(
        &self,
        state: &mut State<A>,
        call: &Call,
        rate: &mut Vec<(&'static str, String)>,
    ) -> Result<(), Refusal> {
        let traps = &state.world.traps;
        if !A::OPEN.contains(&call.endpoint) {
            let token = call
                .header("authorization")
                .and_then(|text| text.strip_prefix("Bearer "));
            let is_known = token.is_some_and(|token| {
                token == self.token || state.app.is_good_token(token, state.world.now)
            });
            if !is_known || traps.is_on("token-revoked") {
                return Err(Refusal::NotSignedIn);
            }
        }
        if let Some(times) = traps.number("limits") {
            let mut charges = state.app.charges(call, traps);
            // A quota of a month is what its trap says.
            for charge in charges
                .iter_mut()
                .filter(|charge| charge.per_ms <= 3_600_000)
            {
                charge.max = charge
                    .max
                    .saturating_mul(u32::try_from(times).unwrap_or(u32::MAX));
            }
            let tells = traps.is_on("retry-after");
            let taken = state.limits.take(&charges, state.world.now);
            if let Some(first) = charges.first() {
                *rate = A::told_rate(first.max, state.limits.left(first));
            }
            taken.map_err(|full| {
                let wait_s = u64::try_from(full.wait_ms).unwrap_or(0).div_ceil(1_000);
                Refusal::Limited {
                    bucket: full.bucket,
                    retry_after_s: tells.then_some(wait_s.max(1)),
                }
            })?;
        }
        if state.world.traps.is_on("read-only") && !A::is_read(call) {
            return Err(Refusal::NotAllowed);
        }
        Ok(())
    }
}

impl<A: App> Control for Host<A> {
    fn hand(&self, hand: Hand) -> Result<Value, String> {
        let mut guard = self.state();
        let state = &mut *guard;
        state.app.pass_time(&mut state.world);
        let done = state.app.hand(hand, &mut state.world);
        self.send(state);
        done
    }

    fn fault(&self, fault: Fault) {
        self.state().faults.add(fault);
    }

    fn clear_faults(&self) {
        self.state().faults.clear();
    }

    fn trap(&self, setting: &str) -> Result<(), String> {
        self.state().world.traps.set(setting)
    }

    fn calls(&self) -> BTreeMap<String, u64> {
        self.state().calls.clone()
    }

    fn clear_calls(&self) {
        self.state().calls.clear();
    }

    fn advance(&self, by: Duration) {
        self.clock
            .advance(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
    }

    fn traps(&self) -> Traps {
        self.state().world.traps.clone()
    }
}

pub(super) async fn accept<A: App>(listener: TcpListener, host: Arc<Host<A>>) {
    let mut tasks = JoinSet::new();
    let outbox = host
        .outbox
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(outbox) = outbox {
        let control: Arc<dyn Control> = Arc::<Host<A>>::clone(&host);
        tasks.spawn(notify::send(outbox, control));
    }
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    tasks.spawn(connection(stream, Arc::clone(&host)));
                }
            }
            Some(_ended) = tasks.join_next() => {}
        }
    }
}

async fn connection<A: App>(stream: TcpStream, host: Arc<Host<A>>) {
    // A client that does not answer waits for nothing: answers are small.
    let _slower = stream.set_nodelay(true);
    let service = service_fn(move |request| serve(request, Arc::clone(&host)));
    // An error is a client that left, or our own cut.
    let _cut = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn serve<A: App>(
    request: Request<Incoming>,
    host: Arc<Host<A>>,
) -> Result<Response<Body>, Cut> {
    let mut call = read(request).await?;
    if call
        .path
        .first()
        .is_some_and(|part| part == control::PREFIX)
    {
        return whole(&control::answer(&*host, &call));
    }
    let (harm, latency) = host.meet(&mut call);
    tokio::time::sleep(latency).await;
    match harm {
        Some(Harm::CutBefore) => return Err(Cut),
        Some(Harm::Status(status)) => return whole(&A::refusal(&Refusal::Status(status))),
        Some(Harm::Limited(retry_after_s)) => {
            let bucket = "fault";
            return whole(&A::refusal(&Refusal::Limited {
                bucket,
                retry_after_s,
            }));
        }
        Some(Harm::Slow(wait)) => tokio::time::sleep(wait).await,
        _ => {}
    }
    let answer = host.act(&call);
    match harm {
        Some(Harm::CutAfter) => Err(Cut),
        Some(Harm::StatusAfter(status)) => whole(&A::refusal(&Refusal::Status(status))),
        Some(Harm::HalfAnswer) => half(&answer),
        Some(Harm::LateAnswer(wait)) => {
            tokio::time::sleep(wait).await;
            whole(&answer)
        }
        _ => whole(&answer),
    }
}

async fn read(request: Request<Incoming>) -> Result<Call, Cut> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let decoded = |part: &str| decode(part, false);
    let parts = head.uri.path().split('/').filter(|part| !part.is_empty());
    let pairs = head.uri.query().unwrap_or_default().split('&');
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name, true), decode(value, true))
    };
    Ok(Call {
        method: head.method.as_str().to_owned(),
        path: parts.map(decoded).collect(),
        target: head.uri.to_string(),
        query: pairs.filter(|text| !text.is_empty()).map(pair).collect(),
        headers: head.headers,
        body: body.map_err(|_| Cut)?.to_bytes(),
        endpoint: "unknown",
        params: Vec::new(),
    })
}

/// Undoes percent encoding; in queries and forms `+` is a space.
pub(super) fn decode(text: &str, is_form: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) if is_form => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn whole(answer: &Answer) -> Result<Response<Body>, Cut> {
    let body = Full::new(answer.body.clone()).map_err(|never: Infallible| match never {});
    respond(answer, body.boxed_unsync())
}

fn half(answer: &Answer) -> Result<Response<Body>, Cut> {
    let half = answer.body.slice(..answer.body.len() / 2);
    let body = StreamBody::new(stream::iter([Ok(Frame::data(half)), Err(Cut)]));
    respond(answer, body.boxed_unsync())
}

fn respond(answer: &Answer, body: Body) -> Result<Response<Body>, Cut> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    response.body(body).map_err(|_| Cut)
}
