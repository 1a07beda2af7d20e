//! The wire: service traits, and the transport under them.
//!
//! ```text
//! dialing side                                    listening side
//! Peer, Connection                                Listener::serve
//!   dial: TCP, hello  ──────────────────────────>   accept, hello
//!   tarpc client      <── frames (frame.rs) ────>   tarpc BaseChannel ── Event ──> the owner task
//!                                                       <── Connections::respond ──
//! ```
//!
//! No handler runs anywhere: tarpc may drop one at any await, so requests are handed to the owner task as events and
//! answered by number. What the types here are generic over are the request and response types that
//! `#[tarpc::service]` makes.
//!
//! # Logs
//! tarpc opens a span at level info for every call, on both sides; with a subscriber that takes them, that is two
//! fifths of the throughput. Every subscriber of this project therefore filters `tarpc=off` (as an
//! `EnvFilter` directive). What of it matters is logged here.
//!
//! # Time
//! The deadlines of a call are tokio timers here. tarpc's own, which runs on the system's clock, is a constant beyond
//! all of them.

mod call;
mod client;
mod connection;
mod dial;
mod frame;
mod handshake;
mod hello;
mod inbox;
mod peer;
mod server;
/// The services and their request and response types.
pub mod service;
mod timers;

pub use call::{CallError, MAX_CALL_TIMEOUT};
pub use client::Connection;
pub use dial::{ClientTransport, DialError, dial};
pub use frame::{ClientFrames, DEADLINES, FrameError, ServerFrames, Weighed};
pub use handshake::{HANDSHAKE_TIMEOUT, HandshakeError};
pub use hello::{Hello, Refusal, RefusalReason, Role, Versions};
pub use inbox::{ConnectionId, Connections, Event, RequestId, Responder};
pub use peer::{MAX_OPEN_CALLS, Peer, PeerEvent};
pub use server::{ACCEPT_BACKOFF, Caps, Listener};
pub use timers::Timers;

#[cfg(test)]
mod tests;
