//! Any value of any type that can be decoded: a deserializer that reads from dice instead of bytes.
//!
//! Every variant of every enum comes up, also those that are added later, and numbers and names are drawn from few, so
//! that what is said of one thing meets what was said before.

use std::collections::BTreeMap;

use handfast_common::ids::{LogId, StoreId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::de::value::{Error, U32Deserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use uuid::Uuid;

/// The log of the coordinator under test, where a test has one.
pub(crate) const LOG: LogId = LogId(Uuid::from_u128(1));
/// The store of the participant under test.
pub(crate) const STORE: StoreId = StoreId(Uuid::from_u128(2));

/// Most elements of a list.
const LONGEST: usize = 4;
const NAMES: [&str; 10] = ["p1", "p2", "p3", "coordinator", "host:1", "127.0.0.1:1", "k", "", "ünïcode", "a b\n"];

/// The dice, and what has been drawn and may be said again.
#[derive(Debug)]
pub(crate) struct Dice {
    random: StdRng,
    /// Identities that are in use: most that are drawn are one of them.
    pub(crate) known: Vec<Uuid>,
    /// The start that is the present one.
    pub(crate) era: u64,
    seed: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let known = (0..6).map(Uuid::from_u128).collect();
        Self { random: StdRng::seed_from_u64(seed), known, era: 0, seed }
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// The present start, or an earlier one now and then.
    pub(crate) fn era(&mut self) -> u64 {
        if self.one_in(6) { self.random.random_range(0..=self.era) } else { self.era }
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    /// Any value of a type. Some draws are refused by the type itself: a name has no line break.
    pub(crate) fn value<T: DeserializeOwned>(&mut self) -> T {
        for _ in 0..1_000 {
            if let Ok(value) = T::deserialize(Arbitrary(self)) {
                return value;
            }
        }
        panic!("no {} can be drawn", std::any::type_name::<T>());
    }

    pub(crate) fn bytes(&mut self, longest: usize) -> Vec<u8> {
        let length = self.below(longest + 1);
        (0..length).map(|_| self.random.random()).collect()
    }

    /// Changes bytes in one of the ways that bytes change.
    pub(crate) fn spoil(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return bytes.push(self.random.random());
        }
        let at = self.below(bytes.len());
        match self.below(5) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.random.random(),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, self.random.random()),
            _ => {
                let from = self.below(bytes.len());
                bytes[at] = bytes[from];
            }
        }
    }

    /// Few numbers, so that they meet, and those where arithmetic ends.
    pub(crate) fn number(&mut self) -> u64 {
        match self.below(12) {
            0 => u64::MAX,
            1 => u64::MAX - 1,
            2 => 1 << 63,
            3 => self.random.random(),
            4 => u64::from(u32::MAX),
            _ => self.below(4) as u64,
        }
    }

    fn text(&mut self) -> String {
        match self.below(20) {
            0 => "x".repeat(self.below(80)),
            _ => NAMES[self.below(NAMES.len())].to_owned(),
        }
    }

    fn identity(&mut self) -> [u8; 16] {
        let at = self.below(self.known.len());
        let known = self.known[at];
        if self.one_in(10) { self.random.random() } else { known.into_bytes() }
    }
}

impl Drop for Dice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again with HANDFAST_FUZZ_SEED={} HANDFAST_FUZZ_RUNS=1", self.seed);
        }
    }
}

/// Runs something with so many seeds; `HANDFAST_FUZZ_RUNS` and `HANDFAST_FUZZ_SEED` say how many, and which is first.
pub(crate) fn runs(otherwise: u64) -> impl Iterator<Item = Dice> {
    let first = handfast_tests::settings::setting("HANDFAST_FUZZ_SEED", 0);
    let runs = handfast_tests::settings::setting("HANDFAST_FUZZ_RUNS", otherwise);
    (first..first.saturating_add(runs)).map(Dice::new)
}

/// What a target came to: it says what it has tried, and can't pass without.
#[derive(Default)]
pub(crate) struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    pub(crate) fn add(&mut self, what: &'static str, more: u64) {
        *self.0.entry(what).or_default() += more;
    }

    /// Prints all of them, and looks whether those that must be there are, if there were as many runs as the gate has.
    pub(crate) fn check(&self, runs: u64, least: &[(&'static str, u64)]) {
        println!("{:?}", self.0);
        if handfast_tests::settings::setting("HANDFAST_FUZZ_RUNS", runs) >= runs {
            for (what, least) in least {
                assert!(self.0.get(what) >= Some(least), "{what}: less than {least} in {:?}", self.0);
            }
        }
    }
}

struct Arbitrary<'d>(&'d mut Dice);

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.0.number() as $type)
        })*
    };
}

impl<'de> Deserializer<'de> for Arbitrary<'_> {
    type Error = Error;

    numbers!(
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_u128 visit_u128 u128, deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128, deserialize_f32 visit_f32 f32, deserialize_f64 visit_f64 f64
    );

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("the binary form always says what comes"))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.0.one_in(2))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_char('c')
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.0.text())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.0.text())
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // Identities are what most byte strings of a fixed length are.
        if self.0.one_in(4) {
            visitor.visit_byte_buf(self.0.bytes(40))
        } else {
            visitor.visit_bytes(&self.0.identity())
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.one_in(2) { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let left = self.0.below(LONGEST);
        visitor.visit_seq(Elements { dice: self.0, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Elements { dice: self.0, left })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        left: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(Elements { dice: self.0, left })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let left = self.0.below(LONGEST);
        visitor.visit_map(Elements { dice: self.0, left })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(Elements { dice: self.0, left: fields.len() })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let index = self.0.below(variants.len()) as u32;
        visitor.visit_enum(Variant { dice: self.0, index })
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }
}

struct Elements<'d> {
    dice: &'d mut Dice,
    left: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(Arbitrary(self.dice)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Arbitrary(self.dice))
    }
}

struct Variant<'d> {
    dice: &'d mut Dice,
    index: u32,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let index: U32Deserializer<Error> = self.index.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(Arbitrary(self.dice))
    }

    fn tuple_variant<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Elements { dice: self.dice, left })
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Elements { dice: self.dice, left: fields.len() })
    }
}
