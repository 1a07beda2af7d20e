//! A submit from the call to its report: attempts, questions, and the time they have.
//!
//! ```text
//! attempt ── answered: outcome ───────────────────────────────> report
//!    │  └──── not carried out (never left, "too much", rejected for now) ──> the same key again, after a pause
//!    └─────── may have arrived ──> ask until known ───────────> report, or Unknown
//! aborted, worth a retry, key not the caller's ──> next attempt: new key, same age
//! ```
//!
//! A request is sent again only when every copy sent before certainly had no effect. From the first moment of doubt on
//! there are only questions.

use std::sync::Arc;
use std::time::Duration;

use handfast_common::ids::{Age, Key, Name, Ticket, TxnId};
use handfast_common::messages::{AskOutcome, Micros, Rejection, Submit, Told};
use handfast_common::outcome::{Reason, ReasonKind};
use handfast_common::rpc::service::{CoordinatorServiceRequest as Request, CoordinatorServiceResponse as Response};
use handfast_common::rpc::{CallError, MAX_CALL_TIMEOUT};
use tokio::time::{Instant, timeout_at};

use crate::client::{Client, call_until};
use crate::error::{Error, NoCoordinator};
use crate::links::Live;
use crate::report::{Outcome, Report};
use crate::retry::Backoff;
use crate::transaction::Transaction;

/// After the deadline, for an answer that is on its way: the coordinator counts the same time from a little later.
pub(crate) const GRACE: Duration = Duration::from_millis(500);
/// How long an answer to a submit is waited for before it is asked what keeps it. Longer than votes take; and a
/// coordinator that has stopped is noticed by the question, not by the deadline.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// A definite answer.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) txn: Option<TxnId>,
    pub(crate) age: Option<Age>,
    pub(crate) outcome: Outcome,
}

/// No answer in time.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) txn: Option<TxnId>,
    pub(crate) why: String,
}

/// The times of one call.
#[derive(Clone, Copy)]
struct Clock {
    begun: Instant,
    /// Nothing is sent after this.
    deadline: Instant,
    /// Nothing is waited for after this.
    end: Instant,
}

/// What one key is sent with.
struct Attempt<'a> {
    key: Key,
    /// Given by the caller; otherwise made when the key is first sent.
    ticket: Option<Ticket>,
    age: Option<Age>,
    transaction: &'a Transaction,
}

/// How one key ended, with the ticket it belongs to.
struct Attempted {
    ticket: Ticket,
    settled: Settled,
    /// The one copy sent was never begun: its ticket was made from a standing that the coordinator has trimmed past.
    stale: Option<Arc<Live<Request, Response>>>,
}

impl Client {
    /// Runs a transaction; returns by `deadline` and one second. See the crate's documentation for what the answer
    /// means, and [`Retry`](crate::Retry) for when it is attempted more than once.
    ///
    /// # Errors
    /// Only when nothing was begun. See [`Error`].
    pub async fn submit(&self, transaction: Transaction, deadline: Duration) -> Result<Report, Error> {
        transaction.check().map_err(Error::Invalid)?;
        let begun = Instant::now();
        let deadline = begun + deadline.min(MAX_CALL_TIMEOUT);
        let clock = Clock { begun, deadline, end: deadline + GRACE };
        let mut age = transaction.age;
        age.into_iter().for_each(|age| self.ages.hear(age));
        let mut attempts = 0;
        let mut aborted: Option<Report> = None;
        let mut backoff = Backoff::new();
        loop {
            let key = transaction.key_of(attempts);
            let ticket = transaction.ticket.filter(|_| attempts == 0);
            let attempt = Attempt { key, ticket, age, transaction: &transaction };
            let Attempted { ticket, settled, stale } = match (self.attempt(&attempt, clock).await, aborted) {
                (Ok(attempted), _) => attempted,
                // The attempt before this one is aborted for good, and this one was not begun: nothing happened.
                (Err(_), Some(aborted)) => return Ok(aborted),
                (Err(error), None) => return Err(error),
            };
            attempts += 1;
            // The first age counts: a coordinator that has restarted no longer knows it and tells a younger one.
            age = age.or(settled.age);
            let Settled { txn, outcome, .. } = settled;
            let report =
                Report { key, ticket: Some(ticket), txn, outcome, age, attempts, latency: clock.begun.elapsed() };
            let again = transaction.may_take_new_key()
                && attempts <= self.retry.most
                && Instant::now() < clock.deadline
                && (stale.is_some()
                    || matches!(&report.outcome, Outcome::Aborted(reason) if (self.retry.when)(reason.kind)));
            if !again {
                return Ok(report);
            }
            match stale {
                Some(live) => {
                    self.links.forget(&live);
                    let reason = Reason::new(ReasonKind::Presumed, "its ticket was too old; it was not begun");
                    aborted = Some(Report { outcome: Outcome::Aborted(reason), ..report });
                }
                None => {
                    aborted = Some(report);
                    backoff.pause(clock.deadline).await;
                }
            }
        }
    }

