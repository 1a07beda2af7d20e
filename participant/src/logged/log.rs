//! The prepare log's file: one journal, written in batches by one thread.
//!
//! The store sequence counts the writes that branches have a part in, as in the embedded store: starts and Hellos do
//! not count, so an old copy of the log can't start its way past the guard.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use handfast_common::ids::{Incarnation, LogId, Xid};
use handfast_common::limits::MAX_STARTS;
use handfast_common::messages::KnownStart;
use handfast_common::storage::{BatchWriter, Journal, Space, StorageError, Store};
use uuid::Uuid;

use super::contract::{Branch, Piece};
use super::record::{Begun, Found, Item, Stored};
use crate::kv::engine::covered;
use crate::protocol::{Done, Line, Prepared};

/// Writes batches; lives on the worker's thread.
pub(super) struct Writer {
    store: Store,
    journal: Journal,
    space: Arc<Space>,
    index: Index,
}

/// What is reported of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Receipt {
    /// Number of its last item.
    pub(super) through: u64,
    /// The store sequence that it is stored with.
    pub(super) sequence: u64,
}

/// Where in the journal everything stands: numbers of records.
#[derive(Debug, Default)]
struct Index {
    last: u64,
    starts: VecDeque<u64>,
    sequence: u64,
    sequence_at: Option<u64>,
    pieces: BTreeMap<Xid, BTreeMap<u32, u64>>,
    /// Prepare records and decisions.
    promised: BTreeMap<Xid, u64>,
    /// Markers.
    ended: BTreeMap<Xid, u64>,
    lines: BTreeMap<LogId, u64>,
}

#[derive(Default)]
struct Changes {
    puts: Vec<(u64, Uuid, Vec<u8>)>,
    deletes: Vec<u64>,
}

impl Writer {
    /// Reads everything, and writes nothing yet.
    pub(super) fn open(store: Store, space: Arc<Space>) -> Result<(Self, Found), StorageError> {
        let journal = store.journal("branches");
        let (index, found) = store.read(|txn| {
            let mut scan = Scan::default();
            let head = journal.visit(txn, |number, txn, bytes| {
                if scan.wrong.is_none() {
                    scan.wrong = scan.take(number, txn, bytes).err().map(|why| (number, why));
                }
            })?;
            scan.index.last = head.last_key;
            scan.finish()
                .map_err(|(number, why)| StorageError::damaged_record(store.file(), format!("branches #{number}"), why))
        })?;
        Ok((Self { store, journal, space, index }, found))
    }

    /// Forces the incarnation. The oldest starts go: a coordinator that knew one of those has heard of none for a long time.
    pub(super) fn begin(&mut self, incarnation: Incarnation) -> Result<Receipt, StorageError> {
        let begun = Begun { incarnation, sequence: self.index.sequence };
        let mut changes = Changes::default();
        let record = self.encode(&Stored::Start(begun))?;
        let number = changes.put(&mut self.index.last, Uuid::nil(), record);
        self.index.starts.push_back(number);
        // This one, and as many earlier ones.
        while self.index.starts.len() > MAX_STARTS + 1 {
            changes.deletes.extend(self.index.starts.pop_front());
        }
        self.append(&changes)?;
        Ok(Receipt { through: 0, sequence: self.index.sequence })
    }

    pub(super) fn file(&self) -> &Path {
        self.store.file()
    }

    fn encode(&self, record: &Stored) -> Result<Vec<u8>, StorageError> {
        record.encode().map_err(|error| {
            let source = std::io::Error::other(error.to_string());
            StorageError::Io { file: self.store.file().to_owned(), doing: "encode a record", source }
        })
    }

    fn append(&self, changes: &Changes) -> Result<(), StorageError> {
        self.store.write(|txn| self.journal.append(txn, &changes.puts, &changes.deletes).map(drop))
    }

    fn plan(&mut self, items: Vec<(u64, Item)>) -> Result<Changes, StorageError> {
        let mut changes = Changes::default();
        let mut lines = BTreeMap::new();
        if items.iter().any(|(_, item)| !matches!(item, Item::Line(_))) {
            let record = self.encode(&Stored::Sequence(self.index.sequence + 1))?;
            self.index.sequence += 1;
            let number = changes.put(&mut self.index.last, Uuid::nil(), record);
            changes.deletes.extend(self.index.sequence_at.replace(number));
        }
        let index = &mut self.index;
        for (_, item) in items {
            match item {
                Item::Piece { xid, number, record } => {
                    let at = changes.put(&mut index.last, xid.txn.0, record);
                    index.pieces.entry(xid).or_default().insert(number, at);
                }
                Item::Drop { xid, number } => {
                    changes.deletes.extend(index.pieces.get_mut(&xid).and_then(|pieces| pieces.remove(&number)));
                }
                Item::Prepare { xid, record } | Item::Decide { xid, record } => {
                    let at = changes.put(&mut index.last, xid.txn.0, record);
                    index.promised.insert(xid, at);
                }
                Item::End { xid, record } => {
                    let at = changes.put(&mut index.last, xid.txn.0, record);
                    changes.deletes.extend(index.ended.insert(xid, at));
                    changes.deletes.extend(index.promised.remove(&xid));
                    changes.deletes.extend(index.pieces.remove(&xid).unwrap_or_default().into_values());
                }
                // Only the last one of a batch: each replaces the one before.
                Item::Line(line) => drop(lines.insert(line.log, line)),
            }
        }
        for (log, line) in lines {
            // With the line that carries the mark, or after a restart a late copy of what was trimmed would run again.
            let trimmed = line.mark.as_ref().map(|mark| covered(&self.index.ended, log, mark)).unwrap_or_default();
            changes.deletes.extend(trimmed.iter().filter_map(|xid| self.index.ended.remove(xid)));
            let record = self.encode(&Stored::Line(line))?;
            let number = changes.put(&mut self.index.last, Uuid::nil(), record);
            changes.deletes.extend(self.index.lines.insert(log, number));
        }
        Ok(changes)
    }
}

