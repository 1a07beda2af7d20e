//! What goes over the wire between coordinator, participants and clients.
//!
//! The machines know these types and nothing of the wire under them. Every message of a coordinator carries a
//! [`Stamp`], every message of a participant an [`Identity`]: whatever carries a stale epoch or a foreign identity is
//! refused before it is looked at.

mod answers;
mod asking;
mod client;
mod interactive;
mod listing;
mod orders;
mod peers;
mod registry;
mod stamp;

pub use answers::{Answer, FromParticipant, OnePhaseResult, Refusal, Unconfirmed, Welcome};
pub use asking::{Inquiry, InquiryAnswer, Register, Registered};
pub use client::{AskOutcome, BranchWork, Reads, Rejection, Submit, Told};
pub use interactive::{
    Begin, Begun, Commit, Count, Enlist, Enlisted, Execute, ExecuteResult, Executed, Located, OperationId,
};
pub use listing::{AskPage, AskValues, BranchLine, Select, TxnLine, TxnPage, ValueLine, ValuePage};
pub use orders::{KnownStart, OnePhase, Order, Prepare, Task, ToParticipant};
pub use peers::{PeerAnswer, PeerInquiry, PeerTold, Unsaid};
pub use registry::{RegistryAct, RegistryAnswer, RegistryLine, RegistryOrder, RegistryPage};
pub use stamp::{Addressee, Identity, Mark, Member, Micros, Seen, Stamp};
