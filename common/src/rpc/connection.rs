//! The task of one accepted connection: requests out of tarpc's channel to the owner, its answers back into it.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::{Sink, Stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::server::{BaseChannel, Channel, Config};
use tarpc::{ChannelError, Response, ServerError};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::codec::Framed;

use super::call::chain;
use super::dial::WRITE_BUFFER_BYTES;
use super::frame::{FrameError, ServerFrames, Weighed};
use super::hello::Hello;
use super::inbox::{Answered, ConnectionId, Event, RequestId, Responder};
use super::server::Caps;
use crate::failpoints;

/// Hands an event to the owner; false when the owner is gone.
pub(super) type Deliver<Req, Resp> = Arc<dyn Fn(Event<Req, Resp>) -> bool + Send + Sync>;

/// Why a connection's task ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The peer closed it: the ordinary end.
    #[error("closed by the peer")]
    Closed,
    /// Nobody takes requests any more.
    #[error("the owner is gone")]
    OwnerGone,
    /// The owner has dropped its responder.
    #[error("closed by this side")]
    Dismissed,
    /// The transport failed, or the peer sent what is no frame.
    #[error("{0}")]
    Failed(String),
    /// A frame was begun and not completed.
    #[error("a frame was not completed in time")]
    FrameStalled,
    /// The peer does not take its answers.
    #[error("answers were not taken in time")]
    AnswersStalled,
    /// Nothing was asked for long.
    #[error("idle")]
    Idle,
    /// The answer to the first could be taken for the answer to the second.
    #[error("request {0} was sent again while it was open")]
    NumberReused(u64),
}

/// Requests open on all connections of a listener.
#[derive(Default, Debug)]
pub(super) struct Totals {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// Requests taken in one turn: then the other tasks of the runtime have theirs. Decoding buffered frames costs nothing
/// of tokio's own budget, so one connection with much to say would otherwise hold the thread.
const READ_BATCH: usize = 128;
/// Refusals waiting to be sent; with more, nothing further is read until the peer takes some.
const MAX_WAITING_REFUSALS: usize = 64;

type Transport<Req, Resp> = Framed<TcpStream, ServerFrames<Req, Resp>>;

/// One connection, after the hellos.
pub(super) struct Serving<Req, Resp> {
    id: ConnectionId,
    peer: Arc<Hello>,
    caps: Caps,
    totals: Arc<Totals>,
    deliver: Deliver<Req, Resp>,
    channel: BaseChannel<Weighed<Req>, Resp, Transport<Req, Resp>>,
    answers: mpsc::UnboundedReceiver<Answered<Resp>>,
    refusals: VecDeque<u64>,
    /// Bytes of every request that the owner has and has not answered. Our own count, because tarpc forgets a request
    /// when its deadline passes or its client cancels, while the owner still has it: with tarpc's count a client could
    /// queue without end.
    open: HashMap<u64, usize>,
    open_bytes: usize,
    /// Bytes in the write buffer that are to be flushed.
    dirty: bool,
    frames_read: u64,
    flushes: u64,
    /// Looks now and then whether anything moves: cheaper than a timer for each frame and each write.
    watch: Interval,
    /// What the last look saw: frames read, with one begun; flushes, with bytes left.
    seen: (Option<u64>, Option<u64>),
    /// Frames read when it was last seen busy, and when that was.
    busy: (u64, Instant),
}

impl<Req, Resp> Serving<Req, Resp>
where
    Req: DeserializeOwned,
    Resp: Serialize,
{
    /// Tells the owner of the connection; it hears of its end when this is dropped, also in a panic.
    pub(super) fn open(
        (id, peer): (ConnectionId, Arc<Hello>),
        (stream, address): (TcpStream, SocketAddr),
        (caps, totals): (Caps, Arc<Totals>),
        deliver: Deliver<Req, Resp>,
    ) -> Result<Self, End> {
        let mut transport = Framed::new(stream, ServerFrames::new());
        transport.set_backpressure_boundary(WRITE_BUFFER_BYTES);
        let (responder, answers) = Responder::channel();
        let mut watch = interval_at(Instant::now() + caps.stall, caps.stall);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if !deliver(Event::Opened { connection: id, peer: Arc::clone(&peer), address, responder }) {
            return Err(End::OwnerGone);
        }
        Ok(Self {
            id,
            peer,
            caps,
            totals,
            deliver,
            channel: BaseChannel::new(Config::default(), transport),
            answers,
            refusals: VecDeque::new(),
            open: HashMap::new(),
            open_bytes: 0,
            dirty: false,
            frames_read: 0,
            flushes: 0,
            watch,
            seen: (None, None),
            busy: (0, Instant::now()),
        })
    }

    /// Serves until the connection ends.
    pub(super) async fn run(mut self) -> End {
        poll_fn(|cx| match self.poll_turn(cx) {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        })
        .await
    }

    /// One turn: read, feed what is to be sent, flush once. Leaves a waker wherever there is more to come.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let more_to_read = self.read(cx)?;
        self.feed(cx)?;
        self.flush(cx)?;
        if more_to_read && self.refusals.len() < MAX_WAITING_REFUSALS {
            cx.waker().wake_by_ref();
        }
        while self.watch.poll_tick(cx).is_ready() {
            self.look()?;
        }
        Ok(())
    }

