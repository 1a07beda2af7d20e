//! What the tests are made of: real processes that can be killed, stopped and asked.

pub mod history;
pub mod processes;
pub mod world;
