//! A deterministic world over Handfast's machines, its log and its store.

pub mod dice;
pub mod disk;
