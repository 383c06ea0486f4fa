//! The forms: which field, by whose rule, hashed or in clear.

use crate::model::field::Field;

/// One normalised form of one field, as some destinations want it. Forms that two destinations share are one variant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u8)]
pub enum Form {
    /// Meta em, TikTok email.
    EmailPlain,
    /// Google Ads: Gmail without dots and suffix.
    EmailGoogle,
    /// GA4: Gmail without dots.
    EmailGa4,
    /// Meta ph: E.164 without `+`.
    PhoneDigits,
    /// Google, TikTok, GA4: E.164 with `+`.
    PhoneE164,
    /// Meta fn, TikTok first_name.
    FirstNameMeta,
    /// Meta ln, TikTok last_name.
    LastNameMeta,
    /// Google Ads first name without punctuation.
    FirstNameGoogle,
    /// Google Ads last name without punctuation.
    LastNameGoogle,
    /// Google Ads first name with its punctuation, where the tenant's switch says so.
    FirstNameGooglePunctuated,
    /// Google Ads last name with its punctuation, where the tenant's switch says so.
    LastNameGooglePunctuated,
    /// GA4 first name.
    FirstNameGa4,
    /// GA4 last name.
    LastNameGa4,
    /// Meta ge.
    Gender,
    /// Meta db.
    BirthDate,
    /// Google Ads street, adjustments only.
    StreetGoogle,
    /// GA4 street.
    StreetGa4,
    /// Meta ct.
    CityMeta,
    /// TikTok city, in clear.
    CityTikTok,
    /// Google Ads city, in clear.
    CityGoogle,
    /// GA4 city, in clear.
    CityGa4,
    /// Meta st.
    StateMeta,
    /// TikTok state, in clear.
    StateTikTok,
    /// Google Ads state, in clear.
    StateGoogle,
    /// GA4 region, in clear.
    RegionGa4,
    /// Meta zp.
    ZipMeta,
    /// TikTok zip_code.
    ZipTikTok,
    /// Google Ads postal code, in clear.
    PostalGoogle,
    /// GA4 postal code, in clear.
    PostalGa4,
    /// Meta country, hashed.
    CountryMeta,
    /// TikTok country, in clear.
    CountryLower,
    /// Google Ads and GA4 country, in clear.
    CountryUpper,
    /// Meta external_id.
    ExternalIdMeta,
    /// TikTok external_id.
    ExternalIdTikTok,
}

impl Form {
    /// How many forms there are.
    pub const COUNT: usize = 34;

    /// Every form, in the order of declaration: `ALL[form as usize] == form`.
    pub const ALL: [Form; Form::COUNT] = [
        Form::EmailPlain,
        Form::EmailGoogle,
        Form::EmailGa4,
        Form::PhoneDigits,
        Form::PhoneE164,
        Form::FirstNameMeta,
        Form::LastNameMeta,
        Form::FirstNameGoogle,
        Form::LastNameGoogle,
        Form::FirstNameGooglePunctuated,
        Form::LastNameGooglePunctuated,
        Form::FirstNameGa4,
        Form::LastNameGa4,
        Form::Gender,
        Form::BirthDate,
        Form::StreetGoogle,
        Form::StreetGa4,
        Form::CityMeta,
        Form::CityTikTok,
        Form::CityGoogle,
        Form::CityGa4,
        Form::StateMeta,
        Form::StateTikTok,
        Form::StateGoogle,
        Form::RegionGa4,
        Form::ZipMeta,
        Form::ZipTikTok,
        Form::PostalGoogle,
        Form::PostalGa4,
        Form::CountryMeta,
        Form::CountryLower,
        Form::CountryUpper,
        Form::ExternalIdMeta,
        Form::ExternalIdTikTok,
    ];

    /// The raw field it is made from.
    #[must_use]
    pub fn field(self) -> Field {
        match self {
            Form::EmailPlain | Form::EmailGoogle | Form::EmailGa4 => Field::Email,
            Form::PhoneDigits | Form::PhoneE164 => Field::Phone,
            Form::FirstNameMeta | Form::FirstNameGoogle | Form::FirstNameGooglePunctuated | Form::FirstNameGa4 => Field::FirstName,
            Form::LastNameMeta | Form::LastNameGoogle | Form::LastNameGooglePunctuated | Form::LastNameGa4 => Field::LastName,
            Form::Gender => Field::Gender,
            Form::BirthDate => Field::DateOfBirth,
            Form::StreetGoogle | Form::StreetGa4 => Field::Street,
            Form::CityMeta | Form::CityTikTok | Form::CityGoogle | Form::CityGa4 => Field::City,
            Form::StateMeta | Form::StateTikTok | Form::StateGoogle | Form::RegionGa4 => Field::State,
            Form::ZipMeta | Form::ZipTikTok | Form::PostalGoogle | Form::PostalGa4 => Field::Zip,
            Form::CountryMeta | Form::CountryLower | Form::CountryUpper => Field::Country,
            Form::ExternalIdMeta | Form::ExternalIdTikTok => Field::ExternalId,
        }
    }

