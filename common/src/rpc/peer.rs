//! A peer that is called again and again: owns at most one connection and redials for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::stream::FuturesUnordered;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::RequestName;
use tarpc::client::{NewClient, RpcError};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};

use super::call::{CallError, MAX_CALL_TIMEOUT, chain, client_config, with_deadline};
use super::dial::{ClientTransport, DialError, dial};
use super::hello::Hello;

/// Calls that may wait for an answer at a time; further ones fail as not sent. The other side's cap per connection.
pub const MAX_OPEN_CALLS: usize = 4_096;

/// A handle to a peer's task. Dropping it ends the task and the connection; no event follows.
///
/// Every call ends in exactly one event, `Answered` or `Failed`, as long as the handle lives.
#[derive(Debug)]
pub struct Peer<T, Req> {
    orders: mpsc::UnboundedSender<Order<T, Req>>,
}

/// What became of a peer or a call.
#[derive(Debug)]
pub enum PeerEvent<T, Resp> {
    /// A connection is up; calls go out from here on.
    Connected {
        /// Who answered. Whether it is the right one is for the receiver to see.
        hello: Hello,
    },
    /// The connection is gone, redialling has begun. The calls on it failed just before.
    Disconnected {
        /// Why, for the log.
        why: String,
    },
    /// Dialling failed. Told once for each change of the reason, not for each attempt.
    Unreachable {
        /// Why.
        why: DialError,
    },
    /// A call was answered.
    Answered {
        /// As given to [`Peer::send`].
        tag: T,
        /// The answer.
        response: Resp,
    },
    /// A call has no answer.
    Failed {
        /// As given to [`Peer::send`].
        tag: T,
        /// What is known of its effect.
        why: CallError,
    },
}

/// Longest wait for a connection to come about; then the next attempt.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// First pause between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Longest one: a peer that comes back is found within a second.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Orders taken in one turn.
const ORDER_BATCH: usize = 256;

#[derive(Debug)]
enum Order<T, Req> {
    Call { tag: T, request: Req, within: Duration },
    Retarget(String),
}

impl<T, Req> Peer<T, Req>
where
    T: Send + 'static,
    Req: RequestName + Serialize + Send + 'static,
{
    /// Starts dialling `address` (`host:port`). `hello` makes this side's hello anew for each attempt; `events` is
    /// called from the peer's task and must not block: usually it sends into the owner's queue.
    pub fn spawn<Resp>(
        address: impl Into<String>,
        hello: impl FnMut() -> Hello + Send + 'static,
        events: impl FnMut(PeerEvent<T, Resp>) + Send + 'static,
    ) -> Self
    where
        Resp: DeserializeOwned + Send + 'static,
    {
        let (orders, receiver) = mpsc::unbounded_channel();
        let (address, pause) = (address.into(), FIRST_PAUSE);
        let redialler = Redialler { orders: receiver, address, hello, events, pause, told: None };
        tokio::spawn(redialler.run());
        Self { orders }
    }

    /// Queues a call. Fails as not sent at once while there is no connection. When no answer has come `within` that
    /// time ([`MAX_CALL_TIMEOUT`] at the most), the connection is dropped and all its calls fail: a connection that
    /// lost bytes never recovers.
    pub fn send(&self, tag: T, request: Req, within: Duration) {
        // Fails only when the task broke down: there is nobody to tell then but the log, which has the panic.
        let _ = self.orders.send(Order::Call { tag, request, within });
    }

    /// Goes to another address from now on: a connection to the old one is dropped.
    pub fn retarget(&self, address: impl Into<String>) {
        let _ = self.orders.send(Order::Retarget(address.into()));
    }
}

/// The task's state between connections.
struct Redialler<T, Req, H, E> {
    orders: mpsc::UnboundedReceiver<Order<T, Req>>,
    address: String,
    hello: H,
    events: E,
    pause: Duration,
    /// The last reason told for not reaching the peer.
    told: Option<String>,
}

