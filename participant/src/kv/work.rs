//! What a branch does: its payload, the locks it needs, and carrying it out. Pure.

use std::collections::BTreeMap;

use handfast_common::codec::{self, CodecError};
use handfast_common::limits::{MAX_OPERATIONS, MAX_TRANSACTION_BYTES};
use handfast_common::mutants::{self, Mutant};
use handfast_common::operation::{Add, Check, Operation, Read, Value, validate};
use handfast_common::outcome::{Payload, Reason, ReasonKind};
use serde::{Deserialize, Serialize};

use super::locks::Mode;

/// Work of a branch as it travels.
///
/// # Errors
/// When it is larger than a frame.
pub fn encode_operations(operations: &[Operation]) -> Result<Payload, CodecError> {
    codec::encode(operations).map(Payload)
}

/// Work of a branch as it arrived; checked as far as that goes without the store.
///
/// # Errors
/// `BadWork` with what is wrong.
pub fn decode_operations(payload: &Payload) -> Result<Vec<Operation>, Reason> {
    let bad = |why: String| Reason::new(ReasonKind::BadWork, why);
    if payload.0.len() > MAX_TRANSACTION_BYTES {
        return Err(bad(format!("{} bytes of work are over the limit of {MAX_TRANSACTION_BYTES}", payload.0.len())));
    }
    let Operations(operations) = codec::decode(&payload.0).map_err(|error| bad(format!("the work is {error}")))?;
    validate(&operations).map_err(bad)?;
    Ok(operations)
}

/// What a branch read, as it travels.
///
/// # Errors
/// When it is larger than a frame.
pub fn encode_reads(reads: &[Read]) -> Result<Payload, CodecError> {
    // Most branches read nothing: not a byte of that travels or is stored.
    if reads.is_empty() {
        return Ok(Payload::default());
    }
    codec::encode(reads).map(Payload)
}

/// What a branch read, as it arrived.
///
/// # Errors
/// When these are no reads.
pub fn decode_reads(payload: &Payload) -> Result<Vec<Read>, CodecError> {
    if payload.0.is_empty() {
        return Ok(Vec::new());
    }
    codec::decode::<Reads>(&payload.0).map(|reads| reads.0)
}

/// The same bytes as the list alone, but no more elements than a transaction may have.
#[derive(Serialize, Deserialize)]
struct Operations(#[serde(deserialize_with = "codec::bounded::<_, _, MAX_OPERATIONS>")] Vec<Operation>);

#[derive(Serialize, Deserialize)]
struct Reads(#[serde(deserialize_with = "codec::bounded::<_, _, MAX_OPERATIONS>")] Vec<Read>);

/// The locks that operations need, in order of key, each key once in the stronger mode: a lock that is first taken
/// shared and then upgraded is a conflict that need not be.
pub(super) fn locks_of(operations: &[Operation]) -> BTreeMap<&str, Mode> {
    let mut locks = BTreeMap::new();
    for operation in operations {
        let writes = operation.is_write() && !mutants::is(Mutant::WritesUnderSharedLocks);
        let mode = if writes { Mode::Exclusive } else { Mode::Shared };
        let held = locks.entry(operation.key()).or_insert(mode);
        *held = mode.max(*held);
    }
    locks
}

/// What operations came to.
#[derive(Debug)]
pub(super) struct Executed {
    /// Answers of the `get`s.
    pub(super) reads: Payload,
    /// The last write of each key; `None` removes it.
    pub(super) writes: BTreeMap<String, Option<Value>>,
}

/// Why operations came to nothing.
#[derive(Debug)]
pub(super) enum Stopped<E> {
    /// The branch's own fault, or the data's.
    Refused(Reason),
    /// The store's. Nobody may be answered any more.
    Failed(E),
}

impl<E> From<Reason> for Stopped<E> {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

/// Carries out operations in order over last committed values, each seeing the writes before it.
pub(super) fn execute<E>(
    operations: &[Operation],
    mut committed: impl FnMut(&str) -> Result<Option<Value>, E>,
) -> Result<Executed, Stopped<E>> {
    let mut writes: BTreeMap<String, Option<Value>> = BTreeMap::new();
    let mut reads = Vec::new();
    let mut read_bytes = 0;
    for operation in operations {
        let mut now = || match writes.get(operation.key()) {
            Some(own) => Ok(own.clone()),
            None => committed(operation.key()).map_err(Stopped::Failed),
        };
        match operation {
            Operation::Put(put) => {
                writes.insert(put.key.clone(), Some(put.value.clone()));
            }
            Operation::Delete(on) => {
                writes.insert(on.key.clone(), None);
            }
            Operation::Get(on) => {
                let value = now()?;
                read_bytes += on.key.len() + value.as_ref().map_or(0, bytes_of);
                // Counted as it grows: a thousand reads of the largest value would be 64 MiB.
                if read_bytes > MAX_TRANSACTION_BYTES {
                    return Err(too_many_reads().into());
                }
                reads.push(Read { key: on.key.clone(), value });
            }
            Operation::Add(add) => {
                let sum = added(add, now()?)?;
                writes.insert(add.key.clone(), Some(Value::Integer(sum)));
            }
            Operation::Check(check) => checked(check, now()?.as_ref())?,
        }
    }
    let reads = encode_reads(&reads).ok().filter(|reads| reads.0.len() <= MAX_TRANSACTION_BYTES);
    Ok(Executed { reads: reads.ok_or_else(too_many_reads)?, writes })
}

fn too_many_reads() -> Reason {
    Reason::new(ReasonKind::BadWork, format!("it reads more than {MAX_TRANSACTION_BYTES} bytes"))
}

/// Bytes of a value, about as it is stored.
pub(super) fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Integer(_) => size_of::<i64>(),
        Value::Text(text) => text.len(),
    }
}

fn added(add: &Add, now: Option<Value>) -> Result<i64, Reason> {
    let key = &add.key;
    let before = match now {
        None => 0,
        Some(Value::Integer(before)) => before,
        Some(Value::Text(_)) => {
            return Err(Reason::new(ReasonKind::BadWork, format!("add to '{key}': it holds a string")));
        }
    };
    let sum = before.checked_add(add.delta).ok_or_else(|| {
        Reason::new(ReasonKind::BadWork, format!("add to '{key}': {before} and {} overflow", add.delta))
    })?;
    within(key, sum, add.min, add.max)?;
    Ok(sum)
}

fn checked(check: &Check, now: Option<&Value>) -> Result<(), Reason> {
    let key = &check.key;
    let failed = |why: String| Err(Reason::new(ReasonKind::CheckFailed, format!("'{key}' {why}")));
    if check.absent && now.is_some() {
        return failed("has a value".into());
    }
    if check.exists && now.is_none() {
        return failed("has no value".into());
    }
    if check.equals.is_some() && check.equals.as_ref() != now {
        return failed("is not what it must be".into());
    }
    if check.min.is_none() && check.max.is_none() {
        return Ok(());
    }
    match now {
        Some(Value::Integer(now)) => within(key, *now, check.min, check.max),
        Some(Value::Text(_)) => failed("is a string, not a number within bounds".into()),
        None => failed("has no value, hence none within bounds".into()),
    }
}

fn within(key: &str, value: i64, min: Option<i64>, max: Option<i64>) -> Result<(), Reason> {
    let failed = |why: String| Err(Reason::new(ReasonKind::CheckFailed, format!("'{key}' {why}")));
    match (min, max) {
        (Some(min), _) if value < min => failed(format!("would be {value}, below its min {min}")),
        (_, Some(max)) if value > max => failed(format!("would be {value}, above its max {max}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "work_tests.rs"]
mod tests;
