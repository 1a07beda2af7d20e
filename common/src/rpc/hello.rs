//! What both sides say before tarpc begins: who they are and which protocol they speak.
//!
//! Written by hand rather than through the codec, because it is what two builds with different codecs must still be
//! able to read. All numbers little endian. Magic, versions and length, and the layout of a refusal, never change:
//!
//! ```text
//! every hello    "HFST" | lowest version u16 | highest version u16 | length of the rest u16
//! the dialer's   role u8 | identity 16 | epoch u64 | nonce u64 | sequence u64 | name length u8 | name
//!                | CRC-32 u32 of the versions and of this part
//! the answer     0 | version u16 | the answering side's own hello, as above
//!                1 | reason u8 | text length u8 | text
//! ```

use std::fmt;

use bytes::{Buf, BufMut};
use uuid::Uuid;

use crate::ids::Name;

/// Who speaks, at the beginning of a connection.
///
/// Nothing in it is authenticated: it tells a peer started twice, restored from a copy or of another build apart from
/// the right one. It is no proof of who they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Protocol versions this side speaks.
    pub versions: Versions,
    /// What it is.
    pub role: Role,
    /// Identity of its log or store; nil for clients.
    pub identity: Uuid,
    /// A coordinator's epoch; 0 for others.
    pub epoch: u64,
    /// A coordinator's nonce, a participant's incarnation; 0 for clients.
    pub nonce: u64,
    /// The highest transaction sequence a coordinator has given out: clients make their tickets of it. 0 for others.
    pub sequence: u64,
    /// Its name, if it has one.
    pub name: Option<Name>,
}

/// What a process is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Asks for transactions, or for what became of them.
    Client,
    /// Decides.
    Coordinator,
    /// Holds branches.
    Participant,
}

/// A range of protocol versions, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Versions {
    /// The oldest still spoken.
    pub lowest: u16,
    /// The newest.
    pub highest: u16,
}

/// The answer to a hello.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// Both speak this version from here on.
    Accepted {
        /// The highest that both know.
        version: u16,
        /// The answering side.
        hello: Hello,
    },
    /// The connection ends here.
    Refused(Refusal),
}

/// Why a connection was refused, as the other side reads it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// What kind of reason.
    pub reason: RefusalReason,
    /// One line for a human; cut after 255 bytes on the wire.
    pub text: String,
}

/// Kinds of refusals: what a program may decide by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum RefusalReason {
    /// No version in common.
    Version,
    /// Too many connections, in all or from this address: later may do.
    Busy,
    /// This role, name or identity is not welcome here.
    Unwelcome,
    /// The process is stopping or not ready yet: later, or another one, will do.
    Unavailable,
    /// A reason that this build does not know.
    Other(u8),
}

/// Bytes before the part whose length they tell.
pub(super) const HEAD_BYTES: usize = 10;
/// Longest part after it. Now at most 121 bytes are used; the rest is room for later versions, whose longer hello this
/// build must read to the end, or the reset that follows unread bytes would destroy its refusal.
pub(super) const MAX_REST_BYTES: usize = 512;

const MAGIC: [u8; 4] = *b"HFST";

/// Why received bytes are no hello.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum HelloError {
    /// The magic is missing.
    #[error("not Handfast")]
    NotHandfast,
    /// It is there, and what follows is wrong.
    #[error("malformed hello: {0}")]
    Malformed(&'static str),
}

impl Versions {
    /// What this build speaks.
    pub const OWN: Self = Self { lowest: 3, highest: 3 };

    /// The highest version of both ranges.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let highest = self.highest.min(other.highest);
        (highest >= self.lowest.max(other.lowest)).then_some(highest)
    }

    /// What is told to a peer without a version in common.
    #[must_use]
    pub(super) fn refusal(self, peer: Self) -> Refusal {
        let spoken = if peer.lowest == peer.highest { peer.highest.to_string() } else { peer.to_string() };
        Refusal { reason: RefusalReason::Version, text: format!("speaks version {spoken}, this side {self}") }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.lowest, self.highest)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Coordinator => "coordinator",
            Self::Participant => "participant",
        })
    }
}

