//! Damage to closed files: a bit that flips, a page that is an old one again. Whatever is damaged, a start finds it and
//! refuses, or finds exactly what was there: never less, never something else (A9).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use handfast_common::ids::Incarnation;
use handfast_common::messages::{AskValues, Select, ValuePage};
use handfast_common::storage::{Kind as Role, Space, SpaceOptions, StorageError, Store};
use handfast_coordinator::log::{DecisionLog, Recovered as LogFound, RedbLog};
use handfast_coordinator::protocol::Record;
use handfast_participant::kv::inline::InlineStore;
use handfast_participant::protocol::Recovered;

use crate::dice::Dice;
use crate::disk::{Content, Disk};
use crate::matrix::{Cells, Kind, Step};
use crate::plan::Host;
use crate::world::{STORE, World};

/// What damaging came to.
#[derive(Clone, Default, Debug)]
pub struct Rotted {
    /// Damages that a start refused.
    pub refused: u64,
    /// Damages that changed nothing of what is found: pages that are free, versions that were replaced.
    pub harmless: u64,
    /// What was hit of the matrix.
    pub cells: Cells,
}

/// Runs a world, stops it, and damages each of its files so many times.
///
/// # Errors
/// A damaged store that opened with other content.
pub fn rot(world: World, seed: u64, times: u64) -> Result<Rotted, String> {
    let mut rotted = Rotted::default();
    let mut dice = Dice::apart(seed, 0x0000_2070);
    let disks = world.run_to_disks().map_err(|violation| violation.to_string())?;
    for (host, half, content) in disks {
        let sound =
            open(host, content.clone()).map_err(|error| format!("{host:?} is sound and is refused: {error}"))?;
        for _ in 0..times {
            let (damaged, how) = damage(&mut dice, &half, &content);
            sound.hit(&mut rotted.cells);
            match open(host, damaged) {
                Err(_) => rotted.refused += 1,
                Ok(found) if found == sound => rotted.harmless += 1,
                Ok(_) => {
                    return Err(format!(
                        "seed {seed}: {how} in the file of {host:?} passes, and changes what is found"
                    ));
                }
            }
        }
    }
    Ok(rotted)
}

/// What a start finds.
#[derive(PartialEq, Debug)]
enum Found {
    Coordinator(LogFound),
    Participant(Recovered, ValuePage),
}

impl Found {
    /// What the file was in the middle of.
    fn hit(&self, cells: &mut Cells) {
        match self {
            Self::Coordinator(found) => {
                cells.hit(Step::Co10, Kind::Rot);
                let any = |wanted: fn(&Record) -> bool| found.records.iter().any(|(_, record)| wanted(record));
                if any(|record| matches!(record, Record::Commit(_))) {
                    cells.hit(Step::Co5, Kind::Rot);
                    cells.hit(Step::Co11, Kind::Rot);
                }
                if any(|record| matches!(record, Record::End { .. })) {
                    cells.hit(Step::Co9, Kind::Rot);
                }
            }
            Self::Participant(found, _) => {
                cells.hit(Step::Kv7, Kind::Rot);
                if !found.prepared.is_empty() {
                    cells.hit(Step::Kv2, Kind::Rot);
                    cells.hit(Step::Kv4, Kind::Rot);
                }
                if !found.done.is_empty() {
                    cells.hit(Step::Kv5, Kind::Rot);
                }
            }
        }
    }
}

fn damage(dice: &mut Dice, half: &Content, content: &Content) -> (Content, String) {
    let mut damaged = content.clone();
    if dice.one_in(10) {
        let bit = dice.index(damaged.hint.len() * 8);
        damaged.hint[bit / 8] ^= 1 << (bit % 8);
        return (damaged, format!("bit {bit} of the head hint"));
    }
    if dice.one_in(3) {
        let page = dice.index(damaged.file.pages());
        damaged.file.bring_back(&half.file, page);
        return (damaged, format!("page {page} as it was before"));
    }
    let offset = dice.below(damaged.file.len());
    let bit = u8::try_from(dice.below(8)).unwrap_or(0);
    damaged.file.flip(offset, bit);
    (damaged, format!("bit {bit} of byte {offset}"))
}

fn open(host: Host, content: Content) -> Result<Found, StorageError> {
    let disk = Disk::with(content);
    let name = match host {
        Host::Participant(n) => format!("p{n}"),
        Host::Coordinator | Host::Clients => "coordinator".to_owned(),
    };
    let role = if matches!(host, Host::Participant(_)) { Role::Participant } else { Role::Coordinator };
    let store = Store::open_over(disk.clone(), Some(disk.hint()), &name, (role, &name), STORE)?;
    if role == Role::Coordinator {
        return RedbLog::over(store).read_all().map(Found::Coordinator);
    }
    let levels = SpaceOptions { reserve: 0, critical: 0, ballast: 0, every: Duration::ZERO };
    let space = Space::with_probe(Path::new("/nowhere/at/all"), levels, Box::new(|| Ok(1 << 30)))?;
    let store = InlineStore::open(store, Arc::new(space), Incarnation(1))?;
    let values = store.values(&AskValues { select: Select::Prefix(String::new()), after: None })?;
    Ok(Found::Participant(store.recovered().clone(), values))
}
