//! The client of a coordinator.

use std::sync::Arc;
use std::time::Duration;

use handfast_common::ids::{Key, LogId, Name, Ticket, TxnId};
use handfast_common::limits;
use handfast_common::messages::{AskPage, TxnLine, TxnPage};
use handfast_common::rpc::service::{CoordinatorServiceRequest as Request, CoordinatorServiceResponse as Response};
use handfast_common::rpc::{Connection, Role};
use tokio::time::Instant;

use crate::ages::Ages;
use crate::balance::Balance;
use crate::error::{Error, NoCoordinator, Obstacle, Unreached};
use crate::links::Links;
use crate::network::Network;
use crate::report::{Outcome, Report};
use crate::retry::{Backoff, Retry};
use crate::submitting::Settled;

/// What a client is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where coordinators listen, `host:port`, in order of preference. A key that was sent stays with the coordinator
    /// it was sent to; only new ones go to another.
    pub coordinators: Vec<String>,
    /// When an aborted transaction is run again.
    pub retry: Retry,
    /// Which coordinator gets what is new, where there are several.
    pub balance: Balance,
    /// How long [`Client::transact`](crate::Client::transact) may take.
    pub deadline: Duration,
}

/// A client. Clones share its connections; hundreds of calls at a time are cheap, each is one request in a pipeline.
///
/// It connects when it is first needed, and again whenever a connection is lost. Its calls run on a tokio runtime with
/// time and I/O enabled. A call that is dropped before its end may have its effect all the same: fix the key beforehand
/// where that matters.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) links: Arc<Links<Request, Response>>,
    pub(crate) retry: Retry,
    pub(crate) deadline: Duration,
    pub(crate) ages: Arc<Ages>,
    pub(crate) network: Arc<Network>,
}

/// Which transactions, or branches, a listing shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Only ids from the first to the last.
    pub within: Option<(TxnId, TxnId)>,
    /// Ended ones too, as far as they are kept.
    pub ended: bool,
}

/// A question is answered at once, whatever the answer is; without one for so long the connection is dropped.
pub(crate) const PROBE: Duration = Duration::from_secs(2);

