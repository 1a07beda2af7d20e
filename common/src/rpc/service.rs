//! The tarpc services. Only their request, response and client types are used: requests are taken from the channel's
//! stream by the owner task, because a handler can be dropped at any await.

use crate::messages::{
    AskOutcome, AskPage, AskValues, FromParticipant, Inquiry, InquiryAnswer, Register, Registered, Submit,
    ToParticipant, Told, TxnPage, ValuePage,
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
}
