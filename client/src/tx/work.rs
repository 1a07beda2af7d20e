//! What can be done in an open transaction, by whoever began it and by whoever joined it.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use handfast_common::codec;
use handfast_common::ids::{Name, Xid};
use handfast_common::limits::{MAX_OPERATIONS, MAX_TRANSACTION_BYTES};
use handfast_common::locks::Mutex;
use handfast_common::operation::{self, Add, Check, OnKey, Operation, Put, Read, Value};
use handfast_common::outcome::{Payload, Reason};
use serde::Deserialize;
use tokio::time::Instant;

use super::error::OperationError;
use super::progress::Progress;
use crate::client::Client;
use crate::context::Context;
use crate::network::ToCoordinator;

/// An open transaction, for working in it.
///
/// Operations may run side by side; at one participant they are carried out one after the other. What one writes is
/// seen by the later ones and by nobody else. Each is carried out at most once: over a lost connection it is sent again
/// under its number, until the transaction's deadline.
///
/// An operation whose future is dropped before its answer may have been carried out or not: the transaction is then not
/// committed any more.
#[derive(Debug)]
pub struct Work {
    pub(super) inner: Arc<Inner>,
}

/// What all that is done in a transaction shares.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) client: Client,
    pub(super) coordinator: ToCoordinator,
    /// Where that one was reached: participants are told.
    pub(super) address: String,
    pub(super) xid: Xid,
    /// Drawn for this process's part in the transaction: numbers of operations count from 1 in each.
    pub(super) caller: u64,
    pub(super) deadline: Instant,
    pub(super) trace: Option<String>,
    pub(super) progress: Mutex<Progress>,
}

impl Work {
    /// The transaction.
    #[must_use]
    pub fn xid(&self) -> Xid {
        self.inner.xid
    }

