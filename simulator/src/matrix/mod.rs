//! The matrix of faults: 40 steps of the protocol, 12 kinds of fault, 219 numbered cells, and how often each was hit.
//!
//! A cell is counted where its fault is injected, never where one only might have been.

mod drills;
mod elsewhere;

use std::collections::BTreeMap;
use std::fmt;

pub use drills::{drill, drilled};
pub use elsewhere::{ELSEWHERE, Elsewhere, OPEN, elsewhere, is_open};

/// A kind of fault, by its letter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// K: the process is killed.
    Kill,
    /// W: power loss; unsynced writes are lost, reordered, torn.
    Power,
    /// D: the disk says that it failed, or is full.
    Disk,
    /// B: bits rot, writes go elsewhere or are lost.
    Rot,
    /// N: a message is lost, a connection breaks.
    Lost,
    /// P: partition.
    Partition,
    /// R: delayed past timeouts, repeated, reordered.
    Reordered,
    /// S: slow or stopped.
    Slow,
    /// T: a clock jumps.
    Time,
    /// X: cancelled, or overloaded.
    Cancelled,
    /// V: identity, epoch, version, wiped state, second instance.
    Identity,
    /// H: hostile bytes or principal.
    Hostile,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Kill,
        Self::Power,
        Self::Disk,
        Self::Rot,
        Self::Lost,
        Self::Partition,
        Self::Reordered,
        Self::Slow,
        Self::Time,
        Self::Cancelled,
        Self::Identity,
        Self::Hostile,
    ];

    /// As it stands in the matrix.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Kill => 'K',
            Self::Power => 'W',
            Self::Disk => 'D',
            Self::Rot => 'B',
            Self::Lost => 'N',
            Self::Partition => 'P',
            Self::Reordered => 'R',
            Self::Slow => 'S',
            Self::Time => 'T',
            Self::Cancelled => 'X',
            Self::Identity => 'V',
            Self::Hostile => 'H',
        }
    }
}

/// A step of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Step {
    /// Begin / enlist / work.
    Lib1,
    /// `commit()` in flight.
    Lib2,
    /// Outcome query after `Unknown`, retry with the same key and ticket.
    Lib3,
    /// Boot: bump durable incarnation, allocate txn ids.
    Co1,
    /// Record enlistment (participant set).
    Co2,
    /// Send Prepare.
    Co3,
    /// Collect votes, prepare timeout.
    Co4,
    /// Decision record write + fsync.
    Co5,
    /// Reply to client.
    Co6,
    /// Send Commit/Abort.
    Co7,
    /// Collect acks, retry with backoff.
    Co8,
    /// END record, GC, retention, compaction.
    Co9,
    /// Recovery scan + re-drive.
    Co10,
    /// Answer participant inquiry (presumed abort).
    Co11,
    /// One-phase / read-only / single-participant shortcut.
    Co12,
    /// HA: leadership + decision log on etcd.
    Co13,
    /// Execute, stage writes, take locks.
    Kv1,
    /// Prepare record write + fsync.
    Kv2,
    /// Reply vote.
    Kv3,
    /// In-doubt wait.
    Kv4,
    /// Apply + done marker in one redb txn.
    Kv5,
    /// Ack.
    Kv6,
    /// Recovery: rebuild locks and in-doubt set.
    Kv7,
    /// Inquire coordinator.
    Kv8,
    /// `PREPARE TRANSACTION 'gid'`.
    Pg1,
    /// `COMMIT/ROLLBACK PREPARED`.
    Pg2,
    /// Scan pg_prepared_xacts.
    Pg3,
    /// Orphan: prepared, coordinator has no record.
    Pg4,
    /// `XA END` + `XA PREPARE`.
    My1,
    /// `XA COMMIT/ROLLBACK`.
    My2,
    /// `XA RECOVER` scan.
    My3,
    /// Same with log_bin on (kill between binlog and engine).
    My4,
    /// Heuristic commit/abort of a branch.
    Op1,
    /// Forget.
    Op2,
    /// Restore coordinator log from older backup.
    Op3,
    /// Rolling upgrade / downgrade, mixed versions.
    Op4,
    /// Certificate rotation / reload.
    Op5,
    /// Accept + TLS handshake.
    Srv1,
    /// Frame + decode.
    Srv2,
    /// Drain / graceful stop.
    Srv3,
}

