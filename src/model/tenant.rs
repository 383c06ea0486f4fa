//! The tenant: the controller whose people the records are about.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A tenant's id: `[a-z0-9][a-z0-9-]{0,62}`, never `lethe`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(String);

impl TenantId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> String {
        id.0
    }
}

impl TryFrom<String> for TenantId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if text.is_empty() || text.len() > 63 || text.starts_with('-') || !text.bytes().all(valid) {
            return Err("a tenant id is 1 to 63 of a-z, 0-9 and '-', not beginning with '-'".into());
        }
        if text == "lethe" {
            return Err("the tenant id `lethe` is reserved".into());
        }
        Ok(TenantId(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for good in ["acme", "a", "0-9", &"x".repeat(63)] {
            assert!(TenantId::try_from(good.to_string()).is_ok(), "{good}");
        }
        for bad in ["", "-a", "Acme", "a.b", "a_b", "lethe", "é", &"x".repeat(64)] {
            assert!(TenantId::try_from(bad.to_string()).is_err(), "{bad}");
        }
    }
}
