//! What the scrub promises as a whole: right hits, nothing split, a fixed point, linear work.

use proptest::prelude::*;

use super::*;

fn scrubbed(text: &str, known: &[(Hit, &str)]) -> String {
    let mut out = Vec::new();
    scrub(text, &ScrubRules::all(), known, &mut out);
    String::from_utf8(out).unwrap()
}

fn all(text: &str) -> String {
    scrubbed(text, &[])
}

#[test]
fn each_kind_becomes_its_tag() {
    let cases = [
        ("write to ana.lopez+shop@mail.example.co.uk, please", "write to [email], please"),
        ("ana (at) example (dot) com", "[email]"),
        ("ana[at]example[dot]com!", "[email]!"),
        ("my mail is ana dot lopez at gmail dot com ok", "my mail is [email] ok"),
        ("call +49 (0)30 1234567 now", "call [phone] now"),
        ("+1-202-555-0143x12", "[phone]"),
        ("(202) 555-0143 or 202.555.0143", "[phone] or [phone]"),
        ("Tel. 06 12 34 56 78", "Tel. [phone]"),
        ("4111 1111 1111 1111, 378282246310005", "[card], [card]"),
        ("DE89 3704 0044 0532 0130 00 and gb29nwbk60161331926819", "[iban] and [iban]"),
        ("from 203.0.113.77:8080 and 2001:db8::8a2e:370:7334.", "from [ip]:8080 and [ip]."),
        ("see https://example.com/a?token=abc.", "see [url]."),
        ("see https://example.com/a/b and example.org", "see https://example.com/a/b and example.org"),
        ("http://ana:secret@example.com/", "[url]"),
        ("SSN 219-09-9999", "SSN [ssn]"),
        ("DNI 12345678Z, NIE X1234567L", "DNI [national_id], NIE [national_id]"),
        ("RSSMRA85T10A562S", "[national_id]"),
        ("131052-308T", "[national_id]"),
        ("thanks @ana_lopez!", "thanks [handle]!"),
        ("電話は０９０－１２３４－５６７８です", "電話は[phone]です"),
        ("連絡先はana@example.jpです", "連絡先は[email]です"),
        ("06\u{a0}12\u{a0}34\u{a0}56\u{a0}78", "[phone]"),
    ];
    for (text, expected) in cases {
        assert_eq!(all(text), expected, "{text}");
    }
}

#[test]
fn dates_prices_codes_times_and_versions_pass() {
    let texts = [
        "2024-05-12 10:30:45, 12.05.2024, 05/12/24, 2019-2023, 10:30-12:00",
        "1.234.567,89 € or $1,234,567.89 or 250 000 000 or 12 500 EUR or 99.99",
        "SKU AB-0151-2345678, order 4501234567, #100200300400, ISBN 978-3-16-148410-0",
        "version 1.2.3.4, v10.20.30.40, std::vec::Vec, a::b, 12:30:45, 5 * 3 = 15",
        "EAN 4006381333931, 24/7, 50%, 3x4, 1080p, RTX 4090, A4, 1/2, 16:9",
        "@2x, 5 @ 4.50, @angular/core, 100 @ 20",
        "order no. 302-1234567-7654321, parcel 1Z999AA10123456784",
    ];
    for text in texts {
        assert_eq!(all(text), text);
    }
}

#[test]
fn the_rows_own_values_become_their_tags() {
    let known = [
        (Hit::FirstName, "José"),
        (Hit::LastName, "Núñez Łęcki"),
        (Hit::City, "München"),
        (Hit::ExternalId, "cust-77"),
        (Hit::Phone, "+49 30 123456789"),
    ];
    let text = "JOSÉ's mail; jose nunez lecki, MUNCHEN, Josette, (CUST-77), 030/123456789, 30-123456789.";
    assert_eq!(
        scrubbed(text, &known),
        "[first_name]'s mail; [first_name] [last_name], [city], Josette, ([external_id]), [phone], [phone]."
    );
    assert_eq!(scrubbed("田中さん、Is I me?", &[(Hit::LastName, "田中"), (Hit::FirstName, "I")]), "[last_name]さん、Is I me?");
    assert_eq!(scrubbed("banana ana ana", &[(Hit::Name, "ana ana")]), "banana [name]");
    assert_eq!(scrubbed("a [email] b", &[(Hit::Name, "email")]), "a [email] b");
}

