//! Pages: tables of real shapes, a naive twin over the `url` crate, hostile text.

use proptest::prelude::*;
use url::Url;

use super::*;

const URL: &str = "https://shop.example.com/p/512?utm_source=google&utm_medium=cpc&utm_campaign=autumn_12&gclid=Cj0KCQjwe4093df8432a8be5&fbclid=IwAR71dd0913271687b2";

/// All that was read, as text, arenas resolved.
fn read_text(url: &str) -> Option<Vec<String>> {
    let mut arenas = Arenas { record: b"record".to_vec(), clear: b"clear".to_vec(), urls: Urls::default() };
    let Some(page) = read(url, true, &mut arenas) else {
        assert!(arenas.record == b"record" && arenas.clear == b"clear" && arenas.urls.arena.is_empty(), "nothing is appended on failure");
        return None;
    };
    let (c, k) = (page.campaign, page.clicks);
    let in_record = [page.host, page.path, c.source, c.medium, c.campaign, c.term, c.content].map(|s| text(s, &arenas.record));
    let in_clear = [k.gclid, k.wbraid, k.gbraid, k.dclid, k.fbclid, k.ttclid].map(|s| text(s, &arenas.clear));
    let platform = page.click_platform.map_or("", ClickPlatform::as_str).to_string();
    let mut alone = Arenas::default();
    let unreduced = read(url, false, &mut alone).unwrap();
    assert_eq!(unreduced.host.of(&alone.record), page.host.of(&arenas.record));
    assert!(alone.urls.arena.is_empty() && unreduced.reduced == Reduced::default(), "nothing is reduced unasked");
    Some(in_record.into_iter().chain(in_clear).chain([platform]).collect())
}

fn text(span: Span, arena: &[u8]) -> String {
    String::from_utf8(span.of(arena).to_vec()).unwrap()
}

fn pushed(url: Reduced, keep: &[&str], arenas: &Arenas) -> String {
    let mut out = Vec::new();
    assert!(arenas.urls.push(url, keep, &mut out));
    String::from_utf8(out).unwrap()
}

fn reduced(url: &str, keep: &[&str]) -> Option<String> {
    let mut arenas = Arenas::default();
    let other = read("https://other.example/?utm_source=o&gclid=o", true, &mut arenas).unwrap();
    let page = read(url, true, &mut arenas)?;
    assert_eq!(pushed(other.reduced, &["gclid"], &arenas), "https://other.example/?utm_source=o&gclid=o");
    Some(pushed(page.reduced, keep, &arenas))
}

/// The host of a referrer, and what destinations may see of it: the same as of a page without click ids.
fn host(url: &str) -> Option<String> {
    let mut arenas = Arenas::default();
    let read = referrer(url, true, &mut arenas)?;
    assert_eq!(Some(pushed(read.reduced, &["gclid"], &arenas)), reduced(url, &[]));
    Some(text(read.host, &arenas.record))
}

#[test]
fn an_ordinary_page() {
    let read = read_text(URL).unwrap();
    let expected = [
        "shop.example.com",
        "/p/512",
        "google",
        "cpc",
        "autumn_12",
        "",
        "",
        "Cj0KCQjwe4093df8432a8be5",
        "",
        "",
        "",
        "IwAR71dd0913271687b2",
        "",
        "meta",
    ];
    assert_eq!(read, expected);
}

#[test]
fn campaign_values_are_decoded_and_scrubbed() {
    for (query, expected) in [
        ("utm_source=a%20b", "a b"),
        ("utm_source=a+b", "a b"),
        ("utm_source=%C3%A9t%C3%A9", "été"),
        ("utm_source=%ff", "\u{fffd}"),
        ("utm_source=%", "%"),
        ("utm_source=&utm_source=x&utm_source=y", "x"),
        ("utm_source=ana%40example.com", ":email"),
        ("utm_source=ana%2540example.com", ":email"),
        ("utm_source=%2B1+212+555+8512", ":phone"),
        ("UTM_SOURCE=x", ""),
        ("utm_source", ""),
    ] {
        assert_eq!(read_text(&format!("https://example.com/?{query}")).unwrap()[2], expected, "{query}");
    }
    let long = read_text(&format!("https://example.com/?utm_source={}", "%C3%A9".repeat(400))).unwrap();
    assert_eq!(long[2], "é".repeat(CAMPAIGN_BYTES_MAX / 2));
    let path = read_text(&format!("https://example.com/{}", "%C3%A9/".repeat(1000))).unwrap();
    assert!(path[1].len() <= PATH_BYTES_MAX && !path[1].ends_with("%C") && !path[1].ends_with('%'));
}

