//! Putting a transaction together.

use handfast_common::codec;
use handfast_common::ids::{Age, Key, Name, Ticket};
use handfast_common::limits::{MAX_BRANCHES, MAX_OPERATIONS, MAX_TRANSACTION_BYTES};
use handfast_common::messages::BranchWork;
use handfast_common::operation::{Add, OnKey, Operation, Put, Value, validate};
use handfast_common::outcome::Payload;

/// A one-shot transaction: for each participant, what is to be done there. All of it takes effect, or none.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    pub(crate) branches: Vec<BranchWork>,
    pub(crate) key: Option<Key>,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) age: Option<Age>,
    operations: usize,
    bytes: usize,
}

/// What is wrong with a transaction; it was never sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTransaction(String);

impl Transaction {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a participant's branch on the embedded store.
    ///
    /// # Errors
    /// When the name or an operation is wrong, the participant has a branch already, or a limit is passed.
    pub fn branch(
        self,
        participant: impl AsRef<str>,
        operations: Vec<Operation>,
    ) -> Result<Self, InvalidTransaction> {
        let name = participant.as_ref();
        validate(&operations).map_err(|why| InvalidTransaction(format!("participant '{name}': {why}")))?;
        let total = self.operations + operations.len();
        if total > MAX_OPERATIONS {
            return Err(InvalidTransaction(format!("{total} operations are over the limit of {MAX_OPERATIONS}")));
        }
        let work = codec::encode(&operations)
            .map_err(|error| InvalidTransaction(format!("the work of participant '{name}' is {error}")))?;
        let mut with = self.raw_branch(name, Payload(work))?;
        with.operations = total;
        Ok(with)
    }

    /// Adds a participant's branch in its resource manager's own form.
    ///
    /// # Errors
    /// As for [`Transaction::branch`].
    pub fn raw_branch(mut self, participant: &str, work: Payload) -> Result<Self, InvalidTransaction> {
        let participant = Name::new(participant).map_err(|error| InvalidTransaction(error.to_string()))?;
        if self.branches.iter().any(|branch| branch.participant == participant) {
            let why = format!("participant '{participant}' is named twice; put its operations together");
            return Err(InvalidTransaction(why));
        }
        if self.branches.len() == MAX_BRANCHES {
            return Err(InvalidTransaction(format!("more than {MAX_BRANCHES} branches")));
        }
        self.bytes += work.0.len();
        if self.bytes > MAX_TRANSACTION_BYTES {
            let bytes = self.bytes;
            return Err(InvalidTransaction(format!("{bytes} bytes are over the limit of {MAX_TRANSACTION_BYTES}")));
        }
        self.branches.push(BranchWork { participant, work });
        Ok(self)
    }

    /// Fixes the idempotency key. Such a transaction is never retried under another one.
    #[must_use]
    pub fn with_key(mut self, key: Key) -> Self {
        self.key = Some(key);
        self
    }

    /// Says with which ticket the key was first sent, by an earlier run perhaps.
    #[must_use]
    pub fn with_ticket(mut self, ticket: Ticket) -> Self {
        self.ticket = Some(ticket);
        self
    }

    /// Keeps the age of an earlier attempt, so that it is not the youngest again.
    #[must_use]
    pub fn with_age(mut self, age: Age) -> Self {
        self.age = Some(age);
        self
    }

    /// The participants named so far.
    pub fn participants(&self) -> impl Iterator<Item = &Name> {
        self.branches.iter().map(|branch| &branch.participant)
    }
}

/// Sets a key to a string or an integer.
pub fn put(key: impl Into<String>, value: impl IntoValue) -> Operation {
    Operation::Put(Put { key: key.into(), value: value.into_value() })
}

/// Reads a key.
pub fn get(key: impl Into<String>) -> Operation {
    Operation::Get(OnKey { key: key.into() })
}

/// Adds to an integer; bounds may follow.
pub fn add(key: impl Into<String>, delta: i64) -> Adding {
    Adding(Add { key: key.into(), delta, min: None, max: None })
}

/// An `add` on its way to becoming an operation.
#[derive(Clone, Debug)]
pub struct Adding(Add);

impl Adding {
    /// Votes No if the result is below this.
    #[must_use]
    pub fn at_least(mut self, min: i64) -> Operation {
        self.0.min = Some(min);
        self.into()
    }

    /// Votes No if the result is above this.
    #[must_use]
    pub fn at_most(mut self, max: i64) -> Operation {
        self.0.max = Some(max);
        self.into()
    }
}

impl From<Adding> for Operation {
    fn from(adding: Adding) -> Self {
        Self::Add(adding.0)
    }
}

/// What can be a value.
pub trait IntoValue {
    /// As a value.
    fn into_value(self) -> Value;
}

impl IntoValue for i64 {
    fn into_value(self) -> Value {
        Value::Integer(self)
    }
}

impl IntoValue for &str {
    fn into_value(self) -> Value {
        Value::Text(self.to_owned())
    }
}

impl IntoValue for String {
    fn into_value(self) -> Value {
        Value::Text(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_before_anything_is_sent() {
        let one = || Transaction::new().branch("a", vec![put("k", 1)]).unwrap();
        assert!(one().branch("a", vec![get("k")]).unwrap_err().to_string().contains("named twice"));
        assert!(one().branch("b", vec![]).unwrap_err().to_string().contains("without operations"));
        assert!(one().branch("b c", vec![get("k")]).is_err());
        assert!(one().branch("b", vec![get("k".repeat(2000))]).unwrap_err().to_string().contains("1024"));
        let many = vec![get("k"); 1_000];
        assert!(one().branch("b", many).unwrap_err().to_string().contains("1001 operations"));
    }
}
