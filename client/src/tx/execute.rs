//! One operation, from its number to its answer.

use handfast_common::ids::Name;
use handfast_common::messages::{Execute, ExecuteResult, Executed, Micros, OperationId};
use handfast_common::outcome::{Payload, Reason, ReasonKind};
use handfast_common::rpc::service::{ParticipantServiceRequest as Request, ParticipantServiceResponse as Response};
use handfast_common::rpc::{CallError, MAX_CALL_TIMEOUT};
use tokio::time::{Instant, timeout_at};

use super::error::OperationError;
use super::progress::Waited;
use super::work::Inner;
use crate::network::{NoWay, ToParticipant};
use crate::retry::Backoff;
use crate::submitting::PATIENCE;

/// An operation that somebody waits for.
struct Waiting<'a> {
    inner: &'a Inner,
    participant: &'a Name,
    how: Waited,
}

/// What became of one copy of an operation.
enum Sent {
    /// The end of it.
    Ended(Result<Payload, OperationError>),
    /// Not carried out; send it again. With what was in the way.
    NotCarriedOut(String),
    /// It may have been carried out; send it again under the same number.
    InDoubt(String),
}

/// After so many addresses in a row where somebody else answers, there is no use in waiting for the right one.
const MAX_HOPELESS: u32 = 3;

impl Inner {
    /// Sends an operation until it is answered or the transaction's time is over.
    pub(super) async fn run(&self, participant: Name, work: Payload) -> Result<Payload, OperationError> {
        let number = self.progress.lock().begin(&participant)?;
        let mut waiting = Waiting { inner: self, participant: &participant, how: Waited::Settled };
        let operation = OperationId { caller: self.caller, number };
        let mut backoff = Backoff::new();
        let mut why = "the transaction's time is over".to_owned();
        let mut hopeless = 0;
        while Instant::now() < self.deadline && hopeless < MAX_HOPELESS {
            let way =
                self.client.network.participant(&self.coordinator, self.xid.log, &participant, self.deadline).await;
            why = match way {
                Ok(live) => {
                    let copy = self.copy(&participant, operation, &work);
                    // From here on until an answer: dropped now, its result is unknown.
                    let before = std::mem::replace(&mut waiting.how, Waited::LetGo);
                    match self.send(&live, &participant, copy).await {
                        Sent::Ended(result) => {
                            waiting.how = Waited::Settled;
                            return result;
                        }
                        Sent::NotCarriedOut(why) => {
                            waiting.how = before;
                            why
                        }
                        Sent::InDoubt(why) => why,
                    }
                }
                Err(NoWay::Unknown(known)) if waiting.how == Waited::Settled => {
                    return Err(OperationError::UnknownParticipant { name: participant.clone(), known });
                }
                Err(no_way) => {
                    hopeless = if no_way.is_hopeless() { hopeless + 1 } else { 0 };
                    no_way.to_string()
                }
            };
            backoff.pause(self.deadline).await;
        }
        let participant = participant.clone();
        Err(match waiting.how {
            Waited::Settled => OperationError::NotSent { participant, why },
            Waited::LetGo => OperationError::NoAnswer { participant, why },
        })
    }

    fn copy(&self, to: &Name, operation: OperationId, work: &Payload) -> Execute {
        let wait = Micros::from(self.deadline.saturating_duration_since(Instant::now()));
        let (to, coordinator, work) = (to.clone(), self.address.clone(), work.clone());
        Execute { to, xid: self.xid, coordinator, operation, wait, clock: self.client.ages.clock(), work }
    }

    /// Sends one copy and waits with patience: a participant that has stopped is noticed by that, not by the deadline.
    async fn send(&self, live: &ToParticipant, participant: &Name, execute: Execute) -> Sent {
        let latest = self.deadline.min(Instant::now() + PATIENCE);
        match timeout_at(latest, live.connection.call(Request::Execute { execute }, MAX_CALL_TIMEOUT)).await {
            Ok(Ok(Response::Execute(executed))) => self.take(participant, executed),
            Ok(Ok(_)) => Sent::InDoubt("it answered another question".into()),
            Ok(Err(error)) if error.not_carried_out() => Sent::NotCarriedOut(error.to_string()),
            // An answer that can't be sent is no better the next time.
            Ok(Err(error @ CallError::Refused(_))) => Sent::Ended(Err(
                self.doom(Reason::new(ReasonKind::BadWork, format!("participant '{participant}': {error}")))
            )),
            Ok(Err(error)) => {
                self.client.network.forget(live);
                Sent::InDoubt(error.to_string())
            }
            // Others may get their answers on it: it is left to them.
            Err(_) => {
                self.client.network.forget(live);
                Sent::InDoubt("no answer in time".into())
            }
        }
    }

    fn take(&self, participant: &Name, Executed { from, result }: Executed) -> Sent {
        self.client.ages.hear(from.clock);
        if from.name != *participant || result == ExecuteResult::WrongAddressee {
            self.client.network.misplaced(self.xid.log, participant);
            return Sent::NotCarriedOut(format!("participant '{}' answers in its place", from.name));
        }
        let mut progress = self.progress.lock();
        if let Err(reason) = progress.recognize(&from) {
            return Sent::Ended(Err(OperationError::Doomed(reason)));
        }
        match result {
            ExecuteResult::Done(payload) => {
                progress.count(&from);
                Sent::Ended(Ok(payload))
            }
            ExecuteResult::Failed(reason) => {
                progress.count(&from);
                Sent::Ended(Err(OperationError::Failed(reason)))
            }
            ExecuteResult::Doomed(reason) => {
                progress.doom(reason.clone());
                Sent::Ended(Err(OperationError::Doomed(reason)))
            }
            ExecuteResult::NotYet | ExecuteResult::WrongAddressee => {
                Sent::NotCarriedOut("it has not heard from the coordinator yet".into())
            }
        }
    }

    fn doom(&self, reason: Reason) -> OperationError {
        self.progress.lock().doom(reason.clone());
        OperationError::Doomed(reason)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.inner.progress.lock().waited(self.participant, self.how);
    }
}
