//! Fingerprints of parts of a state, the same in every build.
//!
//! Explanations are left out: they are written for people, and no decision is made by them. "No vote in time from: p0, p2"
//! would make eight states of one.

use std::hash::{Hash, Hasher};

/// The shortest text that is taken for an explanation; names and payloads of the model are shorter.
const EXPLANATION: usize = 5;
/// Identities and digests are arrays of these lengths.
const IDENTITY: usize = 16;
const DIGEST: usize = 32;

/// The fingerprint of `value`.
pub(crate) fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = Folded(0x243F_6A88_85A3_08D3);
    value.hash(&mut hasher);
    hasher.finish()
}

/// Multiply and fold, as in wyhash (Wang Yi 2019).
struct Folded(u64);

impl Folded {
    fn add(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9E37_79B9_7F4A_7C15;
        // What was there before stays in it: a product of zero must not swallow it.
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ self.0.rotate_left(23);
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        if bytes.len() >= EXPLANATION && bytes.len() != IDENTITY && bytes.len() != DIGEST {
            return;
        }
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.add(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.add(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.add(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.add(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.add(n as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
