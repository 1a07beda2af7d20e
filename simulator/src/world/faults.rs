//! Injecting what the plan says, crashes, and the healing at the end.

use handfast_common::storage::StorageError;
use handfast_coordinator::protocol as c;
use handfast_participant::protocol as p;

use super::network::Network;
use super::{Event, LOG, World};
use crate::disk::{Disk, Loss, Trouble};
use crate::matrix::{Kind, Step};
use crate::plan::{Fault, Host};

impl World {
    pub(super) fn disk(&self, host: Host) -> Option<Disk> {
        match host {
            Host::Coordinator => Some(self.coordinator.disk.clone()),
            Host::Participant(n) => Some(self.participants.get(n)?.disk.clone()),
            Host::Clients => None,
        }
    }

    pub(super) fn on_fault(&mut self, number: usize) {
        let fault = self.options.plan[number].fault;
        if self.healed.is_some() {
            return;
        }
        match fault {
            Fault::Crash { host, power, down } => {
                if self.is_up(host) {
                    let kind = if power.is_some() { Kind::Power } else { Kind::Kill };
                    self.hit(self.doing(host), kind);
                    self.summary.injected += 1;
                }
                self.crash(host, power, down);
            }
            Fault::CrashAtEffect { host, effects, down } => match host {
                Host::Coordinator => self.coordinator.dies_in = Some((effects, down)),
                Host::Participant(n) => self.participants[n].dies_in = Some((effects, down)),
                Host::Clients => {}
            },
            Fault::CrashAtStep { host, step, after, down } => match host {
                Host::Coordinator => self.coordinator.dies_at = Some((step, after, down)),
                Host::Participant(n) => self.participants[n].dies_at = Some((step, after, down)),
                Host::Clients => {}
            },
            Fault::Message { number, mishap } => drop(self.network.mishaps.insert(number, mishap)),
            Fault::Disk { host, operation, trouble, down } => {
                let Some(disk) = self.disk(host) else { return };
                disk.plan(disk.operations() + operation, trouble);
                self.stays_away(host, down);
            }
            Fault::Pause { host, length } => {
                self.hit(self.doing(host), Kind::Slow);
                if host == Host::Coordinator {
                    self.hit_clients(Kind::Slow);
                }
                self.summary.injected += 1;
                self.pause(host, length);
            }
            Fault::Leap { host } => {
                self.hit(self.doing(host), Kind::Time);
                self.summary.injected += 1;
                self.run_out(host);
            }
            Fault::SlowDisk { host, length } => {
                self.summary.injected += 1;
                let until = self.until_at_most(length);
                match host {
                    Host::Coordinator => self.coordinator.slow_until = until,
                    Host::Participant(n) => self.participants[n].slow_until = until,
                    Host::Clients => {}
                }
            }
            Fault::NoRoom { host, length } => self.no_room(host, length),
            Fault::Cut { from, to, length, both } => {
                self.summary.injected += 1;
                let until = self.until_at_most(length);
                self.network.cuts.push((from, to, until));
                if both {
                    self.network.cuts.push((to, from, until));
                }
            }
            Fault::Clog { from, to, length } => {
                self.summary.injected += 1;
                self.network.clogs.push((from, to, self.until_at_most(length)));
            }
            Fault::Loss { one_in, length } => {
                self.summary.injected += 1;
                self.network.loss = Some((one_in, self.until_at_most(length)));
            }
            Fault::Double { one_in, length } => {
                self.summary.injected += 1;
                self.network.double = Some((one_in, self.until_at_most(length)));
            }
            Fault::Delay { one_in, length } => {
                self.summary.injected += 1;
                self.network.delay = Some((one_in, self.until_at_most(length)));
            }
            Fault::Copy { host } => {
                if let Some(disk) = self.disk(host) {
                    self.summary.injected += 1;
                    self.copies.insert(host, disk.content());
                }
            }
            Fault::Restore { host, down } => self.restore(host, down),
            Fault::AtStep { host, step, strike } => self.strikes.push((host, step, strike)),
            Fault::MessageAt { step, mishap } => self.network.awaited.push((step, mishap)),
            Fault::Hostile { host } => self.hostile(host),
            Fault::Break { participant } => {
                if let Some(connection) = self.participants[participant].connection {
                    self.summary.injected += 1;
                    self.hit(Step::Co4, Kind::Lost);
                    self.at(0, Event::Break(participant, connection));
                }
            }
        }
    }

    /// What it has promised since is not asked of it any more: whoever knows of it has to notice.
    fn restore(&mut self, host: Host, down: u64) {
        let (Some(copy), Some(disk)) = (self.copies.remove(&host), self.disk(host)) else { return };
        self.summary.injected += 1;
        self.crash(host, None, down);
        disk.put(copy);
        self.restored = true;
        self.forget_promises(host);
    }

