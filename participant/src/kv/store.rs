//! One redb file for data and log, so that a prepare is one write, and an effect with its done-marker is one too.
//!
//! Three kinds of content: the journal `log` ([`Stored`](super::record::Stored) says what stands in it), the counted
//! table `values`, and what the shared store keeps to check both.
//!
//! The store sequence counts the writes that branches have a part in, and is stored in the write that uses it. Starts
//! and Hellos do not count: an old copy of the store gets no branches while it is refused, so however often it is
//! started and greeted, it never looks as new as the store that has worked meanwhile. And it does not know the starts that
//! the other had since: each start leaves a record with the sequence that those before it came to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use handfast_common::codec;
use handfast_common::failpoints;
use handfast_common::ids::{Incarnation, LogId, Xid};
use handfast_common::limits::MAX_STARTS;
use handfast_common::messages::KnownStart;
use handfast_common::mutants::{self, Mutant};
use handfast_common::operation::Value;
use handfast_common::storage::{BatchWriter, Counted, Journal, Space, StorageError, Store};
use redb::ReadTransaction;
use uuid::Uuid;

use super::engine::covered;
use super::record::{Found, Held, Item, PrepareRecord, Start, Stored, encode_line, encode_sequence, encode_start};
use crate::protocol::{Done, Line};

/// Writes batches; lives on the worker's thread.
pub(super) struct Writer {
    file: File,
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

/// The file and what is in it.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) store: Arc<Store>,
    journal: Journal,
    values: Counted,
}

/// Where in the journal everything stands: numbers of records.
#[derive(Debug, Default)]
struct Index {
    last: u64,
    /// The oldest first; the last one is the present one, once it has begun.
    starts: VecDeque<u64>,
    /// The store sequence, and where it stands.
    sequence: u64,
    sequence_at: Option<u64>,
    prepared: BTreeMap<Xid, u64>,
    done: BTreeMap<Xid, u64>,
    lines: BTreeMap<LogId, u64>,
}

/// What one batch does to the journal.
#[derive(Default)]
struct Changes {
    puts: Vec<(u64, Uuid, Vec<u8>)>,
    deletes: Vec<u64>,
}

impl Writer {
    /// Reads everything, and writes nothing yet.
    pub(super) fn open(store: Store, space: Arc<Space>) -> Result<(Self, Found), StorageError> {
        let file = File::over(store);
        let (index, found) = file.scan()?;
        Ok((Self { file, space, index }, found))
    }

    /// Forces a start. It is remembered until [`MAX_STARTS`] newer ones have come.
    pub(super) fn begin(&mut self, incarnation: Incarnation) -> Result<Receipt, StorageError> {
        let Self { file, index, .. } = self;
        let mut changes = Changes::default();
        let start = Start { incarnation, from: index.sequence };
        let record = encode_start(&start).map_err(|error| file.unwritable(&error))?;
        index.starts.push_back(changes.put(&mut index.last, Uuid::nil(), record));
        while index.starts.len() > MAX_STARTS {
            changes.deletes.extend(index.starts.pop_front());
        }
        file.write(&changes, &BTreeMap::new(), Points::START)?;
        Ok(Receipt { through: 0, sequence: index.sequence })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// What a batch does, item after item; the index is brought along. After an error it is never asked again.
    fn plan<'a>(&mut self, items: &'a mut [(u64, Item)]) -> Result<(Changes, ValueWrites<'a>), StorageError> {
        let Self { file, index, .. } = self;
        let mut changes = Changes::default();
        let mut values = BTreeMap::new();
        let mut lines: BTreeMap<LogId, &Line> = BTreeMap::new();
        if items.iter().any(|(_, item)| !matches!(item, Item::Line(_))) {
            index.sequence += 1;
            let record = encode_sequence(index.sequence).map_err(|error| file.unwritable(&error))?;
            let number = changes.put(&mut index.last, Uuid::nil(), record);
            changes.deletes.extend(index.sequence_at.replace(number));
        }
        for (_, item) in items {
            match item {
                Item::Prepare { xid, record } => {
                    let number = changes.put(&mut index.last, xid.txn.0, std::mem::take(record));
                    index.prepared.insert(*xid, number);
                }
                Item::Apply { xid, held, done, prepared } => {
                    if *prepared {
                        changes.deletes.push(index.take_prepared(*xid, file)?);
                    }
                    if !mutants::is(Mutant::AppliesWithoutMarker) {
                        let number = changes.put(&mut index.last, xid.txn.0, std::mem::take(done));
                        index.done.insert(*xid, number);
                    }
                    for Held { key, write, .. } in held.iter() {
                        if let Some(write) = write {
                            values.insert(key.as_str(), (xid.txn.0, write.value()));
                        }
                    }
                }
                Item::Forget { xid } => changes.deletes.push(index.take_prepared(*xid, file)?),
                // Only the last one of a batch: each replaces the one before.
                Item::Line(line) => drop(lines.insert(line.log, line)),
            }
        }
        for (log, line) in lines {
            let record = encode_line(line).map_err(|error| file.unwritable(&error))?;
            let number = changes.put(&mut index.last, Uuid::nil(), record);
            changes.deletes.extend(index.lines.insert(log, number));
            // With the line that carries the mark, or after a restart a late copy of what was trimmed would run again.
            let trimmed = line.mark.as_ref().map(|mark| covered(&index.done, log, mark)).unwrap_or_default();
            changes.deletes.extend(trimmed.iter().filter_map(|xid| index.done.remove(xid)));
        }
        Ok((changes, values))
    }
}

