//! Asking a participant directly: its own branches, its last committed values. Works without any coordinator.

use std::time::Duration;

use tokio::time::Instant;

use handfast_common::messages::{AskPage, AskValues, TxnPage, ValuePage};
use handfast_common::rpc::Role;
use handfast_common::rpc::service::{ParticipantServiceRequest as Request, ParticipantServiceResponse as Response};

use crate::client::Error;
use crate::link::Link;

/// A participant to ask.
pub struct ParticipantClient {
    link: Link<Request, Response>,
}

impl ParticipantClient {
    /// One at this address, dialled with the first question.
    #[must_use]
    pub fn new(address: &str) -> Self {
        Self { link: Link::new(address, Role::Participant) }
    }

    /// A page of its branches.
    ///
    /// # Errors
    /// When it can't be reached or does not answer in time.
    pub async fn branches(&self, page: AskPage, deadline: Duration) -> Result<TxnPage, Error> {
        match self.ask(Request::List { page }, deadline).await? {
            Response::List(page) => Ok(page),
            _ => Err(self.unexpected()),
        }
    }

    /// A page of its values.
    ///
    /// # Errors
    /// When it can't be reached, does not answer in time, or has no such view.
    pub async fn values(&self, question: AskValues, deadline: Duration) -> Result<ValuePage, Error> {
        match self.ask(Request::Values { question }, deadline).await? {
            Response::Values(page) => Ok(page),
            _ => Err(self.unexpected()),
        }
    }

    async fn ask(&self, request: Request, deadline: Duration) -> Result<Response, Error> {
        let latest = Instant::now() + deadline;
        let (connection, _) = self.link.get(latest).await.map_err(|why| Error::Unavailable(why.to_string()))?;
        match Link::call(&connection, request, latest).await {
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) => Err(Error::Unavailable(format!("{}: {error}", self.link.address()))),
            None => Err(Error::Unavailable(format!("{} did not answer in time", self.link.address()))),
        }
    }

    fn unexpected(&self) -> Error {
        Error::Unavailable(format!("{} answered another question", self.link.address()))
    }
}
