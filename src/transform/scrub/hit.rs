//! The kinds of personal data that the scrub finds, and their counts.

/// Kinds of personal data found in free text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
#[repr(u8)]
pub enum Hit {
    /// An email address, also spelled out (`name (at) example dot com`).
    Email,
    /// A phone number, international or in a national format.
    Phone,
    /// A payment card number: 13 to 19 digits, Luhn.
    Card,
    /// An international bank account number (ISO 13616, mod 97).
    Iban,
    /// An IP address, v4 or v6.
    Ip,
    /// A URL that carries a query, a user or a personal profile.
    Url,
    /// A US social security number.
    Ssn,
    /// Another national identity, tax or insurance number with a checksum, or the number of a passport or licence where the words before it say so.
    NationalId,
    /// `@somebody`.
    Handle,
    /// A person's name, behind a title, an introduction, a greeting or a farewell; or a known value of the row, of no more precise kind.
    Name,
    /// A known value of the row: the first name.
    FirstName,
    /// A known value of the row: the last name.
    LastName,
    /// A known value of the row: street and number.
    Street,
    /// A known value of the row: the town.
    City,
    /// A known value of the row: the tenant's own id of the person.
    ExternalId,
    /// A known value of the row: the date of birth, as it came.
    DateOfBirth,
    /// The address of a crypto wallet.
    Crypto,
    /// A bank account's number, or a sort code, where the words before it say so.
    BankAccount,
}

impl Hit {
    /// Every kind, in order.
    pub const ALL: [Hit; 18] = [
        Hit::Email,
        Hit::Phone,
        Hit::Card,
        Hit::Iban,
        Hit::Ip,
        Hit::Url,
        Hit::Ssn,
        Hit::NationalId,
        Hit::Handle,
        Hit::Name,
        Hit::FirstName,
        Hit::LastName,
        Hit::Street,
        Hit::City,
        Hit::ExternalId,
        Hit::DateOfBirth,
        Hit::Crypto,
        Hit::BankAccount,
    ];

    /// What stands in the text in place of the value.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Hit::Email => "[email]",
            Hit::Phone => "[phone]",
            Hit::Card => "[card]",
            Hit::Iban => "[iban]",
            Hit::Ip => "[ip]",
            Hit::Url => "[url]",
            Hit::Ssn => "[ssn]",
            Hit::NationalId => "[national_id]",
            Hit::Handle => "[handle]",
            Hit::Name => "[name]",
            Hit::FirstName => "[first_name]",
            Hit::LastName => "[last_name]",
            Hit::Street => "[street]",
            Hit::City => "[city]",
            Hit::ExternalId => "[external_id]",
            Hit::DateOfBirth => "[date_of_birth]",
            Hit::Crypto => "[crypto]",
            Hit::BankAccount => "[bank_account]",
        }
    }

    /// The tag without its brackets: the name in configs and metric labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.tag().trim_matches(['[', ']'])
    }
}

/// How many hits of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HitCounts([u32; Hit::ALL.len()]);

impl HitCounts {
    /// Hits of one kind.
    #[must_use]
    pub fn get(&self, hit: Hit) -> u32 {
        self.0[hit as usize]
    }

    /// Hits of all kinds together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|n| u64::from(*n)).sum()
    }

    /// The kinds met, with their counts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Hit, u32)> + '_ {
        Hit::ALL.iter().map(|hit| (*hit, self.get(*hit))).filter(|(_, n)| *n > 0)
    }

    /// Adds the counts of another text.
    pub fn merge(&mut self, other: &HitCounts) {
        for (n, more) in self.0.iter_mut().zip(other.0) {
            *n = n.saturating_add(more);
        }
    }

    pub(super) fn add(&mut self, hit: Hit) {
        self.0[hit as usize] = self.0[hit as usize].saturating_add(1);
    }
}

/// Where tags already stand in the text: they are never scrubbed again. Shape: (start, end), in order.
pub(super) fn tags_in(text: &str) -> Vec<(usize, usize)> {
    memchr::memchr_iter(b'[', text.as_bytes())
        .filter_map(|at| {
            let rest = &text[at..];
            Hit::ALL.iter().find(|hit| rest.starts_with(hit.tag())).map(|hit| (at, at + hit.tag().len()))
        })
        .collect()
}
