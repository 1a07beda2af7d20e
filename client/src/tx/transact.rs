//! Running a body in a transaction, as often as it takes.

use std::time::Duration;

use handfast_common::outcome::{Reason, ReasonKind};
use handfast_common::rpc::MAX_CALL_TIMEOUT;
use tokio::time::{Instant, timeout_at};

use super::Tx;
use super::error::{CommitError, TransactError};
use crate::client::Client;
use crate::retry::Backoff;

/// How one attempt ended without a commit.
struct Failed<E> {
    error: TransactError<E>,
    /// Why it was aborted, where that was not the body's own choice.
    aborted: Option<Reason>,
}

impl Client {
    /// Runs `body` in a transaction and commits it; by [`Options::deadline`](crate::Options::deadline) and one second
    /// it has ended.
    ///
    /// When the transaction is aborted for a reason that may pass (a conflict, a restarted participant: see
    /// [`Retry`](crate::Retry)), the body is run again in a new one of the same age: in the end it is the oldest, and
    /// wins every conflict. So a body must be fit to run several times: whatever it does beside the transaction happens
    /// as often. An error of the body rolls back and is given back, unless the transaction was doomed for such a reason:
    /// then the body runs again, whatever it made of it.
    ///
    /// Dropping the future rolls back what is open, and finishes a commit that has begun.
    ///
    /// # Errors
    /// See [`TransactError`].
    pub async fn transact<T, E, F>(&self, body: impl FnMut(Tx) -> F) -> Result<T, TransactError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        self.transact_within(self.deadline, body).await
    }

    /// The same with a deadline of its own.
    ///
    /// # Errors
    /// See [`TransactError`].
    pub async fn transact_within<T, E, F>(
        &self,
        deadline: Duration,
        mut body: impl FnMut(Tx) -> F,
    ) -> Result<T, TransactError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let latest = Instant::now() + deadline.min(MAX_CALL_TIMEOUT);
        let (mut age, mut retries, mut backoff) = (None, 0, Backoff::new());
        let mut aborted: Option<TransactError<E>> = None;
        loop {
            let tx = match (self.begin_until(age, latest).await, aborted) {
                (Ok(tx), _) => tx,
                // What ended the attempt before says more than that there was no time for another one.
                (Err(_), Some(aborted)) => return Err(aborted),
                (Err(error), None) => return Err(TransactError::Begin(error)),
            };
            age = age.or_else(|| Some(tx.age()));
            let working = body(tx.clone());
            let failed = match attempt(tx, working, latest).await {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            let again = failed.aborted.as_ref().is_some_and(|reason| (self.retry.when)(reason.kind));
            let error = match failed.aborted {
                Some(reason) if again => TransactError::Commit(CommitError::Aborted(reason)),
                _ => failed.error,
            };
            if !again || retries >= self.retry.most || Instant::now() >= latest {
                return Err(error);
            }
            retries += 1;
            aborted = Some(error);
            backoff.pause(latest).await;
        }
    }
}

/// One run of the body, and its end.
async fn attempt<T, E, F>(tx: Tx, working: F, latest: Instant) -> Result<T, Failed<E>>
where
    F: Future<Output = Result<T, E>>,
{
    match timeout_at(latest, working).await {
        Ok(Ok(value)) => match tx.commit().await {
            Ok(_) => Ok(value),
            Err(error) => {
                let aborted = match &error {
                    CommitError::Aborted(reason) => Some(passing(reason.clone())),
                    CommitError::Unanswered(_)
                    | CommitError::Unknown(_)
                    | CommitError::Mixed(_)
                    | CommitError::Ended => None,
                };
                Err(Failed { error: TransactError::Commit(error), aborted })
            }
        },
        Ok(Err(error)) => {
            let aborted = tx.doomed();
            tx.rollback().await;
            Err(Failed { error: TransactError::Body(error), aborted })
        }
        Err(_) => {
            tx.rollback().await;
            let reason = Reason::new(ReasonKind::Expired, "the body was still running at the deadline");
            Err(Failed { error: TransactError::Commit(CommitError::Aborted(reason)), aborted: None })
        }
    }
}

/// A commit whose reply was lost is asked about, and the question fences it: that it was fenced says no more than that
/// the coordinator had not got it, and the body can run again.
fn passing(reason: Reason) -> Reason {
    match reason.kind {
        ReasonKind::Fenced => Reason::new(ReasonKind::Unreachable, "the commit did not arrive"),
        _ => reason,
    }
}
