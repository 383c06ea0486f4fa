//! What a user agent says about the device: class, system, browser, crawler or not.
//!
//! The rules are uap-core's, run by the `ua-parser` project's own engine; `build.rs` embeds them with the closed list of names they can yield.
//! A user agent is text that the client chose, so nothing of it is copied: families come from that list, versions are at most
//! [`MAJOR_DIGITS_MAX`] digits. A name or number hidden in a user agent therefore reaches no output.

use std::collections::HashMap;
use std::collections::HashSet;

use serde::Deserialize;

/// The kind of device. A tablet that asks for desktop pages (iPadOS does) is a desktop here: its user agent says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceClass {
    /// A computer.
    Desktop,
    /// A telephone.
    Mobile,
    /// A tablet or reader.
    Tablet,
    /// A television or the box at one.
    Tv,
    /// A crawler, a monitor or a script: nobody is looking.
    Bot,
    /// Anything else: consoles, watches, speakers, unknown.
    #[default]
    Other,
}

impl DeviceClass {
    /// The word used in records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            DeviceClass::Desktop => "desktop",
            DeviceClass::Mobile => "mobile",
            DeviceClass::Tablet => "tablet",
            DeviceClass::Tv => "tv",
            DeviceClass::Bot => "bot",
            DeviceClass::Other => "other",
        }
    }
}

/// A device as far as it may be kept: no text of it was copied from the user agent. Shape: an empty string means unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Kind of device.
    pub class: DeviceClass,
    /// System family, such as `Android`; `Other` for one that is not on the list.
    pub os: Box<str>,
    /// System's major version, such as `14` or `XP`.
    pub os_major: Box<str>,
    /// Browser family, such as `Mobile Safari`; `Other` for one that is not on the list.
    pub browser: Box<str>,
    /// Browser's major version.
    pub browser_major: Box<str>,
    /// Whether it is a crawler or a script.
    pub is_bot: bool,
}

/// Longest user agent that is looked at, in bytes; the rest is cut (real ones are below 300).
pub const USER_AGENT_BYTES_MAX: usize = 512;

/// Longest version number kept, in digits: a longer one is no version but perhaps a telephone number.
pub const MAJOR_DIGITS_MAX: usize = 4;

/// The embedded rules could not be compiled: only a broken build can cause it. Its text holds no value.
#[derive(Debug, thiserror::Error)]
#[error("the embedded user-agent rules do not compile")]
pub struct RulesError;

#[derive(Deserialize)]
struct Embedded {
    browsers: HashMap<String, String>,
    systems: HashMap<String, String>,
    os_majors: HashSet<String>,
    rules: ua_parser::Regexes<'static>,
}

/// Crawlers, previews and assistants whose names uap-core leaves open-ended, in their own spelling.
const CRAWLERS: [&str; 44] = [
    "AhrefsBot",
    "Amazonbot",
    "AppEngine-Google",
    "Applebot",
    "Applebot-Extended",
    "archive.org_bot",
    "Baiduspider",
    "bingbot",
    "BingPreview",
    "Bytespider",
    "CCBot",
    "ChatGPT-User",
    "Claude-User",
    "ClaudeBot",
    "DataForSeoBot",
    "Discordbot",
    "DotBot",
    "DuckDuckBot",
    "facebookexternalhit",
    "FacebookBot",
    "GPTBot",
    "Google-InspectionTool",
    "Googlebot",
    "Googlebot-Image",
    "GoogleOther",
    "ia_archiver",
    "LinkedInBot",
    "meta-externalagent",
    "MJ12bot",
    "OAI-SearchBot",
    "PerplexityBot",
    "PetalBot",
    "Pinterestbot",
    "SemrushBot",
    "SeznamBot",
    "SkypeUriPreview",
    "Slackbot",
    "Slurp",
    "TelegramBot",
    "Twitterbot",
    "UptimeRobot",
    "WhatsApp",
    "YandexBot",
    "Yahoo! Slurp",
];

/// Scripts and libraries: no crawler by uap-core, but nobody is looking either. (`okhttp` and `CFNetwork` are left out: apps use them for people.)
const LIBRARIES: [&str; 22] = [
    "aiohttp",
    "Apache-HttpClient",
    "axios",
    "curl",
    "Go-http-client",
    "GuzzleHttp",
    "HeadlessChrome",
    "HTTPie",
    "Java",
    "libcurl",
    "libwww-perl",
    "lua-resty-http",
    "node-fetch",
    "PhantomJS",
    "PostmanRuntime",
    "python-httpx",
    "Python-urllib",
    "Python Requests",
    "python-requests",
    "reqwest",
    "undici",
    "Wget",
];

/// The compiled rules. Shape: about 1,000 regular expressions, 25 MB, 0.2 s to compile; 5-10 µs per user agent.
pub struct DeviceRules {
    extractor: ua_parser::Extractor<'static>,
    browsers: HashMap<String, String>,
    systems: HashMap<String, String>,
    os_majors: HashSet<String>,
}