#[test]
fn kinds_that_are_off_stay() {
    let rules = ScrubRules::new(&[Hit::Email], &[]);
    let mut out = Vec::new();
    let counts = scrub("a@b.org +49 30 1234567 Ana", &rules, &[(Hit::FirstName, "Ana")], &mut out);
    assert_eq!(out, b"[email] +49 30 1234567 Ana");
    assert_eq!((counts.get(Hit::Email), counts.total()), (1, 1));
}

#[test]
fn work_doubles_when_the_text_does() {
    let pieces = [
        "@",
        "a@",
        "a@a@",
        "1 ",
        "1.",
        "1-",
        "+1 ",
        "(0",
        "::",
        "a:",
        "f:f",
        "http://",
        "?",
        "a?b=",
        "://",
        "www.",
        " at ",
        " dot ",
        "(at)",
        "[email]",
        "[",
        "((((",
        "0151 23",
        "DE89 3704 ",
        "4111 1111 ",
        "1 84 12 76 451 089 46",
        "ana ",
        "a.a.a.",
        "a@1.1.1.",
        ")",
        "12345678Z",
        "\u{200b}",
        "é",
        "1\u{a0}",
        "tel 1 2 ",
        "      1",
        "@a@a",
        ".",
        "203.0.113.7.",
        "Mr. A ",
        "Dear A, ",
        "Best regards\nA ",
        "Herr Van van ",
        "M. ",
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2 ",
        "bc1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqq ",
        "0x",
        "passport 1234567 ",
        "sort code 12-34-56 ",
        "さん",
        "田中様",
        "名前は",
    ];
    let known = [(Hit::Name, "ana ana ana"), (Hit::City, "a a"), (Hit::Phone, "+4915123456789")];
    for piece in pieces {
        let work = |bytes: usize| {
            let text = piece.repeat(bytes / piece.len());
            view::steps::take();
            find(&text, &ScrubRules::all(), &known);
            view::steps::take()
        };
        let (one, two) = (work(4_000), work(8_000));
        assert!(two <= one * 2 + one / 4 + 4_000, "{piece:?}: {one} then {two}");
        assert!(two <= 8_000 * 600, "{piece:?}: {two} steps");
    }
}

/// Texts made of what the finders look for, glued together anyhow.
fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "@",
            "+49",
            "(0)",
            "0151",
            "23456789",
            "4111 1111",
            "1111 1111",
            "DE89",
            "3704 0044",
            "::",
            "1",
            "2001:db8",
            ".",
            "-",
            " ",
            "/",
            "http://",
            "?a=",
            "ana",
            "Ana",
            "[email]",
            "[",
            "]",
            "example.com",
            "(at)",
            " at ",
            " dot ",
            "12345678Z",
            "tel",
            "order",
            "é",
            "田中",
            "\u{200b}",
            "\u{a0}",
            "ß",
            "İ",
            "x12",
            "219-09-9999",
            ",",
            "€",
            "www.",
            "#",
            "email",
            "İ",
            "e\u{301}",
            "５",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,4}",
        "[0-9 .()/-]{0,14}",
    ];
    proptest::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_second_pass_changes_nothing(text in nasty(), name in "\\PC{0,3}|ana|email|a b|x \\[|5") {
        let known = [(Hit::FirstName, name.as_str()), (Hit::City, "田中"), (Hit::Phone, "0151 23456789")];
        let once = scrubbed(&text, &known);
        prop_assert_eq!(scrubbed(&once, &known), once);
    }

    #[test]
    fn any_text_goes_through(text in any::<String>()) {
        let mut out = b"before".to_vec();
        let counts = scrub(&text, &ScrubRules::all(), &[(Hit::Name, "a")], &mut out);
        prop_assert!(out.starts_with(b"before") && std::str::from_utf8(&out).is_ok());
        prop_assert!(counts.total() > 0 || out[6..] == *text.as_bytes());
    }

    #[test]
    fn folded_search_equals_the_slow_twin(words in proptest::collection::vec("[abéA ß]{1,3}", 0..12), name in "[abé]{2,3}( [ab])?") {
        let text = words.join(" ");
        let fold = |s: &str| { let mut out = String::new(); s.chars().for_each(|c| view::fold_char(c, &mut out)); out };
        let (haystack, needle) = (fold(&text), fold(&name));
        let slow = (0..haystack.len()).any(|i| {
            haystack[i..].starts_with(&needle)
                && !haystack[..i].chars().next_back().is_some_and(char::is_alphanumeric)
                && !haystack[i + needle.len()..].chars().next().is_some_and(char::is_alphanumeric)
        });
        let mut found = Vec::new();
        known::find(&text, &ScrubRules::all(), &[(Hit::Name, &name)], &mut found);
        prop_assert_eq!(slow, !found.is_empty());
    }
}
