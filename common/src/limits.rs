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
/// Interactive transactions that may be open at a coordinator at a time: an open one costs memory only, a client that
/// begins and vanishes leaves one behind for the idle limit.
pub const MAX_OPEN: usize = 4_096;
/// Most operations of one open branch that wait for their turn at a participant: they run one after the other.
pub const MAX_QUEUED_OPERATIONS: usize = 64;
/// Most numbered operations of one open branch, whose results are kept until its end.
pub const MAX_BRANCH_OPERATIONS: usize = 1_000;
/// Longest `handfast-context` header value, in ASCII characters.
pub const MAX_CONTEXT_BYTES: usize = 256;
/// Starts of a participant that its store remembers, the newest ones.
pub const MAX_STARTS: usize = 4_096;
/// Longest reason an operator may give, in bytes.
pub const MAX_REASON_BYTES: usize = 512;
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
/// An interactive transaction without work for so long is aborted.
pub const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// An interactive transaction that is open for so long is aborted.
pub const TOTAL_LIMIT: Duration = Duration::from_secs(60);
/// In how many parts of the idle limit a participant reports that it works in a transaction. The coordinator counts one
/// part less, so that nothing stays locked for longer than the limit.
pub const IDLE_PARTS: u32 = 4;
/// How often a transaction's body is run again.
pub const BODY_RETRIES: u32 = 10;
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
// A branch that only read keeps its locks for twice the prepare timeout at the most, whatever is lost: that, too, is to end
// within the idle limit.
const _: () = assert!(2 * PREPARE_TIMEOUT.as_millis() < IDLE_LIMIT.as_millis());
const _: () = assert!(IDLE_LIMIT.as_millis() < TOTAL_LIMIT.as_millis());