    /// What was promised since a copy was made is not asked of its owner any more.
    pub(super) fn forget_promises(&mut self, host: Host) {
        match host {
            Host::Coordinator => {
                for step in [Step::Op3, Step::Co1, Step::Co10] {
                    self.hit(step, Kind::Identity);
                }
                self.oracles.durability.put_back();
            }
            Host::Participant(n) => {
                self.hit(Step::Kv7, Kind::Identity);
                self.oracles.binding_votes.put_back(n);
                self.oracles.fencing.put_back(n);
            }
            Host::Clients => {}
        }
    }

    /// A machine stops. That is a finding, unless somebody's folder was replaced: then it is what has to happen.
    pub(super) fn stopped(&mut self, host: Host, why: String) {
        if self.stops_on_stage(host, &why) {
            return;
        }
        if self.restored {
            self.summary.found_out.get_or_insert(why);
        } else {
            self.judge("integrity", Err(format!("{host:?} stops: {why}")));
        }
    }

    /// No fault outlasts the healing.
    pub(super) fn until_at_most(&self, length: u64) -> u64 {
        (self.now + length).min(self.options.chaos)
    }

    /// For how long its process is away when its disk fails.
    pub(super) fn stays_away(&mut self, host: Host, down: u64) {
        match host {
            Host::Coordinator => self.coordinator.down = down,
            Host::Participant(n) => self.participants[n].down = down,
            Host::Clients => {}
        }
    }

    fn is_up(&self, host: Host) -> bool {
        match host {
            Host::Coordinator => self.coordinator.machine.is_some(),
            Host::Participant(n) => self.participants[n].is_up(),
            Host::Clients => false,
        }
    }

    /// The step that somebody is most deeply in, for the matrix.
    fn doing(&self, host: Host) -> Step {
        match host {
            Host::Participant(n) => {
                let machine = self.participants[n].machine.as_ref();
                let in_doubt = |machine: &p::Participant| machine.branches().any(|branch| branch.state == "in-doubt");
                match machine {
                    Some(machine) if in_doubt(machine) => Step::Kv4,
                    Some(machine) if machine.branches().any(|branch| !branch.ended) => Step::Kv1,
                    Some(_) => Step::Kv6,
                    None => Step::Kv7,
                }
            }
            Host::Coordinator | Host::Clients => match self.coordinator.machine.as_ref() {
                Some(machine) if !machine.is_ready() => Step::Co10,
                Some(machine) => match machine.load() {
                    (_, undecided) if undecided > 0 => Step::Co4,
                    (live, _) if live > 0 => Step::Co8,
                    _ => Step::Co9,
                },
                None => Step::Co10,
            },
        }
    }

    /// The disk has no room for new work until the healing, or for the coordinator until it starts anew.
    pub(super) fn no_room(&mut self, host: Host, length: u64) {
        match host {
            Host::Coordinator => {
                self.hit(Step::Co5, Kind::Disk);
                self.summary.injected += 1;
                self.coordinate(c::Input::SpaceChanged { room: false });
                self.coordinator.room_back = Some(self.now + length);
            }
            Host::Participant(n) => {
                self.hit(Step::Kv1, Kind::Disk);
                self.summary.injected += 1;
                self.participants[n].set_room(false);
                self.participants[n].room_back = Some(self.now + length);
            }
            Host::Clients => {}
        }
        self.at(length, Event::RoomBack(host));
    }

    pub(super) fn on_room_back(&mut self, host: Host) {
        let now = self.now;
        let due = |back: &mut Option<u64>| back.take_if(|back| *back <= now).is_some();
        match host {
            Host::Coordinator if due(&mut self.coordinator.room_back) => {
                self.coordinate(c::Input::SpaceChanged { room: true });
            }
            Host::Participant(n) if due(&mut self.participants[n].room_back) => self.participants[n].set_room(true),
            Host::Coordinator | Host::Participant(_) | Host::Clients => {}
        }
    }

    /// A process has come so far that it may speak: what an exhaustive run counts as its recovery.
    pub(super) fn recovered(&mut self, host: Host) {
        let Some(disk) = self.disk(host) else { return };
        if !disk.foreseen().is_empty() && self.summary.recovered.is_none() {
            self.summary.recovered = Some(disk.operations());
        }
    }

    /// The process ends, now; `power` says what is left of what was not synced, if the machine under it goes too.
    pub(super) fn crash(&mut self, host: Host, power: Option<Loss>, down: u64) {
        if !self.is_up(host) {
            return;
        }
        self.bury(host, power, down);
    }

