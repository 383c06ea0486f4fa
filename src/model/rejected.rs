//! Rows that are not written as asked: why, where, and never what.

use crate::model::field::Field;

/// Why a row was quarantined. A closed set: the code is the quarantine record's `reason` and the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// Not one well-formed object: not JSON, invalid UTF-8, too deep, torn Avro.
    Malformed,
    /// Larger than 1 MiB.
    TooLarge,
    /// A required field is absent.
    MissingField,
    /// A required field has the wrong type or a bad value.
    BadField,
    /// The event time cannot be read.
    BadTime,
    /// The event is dated further ahead than the tolerance.
    FutureTime,
    /// The payload names another tenant than the topic's.
    TenantMismatch,
    /// Avro written with a schema that is not known.
    UnknownSchema,
    /// The text speaks of a special category of personal data.
    SpecialCategory,
    /// An output record would be larger than its topic takes.
    EncodeTooLarge,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Reason; 10] = [
        Reason::Malformed,
        Reason::TooLarge,
        Reason::MissingField,
        Reason::BadField,
        Reason::BadTime,
        Reason::FutureTime,
        Reason::TenantMismatch,
        Reason::UnknownSchema,
        Reason::SpecialCategory,
        Reason::EncodeTooLarge,
    ];

    /// The stable code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::TooLarge => "too_large",
            Reason::MissingField => "missing_field",
            Reason::BadField => "bad_field",
            Reason::BadTime => "bad_time",
            Reason::FutureTime => "future_time",
            Reason::TenantMismatch => "tenant_mismatch",
            Reason::UnknownSchema => "unknown_schema",
            Reason::SpecialCategory => "special_category",
            Reason::EncodeTooLarge => "encode_too_large",
        }
    }
}

/// Why a row was gated: kept out on purpose. A closed set, the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Gate {
    /// No valid consent for any purpose that the row could serve.
    Consent,
    /// The tenant keeps no category that the row belongs to.
    CategoryOff,
    /// An erasure covers the row.
    Erased,
    /// The subject objected, or the tenant is being terminated.
    Restricted,
    /// Only destinations could have got it, and none takes it: below the minimum, too old, or not a mapped event.
    Destination,
    /// Consent was withdrawn after it was given.
    Withdrawn,
    /// Consent was given once and has run out: the person may be asked again.
    ConsentExpired,
}

impl Gate {
    /// Every gate, in the order of their numbers.
    pub const ALL: [Gate; 7] =
        [Gate::Consent, Gate::CategoryOff, Gate::Erased, Gate::Restricted, Gate::Destination, Gate::Withdrawn, Gate::ConsentExpired];

    /// The stable code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Gate::Consent => "consent",
            Gate::CategoryOff => "category_off",
            Gate::Erased => "erased",
            Gate::Restricted => "restricted",
            Gate::Destination => "destination",
            Gate::Withdrawn => "withdrawn",
            Gate::ConsentExpired => "consent_expired",
        }
    }
}

/// A row that goes to quarantine. Shape: the row's place in its batch, why, and the schema's name of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Index of the row in the batch.
    pub row: u32,
    /// Why.
    pub reason: Reason,
    /// Which field of the schema, where one is to blame.
    pub field: Option<Field>,
}
