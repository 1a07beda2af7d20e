//! Every cap in one place, each with its reason. What a user may set starts from these.

use std::time::Duration;

/// Longest participant name: it stands in error lines and log records.
pub const MAX_NAME_BYTES: usize = 64;
/// Most branches of a transaction: each names all others, so messages grow with the square.
pub const MAX_BRANCHES: usize = 64;
/// Most operations of a transaction, over all branches.
pub const MAX_OPERATIONS: usize = 1_000;
/// Most bytes of work of a transaction; also what its reads may take.
pub const MAX_TRANSACTION_BYTES: usize = 1 << 20;
/// Largest frame on the wire: a transaction of the largest size and its envelope.
pub const MAX_FRAME_BYTES: usize = MAX_TRANSACTION_BYTES + (256 << 10);
/// Longest key of the embedded store.
pub const MAX_KEY_BYTES: usize = 1 << 10;
/// Longest string value of the embedded store.
pub const MAX_VALUE_BYTES: usize = 64 << 10;
/// Transactions a coordinator works on at a time: beyond it only latency grows.
pub const MAX_IN_FLIGHT: usize = 256;
/// What part of them a participant that has stopped answering may hold.
pub const SILENT_SHARE: usize = 4;
/// Most transactions that the low-water mark may step over: they travel on every message while it does.
pub const MAX_MARK_EXCEPTIONS: usize = 64;
/// Most lines of one page of a listing: a page must fit a frame.
pub const MAX_PAGE: usize = 1_000;
/// Most unconfirmed one-phase commits of one Welcome; the rest follow after the next Hello.
pub const MAX_UNCONFIRMED: usize = 1_000;
/// Most bytes of such a list.
pub const MAX_UNCONFIRMED_BYTES: usize = 512 << 10;

/// How long a coordinator waits for votes.
pub const PREPARE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a participant waits for locks.
pub const LOCK_WAIT: Duration = Duration::from_secs(1);
/// Cap of every backoff: a decision is re-sent, and asked for, about once a second at the least.
pub const RETRY_CAP: Duration = Duration::from_secs(1);
/// First step of such a backoff.
pub const RETRY_FIRST: Duration = Duration::from_millis(100);
/// How long an inquiry of an older epoch waits for participants that can't be reached.
pub const GUARD_WAIT: Duration = Duration::from_secs(2);
/// How often a coordinator looks whether a participant still answers.
pub const SILENCE_TICK: Duration = Duration::from_millis(250);
/// How often a participant registers again.
pub const REGISTER_EVERY: Duration = Duration::from_secs(2);
/// Deadline of a client call.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Outcomes kept, at the least, until as many newer ones exist.
pub const RETENTION_COUNT: u64 = 1_000_000;
/// Days of the coordinator's own running time after which an outcome is forgotten.
pub const RETENTION_DAYS: u64 = 7;
/// Free space that is left alone: below it no new work is taken.
pub const DISK_RESERVE: u64 = 64 << 20;

const _: () = assert!(MAX_UNCONFIRMED_BYTES < MAX_FRAME_BYTES / 2);
const _: () = assert!(MAX_FRAME_BYTES > MAX_TRANSACTION_BYTES + MAX_BRANCHES * (MAX_NAME_BYTES + 128));
const _: () = assert!(MAX_KEY_BYTES + MAX_VALUE_BYTES < MAX_TRANSACTION_BYTES);
const _: () = assert!(LOCK_WAIT.as_millis() < PREPARE_TIMEOUT.as_millis());