impl DeviceRules {
    /// Compiles the embedded rules. Errors: only if the build was broken.
    pub fn embedded() -> Result<Self, RulesError> {
        let text = include_str!(concat!(env!("OUT_DIR"), "/user_agents.json"));
        let embedded: Embedded = serde_json::from_str(text).map_err(|_| RulesError)?;
        let mut browsers = embedded.browsers;
        for name in CRAWLERS.iter().chain(&LIBRARIES) {
            browsers.insert(name.to_lowercase(), (*name).to_string());
        }
        let extractor = embedded.rules.try_into().map_err(|_| RulesError)?;
        Ok(Self { extractor, browsers, systems: embedded.systems, os_majors: embedded.os_majors })
    }

    /// Reads one user agent. Shape: pure, tens of microseconds at worst; an empty text gives the unknown device.
    #[must_use]
    pub fn read(&self, user_agent: &str) -> Device {
        let ua = cut(user_agent.trim());
        if ua.is_empty() {
            return Device::default();
        }
        let (browser, os, device) = self.extractor.extract(ua);
        let lower = ua.to_lowercase();
        let family = browser.as_ref().map_or("", |b| b.family.as_ref());
        let os_family = os.as_ref().map_or("", |o| o.os.as_ref());
        let model = device.as_ref().map_or("", |d| d.device.as_ref());
        let is_bot = model == "Spider" || is_automaton(family, &lower);
        let system = known(&self.systems, os_family);
        Device {
            class: if is_bot { DeviceClass::Bot } else { classify(&lower, &system.to_lowercase(), model) },
            os_major: os.as_ref().and_then(|o| o.major.as_deref()).map_or("", |m| self.os_major(m)).into(),
            os: system.into(),
            browser: known(&self.browsers, family).into(),
            browser_major: browser.as_ref().and_then(|b| b.major).filter(|m| is_version(m)).unwrap_or("").into(),
            is_bot,
        }
    }

    fn os_major<'a>(&self, major: &'a str) -> &'a str {
        if is_version(major) || self.os_majors.contains(major) { major } else { "" }
    }
}

/// The listed spelling of a family; `Other` for one that the rules do not spell out.
fn known<'a>(list: &'a HashMap<String, String>, family: &str) -> &'a str {
    if family.is_empty() {
        return "";
    }
    list.get(&family.to_lowercase()).map_or("Other", String::as_str)
}

fn is_version(text: &str) -> bool {
    (1..=MAJOR_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(USER_AGENT_BYTES_MAX)]
}

/// uap-core looks for crawlers in the first 100 characters only; names at the end, and scripts, are found here.
fn is_automaton(family: &str, lower: &str) -> bool {
    let listed = |list: &[&str]| list.iter().any(|name| name.eq_ignore_ascii_case(family));
    listed(&CRAWLERS)
        || listed(&LIBRARIES)
        || ["crawler", "spider/", "+http", "headless"].iter().any(|word| lower.contains(word))
        || names_a_bot(lower)
}

/// `bot` as the end of a word that a version or a bracket follows: `somebot/1.0`, but not the telephones `CUBOT X18`.
fn names_a_bot(lower: &str) -> bool {
    memchr::memmem::find_iter(lower.as_bytes(), b"bot")
        .any(|at| matches!(lower.as_bytes().get(at + 3), None | Some(b'/' | b';' | b')' | b'-')))
}