/// What ended a wait or a connection.
enum Stop {
    /// The handle was dropped.
    Dropped,
    /// Another address.
    Moved,
    /// The connection failed, or a call on it timed out.
    Lost(String),
}

impl<T, Req, H, E> Redialler<T, Req, H, E>
where
    T: Send + 'static,
    Req: RequestName + Serialize + Send + 'static,
    H: FnMut() -> Hello + Send,
{
    async fn run<Resp>(mut self)
    where
        E: FnMut(PeerEvent<T, Resp>) + Send,
        Resp: DeserializeOwned + Send + 'static,
    {
        loop {
            let (address, hello) = (self.address.clone(), (self.hello)());
            let attempt = async move { dial(&address, &hello, DIAL_TIMEOUT).await };
            match self.refusing_calls(attempt).await {
                Err(Stop::Dropped) => return,
                Err(_) => continue,
                Ok(Err(why)) => self.tell_unreachable(why),
                Ok(Ok((transport, hello))) => {
                    self.told = None;
                    (self.events)(PeerEvent::Connected { hello });
                    let since = Instant::now();
                    let why = match self.connected(transport).await {
                        Stop::Dropped => return,
                        Stop::Moved => format!("the address is now {}", self.address),
                        Stop::Lost(why) => why,
                    };
                    (self.events)(PeerEvent::Disconnected { why });
                    // One that takes connections and drops them is no better than one that takes none.
                    if since.elapsed() >= LONGEST_PAUSE {
                        self.pause = FIRST_PAUSE;
                    }
                }
            }
            // Half of it drawn, so that many peers of a restarted node do not come in step.
            let pause = self.pause.mul_f64(rand::random_range(0.5..1.0));
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            if let Err(Stop::Dropped) = self.refusing_calls(sleep(pause)).await {
                return;
            }
        }
    }

    /// Waits for something while there is no connection.
    async fn refusing_calls<Resp, R>(&mut self, wait: impl Future<Output = R>) -> Result<R, Stop>
    where
        E: FnMut(PeerEvent<T, Resp>) + Send,
    {
        let mut wait = pin!(wait);
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    None => return Err(Stop::Dropped),
                    Some(Order::Call { tag, .. }) => {
                        (self.events)(PeerEvent::Failed { tag, why: CallError::NotSent("not connected".into()) });
                    }
                    Some(Order::Retarget(address)) if address == self.address => {}
                    Some(Order::Retarget(address)) => {
                        self.moved_to(address);
                        return Err(Stop::Moved);
                    }
                },
                done = &mut wait => return Ok(done),
            }
        }
    }

    fn moved_to(&mut self, address: String) {
        self.address = address;
        self.pause = FIRST_PAUSE;
        self.told = None;
    }

    fn tell_unreachable<Resp>(&mut self, why: DialError)
    where
        E: FnMut(PeerEvent<T, Resp>) + Send,
    {
        let text = why.to_string();
        if self.told.as_ref() != Some(&text) {
            self.told = Some(text);
            (self.events)(PeerEvent::Unreachable { why });
        }
    }

    /// Serves calls over a connection until it ends; then all its calls have had their event.
    async fn connected<Resp>(&mut self, transport: ClientTransport<Req, Resp>) -> Stop
    where
        E: FnMut(PeerEvent<T, Resp>) + Send,
        Resp: DeserializeOwned + Send + 'static,
    {
        let NewClient { client, dispatch } = tarpc::client::new(client_config(), transport);
        let (client, context) = (&client, tarpc::context::current());
        let mut dispatch = pin!(dispatch);
        let mut calls = FuturesUnordered::new();
        let mut open = OpenCalls::new();
        let mut alarm = pin!(sleep(MAX_CALL_TIMEOUT));
        let mut batch = Vec::with_capacity(ORDER_BATCH);
        let stop = poll_fn(|cx| {
            // New calls, then what goes over the wire, then its answers: one turn takes a request all the way.
            while let Poll::Ready(count) = self.orders.poll_recv_many(cx, &mut batch, ORDER_BATCH) {
                if count == 0 {
                    return Poll::Ready(Stop::Dropped);
                }
                let (context, now) = (with_deadline(context), Instant::now());
                let mut moved = None;
                for order in batch.drain(..) {
                    match order {
                        Order::Retarget(address) => moved = Some(address).filter(|it| *it != self.address),
                        Order::Call { tag, request, within } => match open.begin(tag, now, within) {
                            Ok(number) => {
                                calls.push(async move { (number, client.call(context, request).await) });
                            }
                            Err((tag, why)) => (self.events)(PeerEvent::Failed { tag, why }),
                        },
                    }
                }
                if let Some(address) = moved {
                    self.moved_to(address);
                    return Poll::Ready(Stop::Moved);
                }
            }
            collect(cx, &mut calls, &mut open, &mut self.events);
            let lost = dispatch.as_mut().poll(cx);
            collect(cx, &mut calls, &mut open, &mut self.events);
            if let Poll::Ready(lost) = lost {
                return Poll::Ready(Stop::Lost(lost.map_or_else(|error| chain(&error), |()| "closed".into())));
            }
            open.poll_alarm(alarm.as_mut(), cx)
        })
        .await;
        let why = match &stop {
            Stop::Lost(why) => why.as_str(),
            Stop::Moved => "the peer moved",
            Stop::Dropped => return stop,
        };
        for tag in open.into_tags() {
            (self.events)(PeerEvent::Failed { tag, why: CallError::MayHaveArrived(why.to_owned()) });
        }
        stop
    }
}

