//! The frame around every stored value.
//!
//! ```text
//! version (1) | transaction id (16) | payload | crc32, little endian (4)
//! ```
//! The checksum covers all of it *and* the table and key it stands under: a sound record in a wrong place is damage
//! too, which redb's page checksums can't tell. Unreadable is never read as absent.

use uuid::Uuid;

/// Frame version that this release writes, and the highest it reads.
pub const RECORD_VERSION: u8 = 1;
/// Bytes that a frame adds to a payload.
pub const FRAME_OVERHEAD: usize = HEADER + CHECKSUM;

const HEADER: usize = 1 + 16;
const CHECKSUM: usize = 4;

/// A frame that was found sound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// The transaction it belongs to; nil where there is none.
    pub txn: Uuid,
    /// What the caller stored.
    pub payload: &'a [u8],
    /// Its checksum: tables add these up, so that a record exchanged for another one is noticed.
    pub checksum: u32,
}

/// Why bytes are not the frame that belongs at this place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// Not even an empty payload fits.
    #[error("{0} bytes are too short for a record")]
    TooShort(usize),
    /// Bytes, table or key differ from what was written.
    #[error("checksum {stored:08x} does not match its content and place ({computed:08x})")]
    Checksum {
        /// What the frame says.
        stored: u32,
        /// What its bytes, table and key give.
        computed: u32,
    },
    /// Sound, but of a newer release.
    #[error("record version {0} is newer than {RECORD_VERSION}")]
    Version(u8),
}

/// Frames `payload` for `key` of `table`.
#[must_use]
pub fn frame(table: &str, key: &[u8], txn: Uuid, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + FRAME_OVERHEAD);
    bytes.push(RECORD_VERSION);
    bytes.extend_from_slice(txn.as_bytes());
    bytes.extend_from_slice(payload);
    let checksum = checksum(table, key, &bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Checks the frame stored under `key` of `table` and takes it apart.
///
/// # Errors
/// [`FrameError`]; the checksum is looked at first, so a changed version byte is a wrong checksum.
pub fn unframe<'a>(table: &str, key: &[u8], bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
    let too_short = FrameError::TooShort(bytes.len());
    if bytes.len() < FRAME_OVERHEAD {
        return Err(too_short);
    }
    let (body, stored) = bytes.split_last_chunk::<CHECKSUM>().ok_or(too_short)?;
    let stored = u32::from_le_bytes(*stored);
    let computed = checksum(table, key, body);
    if stored != computed {
        return Err(FrameError::Checksum { stored, computed });
    }
    let (&version, rest) = body.split_first().ok_or(too_short)?;
    if version != RECORD_VERSION {
        return Err(FrameError::Version(version));
    }
    let (txn, payload) = rest.split_first_chunk::<16>().ok_or(too_short)?;
    Ok(Frame { txn: Uuid::from_bytes(*txn), payload, checksum: stored })
}

/// Lengths go in as well, so that no two (table, key) pairs give the same bytes.
fn checksum(table: &str, key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(table.len() as u64).to_le_bytes());
    hasher.update(table.as_bytes());
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TXN: Uuid = Uuid::from_u128(0x0102_0304);

    #[test]
    fn a_frame_gives_back_what_went_in() {
        for payload in [&b""[..], b"x", &[7; 5_000]] {
            let bytes = frame("decisions", &9u64.to_be_bytes(), TXN, payload);
            assert_eq!(bytes.len(), payload.len() + FRAME_OVERHEAD);
            let found = unframe("decisions", &9u64.to_be_bytes(), &bytes).unwrap();
            assert_eq!((found.txn, found.payload), (TXN, payload));
        }
    }

    #[test]
    fn f09_every_flipped_bit_and_every_length_is_noticed() {
        let bytes = frame("t", b"key", TXN, b"payload");
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(unframe("t", b"key", &flipped).is_err(), "bit {at}");
        }
        for len in 0..bytes.len() {
            assert!(unframe("t", b"key", &bytes[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn f09_a_record_under_a_wrong_key_or_table_is_damage() {
        let bytes = frame("ab", b"c", TXN, b"payload");
        for (table, key) in [("ab", &b"d"[..]), ("ac", b"c"), ("a", b"bc"), ("abc", b"")] {
            assert!(matches!(unframe(table, key, &bytes), Err(FrameError::Checksum { .. })), "{table} {key:?}");
        }
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut body = vec![RECORD_VERSION + 1];
        body.extend_from_slice(TXN.as_bytes());
        let sum = checksum("t", b"k", &body);
        body.extend_from_slice(&sum.to_le_bytes());
        assert_eq!(unframe("t", b"k", &body), Err(FrameError::Version(2)));
    }
}
