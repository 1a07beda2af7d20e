//! Clients, and the ledger of what they asked for and were told. It lies outside the system: whatever happens to that,
//! the ledger stands. A call that failed is Unknown, never more.

use std::collections::BTreeMap;

use handfast_common::ids::{Age, ContentHash, Key, Name, Ticket, Xid};
use handfast_common::messages::{AskOutcome, BranchWork, Micros, Rejection, Submit, Told};
use handfast_common::operation::{Operation, Read};
use handfast_common::outcome::{BranchReads, Outcome};
use handfast_participant::kv::{decode_reads, encode_operations};
use uuid::Uuid;

/// What a client knows of its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known {
    /// No answer came: it may have happened or not.
    Unknown,
    /// For good, and with what was read.
    Committed(BTreeMap<Name, Vec<Read>>),
    /// For good. Whether another attempt may succeed, and the age for it.
    Aborted(bool, Age),
    /// It was kept for a while, and no longer.
    Forgotten,
    /// The last copy was refused; an earlier one may have run.
    Rejected,
}

/// One transaction of the ledger.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its request, the same on every resend.
    pub request: Submit,
    /// What each participant is asked for.
    pub branches: BTreeMap<Name, Vec<Operation>>,
    /// When it was first sent, and when the outcome became known, in virtual time.
    pub begun: u64,
    /// See there.
    pub known_at: Option<u64>,
    /// What is known.
    pub known: Known,
    /// Its client gave up waiting: answers to the submission go nowhere.
    pub cancelled: bool,
    /// How many attempts went before.
    pub attempt: u32,
    /// How far it is, if it is interactive.
    pub session: Option<Session>,
}

/// An interactive transaction at its client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// Once it is begun.
    pub xid: Option<Xid>,
    /// One operation after the other.
    pub steps: Vec<(Name, Operation)>,
    /// How many of them are answered.
    pub done: usize,
    /// What they read.
    pub reads: BTreeMap<Name, Vec<Read>>,
    /// Which wait for an answer is the present one.
    pub waits: u64,
    /// The last operation is a look of a service that the client does not wait for.
    pub late: bool,
    /// Commit or rollback was sent.
    pub over: bool,
}

impl Wanted {
    /// The participants where it writes.
    pub fn writers(&self) -> impl Iterator<Item = &Name> {
        let writes = |operations: &[Operation]| operations.iter().any(Operation::is_write);
        self.branches.iter().filter(move |(_, operations)| writes(operations)).map(|(name, _)| name)
    }

    /// Whether it only reads: then there is no record of it that must survive, and a later epoch may say Aborted (A2).
    #[must_use]
    pub fn only_reads(&self) -> bool {
        self.writers().next().is_none()
    }

    /// Whether an outcome is known for good.
    #[must_use]
    pub fn is_known(&self) -> bool {
        match self.known {
            Known::Committed(_) | Known::Aborted(..) | Known::Forgotten => true,
            Known::Unknown | Known::Rejected => false,
        }
    }
}

/// All that clients ever wanted.
#[derive(Clone, Default, Debug)]
pub struct Ledger(BTreeMap<Key, Wanted>);

impl Ledger {
    /// The key that the next transaction gets.
    #[must_use]
    pub fn next_key(&self) -> Key {
        Key(Uuid::from_u128(1 + self.0.len() as u128))
    }

    /// Enters a transaction under [`Self::next_key`].
    ///
    /// # Panics
    /// When operations are too many to be sent.
    pub fn enter(
        &mut self,
        branches: BTreeMap<Name, Vec<Operation>>,
        ticket: Ticket,
        earlier: Option<(Age, u32)>,
        now: u64,
    ) -> Key {
        let key = self.next_key();
        let work = branches
            .iter()
            .map(|(name, operations)| BranchWork {
                participant: name.clone(),
                work: encode_operations(operations).expect("they fit a frame"),
            })
            .collect();
        let age = earlier.map(|(age, _)| age);
        let request = Submit { key, ticket, age, clock: Age(0), wait: Micros(5_000_000), branches: work };
        let attempt = earlier.map_or(0, |(_, attempt)| attempt);
        let wanted = Wanted {
            request,
            branches,
            begun: now,
            known_at: None,
            known: Known::Unknown,
            cancelled: false,
            attempt,
            session: None,
        };
        self.0.insert(key, wanted);
        key
    }

