//! Clients: what they asked for, and what they were told.

use std::collections::BTreeMap;

use handfast_common::ids::{Age, Key, Name, Ticket};
use handfast_common::messages::{AskOutcome, BranchWork, Micros, Rejection, Submit, Told};
use handfast_common::outcome::Outcome;
use uuid::Uuid;

use super::dice::Dice;
use super::interactive::Interactive;
use super::wish::Wish;

/// What a client knows about its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// Nothing yet.
    Open,
    /// For good.
    Committed,
    /// For good.
    Aborted,
    /// It was kept for a while, and no longer.
    Forgotten,
    /// Never begun, as far as this client knows: its last copy was refused.
    Rejected,
}

/// One thing that a client wants done in one go.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its request, the same on every resend.
    pub request: Submit,
    /// What each participant is asked for.
    pub wishes: BTreeMap<Name, Wish>,
    /// What came of it.
    pub known: Known,
}

/// All clients.
#[derive(Clone, Default, Debug)]
pub struct Clients {
    /// By key.
    pub wanted: BTreeMap<Key, Wanted>,
    /// Those that work step by step, by key.
    pub interactive: BTreeMap<Key, Interactive>,
}

impl Clients {
    /// Draws a transaction over some of `names`.
    pub fn draw(&mut self, dice: &mut Dice, names: &[Name], ticket: Ticket) -> Key {
        let key = Key(Uuid::from_u128(1 + self.wanted.len() as u128));
        let mut wishes = BTreeMap::new();
        while wishes.is_empty() {
            for name in names {
                let wish = match dice.below(14) {
                    0..=5 => Wish::Write,
                    6 | 7 => Wish::Read,
                    8 => Wish::Refuse,
                    _ => continue,
                };
                wishes.insert(name.clone(), wish);
            }
        }
        let branches = wishes
            .iter()
            .map(|(name, wish)| BranchWork { participant: name.clone(), work: wish.payload(key) })
            .collect();
        let request = Submit { key, ticket, age: None, clock: Age(0), wait: Micros(5_000_000), branches };
        self.wanted.insert(key, Wanted { request, wishes, known: Known::Open });
        key
    }

    /// Draws an interactive one.
    pub fn draw_interactive(&mut self, dice: &mut Dice, names: &[Name], ticket: Ticket) -> Key {
        let key = Key(Uuid::from_u128(1_000_000 + self.interactive.len() as u128));
        self.interactive.insert(key, Interactive::draw(dice, names, key, ticket));
        key
    }

    /// What its client knows about a key.
    #[must_use]
    pub fn known(&self, key: Key) -> Known {
        self.wanted.get(&key).map_or_else(|| self.interactive[&key].known, |wanted| wanted.known)
    }

    /// The question for the outcome of a key.
    #[must_use]
    pub fn question(&self, key: Key) -> AskOutcome {
        let (ticket, participants) = match self.wanted.get(&key) {
            Some(wanted) => (wanted.request.ticket, wanted.wishes.keys().cloned().collect()),
            None => (self.interactive[&key].ticket, self.interactive[&key].names()),
        };
        AskOutcome { key, ticket: Some(ticket), participants }
    }

    /// An answer: what was told once stays (A2).
    pub fn hear(&mut self, key: Key, told: &Told) {
        let (known, only_read) = match (self.wanted.get_mut(&key), self.interactive.get_mut(&key)) {
            (Some(wanted), _) => {
                let only_read = wanted.wishes.len() > 1 && wanted.wishes.values().all(|wish| *wish == Wish::Read);
                (&mut wanted.known, only_read)
            }
            (None, Some(interactive)) => {
                let only_read = interactive.has_only_read();
                (&mut interactive.known, only_read)
            }
            (None, None) => return,
        };
        let now = match told {
            Told::Outcome { outcome: Outcome::Committed(_), .. } => Known::Committed,
            Told::Outcome { outcome: Outcome::Aborted(_), .. } => Known::Aborted,
            Told::Outcome { outcome: Outcome::Forgotten, .. } => Known::Forgotten,
            // It may be another copy that was refused: the others may have run.
            Told::Rejected(Rejection::Overloaded(_) | Rejection::UnknownParticipant { .. }) => Known::Rejected,
            Told::Pending { .. } => return,
            // To a rollback of what is not known any more: it says nothing.
            Told::Outcome { outcome: Outcome::NotFound, .. } if self.interactive.contains_key(&key) => return,
            other => panic!("{key} was told {other:?}"),
        };
        // What only read has no record; in a later epoch it may be answered Aborted, and the earlier
        // answer may arrive after that (t20).
        match (*known, now) {
            (Known::Committed, Known::Aborted) | (Known::Aborted, Known::Committed) if only_read => {
                if let Some(interactive) = self.interactive.get_mut(&key) {
                    interactive.flipped = true;
                }
            }
            (Known::Committed, Known::Aborted) | (Known::Aborted, Known::Committed) => {
                panic!("{key} was told {known:?}, and now {now:?}")
            }
            (Known::Open | Known::Rejected, now) => *known = now,
            (Known::Committed | Known::Aborted | Known::Forgotten, _) => {}
        }
    }
}
