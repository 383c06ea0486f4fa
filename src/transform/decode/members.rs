//! The schema's names: what each member of a raw event means, in JSON and in Avro alike.

use crate::model::consent::Purpose;
use crate::model::field::Field;
use crate::transform::batch::NumberField;

/// The names of an object's members, for looking them up without comparing texts: a name is a number, and the number says where it stands.
/// A `match` over the names cost a tenth of the line: their lengths come in an order that no processor foresees.
pub(super) struct Names<M: 'static> {
    /// Shape: a name's place is [`Names::place`] or, if that is taken, the next free one.
    places: [(MemberName, M); PLACES],
    unknown: M,
}

/// Almost three times as many as the largest object has names.
const PLACES: usize = 64;
/// An odd number by which every name has a place of its own, found by trying; any other would do, only slower.
const SPREAD: u64 = 0x8198_f9cc_9633_8789;

/// A name as a number: its bytes, the first one lowest, and its length in the highest byte. Shape: zero for no name at all; names that are too long
/// to be one of the schema's share one that is nobody's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct MemberName(u128);

impl MemberName {
    /// Longest name that is one. Units: bytes.
    const BYTES_MAX: usize = 15;
    /// All bits of so many bytes.
    const BYTES: [u128; Self::BYTES_MAX + 1] = {
        let (mut bytes, mut n) = ([0; Self::BYTES_MAX + 1], 1);
        while n < bytes.len() {
            bytes[n] = bytes[n - 1] << 8 | 0xff;
            n += 1;
        }
        bytes
    };

    /// The name that begins with the first of these bytes and has `len` of them.
    #[inline(always)]
    pub(super) const fn beginning(bytes: [u8; 16], len: usize) -> Self {
        if len > MemberName::BYTES_MAX {
            return MemberName(u128::MAX);
        }
        MemberName(u128::from_le_bytes(bytes) & Self::BYTES[len] | (len as u128) << 120)
    }

    /// The name as it stands.
    pub(super) const fn of(name: &[u8]) -> Self {
        let (mut bytes, mut at) = ([0; 16], 0);
        while at < name.len() && at < bytes.len() {
            bytes[at] = name[at];
            at += 1;
        }
        MemberName::beginning(bytes, name.len())
    }
}

impl<M: Copy> Names<M> {
    const fn new(names: &[(&str, M)], unknown: M) -> Self {
        let mut places = [(MemberName(0), unknown); PLACES];
        let mut n = 0;
        while n < names.len() {
            let name = MemberName::of(names[n].0.as_bytes());
            assert!(name.0 != u128::MAX, "too long for a name");
            let mut place = Self::place(name);
            while places[place].0.0 != 0 {
                place = (place + 1) % PLACES;
            }
            places[place] = (name, names[n].1);
            n += 1;
        }
        Names { places, unknown }
    }

    #[inline(always)]
    const fn place(name: MemberName) -> usize {
        let folded = name.0 as u64 ^ (name.0 >> 64) as u64;
        (folded.wrapping_mul(SPREAD) >> 58) as usize
    }

    /// What a name means.
    #[inline(always)]
    pub(super) fn get(&self, name: MemberName) -> M {
        let mut place = Self::place(name);
        loop {
            let (found, meaning) = self.places[place];
            if found == name {
                return meaning;
            }
            if found.0 == 0 {
                return self.unknown;
            }
            place = (place + 1) % PLACES;
        }
    }
}

/// What a member of an object means.
#[derive(Clone, Copy)]
pub(super) enum Member {
    Text(Field),
    List(Field),
    Number(NumberField),
    Kind,
    EventTime,
    Object(Field, Keys),
    ConsentAnswer(Purpose),
    ConsentGivenAt,
    OptOut,
    Items,
    Custom,
    Unknown,
}

/// What the members of an object mean.
pub(super) type Keys = &'static Names<Member>;

pub(super) static ROOT: Names<Member> = Names::new(
    &[
        ("event_id", Member::Text(Field::EventId)),
        ("event_name", Member::Text(Field::EventName)),
        ("event_time", Member::EventTime),
        ("tenant", Member::Text(Field::Tenant)),
        ("user", Member::Object(Field::User, &USER)),
        ("ids", Member::Object(Field::Ids, &IDS)),
        ("ip", Member::Text(Field::Ip)),
        ("user_agent", Member::Text(Field::UserAgent)),
        ("url", Member::Text(Field::Url)),
        ("referrer", Member::Text(Field::Referrer)),
        ("value", Member::Number(NumberField::Value)),
        ("currency", Member::Text(Field::Currency)),
        ("order_id", Member::Text(Field::OrderId)),
        ("items", Member::Items),
        ("payout", Member::Number(NumberField::Payout)),
        ("cost", Member::Number(NumberField::Cost)),
        ("quantity", Member::Number(NumberField::Quantity)),
        ("kind", Member::Kind),
        ("action_source", Member::Text(Field::ActionSource)),
        ("consent", Member::Object(Field::Consent, &CONSENT)),
        ("feedback", Member::Object(Field::Feedback, &FEEDBACK)),
        ("body", Member::Text(Field::Body)),
        ("custom", Member::Custom),
    ],
    Member::Unknown,
);

