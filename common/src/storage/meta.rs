//! What a store says about itself: format, whose it is, and its identity.
//!
//! ```text
//! magic (8) | format version, u32 | identity (16) | kind (1) | name
//! ```
//! in one framed record. The version stands where every release looks for it.

use std::path::Path;

use redb::{ReadTransaction, TableDefinition, WriteTransaction};
use uuid::Uuid;

use super::error::StorageError;
use super::folder::Kind;
use super::heads::bad_frame;
use super::record;

/// Format of the whole store that this release writes, and the highest it reads.
pub const FORMAT_VERSION: u32 = 1;

const TABLE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new(NAME);
const NAME: &str = "hf.meta";
const ROW: &str = "store";
const MAGIC: &[u8; 8] = b"HANDFAST";

/// Whose store it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Meta {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) identity: Uuid,
}

impl Meta {
    pub(crate) fn write(&self, txn: &WriteTransaction, file: &Path) -> Result<(), StorageError> {
        let bytes = record::frame(NAME, ROW.as_bytes(), Uuid::nil(), &self.encode(FORMAT_VERSION));
        let mut table = txn.open_table(TABLE).map_err(|e| StorageError::from_redb(file, "open the meta table", e))?;
        table.insert(ROW, bytes.as_slice()).map_err(|e| StorageError::from_redb(file, "write the meta row", e))?;
        Ok(())
    }

    pub(crate) fn read(txn: &ReadTransaction, file: &Path) -> Result<Self, StorageError> {
        let record = || format!("{NAME} '{ROW}'");
        let table = txn.open_table(TABLE).map_err(|e| StorageError::from_redb(file, "open the meta table", e))?;
        let row = table.get(ROW).map_err(|e| StorageError::from_redb(file, "read the meta row", e))?;
        let row = row.ok_or_else(|| StorageError::damaged_record(file, record(), "it is missing"))?;
        let frame = record::unframe(NAME, ROW.as_bytes(), row.value()).map_err(|e| bad_frame(file, record(), e))?;
        match Self::decode(frame.payload) {
            Ok(meta) => Ok(meta),
            Err(Some(found)) => {
                Err(StorageError::UnknownFormat { file: file.to_owned(), found, known: FORMAT_VERSION })
            }
            Err(None) => Err(StorageError::damaged_record(file, record(), "it is no description of a store")),
        }
    }

    pub(crate) fn check_owner(&self, file: &Path, kind: Kind, name: &str) -> Result<(), StorageError> {
        let file = file.to_owned();
        if self.kind != kind {
            return Err(StorageError::WrongKind { file, found: self.kind, wanted: kind });
        }
        if self.name != name {
            return Err(StorageError::WrongName { file, found: self.name.clone(), wanted: name.to_owned() });
        }
        Ok(())
    }

    fn encode(&self, version: u32) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(self.identity.as_bytes());
        bytes.push(match self.kind {
            Kind::Coordinator => 1,
            Kind::Participant => 2,
        });
        bytes.extend_from_slice(self.name.as_bytes());
        bytes
    }

    /// The error is the version, where it is newer than ours.
    fn decode(bytes: &[u8]) -> Result<Self, Option<u32>> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(None)?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(None)?;
        match u32::from_le_bytes(*version) {
            FORMAT_VERSION => {}
            0 => return Err(None),
            newer => return Err(Some(newer)),
        }
        let (identity, rest) = rest.split_first_chunk::<16>().ok_or(None)?;
        let (kind, name) = rest.split_first().ok_or(None)?;
        let kind = match kind {
            1 => Kind::Coordinator,
            2 => Kind::Participant,
            _ => return Err(None),
        };
        let name = String::from_utf8(name.to_vec()).map_err(|_| None)?;
        Ok(Self { kind, name, identity: Uuid::from_bytes(*identity) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_comes_back_and_a_newer_format_is_named() {
        let meta = Meta { kind: Kind::Participant, name: "stock".into(), identity: Uuid::from_u128(9) };
        assert_eq!(Meta::decode(&meta.encode(FORMAT_VERSION)), Ok(meta.clone()));
        assert_eq!(Meta::decode(&meta.encode(7)), Err(Some(7)));
        assert_eq!(Meta::decode(b"HANDFAST"), Err(None));
    }
}