/// The steps with their cells, as numbered.
pub const MATRIX: [(Step, &str, &str); 40] = [
    (Step::Lib1, "lib1", "K1 N2 P3 R4 S5 X6 V7 H8"),
    (Step::Lib2, "lib2", "K9 N10 P11 R12 S13 X14"),
    (Step::Lib3, "lib3", "K15 N16 P17 R18 V19"),
    (Step::Co1, "co1", "K20 W21 D22 T23 V24"),
    (Step::Co2, "co2", "K25 W26 X27 V28"),
    (Step::Co3, "co3", "K29 N30 P31 R32 S33 T34 X35 V36"),
    (Step::Co4, "co4", "K37 N38 P39 R40 S41 T42 X43 V44"),
    (Step::Co5, "co5", "K45 W46 D47 B48 S49 X50 V51"),
    (Step::Co6, "co6", "K52 N53 P54 R55 S56 X57"),
    (Step::Co7, "co7", "K58 N59 P60 R61 S62 X63 V64"),
    (Step::Co8, "co8", "K65 N66 P67 R68 S69 T70 X71"),
    (Step::Co9, "co9", "K72 W73 D74 B75 T76 V77"),
    (Step::Co10, "co10", "K78 W79 D80 B81 N82 P83 S84 T85 X86 V87"),
    (Step::Co11, "co11", "K88 B89 N90 P91 R92 X93 V94"),
    (Step::Co12, "co12", "K95 N96 P97 R98 X99"),
    (Step::Co13, "co13", "K100 N101 P102 R103 S104 T105 V106"),
    (Step::Kv1, "kv1", "K107 W108 D109 S110 X111"),
    (Step::Kv2, "kv2", "K112 W113 D114 B115 S116 X117"),
    (Step::Kv3, "kv3", "K118 N119 P120 R121 S122 X123 V124"),
    (Step::Kv4, "kv4", "K125 W126 B127 N128 P129 S130 T131 V132"),
    (Step::Kv5, "kv5", "K133 W134 D135 B136 R137 X138"),
    (Step::Kv6, "kv6", "K139 N140 P141 R142 X143"),
    (Step::Kv7, "kv7", "K144 W145 D146 B147 N148 P149 X150 V151"),
    (Step::Kv8, "kv8", "N152 P153 R154 S155 V156 H157"),
    (Step::Pg1, "pg1", "K158 W159 N160 X161 S162 D163"),
    (Step::Pg2, "pg2", "K164 W165 N166 P167 R168 X169"),
    (Step::Pg3, "pg3", "K170 N171 V172 T173"),
    (Step::Pg4, "pg4", "K174 V175"),
    (Step::My1, "my1", "K176 W177 N178 X179 S180 D181"),
    (Step::My2, "my2", "K182 W183 N184 P185 R186 X187"),
    (Step::My3, "my3", "K188 N189 V190 T191"),
    (Step::My4, "my4", "K192 W193"),
    (Step::Op1, "op1", "K194 N195 R196 V197"),
    (Step::Op2, "op2", "K198 V199"),
    (Step::Op3, "op3", "K200 V201"),
    (Step::Op4, "op4", "K202 V203"),
    (Step::Op5, "op5", "K204 N205 V206 H207"),
    (Step::Srv1, "srv1", "N208 S209 X210 V211 H212"),
    (Step::Srv2, "srv2", "N213 X214 H215"),
    (Step::Srv3, "srv3", "K216 N217 S218 X219"),
];

/// How often each cell was hit.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Cells(BTreeMap<u16, u64>);

impl Cells {
    /// A fault was injected. Combinations that are no cell are not counted.
    pub fn hit(&mut self, step: Step, kind: Kind) {
        if let Some(cell) = cell(step, kind) {
            *self.0.entry(cell).or_default() += 1;
        }
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        for (cell, times) in &other.0 {
            *self.0.entry(*cell).or_default() += times;
        }
    }

    /// How often a cell was hit.
    #[must_use]
    pub fn times(&self, cell: u16) -> u64 {
        self.0.get(&cell).copied().unwrap_or_default()
    }

    /// How many cells were hit.
    #[must_use]
    pub fn covered(&self) -> usize {
        self.0.len()
    }

    /// All hits.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl Cells {
    /// Cells that are built and were not hit, neither here nor by a test over real sockets.
    #[must_use]
    pub fn missed(&self) -> Vec<u16> {
        let built = |cell: &u16| is_open(*cell).is_none() && elsewhere(*cell).is_none();
        (1..=219).filter(built).filter(|cell| self.times(*cell) == 0).collect()
    }
}

/// A table: one line per step, each cell with its count; `-` where it was not hit, `test` where a test over real sockets
/// hits it, `open` where there is nothing yet to be hit.
impl fmt::Display for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, name, cells) in MATRIX {
            write!(f, "{name:<5}")?;
            for cell in cells.split(' ') {
                let number = cell[1..].parse().unwrap_or(0);
                match (self.times(number), is_open(number), elsewhere(number)) {
                    (0, Some(_), _) => write!(f, " {cell}:open")?,
                    (0, None, Some(_)) => write!(f, " {cell}:test")?,
                    (0, None, None) => write!(f, " {cell}:-")?,
                    (times, ..) => write!(f, " {cell}:{times}")?,
                }
            }
            writeln!(f)?;
        }
        write!(f, "{} cells hit, {} faults", self.covered(), self.total())
    }
}

/// The number of a cell.
#[must_use]
pub fn cell(step: Step, kind: Kind) -> Option<u16> {
    let (_, _, cells) = MATRIX.iter().find(|(own, ..)| *own == step)?;
    cells.split(' ').find_map(|cell| cell.strip_prefix(kind.letter())?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_has_219_cells_numbered_in_order() {
        let numbers: Vec<u16> =
            MATRIX.iter().flat_map(|(.., cells)| cells.split(' ')).map(|cell| cell[1..].parse().unwrap()).collect();
        assert_eq!(numbers, (1..=219).collect::<Vec<u16>>());
        assert_eq!(cell(Step::Co5, Kind::Kill), Some(45));
        assert_eq!(cell(Step::Kv4, Kind::Time), Some(131));
        assert_eq!(cell(Step::Co5, Kind::Hostile), None);
    }
}
