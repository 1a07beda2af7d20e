//! What the log of an embedded store holds, and what the engine hands to it.
//!
//! ```text
//! 1 | codec(incarnation, store sequence that the starts before it came to)
//! 2 | length of the next part, u32 little endian | codec(Prepared) | codec(age, locks and writes)
//! 3 | codec(Done)
//! 4 | codec(Line)
//! 5 | codec(store sequence)
//! ```
//! A prepare record is two encoded values, the protocol's part and the store's: each may be as large as a transaction,
//! and one value could not hold both.
//!
//! There is one record for each start, the newest [`MAX_STARTS`](handfast_common::limits::MAX_STARTS) of them, in the
//! order of their record numbers. What a start came to stands in the record of the next one, for then it is final. None is
//! ever rewritten: a kill leaves the line of starts with the new one or without.

use std::sync::Arc;

use handfast_common::codec::{self, CodecError};
use handfast_common::ids::{Age, Incarnation, Xid};
use handfast_common::limits::MAX_OPERATIONS;
use handfast_common::messages::KnownStart;
use handfast_common::operation::Value;
use serde::{Deserialize, Serialize};

use super::locks::Mode;
use crate::protocol::{Done, Line, Prepared};

/// A branch that voted Yes, with all that a restart needs to hold and to finish it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrepareRecord {
    /// The protocol's part.
    pub prepared: Prepared,
    /// The transaction's age: after a restart, too, only older ones may wait for its locks.
    pub age: Age,
    /// Every lock, shared ones too.
    pub held: Arc<[Held]>,
}

/// A lock, and what becomes of its key when the branch commits.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Held {
    /// The key.
    pub key: String,
    /// How it is locked.
    pub mode: Mode,
    /// What commit does to it. In one list with the locks because a key is up to 1 KiB and would stand there twice.
    pub write: Option<Write>,
}

impl Held {
    /// Bytes of the text that it writes, if it does.
    pub(super) fn text_bytes(&self) -> usize {
        match &self.write {
            Some(Write::Put(Value::Text(text))) => text.len(),
            Some(Write::Put(Value::Integer(_)) | Write::Delete) | None => 0,
        }
    }
}

/// A change of one key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Write {
    /// It gets this value.
    Put(Value),
    /// It goes.
    Delete,
}

impl Write {
    /// The value after it.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Put(value) => Some(value),
            Self::Delete => None,
        }
    }
}

/// One thing for the log. What is handed over first is on disk first, or together with what follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// Keep a prepare record.
    Prepare {
        /// Whose.
        xid: Xid,
        /// A [`PrepareRecord`] as it is stored: encoded before it is handed over, because there a record that can't be
        /// encoded is a No, and here it would be the end of the process.
        record: Vec<u8>,
    },
    /// Carry out the writes of a branch, keep its done-marker, and drop its prepare record.
    Apply {
        /// Whose.
        xid: Xid,
        /// What it held and writes.
        held: Arc<[Held]>,
        /// A [`Done`] as it is stored.
        done: Vec<u8>,
        /// Whether there is a prepare record to drop; a one-phase commit has none.
        prepared: bool,
    },
    /// Drop a prepare record: the branch was aborted.
    Forget {
        /// Whose.
        xid: Xid,
    },
    /// Keep a coordinator's line, and drop the done-markers that its mark covers.
    Line(Line),
}

/// All that an engine starts from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Starts, the oldest first, each with the store sequence that it came to.
    pub starts: Vec<KnownStart>,
    /// Coordinators heard of.
    pub lines: Vec<Line>,
    /// Branches in doubt.
    pub prepared: Vec<PrepareRecord>,
    /// Branches that took effect.
    pub done: Vec<Done>,
}

/// A start of the participant, as it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Start {
    /// Drawn for it.
    pub incarnation: Incarnation,
    /// The store sequence that it began with: the one that the start before came to.
    pub from: u64,
}

/// A record of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stored {
    /// A start.
    Start(Start),
    /// A branch in doubt.
    Prepare(PrepareRecord),
    /// A branch that took effect.
    Done(Done),
    /// What is known of a coordinator.
    Line(Line),
    /// How many writes there have been that branches have a part in.
    Sequence(u64),
}

impl Stored {
    /// Reads a record back.
    ///
    /// # Errors
    /// When it is none: that is damage.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (kind, body) = bytes.split_first().ok_or(CodecError::Empty)?;
        Ok(match *kind {
            START => Self::Start(codec::decode(body)?),
            PREPARE => Self::Prepare(PrepareRecord::decode(body)?),
            DONE => Self::Done(codec::decode(body)?),
            LINE => Self::Line(codec::decode(body)?),
            SEQUENCE => Self::Sequence(codec::decode(body)?),
            other => return Err(CodecError::Malformed(format!("no record of kind {other} is known"))),
        })
    }
}

impl PrepareRecord {
    /// As it is stored.
    ///
    /// # Errors
    /// When a part is larger than what can be decoded again.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let mut bytes = vec![0; BEFORE_PARTS];
        let first = codec::encode_into(&self.prepared, &mut bytes)?;
        let length = u32::try_from(first).map_err(|_| CodecError::TooLarge)?;
        bytes[0] = PREPARE;
        bytes[1..BEFORE_PARTS].copy_from_slice(&length.to_le_bytes());
        codec::encode_into(&StoresPart { age: self.age, held: &self.held }, &mut bytes)?;
        Ok(bytes)
    }

    fn decode(body: &[u8]) -> Result<Self, CodecError> {
        let cut_short = || CodecError::Malformed("it is cut short".into());
        let (length, rest) = body.split_first_chunk().ok_or_else(cut_short)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (first, second) = rest.split_at_checked(length).ok_or_else(cut_short)?;
        let FoundPart { age, held } = codec::decode(second)?;
        Ok(Self { prepared: codec::decode(first)?, age, held: held.into() })
    }
}

/// A done-marker as it is stored.
///
/// # Errors
/// When it is larger than what can be decoded again.
pub fn encode_done(done: &Done) -> Result<Vec<u8>, CodecError> {
    encode(DONE, done)
}

pub(super) fn encode_line(line: &Line) -> Result<Vec<u8>, CodecError> {
    encode(LINE, line)
}

pub(super) fn encode_sequence(sequence: u64) -> Result<Vec<u8>, CodecError> {
    encode(SEQUENCE, &sequence)
}

pub(super) fn encode_start(start: &Start) -> Result<Vec<u8>, CodecError> {
    encode(START, start)
}

const START: u8 = 1;
const PREPARE: u8 = 2;
const DONE: u8 = 3;
const LINE: u8 = 4;
const SEQUENCE: u8 = 5;

const BEFORE_PARTS: usize = 1 + size_of::<u32>();

fn encode(kind: u8, value: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![kind];
    codec::encode_into(value, &mut bytes)?;
    Ok(bytes)
}

#[derive(Serialize)]
struct StoresPart<'a> {
    age: Age,
    held: &'a [Held],
}

#[derive(Deserialize)]
struct FoundPart {
    age: Age,
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_OPERATIONS>")]
    held: Vec<Held>,
}
