//! What the prepare log holds.
//!
//! ```text
//! 1 | codec(start)                     an incarnation, and the store sequence that it began with
//! 2 | codec(Piece)                     is about to be tried: to be cancelled, unless one of the next two is there
//! 3 | codec(Prepared)                  in doubt: the coordinator decides
//! 4 | codec(Done)                      decided here, in one phase: to be confirmed
//! 5 | codec(Done)                      confirmed
//! 6 | codec(Xid)                       cancelled: a late try is refused
//! 7 | codec(Line)                      what is known of a coordinator
//! 8 | codec(store sequence)
//! ```

use handfast_common::codec::{self, CodecError};
use handfast_common::ids::{Incarnation, Xid};
use handfast_common::messages::KnownStart;
use serde::{Deserialize, Serialize};

use super::contract::{Branch, Piece};
use crate::protocol::{Done, Line, Prepared};

/// A record of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stored {
    Start(Begun),
    Piece(Piece),
    Prepared(Prepared),
    Decided(Done),
    Done(Done),
    Cancelled(Xid),
    Line(Line),
    Sequence(u64),
}

/// A start of the participant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) incarnation: Incarnation,
    /// The store sequence at its beginning.
    pub(super) sequence: u64,
}

/// One thing for the log. Records are encoded before they are handed over: there one that can't be is a No, and in the log
/// it would be the end of the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Item {
    /// A piece is about to be tried.
    Piece { xid: Xid, number: u32, record: Vec<u8> },
    /// It was refused, and cancelled.
    Drop { xid: Xid, number: u32 },
    /// The branch is in doubt from here on.
    Prepare { xid: Xid, record: Vec<u8> },
    /// The branch is committed in one phase.
    Decide { xid: Xid, record: Vec<u8> },
    /// The branch has ended: this marker, in place of all that there is of it.
    End { xid: Xid, record: Vec<u8> },
    /// Keep a coordinator's line, and drop the markers that its mark covers.
    Line(Line),
}

/// All that was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Found {
    /// Earlier starts in order, each with the sequence that it came to.
    pub(super) starts: Vec<KnownStart>,
    pub(super) lines: Vec<Line>,
    pub(super) prepared: Vec<(Prepared, Branch)>,
    pub(super) decided: Vec<(Done, Branch)>,
    /// Neither: to be cancelled.
    pub(super) open: Vec<Branch>,
    pub(super) done: Vec<Done>,
    pub(super) cancelled: Vec<Xid>,
}

impl Stored {
    pub(super) fn encode(&self) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Start(begun) => encode(START, begun),
            Self::Piece(piece) => encode(PIECE, piece),
            Self::Prepared(prepared) => encode(PREPARED, prepared),
            Self::Decided(done) => encode(DECIDED, done),
            Self::Done(done) => encode(DONE, done),
            Self::Cancelled(xid) => encode(CANCELLED, xid),
            Self::Line(line) => encode(LINE, line),
            Self::Sequence(sequence) => encode(SEQUENCE, sequence),
        }
    }

    /// Reads a record back. An error is damage.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (kind, body) = bytes.split_first().ok_or(CodecError::Empty)?;
        Ok(match *kind {
            START => Self::Start(codec::decode(body)?),
            PIECE => Self::Piece(codec::decode(body)?),
            PREPARED => Self::Prepared(codec::decode(body)?),
            DECIDED => Self::Decided(codec::decode(body)?),
            DONE => Self::Done(codec::decode(body)?),
            CANCELLED => Self::Cancelled(codec::decode(body)?),
            LINE => Self::Line(codec::decode(body)?),
            SEQUENCE => Self::Sequence(codec::decode(body)?),
            other => return Err(CodecError::Malformed(format!("no record of kind {other} is known"))),
        })
    }

    /// The transaction that it speaks of.
    pub(super) fn xid(&self) -> Option<Xid> {
        match self {
            Self::Piece(piece) => Some(piece.xid),
            Self::Prepared(prepared) => Some(prepared.xid),
            Self::Decided(done) | Self::Done(done) => Some(done.xid),
            Self::Cancelled(xid) => Some(*xid),
            Self::Start(_) | Self::Line(_) | Self::Sequence(_) => None,
        }
    }
}

const START: u8 = 1;
const PIECE: u8 = 2;
const PREPARED: u8 = 3;
const DECIDED: u8 = 4;
const DONE: u8 = 5;
const CANCELLED: u8 = 6;
const LINE: u8 = 7;
const SEQUENCE: u8 = 8;

fn encode(kind: u8, value: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![kind];
    codec::encode_into(value, &mut bytes)?;
    Ok(bytes)
}