impl BatchWriter for Writer {
    type Item = (u64, Item);
    type Receipt = Receipt;

    fn write(&mut self, mut items: Vec<Self::Item>) -> Result<Receipt, StorageError> {
        // Also when nothing new begins: phase two may be what needs the ballast's room.
        self.space.refresh();
        let through = items.last().map_or(0, |(number, _)| *number);
        let points = Points::of(&items);
        let (changes, values) = self.plan(&mut items)?;
        self.file.write(&changes, &values, points)?;
        Ok(Receipt { through, sequence: self.index.sequence })
    }

    fn bytes((_, item): &Self::Item) -> usize {
        const AROUND: usize = 128;
        match item {
            Item::Prepare { record, .. } => record.len() + AROUND,
            Item::Apply { held, done, .. } => {
                let keys: usize = held.iter().map(|held| held.key.len() + AROUND + held.text_bytes()).sum();
                done.len() + keys
            }
            Item::Forget { .. } | Item::Line(_) => AROUND,
        }
    }
}

/// Where a process under test may end around a write.
#[derive(Clone, Copy)]
struct Points([bool; KINDS.len()]);

/// What is written, and the points before that, before its commit, and behind it. The last one is a start.
const KINDS: [[&str; 3]; 4] = [
    ["kv2.before_begin_write", "kv2.before_commit", "kv2.after_sync_before_vote"],
    ["kv5.before_begin_write", "kv5.after_apply_before_commit", "kv5.after_commit"],
    ["kv4.before_line", "kv4.before_line_commit", "kv4.after_line"],
    ["kv7.before_incarnation", "kv7.before_incarnation_commit", "kv7.after_incarnation"],
];

impl Points {
    const START: Self = Self([false, false, false, true]);

    fn of(items: &[(u64, Item)]) -> Self {
        let any = |wanted: fn(&Item) -> bool| failpoints::ENABLED && items.iter().any(|(_, item)| wanted(item));
        Self([
            any(|item| matches!(item, Item::Prepare { .. })),
            any(|item| matches!(item, Item::Apply { .. })),
            any(|item| matches!(item, Item::Line(_))),
            false,
        ])
    }

    fn reach(self, place: usize) {
        for (points, _) in KINDS.iter().zip(self.0).filter(|(_, written)| *written) {
            failpoints::reach(points[place]);
        }
    }
}

