//! Key material in memory: per tenant, a list of generations. Wiped on drop; no `Debug`, `Clone` or `Serialize`.

use crate::model::pseudonym::Epoch;
use crate::model::tenant::TenantId;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// One generation of a tenant's key.
pub struct KeyEntry {
    /// Its number.
    pub epoch: Epoch,
    /// In force for rows received from then on. Units: ms since the epoch.
    pub from_ms: i64,
    /// 32 random bytes; `None` once destroyed.
    pub key: Option<Zeroizing<[u8; 32]>>,
}

/// All tenants' keys. Shape: generations oldest first, numbered without a gap from 1.
#[derive(Default)]
pub struct Keyring {
    /// By tenant.
    pub tenants: BTreeMap<TenantId, Vec<KeyEntry>>,
}

impl Keyring {
    /// The newest generation of a tenant.
    #[must_use]
    pub fn newest(&self, tenant: &TenantId) -> Option<&KeyEntry> {
        self.tenants.get(tenant)?.last()
    }

    /// The newest generation of every tenant.
    #[must_use]
    pub fn epochs(&self) -> BTreeMap<TenantId, Epoch> {
        self.tenants.iter().filter_map(|(tenant, entries)| Some((tenant.clone(), entries.last()?.epoch))).collect()
    }

    /// The first of these generations that is missing here: a keyring of an old backup would write old pseudonyms again.
    #[must_use]
    pub fn lacks<'e>(&self, in_use: &'e BTreeMap<TenantId, Epoch>) -> Option<(&'e TenantId, Epoch)> {
        let missing = |(tenant, epoch): &(&TenantId, &Epoch)| self.newest(tenant).is_none_or(|newest| newest.epoch < **epoch);
        in_use.iter().find(missing).map(|(tenant, epoch)| (tenant, *epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_that_was_in_use_is_missed() {
        let tenant = |id: &str| TenantId::try_from(id.to_owned()).unwrap();
        let keyring = |acme: u16, zeta: u16| {
            let entries = |n| (1..=n).map(|epoch| KeyEntry { epoch: Epoch(epoch), from_ms: 0, key: None }).collect::<Vec<_>>();
            Keyring { tenants: [(tenant("acme"), entries(acme)), (tenant("zeta"), entries(zeta))].into() }
        };
        let in_use = keyring(2, 1).epochs();
        assert_eq!(keyring(2, 1).lacks(&in_use), None);
        assert_eq!(keyring(3, 2).lacks(&in_use), None);
        assert_eq!(keyring(1, 2).lacks(&in_use), Some((&tenant("acme"), Epoch(2))));
        assert_eq!(keyring(2, 0).lacks(&in_use), Some((&tenant("zeta"), Epoch(1))));
        assert_eq!(Keyring::default().lacks(&in_use), Some((&tenant("acme"), Epoch(2))));
    }
}
