//! Submitting transactions and learning their outcomes, over any failure in between.
//!
//! The rules, each of which keeps something from happening twice:
//! - A key gets its ticket when it is first sent, from where the coordinator stands then. Every resend and question
//!   carries that ticket, to that same coordinator.
//! - A transaction whose answer was lost is asked about, not sent again. The question fences: if the transaction had
//!   not arrived, it never will.
//! - What certainly did not happen may be run again, under a new key and with the same age: so an old transaction does
//!   not become the youngest with each retry, and does not starve.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use handfast_common::ids::{Age, Epoch, Key, LogId, Name, Nonce, Ticket, TxnId};
use handfast_common::messages::{AskOutcome, AskPage, Micros, Rejection, Submit, Told, TxnPage};
use handfast_common::outcome::{self, BranchReads, Reason, ReasonKind};
use handfast_common::rpc::service::{CoordinatorServiceRequest as Request, CoordinatorServiceResponse as Response};
use handfast_common::rpc::{CallError, Hello, Role};

use crate::link::Link;
use crate::transaction::Transaction;

/// First and longest pause between questions about one key.
const ASK_PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// First and longest pause before a transaction is run again.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// How a client works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where coordinators listen. The first that answers is used; a key stays with the one it was first sent to.
    pub coordinators: Vec<String>,
    /// How often a transaction that certainly did not happen, and may well succeed, is run again. A transaction whose
    /// key the caller fixed never is.
    pub retries: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { coordinators: vec!["127.0.0.1:7117".to_owned()], retries: 20 }
    }
}

/// What became of a transaction, as far as this client knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All branches take effect. With what was read.
    Committed(Vec<BranchReads>),
    /// Nothing happened and nothing will under this key.
    Aborted(Reason),
    /// No answer came in time. It may have happened, or may yet: ask again with key and ticket.
    Unknown,
    /// The coordinator once knew, and has trimmed it.
    Forgotten,
    /// The coordinator never saw it, or has forgotten it.
    NotFound,
    /// An operator decided a branch against the decision.
    HeuristicMixed,
}

/// The outcome of a transaction and all that is needed to ask for it again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The key it ran under last.
    pub key: Key,
    /// The ticket of that key; `None` when it was never sent.
    pub ticket: Option<Ticket>,
    /// The transaction, where one was begun.
    pub txn: Option<TxnId>,
    /// Its age: for running it again.
    pub age: Option<Age>,
    /// What became of it.
    pub outcome: Outcome,
    /// How often it was run, each time under a key of its own.
    pub attempts: u32,
}

/// What to ask about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The key.
    pub key: Key,
    /// Its ticket. With one the question fences; without one it only looks.
    pub ticket: Option<Ticket>,
    /// Its participants, if the asker knows.
    pub participants: Vec<Name>,
}

/// Why there is no outcome at all. In every case nothing happened, and nothing will.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The coordinator would not begin it.
    #[error("{0}")]
    Rejected(Rejection),
    /// Nobody could be reached. Safe to try again.
    #[error("{0}")]
    Unavailable(String),
    /// The options are wrong.
    #[error("{0}")]
    Options(String),
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Rejected(rejection) => rejection.is_retryable(),
            Self::Unavailable(_) => true,
            Self::Options(_) => false,
        }
    }
}

/// A client. Clones share their connections; hundreds of calls may be under way at once.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    links: Vec<Link<Request, Response>>,
    /// The link that answered last.
    preferred: AtomicUsize,
    retries: u32,
}

impl Client {
    /// A client of these coordinators. They are dialled when they are needed.
    ///
    /// # Errors
    /// When there is no coordinator to call.
    pub fn connect(options: Options) -> Result<Self, Error> {
        if options.coordinators.is_empty() {
            return Err(Error::Options("no coordinator's address was given".to_owned()));
        }
        let links = options.coordinators.iter().map(|address| Link::new(address, Role::Coordinator)).collect();
        Ok(Self { inner: Arc::new(Inner { links, preferred: AtomicUsize::new(0), retries: options.retries }) })
    }

    /// Runs a transaction and tells its outcome by `deadline` (and a little).
    ///
    /// # Errors
    /// When it was never begun, and never will be.
    pub async fn submit(&self, transaction: Transaction, deadline: Duration) -> Result<Report, Error> {
        let latest = Instant::now() + deadline;
        let retries = if transaction.key.is_some() { 0 } else { self.inner.retries };
        let mut age = transaction.age;
        let mut attempts = 0;
        let mut pause = RETRY_PAUSES.0;
        loop {
            attempts += 1;
            let key = transaction.key.unwrap_or_else(|| Key(Uuid::new_v4()));
            let mut report = self.submit_once(&transaction, key, age, latest).await?;
            report.attempts = attempts;
            age = report.age.or(age);
            let again = match &report.outcome {
                // Fenced by our own question: it never arrived.
                Outcome::Aborted(reason) => reason.kind.is_retryable() || reason.kind == ReasonKind::Fenced,
                _ => false,
            };
            if !again || attempts > retries || Instant::now() + pause >= latest {
                return Ok(report);
            }
            pause_for(&mut pause, RETRY_PAUSES.1, latest).await;
        }
    }