    /// A store could not be opened, read or written. Unless something happened to its disk, that is a finding.
    pub(super) fn storage_failed(&mut self, host: Host, error: &StorageError) {
        let Some(disk) = self.disk(host) else { return };
        self.say(|| format!("storage of {host:?} fails: {error}"));
        let down = match host {
            Host::Coordinator => self.coordinator.down,
            Host::Participant(n) => self.participants[n].down,
            Host::Clients => 0,
        };
        match disk.struck() {
            None if self.stops_on_stage(host, &error.to_string()) => {}
            None => self.judge("integrity", Err(format!("{host:?}: {error}, and its disk is sound"))),
            Some(trouble) => {
                if !self.is_up(host) {
                    self.summary.nested += 1;
                    self.disk_struck(host, &[if host == Host::Coordinator { Step::Co10 } else { Step::Kv7 }]);
                }
                let power = match trouble {
                    Trouble::Kill | Trouble::Full | Trouble::Lie => None,
                    Trouble::PowerLoss(loss) | Trouble::Error(loss) => Some(loss),
                };
                self.bury(host, power, down);
            }
        }
    }

    /// Counts what a disk did, at its steps.
    pub(super) fn disk_struck(&mut self, host: Host, steps: &[Step]) {
        let kind = match self.disk(host).and_then(|disk| disk.struck()) {
            Some(Trouble::Kill) => Kind::Kill,
            Some(Trouble::PowerLoss(_)) => Kind::Power,
            Some(Trouble::Error(_) | Trouble::Full) => Kind::Disk,
            Some(Trouble::Lie) | None => return,
        };
        self.hit_all(steps, kind);
    }

    /// What the clients of a coordinator that dies or stops are in the middle of.
    fn hit_clients(&mut self, kind: Kind) {
        let open = |session: &crate::clients::Session| session.xid.is_some() && !session.over;
        let (mut begun, mut sent, mut asked) = (false, false, false);
        for (_, wanted) in self.ledger.iter().filter(|(_, wanted)| !wanted.is_known()) {
            match &wanted.session {
                Some(session) if open(session) => begun = true,
                Some(_) | None if wanted.cancelled => asked = true,
                Some(_) | None => sent = true,
            }
        }
        for (step, _) in
            [(Step::Lib1, begun), (Step::Lib2, sent), (Step::Lib3, asked)].into_iter().filter(|(_, is)| *is)
        {
            self.hit(step, kind);
        }
    }

    pub(super) fn bury(&mut self, host: Host, power: Option<Loss>, down: u64) {
        match host {
            Host::Coordinator => {
                self.hit_clients(Kind::Kill);
                self.coordinator.forget();
                for n in 0..self.participants.len() {
                    let node = &mut self.participants[n];
                    node.dialled = false;
                    if node.connection.take().is_some() {
                        self.participate(n, p::Input::CoordinatorLost { log: LOG });
                    }
                }
            }
            Host::Participant(n) => {
                self.participants[n].forget();
                if let Some(connection) = self.participants[n].connection {
                    let after = self.dice.below(20_000);
                    self.at(after, Event::Break(n, connection));
                }
            }
            Host::Clients => return,
        }
        if let (Some(loss), Some(disk)) = (power, self.disk(host)) {
            disk.lose(loss);
        }
        let after = if self.healed.is_some() { 0 } else { down };
        self.at(after, Event::Start(host));
    }

    /// The end of all faults: everybody is up, nothing is lost or late any more.
    pub(super) fn heal(&mut self) {
        self.healed = Some(self.now);
        self.doubts = self.oracles.binding_votes.open().collect();
        self.say(|| "all faults are over".to_owned());
        let idle = std::mem::take(&mut self.strikes).into_iter().map(|(_, step, _)| step);
        self.summary.idle = idle.chain(self.network.awaited.iter().map(|(step, _)| *step)).collect();
        self.network = Network::default();
        self.clear_stage();
        for host in self.hosts() {
            if let Some(disk) = self.disk(host) {
                disk.unplan();
            }
            match host {
                Host::Coordinator => {
                    let node = &mut self.coordinator;
                    (node.paused_until, node.slow_until, node.dies_in, node.dies_at) = (0, 0, None, None);
                    (node.room_back, node.down) = (Some(0), 0);
                }
                Host::Participant(n) => {
                    let node = &mut self.participants[n];
                    (node.paused_until, node.slow_until, node.dies_in, node.dies_at) = (0, 0, None, None);
                    (node.room_back, node.down) = (Some(0), 0);
                    // Connections that have lost something are dropped when a call on them has waited too long.
                    if let Some(connection) = node.connection {
                        self.at(0, Event::Break(n, connection));
                    }
                }
                Host::Clients => {}
            }
            self.at(0, Event::RoomBack(host));
            self.at(0, Event::Start(host));
        }
        let open: Vec<_> = self.ledger.iter().map(|(key, _)| *key).collect();
        for key in open {
            self.at(0, Event::AskDue(key));
        }
    }
}