impl Options {
    /// These coordinators, everything else by default.
    #[must_use]
    pub fn new<A: Into<String>>(coordinators: impl IntoIterator<Item = A>) -> Self {
        Self { coordinators: coordinators.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

impl Default for Options {
    fn default() -> Self {
        let (retry, balance) = (Retry::DEFAULT, Balance::InOrder);
        Self { coordinators: Vec::new(), retry, balance, deadline: limits::CALL_DEADLINE }
    }
}

impl Client {
    /// A client; nothing is dialled yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] when no address is given, or one is not `host:port`, or weights do not fit the addresses.
    pub fn connect(options: Options) -> Result<Self, Error> {
        let Options { coordinators, retry, balance, deadline } = options;
        if coordinators.is_empty() {
            return Err(Error::Invalid("no coordinator's address".into()));
        }
        coordinators.iter().try_for_each(|address| check_address(address))?;
        balance.check(coordinators.len())?;
        let links = Arc::new(Links::balanced(coordinators, Role::Coordinator, balance));
        Ok(Self { links, retry, deadline, ages: Arc::default(), network: Arc::default() })
    }

    /// Connects, if that has not been done, and tells where the coordinator stands: a ticket for a key that is sent
    /// after this, with [`Transaction::key`](crate::Transaction::key).
    ///
    /// # Errors
    /// [`Error::NoAnswer`] when no coordinator (or none with this log) can be reached before the deadline.
    pub async fn standing(&self, log: Option<LogId>, deadline: Duration) -> Result<Ticket, Error> {
        let latest = Instant::now() + deadline;
        self.links.pick_for_new_key(log, latest).await.map(|live| live.ticket()).map_err(Error::NoAnswer)
    }

    /// Asks what became of a key, again and again until it is known or the deadline has passed.
    ///
    /// With a ticket the question also *fences*: a transaction that has not arrived by then never commits, so the
    /// answer is definite. Without one it only looks. `participants` are those that hold its branches, as far as the
    /// caller knows; with none the answer may have to wait for all that are registered.
    ///
    /// # Errors
    /// [`Error::NoAnswer`] when no coordinator could be asked at all. When one was, and the answer is not known by the
    /// deadline, that is [`Outcome::Unknown`].
    pub async fn outcome(
        &self,
        key: Key,
        ticket: Option<Ticket>,
        participants: Vec<Name>,
        deadline: Duration,
    ) -> Result<Report, Error> {
        let begun = Instant::now();
        let Settled { txn, age, outcome } =
            self.ask(key, ticket, participants, begun + deadline).await.map_err(Error::NoAnswer)?.unwrap_or_else(
                |pending| Settled { txn: pending.txn, age: None, outcome: Outcome::Unknown(pending.why) },
            );
        Ok(Report { key, ticket, txn, outcome, age, attempts: 1, latency: begun.elapsed() })
    }

    /// Lists transactions of the first coordinator that answers, in order of id.
    ///
    /// # Errors
    /// [`Error::NoAnswer`].
    pub async fn list(&self, filter: Filter, deadline: Duration) -> Result<Vec<TxnLine>, Error> {
        let latest = Instant::now() + deadline;
        let answer = |response| match response {
            Response::List(page) => Some(page),
            _ => None,
        };
        collect(filter, async |page| self.links.read(|| Request::List { page: page.clone() }, latest, answer).await)
            .await
    }
}

/// All pages of a listing.
pub(crate) async fn collect(
    filter: Filter,
    mut page: impl AsyncFnMut(AskPage) -> Result<TxnPage, Error>,
) -> Result<Vec<TxnLine>, Error> {
    let mut ask = AskPage { after: None, within: filter.within, ended: filter.ended };
    let mut all = Vec::new();
    loop {
        let TxnPage { lines, more } = page(ask.clone()).await?;
        ask.after = lines.last().map(|line| line.txn);
        all.extend(lines);
        if !more || ask.after.is_none() {
            return Ok(all);
        }
    }
}

impl<Req, Resp> Links<Req, Resp>
where
    Req: tarpc::RequestName + serde::Serialize + Send + 'static,
    Resp: serde::de::DeserializeOwned + Send + 'static,
{
    /// A call without any effect: repeated until there is an answer.
    ///
    /// # Errors
    /// [`Error::NoAnswer`].
    pub(crate) async fn read<T>(
        &self,
        request: impl Fn() -> Req,
        latest: Instant,
        answer: impl Fn(Resp) -> Option<T>,
    ) -> Result<T, Error> {
        self.read_of(None, request, latest, answer).await
    }

    /// The same of the coordinator with this log, if one is named.
    ///
    /// # Errors
    /// [`Error::NoAnswer`].
    pub(crate) async fn read_of<T>(
        &self,
        log: Option<LogId>,
        request: impl Fn() -> Req,
        latest: Instant,
        answer: impl Fn(Resp) -> Option<T>,
    ) -> Result<T, Error> {
        let mut backoff = Backoff::new();
        loop {
            let live = self.pick(log, latest).await.map_err(Error::NoAnswer)?;
            let why = match call_until(&live.connection, request(), latest).await {
                Ok(response) => match answer(response) {
                    Some(answer) => return Ok(answer),
                    None => "it answered another question".to_owned(),
                },
                Err(why) => why,
            };
            if Instant::now() >= latest {
                let address = live.address().to_owned();
                let why = format!("{address}: {why}");
                let unreached = Unreached { address, obstacle: Obstacle::Down, why };
                return Err(Error::NoAnswer(NoCoordinator(vec![unreached])));
            }
            backoff.pause(latest).await;
        }
    }
}

/// Calls a service that answers at once. A silent one loses the connection after [`PROBE`]; the end of the caller's own
/// time does not, because others use the connection too.
pub(crate) async fn call_until<Req, Resp>(
    connection: &Connection<Req, Resp>,
    request: Req,
    latest: Instant,
) -> Result<Resp, String>
where
    Req: tarpc::RequestName + serde::Serialize + Send + 'static,
    Resp: serde::de::DeserializeOwned + Send + 'static,
{
    match tokio::time::timeout_at(latest, connection.call(request, PROBE)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Looks whether an address can be one at all, so that a slip is told at once and not after a deadline.
pub(crate) fn check_address(address: &str) -> Result<(), Error> {
    let fits = address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if fits { Ok(()) } else { Err(Error::Invalid(format!("'{address}' is not an address HOST:PORT"))) }
}