    /// What is left of its time.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.inner.deadline.saturating_duration_since(Instant::now())
    }

    /// Why it can't commit any more, if that is known here.
    #[must_use]
    pub fn doomed(&self) -> Option<Reason> {
        self.inner.progress.lock().doomed()
    }

    /// What another service needs to work in this transaction: its header value is
    /// [`to_header`](Context::to_header). It must have answered before the transaction is committed; what it does later
    /// is refused.
    #[must_use]
    pub fn context(&self) -> Context {
        self.inner.progress.lock().share();
        let Inner { xid, address, deadline, trace, .. } = &*self.inner;
        Context::new(*xid, address.clone(), *deadline, trace.clone())
    }

    /// Carries out one operation at a participant, in its resource manager's own form, and gives back what that says.
    ///
    /// # Errors
    /// See [`OperationError`]: after most of them the transaction can't commit.
    pub async fn execute(&self, participant: &str, work: Payload) -> Result<Payload, OperationError> {
        self.run(self.name(participant)?, work).await
    }

    /// Carries out operations at a participant with an embedded store, all of them or none; gives back what the `get`s
    /// among them read, in their order.
    ///
    /// # Errors
    /// See [`OperationError`]. When a check does not hold it is [`OperationError::Failed`] and none was carried out.
    pub async fn operate(
        &self,
        participant: &str,
        operations: impl Into<Vec<Operation>>,
    ) -> Result<Vec<Read>, OperationError> {
        let (name, operations) = (self.name(participant)?, operations.into());
        let invalid = |why: String| OperationError::Invalid(format!("participant '{name}': {why}"));
        operation::validate(&operations).map_err(invalid)?;
        let work = codec::encode(&operations).map_err(|error| invalid(error.to_string()))?;
        let reads = self.run(name.clone(), Payload(work)).await?;
        if reads.0.is_empty() {
            return Ok(Vec::new());
        }
        let ReadList(reads) =
            codec::decode(&reads.0).map_err(|why| OperationError::Unreadable { participant: name, why })?;
        Ok(reads)
    }

    /// Reads a key of an embedded store; `None` when absent.
    ///
    /// # Errors
    /// See [`OperationError`].
    pub async fn get(&self, participant: &str, key: &str) -> Result<Option<Value>, OperationError> {
        let reads = self.operate(participant, [Operation::Get(OnKey { key: key.into() })]).await?;
        Ok(reads.into_iter().next().and_then(|read| read.value))
    }

    /// Sets a key of an embedded store.
    ///
    /// # Errors
    /// See [`OperationError`].
    pub async fn put(&self, participant: &str, key: &str, value: impl Into<Value>) -> Result<(), OperationError> {
        let put = Put { key: key.into(), value: value.into() };
        self.operate(participant, [Operation::Put(put)]).await.map(drop)
    }

    /// Adds to an integer of an embedded store; an absent key counts from 0.
    ///
    /// # Errors
    /// See [`OperationError`].
    pub async fn add(&self, participant: &str, key: &str, delta: i64) -> Result<(), OperationError> {
        self.add_within(participant, key, delta, ..).await
    }

    /// Adds to an integer of an embedded store, if the result lies in `range`: `0..` keeps an account from being
    /// overdrawn.
    ///
    /// # Errors
    /// See [`OperationError`]. When it does not it is [`OperationError::Failed`], and nothing was added.
    pub async fn add_within(
        &self,
        participant: &str,
        key: &str,
        delta: i64,
        range: impl RangeBounds<i64>,
    ) -> Result<(), OperationError> {
        let (min, max) = within(&range).ok_or_else(|| OperationError::Invalid("an empty range".into()))?;
        let add = Add { key: key.into(), delta, min, max };
        self.operate(participant, [Operation::Add(add)]).await.map(drop)
    }

    /// Removes a key of an embedded store; removing an absent one is no error.
    ///
    /// # Errors
    /// See [`OperationError`].
    pub async fn delete(&self, participant: &str, key: &str) -> Result<(), OperationError> {
        self.operate(participant, [Operation::Delete(OnKey { key: key.into() })]).await.map(drop)
    }

    /// Checks a key of an embedded store.
    ///
    /// # Errors
    /// See [`OperationError`]. When it does not hold it is [`OperationError::Failed`].
    pub async fn check(&self, participant: &str, check: Check) -> Result<(), OperationError> {
        self.operate(participant, [Operation::Check(check)]).await.map(drop)
    }

    fn name(&self, participant: &str) -> Result<Name, OperationError> {
        Name::new(participant).map_err(|error| OperationError::Invalid(format!("participant {error}")))
    }

    async fn run(&self, participant: Name, work: Payload) -> Result<Payload, OperationError> {
        if work.0.len() > MAX_TRANSACTION_BYTES {
            let why = format!("{} bytes of work are over the limit of {MAX_TRANSACTION_BYTES}", work.0.len());
            return Err(OperationError::Invalid(why));
        }
        self.inner.run(participant, work).await
    }
}

/// What a participant sends: the length is bounded before anything is set aside for it.
#[derive(Deserialize)]
struct ReadList(#[serde(deserialize_with = "codec::bounded::<_, _, MAX_OPERATIONS>")] Vec<Read>);

/// Least and greatest value of a range, as far as it has them; nothing if no value lies in it.
fn within(range: &impl RangeBounds<i64>) -> Option<(Option<i64>, Option<i64>)> {
    let min = match range.start_bound() {
        Bound::Included(min) => Some(*min),
        Bound::Excluded(below) => Some(below.checked_add(1)?),
        Bound::Unbounded => None,
    };
    let max = match range.end_bound() {
        Bound::Included(max) => Some(*max),
        Bound::Excluded(above) => Some(above.checked_sub(1)?),
        Bound::Unbounded => None,
    };
    let is_empty = min.zip(max).is_some_and(|(min, max)| min > max);
    (!is_empty).then_some((min, max))
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn ranges_become_least_and_greatest_values() {
        assert_eq!(within(&..), Some((None, None)));
        assert_eq!(within(&(0..)), Some((Some(0), None)));
        assert_eq!(within(&(..10)), Some((None, Some(9))));
        assert_eq!(within(&(-5..=5)), Some((Some(-5), Some(5))));
        assert_eq!(within(&(3..3)), None);
        assert_eq!(within(&(..i64::MIN)), None);
    }
}
