//! A ledger without a prepare of its own: it can reserve an addition, make it, or take it back.
//!
//! On its disk: `value.KEY`, and `tried.PIECE` with the work while it is reserved.

use std::collections::BTreeMap;

use handfast_common::codec;
use handfast_common::outcome::{Payload, Reason, ReasonKind};
use serde::{Deserialize, Serialize};

use crate::logged::testing::Disk;
use crate::logged::{Branch, Piece, Tried, TryConfirmCancel};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum LedgerWork {
    Add(BTreeMap<String, i64>),
    Read(String),
    Refused,
}

pub(super) struct Ledger(Disk);

impl LedgerWork {
    pub(super) fn encode(&self) -> Payload {
        Payload(codec::encode(self).unwrap())
    }

    fn keys(&self) -> Vec<&str> {
        match self {
            Self::Add(changes) => changes.keys().map(String::as_str).collect(),
            Self::Read(key) => vec![key],
            Self::Refused => Vec::new(),
        }
    }
}

impl Ledger {
    pub(super) fn on(disk: Disk) -> Self {
        Self(disk)
    }

    pub(super) fn value(&self, key: &str) -> i64 {
        read(&self.0.rows(), key)
    }

    /// What is reserved, with whose it is.
    fn tried(&self) -> Vec<(String, LedgerWork)> {
        let rows = self.0.rows();
        let tried = rows.iter().filter_map(|(row, work)| Some((row.strip_prefix("tried.")?, work)));
        tried.map(|(piece, work)| (piece.to_owned(), codec::decode(work).unwrap())).collect()
    }
}

fn read(rows: &BTreeMap<String, Vec<u8>>, key: &str) -> i64 {
    rows.get(&format!("value.{key}")).map_or(0, |value| codec::decode(value).unwrap())
}

/// All pieces of a branch begin so.
fn branch_of(piece: &str) -> &str {
    piece.rsplit_once('.').unwrap().0
}

impl TryConfirmCancel for Ledger {
    async fn try_work(&self, piece: &Piece) -> Result<Tried, Reason> {
        let work: LedgerWork = codec::decode(&piece.work.0).unwrap();
        let (id, tried) = (piece.id(), self.tried());
        let mut others = tried.iter().filter(|(other, _)| branch_of(other) != branch_of(&id));
        let wanted = work.keys();
        if others.any(|(_, theirs)| theirs.keys().iter().any(|key| wanted.contains(key))) {
            return Err(Reason::new(ReasonKind::Conflict, "it is reserved"));
        }
        // Somewhere in the middle, so that others come between.
        self.0.change_rows(|rows| drop(rows.insert(format!("tried.{id}"), piece.work.0.clone())));
        tokio::task::yield_now().await;
        match work {
            LedgerWork::Add(_) => Ok(Tried::changed(Payload(vec![1]))),
            LedgerWork::Read(key) => {
                let own = tried.iter().filter(|(other, _)| branch_of(other) == branch_of(&id));
                let own: i64 = own
                    .filter_map(|(_, work)| match work {
                        LedgerWork::Add(changes) => changes.get(&key),
                        LedgerWork::Read(_) | LedgerWork::Refused => None,
                    })
                    .sum();
                Ok(Tried::read(Payload(codec::encode(&(self.value(&key) + own)).unwrap())))
            }
            LedgerWork::Refused => Err(Reason::new(ReasonKind::CheckFailed, "it always is")),
        }
    }

    async fn confirm(&self, branch: &Branch) -> Result<(), String> {
        self.0.change_rows(|rows| {
            for piece in &branch.pieces {
                // What is not there was confirmed before.
                let Some(work) = rows.remove(&format!("tried.{piece}")) else { continue };
                let LedgerWork::Add(changes) = codec::decode(&work).unwrap() else { continue };
                for (key, amount) in changes {
                    let value = read(rows, &key) + amount;
                    rows.insert(format!("value.{key}"), codec::encode(&value).unwrap());
                }
            }
        });
        Ok(())
    }

    async fn cancel(&self, branch: &Branch) -> Result<(), String> {
        self.0.change_rows(|rows| {
            for piece in &branch.pieces {
                rows.remove(&format!("tried.{piece}"));
            }
        });
        Ok(())
    }
}
