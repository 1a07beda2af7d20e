//! Whatever arrives or is read: decoded as what it is or refused, and never a panic.
//!
//! Seeded and bounded, so they belong to the gate; a failing seed is printed. More of them: `HANDFAST_FUZZ_RUNS=100000`,
//! from another first seed: `HANDFAST_FUZZ_SEED=7`.

mod arbitrary;
mod images;
mod live;
mod machines;
mod wire;
