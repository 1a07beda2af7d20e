//! Input lines: JSON transactions, or transfers as CSV.

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

use handfast_client::Transaction;
use handfast_common::ids::{Key, Name, Ticket};
use handfast_common::operation::{Add, Operation};

/// A transaction as a line asks for it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) transaction: Transaction,
    /// Given by the line itself.
    pub(super) key: Option<Key>,
    pub(super) ticket: Option<Ticket>,
    pub(super) participants: Vec<Name>,
    /// The line as it stands in the input.
    pub(super) text: String,
}

/// Reads a JSON line.
pub(super) fn json(line: &str) -> Result<Asked, String> {
    let parsed: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let ticket = parsed.ticket.as_deref().map(str::parse::<Ticket>).transpose().map_err(|error| error.to_string())?;
    if ticket.is_some() && parsed.key.is_none() {
        return Err("a ticket without its key".to_owned());
    }
    let branches = parsed.branches.into_iter().map(|branch| (branch.participant, branch.ops)).collect();
    asked(line, branches, parsed.key.map(Key), ticket)
}

/// Where the columns of a CSV file of transfers are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    from: usize,
    to: usize,
    amount: usize,
    key: Option<usize>,
    count: usize,
}

impl Columns {
    /// Reads the header `from,to,amount[,key]`, in any order.
    pub(super) fn read(header: &str) -> Result<Self, String> {
        let names = fields(header)?;
        let find = |name: &str| names.iter().position(|found| found == name);
        let wrong = || format!("the header is '{header}' instead of from,to,amount[,key]");
        if let Some(odd) = names.iter().find(|name| !["from", "to", "amount", "key"].contains(&name.as_str())) {
            return Err(format!("{}: there is no column '{odd}'", wrong()));
        }
        let twice = |name: &&String| names.iter().filter(|other| other == name).count() > 1;
        if let Some(name) = names.iter().find(twice) {
            return Err(format!("{}: '{name}' stands there twice", wrong()));
        }
        let column = |name| find(name).ok_or_else(wrong);
        let columns = Self {
            from: column("from")?,
            to: column("to")?,
            amount: column("amount")?,
            key: find("key"),
            count: names.len(),
        };
        Ok(columns)
    }

    /// Reads a transfer: a debit that leaves at least 0, and a credit.
    pub(super) fn transfer(self, line: &str) -> Result<Asked, String> {
        let values = fields(line)?;
        if values.len() > self.count {
            return Err(format!("{} fields, the header has {}", values.len(), self.count));
        }
        let value = |at: usize| values.get(at).map(String::as_str).ok_or("a column is missing");
        let amount = value(self.amount)?;
        let amount: i64 = amount
            .parse()
            .ok()
            .filter(|amount| *amount > 0)
            .ok_or_else(|| format!("the amount '{amount}' is no positive integer"))?;
        let key = self.key.map(value).transpose()?.filter(|key| !key.is_empty());
        let key = key.map(Uuid::try_parse).transpose().map_err(|_| "the key is not a UUID")?;
        let mut branches: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
        for (account, delta, min) in [(value(self.from)?, -amount, Some(0)), (value(self.to)?, amount, None)] {
            let (participant, key) =
                account.split_once('/').ok_or_else(|| format!("'{account}' is not participant/key"))?;
            let add = Operation::Add(Add { key: key.to_owned(), delta, min, max: None });
            branches.entry(participant.to_owned()).or_default().push(add);
        }
        asked(line, branches.into_iter().collect(), key.map(Key), None)
    }
}

fn asked(
    text: &str,
    branches: Vec<(String, Vec<Operation>)>,
    key: Option<Key>,
    ticket: Option<Ticket>,
) -> Result<Asked, String> {
    let names: Result<Vec<Name>, _> = branches.iter().map(|(name, _)| Name::new(name.clone())).collect();
    let participants = names.map_err(|error| error.to_string())?;
    let transaction = branches
        .into_iter()
        .fold(Transaction::new(), |transaction, (participant, operations)| transaction.branch(participant, operations));
    transaction.check()?;
    Ok(Asked { transaction, key, ticket, participants, text: text.trim().to_owned() })
}

fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).flexible(true).from_reader(line.as_bytes());
    let record = reader.records().next().ok_or("an empty line")?.map_err(|error| error.to_string())?;
    Ok(record.iter().map(str::to_owned).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: Option<Uuid>,
    ticket: Option<String>,
    branches: Vec<Branch>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Branch {
    participant: String,
    ops: Vec<Operation>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_is_a_transaction() {
        let line = r#"{"branches":[{"participant":"bank-a","ops":[{"add":{"key":"alice","delta":-100,"min":0}}]},
            {"participant":"bank-b","ops":[{"add":{"key":"bob","delta":100}}]}]}"#;
        let asked = json(line).unwrap();
        assert_eq!(asked.participants.len(), 2);
        assert!(asked.key.is_none());
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        for (line, why) in [
            ("nonsense", "expected"),
            (r#"{"branches":[]}"#, "branch"),
            (r#"{"branches":[{"participant":"a","ops":[{"add":{"key":"k","delta":"x"}}]}]}"#, "i64"),
            (r#"{"branches":[{"participant":"a b","ops":[{"get":{"key":"k"}}]}]}"#, "name"),
            (r#"{"key":"x","branches":[]}"#, "UUID"),
            (r#"{"brunches":[]}"#, "brunches"),
            (
                r#"{"branches":[{"participant":"a","ops":[{"get":{"key":"k"}}]},{"participant":"a","ops":[{"get":{"key":"l"}}]}]}"#,
                "twice",
            ),
        ] {
            let error = json(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn a_transfer_is_a_debit_that_leaves_at_least_nothing_and_a_credit() {
        let columns = Columns::read("from,to,amount").unwrap();
        let asked = columns.transfer("a/x, b/y, 5").unwrap();
        assert_eq!(asked.participants.len(), 2);
        // Both accounts at one participant: one branch.
        assert_eq!(columns.transfer("a/x,a/y,5").unwrap().participants.len(), 1);
        for bad in ["a/x,b/y", "a/x,b/y,1,extra", "a/x,b/y,0", "a/x,b/y,-1", "a/x,b/y,x", "x,b/y,1"] {
            assert!(columns.transfer(bad).is_err(), "{bad}");
        }
        assert!(Columns::read("from,to").is_err());
        assert!(Columns::read("from,to,amount,colour").is_err());
        assert!(Columns::read("from,to,amount,amount").is_err());
    }
}