impl fmt::Display for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} {name}", self.role),
            None if self.identity.is_nil() => write!(f, "{}", self.role),
            None => write!(f, "{} {}", self.role, self.identity),
        }
    }
}

impl Hello {
    /// A client's hello: it has no identity.
    #[must_use]
    pub const fn client() -> Self {
        let (role, identity) = (Role::Client, Uuid::nil());
        Self { versions: Versions::OWN, role, identity, epoch: 0, nonce: 0, sequence: 0, name: None }
    }

    /// The bytes a dialer begins with.
    #[must_use]
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(128);
        self.put(&mut rest);
        framed(self.versions, &rest)
    }

    fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u8(match self.role {
            Role::Client => 1,
            Role::Coordinator => 2,
            Role::Participant => 3,
        });
        out.put_slice(self.identity.as_bytes());
        out.put_u64_le(self.epoch);
        out.put_u64_le(self.nonce);
        out.put_u64_le(self.sequence);
        put_text(out, self.name.as_ref().map_or("", Name::as_str));
        let checksum = checksum(self.versions, &out[start..]);
        out.put_u32_le(checksum);
    }

    /// Reads what follows the head.
    ///
    /// # Errors
    /// [`HelloError::Malformed`].
    pub(super) fn read(versions: Versions, mut rest: &[u8]) -> Result<Self, HelloError> {
        let hello = Self::take(versions, &mut rest)?;
        if rest.is_empty() { Ok(hello) } else { Err(HelloError::Malformed("bytes behind it")) }
    }

    fn take(versions: Versions, rest: &mut &[u8]) -> Result<Self, HelloError> {
        let whole = *rest;
        let role = match rest.try_get_u8().map_err(|_| CUT)? {
            1 => Role::Client,
            2 => Role::Coordinator,
            3 => Role::Participant,
            _ => return Err(HelloError::Malformed("unknown role")),
        };
        let mut identity = [0; 16];
        rest.try_copy_to_slice(&mut identity).map_err(|_| CUT)?;
        let epoch = rest.try_get_u64_le().map_err(|_| CUT)?;
        let nonce = rest.try_get_u64_le().map_err(|_| CUT)?;
        let sequence = rest.try_get_u64_le().map_err(|_| CUT)?;
        let name = match take_text(rest)? {
            "" => None,
            text => Some(Name::new(text).map_err(|_| HelloError::Malformed("not a name"))?),
        };
        // A ticket is made of this and an identity is told by it: one changed bit would make another one of either.
        let said = checksum(versions, &whole[..whole.len() - rest.len()]);
        if rest.try_get_u32_le().map_err(|_| CUT)? != said {
            return Err(HelloError::Malformed("it changed on its way: its checksum is wrong"));
        }
        Ok(Self { versions, role, identity: Uuid::from_bytes(identity), epoch, nonce, sequence, name })
    }
}

impl Answer {
    /// The bytes of an answer; `own` stands in front, for a peer of any version to see.
    #[must_use]
    pub(super) fn to_bytes(&self, own: Versions) -> Vec<u8> {
        let mut rest = Vec::with_capacity(160);
        match self {
            Self::Accepted { version, hello } => {
                rest.put_u8(0);
                rest.put_u16_le(*version);
                hello.put(&mut rest);
            }
            Self::Refused(refusal) => {
                rest.put_u8(1);
                rest.put_u8(refusal.reason.code());
                put_text(&mut rest, &refusal.text);
            }
        }
        framed(own, &rest)
    }

