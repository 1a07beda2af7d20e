//! Pages of last committed values, outside any transaction.

use std::iter::Peekable;
use std::ops::Bound;

use handfast_common::ids::{TxnId, Xid};
use handfast_common::limits::MAX_PAGE;
use handfast_common::messages::{AskValues, Select, ValueLine, ValuePage};
use handfast_common::operation::Value;
use handfast_common::storage::StorageError;

use super::{Branch, Engine, View};
use crate::kv::work::bytes_of;

/// About how many bytes a page holds: it must fit a frame.
const PAGE_BYTES: usize = 512 << 10;
/// What a line takes beside key and value, at most.
const LINE_BYTES: usize = 64;

impl<V: View> Engine<V> {
    /// Last committed values. What is decided counts, on disk or on its way; a key that a branch in doubt will write is
    /// listed with that branch, even before it has a value: whoever was told `Committed` finds either the effect or
    /// the branch that will bring it.
    ///
    /// # Errors
    /// Those of the [`View`].
    pub fn values(&self, question: &AskValues) -> Result<ValuePage, StorageError> {
        let (from, within) = match &question.select {
            Select::Key(key) => {
                let value = match self.applied.get(key) {
                    Some((_, value)) => value.clone(),
                    None => self.view.value(key)?,
                };
                let line = ValueLine { key: key.clone(), value, locked_by: self.in_doubt(self.locks.holder_of(key)) };
                return Ok(ValuePage { lines: vec![line], more: false });
            }
            Select::Prefix(prefix) => {
                let from = question.after.as_deref().unwrap_or_default().max(prefix);
                (from, |key: &str| key.starts_with(prefix.as_str()))
            }
        };
        let skip = question.after.as_deref();
        let wanted = |key: &str| Some(key) != skip;

        let mut disk = self.view.values(from)?.peekable();
        let range = (Bound::Included(from), Bound::Unbounded);
        let mut applied = self.applied.range::<str, _>(range).peekable();
        let mut locked = self
            .locks
            .exclusive_from(from)
            .filter_map(|(key, xid)| self.in_doubt(Some(xid)).map(|txn| (key, txn)))
            .peekable();

        let (mut lines, mut bytes) = (Vec::new(), 0);
        loop {
            let on_disk = peek_key(&mut disk)?;
            let key = [on_disk, applied.peek().map(|(key, _)| key.as_str()), locked.peek().map(|(key, _)| *key)];
            let Some(key) = key.into_iter().flatten().min().filter(|key| within(key)).map(str::to_owned) else {
                return Ok(ValuePage { lines, more: false });
            };
            let mut value = match disk.next_if(|row| matches!(row, Ok((found, _)) if *found == key)) {
                Some(row) => Some(row?.1),
                None => None,
            };
            if let Some((_, (_, latest))) = applied.next_if(|(found, _)| **found == key) {
                value.clone_from(latest);
            }
            let locked_by = locked.next_if(|(found, _)| *found == key).map(|(_, txn)| txn);
            if (value.is_none() && locked_by.is_none()) || !wanted(&key) {
                continue;
            }
            bytes += key.len() + LINE_BYTES + value.as_ref().map_or(0, bytes_of);
            if lines.len() == MAX_PAGE || (bytes > PAGE_BYTES && !lines.is_empty()) {
                return Ok(ValuePage { lines, more: true });
            }
            lines.push(ValueLine { key, value, locked_by });
        }
    }

    /// The transaction, if its branch is in doubt here.
    fn in_doubt(&self, xid: Option<Xid>) -> Option<TxnId> {
        let xid = xid?;
        matches!(self.branches.get(&xid), Some(Branch::Prepared(_))).then_some(xid.txn)
    }
}

/// The next key of the disk; an error comes out here, so that no later line can hide it.
fn peek_key<I>(rows: &mut Peekable<I>) -> Result<Option<&str>, StorageError>
where
    I: Iterator<Item = Result<(String, Value), StorageError>>,
{
    if let Some(Err(error)) = rows.next_if(Result::is_err) {
        return Err(error);
    }
    Ok(rows.peek().and_then(|row| row.as_ref().ok()).map(|(key, _)| key.as_str()))
}
