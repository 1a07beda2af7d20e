//! redb files: opening, checking, guarding, and writing in batches.
//!
//! What the coordinator's log and the participant's store have in common stands here once:
//!
//! | module | what it keeps true |
//! |---|---|
//! | `folder` | one process per folder, and only the role and name it was made for |
//! | `store` | made under a temporary name, verified at every open, unusable after an error |
//! | `journal`, `counted` | a scan finds exactly the records that were written, or damage |
//! | `hint` | a store that lost its last commit is found out |
//! | `guard`, `error` | damage ends the process with one line and exit code 9, not with an abort |
//! | `mark` | after an I/O error the next start reads the disk, not the cache |
//! | `worker` | all that waits is forced in one batch; after an error nothing is |
//! | `space` | phase two of what is prepared finds room on a full disk |
//! | `offline` | looking at a stopped process's store changes no byte of it |
//!
//! The rule under all of it: any storage error ends the use of the store, and nothing is said about what was being
//! written. It may be on disk or not; the next start finds out.

pub mod counted;
pub mod error;
pub mod folder;
mod gate;
pub mod guard;
pub mod heads;
pub mod hint;
pub mod journal;
pub mod mark;
mod meta;
pub mod offline;
mod opening;
pub mod record;
pub mod space;
pub mod steps;
pub mod store;
pub mod worker;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod power_tests;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod testing;

pub use counted::{Changing, Counted, Value};
pub use error::StorageError;
pub use folder::{Folder, Kind, StorePaths};
pub use guard::{protect, stop};
pub use heads::Head;
pub use hint::Hint;
pub use journal::{Entry, Journal};
pub use mark::Mark;
pub use meta::FORMAT_VERSION;
pub use record::{Frame, FrameError, frame, unframe};
pub use space::{Space, SpaceOptions};
pub use steps::{FileSteps, RealSteps};
pub use store::{CommitMode, Options, Store, Writing};
pub use worker::{BatchWriter, Caps, Counters, Submitter, Urgency, Worker};
