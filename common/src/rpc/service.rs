//! The tarpc services. Only their request, response and client types are used: requests are taken from the channel's
//! stream by the owner task, because a handler can be dropped at any await.

use crate::ids::{Name, Xid};
use crate::messages::{
    AskOutcome, AskPage, AskValues, Begin, Begun, Commit, Enlist, Enlisted, Execute, Executed, FromParticipant,
    Inquiry, InquiryAnswer, Located, PeerInquiry, PeerTold, Register, Registered, RegistryAnswer, RegistryOrder,
    RegistryPage, Submit, ToParticipant, Told, TxnPage, ValuePage,
};

/// What a coordinator answers.
#[tarpc::service]
pub trait CoordinatorService {
    /// Runs a one-shot transaction.
    async fn submit(request: Submit) -> Told;
    /// Tells what became of a key.
    async fn ask_outcome(question: AskOutcome) -> Told;
    /// Takes note of a participant.
    async fn register(participant: Register) -> Registered;
    /// Answers a participant in doubt.
    async fn inquire(inquiry: Inquiry) -> InquiryAnswer;
    /// Lists transactions.
    async fn list(page: AskPage) -> TxnPage;
    /// Opens an interactive transaction.
    async fn begin(begin: Begin) -> Begun;
    /// Decides it.
    async fn commit(commit: Commit) -> Told;
    /// Aborts it.
    async fn rollback(xid: Xid) -> Told;
    /// Takes note of a branch of it.
    async fn enlist(enlist: Enlist) -> Enlisted;
    /// Tells where a participant is.
    async fn locate(name: Name) -> Located;
    /// Lists the registry.
    async fn registry() -> RegistryPage;
    /// Carries out an operator's order about it.
    async fn order_registry(order: RegistryOrder) -> RegistryAnswer;
}

/// What a participant answers.
#[tarpc::service]
pub trait ParticipantService {
    /// Carries out a coordinator's order.
    async fn deliver(message: ToParticipant) -> FromParticipant;
    /// Lists this participant's own branches.
    async fn list(page: AskPage) -> TxnPage;
    /// Reads last committed values.
    async fn values(question: AskValues) -> ValuePage;
    /// Carries out an operation of an open transaction.
    async fn execute(execute: Execute) -> Executed;
    /// Answers another participant in doubt.
    async fn ask_peer(inquiry: PeerInquiry) -> PeerTold;
}
