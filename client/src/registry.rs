//! The operator's view of a coordinator's registry, and orders about it.

use std::time::Duration;

use handfast_common::ids::Name;
use handfast_common::limits::MAX_REASON_BYTES;
use handfast_common::messages::{RegistryAct, RegistryAnswer, RegistryLine, RegistryOrder};
use handfast_common::rpc::service::{CoordinatorServiceRequest as Request, CoordinatorServiceResponse as Response};
use tokio::time::{Instant, timeout_at};

use crate::client::{Client, PROBE};
use crate::error::{Error, NoCoordinator};
use crate::retry::Backoff;

/// Why it is not known that an order was carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OrderError {
    /// The order can't be sent as it is. Nothing was.
    #[error("invalid order: {0}")]
    Invalid(String),
    /// No coordinator could be reached. Nothing was sent.
    #[error("nothing was sent: {0}")]
    NotSent(NoCoordinator),
    /// It was sent and not answered: it may have been carried out, or may still be. The registry shows it.
    #[error("no answer: {0}; look at the registry before giving it again")]
    NoAnswer(String),
}

impl OrderError {
    /// Whether it is known what happened: nothing.
    #[must_use]
    pub const fn is_outcome_known(&self) -> bool {
        !matches!(self, Self::NoAnswer(_))
    }

    /// Whether giving the same order again is safe and may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Invalid(_) => false,
            Self::NotSent(why) => !why.is_hopeless(),
            // A second removal could meet another store that has taken the name meanwhile.
            Self::NoAnswer(_) => false,
        }
    }
}

impl Client {
    /// Lists the participants of the first coordinator that answers, removed ones too.
    ///
    /// # Errors
    /// [`Error::NoAnswer`].
    pub async fn registry(&self, deadline: Duration) -> Result<Vec<RegistryLine>, Error> {
        let answer = |response| match response {
            Response::Registry(page) => Some(page.lines),
            _ => None,
        };
        self.links.read(|| Request::Registry {}, Instant::now() + deadline, answer).await
    }

    /// Gives an operator's order about a participant to the first coordinator that can be reached. It is sent once.
    ///
    /// # Errors
    /// See [`OrderError`]. That the coordinator refuses it is an answer.
    pub async fn order_registry(
        &self,
        act: RegistryAct,
        name: Name,
        reason: impl Into<String>,
        force: bool,
        deadline: Duration,
    ) -> Result<RegistryAnswer, OrderError> {
        let reason = reason.into();
        if reason.len() > MAX_REASON_BYTES {
            let why = format!("a reason of {} bytes is over the limit of {MAX_REASON_BYTES}", reason.len());
            return Err(OrderError::Invalid(why));
        }
        let latest = Instant::now() + deadline;
        let order = RegistryOrder { act, name, reason, force };
        let mut backoff = Backoff::new();
        loop {
            let live = self.links.pick(None, latest).await.map_err(OrderError::NotSent)?;
            let request = Request::OrderRegistry { order: order.clone() };
            match timeout_at(latest, live.connection.call(request, PROBE)).await {
                Ok(Ok(Response::OrderRegistry(answer))) => return Ok(answer),
                Ok(Ok(_)) => return Err(OrderError::NoAnswer("it answered another question".into())),
                Ok(Err(error)) if error.not_carried_out() && Instant::now() < latest => backoff.pause(latest).await,
                Ok(Err(error)) if error.not_carried_out() => {
                    return Err(OrderError::NotSent(NoCoordinator::because(error.to_string())));
                }
                Ok(Err(error)) => return Err(OrderError::NoAnswer(error.to_string())),
                Err(_) => return Err(OrderError::NoAnswer("not before the deadline".into())),
            }
        }
    }
}
