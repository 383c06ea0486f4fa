//! Identifiers: what a person or device is known by, before and after pseudonymisation.

use serde::{Deserialize, Serialize};

/// The type of an identifier or of another id that is pseudonymised. Its name goes into the HMAC, so that equal values of two types differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum IdentifierType {
    /// The tenant's own id of a person.
    ExternalId,
    /// E-mail address (normalised by destinations.md 1.7).
    Email,
    /// Phone number (E.164).
    Phone,
    /// First-party client id.
    ClientId,
    /// Client id of the Google tag.
    GaClientId,
    /// `_fbp` cookie.
    Fbp,
    /// `_fbc` cookie, or the Facebook click id.
    Fbc,
    /// `_ttp` cookie.
    Ttp,
    /// Device fingerprint.
    Fingerprint,
    /// Event id: not an identifier of a person by design, yet in the wild often one.
    EventId,
    /// Session id.
    SessionId,
    /// Order id.
    OrderId,
    /// The author named by a feedback.
    Author,
}

impl IdentifierType {
    /// The types that name a person or device, in the order in which records list them.
    pub const SUBJECTS: [IdentifierType; 9] = [
        IdentifierType::ExternalId,
        IdentifierType::Email,
        IdentifierType::Phone,
        IdentifierType::ClientId,
        IdentifierType::GaClientId,
        IdentifierType::Fbp,
        IdentifierType::Fbc,
        IdentifierType::Ttp,
        IdentifierType::Fingerprint,
    ];

    /// The name in the HMAC, in config and in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            IdentifierType::ExternalId => "external_id",
            IdentifierType::Email => "email",
            IdentifierType::Phone => "phone",
            IdentifierType::ClientId => "client_id",
            IdentifierType::GaClientId => "ga_client_id",
            IdentifierType::Fbp => "fbp",
            IdentifierType::Fbc => "fbc",
            IdentifierType::Ttp => "ttp",
            IdentifierType::Fingerprint => "fingerprint",
            IdentifierType::EventId => "event_id",
            IdentifierType::SessionId => "session_id",
            IdentifierType::OrderId => "order_id",
            IdentifierType::Author => "author",
        }
    }
}
