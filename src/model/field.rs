//! The schema's fields: the only names that may stand in a quarantine record or a metric label.

/// A field of the raw event. The first [`Field::TEXT_COUNT`] hold text and are columns of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)] // the names are the schema's own; `name` and schemas/raw_event say what each holds
pub enum Field {
    EventId,
    EventName,
    Tenant,
    Email,
    Phone,
    PhoneCountry,
    FirstName,
    LastName,
    Gender,
    DateOfBirth,
    Street,
    City,
    State,
    Zip,
    Country,
    ExternalId,
    ClientId,
    SessionId,
    GaClientId,
    Fbp,
    Fbc,
    Ttp,
    Ttclid,
    Gclid,
    Wbraid,
    Gbraid,
    Dclid,
    Fbclid,
    Fingerprint,
    Ip,
    UserAgent,
    Url,
    Referrer,
    Currency,
    OrderId,
    ActionSource,
    ConsentVersion,
    FeedbackText,
    FeedbackChannel,
    FeedbackLanguage,
    FeedbackSurveyId,
    FeedbackQuestionId,
    FeedbackAuthor,
    Body,
    // From here on: not text columns.
    Kind,
    EventTime,
    User,
    Ids,
    Value,
    Items,
    Payout,
    Cost,
    Quantity,
    Consent,
    ConsentAnswer,
    ConsentGivenAt,
    Feedback,
    FeedbackRating,
    FeedbackNps,
    FeedbackCsat,
    Custom,
    Unknown,
}

impl Field {
    /// How many fields are text columns.
    pub const TEXT_COUNT: usize = Field::Body as usize + 1;
    /// How many fields there are.
    pub const COUNT: usize = Field::Unknown as usize + 1;

    /// Every text column, in the order of the numbers.
    pub const TEXTS: [Field; Field::TEXT_COUNT] = [
        Field::EventId,
        Field::EventName,
        Field::Tenant,
        Field::Email,
        Field::Phone,
        Field::PhoneCountry,
        Field::FirstName,
        Field::LastName,
        Field::Gender,
        Field::DateOfBirth,
        Field::Street,
        Field::City,
        Field::State,
        Field::Zip,
        Field::Country,
        Field::ExternalId,
        Field::ClientId,
        Field::SessionId,
        Field::GaClientId,
        Field::Fbp,
        Field::Fbc,
        Field::Ttp,
        Field::Ttclid,
        Field::Gclid,
        Field::Wbraid,
        Field::Gbraid,
        Field::Dclid,
        Field::Fbclid,
        Field::Fingerprint,
        Field::Ip,
        Field::UserAgent,
        Field::Url,
        Field::Referrer,
        Field::Currency,
        Field::OrderId,
        Field::ActionSource,
        Field::ConsentVersion,
        Field::FeedbackText,
        Field::FeedbackChannel,
        Field::FeedbackLanguage,
        Field::FeedbackSurveyId,
        Field::FeedbackQuestionId,
        Field::FeedbackAuthor,
        Field::Body,
    ];

    /// Schema names, in the order of the numbers.
    pub const NAMES: [&'static str; Field::COUNT] = [
        "event_id",
        "event_name",
        "tenant",
        "user.email",
        "user.phone",
        "user.phone_country",
        "user.first_name",
        "user.last_name",
        "user.gender",
        "user.date_of_birth",
        "user.street",
        "user.city",
        "user.state",
        "user.zip",
        "user.country",
        "user.external_id",
        "ids.client_id",
        "ids.session_id",
        "ids.ga_client_id",
        "ids.fbp",
        "ids.fbc",
        "ids.ttp",
        "ids.ttclid",
        "ids.gclid",
        "ids.wbraid",
        "ids.gbraid",
        "ids.dclid",
        "ids.fbclid",
        "ids.fingerprint",
        "ip",
        "user_agent",
        "url",
        "referrer",
        "currency",
        "order_id",
        "action_source",
        "consent.version",
        "feedback.text",
        "feedback.channel",
        "feedback.language",
        "feedback.survey_id",
        "feedback.question_id",
        "feedback.author",
        "body",
        "kind",
        "event_time",
        "user",
        "ids",
        "value",
        "items",
        "payout",
        "cost",
        "quantity",
        "consent",
        "consent.answer",
        "consent.given_at",
        "feedback",
        "feedback.rating",
        "feedback.nps",
        "feedback.csat",
        "custom",
        "unknown",
    ];

    /// The schema's name, with the object it stands in.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_where_their_numbers_are() {
        assert_eq!(Field::EventId.name(), "event_id");
        assert_eq!(Field::ExternalId.name(), "user.external_id");
        assert_eq!(Field::Fingerprint.name(), "ids.fingerprint");
        assert_eq!(Field::Body.name(), "body");
        assert_eq!(Field::EventTime.name(), "event_time");
        assert_eq!(Field::Unknown.name(), "unknown");
        let mut names = Field::NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Field::COUNT);
    }

    #[test]
    fn every_text_column_stands_at_its_number() {
        assert!(Field::TEXTS.iter().enumerate().all(|(i, f)| *f as usize == i));
    }
}