    /// Takes requests until there are none, or the turn is over (then true: nothing will wake us for the rest).
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        for _ in 0..READ_BATCH {
            if self.refusals.len() >= MAX_WAITING_REFUSALS {
                return Ok(true);
            }
            match Pin::new(&mut self.channel).poll_next(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(None) => return Err(End::Closed),
                Poll::Ready(Some(Err(error))) => return Err(End::of(&error)),
                Poll::Ready(Some(Ok(tracked))) => {
                    self.frames_read += 1;
                    self.take(tracked.request.id, tracked.request.message)?;
                }
            }
        }
        Ok(true)
    }

    fn take(&mut self, id: u64, Weighed { bytes, body }: Weighed<Req>) -> Result<(), End> {
        if self.open.contains_key(&id) {
            return Err(End::NumberReused(id));
        }
        if !self.has_room(bytes) {
            self.refusals.push_back(id);
            return Ok(());
        }
        self.open.insert(id, bytes);
        self.open_bytes += bytes;
        self.totals.requests.fetch_add(1, Ordering::Relaxed);
        self.totals.bytes.fetch_add(bytes, Ordering::Relaxed);
        failpoints::reach("srv2.before_deliver");
        let (connection, peer) = (self.id, Arc::clone(&self.peer));
        let taken = (self.deliver)(Event::Request { connection, request: RequestId(id), peer, body });
        if taken { Ok(()) } else { Err(End::OwnerGone) }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.open.len() < self.caps.requests_per_connection
            && self.open_bytes + bytes <= self.caps.bytes_per_connection
            && self.totals.requests.load(Ordering::Relaxed) < self.caps.requests
            && self.totals.bytes.load(Ordering::Relaxed) + bytes <= self.caps.bytes
    }

    /// Moves every refusal and every answer that is ready into the write buffer, as long as it takes them.
    fn feed(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            match Pin::new(&mut self.channel).poll_ready(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(End::of(&error)),
                Poll::Ready(Ok(())) => {}
            }
            let response = if let Some(request_id) = self.refusals.pop_front() {
                Response { request_id, message: Err(too_much()) }
            } else {
                match self.answers.poll_recv(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(None) => return Err(End::Dismissed),
                    Poll::Ready(Some((request, message))) => {
                        if !self.close(request) {
                            continue;
                        }
                        Response { request_id: request.0, message }
                    }
                }
            };
            Pin::new(&mut self.channel).start_send(response).map_err(|error| End::of(&error))?;
            self.dirty = true;
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if self.dirty {
            match Pin::new(&mut self.channel).poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Err(error)) => return Err(End::of(&error)),
                Poll::Ready(Ok(())) => {
                    self.dirty = false;
                    self.flushes += 1;
                }
            }
        }
        Ok(())
    }

    /// Ends a peer that holds a half frame, or that does not take its answers, over two looks, and an idle one.
    fn look(&mut self) -> Result<(), End> {
        if self.frames_read != self.busy.0 || !self.open.is_empty() {
            self.busy = (self.frames_read, Instant::now());
        } else if self.busy.1.elapsed() >= self.caps.idle {
            return Err(End::Idle);
        }
        let begun = !self.channel.transport().read_buffer().is_empty();
        let now = (begun.then_some(self.frames_read), self.dirty.then_some(self.flushes));
        let before = std::mem::replace(&mut self.seen, now);
        match now {
            (_, Some(_)) if now.1 == before.1 => Err(End::AnswersStalled),
            (Some(_), _) if now.0 == before.0 => Err(End::FrameStalled),
            _ => Ok(()),
        }
    }

    /// Counts a request as answered; false when it was already.
    fn close(&mut self, request: RequestId) -> bool {
        let Some(bytes) = self.open.remove(&request.0) else { return false };
        self.open_bytes -= bytes;
        self.totals.requests.fetch_sub(1, Ordering::Relaxed);
        self.totals.bytes.fetch_sub(bytes, Ordering::Relaxed);
        true
    }
}

impl<Req, Resp> Drop for Serving<Req, Resp> {
    fn drop(&mut self) {
        self.totals.requests.fetch_sub(self.open.len(), Ordering::Relaxed);
        self.totals.bytes.fetch_sub(self.open_bytes, Ordering::Relaxed);
        (self.deliver)(Event::Closed { connection: self.id });
    }
}

impl End {
    fn of(error: &ChannelError<FrameError>) -> Self {
        match error {
            ChannelError::Read(cause) if matches!(**cause, FrameError::Closed) => Self::Closed,
            error => Self::Failed(chain(error)),
        }
    }
}

fn too_much() -> ServerError {
    ServerError::new(io::ErrorKind::WouldBlock, "too much in flight: retry, not executed".into())
}