impl BatchWriter for Writer {
    type Item = (u64, Item);
    type Receipt = Receipt;

    fn write(&mut self, items: Vec<Self::Item>) -> Result<Receipt, StorageError> {
        // Also when nothing new begins: phase two may be what needs the ballast's room.
        self.space.refresh();
        let through = items.last().map_or(0, |(number, _)| *number);
        let changes = self.plan(items)?;
        self.append(&changes)?;
        Ok(Receipt { through, sequence: self.index.sequence })
    }

    fn bytes((_, item): &Self::Item) -> usize {
        const AROUND: usize = 128;
        match item {
            Item::Piece { record, .. }
            | Item::Prepare { record, .. }
            | Item::Decide { record, .. }
            | Item::End { record, .. } => record.len() + AROUND,
            Item::Drop { .. } | Item::Line(_) => AROUND,
        }
    }
}

impl Changes {
    fn put(&mut self, last: &mut u64, txn: Uuid, record: Vec<u8>) -> u64 {
        *last += 1;
        self.puts.push((*last, txn, record));
        *last
    }
}

#[derive(Default)]
struct Scan {
    index: Index,
    starts: Vec<Begun>,
    lines: Vec<Line>,
    pieces: BTreeMap<Xid, Vec<Piece>>,
    prepared: Vec<Prepared>,
    decided: Vec<Done>,
    done: Vec<Done>,
    cancelled: Vec<Xid>,
    /// The first record that is none, with what is wrong.
    wrong: Option<(u64, String)>,
}

impl Scan {
    fn take(&mut self, number: u64, txn: Uuid, bytes: &[u8]) -> Result<(), String> {
        let stored = Stored::decode(bytes).map_err(|error| format!("it is {error}"))?;
        let whose = stored.xid().map_or(Uuid::nil(), |xid| xid.txn.0);
        if whose != txn {
            return Err(format!("it belongs to {txn} and speaks of {whose}"));
        }
        let index = &mut self.index;
        let twice = match stored {
            Stored::Start(begun) => {
                index.starts.push_back(number);
                self.starts.push(begun);
                None
            }
            Stored::Sequence(sequence) => {
                index.sequence = sequence;
                index.sequence_at.replace(number)
            }
            Stored::Line(line) => {
                let twice = index.lines.insert(line.log, number);
                self.lines.push(line);
                twice
            }
            Stored::Piece(piece) => {
                let twice = index.pieces.entry(piece.xid).or_default().insert(piece.number, number);
                self.pieces.entry(piece.xid).or_default().push(piece);
                twice
            }
            Stored::Prepared(prepared) => {
                let twice = index.promised.insert(prepared.xid, number);
                self.prepared.push(prepared);
                twice
            }
            Stored::Decided(done) => {
                let twice = index.promised.insert(done.xid, number);
                self.decided.push(done);
                twice
            }
            Stored::Done(done) => {
                let twice = index.ended.insert(done.xid, number);
                self.done.push(done);
                twice
            }
            Stored::Cancelled(xid) => {
                let twice = index.ended.insert(xid, number);
                self.cancelled.push(xid);
                twice
            }
        };
        twice.map_or(Ok(()), |other| Err(format!("#{other} speaks of the same")))
    }

    fn finish(mut self) -> Result<(Index, Found), (u64, String)> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        // A branch ends with one marker in place of everything else.
        for (xid, number) in &self.index.ended {
            let left = self.index.promised.get(xid);
            let left = left.or_else(|| self.index.pieces.get(xid).and_then(|pieces| pieces.values().next()));
            if let Some(left) = left {
                return Err((*left, format!("#{number} says that this branch has ended")));
            }
        }
        let mut take = |xid| Branch { xid, pieces: self.pieces.remove(&xid).unwrap_or_default() };
        let prepared = self.prepared.into_iter().map(|record| (record.clone(), take(record.xid))).collect();
        let decided = self.decided.into_iter().map(|done| (done.clone(), take(done.xid))).collect();
        let open = self.pieces.into_iter().map(|(xid, pieces)| Branch { xid, pieces }).collect();
        // A start came to what the next one began with.
        let ends = self.starts.iter().skip(1).map(|begun| begun.sequence).chain([self.index.sequence]);
        let starts = self.starts.iter().zip(ends);
        let starts = starts.map(|(begun, sequence)| KnownStart { incarnation: begun.incarnation, sequence }).collect();
        let (done, cancelled, lines) = (self.done, self.cancelled, self.lines);
        Ok((self.index, Found { starts, lines, prepared, decided, open, done, cancelled }))
    }
}
