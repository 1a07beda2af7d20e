//! What the tests are made of: real processes that can be killed, stopped and asked; proxies between them; a load whose
//! client keeps a ledger; servers inside the test; a world over the pure machines; and histories of transactions with
//! the check that they are serializable.

pub mod figures;
pub use handfast_simulator::history;
pub mod killer;
pub mod ledger;
pub mod processes;
pub mod proxied;
pub mod proxy;
pub mod servers;
pub mod settings;
pub mod soak;
pub mod world;
