//! Identities: who speaks, which start of it, and which transaction is meant.
//!
//! Nothing here draws randomness or reads a clock: drivers draw identities, the machines only carry them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::limits::MAX_NAME_BYTES;

/// Identity of a coordinator's decision log: drawn once, when the log is created.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LogId(pub Uuid);

/// Identity of a participant's store: drawn once, when the store is created.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct StoreId(pub Uuid);

/// Number of a coordinator's start, bumped durably before anything is said in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// Random value beside an [`Epoch`]: two copies of one folder reach the same epoch, never the same nonce.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Nonce(pub u64);

/// Random value of a participant's start, forced before its first word. What a participant remembers in
/// memory only is worth something exactly as long as its incarnation lasts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// Age of a transaction for wait-die: a counter carried on every message, smaller is older, kept over retries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, Default)]
pub struct Age(pub u64);

/// Number of a record in a decision log; grows by one per record, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, Default)]
pub struct RecordNumber(pub u64);

/// Idempotency key of a client's request: opaque, chosen by the client, one for each thing it wants done once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Key(pub Uuid);

/// SHA-256 of a request's branches: tells a resend from a key reused for something else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ContentHash(pub [u8; 32]);

/// Name of a participant: 1 to 64 letters, digits, `-`, `_` or `.`.
///
/// Shared, not copied: every message names its addressee, and every Prepare all members.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Name(Arc<str>);

/// Why a text is no [`Name`], [`Ticket`] or [`TxnId`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct ParseError {
    what: String,
    why: &'static str,
}

impl ParseError {
    fn new(what: &str, why: &'static str) -> Self {
        let what: String = what.chars().take(80).collect();
        Self { what: format!("'{what}'"), why }
    }
}

impl ContentHash {
    /// SHA-256 of these parts, each preceded by its length: no two lists of parts run together into one.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }
}