    /// Reads what follows the head.
    ///
    /// # Errors
    /// [`HelloError::Malformed`].
    pub(super) fn read(versions: Versions, mut rest: &[u8]) -> Result<Self, HelloError> {
        match rest.try_get_u8().map_err(|_| CUT)? {
            0 => {
                let version = rest.try_get_u16_le().map_err(|_| CUT)?;
                Ok(Self::Accepted { version, hello: Hello::read(versions, rest)? })
            }
            1 => {
                let reason = RefusalReason::of(rest.try_get_u8().map_err(|_| CUT)?);
                // It goes to a terminal or a log: nothing in it may steer one.
                let text = take_text(&mut rest)?.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                Ok(Self::Refused(Refusal { reason, text }))
            }
            _ => Err(HelloError::Malformed("unknown answer")),
        }
    }
}

impl RefusalReason {
    const fn code(self) -> u8 {
        match self {
            Self::Version => 1,
            Self::Busy => 2,
            Self::Unwelcome => 3,
            Self::Unavailable => 4,
            Self::Other(code) => code,
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            1 => Self::Version,
            2 => Self::Busy,
            3 => Self::Unwelcome,
            4 => Self::Unavailable,
            code => Self::Other(code),
        }
    }
}

/// Reads the head of a hello or an answer: the versions, and how many bytes follow.
///
/// # Errors
/// Both kinds.
pub(super) fn read_head(head: &[u8; HEAD_BYTES]) -> Result<(Versions, usize), HelloError> {
    let (magic, mut numbers) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(HelloError::NotHandfast);
    }
    let versions = Versions { lowest: numbers.get_u16_le(), highest: numbers.get_u16_le() };
    let length = usize::from(numbers.get_u16_le());
    match length {
        _ if versions.lowest > versions.highest => Err(HelloError::Malformed("versions out of order")),
        1..=MAX_REST_BYTES => Ok((versions, length)),
        _ => Err(HelloError::Malformed("length out of bounds")),
    }
}

/// Whether these first bytes, fewer than a head, could still become one.
pub(super) fn could_be_head(bytes: &[u8]) -> bool {
    bytes.iter().zip(MAGIC).all(|(byte, magic)| *byte == magic)
}

const CUT: HelloError = HelloError::Malformed("cut short");

fn framed(versions: Versions, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).ok().filter(|length| usize::from(*length) <= MAX_REST_BYTES);
    let mut out = Vec::with_capacity(HEAD_BYTES + rest.len());
    out.put_slice(&MAGIC);
    out.put_u16_le(versions.lowest);
    out.put_u16_le(versions.highest);
    out.put_u16_le(length.expect("names and texts are bounded"));
    out.put_slice(rest);
    out
}

fn checksum(versions: Versions, said: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&versions.lowest.to_le_bytes());
    hasher.update(&versions.highest.to_le_bytes());
    hasher.update(said);
    hasher.finalize()
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = cut_text(text, usize::from(u8::MAX));
    out.put_u8(text.len() as u8);
    out.put_slice(text.as_bytes());
}

/// At most `most` bytes of a text, never half a character.
pub(super) fn cut_text(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, HelloError> {
    let length = usize::from(rest.try_get_u8().map_err(|_| CUT)?);
    let (text, after) = rest.split_at_checked(length).ok_or(CUT)?;
    *rest = after;
    std::str::from_utf8(text).map_err(|_| HelloError::Malformed("not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_that_changed_on_the_way_is_found_wherever_it_is() {
        let own = Hello {
            versions: Versions::OWN,
            role: Role::Coordinator,
            identity: Uuid::from_u128(5),
            epoch: 3,
            nonce: 9,
            sequence: 70,
            name: Some(Name::new("c-1").expect("a name")),
        };
        let bytes = own.to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let (head, rest) = changed.split_first_chunk().expect("a head");
            let read = read_head(head).and_then(|(versions, length)| {
                // A longer one is waited for in vain.
                rest.get(..length).ok_or(CUT).and_then(|rest| Hello::read(versions, rest))
            });
            assert!(read.is_err(), "bit {bit}: {read:?}");
        }
    }
}
