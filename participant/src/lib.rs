//! Handfast's participant: holds branches, votes, and keeps what it voted until it has heard the decision.
//!
//! [`protocol`] is the pure machine; `resource` is where a store plugs in; `kv` is the embedded store, `server` the
//! process around them. Without the default feature `server` only the first is built.

pub mod protocol;

#[cfg(feature = "server")]
pub mod conformance;
#[cfg(feature = "server")]
pub mod kv;
#[cfg(feature = "server")]
pub mod logged;
#[cfg(feature = "server")]
pub mod resource;
#[cfg(feature = "server")]
pub mod server;
