//! Step 5: the keyed hash of every identifier, and the subject of every row. Behind this door no clear identifier exists.

use crate::model::identifier::IdentifierType;
use crate::model::pseudonym::{Epoch, Pseudonym, write_text};
use crate::model::span::Span;
use crate::transform::batch::RowHead;
use crate::transform::hash::{base64url16, hmac128_column};
use crate::transform::identify::Identifiers;
use crate::transform::rules::{Rules, TenantRules};

/// The pseudonyms of all rows. Shape: those of row `r` are `all[first[r]..first[r + 1]]`, in the order of [`Identifiers`].
pub struct Pseudonyms {
    all: Vec<(IdentifierType, Pseudonym)>,
    first: Vec<u32>,
    epochs: Vec<Epoch>,
}

impl Pseudonyms {
    /// All pseudonyms of a row.
    #[must_use]
    pub fn of_row(&self, row: usize) -> &[(IdentifierType, Pseudonym)] {
        &self.all[self.first[row] as usize..self.first[row + 1] as usize]
    }

    /// Those that name a person or device.
    pub fn subjects(&self, row: usize) -> impl Iterator<Item = &(IdentifierType, Pseudonym)> {
        self.of_row(row).iter().take_while(|(kind, _)| *kind != IdentifierType::EventId)
    }

    /// The first one of a type.
    #[must_use]
    pub fn find(&self, row: usize, kind: IdentifierType) -> Option<Pseudonym> {
        self.of_row(row).iter().find(|(k, _)| *k == kind).map(|(_, p)| *p)
    }

    /// The key generation of a row.
    #[must_use]
    pub fn epoch(&self, row: usize) -> Epoch {
        self.epochs[row]
    }

    /// Forgets what `wanted` does not want.
    pub fn keep(&mut self, wanted: impl Fn(usize, IdentifierType) -> bool) {
        let mut kept = Vec::with_capacity(self.all.len());
        for row in 0..self.epochs.len() {
            let range = self.first[row] as usize..self.first[row + 1] as usize;
            self.first[row] = kept.len() as u32;
            kept.extend(self.all[range].iter().filter(|(kind, _)| wanted(row, *kind)));
        }
        if let Some(end) = self.first.last_mut() {
            *end = kept.len() as u32;
        }
        self.all = kept;
    }

    /// Appends the row's subject: the first identifier in the tenant's order; else `-` and the event id's pseudonym, so that anonymous
    /// events spread over the partitions and no two are one subject.
    pub fn write_subject(&self, row: usize, tenant: &TenantRules, anonymous: bool, out: &mut Vec<u8>) {
        let named = tenant.subject_order.iter().find_map(|kind| self.find(row, *kind)).filter(|_| !anonymous);
        match named {
            Some(p) => write_text(self.epochs[row], &base64url16(&p.0), out),
            None => {
                out.push(b'-');
                self.write(row, IdentifierType::EventId, out);
            }
        }
    }

    /// Appends the pseudonym of a type as text. Returns whether there is one.
    pub fn write(&self, row: usize, kind: IdentifierType, out: &mut Vec<u8>) -> bool {
        self.find(row, kind).map(|p| write_text(self.epochs[row], &base64url16(&p.0), out)).is_some()
    }
}

/// Consumes the identifiers and returns their pseudonyms.
///
/// Shape: n rows in, n out. The key is the tenant's of the epoch in force at the row's receipt.
#[must_use]
pub fn pseudonymise(identifiers: Identifiers, heads: &[RowHead], rules: &Rules) -> Pseudonyms {
    let mut first = Vec::with_capacity(heads.len() + 1);
    let mut epochs = Vec::with_capacity(heads.len());
    let mut keys = Vec::with_capacity(heads.len());
    for (row, head) in heads.iter().enumerate() {
        let tenant = &rules.tenants[usize::from(head.tenant)];
        let key = tenant.key_at(head.received_at_ms);
        first.push(identifiers.of_row(row).start as u32);
        epochs.push(tenant.keys[key].epoch);
        keys.push((head.tenant, key));
    }
    first.push(identifiers.all.len() as u32);
    let mut all = Vec::with_capacity(identifiers.all.len());
    let (mut inputs, mut digests): (Vec<Span>, Vec<[u8; 16]>) = (Vec::new(), Vec::new());
    // Rows under one key are hashed in one go: a batch of one tenant is a single run.
    let mut row = 0;
    while row < heads.len() {
        let end = row + keys[row..].iter().take_while(|k| **k == keys[row]).count();
        let (tenant, key) = keys[row];
        let range = first[row] as usize..first[end] as usize;
        inputs.clear();
        inputs.extend(identifiers.all[range.clone()].iter().map(|i| i.input));
        hmac128_column(&rules.tenants[usize::from(tenant)].keys[key].key, &identifiers.arena, &inputs, &mut digests);
        all.extend(identifiers.all[range].iter().zip(&digests).map(|(i, d)| (i.kind, Pseudonym(*d))));
        row = end;
    }
    Pseudonyms { all, first, epochs }
}
