//! The number of an AWS account.

use std::fmt;
use std::str::FromStr;

use super::Wrong;
use super::host::is_number;

/// The number of an account, which is written with 12 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account(u64);

impl Account {
    /// Stands for every account in a registry that is made from a region alone; no account has this number.
    pub const ANY: Self = Self(0);
}

impl FromStr for Account {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let number = text.parse().ok().filter(|_| text.len() == 12 && is_number(text));
        number.map(Self).ok_or_else(|| Wrong(format!("the account '{text}' does not have 12 digits")))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}
