//! The specification's tables and hashes, and what must hold for every form on any text.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

const TODAY: Day = Day { year: 2026, month: 11, day: 22 };

fn hints(hint: &str) -> Hints {
    Hints { country: country(hint), today: TODAY, ..Hints::default() }
}

fn run(form: Form, input: &str, hints: &Hints) -> (Normalised, String) {
    let mut out = b"kept".to_vec();
    let became = normalise(form, input, hints, &mut out);
    assert_eq!(&out[..4], b"kept");
    (became, String::from_utf8(out.split_off(4)).expect("text in, text out"))
}

fn text(form: Form, input: &str, hint: &str) -> String {
    match run(form, input, &hints(hint)) {
        (Normalised::Dropped(reason), nothing) => {
            assert_eq!(nothing, "");
            format!("drop {}", reason.as_str())
        }
        (_, text) => text,
    }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

/// Source: destinations.md §7, the rows that are fields.
#[test]
fn the_table_of_the_specification() {
    use Form::*;
    let unchanged = "jane.doe+x@example.com";
    for (input, hint, forms, expected) in [
        (
            " Jane.Doe+x@Gmail.com ",
            "",
            [EmailPlain, EmailGoogle, EmailPlain, EmailGa4],
            ["jane.doe+x@gmail.com", "janedoe@gmail.com", "jane.doe+x@gmail.com", "janedoe+x@gmail.com"],
        ),
        (unchanged, "", [EmailPlain, EmailGoogle, EmailPlain, EmailGa4], [unchanged; 4]),
        (
            "+44 (0)113 496 0987",
            "",
            [PhoneDigits, PhoneE164, PhoneE164, PhoneE164],
            ["441134960987", "+441134960987", "+441134960987", "+441134960987"],
        ),
        ("0612345678", "", [PhoneDigits, PhoneE164, PhoneE164, PhoneE164], ["drop no_country_hint"; 4]),
        (
            "06 12 34 56 78",
            "FR",
            [PhoneDigits, PhoneE164, PhoneE164, PhoneE164],
            ["33612345678", "+33612345678", "+33612345678", "+33612345678"],
        ),
        ("O'Brien", "", [LastNameMeta, LastNameGoogle, LastNameMeta, LastNameGa4], ["obrien"; 4]),
        ("Mary Ann", "", [FirstNameMeta, FirstNameGoogle, FirstNameMeta, FirstNameGa4], ["maryann", "mary ann", "maryann", "mary ann"]),
        ("R2D2", "", [FirstNameMeta, FirstNameGoogle, FirstNameMeta, FirstNameGa4], ["r2d2", "r2d2", "r2d2", "rd"]),
        ("New York", "", [CityMeta, CityGoogle, CityTikTok, CityGa4], ["newyork", "New York", "newyork", "new york"]),
        ("94035-1234", "US", [ZipMeta, PostalGoogle, ZipTikTok, PostalGa4], ["94035", "94035-1234", "940351234", "94035-1234"]),
        ("United States", "", [CountryMeta, CountryUpper, CountryLower, CountryUpper], ["us", "US", "us", "US"]),
    ] {
        for (form, expected) in forms.into_iter().zip(expected) {
            assert_eq!(text(form, input, hint), expected, "{input} as {}", form.as_str());
        }
    }
}

/// Source: destinations.md 1.2 and the worked examples of §3 to §6.
#[test]
fn the_hashes_of_the_specification() {
    use Form::*;
    for (form, input, hash) in [
        (FirstNameMeta, "Vale\u{301}ry", "08e1996b5dd49e62a4b4c010d44e4345592a863bb9f8e3976219bac29417149c"),
        (EmailPlain, " Jane.Doe+promo@Gmail.com ", "5f0d1df1fc49e30424381b57b1d4c73e067772a4267dde043a19b026935602c8"),
        (EmailGoogle, " Jane.Doe+promo@Gmail.com ", "d6117306485ed0e50afab3ac871e98f81699151f30281527d63ff5f233656c69"),
        (EmailGa4, " Jane.Doe+promo@Gmail.com ", "3a627126a4392d8cec5f5d4eaa26639d3cfe852ebf1f1b49c3ffa61667798637"),
        (PhoneDigits, "(650) 555-1212", "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176"),
        (PhoneE164, "(650) 555-1212", "1e231c66011e7a2d867a9cfae267a6aff103cf4913640b6e71a99850fc0ffbc8"),
        (FirstNameMeta, "Jane", "81f8f6dde88365f3928796ec7aa53f72820b06db8664f5fe76a7eb13e24546a2"),
        (FirstNameGoogle, "Jane", "81f8f6dde88365f3928796ec7aa53f72820b06db8664f5fe76a7eb13e24546a2"),
        (FirstNameGa4, "Jane", "81f8f6dde88365f3928796ec7aa53f72820b06db8664f5fe76a7eb13e24546a2"),
        (LastNameMeta, "Doe", "799ef92a11af918e3fb741df42934f3b568ed2d93ac1df74f1b8d41a27932a6f"),
        (Gender, "female", "252f10c83610ebca1a059c0bae8255eba2f95be4d1d7bcfa89d7248a82d9f111"),
        (BirthDate, "1997-02-16", "01acdbf6ec7b4f478a225f1a246e5d6767eeab1a7ffa17f025265b5b94f40f0c"),
        (CityMeta, "Menlo Park", "0007a3d64c01e23d5075203c5977c14e4f7e01a3fc570686fcc50b5e1dd42685"),
        (StateMeta, "California", "6959097001d10501ac7d54c0bdb8db61420f658f2922cc26e46d536119a31126"),
        (ZipMeta, "94025-1234", "b9a9cf3cd3723a2e91b7c23ecf68456e872b6e5d86e5cab7f3d45a7302da32c7"),
        (CountryMeta, "US", "79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621"),
        (ExternalIdMeta, "User-42", "6d894aa3ee802549d7f340e7c1cf0d1c1cb14cd84f768d92ffaa6785337c4997"),
        (ExternalIdTikTok, "User-42", "fafe5e551759817bdc65038b8cb1a8263b1a8b3b60c269d67ff0f8c57ae0f733"),
        (ZipTikTok, "94025-1234", "949ec86c69e33d96b5d33f08224429e8f73b24563d5105e65848dab17944c3f3"),
    ] {
        assert_eq!(sha256(&text(form, input, "US")), hash, "{input} as {}", form.as_str());
    }
}

/// Source: destinations.md 1.6 and §7 "SHA-256 in capitals".
#[test]
fn digests_pass_and_md5_does_not() {
    let sha = sha256("jane");
    let capitals = format!("\u{a0}{} ", sha.to_uppercase());
    for form in Form::ALL {
        let (became, out) = run(form, &capitals, &hints("US"));
        let (md5, nothing) = run(form, &sha[..32], &hints("US"));
        if form.is_hashed() {
            assert_eq!((became, out.as_str()), (Normalised::AlreadyHashed, sha.as_str()));
            assert_eq!((md5, nothing.as_str()), (Normalised::Dropped(DropReason::Md5), ""));
            assert_eq!(run(form, &sha, &hints("")), (Normalised::AlreadyHashed, sha.clone()));
        } else {
            assert_ne!(became, Normalised::AlreadyHashed);
            assert_ne!(md5, Normalised::Dropped(DropReason::Md5));
        }
        for near in [format!("{sha}0"), sha[..63].to_owned(), format!("{}.x", &sha[..62])] {
            assert_ne!(run(form, &near, &hints("")).0, Normalised::AlreadyHashed);
        }
    }
    assert_eq!(e164(&sha, None, &mut Vec::new()), Normalised::Dropped(DropReason::NotAPhone));
}

/// What is no digest as it came is text, whatever the rule leaves of it.
#[test]
fn text_that_a_rule_turns_into_hex_is_text() {
    let (letters, digits) = ("ab".repeat(16), "0".repeat(31));
    let mixed = format!("{digits}{letters}");
    assert_eq!(run(Form::FirstNameGa4, &mixed, &hints("")), (Normalised::Text, letters.clone()));
    assert_eq!(run(Form::FirstNameGa4, &letters, &hints("")).0, Normalised::Dropped(DropReason::Md5));
}

#[test]
fn the_phones_own_country_comes_before_the_address() {
    let both = Hints { phone_country: country("FR"), country: country("US"), today: TODAY };
    assert_eq!(run(Form::PhoneE164, "06 12 34 56 78", &both).1, "+33612345678");
    assert_eq!(run(Form::StateMeta, "California", &both).1, "ca");
    assert_eq!(run(Form::BirthDate, "1997-02-16", &Hints::default()).0, Normalised::Dropped(DropReason::BadDate));
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,40}",
        "\\PC{0,30}",
        "[\\x00-\\x7f]{0,24}",
        ".{0,20}",
        "[ \t\u{b}\u{a0}\u{3000}\u{200b}]{0,2}[A-Za-z.+]{1,8}@[A-Z.a-z]{0,4}(gmail|googlemail|GMail|x)\\.(com|c|co\\.uk)[ ]?",
        "[\u{300}-\u{304}a-zA-Z .'+@-]{0,16}",
        "[A-ZÀ-ÝİΑ-ΩJ\u{30c}\u{301} '-]{0,16}",
        "[A-Fa-f0-9]{31,33}|[A-Fa-f0-9]{63,65}",
        "[A-Za-z]{0,2}-?[0-9]{0,6}[- ]?[0-9A-Z]{0,4}",
        "[0-9]{1,4}[-/. ][0-9]{1,4}[-/. ][0-9]{1,4}|[0-9]{8}",
        "(United States|Côte d’Ivoire|uk|U\\.S\\.A\\.|[A-Za-z]{2,3}|california|Québec|Ontario|New York|(fe)?male|M)",
        "[\u{e01}-\u{e5b}\u{900}-\u{97f}\u{1100}-\u{11ff}\u{3041}-\u{30ff} ]{0,16}",
    ]
}