pub(super) static USER: Names<Member> = Names::new(
    &[
        ("email", Member::List(Field::Email)),
        ("phone", Member::List(Field::Phone)),
        ("external_id", Member::List(Field::ExternalId)),
        ("first_name", Member::Text(Field::FirstName)),
        ("last_name", Member::Text(Field::LastName)),
        ("city", Member::Text(Field::City)),
        ("zip", Member::Text(Field::Zip)),
        ("country", Member::Text(Field::Country)),
        ("state", Member::Text(Field::State)),
        ("phone_country", Member::Text(Field::PhoneCountry)),
        ("gender", Member::Text(Field::Gender)),
        ("date_of_birth", Member::Text(Field::DateOfBirth)),
        ("street", Member::Text(Field::Street)),
    ],
    Member::Unknown,
);

pub(super) static IDS: Names<Member> = Names::new(
    &[
        ("client_id", Member::Text(Field::ClientId)),
        ("session_id", Member::Text(Field::SessionId)),
        ("ga_client_id", Member::Text(Field::GaClientId)),
        ("fbp", Member::Text(Field::Fbp)),
        ("fbc", Member::Text(Field::Fbc)),
        ("ttp", Member::Text(Field::Ttp)),
        ("ttclid", Member::Text(Field::Ttclid)),
        ("gclid", Member::Text(Field::Gclid)),
        ("wbraid", Member::Text(Field::Wbraid)),
        ("gbraid", Member::Text(Field::Gbraid)),
        ("dclid", Member::Text(Field::Dclid)),
        ("fbclid", Member::Text(Field::Fbclid)),
        ("fingerprint", Member::Text(Field::Fingerprint)),
    ],
    Member::Unknown,
);

pub(super) static CONSENT: Names<Member> = Names::new(
    &[
        ("functional", Member::ConsentAnswer(Purpose::Functional)),
        ("analytics", Member::ConsentAnswer(Purpose::Analytics)),
        ("ads", Member::ConsentAnswer(Purpose::Ads)),
        ("personalization", Member::ConsentAnswer(Purpose::Personalization)),
        ("given_at", Member::ConsentGivenAt),
        ("version", Member::Text(Field::ConsentVersion)),
        ("opt_out_of_sale", Member::OptOut),
    ],
    Member::Unknown,
);

pub(super) static FEEDBACK: Names<Member> = Names::new(
    &[
        ("text", Member::Text(Field::FeedbackText)),
        ("rating", Member::Number(NumberField::Rating)),
        ("nps", Member::Number(NumberField::Nps)),
        ("csat", Member::Number(NumberField::Csat)),
        ("channel", Member::Text(Field::FeedbackChannel)),
        ("language", Member::Text(Field::FeedbackLanguage)),
        ("survey_id", Member::Text(Field::FeedbackSurveyId)),
        ("question_id", Member::Text(Field::FeedbackQuestionId)),
        ("author", Member::Text(Field::FeedbackAuthor)),
    ],
    Member::Unknown,
);

/// What a member of an item means.
#[derive(Clone, Copy)]
pub(super) enum ItemMember {
    Text(usize),
    Price,
    Quantity,
    Unknown,
}

pub(super) static ITEM: Names<ItemMember> = Names::new(
    &[
        ("id", ItemMember::Text(0)),
        ("name", ItemMember::Text(1)),
        ("category", ItemMember::Text(2)),
        ("brand", ItemMember::Text(3)),
        ("price", ItemMember::Price),
        ("quantity", ItemMember::Quantity),
    ],
    ItemMember::Unknown,
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_name_stands_in_a_place_of_its_own() {
        fn check<M: Copy>(names: &Names<M>) {
            let taken = names.places.iter().enumerate().filter(|(_, (name, _))| name.0 != 0);
            for (place, (name, _)) in taken {
                assert_eq!(Names::<M>::place(*name), place);
            }
        }
        [&ROOT, &USER, &IDS, &CONSENT, &FEEDBACK].into_iter().for_each(check);
        check(&ITEM);
    }

    #[test]
    fn what_only_resembles_a_name_is_unknown() {
        let found = |name: &str| !matches!(USER.get(MemberName::of(name.as_bytes())), Member::Unknown);
        assert!(found("zip") && found("date_of_birth"));
        for name in ["", "z", "zi", "zip ", "zip\0", "Zip", "date_of_birth_and_more", "\0", "zip\0\0\0\0\0\0\0\0\0\0\0\0\x03"] {
            assert!(!found(name), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_the_same_whatever_follows(name in "[a-z_]{0,20}", rest in "[ -~]{16}") {
            let chunk = *format!("{name}{rest}").as_bytes().first_chunk().unwrap();
            prop_assert!(MemberName::beginning(chunk, name.len()) == MemberName::of(name.as_bytes()));
        }
    }
}
