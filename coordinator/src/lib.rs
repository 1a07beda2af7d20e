//! Handfast's coordinator: decides, once per transaction, and keeps the decision until everybody has heard it.
//!
//! [`protocol`] is the pure machine; `log` keeps its decisions on disk; `server` is the process around them. Without
//! the default feature `server` only the first is built.

pub mod protocol;

#[cfg(feature = "server")]
pub mod log;
#[cfg(feature = "server")]
pub mod server;
