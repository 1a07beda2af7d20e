//! Participant to coordinator, unasked: registrations and inquiries, with what they are answered.

use serde::{Deserialize, Serialize};

use super::stamp::{Identity, Seen, Stamp};
use crate::codec;
use crate::ids::{Name, Xid};
use crate::limits::MAX_BRANCHES;
use crate::outcome::Decision;

/// An in-doubt participant's question.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Inquiry {
    /// Who asks.
    pub from: Identity,
    /// About which transaction.
    pub xid: Xid,
    /// All of its branches: the guard against lost memory asks them first.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_BRANCHES>")]
    pub members: Vec<Name>,
}

/// The answer to an [`Inquiry`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum InquiryAnswer {
    /// Decided, and durable.
    Decided(Decision),
    /// Not decided yet, or not yet safe to say. Ask again.
    Undecided,
    /// Another log, or another start of it: asking here is of no use.
    NotMine,
}

/// A participant makes itself known; repeated on every connection and every 2 s.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Register {
    /// Who.
    pub from: Identity,
    /// Where it listens.
    pub address: String,
    /// What it has seen of the line of the coordinator it registers with: one that was replaced while it slept, and has
    /// nothing to say to anybody, hears of it here.
    pub seen: Option<Seen>,
}

/// The answer to [`Register`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Registered {
    /// Known, durably. With the coordinator's stamp, whose mark may be taken over.
    Welcome(Stamp),
    /// Refused, with the reason in one line.
    Refused(String),
}
