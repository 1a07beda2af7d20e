//! The registry and orders about it.

use std::time::Duration;

use handfast_common::ids::StoreId;
use handfast_common::messages::{RegistryAct, RegistryAnswer, RegistryLine, RegistryOrder, RegistryPage};
use handfast_common::rpc::service::CoordinatorServiceResponse as Response;
use uuid::Uuid;

use super::fake::{Act, Asked, Fake};
use super::{SOON, client, name};
use crate::OrderError;

fn line() -> RegistryLine {
    RegistryLine {
        name: name("a"),
        store: StoreId(Uuid::from_u128(9)),
        incarnation: None,
        sequence: 4,
        address: "127.0.0.1:9".into(),
        state: "silent".into(),
        why: None,
        unacknowledged: 2,
        waited_for: true,
    }
}

#[tokio::test]
async fn the_registry_is_listed_and_orders_are_answered() {
    let refused = RegistryAnswer::Refused("it owes 2 acknowledgements; --force".into());
    let answer = refused.clone();
    let fake = Fake::start(move |_, asked| match asked {
        Asked::Registry => Act::Respond(Response::Registry(RegistryPage { lines: vec![line()] })),
        _ => Act::Respond(Response::OrderRegistry(answer.clone())),
    })
    .await;
    let client = client(&fake.address);
    assert_eq!(client.registry(SOON).await, Ok(vec![line()]));
    let answered = client.order_registry(RegistryAct::Remove, name("a"), "burnt", false, SOON).await;
    assert_eq!(answered, Ok(refused));
    let order = RegistryOrder { act: RegistryAct::Remove, name: name("a"), reason: "burnt".into(), force: false };
    assert_eq!(fake.asked(), [Asked::Registry, Asked::Order(order)]);
}

#[tokio::test]
async fn an_order_without_an_answer_is_not_given_twice() {
    let fake = Fake::start(|_, _| Act::HangUp).await;
    let client = client(&fake.address);
    let error = client.order_registry(RegistryAct::Release, name("a"), "gone", true, SOON).await.expect_err("lost");
    assert!(matches!(error, OrderError::NoAnswer(_)) && !error.is_outcome_known() && !error.is_retryable());
    assert_eq!(fake.asked().len(), 1);
    let long = client.order_registry(RegistryAct::Release, name("a"), "x".repeat(513), true, SOON).await;
    assert!(matches!(long, Err(OrderError::Invalid(_))));
    drop(fake);
    let soon = Duration::from_millis(200);
    let error = client.order_registry(RegistryAct::Release, name("a"), "gone", true, soon).await.expect_err("down");
    assert!(error.is_outcome_known() && error.is_retryable(), "{error}");
}
