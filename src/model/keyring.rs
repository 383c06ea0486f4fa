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
}