impl Name {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// When it is empty, longer than 64 bytes, or has another character.
    pub fn new(text: impl Into<String>) -> Result<Self, ParseError> {
        let text = text.into();
        let fits = (1..=MAX_NAME_BYTES).contains(&text.len());
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if fits && plain {
            Ok(Self(text.into()))
        } else {
            Err(ParseError::new(&text, "a name has 1 to 64 letters, digits, '-', '_' or '.'"))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(text).map_err(serde::de::Error::custom)
    }
}

impl FromStr for Name {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::new(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identity of a transaction: a `UUIDv8` that sorts by coordinator, epoch and sequence, needs no clock and never
/// repeats after a restart (the epoch is forced before the first id of it).
///
/// Layout, most significant first: 24 bits of the log identity, 24 bits epoch, 4 bits version, 12 bits sequence
/// (high part), 2 bits variant, 36 bits sequence (low part), 26 bits of the nonce.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TxnId(pub Uuid);

impl TxnId {
    /// Highest epoch an id can carry; a coordinator refuses to start beyond it.
    pub const MAX_EPOCH: u64 = (1 << 24) - 1;
    /// Highest sequence an id can carry: at 50,000 transactions per second, 178 years of one epoch.
    pub const MAX_SEQUENCE: u64 = (1 << 48) - 1;

    /// Puts an id together.
    ///
    /// # Panics
    /// When epoch or sequence do not fit: the coordinator checks both before it gets here.
    #[must_use]
    pub fn new(log: LogId, epoch: Epoch, sequence: u64, nonce: Nonce) -> Self {
        assert!(epoch.0 <= Self::MAX_EPOCH && sequence <= Self::MAX_SEQUENCE, "transaction ids are used up");
        let coordinator = log.0.as_u128() & 0xFF_FFFF;
        let high = (coordinator << 40) | (u128::from(epoch.0) << 16) | 0x8000 | u128::from(sequence >> 36);
        let low = (0b10 << 62) | (u128::from(sequence & 0xF_FFFF_FFFF) << 26) | u128::from(nonce.0 & 0x3FF_FFFF);
        Self(Uuid::from_u128((high << 64) | low))
    }

    /// The epoch in which the transaction began.
    #[must_use]
    pub fn epoch(self) -> Epoch {
        Epoch(((self.0.as_u128() >> 80) & 0xFF_FFFF) as u64)
    }

    /// Its number within the epoch.
    #[must_use]
    pub fn sequence(self) -> u64 {
        let bits = self.0.as_u128();
        ((((bits >> 64) & 0xFFF) << 36) | ((bits >> 26) & 0xF_FFFF_FFFF)) as u64
    }
}

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The whole identity of a transaction (X/Open's word): what logs and messages key by. The id alone carries only a
/// part of log identity and nonce, and two copies of one folder could draw the same id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Xid {
    /// The coordinator's log.
    pub log: LogId,
    /// The transaction; before the nonce, so that one log's transactions sort in the order they began.
    pub txn: TxnId,
    /// The start of the coordinator in which it began.
    pub nonce: Nonce,
}

/// Where a coordinator stood when a key was first sent. A key belongs for ever to its first ticket: that is how a
/// coordinator tells "never seen" from "seen and forgotten" from "seen by an earlier start of mine".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Ticket {
    /// The coordinator's log.
    pub log: LogId,
    /// Its epoch at that time.
    pub epoch: Epoch,
    /// The nonce of that epoch.
    pub nonce: Nonce,
    /// The highest transaction sequence it had given out.
    pub sequence: u64,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{:016x}.{}", self.log.0.simple(), self.epoch.0, self.nonce.0, self.sequence)
    }
}

impl FromStr for Ticket {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::new(text, "a ticket is LOG.EPOCH.NONCE.SEQUENCE as an earlier output gave it");
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or_else(bad);
        let ticket = Self {
            log: LogId(Uuid::try_parse(next()?).map_err(|_| bad())?),
            epoch: Epoch(next()?.parse().map_err(|_| bad())?),
            nonce: Nonce(u64::from_str_radix(next()?, 16).map_err(|_| bad())?),
            sequence: next()?.parse().map_err(|_| bad())?,
        };
        if parts.next().is_some() { Err(bad()) } else { Ok(ticket) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId(Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0));

    #[test]
    fn transaction_ids_sort_by_epoch_then_sequence_and_are_uuid_v8() {
        let ids: Vec<TxnId> = [(1, 1), (1, 2), (1, (1 << 36) - 1), (1, 1 << 36), (2, 0), (300, 7)]
            .into_iter()
            .map(|(epoch, sequence)| TxnId::new(LOG, Epoch(epoch), sequence, Nonce(u64::MAX - sequence)))
            .collect();
        assert!(ids.is_sorted());
        for id in &ids {
            assert_eq!(id.0.get_version_num(), 8);
            assert_eq!(id.0.get_variant(), uuid::Variant::RFC4122);
        }
        assert_eq!(ids[3].sequence(), 1 << 36);
        assert_eq!(ids[5].epoch(), Epoch(300));
    }

    #[test]
    fn a_ticket_reads_back_from_its_text() {
        let ticket = Ticket { log: LOG, epoch: Epoch(7), nonce: Nonce(0xfeed), sequence: 42 };
        assert_eq!(ticket.to_string().parse(), Ok(ticket));
        for bad in ["", "a.b.c.d", "1.2.3", &format!("{ticket}.5")] {
            assert!(bad.parse::<Ticket>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_content_hash_tells_where_one_part_ends() {
        assert_eq!(ContentHash::of(&[b"ab", b"c"]), ContentHash::of(&[b"ab", b"c"]));
        assert_ne!(ContentHash::of(&[b"ab", b"c"]), ContentHash::of(&[b"a", b"bc"]));
        assert_ne!(ContentHash::of(&[]), ContentHash::of(&[b""]));
    }

    #[test]
    fn names_are_checked() {
        assert!(Name::new("bank-a").is_ok());
        for bad in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }
}
