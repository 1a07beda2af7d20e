//! What is to be done, in the caller's words.

use std::fmt;
use std::sync::Arc;

use handfast_common::codec;
use handfast_common::ids::{Age, Key, LogId, Name, Ticket};
use handfast_common::limits::{MAX_BRANCHES, MAX_OPERATIONS, MAX_TRANSACTION_BYTES};
use handfast_common::messages::BranchWork;
use handfast_common::operation::{self, Operation};
use handfast_common::outcome::Payload;
use uuid::Uuid;

/// A one-shot transaction: work for one or several participants, done by all of them or by none.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    branches: Vec<BranchWork>,
    operations: usize,
    /// What was wrong with what was added: told when it is to be sent.
    problem: Option<String>,
    keys: Keys,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) age: Option<Age>,
    pub(crate) log: Option<LogId>,
}

/// Where the keys of the attempts come from.
#[derive(Clone, Default)]
enum Keys {
    /// A new one for each.
    #[default]
    Drawn,
    /// One, and no second attempt.
    Fixed(Key),
    /// The caller's, by number of the attempt.
    Derived(Arc<dyn Fn(u32) -> Key + Send + Sync>),
}

impl Transaction {
    /// Nothing to do yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds operations of an embedded store at a participant; one branch for each participant.
    #[must_use]
    pub fn branch(mut self, participant: impl Into<String>, operations: impl Into<Vec<Operation>>) -> Self {
        let (participant, operations) = (participant.into(), operations.into());
        self.operations += operations.len();
        match encode(&participant, &operations) {
            Ok((name, work)) => self.work(name, work),
            Err(problem) => {
                self.problem.get_or_insert(problem);
                self
            }
        }
    }

    /// Adds work in another resource manager's own form.
    #[must_use]
    pub fn work(mut self, participant: Name, work: Payload) -> Self {
        self.branches.push(BranchWork { participant, work });
        self
    }

    /// Fixes the key: the caller's own name for this transaction, under which it happens at most once. It is then
    /// attempted once; after an abort the caller takes a new key and keeps the age.
    ///
    /// A key that was sent before must come with the ticket of that time: [`Transaction::ticket`].
    #[must_use]
    pub fn key(mut self, key: Key) -> Self {
        self.keys = Keys::Fixed(key);
        self
    }

    /// Keys by the number of the attempt, from 0, for a caller that must be able to find them again after a crash of
    /// its own. All different, and none of them sent before.
    #[must_use]
    pub fn keys(mut self, of_attempt: impl Fn(u32) -> Key + Send + Sync + 'static) -> Self {
        self.keys = Keys::Derived(Arc::new(of_attempt));
        self
    }

    /// The ticket that the (first) key belongs to. It goes to the coordinator that the ticket names and no other.
    #[must_use]
    pub const fn ticket(mut self, ticket: Ticket) -> Self {
        self.ticket = Some(ticket);
        self
    }

    /// The age of an earlier attempt.
    #[must_use]
    pub const fn age(mut self, age: Age) -> Self {
        self.age = Some(age);
        self
    }

    /// Only by the coordinator with this log, whichever others can be reached.
    #[must_use]
    pub const fn only_by(mut self, log: LogId) -> Self {
        self.log = Some(log);
        self
    }

    /// Its branches.
    #[must_use]
    pub fn branches(&self) -> &[BranchWork] {
        &self.branches
    }

    /// Checks what can be checked without a coordinator.
    ///
    /// # Errors
    /// One sentence saying what is wrong.
    pub fn check(&self) -> Result<(), String> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        if self.branches.is_empty() {
            return Err("a transaction without branches".into());
        }
        if self.branches.len() > MAX_BRANCHES {
            return Err(format!("{} branches are over the limit of {MAX_BRANCHES}", self.branches.len()));
        }
        if self.operations > MAX_OPERATIONS {
            return Err(format!("{} operations are over the limit of {MAX_OPERATIONS}", self.operations));
        }
        let bytes: usize = self.branches.iter().map(|branch| branch.work.0.len()).sum();
        if bytes > MAX_TRANSACTION_BYTES {
            return Err(format!("{bytes} bytes of work are over the limit of {MAX_TRANSACTION_BYTES}"));
        }
        let mut names = self.participants();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(format!("participant '{}' is named twice; put its operations together", twice[0])),
            None => Ok(()),
        }
    }

    pub(crate) fn participants(&self) -> Vec<Name> {
        self.branches.iter().map(|branch| branch.participant.clone()).collect()
    }

    pub(crate) fn key_of(&self, attempt: u32) -> Key {
        match &self.keys {
            Keys::Drawn => Key(Uuid::new_v4()),
            Keys::Fixed(key) => *key,
            Keys::Derived(of_attempt) => of_attempt(attempt),
        }
    }

    /// Whether it may be run again under another key.
    pub(crate) const fn may_take_new_key(&self) -> bool {
        !matches!(self.keys, Keys::Fixed(_))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drawn => f.write_str("Drawn"),
            Self::Fixed(key) => write!(f, "Fixed({key})"),
            Self::Derived(_) => f.write_str("Derived"),
        }
    }
}

fn encode(participant: &str, operations: &Vec<Operation>) -> Result<(Name, Payload), String> {
    let name = Name::new(participant).map_err(|error| format!("participant {error}"))?;
    operation::validate(operations).map_err(|error| format!("participant '{name}': {error}"))?;
    let work = codec::encode(operations).map_err(|error| format!("participant '{name}': {error}"))?;
    Ok((name, Payload(work)))
}
