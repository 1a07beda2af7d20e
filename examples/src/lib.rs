//! What the examples share; they are the `.rs` files beside this folder. Run one with
//! `cargo run -p handfast-examples --example NAME`.

pub mod processes;
pub mod servers;
pub mod wire;

pub use servers::start_coordinator;