#[test]
fn click_ids_keep_their_case_and_must_look_like_ids() {
    let of = |query: &str| {
        let all = read_text(&format!("https://example.com/?{query}")).unwrap();
        (all[7..13].concat(), all[13].clone())
    };
    let pair = |id: &str, platform: &str| (id.to_string(), platform.to_string());
    assert_eq!(of("gclid=Ab%2Dc_D"), pair("Ab-c_D", "google"));
    assert_eq!(of("wbraid=x1"), pair("x1", "google"));
    assert_eq!(of("ttclid=E.C.P.x"), pair("E.C.P.x", "tiktok"));
    assert_eq!(of("msclkid=abc"), pair("", "microsoft"));
    assert_eq!(of("fbclid=a&gclid=b"), pair("ba", "google"), "the last click counts");
    assert_eq!(of("gclid=ana%40example.com"), pair("", ""));
    assert_eq!(of("gclid=a+b"), pair("", ""));
    assert_eq!(of(&format!("gclid={}", "x".repeat(CLICK_ID_BYTES_MAX + 1))), pair("", ""));
}

#[test]
fn referrers() {
    for (url, expected) in [
        ("https://www.google.com/", Some("www.google.com")),
        ("https://ana:secret@Mail.Example.com:8443/inbox?q=ana", Some("mail.example.com")),
        ("android-app://com.google.android.gm/", Some("com.google.android.gm")),
        ("https://203.0.113.7/", Some(":ip")),
        ("https://[2001:db8::1]/", Some(":ip")),
        ("https://bücher.example/", Some("xn--bcher-kva.example")),
        ("mailto:ana@example.com", None),
        ("ana@example.com", None),
        ("about:blank", None),
        ("", None),
    ] {
        assert_eq!(host(url).as_deref(), expected, "{url}");
    }
}

#[test]
fn a_destination_sees_its_own_click_ids_and_nobody() {
    assert_eq!(
        reduced(URL, &[]).as_deref(),
        Some("https://shop.example.com/p/512?utm_source=google&utm_medium=cpc&utm_campaign=autumn_12")
    );
    assert_eq!(
        reduced(
            "https://ana:pw@Shop.example.com:8443/u/ana%40example.com?email=ana@example.com&fbclid=Ab_C&utm_term=a+%26b&gclid=x#ana",
            &["fbclid"]
        )
        .as_deref(),
        Some("https://shop.example.com:8443/u/:email?fbclid=Ab_C&utm_term=a+%26b"),
    );
    assert_eq!(
        reduced("https://example.com?utm_content=to+ana%40example.com&gclid=ana%40example.com", &["gclid"]).as_deref(),
        Some("https://example.com/?utm_content=to+%3Aemail")
    );
    assert_eq!(reduced("https://203.0.113.7/", &[]).as_deref(), Some("https://203.0.113.7/"));
    assert_eq!(reduced("not a url", &[]), None);
}

/// The naive twin: the `url` crate's own query parser, first value that is not blank.
fn naive_parameter(url: &str, name: &str) -> String {
    let Ok(url) = Url::parse(url) else { return String::new() };
    url.query_pairs().find(|(n, v)| n == name && !v.trim().is_empty()).map_or(String::new(), |(_, v)| v.trim().to_string())
}

proptest! {
    #[test]
    fn parameters_equal_the_url_crate(values in proptest::collection::vec("[a-zé%+ =]{0,8}", 7)) {
        let names = ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "utm_source", "q"];
        let query: Vec<String> = names.iter().zip(&values).map(|(n, v)| format!("{n}={v}")).collect();
        let url = format!("https://example.com/?{}", query.join("&"));
        let read = read_text(&url).unwrap();
        for (i, name) in names[..5].iter().enumerate() {
            prop_assert_eq!(&read[2 + i], &naive_parameter(&url, name), "{} of {}", name, url);
        }
    }

    /// The reduced URL is a URL again, the same when reduced twice, and says what the record says.
    #[test]
    fn a_reduced_url_is_stable(path in "(/[a-z0-9é%@.-]{0,12}){0,3}", a in "[a-z0-9%+@. ]{0,12}", b in "[A-Za-z0-9_%-]{0,30}") {
        let url = format!("https://Example.com{path}?utm_source={a}&gclid={b}&x={a}#{a}");
        if let Some(once) = reduced(&url, &["gclid"]) {
            prop_assert!(Url::parse(&once).is_ok());
            prop_assert_eq!(reduced(&once, &["gclid"]), Some(once.clone()));
            prop_assert_eq!(&read_text(&once).unwrap()[..2], &read_text(&url).unwrap()[..2]);
        }
    }

    #[test]
    fn hostile_text_never_panics(url in "(https://e.com)?\\PC{0,60}|https://[ -~]{0,80}|https://e.com/\\?(utm_source|gclid)=.{0,30}") {
        let _ = (read_text(&url), host(&url), reduced(&url, &["gclid"]));
    }
}