/// Hands out the answers that have come.
fn collect<T, Resp>(
    cx: &mut Context<'_>,
    mut calls: impl Stream<Item = (u64, Result<Resp, RpcError>)> + Unpin,
    open: &mut OpenCalls<T>,
    events: &mut impl FnMut(PeerEvent<T, Resp>),
) {
    while let Poll::Ready(Some((number, result))) = Pin::new(&mut calls).poll_next(cx) {
        if let Some(tag) = open.end(number) {
            events(match result {
                Ok(response) => PeerEvent::Answered { tag, response },
                Err(error) => PeerEvent::Failed { tag, why: error.into() },
            });
        }
    }
}

/// The calls of one connection that wait for an answer.
struct OpenCalls<T> {
    last: u64,
    /// In the order they were sent: in that order they fail.
    waiting: BTreeMap<u64, (T, Instant)>,
    /// One timer for all, set to the earliest: the first call that runs out takes the connection with it anyway.
    deadlines: BTreeSet<(Instant, u64)>,
}

impl<T> OpenCalls<T> {
    const fn new() -> Self {
        Self { last: 0, waiting: BTreeMap::new(), deadlines: BTreeSet::new() }
    }

    fn begin(&mut self, tag: T, now: Instant, within: Duration) -> Result<u64, (T, CallError)> {
        if self.waiting.len() >= MAX_OPEN_CALLS {
            return Err((tag, CallError::NotSent("too many calls in flight".into())));
        }
        self.last += 1;
        let deadline = now + within.min(MAX_CALL_TIMEOUT);
        self.deadlines.insert((deadline, self.last));
        self.waiting.insert(self.last, (tag, deadline));
        Ok(self.last)
    }

    fn end(&mut self, number: u64) -> Option<T> {
        let (tag, deadline) = self.waiting.remove(&number)?;
        self.deadlines.remove(&(deadline, number));
        Some(tag)
    }

    /// Ready when a call has run out of time. The timer is moved only when a call is due before it, and looked at
    /// again when it rings: answers come without touching it.
    fn poll_alarm(&self, mut alarm: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Stop> {
        let Some(&(earliest, number)) = self.deadlines.first() else { return Poll::Pending };
        loop {
            if earliest < alarm.deadline() {
                alarm.as_mut().reset(earliest);
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if earliest <= alarm.deadline() {
                return Poll::Ready(Stop::Lost(format!("call {number} had no answer in time")));
            }
            alarm.as_mut().reset(earliest);
        }
    }

    fn into_tags(self) -> impl Iterator<Item = T> {
        self.waiting.into_values().map(|(tag, _)| tag)
    }
}