    /// Tells what became of a key, asking until it is known or the deadline passes.
    ///
    /// # Errors
    /// When nobody could be asked.
    pub async fn outcome(&self, question: &Question, deadline: Duration) -> Result<Report, Error> {
        let latest = Instant::now() + deadline;
        let mut pause = ASK_PAUSES.0;
        let mut failure = None;
        let mut pending = None;
        loop {
            for index in 0..self.inner.links.len() {
                match self.ask(index, question, latest).await {
                    Ok(Told::Outcome { txn, age, outcome }) if !self.is_elsewhere(&outcome, index) => {
                        return Ok(report(question.key, question.ticket, txn, Some(age), known(outcome)));
                    }
                    Ok(Told::Outcome { txn, age, outcome }) => {
                        pending = Some(report(question.key, question.ticket, txn, Some(age), known(outcome)));
                    }
                    Ok(Told::Pending { txn }) => {
                        return self.ask_on(index, question, txn, latest).await;
                    }
                    Ok(Told::Rejected(rejection)) => return Err(Error::Rejected(rejection)),
                    Err(why) => failure = Some(why),
                }
            }
            if let Some(report) = pending {
                return Ok(report);
            }
            if Instant::now() >= latest {
                let why = failure.unwrap_or_else(|| "no coordinator answered in time".to_owned());
                return Err(Error::Unavailable(why));
            }
            pause_for(&mut pause, ASK_PAUSES.1, latest).await;
        }
    }

    /// A page of transactions of the first coordinator that answers.
    ///
    /// # Errors
    /// When none does.
    pub async fn list(&self, page: AskPage, deadline: Duration) -> Result<TxnPage, Error> {
        let latest = Instant::now() + deadline;
        let (index, _) = self.reach(None, latest).await.map_err(Error::Unavailable)?;
        match self.call(index, Request::List { page }, latest).await {
            Some(Ok(Response::List(page))) => Ok(page),
            Some(Ok(_)) => Err(Error::Unavailable("an answer to another question".to_owned())),
            Some(Err(error)) => Err(Error::Unavailable(error.to_string())),
            None => Err(Error::Unavailable("no answer in time".to_owned())),
        }
    }

    /// Runs a transaction under one key.
    async fn submit_once(
        &self,
        transaction: &Transaction,
        key: Key,
        age: Option<Age>,
        latest: Instant,
    ) -> Result<Report, Error> {
        // The key's ticket for ever, once it has been sent.
        let mut first = transaction.ticket;
        let mut pause = RETRY_PAUSES.0;
        loop {
            let (link, hello) = match self.reach(first.map(|ticket| ticket.log), latest).await {
                Ok(reached) => reached,
                Err(why) => return Err(Error::Unavailable(why)),
            };
            let ticket = *first.get_or_insert_with(|| ticket_of(&hello));
            let request = Submit {
                key,
                ticket,
                age,
                wait: Micros::from(latest.saturating_duration_since(Instant::now())),
                branches: transaction.branches.clone(),
            };
            let question =
                Question { key, ticket: Some(ticket), participants: transaction.participants().cloned().collect() };
            match self.call(link, Request::Submit { request }, latest).await {
                Some(Ok(Response::Submit(Told::Outcome { txn, age, outcome }))) => {
                    return Ok(report(key, Some(ticket), txn, Some(age), known(outcome)));
                }
                Some(Ok(Response::Submit(Told::Pending { txn }))) => {
                    return self.ask_on(link, &question, txn, latest).await;
                }
                Some(Ok(Response::Submit(Told::Rejected(rejection)))) => {
                    // Nothing was begun: the same key may be sent again.
                    if !rejection.is_retryable() || Instant::now() + pause >= latest {
                        return Err(Error::Rejected(rejection));
                    }
                }
                Some(Err(error)) if error.not_carried_out() => {
                    if Instant::now() + pause >= latest {
                        return Err(Error::Unavailable(error.to_string()));
                    }
                }
                // It may have arrived. From here on it is only asked about.
                Some(Ok(_) | Err(_)) => return self.ask_on(link, &question, None, latest).await,
                None => return Ok(report(key, Some(ticket), None, None, Outcome::Unknown)),
            }
            pause_for(&mut pause, RETRY_PAUSES.1, latest).await;
        }
    }

