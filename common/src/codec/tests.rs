//! Round trips, and that no bytes at all make the codec panic.

use proptest::prelude::*;

use super::*;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum Sample {
    Unit,
    Numbers { a: u8, b: u64, c: i64, d: u128 },
    List(#[serde(deserialize_with = "bounded::<_, _, 4>")] Vec<Option<String>>),
    Set(#[serde(deserialize_with = "bounded_set::<_, _, 4>")] BTreeSet<u32>),
    Map(#[serde(deserialize_with = "bounded_map::<_, _, _, 4>")] BTreeMap<u16, bool>),
    Text(#[serde(deserialize_with = "bounded_text::<_, 8>")] String),
    Bytes(#[serde(with = "bytes")] Vec<u8>),
    Time(std::time::Duration),
}

fn sample() -> impl Strategy<Value = Sample> {
    let list = prop::collection::vec(prop::option::of(".{0,9}".prop_map(String::from)), 0..=4);
    prop_oneof![
        Just(Sample::Unit),
        any::<(u8, u64, i64, u128)>().prop_map(|(a, b, c, d)| Sample::Numbers { a, b, c, d }),
        list.prop_map(Sample::List),
        prop::collection::btree_set(any::<u32>(), 0..=4).prop_map(Sample::Set),
        prop::collection::btree_map(any::<u16>(), any::<bool>(), 0..=4).prop_map(Sample::Map),
        "[a-z]{0,8}".prop_map(Sample::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Sample::Bytes),
        any::<std::time::Duration>().prop_map(Sample::Time),
    ]
}

proptest! {
    #[test]
    fn what_was_encoded_reads_back(value in sample()) {
        let bytes = encode(&value).unwrap();
        prop_assert_eq!(decode::<Sample>(&bytes), Ok(value));
    }

    #[test]
    fn no_bytes_panic_and_what_decodes_is_stable(tail in prop::collection::vec(any::<u8>(), 0..200), versioned in any::<bool>()) {
        let mut bytes = if versioned { vec![VERSION] } else { Vec::new() };
        bytes.extend(tail);
        if let Ok(value) = decode::<Sample>(&bytes) {
            prop_assert_eq!(decode::<Sample>(&encode(&value).unwrap()), Ok(value));
        }
    }

    #[test]
    fn a_changed_or_cut_encoding_never_panics(value in sample(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let bytes = encode(&value).unwrap();
        let at = at.index(bytes.len());
        prop_assert!(decode::<Sample>(&bytes[..at]).is_err());
        let mut changed = bytes;
        changed[at] ^= 1 << bit;
        let _ = decode::<Sample>(&changed);
    }
}

#[test]
fn version_trailing_and_emptiness_are_told_apart() {
    assert_eq!(decode::<u8>(&[]), Err(CodecError::Empty));
    assert_eq!(decode::<u8>(&[9, 1]), Err(CodecError::Version { found: 9 }));
    assert_eq!(decode::<u8>(&[VERSION, 1, 2, 3]), Err(CodecError::Trailing { left: 2 }));
    assert!(matches!(decode::<u8>(&[VERSION]), Err(CodecError::Malformed(_))));
    assert!(matches!(decode::<Sample>(&[VERSION, 77]), Err(CodecError::Malformed(_))), "an unknown variant");
}

#[test]
fn the_size_limit_holds_both_ways_and_what_may_be_sent_may_be_read() {
    // The worst ratio between bincode's counting and the wire: one byte counts as sixteen.
    let small_numbers = vec![1_u128; MAX_ENCODED_BYTES - 6];
    let bytes = encode(&small_numbers).unwrap();
    assert_eq!(decode::<Vec<u128>>(&bytes).unwrap().len(), small_numbers.len());
    assert_eq!(encode(&vec![0_u8; MAX_ENCODED_BYTES]), Err(CodecError::TooLarge));
    assert_eq!(decode::<Vec<u8>>(&vec![VERSION; MAX_ENCODED_BYTES + 1]), Err(CodecError::TooLarge));
}

#[test]
fn counts_are_bounded_before_anything_is_allocated() {
    let five: Vec<Option<String>> = vec![None; 5];
    let mut bytes = encode(&Sample::List(five)).unwrap();
    assert!(matches!(decode::<Sample>(&bytes), Err(CodecError::Malformed(_))));
    // The same with a length of 2^60 and nothing behind it.
    bytes.truncate(2);
    bytes.push(253);
    bytes.extend((1_u64 << 60).to_le_bytes());
    assert_eq!(decode::<Sample>(&bytes), Err(CodecError::Malformed("OtherString(\"more than 4\")".into())));
    assert!(decode::<Sample>(&encode(&Sample::Text("nine byte".into())).unwrap()).is_err());
    assert!(decode::<Vec<u8>>(&[&[VERSION, 253][..], &[0xFF; 8]].concat()).is_err());
}

#[test]
fn keys_and_elements_given_twice_are_refused() {
    // Variant, count, then the same element twice.
    assert!(matches!(decode::<Sample>(&[VERSION, 3, 2, 7, 7]), Err(CodecError::Malformed(_))));
    assert!(matches!(decode::<Sample>(&[VERSION, 4, 2, 7, 0, 7, 1]), Err(CodecError::Malformed(_))));
    assert_eq!(decode::<Sample>(&[VERSION, 4, 2, 7, 0, 8, 1]), Ok(Sample::Map([(7, false), (8, true)].into())));
}

#[test]
fn bytes_pass_through_json_too() {
    let value = Sample::Bytes(vec![0, 255]);
    let text = serde_json::to_string(&value).unwrap();
    assert_eq!(text, r#"{"Bytes":[0,255]}"#);
    assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), value);
}
