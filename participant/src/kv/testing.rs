//! Shared by the tests of this folder: short ways to say a transaction, its work and its record.

use handfast_common::ids::{Age, ContentHash, Epoch, Key, LogId, Nonce, TxnId, Xid};
use handfast_common::messages::{Mark, Seen};
use handfast_common::operation::{Add, Check, OnKey, Operation, Put, Read, Value};
use handfast_common::outcome::Payload;
use uuid::Uuid;

use super::work::{decode_reads, encode_operations};
use crate::protocol::{Line, Prepared};
use crate::resource::Work;

pub(super) const LOG: LogId = LogId(Uuid::from_u128(0xC0));

pub(super) fn txn(n: u64) -> TxnId {
    TxnId::new(LOG, Epoch(1), n, Nonce(7))
}

pub(super) fn xid(n: u64) -> Xid {
    Xid { log: LOG, txn: txn(n), nonce: Nonce(7) }
}

/// Work of transaction `n`, whose age is `n` too: smaller is older.
pub(super) fn work(n: u64, operations: &[Operation]) -> Work {
    Work { xid: xid(n), age: Age(n), payload: Some(encode_operations(operations).unwrap()) }
}

pub(super) fn record(n: u64) -> Prepared {
    let seen = Seen { epoch: Epoch(1), nonce: Nonce(7), decisions: n };
    let (coordinator, members, reads) = ("127.0.0.1:7117".into(), Vec::new(), Payload::default());
    Prepared { xid: xid(n), coordinator, seen, members, work: ContentHash([9; 32]), reads }
}

pub(super) fn key(n: u64) -> Key {
    Key(Uuid::from_u128(u128::from(n)))
}

pub(super) const HASH: ContentHash = ContentHash([3; 32]);

/// A line whose mark covers all below `low` but `except`.
pub(super) fn line(low: u64, except: &[u64]) -> Line {
    let mark = Mark { low: txn(low), except: except.iter().copied().map(txn).collect() };
    Line { log: LOG, name: None, seen: Seen { epoch: Epoch(1), nonce: Nonce(7), decisions: low }, mark: Some(mark) }
}

pub(super) fn int(n: i64) -> Value {
    Value::Integer(n)
}

pub(super) fn text(text: &str) -> Value {
    Value::Text(text.into())
}

pub(super) fn put(key: &str, value: Value) -> Operation {
    Operation::Put(Put { key: key.into(), value })
}

pub(super) fn delete(key: &str) -> Operation {
    Operation::Delete(OnKey { key: key.into() })
}

pub(super) fn get(key: &str) -> Operation {
    Operation::Get(OnKey { key: key.into() })
}

pub(super) fn add(key: &str, delta: i64) -> Operation {
    Operation::Add(Add { key: key.into(), delta, min: None, max: None })
}

pub(super) fn add_within(key: &str, delta: i64, min: i64, max: i64) -> Operation {
    Operation::Add(Add { key: key.into(), delta, min: Some(min), max: Some(max) })
}

pub(super) fn check(key: &str, check: Check) -> Operation {
    Operation::Check(Check { key: key.into(), ..check })
}

pub(super) fn reads(payload: &Payload) -> Vec<(String, Option<Value>)> {
    let reads = decode_reads(payload).unwrap();
    reads.into_iter().map(|Read { key, value }| (key, value)).collect()
}
