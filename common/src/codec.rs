//! The one binary codec: what goes into a frame or a record passes here, and nothing else names the library under it.
//!
//! Layout: one version byte, then bincode 2 (little endian, variable-length integers) of the value through serde.
//!
//! A size limit alone does not make decoding safe, so types that are decoded follow three rules, each for what breaks
//! without it:
//! - every collection says how many elements it may have ([`bounded`] and its sisters): one byte of input may make an
//!   element of hundreds of bytes in memory;
//! - no zero-sized elements: a count of 2^60 of them fits any limit and is a loop without end (a `const` assertion in
//!   [`bounded`] refuses to compile it);
//! - no recursive types: nesting costs stack, which no limit here counts.
//!
//! Never use serde's `skip_serializing_if`, `flatten`, `untagged` or `tag` on such types: the format carries no field
//! names, and the value would read back as another one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::marker::PhantomData;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::limits::MAX_FRAME_BYTES;

/// Largest encoded value, its version byte included: a frame less 4 KiB for the frame's own fields. Checked when
/// encoding and before decoding.
pub const MAX_ENCODED_BYTES: usize = MAX_FRAME_BYTES - (4 << 10);

/// The first byte of every encoded value.
const VERSION: u8 = 1;

/// What bincode may claim while decoding. It counts the size in memory, not on the wire: an integer of one byte counts
/// as up to sixteen. A limit equal to [`MAX_ENCODED_BYTES`] would refuse values that the other side could encode.
const CLAIM_LIMIT: usize = 16 * MAX_ENCODED_BYTES;

const CONFIG: Configuration<LittleEndian, Varint, Limit<CLAIM_LIMIT>> =
    bincode::config::standard().with_little_endian().with_variable_int_encoding().with_limit::<CLAIM_LIMIT>();

/// Why a value could not be encoded or bytes not be decoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    /// Encoded, it would be (or the bytes given are) larger than [`MAX_ENCODED_BYTES`].
    #[error("larger than {MAX_ENCODED_BYTES} bytes")]
    TooLarge,
    /// No bytes at all, not even the version.
    #[error("empty")]
    Empty,
    /// Written by another version of this codec.
    #[error("codec version {found}, this side knows {VERSION}")]
    Version {
        /// The first byte.
        found: u8,
    },
    /// A value was read and bytes are left: the writer meant something else.
    #[error("{left} bytes too many")]
    Trailing {
        /// How many are left.
        left: usize,
    },
    /// The bytes are no value of this type, or one beyond its bounds.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The value has no binary form (a sequence of unknown length, for instance), or the writer under it failed.
    #[error("can't be encoded: {0}")]
    Unencodable(String),
}

/// Encodes a value into fresh bytes.
///
/// # Errors
/// [`CodecError::TooLarge`] or [`CodecError::Unencodable`].
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(128);
    encode_into(value, &mut out)?;
    Ok(out)
}

/// Encodes a value behind what `out` holds already, without a copy in between; returns how many bytes it took.
///
/// # Errors
/// [`CodecError::TooLarge`] or [`CodecError::Unencodable`]. `out` then holds a part of the value: whoever goes on
/// using it cuts it back to where it was.
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut impl Write) -> Result<usize, CodecError> {
    let mut capped = Capped { out, left: MAX_ENCODED_BYTES, full: false };
    let done = capped.write(&[VERSION]).and_then(|()| bincode::serde::encode_into_writer(value, &mut capped, CONFIG));
    match done {
        Ok(()) => Ok(MAX_ENCODED_BYTES - capped.left),
        Err(_) if capped.full => Err(CodecError::TooLarge),
        Err(error) => Err(CodecError::Unencodable(shortened(error))),
    }
}

/// Decodes exactly one value from exactly these bytes. Safe on anything an attacker sends, if `T` follows the rules of
/// this module.
///
/// # Errors
/// Every [`CodecError`] but [`CodecError::Unencodable`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > MAX_ENCODED_BYTES {
        return Err(CodecError::TooLarge);
    }
    let (&version, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if version != VERSION {
        return Err(CodecError::Version { found: version });
    }
    let (value, read) =
        bincode::serde::decode_from_slice(body, CONFIG).map_err(|error| CodecError::Malformed(shortened(error)))?;
    match body.len() - read {
        0 => Ok(value),
        left => Err(CodecError::Trailing { left }),
    }
}

/// A list of at most `N` elements: `#[serde(deserialize_with = "codec::bounded::<_, _, 64>")]`.
///
/// # Errors
/// The deserializer's, also when there are more: noticed before anything is allocated for them.
pub fn bounded<'de, D, T, const N: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    const { assert!(size_of::<T>() > 0, "zero-sized elements decode without end") };
    deserializer.deserialize_seq(Bounded::<Vec<T>, N>(PhantomData))
}