fn classify(lower: &str, os: &str, model: &str) -> DeviceClass {
    let any = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    const TV_SYSTEMS: [&str; 8] = ["tvos", "atv os x", "googletv", "roku", "webtv", "firehbbtv", "chromecast android", "chromecast linux"];
    const TV_WORDS: [&str; 14] = [
        "smart-tv",
        "smarttv",
        "smart tv",
        "hbbtv",
        "googletv",
        "google tv",
        "android tv",
        "appletv",
        "apple tv",
        "netcast",
        "web0s",
        "bravia",
        "crkey",
        "; aft",
    ];
    const MOBILE_SYSTEMS: [&str; 10] =
        ["ios", "android", "windows phone", "windows mobile", "blackberry os", "kaios", "symbian os", "firefox os", "sailfish", "bada"];
    const DESKTOP_SYSTEMS: [&str; 19] = [
        "windows",
        "mac os x",
        "mac os",
        "linux",
        "ubuntu",
        "chrome os",
        "debian",
        "fedora",
        "freebsd",
        "openbsd",
        "netbsd",
        "arch linux",
        "linux mint",
        "centos",
        "red hat",
        "opensuse",
        "suse",
        "kubuntu",
        "solaris",
    ];
    if TV_SYSTEMS.contains(&os) || any(&TV_WORDS) {
        DeviceClass::Tv
    } else if any(&["playstation", "xbox", "nintendo", "watch"]) {
        DeviceClass::Other
    } else if any(&["ipad", "kindle", "playbook"])
        || (any(&["tablet"]) && !any(&["tablet pc"]))
        || (os == "android" && !any(&["mobile", "mobi", "okhttp", "dalvik"]))
    {
        DeviceClass::Tablet
    } else if MOBILE_SYSTEMS.contains(&os) || model.starts_with("Generic") || any(&["iphone", "ipod", "mobile"]) {
        DeviceClass::Mobile
    } else if DESKTOP_SYSTEMS.contains(&os) {
        DeviceClass::Desktop
    } else {
        DeviceClass::Other
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::OnceLock;

    /// One compilation for all tests.
    pub fn rules() -> &'static DeviceRules {
        static RULES: OnceLock<DeviceRules> = OnceLock::new();
        RULES.get_or_init(|| DeviceRules::embedded().unwrap())
    }

    fn read(ua: &str) -> String {
        let d = rules().read(ua);
        assert_eq!(d.is_bot, d.class == DeviceClass::Bot);
        format!("{} | {} {} | {} {}", d.class.as_str(), d.os, d.os_major, d.browser, d.browser_major)
    }

    #[test]
    fn real_user_agents() {
        for (ua, expected) in [
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
                "mobile | iOS 17 | Mobile Safari 17",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
                "desktop | Windows 10 | Chrome 140",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
                "desktop | Windows 10 | Edge 140",
            ),
            ("Mozilla/5.0 (Windows NT 5.1; rv:52.0) Gecko/20100101 Firefox/52.0", "desktop | Windows XP | Firefox 52"),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
                "desktop | Mac OS X 10 | Safari 18",
            ),
            ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0", "desktop | Ubuntu  | Firefox 131"),
            (
                "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
                "desktop | Chrome OS  | Chrome 130",
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36",
                "mobile | Android 14 | Chrome Mobile 140",
            ),
            (
                "Mozilla/5.0 (Linux; Android 13; SM-X906C) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
                "tablet | Android 13 | Chrome 140",
            ),
            (
                "Mozilla/5.0 (Linux; Android 9; CUBOT X18) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/90.0.0.0 Mobile Safari/537.36",
                "mobile | Android 9 | Chrome Mobile 90",
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1.2 Mobile/15E148 Safari/604.1",
                "tablet | iOS 12 | Mobile Safari 12",
            ),
            (
                "Mozilla/5.0 (Linux; Android 11; KFTRWI) AppleWebKit/537.36 (KHTML, like Gecko) Silk/120.1 like Chrome/120.0 Safari/537.36",
                "tablet | Android 11 | Amazon Silk 120",
            ),
            (
                "Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) 76.0.3809.146/6.0 TV Safari/537.36",
                "tv | Tizen 6 | Safari ",
            ),
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "bot |   | Googlebot 2"),
            (
                "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                "bot | Android 6 | Googlebot 2",
            ),
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
                "bot |   | GPTBot 1",
            ),
            ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "bot |   | FacebookBot 1"),
            ("curl/8.5.0", "bot |   | curl 8"),
            ("python-requests/2.31.0", "bot |   | Python Requests 2"),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.0.0 Safari/537.36",
                "bot | Linux  | HeadlessChrome 120",
            ),
            ("", "other |   |  "),
            (" \u{a0}", "other |   |  "),
            ("-", "other |   |  "),
        ] {
            assert_eq!(read(ua), expected, "{ua}");
        }
    }

    /// Open-ended rules would copy what stands before `Bot/`, `CFNetwork`, … into the output.
    #[test]
    fn nothing_hidden_in_a_user_agent_comes_out() {
        for ua in [
            "AnaCanarySilva/1 CFNetwork/1335 Darwin/21.6.0",
            "AnaCanarySilvaBot/5551234567 (+http://example.com)",
            "Mozilla/5.0 (compatible; ana.canary 5551234567 crawler/2.1)",
            "Mozilla/5.0 (Linux; Android 5551234567; AnaCanary) AppleWebKit/537.36 Chrome/5551234567.0 Mobile Safari/537.36",
            "AnaCanarySilva 5551234567 Android/5551234567",
        ] {
            let d = format!("{:?}", rules().read(ua)).to_lowercase();
            assert!(!d.contains("canary") && !d.contains("silva") && !d.contains("5551"), "{d}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_text_gives_names_of_the_list(ua in "\\PC{0,80}|(Mozilla/5\\.0 )?\\([a-zA-Z; 0-9]{0,40}\\) [A-Za-z]{1,12}(Bot|Crawler)?/[0-9]{1,12}( CFNetwork)?") {
            let d = rules().read(&ua);
            prop_assert!(d.browser.is_empty() || &*d.browser == "Other" || rules().browsers.values().any(|b| **b == *d.browser));
            prop_assert!(d.os.is_empty() || &*d.os == "Other" || rules().systems.values().any(|b| **b == *d.os));
            prop_assert!(d.os_major.len() <= 6 && d.browser_major.len() <= MAJOR_DIGITS_MAX);
        }
    }
}
