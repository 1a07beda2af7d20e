//! What the tests are made of: real processes that can be killed, stopped and asked; servers inside the test; a world
//! over the pure machines; and histories of transactions with the check that they are serializable.

pub mod figures;
pub use handfast_simulator::history;
pub mod processes;
pub mod servers;
pub mod world;
