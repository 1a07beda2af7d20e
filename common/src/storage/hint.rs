//! The head hint: a small second file that says which commit was the last to be reported.
//!
//! A store that loses its last commit can look perfectly sound: redb's one-phase commit takes a damaged last batch
//! for a torn one and goes back, and with either kind of commit one flipped bit of the header's first byte selects the
//! older of the two commits after a kill. So after each commit, before anything is reported, number and seal of it are
//! written here, without a sync (the page cache outlives the process). A store that ends before its hint is damaged.
//! After power loss the hint may be older than the store; that is no finding.
//!
//! The file is made and synced with the store and then only overwritten in place, inside one sector. So, other than
//! for a file that is appended to, there is no honest way for it to be unreadable: unreadable is damage.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use uuid::Uuid;

use super::heads::Commit;

/// Bytes of a hint. Fixed, and far below a sector.
pub const HINT_BYTES: usize = 40;

const MAGIC: &[u8; 8] = b"HFHEAD\x00\x01";

/// Where hints are kept: a file, or a simulator's idea of one.
pub trait Hint: Send {
    /// What was saved last; empty if nothing ever was.
    ///
    /// # Errors
    /// Those of the device.
    fn load(&mut self) -> io::Result<Vec<u8>>;

    /// Overwrites it in place, without a sync.
    ///
    /// # Errors
    /// Those of the device.
    fn save(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// The hint of a store on disk.
#[derive(Debug)]
pub(crate) struct FileHint(File);

impl FileHint {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(path).map(Self)
    }
}

impl Hint for FileHint {
    fn load(&mut self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.0.metadata()?.len()).unwrap_or(usize::MAX).min(2 * HINT_BYTES);
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn save(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, 0)
    }
}

/// The bytes for a commit of the store with this identity.
pub(crate) fn encode(identity: Uuid, commit: Commit) -> [u8; HINT_BYTES] {
    let mut bytes = [0; HINT_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..24].copy_from_slice(identity.as_bytes());
    bytes[24..32].copy_from_slice(&commit.number.to_le_bytes());
    bytes[32..36].copy_from_slice(&commit.seal.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..36]);
    bytes[36..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Takes a hint apart; `None` when it is not exactly what [`encode`] gives.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Uuid, Commit)> {
    let bytes: &[u8; HINT_BYTES] = bytes.try_into().ok()?;
    let sum = u32::from_le_bytes(bytes[36..].try_into().ok()?);
    if &bytes[..8] != MAGIC || crc32fast::hash(&bytes[..36]) != sum {
        return None;
    }
    let identity = Uuid::from_slice(&bytes[8..24]).ok()?;
    let number = u64::from_le_bytes(bytes[24..32].try_into().ok()?);
    let seal = u32::from_le_bytes(bytes[32..36].try_into().ok()?);
    Some((identity, Commit { number, seal }))
}

/// Compares a hint with the store beside it.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn check(bytes: &[u8], identity: Uuid, store: Commit) -> Result<(), String> {
    let Some((hinted_identity, hinted)) = decode(bytes) else {
        return Err("it can't be read as a head hint".to_owned());
    };
    if hinted_identity != identity {
        return Err(format!("it belongs to another store ({hinted_identity}, not {identity})"));
    }
    if hinted.number > store.number {
        let (last, found) = (hinted.number, store.number);
        return Err(format!("commit {last} was reported, but the store ends at commit {found}"));
    }
    if hinted.number == store.number && hinted.seal != store.seal {
        return Err(format!("commit {} is not the one that was reported", store.number));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_may_be_newer_than_its_hint_never_older_or_other() {
        let id = Uuid::from_u128(5);
        let at = |number, seal| Commit { number, seal };
        let hint = encode(id, at(7, 1));
        assert_eq!(decode(&hint), Some((id, at(7, 1))));
        assert_eq!(check(&hint, id, at(7, 1)), Ok(()));
        assert_eq!(check(&hint, id, at(8, 2)), Ok(()));
        assert!(check(&hint, id, at(6, 1)).unwrap_err().contains("ends at commit 6"));
        assert!(check(&hint, id, at(7, 2)).is_err());
        assert!(check(&hint, Uuid::nil(), at(7, 1)).is_err());
        for bit in 0..HINT_BYTES * 8 {
            let mut flipped = hint;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&flipped, id, at(7, 1)).is_err(), "bit {bit}");
        }
    }
}
