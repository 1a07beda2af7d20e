//! The client of a participant: looks at its branches and values, outside any transaction and without a coordinator.

use std::sync::Arc;
use std::time::Duration;

use handfast_common::messages::{AskValues, Select, TxnLine, ValueLine, ValuePage};
use handfast_common::rpc::Role;
use handfast_common::rpc::service::{ParticipantServiceRequest as Request, ParticipantServiceResponse as Response};
use tokio::time::Instant;

use crate::client::{Filter, check_address, collect};
use crate::error::Error;
use crate::links::Links;

/// A client of one participant. Connects when first needed, and again whenever the connection is lost.
#[derive(Clone, Debug)]
pub struct ParticipantClient {
    links: Arc<Links<Request, Response>>,
}

impl ParticipantClient {
    /// A client of the participant at `address` (`host:port`); nothing is dialled yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] when that is no address.
    pub fn connect(address: impl Into<String>) -> Result<Self, Error> {
        let address = address.into();
        check_address(&address)?;
        Ok(Self { links: Arc::new(Links::new(vec![address], Role::Participant)) })
    }

    /// Lists its branches in order of transaction.
    ///
    /// # Errors
    /// [`Error::NoAnswer`].
    pub async fn branches(&self, filter: Filter, deadline: Duration) -> Result<Vec<TxnLine>, Error> {
        let latest = Instant::now() + deadline;
        let answer = |response| match response {
            Response::List(page) => Some(page),
            _ => None,
        };
        collect(filter, async |page| self.links.read(|| Request::List { page: page.clone() }, latest, answer).await)
            .await
    }

    /// Reads last committed values, all of them. See [`ParticipantClient::page_of_values`].
    ///
    /// # Errors
    /// [`Error::NoAnswer`].
    pub async fn values(&self, select: Select, deadline: Duration) -> Result<Vec<ValueLine>, Error> {
        let latest = Instant::now() + deadline;
        let mut ask = AskValues { select, after: None };
        let mut all = Vec::new();
        loop {
            let left = latest.saturating_duration_since(Instant::now());
            let ValuePage { lines, more } = self.page_of_values(ask.clone(), left).await?;
            ask.after = lines.last().map(|line| line.key.clone());
            all.extend(lines);
            if !more || ask.after.is_none() {
                return Ok(all);
            }
        }
    }

    /// Reads one page of last committed values, without waiting for anybody. Each page is consistent in itself; what
    /// commits between two pages shows in the second only.
    ///
    /// # Errors
    /// [`Error::NoAnswer`].
    pub async fn page_of_values(&self, question: AskValues, deadline: Duration) -> Result<ValuePage, Error> {
        let latest = Instant::now() + deadline;
        let answer = |response| match response {
            Response::Values(page) => Some(page),
            _ => None,
        };
        self.links.read(|| Request::Values { question: question.clone() }, latest, answer).await
    }
}
