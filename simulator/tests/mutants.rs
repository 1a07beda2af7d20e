//! Each rule of the protocol that can be undone is undone, and something notices.
#![cfg(feature = "mutants")]
