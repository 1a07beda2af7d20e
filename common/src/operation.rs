//! Operations of the embedded key-value store, their JSON forms, and what they read.

use serde::{Deserialize, Serialize};

use crate::limits::{MAX_KEY_BYTES, MAX_OPERATIONS, MAX_VALUE_BYTES};

/// A value: a 64-bit integer or a string of at most 64 KiB. JSON: a number or a string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Value {
    /// An integer; what `add` works on.
    Integer(i64),
    /// A string.
    Text(String),
}

/// One operation. JSON: `{"put":{"key":"k","value":V}}` and so on, as docs/formats.md lists.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Operation {
    /// Sets a key.
    Put(Put),
    /// Removes a key; removing an absent one is no error.
    Delete(OnKey),
    /// Reads a key, seeing the transaction's own writes.
    Get(OnKey),
    /// Adds to an integer; an absent key counts from 0.
    Add(Add),
    /// Votes No unless the key's value is as said.
    Check(Check),
}

/// Operand of [`Operation::Put`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// At most 1 KiB.
    pub key: String,
    /// What to set.
    pub value: Value,
}

/// Operand of [`Operation::Get`] and [`Operation::Delete`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnKey {
    /// At most 1 KiB.
    pub key: String,
}

/// Operand of [`Operation::Add`]. Overflow votes No, and so does a result outside `min..=max`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {
    /// At most 1 KiB.
    pub key: String,
    /// What to add; may be negative.
    pub delta: i64,
    /// Least allowed result.
    #[serde(default)]
    pub min: Option<i64>,
    /// Greatest allowed result.
    #[serde(default)]
    pub max: Option<i64>,
}

/// Operand of [`Operation::Check`]; at least one condition, all must hold.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// At most 1 KiB.
    pub key: String,
    /// The value is exactly this.
    #[serde(default)]
    pub equals: Option<Value>,
    /// The key has a value.
    #[serde(default)]
    pub exists: bool,
    /// The key has none.
    #[serde(default)]
    pub absent: bool,
    /// The value is an integer of at least this.
    #[serde(default)]
    pub min: Option<i64>,
    /// The value is an integer of at most this.
    #[serde(default)]
    pub max: Option<i64>,
}

/// One `get`'s answer, in the order of the `get`s.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Read {
    /// The key asked for.
    pub key: String,
    /// Its value; `None` when absent.
    pub value: Option<Value>,
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl Operation {
    /// The key it works on.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(put) => &put.key,
            Self::Delete(on) | Self::Get(on) => &on.key,
            Self::Add(add) => &add.key,
            Self::Check(check) => &check.key,
        }
    }

    /// Whether it can change the store.
    #[must_use]
    pub fn is_write(&self) -> bool {
        match self {
            Self::Put(_) | Self::Delete(_) | Self::Add(_) => true,
            Self::Get(_) | Self::Check(_) => false,
        }
    }

    /// Checks what can be checked without the store.
    ///
    /// # Errors
    /// One sentence saying what is wrong with it.
    pub fn validate(&self) -> Result<(), String> {
        let key = self.key();
        if key.is_empty() {
            return Err("a key may not be empty".into());
        }
        if key.len() > MAX_KEY_BYTES {
            return Err(format!("a key of {} bytes is over the limit of {MAX_KEY_BYTES}", key.len()));
        }
        match self {
            Self::Put(put) => validate_value(&put.value),
            Self::Check(check) => {
                if check == &(Check { key: check.key.clone(), ..Check::default() }) {
                    return Err(format!("the check of '{key}' has no condition"));
                }
                if check.absent
                    && (check.exists || check.equals.is_some() || check.min.is_some() || check.max.is_some())
                {
                    return Err(format!("the check of '{key}' can never hold: absent and more"));
                }
                check.equals.as_ref().map_or(Ok(()), validate_value)
            }
            Self::Delete(_) | Self::Get(_) | Self::Add(_) => Ok(()),
        }
    }
}

/// Checks the operations of one branch.
///
/// # Errors
/// One sentence saying which is wrong, and why.
pub fn validate(operations: &[Operation]) -> Result<(), String> {
    if operations.is_empty() {
        return Err("a branch without operations".into());
    }
    if operations.len() > MAX_OPERATIONS {
        return Err(format!("{} operations are over the limit of {MAX_OPERATIONS}", operations.len()));
    }
    operations.iter().try_for_each(Operation::validate)
}

fn validate_value(value: &Value) -> Result<(), String> {
    match value {
        Value::Text(text) if text.len() > MAX_VALUE_BYTES => {
            Err(format!("a value of {} bytes is over the limit of {MAX_VALUE_BYTES}", text.len()))
        }
        Value::Text(_) | Value::Integer(_) => Ok(()),
    }
}

/// In JSON a value is a bare number or string; in our binary form it is a tagged one (bincode can't tell otherwise).
#[derive(Serialize, Deserialize)]
enum TaggedValue {
    Integer(i64),
    Text(String),
}

impl Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (serializer.is_human_readable(), self) {
            (true, Self::Integer(n)) => serializer.serialize_i64(*n),
            (true, Self::Text(text)) => serializer.serialize_str(text),
            (false, Self::Integer(n)) => TaggedValue::Integer(*n).serialize(serializer),
            (false, Self::Text(text)) => TaggedValue::Text(text.clone()).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(BareValue);
        }
        Ok(match TaggedValue::deserialize(deserializer)? {
            TaggedValue::Integer(n) => Self::Integer(n),
            TaggedValue::Text(text) => Self::Text(text),
        })
    }
}

struct BareValue;

impl serde::de::Visitor<'_> for BareValue {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string or a 64-bit integer")
    }

    fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Integer(n))
    }

    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Value, E> {
        i64::try_from(n).map(Value::Integer).map_err(|_| E::custom("an integer beyond 64 bits with sign"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Operation, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn operations_have_the_documented_json_forms() {
        assert_eq!(
            parse(r#"{"put":{"key":"k","value":"v"}}"#).unwrap(),
            Operation::Put(Put { key: "k".into(), value: Value::Text("v".into()) })
        );
        assert_eq!(
            parse(r#"{"add":{"key":"k","delta":-5,"min":0}}"#).unwrap(),
            Operation::Add(Add { key: "k".into(), delta: -5, min: Some(0), max: None })
        );
        assert_eq!(
            parse(r#"{"check":{"key":"k","equals":7}}"#).unwrap(),
            Operation::Check(Check { key: "k".into(), equals: Some(Value::Integer(7)), ..Check::default() })
        );
    }

    #[test]
    fn what_is_no_operation_is_refused_with_a_reason() {
        for bad in [
            r#"{"put":{"key":"k"}}"#,
            r#"{"add":{"key":"k","delta":"1"}}"#,
            r#"{"add":{"key":"k","delta":1,"typo":1}}"#,
            r#"{"put":{"key":"k","value":1.5}}"#,
            r#"{"put":{"key":"k","value":18446744073709551615}}"#,
            r#"{"move":{"key":"k"}}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(Operation::Check(Check { key: "k".into(), ..Check::default() }).validate().is_err());
        assert!(Operation::Get(OnKey { key: "k".repeat(1025) }).validate().is_err());
        assert!(validate(&[]).is_err());
    }
}
