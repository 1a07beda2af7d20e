//! The end of a transaction: commit and rollback, in tasks of their own that finish what was started.

use std::sync::Arc;
use std::time::Duration;

use handfast_common::ids::Name;
use handfast_common::messages::{Commit, Micros, Told};
use handfast_common::outcome::{Reason, ReasonKind};
use handfast_common::rpc::service::{CoordinatorServiceRequest as Request, CoordinatorServiceResponse as Response};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::error::CommitError;
use super::progress::Worked;
use super::work::Inner;
use super::{Committed, Owner};
use crate::client::call_until;
use crate::error::NoCoordinator;
use crate::report::{Outcome, Report};
use crate::retry::Backoff;
use crate::submitting::{GRACE, Sent, Settled, send};

/// How long a rollback is tried. What it can't reach ends by the idle limit.
const ROLLBACK_WAIT: Duration = Duration::from_secs(2);

/// What is known once the commit has been sent, or could not be.
enum Decided {
    Settled(Settled),
    /// The commit certainly was not taken.
    NotTaken(Reason),
}

impl Owner {
    /// Commits, or rolls back where it can't.
    pub(super) async fn commit(self: Arc<Self>) -> Result<Committed, CommitError> {
        let worked = self.work.inner.progress.lock().end_with_commit();
        let late = Instant::now() >= self.work.inner.deadline;
        let worked = match worked {
            Ok(worked) if !late => worked,
            Err(CommitError::Ended) => return Err(CommitError::Ended),
            refused => {
                self.roll_back().await;
                return Err(refused.err().unwrap_or_else(|| CommitError::Aborted(expired())));
            }
        };
        let owner = Arc::clone(&self);
        let finishing = self.runtime.spawn(async move {
            let decided = owner.decide(worked).await;
            owner.conclude(decided)
        });
        finishing.await.unwrap_or_else(|error| Err(self.unknown(error.to_string())))
    }

    /// Waits until it is rolled back, if that can be had in its time. To be called after the progress has ended.
    pub(super) async fn roll_back(&self) {
        // The task goes on all the same, and what comes of it makes no difference: nobody else can commit it.
        drop(timeout_at(self.work.inner.deadline + GRACE, self.spawn_rollback()).await);
    }

    pub(super) fn spawn_rollback(&self) -> JoinHandle<()> {
        let inner = Arc::clone(&self.work.inner);
        self.runtime.spawn(async move { drop(inner.roll_back().await) })
    }

    /// Sends the commit until it is answered. From the first moment of doubt on there are only questions.
    async fn decide(&self, worked: Worked) -> Decided {
        let Inner { client, coordinator, xid, deadline, .. } = &*self.work.inner;
        let Worked { counts, shared } = worked;
        // Whoever had the context may have worked at others: then nobody is named.
        let participants: Vec<Name> =
            if shared { Vec::new() } else { counts.iter().map(|count| count.participant.clone()).collect() };
        let mut backoff = Backoff::new();
        loop {
            let live = match coordinator.pick(Some(xid.log), *deadline).await {
                Ok(live) if Instant::now() < *deadline => live,
                Ok(_) => return Decided::NotTaken(expired()),
                Err(why) => return Decided::NotTaken(Reason::new(ReasonKind::Unreachable, why.to_string())),
            };
            let wait = Micros::from(deadline.saturating_duration_since(Instant::now()));
            let commit = Commit { xid: *xid, counts: counts.clone(), shared, wait };
            match send(&live, Request::Commit { commit }, *deadline).await {
                Sent::Told(Told::Outcome { txn, age, outcome }) => {
                    client.ages.hear(age);
                    return Decided::Settled(Settled { txn, age: Some(age), outcome: outcome.into() });
                }
                Sent::NeverLeft | Sent::NotCarriedOut => backoff.pause(*deadline).await,
                // What it rejects is asked about as well: only an outcome is definite.
                Sent::Told(Told::Pending { .. } | Told::Rejected(_)) | Sent::InDoubt => {
                    return Decided::Settled(
                        client.ask_out(self.key, self.ticket, participants, *deadline + GRACE).await,
                    );
                }
            }
        }
    }

    fn conclude(&self, decided: Decided) -> Result<Committed, CommitError> {
        let outcome = match decided {
            Decided::Settled(settled) => settled.outcome,
            Decided::NotTaken(reason) => {
                drop(self.spawn_rollback());
                return Err(CommitError::Aborted(reason));
            }
        };
        match outcome {
            Outcome::Aborted(reason) => Err(CommitError::Aborted(reason)),
            Outcome::Committed(_) => Ok(Committed {
                txn: self.work.inner.xid.txn,
                key: self.key,
                ticket: self.ticket,
                latency: self.begun.elapsed(),
            }),
            Outcome::HeuristicMixed => Err(CommitError::Mixed(Box::new(self.report(outcome)))),
            Outcome::Unknown(_) | Outcome::Forgotten | Outcome::NotFound => {
                Err(CommitError::Unknown(Box::new(self.report(outcome))))
            }
        }
    }

    fn unknown(&self, why: String) -> CommitError {
        CommitError::Unknown(Box::new(self.report(Outcome::Unknown(why))))
    }

    fn report(&self, outcome: Outcome) -> Report {
        Report {
            key: self.key,
            ticket: Some(self.ticket),
            txn: Some(self.work.inner.xid.txn),
            outcome,
            age: Some(self.age),
            attempts: 1,
            latency: self.begun.elapsed(),
        }
    }
}

impl Inner {
    /// Tells the coordinator that it is over, and gives back what that says.
    ///
    /// # Errors
    /// When it could not be told.
    pub(super) async fn roll_back(&self) -> Result<Told, NoCoordinator> {
        let latest = Instant::now() + ROLLBACK_WAIT;
        let mut backoff = Backoff::new();
        loop {
            let live = self.coordinator.pick(Some(self.xid.log), latest).await?;
            match call_until(&live.connection, Request::Rollback { xid: self.xid }, latest).await {
                Ok(Response::Rollback(told)) => return Ok(told),
                Ok(_) => return Err(NoCoordinator::because("the coordinator answered another question")),
                Err(why) if Instant::now() >= latest => return Err(NoCoordinator::because(why)),
                Err(_) => backoff.pause(latest).await,
            }
        }
    }
}

fn expired() -> Reason {
    Reason::new(ReasonKind::Expired, "its time was over before the commit")
}
