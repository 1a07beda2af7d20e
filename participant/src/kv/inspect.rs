//! What stands in a store that is only looked at.

use handfast_common::ids::StoreId;
use handfast_common::storage::{StorageError, Store};

use super::record::Found;
use super::store::File;

/// All records of a store.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The store.
    pub store: StoreId,
    /// The store sequence it has come to.
    pub sequence: u64,
    /// Its records.
    pub found: Found,
}

/// Reads everything in an open store and checks it, as a start would, and writes nothing.
///
/// # Errors
/// As for a start.
pub fn inspect(store: Store) -> Result<Inspection, StorageError> {
    let identity = StoreId(store.identity());
    let (sequence, found) = File::over(store).records()?;
    Ok(Inspection { store: identity, sequence, found })
}