    /// The transaction under a key.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&Wanted> {
        self.0.get(&key)
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Wanted)> {
        self.0.iter()
    }

    /// Lets its client work through its operations one by one; `late`: it does not wait for the last one, if that only
    /// looks.
    pub fn open_session(&mut self, key: Key, late: bool) {
        if let Some(wanted) = self.0.get_mut(&key) {
            let steps = |(name, operations): (&Name, &Vec<Operation>)| -> Vec<(Name, Operation)> {
                operations.iter().map(|operation| (name.clone(), operation.clone())).collect()
            };
            let steps: Vec<_> = wanted.branches.iter().flat_map(steps).collect();
            let late = late && steps.last().is_some_and(|(_, last)| !last.is_write());
            let reads = BTreeMap::new();
            wanted.session = Some(Session { xid: None, steps, done: 0, reads, waits: 0, late, over: false });
        }
    }

    /// The session of an interactive transaction.
    pub fn session(&mut self, key: Key) -> Option<&mut Session> {
        self.0.get_mut(&key)?.session.as_mut()
    }

    /// Its client gives up waiting.
    pub fn cancel(&mut self, key: Key) {
        if let Some(wanted) = self.0.get_mut(&key) {
            wanted.cancelled = true;
        }
    }

    /// The question for an outcome.
    #[must_use]
    pub fn question(&self, key: Key) -> Option<AskOutcome> {
        let wanted = self.0.get(&key)?;
        let participants = wanted.branches.keys().cloned().collect();
        Some(AskOutcome { key, ticket: Some(wanted.request.ticket), participants })
    }

    /// An answer arrived.
    ///
    /// # Errors
    /// When it contradicts an earlier one, or is none that may come.
    pub fn hear(&mut self, key: Key, told: &Told, now: u64) -> Result<(), String> {
        let Some(wanted) = self.0.get_mut(&key) else { return Ok(()) };
        let heard = match told {
            Told::Outcome { outcome: Outcome::Committed(reads), .. } => Known::Committed(match &wanted.session {
                // What it read it knows itself.
                Some(session) => session.reads.clone(),
                None => decoded(reads)?,
            }),
            Told::Outcome { outcome: Outcome::Aborted(reason), age, .. } => {
                Known::Aborted(reason.kind.is_retryable(), *age)
            }
            Told::Outcome { outcome: Outcome::Forgotten, .. } => Known::Forgotten,
            Told::Rejected(Rejection::Overloaded(_) | Rejection::UnknownParticipant { .. } | Rejection::DiskFull) => {
                Known::Rejected
            }
            Told::Pending { .. } => return Ok(()),
            Told::Outcome { outcome: Outcome::NotFound | Outcome::HeuristicMixed, .. }
            | Told::Rejected(Rejection::Invalid(_) | Rejection::KeyReused) => {
                return Err(format!("{key} was told {told:?}"));
            }
        };
        let only_reads = wanted.only_reads();
        match (&wanted.known, &heard) {
            (Known::Committed(_), Known::Aborted(..)) | (Known::Aborted(..), Known::Committed(_)) if !only_reads => {
                Err(format!("{key} was told {:?} and now {heard:?}", wanted.known))
            }
            (Known::Committed(before), Known::Committed(now)) if before != now && !only_reads => {
                Err(format!("{key} was told that it read {before:?} and now {now:?}"))
            }
            (Known::Unknown | Known::Rejected, _) => {
                wanted.known = heard;
                wanted.known_at = wanted.is_known().then_some(now);
                Ok(())
            }
            (Known::Committed(_) | Known::Aborted(..) | Known::Forgotten, _) => Ok(()),
        }
    }
}

/// What a key stands for, as the coordinator's server has it.
#[must_use]
pub fn content_hash(request: &Submit) -> ContentHash {
    let parts = request.branches.iter().flat_map(|branch| [branch.participant.as_str().as_bytes(), &branch.work.0]);
    ContentHash::of(&parts.collect::<Vec<&[u8]>>())
}

fn decoded(reads: &[BranchReads]) -> Result<BTreeMap<Name, Vec<Read>>, String> {
    let branch = |reads: &BranchReads| {
        let read = decode_reads(&reads.reads).map_err(|error| format!("reads of {}: {error}", reads.participant))?;
        Ok((reads.participant.clone(), read))
    };
    reads.iter().map(branch).collect()
}