    /// Asks one coordinator about a key until it knows. At the deadline the outcome is Unknown.
    async fn ask_on(
        &self,
        link: usize,
        question: &Question,
        mut txn: Option<TxnId>,
        latest: Instant,
    ) -> Result<Report, Error> {
        let mut pause = ASK_PAUSES.0;
        loop {
            match self.ask(link, question, latest).await {
                Ok(Told::Outcome { txn: found, age, outcome }) => {
                    return Ok(report(question.key, question.ticket, found.or(txn), Some(age), known(outcome)));
                }
                Ok(Told::Pending { txn: found }) => txn = found.or(txn),
                Ok(Told::Rejected(_)) | Err(_) => {}
            }
            if Instant::now() >= latest {
                return Ok(report(question.key, question.ticket, txn, None, Outcome::Unknown));
            }
            pause_for(&mut pause, ASK_PAUSES.1, latest).await;
        }
    }

    async fn ask(&self, link: usize, question: &Question, latest: Instant) -> Result<Told, String> {
        let (_, hello) = self.inner.links[link].get(latest).await.map_err(|why| why.to_string())?;
        // Another log at that address knows nothing of the key; its Forgotten would sound like an answer.
        if question.ticket.is_some_and(|ticket| ticket.log.0 != hello.identity) && self.inner.links.len() > 1 {
            return Err(format!("{} is another coordinator", self.inner.links[link].address()));
        }
        let question = AskOutcome {
            key: question.key,
            ticket: question.ticket,
            participants: question.participants.clone(),
        };
        match self.call(link, Request::AskOutcome { question }, latest).await {
            Some(Ok(Response::AskOutcome(told))) => Ok(told),
            Some(Ok(_)) => Err("an answer to another question".to_owned()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("no answer in time".to_owned()),
        }
    }

    /// With several coordinators, "never seen" by one is no answer while another may have seen it.
    fn is_elsewhere(&self, outcome: &outcome::Outcome, index: usize) -> bool {
        *outcome == outcome::Outcome::NotFound && index + 1 < self.inner.links.len()
    }

    async fn call(&self, link: usize, request: Request, latest: Instant) -> Option<Result<Response, CallError>> {
        match self.inner.links[link].get(latest).await {
            Ok((connection, _)) => Link::call(&connection, request, latest).await,
            Err(why) => Some(Err(CallError::NotSent(why.to_string()))),
        }
    }

    /// A coordinator that can be reached, the one of `home`'s log if that is given. Tries until `latest`.
    async fn reach(&self, home: Option<LogId>, latest: Instant) -> Result<(usize, Hello), String> {
        let mut pause = ASK_PAUSES.0;
        let count = self.inner.links.len();
        loop {
            let first = self.inner.preferred.load(Ordering::Relaxed);
            let mut why = String::new();
            for index in (first..first + count).map(|index| index % count) {
                match self.inner.links[index].get(latest).await {
                    Ok((_, hello)) if count == 1 || home.is_none_or(|log| log.0 == hello.identity) => {
                        self.inner.preferred.store(index, Ordering::Relaxed);
                        return Ok((index, hello));
                    }
                    Ok(_) => why = format!("{} is another coordinator", self.inner.links[index].address()),
                    Err(failure) => why = failure.to_string(),
                }
            }
            if Instant::now() + pause >= latest {
                return Err(why);
            }
            pause_for(&mut pause, ASK_PAUSES.1, latest).await;
        }
    }
}

fn ticket_of(hello: &Hello) -> Ticket {
    Ticket {
        log: LogId(hello.identity),
        epoch: Epoch(hello.epoch),
        nonce: Nonce(hello.nonce),
        sequence: hello.sequence,
    }
}

fn report(key: Key, ticket: Option<Ticket>, txn: Option<TxnId>, age: Option<Age>, outcome: Outcome) -> Report {
    Report { key, ticket, txn, age, outcome, attempts: 1 }
}

fn known(outcome: outcome::Outcome) -> Outcome {
    match outcome {
        outcome::Outcome::Committed(reads) => Outcome::Committed(reads),
        outcome::Outcome::Aborted(reason) => Outcome::Aborted(reason),
        outcome::Outcome::Forgotten => Outcome::Forgotten,
        outcome::Outcome::NotFound => Outcome::NotFound,
        outcome::Outcome::HeuristicMixed => Outcome::HeuristicMixed,
    }
}

/// Waits, up to half as long again or short of it so that many callers do not march in step, and doubles the pause.
async fn pause_for(pause: &mut Duration, longest: Duration, latest: Instant) {
    let wait = pause.mul_f64(rand::rng().random_range(0.5..1.5));
    *pause = (*pause * 2).min(longest);
    sleep_until((Instant::now() + wait).min(latest)).await;
}
