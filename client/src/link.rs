//! A connection to one address, dialled when it is needed and again when it is lost.

use std::time::Duration;

use tarpc::RequestName;
use tokio::sync::Mutex;
use tokio::time::Instant;

use handfast_common::rpc::{CallError, Connection, DialError, Hello, Role};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest wait for a connection; the deadline of the call may be shorter.
const DIAL: Duration = Duration::from_secs(2);
/// After a failed attempt the address is left alone for so long: many callers must not dial at once.
const PAUSE: Duration = Duration::from_millis(50);
/// A call unanswered for this long means a connection that has lost something: it is dropped and dialled anew. Longer
/// than a coordinator waits for votes.
const CALL: Duration = Duration::from_secs(6);

/// Why an address could not be reached.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct DialFailure(pub(crate) String);

/// A link to one server.
pub(crate) struct Link<Req, Resp> {
    address: String,
    role: Role,
    state: Mutex<State<Req, Resp>>,
}

enum State<Req, Resp> {
    None,
    Failed { at: Instant, why: DialFailure },
    Up { connection: Connection<Req, Resp>, hello: Hello },
}

impl<Req, Resp> Link<Req, Resp>
where
    Req: RequestName + Serialize + Send + 'static,
    Resp: DeserializeOwned + Send + 'static,
{
    pub(crate) fn new(address: &str, role: Role) -> Self {
        Self { address: address.to_owned(), role, state: Mutex::new(State::None) }
    }

    /// The connection and who is at its other end.
    pub(crate) async fn get(&self, latest: Instant) -> Result<(Connection<Req, Resp>, Hello), DialFailure> {
        let mut state = self.state.lock().await;
        match &*state {
            State::Up { connection, hello } if !connection.is_closed() => {
                return Ok((connection.clone(), hello.clone()));
            }
            State::Failed { at, why } if at.elapsed() < PAUSE => return Err(why.clone()),
            State::Up { .. } | State::Failed { .. } | State::None => {}
        }
        let left = latest.saturating_duration_since(Instant::now());
        let dialled = Connection::connect(&self.address, &Hello::client(), left.min(DIAL)).await;
        let failure = match dialled {
            Ok((connection, hello)) if hello.role == self.role => {
                *state = State::Up { connection: connection.clone(), hello: hello.clone() };
                return Ok((connection, hello));
            }
            Ok((_, hello)) => DialFailure(format!("{} is a {:?}, not a {:?}", self.address, hello.role, self.role)),
            Err(error) => DialFailure(said(&error)),
        };
        *state = State::Failed { at: Instant::now(), why: failure.clone() };
        Err(failure)
    }

    /// A call that ends by `latest`. `None`: it did not, and nothing is known. Giving up on one call leaves the others
    /// on the connection alone.
    pub(crate) async fn call(
        connection: &Connection<Req, Resp>,
        request: Req,
        latest: Instant,
    ) -> Option<Result<Resp, CallError>> {
        tokio::time::timeout_at(latest, connection.call(request, CALL)).await.ok()
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

/// The error with its causes, in one line.
fn said(error: &DialError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