const HINTS: [&str; 6] = ["", "US", "CA", "FR", "PT", "GB"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn the_slow_twin_agrees(input in any_text(), hint in proptest::sample::select(&HINTS[..])) {
        for form in Form::ALL {
            if matches!(form, Form::PhoneDigits | Form::PhoneE164 | Form::BirthDate | Form::StateMeta) {
                continue;
            }
            let (became, out) = run(form, &input, &hints(hint));
            let out = (!matches!(became, Normalised::Dropped(_))).then_some(out);
            prop_assert_eq!(out, naive::normalise(form, &input, &hints(hint)), "{}", form.as_str());
        }
    }

    #[test]
    fn what_is_taken_from_an_identifier_is_its_normal_form(
        input in prop_oneof![any_text(), "[a-zA-Zé.+]{1,8}@(gmail|Gmail|googlemail|a)\\.(com|de)", "\\+?[0-9 ()-]{6,16}"],
        hint in proptest::sample::select(&HINTS[..]),
    ) {
        let hints = hints(hint);
        for (own, forms) in [
            (Form::EmailPlain, &[Form::EmailPlain, Form::EmailGoogle, Form::EmailGa4][..]),
            (Form::PhoneE164, &[Form::PhoneE164, Form::PhoneDigits]),
        ] {
            let (Normalised::Text | Normalised::AlreadyHashed, text) = run(own, &input, &hints) else { continue };
            for form in forms {
                if let Some(taken) = of_identifier(*form, text.as_bytes()) {
                    let taken = String::from_utf8(taken.to_vec()).unwrap();
                    prop_assert_eq!(run(*form, &text, &hints), (Normalised::Text, taken), "{} of {}", form.as_str(), own.as_str());
                }
            }
        }
    }

    #[test]
    fn every_output_is_its_own_normal_form(input in any_text(), hint in proptest::sample::select(&HINTS[..])) {
        for form in Form::ALL {
            // Digits without a plus sign say which country only while no other country is said.
            let hints = if form == Form::PhoneDigits { hints("") } else { hints(hint) };
            let (became, once) = run(form, &input, &hints);
            // What a rule leaves of other text may look like a digest: the test for digests comes first, and once.
            let digest = matches!(once.len(), 32 | 64) && once.bytes().all(|b| b.is_ascii_hexdigit());
            if became == Normalised::Text && !digest {
                prop_assert_eq!(run(form, &once, &hints), (Normalised::Text, once.clone()), "{}", form.as_str());
            }
        }
    }

    #[test]
    fn lower_case_forms_hold_no_upper_case(input in any_text(), hint in proptest::sample::select(&HINTS[..])) {
        for form in Form::ALL {
            let keeps_case = matches!(form, Form::CityGoogle | Form::StateGoogle | Form::PostalGoogle | Form::PostalGa4 | Form::CountryUpper | Form::ExternalIdTikTok);
            let (_, out) = run(form, &input, &hints(hint));
            prop_assert!(keeps_case || out.to_lowercase() == out, "{}", form.as_str());
            prop_assert!(out.is_empty() || out.trim() == out);
        }
    }
}