    /// One key, from its first sending to its end.
    async fn attempt(&self, attempt: &Attempt<'_>, clock: Clock) -> Result<Attempted, Error> {
        let Attempt { key, ticket: given, age, transaction } = *attempt;
        // Set for ever by the first request that left.
        let mut bound = given;
        let mut rejected: Option<(Ticket, Rejection)> = None;
        let mut backoff = Backoff::new();
        loop {
            let live = match self.way_for(bound, transaction, clock).await {
                Ok(live) if Instant::now() < clock.deadline => live,
                unusable => {
                    let why = unusable.err().unwrap_or_else(out_of_time);
                    return Err(match rejected {
                        Some((ticket, rejection)) => Error::Rejected { key, ticket, rejection },
                        None => Error::NotSent { key, ticket: given, why },
                    });
                }
            };
            let ticket = bound.unwrap_or_else(|| live.ticket());
            let wait = Micros::from(clock.deadline.saturating_duration_since(Instant::now()));
            let branches = transaction.branches().to_vec();
            let request = Submit { key, ticket, age, clock: self.ages.clock(), wait, branches };
            let _under_way = live.under_way();
            match send(&live, Request::Submit { request }, clock.deadline).await {
                Sent::Told(Told::Outcome { txn, age, outcome }) => {
                    self.ages.hear(age);
                    if let Some(txn) = txn {
                        live.learn(txn);
                    }
                    let outcome = Outcome::from(outcome);
                    let stale = (bound.is_none() && outcome == Outcome::Forgotten).then_some(live);
                    let settled = Settled { txn, age: Some(age), outcome };
                    return Ok(Attempted { ticket, settled, stale });
                }
                Sent::Told(Told::Rejected(rejection)) => {
                    if !rejection.is_retryable() || Instant::now() >= clock.deadline {
                        return Err(Error::Rejected { key, ticket, rejection });
                    }
                    bound = Some(ticket);
                    rejected = Some((ticket, rejection));
                }
                Sent::NeverLeft => {}
                Sent::NotCarriedOut => bound = Some(ticket),
                Sent::Told(Told::Pending { .. }) | Sent::InDoubt => {
                    let settled = self.ask_out(key, ticket, transaction.participants(), clock.end).await;
                    return Ok(Attempted { ticket, settled, stale: None });
                }
            }
            backoff.pause(clock.deadline).await;
        }
    }

    async fn way_for(
        &self,
        bound: Option<Ticket>,
        transaction: &Transaction,
        clock: Clock,
    ) -> Result<Arc<Live<Request, Response>>, NoCoordinator> {
        match bound {
            Some(ticket) => self.links.pick(Some(ticket.log), clock.deadline).await,
            None => self.links.pick_for_new_key(transaction.log, clock.deadline).await,
        }
    }

    /// Asks until the end of the call's time. Whatever is not known by then is unknown.
    pub(crate) async fn ask_out(&self, key: Key, ticket: Ticket, participants: Vec<Name>, end: Instant) -> Settled {
        let why = match self.ask(key, Some(ticket), participants, end).await {
            Ok(Ok(settled)) => return settled,
            Ok(Err(pending)) => pending,
            Err(why) => Pending { txn: None, why: why.to_string() },
        };
        Settled { txn: why.txn, age: None, outcome: Outcome::Unknown(why.why) }
    }

    /// Asks until it is known or `latest` has passed.
    ///
    /// # Errors
    /// When nobody could be asked at all.
    pub(crate) async fn ask(
        &self,
        key: Key,
        ticket: Option<Ticket>,
        participants: Vec<Name>,
        latest: Instant,
    ) -> Result<Result<Settled, Pending>, NoCoordinator> {
        let mut backoff = Backoff::new();
        let mut last: Option<Pending> = None;
        loop {
            let live = match (self.links.pick(ticket.map(|ticket| ticket.log), latest).await, last) {
                (Ok(live), pending) => {
                    last = pending;
                    live
                }
                (Err(why), None) => return Err(why),
                (Err(why), Some(pending)) => return Ok(Err(Pending { why: why.to_string(), ..pending })),
            };
            let question = AskOutcome { key, ticket, participants: participants.clone() };
            let txn = last.as_ref().and_then(|pending| pending.txn);
            let pending = match call_until(&live.connection, Request::AskOutcome { question }, latest).await {
                Ok(Response::AskOutcome(Told::Outcome { txn, age, outcome })) => {
                    self.ages.hear(age);
                    return Ok(Ok(Settled { txn, age: Some(age), outcome: outcome.into() }));
                }
                Ok(Response::AskOutcome(Told::Pending { txn })) => {
                    Pending { txn, why: "the coordinator does not know it yet".into() }
                }
                Ok(Response::AskOutcome(Told::Rejected(rejection))) => Pending { txn, why: rejection.to_string() },
                Ok(_) => Pending { txn, why: "the coordinator answered another question".into() },
                Err(why) => Pending { txn, why },
            };
            if Instant::now() >= latest {
                return Ok(Err(pending));
            }
            last = Some(pending);
            backoff.pause(latest).await;
        }
    }
}

pub(crate) fn out_of_time() -> NoCoordinator {
    NoCoordinator::because("the deadline has passed")
}

/// What became of one request.
pub(crate) enum Sent {
    /// An answer.
    Told(Told),
    /// It certainly stayed here.
    NeverLeft,
    /// It left, and was certainly not carried out.
    NotCarriedOut,
    /// It may have been carried out, or may still be.
    InDoubt,
}

/// Sends what decides a transaction and waits with patience. When that ends, the connection is left alone: others use
/// it too.
pub(crate) async fn send(live: &Live<Request, Response>, request: Request, deadline: Instant) -> Sent {
    let latest = (Instant::now() + PATIENCE).min(deadline + GRACE / 2);
    match timeout_at(latest, live.connection.call(request, MAX_CALL_TIMEOUT)).await {
        Ok(Ok(Response::Submit(told) | Response::Commit(told))) => Sent::Told(told),
        Ok(Ok(_)) => Sent::InDoubt,
        Ok(Err(CallError::NotSent(_))) => Sent::NeverLeft,
        Ok(Err(error)) if error.not_carried_out() => Sent::NotCarriedOut,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a transaction is in doubt; asking");
            Sent::InDoubt
        }
        Err(_) => Sent::InDoubt,
    }
}
