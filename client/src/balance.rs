//! Which of several coordinators gets what is new.
//!
//! Only new keys are balanced: a key stays with the coordinator that it was first sent to. Whatever the policy, a
//! coordinator without a connection is passed over while another one has one, and dialled in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Error;

/// How new keys and new interactive transactions are spread over the coordinators of
/// [`Options::coordinators`](crate::Options::coordinators).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Balance {
    /// The first that can be reached, in the order given: the others are spares.
    #[default]
    InOrder,
    /// One after the other.
    RoundRobin,
    /// Drawn, all alike.
    Random,
    /// Drawn by weight, one for each address. One of weight 0 is a spare.
    Weighted(Vec<u32>),
    /// The one at which this client has the fewest transactions under way.
    LeastInFlight,
}

/// A policy with what it remembers.
#[derive(Debug)]
pub(crate) struct Balancer {
    balance: Balance,
    turn: AtomicUsize,
}

/// How many transactions are under way at one coordinator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load(Arc<AtomicUsize>);

/// One of them; dropped at its end.
#[derive(Debug)]
pub(crate) struct UnderWay(Load);

impl Balance {
    /// Checks it against the number of addresses.
    pub(crate) fn check(&self, addresses: usize) -> Result<(), Error> {
        let Self::Weighted(weights) = self else { return Ok(()) };
        if weights.len() != addresses {
            let why = format!("{} weights for {addresses} coordinators; there must be one for each", weights.len());
            return Err(Error::Invalid(why));
        }
        if weights.iter().all(|weight| *weight == 0) {
            return Err(Error::Invalid("all weights are 0".into()));
        }
        Ok(())
    }
}

impl Balancer {
    pub(crate) const fn new(balance: Balance) -> Self {
        Self { balance, turn: AtomicUsize::new(0) }
    }

    /// All places, the preferred one first. `load` tells how many transactions are under way at one.
    pub(crate) fn order(&self, places: usize, load: impl Fn(usize) -> usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..places).collect();
        if places < 2 {
            return order;
        }
        match &self.balance {
            Balance::InOrder => {}
            Balance::RoundRobin => order.rotate_left(self.turn.fetch_add(1, Ordering::Relaxed) % places),
            Balance::Random => shuffle(&mut order, |_| 1),
            Balance::Weighted(weights) => shuffle(&mut order, |place| weights[place]),
            Balance::LeastInFlight => {
                // Turned first: among equals it must not always be the same one.
                order.rotate_left(self.turn.fetch_add(1, Ordering::Relaxed) % places);
                order.sort_by_key(|place| load(*place));
            }
        }
        order
    }
}

/// Draws one after the other, by weight; those without weight come last, in their order.
fn shuffle(order: &mut [usize], weight: impl Fn(usize) -> u32) {
    for at in 0..order.len() {
        let left: u64 = order[at..].iter().map(|place| u64::from(weight(*place))).sum();
        if left == 0 {
            return order[at..].sort_unstable();
        }
        let mut drawn = rand::random_range(0..left);
        for other in at..order.len() {
            let weight = u64::from(weight(order[other]));
            if drawn < weight {
                order.swap(at, other);
                break;
            }
            drawn -= weight;
        }
    }
}

impl Load {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self) -> UnderWay {
        self.0.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firsts(balance: Balance, rounds: usize) -> [usize; 3] {
        let balancer = Balancer::new(balance);
        let mut firsts = [0; 3];
        for _ in 0..rounds {
            let order = balancer.order(3, |place| [5, 0, 9][place]);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2], "every place is there once");
            firsts[order[0]] += 1;
        }
        firsts
    }

    #[test]
    fn every_policy_prefers_whom_it_says() {
        assert_eq!(firsts(Balance::InOrder, 30), [30, 0, 0]);
        assert_eq!(firsts(Balance::RoundRobin, 30), [10, 10, 10]);
        assert_eq!(firsts(Balance::LeastInFlight, 30), [0, 30, 0]);
        assert!(firsts(Balance::Random, 600).iter().all(|count| (120..280).contains(count)));
        let [heavy, none, light] = firsts(Balance::Weighted(vec![3, 0, 1]), 800);
        assert!(none == 0 && (520..680).contains(&heavy) && heavy + light == 800, "{heavy} {light}");
    }

    #[test]
    fn equals_share_the_load_and_spares_come_last() {
        let balancer = Balancer::new(Balance::LeastInFlight);
        let firsts: Vec<usize> = (0..4).map(|_| balancer.order(2, |_| 7)[0]).collect();
        assert_eq!(firsts, [0, 1, 0, 1]);
        let weighted = Balancer::new(Balance::Weighted(vec![0, 0, 4]));
        assert_eq!(weighted.order(3, |_| 0), [2, 0, 1]);
    }

    #[test]
    fn what_is_under_way_is_counted_until_it_ends() {
        let load = Load::default();
        let (first, second) = (load.begin(), load.begin());
        assert_eq!(load.count(), 2);
        drop(first);
        drop(second);
        assert_eq!(load.count(), 0);
    }

    #[test]
    fn weights_that_do_not_fit_are_refused() {
        assert!(Balance::Weighted(vec![1, 2]).check(2).is_ok());
        assert!(matches!(Balance::Weighted(vec![1]).check(2), Err(Error::Invalid(_))));
        assert!(matches!(Balance::Weighted(vec![0, 0]).check(2), Err(Error::Invalid(_))));
        assert!(Balance::Random.check(5).is_ok());
    }
}
