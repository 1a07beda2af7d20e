//! The words of Handfast: identities, votes, messages, records, their one binary codec, and the limits on all of it.
//!
//! What is here by default is pure: no runtime, no wire, no disk. The feature `rpc` adds the tarpc service traits and
//! the transport under them, the feature `storage` what both roles need around a redb file.

pub mod codec;
pub mod failpoints;
pub mod ids;
pub mod limits;
/// Every lock there is, and their one order.
#[cfg(any(feature = "rpc", feature = "storage"))]
pub mod locks;
pub mod messages;
pub mod mutants;
pub mod operation;
pub mod outcome;
/// The wire: service traits and the transport under them.
#[cfg(feature = "rpc")]
pub mod rpc;
/// redb files: opening, checking, guarding, and writing in batches.
#[cfg(feature = "storage")]
pub mod storage;
/// Notices what stands still, in debug builds.
#[cfg(any(feature = "rpc", feature = "storage"))]
pub mod watchdog;