    /// Whether the destination gets its SHA-256; the others go in clear. Source: destinations.md, the column "hashed" of §3 to §6.
    #[must_use]
    pub fn is_hashed(self) -> bool {
        !matches!(
            self,
            Form::CityTikTok
                | Form::CityGoogle
                | Form::CityGa4
                | Form::StateTikTok
                | Form::StateGoogle
                | Form::RegionGa4
                | Form::PostalGoogle
                | Form::PostalGa4
                | Form::CountryLower
                | Form::CountryUpper
        )
    }

    /// The hashed forms of the same field that come before this one: a value may turn out the same in them, and is then hashed once.
    #[must_use]
    pub fn earlier_hashed(self) -> &'static [Form] {
        match self {
            Form::EmailGoogle => &[Form::EmailPlain],
            Form::EmailGa4 => &[Form::EmailPlain, Form::EmailGoogle],
            Form::PhoneE164 => &[Form::PhoneDigits],
            Form::FirstNameGoogle => &[Form::FirstNameMeta],
            Form::LastNameGoogle => &[Form::LastNameMeta],
            Form::FirstNameGooglePunctuated => &[Form::FirstNameMeta, Form::FirstNameGoogle],
            Form::LastNameGooglePunctuated => &[Form::LastNameMeta, Form::LastNameGoogle],
            Form::FirstNameGa4 => &[Form::FirstNameMeta, Form::FirstNameGoogle, Form::FirstNameGooglePunctuated],
            Form::LastNameGa4 => &[Form::LastNameMeta, Form::LastNameGoogle, Form::LastNameGooglePunctuated],
            Form::StreetGa4 => &[Form::StreetGoogle],
            Form::ZipTikTok => &[Form::ZipMeta],
            Form::ExternalIdTikTok => &[Form::ExternalIdMeta],
            _ => &[],
        }
    }

    /// The form's stable name, for the conformance run and for reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Form::EmailPlain => "email_plain",
            Form::EmailGoogle => "email_google",
            Form::EmailGa4 => "email_ga4",
            Form::PhoneDigits => "phone_digits",
            Form::PhoneE164 => "phone_e164",
            Form::FirstNameMeta => "first_name_meta",
            Form::LastNameMeta => "last_name_meta",
            Form::FirstNameGoogle => "first_name_google",
            Form::LastNameGoogle => "last_name_google",
            Form::FirstNameGooglePunctuated => "first_name_google_punctuated",
            Form::LastNameGooglePunctuated => "last_name_google_punctuated",
            Form::FirstNameGa4 => "first_name_ga4",
            Form::LastNameGa4 => "last_name_ga4",
            Form::Gender => "gender",
            Form::BirthDate => "birth_date",
            Form::StreetGoogle => "street_google",
            Form::StreetGa4 => "street_ga4",
            Form::CityMeta => "city_meta",
            Form::CityTikTok => "city_tiktok",
            Form::CityGoogle => "city_google",
            Form::CityGa4 => "city_ga4",
            Form::StateMeta => "state_meta",
            Form::StateTikTok => "state_tiktok",
            Form::StateGoogle => "state_google",
            Form::RegionGa4 => "region_ga4",
            Form::ZipMeta => "zip_meta",
            Form::ZipTikTok => "zip_tiktok",
            Form::PostalGoogle => "postal_google",
            Form::PostalGa4 => "postal_ga4",
            Form::CountryMeta => "country_meta",
            Form::CountryLower => "country_lower",
            Form::CountryUpper => "country_upper",
            Form::ExternalIdMeta => "external_id_meta",
            Form::ExternalIdTikTok => "external_id_tiktok",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_listed_once_in_order_with_distinct_names() {
        for (at, form) in Form::ALL.iter().enumerate() {
            assert_eq!(*form as usize, at);
        }
        for form in Form::ALL {
            let earlier: Vec<Form> =
                Form::ALL.into_iter().take_while(|f| *f != form).filter(|f| f.field() == form.field() && f.is_hashed()).collect();
            assert_eq!(form.earlier_hashed(), if form.is_hashed() { &earlier[..] } else { &[] }, "{}", form.as_str());
        }
        let names: std::collections::HashSet<_> = Form::ALL.iter().map(|form| form.as_str()).collect();
        assert_eq!(names.len(), Form::COUNT);
    }
}
