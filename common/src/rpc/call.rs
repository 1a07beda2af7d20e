//! What a failed call means, and the deadline that tarpc gets to see.

use std::error::Error;
use std::io;
use std::time::{Duration, Instant};

use tarpc::ServerError;
use tarpc::client::RpcError;
use tarpc::context::Context;

/// Longest timeout of a call; longer ones are cut to it. Below the deadline that tarpc gets, so that ours is the one that ends.
pub const MAX_CALL_TIMEOUT: Duration = Duration::from_secs(1_800);

/// The deadline tarpc gets: beyond every timeout of ours, within what the other side's frames allow.
const TARPC_DEADLINE: Duration = Duration::from_secs(3_600);

/// Why a call has no answer, classed by what is known of its effect.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallError {
    /// It never left: nothing happened, and sending it again is safe.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have been carried out, now or at any time later.
    #[error("no answer: {0}")]
    MayHaveArrived(String),
    /// The other side answered with an error. See [`CallError::not_carried_out`].
    #[error("refused: {0}")]
    Refused(ServerError),
}

impl CallError {
    /// Whether the request certainly had and will have no effect. Of the other side's errors only "too much in flight"
    /// (kind `WouldBlock`) says so; an answer too large to be sent, for one, comes after the work was done.
    #[must_use]
    pub fn not_carried_out(&self) -> bool {
        match self {
            Self::NotSent(_) => true,
            Self::MayHaveArrived(_) => false,
            Self::Refused(error) => error.kind == io::ErrorKind::WouldBlock,
        }
    }
}

impl From<RpcError> for CallError {
    fn from(error: RpcError) -> Self {
        match error {
            // Only a request that could not be encoded ends so: the frame is taken back as a whole.
            RpcError::Send(error) => Self::NotSent(chain(error.as_ref())),
            RpcError::Server(error) => Self::Refused(error),
            RpcError::Shutdown => Self::MayHaveArrived("the connection ended".into()),
            RpcError::Channel(_) | RpcError::DeadlineExceeded => Self::MayHaveArrived(chain(&error)),
        }
    }
}

/// Sets the deadline of the next calls. The context itself is taken once per connection: asking tarpc for the current
/// one costs a look at the current span.
pub(super) fn with_deadline(mut context: Context) -> Context {
    context.deadline = Instant::now() + TARPC_DEADLINE;
    context
}

/// Settings of tarpc's client. Its own cap would only queue what is above it; the callers here have theirs.
pub(super) fn client_config() -> tarpc::client::Config {
    let mut config = tarpc::client::Config::default();
    config.max_in_flight_requests = usize::MAX;
    config.pending_request_buffer = 1_024;
    config
}

/// An error with its causes in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

const _: () = assert!(MAX_CALL_TIMEOUT.as_secs() < TARPC_DEADLINE.as_secs());
const _: () = assert!(TARPC_DEADLINE.as_secs() <= super::frame::DEADLINES.end().as_secs());