/// A set of at most `N` elements, none given twice: `#[serde(deserialize_with = "codec::bounded_set::<_, _, 64>")]`.
///
/// # Errors
/// The deserializer's, also when there are more or one comes twice.
pub fn bounded_set<'de, D, T, const N: usize>(deserializer: D) -> Result<BTreeSet<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Ord,
{
    const { assert!(size_of::<T>() > 0, "zero-sized elements decode without end") };
    deserializer.deserialize_seq(Bounded::<BTreeSet<T>, N>(PhantomData))
}

/// A map of at most `N` entries, no key given twice:
/// `#[serde(deserialize_with = "codec::bounded_map::<_, _, _, 64>")]`.
///
/// # Errors
/// The deserializer's, also when there are more or a key comes twice.
pub fn bounded_map<'de, D, K, V, const N: usize>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    const { assert!(size_of::<(K, V)>() > 0, "zero-sized elements decode without end") };
    deserializer.deserialize_map(Bounded::<BTreeMap<K, V>, N>(PhantomData))
}

/// A text of at most `N` bytes: `#[serde(deserialize_with = "codec::bounded_text::<_, 256>")]`.
///
/// # Errors
/// The deserializer's, also when it is longer.
pub fn bounded_text<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > N { Err(D::Error::custom(too_many(N))) } else { Ok(text) }
}

/// Bytes written as one piece: `#[serde(with = "codec::bytes")]`. A plain `Vec<u8>` passes serde byte by byte, which
/// for a payload of a megabyte is most of a call's time. Bounded by the size limit alone. In JSON, a list of numbers.
pub mod bytes {
    use std::fmt;

    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};

    use super::MAX_ENCODED_BYTES;

    /// Writes the bytes.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    /// Reads them back.
    ///
    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_byte_buf(Bytes)
    }

    struct Bytes;

    impl<'de> Visitor<'de> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_ENCODED_BYTES} bytes")
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<u8>, A::Error> {
            super::Bounded::<Vec<u8>, MAX_ENCODED_BYTES>(std::marker::PhantomData).visit_seq(seq)
        }
    }
}

/// Stops writing at the cap instead of measuring first: a value is walked once.
struct Capped<'a, W> {
    out: &'a mut W,
    left: usize,
    full: bool,
}

impl<W: Write> Writer for Capped<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        match self.left.checked_sub(bytes.len()) {
            Some(left) => self.left = left,
            None => {
                self.full = true;
                return Err(EncodeError::UnexpectedEnd);
            }
        }
        self.out.write_all(bytes).map_err(|inner| EncodeError::Io { inner, index: 0 })
    }
}

/// Visits a collection of at most `N` elements.
struct Bounded<C, const N: usize>(PhantomData<C>);

/// Most bytes set aside on the word of a length alone.
const MAX_RESERVED: usize = 64 << 10;

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Bounded<Vec<T>, N> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {N} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let announced = checked_count::<N, A::Error>(seq.size_hint())?;
        let mut list = Vec::with_capacity(announced.min(MAX_RESERVED / size_of::<T>().max(1)));
        while let Some(element) = seq.next_element()? {
            checked_count::<N, A::Error>(Some(list.len() + 1))?;
            list.push(element);
        }
        Ok(list)
    }
}

impl<'de, T: Deserialize<'de> + Ord, const N: usize> Visitor<'de> for Bounded<BTreeSet<T>, N> {
    type Value = BTreeSet<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a set of at most {N} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<BTreeSet<T>, A::Error> {
        checked_count::<N, A::Error>(seq.size_hint())?;
        let mut set = BTreeSet::new();
        while let Some(element) = seq.next_element()? {
            checked_count::<N, A::Error>(Some(set.len() + 1))?;
            if !set.insert(element) {
                return Err(A::Error::custom("an element given twice"));
            }
        }
        Ok(set)
    }
}

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, const N: usize> Visitor<'de> for Bounded<BTreeMap<K, V>, N> {
    type Value = BTreeMap<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map of at most {N} entries")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BTreeMap<K, V>, A::Error> {
        checked_count::<N, A::Error>(map.size_hint())?;
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            checked_count::<N, A::Error>(Some(entries.len() + 1))?;
            if entries.insert(key, value).is_some() {
                return Err(A::Error::custom("a key given twice"));
            }
        }
        Ok(entries)
    }
}

fn checked_count<const N: usize, E: serde::de::Error>(count: Option<usize>) -> Result<usize, E> {
    match count.unwrap_or(0) {
        count if count > N => Err(E::custom(too_many(N))),
        count => Ok(count),
    }
}

fn too_many(most: usize) -> String {
    format!("more than {most}")
}

/// An error's text may quote what was received; it goes to logs, so it is cut.
fn shortened(error: impl fmt::Debug) -> String {
    format!("{error:?}").chars().take(200).collect()
}

#[cfg(test)]
mod tests;
