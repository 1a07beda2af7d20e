//! A deterministic world over Handfast's machines, its log and its store: one thread, virtual time, and disks, a network
//! and processes that fail as they are told.
//!
//! | module | what it is |
//! |---|---|
//! | [`disk`] | a disk that loses power, fails, or is full, under the real redb files |
//! | [`world`] | nodes, network, clients and time; [`world::World::run`] is one run |
//! | [`plan`] | what goes wrong and when, drawn from families of faults (nemeses) |
//! | [`workload`], [`clients`] | what clients want, and the ledger of what they were told |
//! | `oracles` | the promises, one per file |
//! | [`history`] | what clients did and saw, and whether it could have run one after the other |
//! | [`matrix`] | which cells of the matrix of faults were hit |
//! | [`crash`] | scenarios of which everything is made to fail, one thing at a time |
//! | [`rot`] | damage to closed files |
//! | [`timelines`] | what broke an earlier draft of the protocol, step by step |
//! | [`run`] | a seeded run, and what is printed when one fails |

pub mod clients;
pub mod crash;
pub mod dice;
pub mod disk;
pub mod history;
pub mod matrix;
mod oracles;
pub mod plan;
pub mod rot;
pub mod run;
pub mod timelines;
pub mod workload;
pub mod world;

pub use oracles::Violation;