/// The last write of each key, with its transaction.
type ValueWrites<'a> = BTreeMap<&'a str, (Uuid, Option<&'a Value>)>;

impl Changes {
    fn put(&mut self, last: &mut u64, txn: Uuid, record: Vec<u8>) -> u64 {
        *last += 1;
        self.puts.push((*last, txn, record));
        *last
    }
}

impl Index {
    fn take_prepared(&mut self, xid: Xid, file: &File) -> Result<u64, StorageError> {
        let missing =
            || StorageError::damaged(file.store.file(), format!("the prepare record of {} is missing", xid.txn));
        self.prepared.remove(&xid).ok_or_else(missing)
    }
}

impl File {
    pub(super) fn over(store: Store) -> Self {
        let (journal, values) = (store.journal("log"), store.counted("values"));
        Self { store: Arc::new(store), journal, values }
    }

    /// The store sequence, and every record.
    pub(super) fn records(&self) -> Result<(u64, Found), StorageError> {
        self.scan().map(|(index, found)| (index.sequence, found))
    }

    /// The value of a key in a snapshot.
    pub(super) fn value(&self, txn: &ReadTransaction, key: &str) -> Result<Option<Value>, StorageError> {
        let stored = self.values.get(txn, key.as_bytes())?;
        stored.map(|stored| self.decode_value(key, &stored.bytes)).transpose()
    }

    /// Some values in a snapshot from this key on, in order; fewer than `limit` only when there are no more.
    pub(super) fn values(
        &self,
        txn: &ReadTransaction,
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StorageError> {
        let rows = self.values.range(txn, b"", from, limit)?;
        let row = |(key, stored): (Vec<u8>, handfast_common::storage::Value)| {
            let damaged = |key: &[u8]| self.damaged(&format!("value '{}'", key.escape_ascii()), "its key is no text");
            let key = String::from_utf8(key).map_err(|error| damaged(error.as_bytes()))?;
            let value = self.decode_value(&key, &stored.bytes)?;
            Ok((key, value))
        };
        rows.into_iter().map(row).collect()
    }

    fn decode_value(&self, key: &str, bytes: &[u8]) -> Result<Value, StorageError> {
        let damaged = |why: String| self.damaged(&format!("value '{}'", key.escape_default()), &why);
        codec::decode(bytes).map_err(|error| damaged(error.to_string()))
    }

    /// One write transaction, on disk when it returns.
    fn write(&self, changes: &Changes, values: &ValueWrites<'_>, points: Points) -> Result<(), StorageError> {
        points.reach(0);
        self.store.write(|txn| {
            if !values.is_empty() {
                self.values.change(txn, |table| {
                    for (key, (writer, value)) in values {
                        match value {
                            Some(value) => {
                                let bytes = codec::encode(value).map_err(|error| self.unwritable(&error))?;
                                table.put(key.as_bytes(), *writer, &bytes)?;
                            }
                            None => drop(table.remove(key.as_bytes())?),
                        }
                    }
                    Ok(())
                })?;
            }
            let appended = self.journal.append(txn, &changes.puts, &changes.deletes).map(drop);
            points.reach(1);
            appended
        })?;
        points.reach(2);
        Ok(())
    }

    /// Everything in one snapshot, every record checked. Unreadable is damage, never absent.
    fn scan(&self) -> Result<(Index, Found), StorageError> {
        self.store.read(|txn| {
            self.values.verify(txn)?;
            let mut scan = Scan { index: Index::default(), found: Found::default(), wrong: None };
            let head = self.journal.visit(txn, |number, txn, bytes| {
                if scan.wrong.is_none() {
                    scan.wrong = scan.take(number, txn, bytes).err().map(|why| (number, why));
                }
            })?;
            if let Some((number, why)) = scan.wrong {
                return Err(self.damaged(&format!("log #{number}"), &why));
            }
            scan.index.last = head.last_key;
            // The last start came to where the store is now.
            came_to(&mut scan.found.starts, scan.index.sequence)
                .map_err(|why| self.damaged("of the sequence", &why))?;
            Ok((scan.index, scan.found))
        })
    }

    /// Damage that is found outside of a read: ends the use of the store all the same, so that it stays as it is.
    pub(super) fn refuse(&self, record: &str, why: &str) -> StorageError {
        let error = self.damaged(record, why);
        self.store.read(|_| Err::<(), _>(error)).err().unwrap_or_else(|| self.damaged(record, why))
    }

    fn damaged(&self, record: &str, why: &str) -> StorageError {
        StorageError::damaged_record(self.store.file(), record, why)
    }

    fn unwritable(&self, error: &codec::CodecError) -> StorageError {
        let source = std::io::Error::other(error.to_string());
        StorageError::Io { file: self.store.file().to_owned(), doing: "encode a record", source }
    }
}

struct Scan {
    index: Index,
    found: Found,
    /// The first record that is none, with what is wrong.
    wrong: Option<(u64, String)>,
}

impl Scan {
    fn take(&mut self, number: u64, txn: Uuid, bytes: &[u8]) -> Result<(), String> {
        let stored = Stored::decode(bytes).map_err(|error| format!("it is {error}"))?;
        let whose = match &stored {
            Stored::Prepare(PrepareRecord { prepared, .. }) => prepared.xid.txn.0,
            Stored::Done(done) => done.xid.txn.0,
            Stored::Start(_) | Stored::Line(_) | Stored::Sequence(_) => Uuid::nil(),
        };
        if whose != txn {
            return Err(format!("it belongs to {txn} and speaks of {whose}"));
        }
        let Self { index, found, .. } = self;
        let (twice, what) = match stored {
            Stored::Start(Start { incarnation, from }) => {
                index.starts.push_back(number);
                came_to(&mut found.starts, from)?;
                // At least; how far it came the next record tells.
                found.starts.push(KnownStart { incarnation, sequence: from });
                return Ok(());
            }
            Stored::Sequence(sequence) => {
                index.sequence = sequence;
                (index.sequence_at.replace(number), "sequence")
            }
            Stored::Prepare(record) => {
                let xid = record.prepared.xid;
                let twice = index.prepared.insert(xid, number).or_else(|| index.done.get(&xid).copied());
                found.prepared.push(record);
                (twice, "branch")
            }
            Stored::Done(Done { xid, one_phase }) => {
                let twice = index.done.insert(xid, number).or_else(|| index.prepared.get(&xid).copied());
                found.done.push(Done { xid, one_phase });
                (twice, "branch")
            }
            Stored::Line(line) => {
                let twice = index.lines.insert(line.log, number);
                found.lines.push(line);
                (twice, "coordinator")
            }
        };
        twice.map_or(Ok(()), |other| Err(format!("#{other} speaks of the same {what}")))
    }
}

/// How far the last start came: not behind where it began.
fn came_to(starts: &mut [KnownStart], sequence: u64) -> Result<(), String> {
    let Some(last) = starts.last_mut() else { return Ok(()) };
    if sequence < last.sequence {
        return Err(format!("the store sequence {sequence} comes after {}", last.sequence));
    }
    last.sequence = sequence;
    Ok(())
}
