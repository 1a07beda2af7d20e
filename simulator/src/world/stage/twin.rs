//! Two coordinators, of which one stands still while the other goes on: a copy of a folder, or one with a log of its own.
//!
//! What was on its way to the one that stands still waits in its socket buffers.

use handfast_common::ids::LogId;
use handfast_common::storage::Kind as Role;
use uuid::Uuid;

use super::super::coordinator::{CoordinatorNode, new_store};
use super::super::{Body, Event, World};
use crate::disk::Disk;
use crate::plan::Host;

/// A coordinator that stands still.
#[derive(Debug)]
pub(super) struct Aside {
    node: CoordinatorNode,
    /// Its connections, and whether each is wanted and on its way.
    links: Vec<(Option<u64>, bool, bool)>,
    /// What happens to it once it goes on.
    events: Vec<(u64, Event)>,
}

/// Starts of the second coordinator are counted from here: nothing of one may be taken for the other's.
const SECOND: u64 = 1 << 20;
/// The log of the stranger.
const OTHER_LOG: LogId = LogId(Uuid::from_u128(0xC1));
/// And its name.
const OTHER_NAME: &str = "stranger";

impl World {
    pub(super) fn twin(&mut self) {
        let disk = Disk::with(self.coordinator.disk.content());
        let node = CoordinatorNode::over(disk, self.coordinator.name);
        self.step_aside_for(node);
        self.forget_promises(Host::Coordinator);
        self.at(0, Event::Start(Host::Coordinator));
    }

    pub(super) fn stranger(&mut self) {
        let node = CoordinatorNode::over(new_store(Role::Coordinator, OTHER_NAME, OTHER_LOG.0), OTHER_NAME);
        self.step_aside_for(node);
        self.oracles.durability.put_back();
        self.at(0, Event::Start(Host::Coordinator));
    }

    /// The one that stands still goes on, and the other one stands still.
    pub(super) fn swap(&mut self) {
        let Some(aside) = self.stage.as_mut().and_then(|stage| stage.aside.take()) else {
            return self.judge("timeline", Err("nobody stands aside".to_owned()));
        };
        let Aside { node, links, events } = *aside;
        self.put_aside(node);
        for (participant, (connection, dialled, dialling)) in self.participants.iter_mut().zip(links) {
            (participant.connection, participant.dialled, participant.dialling) = (connection, dialled, dialling);
        }
        for (after, event) in events {
            self.at(after, event);
        }
    }

    fn step_aside_for(&mut self, mut node: CoordinatorNode) {
        if let Some(stage) = &mut self.stage {
            stage.twins += 1;
            node.start = SECOND * stage.twins;
        }
        self.put_aside(node);
        for participant in &mut self.participants {
            (participant.connection, participant.dialled, participant.dialling) = (None, false, false);
        }
    }

    /// Puts the present coordinator aside, with all that is on its way to it, in favour of another.
    fn put_aside(&mut self, node: CoordinatorNode) {
        let node = std::mem::replace(&mut self.coordinator, node);
        let links: Vec<_> = self.participants.iter().map(|p| (p.connection, p.dialled, p.dialling)).collect();
        let concerns = |event: &Event| match event {
            Event::Message { to, .. } => *to == Host::Coordinator,
            Event::CoordinatorTimer(start, ..) | Event::Forced(start, _) | Event::Write(Host::Coordinator, start) => {
                *start == node.start
            }
            Event::Connect(_) | Event::Break(..) => true,
            _ => false,
        };
        let mut events = Vec::new();
        self.queue.retain(|(at, _), event| {
            let goes = concerns(event);
            if goes {
                events.push((at.saturating_sub(self.now), event.clone()));
            }
            !goes
        });
        if let Some(stage) = &mut self.stage {
            stage.aside = Some(Box::new(Aside { node, links, events }));
        }
    }

    /// What comes over a connection of a coordinator that stands still stays in its socket buffer.
    pub(in crate::world) fn is_for_aside(&mut self, n: usize, connection: u64, event: impl FnOnce() -> Body) -> bool {
        let Some(aside) = self.stage.as_mut().and_then(|stage| stage.aside.as_mut()) else { return false };
        let is_its_own = aside.links.get(n).is_some_and(|(own, ..)| *own == Some(connection));
        if is_its_own {
            let message = Event::Message { from: Host::Participant(n), to: Host::Coordinator, body: Box::new(event()) };
            aside.events.push((0, message));
        }
        is_its_own
    }
}
