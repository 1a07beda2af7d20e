//! Steps that were taken before: a machine is in few states compared to the whole, and takes each of its steps in very many
//! of them. A step depends on nothing but the machine and the input, so its result is looked up.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;

use handfast_coordinator::protocol as c;
use handfast_participant::protocol as p;

use super::fingerprint::fingerprint;
use super::state::Part;

/// By machine and input: the machine after the step, and its effects.
type Steps<M, E> = HashMap<(u64, u64), (Part<M>, Vec<E>)>;

thread_local! {
    static COORDINATOR: RefCell<Steps<c::Coordinator, c::Effect>> = RefCell::default();
    static PARTICIPANT: RefCell<Steps<p::Participant, p::Effect>> = RefCell::default();
}

/// One step of the coordinator.
pub(crate) fn coordinate(machine: &mut Part<c::Coordinator>, input: c::Input) -> Vec<c::Effect> {
    COORDINATOR.with_borrow_mut(|steps| step(steps, machine, input, c::Coordinator::step))
}

/// One step of a participant.
pub(crate) fn participate(machine: &mut Part<p::Participant>, input: p::Input) -> Vec<p::Effect> {
    PARTICIPANT.with_borrow_mut(|steps| step(steps, machine, input, p::Participant::step))
}

fn step<M: Clone + Hash, I: Hash, E: Clone>(
    steps: &mut Steps<M, E>,
    machine: &mut Part<M>,
    input: I,
    step: impl Fn(&mut M, I) -> Vec<E>,
) -> Vec<E> {
    let (after, effects) = steps.entry((machine.fingerprint(), fingerprint(&input))).or_insert_with(|| {
        let mut after = machine.clone();
        let effects = after.change(|machine| step(machine, input));
        (after, effects)
    });
    *machine = after.clone();
    effects.clone()
}
