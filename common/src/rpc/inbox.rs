//! What the owner task of a server gets to see of its connections, and how it answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tarpc::ServerError;
use tokio::sync::mpsc;

use super::hello::Hello;

/// Number of a connection: counted by its listener, never used twice in a process's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// Number of a request on its connection, chosen by the peer: one that is still unanswered is never accepted again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// What happened on a connection. For each: `Opened` once, then `Request`s, then `Closed` once.
///
/// Many requests that arrive in one read are delivered one after the other without a pause: an owner that takes them
/// with `recv_many` is woken once for all.
#[derive(Debug)]
pub enum Event<Req, Resp> {
    /// The hellos are exchanged.
    Opened {
        /// Its number.
        connection: ConnectionId,
        /// Who it is.
        peer: Arc<Hello>,
        /// Where it comes from.
        address: SocketAddr,
        /// Where its answers go. Dropping it and its clones closes the connection.
        responder: Responder<Resp>,
    },
    /// A request. Each must be answered once, however late: until then it counts against its connection's cap.
    Request {
        /// On this connection.
        connection: ConnectionId,
        /// Its number there.
        request: RequestId,
        /// Who asks.
        peer: Arc<Hello>,
        /// What.
        body: Req,
    },
    /// The connection is gone. What was requested on it may well be under way; answers to it are dropped.
    Closed {
        /// Its number.
        connection: ConnectionId,
    },
}

/// Sends answers into one connection.
#[derive(Debug)]
pub struct Responder<Resp> {
    // Unbounded, and yet bounded: one answer for each open request, and those are capped.
    answers: mpsc::UnboundedSender<Answered<Resp>>,
}

/// An answer on its way to a connection's task.
pub(super) type Answered<Resp> = (RequestId, Result<Resp, ServerError>);

impl<Resp> Clone for Responder<Resp> {
    fn clone(&self) -> Self {
        Self { answers: self.answers.clone() }
    }
}

impl<Resp> Responder<Resp> {
    pub(super) fn channel() -> (Self, mpsc::UnboundedReceiver<Answered<Resp>>) {
        let (answers, receiver) = mpsc::unbounded_channel();
        (Self { answers }, receiver)
    }

    /// Answers a request. Dropped silently when the connection is gone, the client has cancelled the call, or it was
    /// answered already.
    pub fn respond(&self, request: RequestId, answer: Result<Resp, ServerError>) {
        let _ = self.answers.send((request, answer));
    }
}

/// The open connections of an owner task: feed it `Opened` and `Closed`, answer through it by number.
#[derive(Debug)]
pub struct Connections<Resp> {
    open: BTreeMap<ConnectionId, Responder<Resp>>,
}

impl<Resp> Default for Connections<Resp> {
    fn default() -> Self {
        Self { open: BTreeMap::new() }
    }
}

impl<Resp> Connections<Resp> {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of an opened connection.
    pub fn opened(&mut self, connection: ConnectionId, responder: Responder<Resp>) {
        self.open.insert(connection, responder);
    }

    /// Forgets a closed one; forgetting an open one closes it, whatever is unanswered on it.
    pub fn closed(&mut self, connection: ConnectionId) {
        self.open.remove(&connection);
    }

    /// Answers a request; dropped silently when its connection is gone.
    pub fn respond(&self, connection: ConnectionId, request: RequestId, answer: Result<Resp, ServerError>) {
        if let Some(responder) = self.open.get(&connection) {
            responder.respond(request, answer);
        }
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
