//! The slow, obvious twin of every rule but the phone's: the specification's sentences, one string operation each.

use unicode_normalization::UnicodeNormalization;

use super::{Form, Hints, country};

const P: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

fn nfc(s: &str) -> String {
    s.nfc().collect()
}

fn lower(s: &str) -> String {
    nfc(s).trim().to_lowercase()
}

fn without(s: &str, drop: impl Fn(char) -> bool) -> String {
    let kept: String = s.chars().filter(|c| !drop(*c)).collect();
    nfc(kept.trim())
}

fn letter_or_mark(c: char) -> bool {
    use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
    matches!(c.general_category_group(), GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark)
}

fn email(s: &str, dots: bool, suffix: bool) -> Option<String> {
    let s = nfc(&lower(s));
    let parts: Vec<&str> = s.split('@').collect();
    let [local, domain] = parts[..] else { return None };
    let inside: Vec<char> = domain.chars().collect();
    if local.is_empty() || s.contains(char::is_whitespace) || inside.len() < 3 || !inside[1..inside.len() - 1].contains(&'.') {
        return None;
    }
    let mut local = local.to_owned();
    if domain == "gmail.com" || domain == "googlemail.com" {
        if suffix {
            local = local.split('+').next().unwrap_or("").to_owned();
        }
        if dots {
            local = local.replace('.', "");
        }
    }
    (!local.is_empty()).then(|| nfc(&format!("{local}@{domain}")))
}

fn zip(s: &str, us: bool) -> Option<String> {
    let s = without(&lower(s), char::is_whitespace);
    let chars: Vec<char> = s.chars().collect();
    let dash = chars.iter().position(|&c| c == '-');
    let prefixed = dash.is_some_and(|at| {
        (1..=2).contains(&at) && chars[..at].iter().all(char::is_ascii_lowercase) && chars.get(at + 1).is_some_and(char::is_ascii_digit)
    });
    let rest: String = if prefixed { chars[dash? + 1..].iter().collect() } else { s };
    let cut: String = if us { rest.chars().take(5).collect() } else { rest.split('-').next().unwrap_or("").to_owned() };
    (cut.chars().count() >= 2).then_some(cut)
}

/// What the form must be. Shape: `None` where it is dropped, and for phones and birth dates, which have oracles of their own.
pub(super) fn normalise(form: Form, input: &str, hints: &Hints) -> Option<String> {
    let digest = input.trim().to_ascii_lowercase();
    if form.is_hashed() && digest.bytes().all(|b| b.is_ascii_hexdigit()) && (digest.len() == 32 || digest.len() == 64) {
        return (digest.len() == 64).then_some(digest);
    }
    let code = country(input).map(|c| c.as_str().to_owned());
    let text = match form {
        Form::EmailPlain => email(input, false, false),
        Form::EmailGa4 => email(input, true, false),
        Form::EmailGoogle => email(input, true, true),
        Form::FirstNameMeta | Form::LastNameMeta | Form::CityTikTok | Form::StateTikTok => {
            Some(without(&lower(input), |c| c.is_whitespace() || P.contains(c)))
        }
        Form::FirstNameGoogle | Form::LastNameGoogle => Some(without(&lower(input), |c| P.contains(c))),
        Form::FirstNameGooglePunctuated | Form::LastNameGooglePunctuated | Form::StreetGoogle => Some(nfc(&lower(input))),
        Form::FirstNameGa4 | Form::LastNameGa4 | Form::CityGa4 | Form::RegionGa4 => {
            Some(without(&lower(input), |c| !letter_or_mark(c) && !c.is_whitespace()))
        }
        Form::StreetGa4 => {
            use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
            let digit = |c: char| c.general_category() == GeneralCategory::DecimalNumber;
            Some(without(&lower(input), |c| !letter_or_mark(c) && !digit(c) && !c.is_whitespace()))
        }
        Form::Gender => match lower(input).as_str() {
            "m" | "male" => Some("m".to_owned()),
            "f" | "female" => Some("f".to_owned()),
            _ => None,
        },
        Form::CityMeta => Some(without(&lower(input), |c| c.is_whitespace() || P.contains(c) || c.is_ascii_digit())),
        Form::CityGoogle | Form::StateGoogle | Form::PostalGoogle | Form::ExternalIdTikTok => Some(nfc(input).trim().to_owned()),
        Form::ZipMeta => zip(input, hints.country == country("US")),
        Form::ZipTikTok => Some(without(&lower(input), |c| c.is_whitespace() || c == '-')),
        Form::PostalGa4 => Some(without(&nfc(input), |c| c == '.' || c == '~')),
        Form::CountryMeta | Form::CountryLower => code.map(|code| code.to_lowercase()),
        Form::CountryUpper => code,
        Form::ExternalIdMeta => Some(without(&lower(input), char::is_whitespace)),
        Form::StateMeta | Form::PhoneDigits | Form::PhoneE164 | Form::BirthDate => None,
    };
    text.filter(|text| !text.is_empty())
}
