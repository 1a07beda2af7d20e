//! What is looked at in a participant's store after each of its steps.

use super::World;
use crate::oracles::only_older_ones_wait;

impl World {
    pub(super) fn look_at_store(&mut self, n: usize) {
        let node = &self.participants[n];
        let Some(store) = &node.store else { return };
        let waits = only_older_ones_wait(n, store.younger_waiter());
        let room = self.oracles.room.queued(n, store.queued_items(), node.has_room());
        self.judge("wait-die", waits);
        self.judge("room", room);
    }
}
