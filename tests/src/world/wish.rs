//! What clients ask of a branch, and the payloads that say so.

use handfast_common::ids::Key;
use handfast_common::outcome::Payload;

/// What a payload asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Wish {
    /// Change something: Yes.
    Write,
    /// Only look: `ReadOnly`.
    Read,
    /// Fail: No. An operation fails, and its branch goes on.
    Refuse,
    /// Only for operations: the branch is lost with it, as in a conflict.
    Doom,
}

impl Wish {
    /// As a payload of the transaction under `key`.
    #[must_use]
    pub fn payload(self, key: Key) -> Payload {
        let letter = match self {
            Self::Write => b'w',
            Self::Read => b'r',
            Self::Refuse => b'n',
            Self::Doom => b'd',
        };
        Payload([&[letter], &key.0.as_bytes()[..]].concat())
    }

    /// As a payload of one operation: which step of which caller.
    #[must_use]
    pub fn operation(self, key: Key, caller: usize, step: usize) -> Payload {
        let Payload(mut bytes) = self.payload(key);
        bytes.extend([u8::try_from(caller).unwrap_or(u8::MAX), u8::try_from(step).unwrap_or(u8::MAX)]);
        Payload(bytes)
    }

    /// What a payload asks for.
    #[must_use]
    pub fn of(work: &Payload) -> Self {
        match work.0.first() {
            Some(b'w') => Self::Write,
            Some(b'r') => Self::Read,
            Some(b'd') => Self::Doom,
            _ => Self::Refuse,
        }
    }
}
