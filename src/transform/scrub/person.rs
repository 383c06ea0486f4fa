//! Names of people, where the words around them say that they are names: behind a title, an introduction, a greeting or a farewell.
//!
//! A name that stands alone passes: only its meaning gives it away. What follows a title and is a brand (`Dr. Martens`) passes too.

use super::view::{View, fold_char, in_word, step};
use super::{Found, Hit};
use std::collections::HashSet;
use std::sync::LazyLock;

/// How far back words are looked at, in bytes.
const REACH_BYTES: usize = 40;
/// Longest word of a name, in characters.
const WORD_CHARS_MAX: usize = 24;

/// Folded, with their dots.
const TITLES: &str = "mr mr. mrs mrs. ms ms. mx mx. miss dr dr. prof prof. sir. herr herrn frau frau. hr. fraulein monsieur madame mme mme. mlle mlle. mademoiselle \
    sr. sra sra. srta srta. senor senora senorita don dona sig. sig.ra sig.na signor signora signorina dott dott. dott.ssa dottor dottoressa dr.ssa prof.ssa \
    senhor senhora dra dra. meneer mevrouw mevr mevr. dhr dhr. mw. mej. pana panu pani pania panem herra rouva fru froken ing. avv. arch. dna. dipl.-ing.";
/// `M.` alone is also a size: it must follow one of these, or nothing.
const BEFORE_M: &str = "a de avec chez et que pour par demandez contacter appeler bonjour cher ce merci parler remis monsieur le";

/// Folded ends of what stands before a name.
const INTRODUCTIONS: [&str; 34] = [
    "my name is",
    "my name's",
    "name is:",
    "mein name ist",
    "mein name:",
    "ich heisse",
    "je m'appelle",
    "mon nom est",
    "mon prenom est",
    "me llamo",
    "mi nombre es",
    "mi chiamo",
    "il mio nome e",
    "ik heet",
    "mijn naam is",
    "nazywam sie",
    "mam na imie",
    "chamo-me",
    "me chamo",
    "meu nome e",
    "jag heter",
    "mitt namn ar",
    "jeg hedder",
    "jeg heter",
    "mit navn er",
    "mitt navn er",
    "nimeni on",
    "signed,",
    "signed:",
    "signed by",
    "gezeichnet,",
    "gez.",
    "signe,",
    "firmado:",
];
/// Folded; at a sentence's beginning, before a name and a comma or a line's end.
const GREETINGS: &str = "dear hi hello hey hallo liebe lieber werter werte hoi beste geachte cher chere bonjour salut hola estimado estimada querido querida ciao gentile caro cara \
    egregio ola prezado prezada hej hejsan kara kare basta czesc drogi droga hei moi";
/// Folded ends of what stands before a name that ends the text or its line.
const FAREWELLS: [&str; 38] = [
    "regards",
    "best wishes",
    "warm wishes",
    "sincerely",
    "yours truly",
    "yours faithfully",
    "cheers",
    "respectfully",
    "grussen",
    "grusse",
    "gruss",
    "gruessen",
    "gruesse",
    "hochachtungsvoll",
    "cordialement",
    "bien a vous",
    "sinceres salutations",
    "salutations distinguees",
    "respectueusement",
    "un saludo",
    "saludos",
    "atentamente",
    "saluti",
    "cordialmente",
    "cumprimentos",
    "atenciosamente",
    "abraco",
    "abracos",
    "groet",
    "groeten",
    "groetjes",
    "pozdrawiam",
    "pozdrowienia",
    "powazaniem",
    "halsningar",
    "halsning",
    "mvh",
    "hilsen",
];
/// Folded: capitalised words that follow such words and name nobody.
const NOBODY: &str = "team teams all everyone everybody sir sirs madam madame monsieur customer customers support service sales there guys folks friends staff shop store company \
    kundenservice kundendienst kundin kunde kunden damen herren zusammen leute kollegen kolleginnen kollege kollegin mitarbeiter redaktion community grusse gruesse gruss \
    gott himmel ihr ihre ihres ihrem ihren sie ihnen doktor professor mesdames messieurs clients client cliente clienti clientes senores senor senora senhores equipo equipe \
    signori signore signora staff klant klanten klantenservice panstwo pan pani panie panowie kundtjanst kund kunder god lord jesus amazon zalando support-team \
    kundenteam hermes dhl ups holle antje martens oetker clean pepper who bean right coffee scholl scholl's bronner bronner's best world universe sixty \
    i you we they it the this that your our my and or but please thanks thank no not yes just sincerely regards customers-service dear hello hi hey mr mrs ms dr prof herr frau \
    miss herrn mme mlle sr sra senhor senhora dott sig don dona bonjour merci danke gracias grazie obrigado obrigada dziekuje tack bedankt quijote juan-tenorio";
/// Small words inside of a name.
const PARTICLES: &str = "van von de der den da dos do di del della la le ten ter zu af du y e";

fn is_in(list: &str, word: &str) -> bool {
    !word.is_empty() && list.split_ascii_whitespace().any(|entry| entry == word)
}

/// Appends every name. Bounds: `REACH_BYTES` bytes before each capital letter that begins a word, and four words behind it.
pub(super) fn find(view: &View, found: &mut Vec<Found>) {
    let text = view.text();
    let (mut until, mut before) = (0, String::with_capacity(2 * REACH_BYTES));
    for (at, b) in text.bytes().enumerate() {
        // A Latin capital is ASCII, or begins with one of these bytes.
        if !(b.is_ascii_uppercase() || (0xC3..=0xC5).contains(&b)) || at < until || at < 2 || !is_start(text, at) {
            continue;
        }
        before.clear();
        if !is_cue(text, at, &mut before) {
            continue;
        }
        let from = view.floor(at.saturating_sub(REACH_BYTES));
        before.clear();
        text[from..at].chars().for_each(|c| fold_char(c, &mut before));
        step(at - from);
        if let Some(end) = name_at(text, at, &before) {
            found.push(Found { start: at, end, hit: Hit::Name });
            until = end;
        }
    }
    japanese(view, found);
}

/// The last words of all that can stand before a name, without what ends a sentence: most capitals are passed over by one look at it.
static CUES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let lists = TITLES.split_ascii_whitespace().chain(GREETINGS.split_ascii_whitespace()).chain(["m."]);
    let phrases = INTRODUCTIONS.iter().chain(&FAREWELLS).filter_map(|words| words.rsplit(' ').next());
    lists.chain(phrases).map(|word| word.trim_end_matches(['.', ',', ':'])).collect()
});

/// Whether the word before `at` can stand before a name. `folded` is written over.
fn is_cue(text: &str, at: usize, folded: &mut String) -> bool {
    let near =
        text[text.floor_char_boundary(at.saturating_sub(REACH_BYTES))..at].trim_end_matches([' ', '\n', '\r', ',', ':', '!', '.', '-']);
    let last = near.rsplit([' ', '\n', '(', '"', ',', '/', '\u{a0}']).next().unwrap_or_default();
    step(last.len() + 1);
    if last.is_empty() || last.len() > WORD_CHARS_MAX {
        return false;
    }
    last.chars().for_each(|c| fold_char(c, folded));
    CUES.contains(folded.as_str())
}

/// Whether a capitalised word begins here.
fn is_start(text: &str, at: usize) -> bool {
    text[at..].chars().next().is_some_and(char::is_uppercase)
        && !text[..at].chars().next_back().is_some_and(|c| in_word(c) || c == '\'' || c == '-')
}

/// The end of the name that begins at `at`, behind `before`.
fn name_at(text: &str, at: usize, before: &str) -> Option<usize> {
    let near = before.trim_end_matches(' ');
    let glued = before.len() - near.len() > 2;
    let cut = near.rfind(['\n', '[', ']']).map_or(0, |i| i + 1);
    let line = near[cut..].trim_start();
    // "I miss Berlin".
    let misses = text[..at].trim_end().ends_with("miss");
    if !glued && !misses && is_titled(line) {
        return name(text, at, 3).map(|(end, _)| end);
    }
    if !glued && INTRODUCTIONS.iter().any(|words| ends_with(line.trim_end_matches(':').trim_end(), words) || ends_with(line, words)) {
        return name(text, at, 3).map(|(end, _)| end);
    }
    let begins = line.rfind(' ').map_or(0, |i| i + 1);
    let rest = line[..begins].trim_end();
    if !glued && is_in(GREETINGS, &line[begins..]) && (rest.is_empty() || rest.ends_with(['.', '!', '?', ','])) {
        let (end, _) = name(text, at, 2)?;
        return text[end..].trim_start_matches(' ').starts_with([',', '!', '\n', ':', '-', '\r']).then_some(end);
    }
    let closing = near.trim_end_matches(['\n', '\r', ' ', ',', '!', '.', '-']);
    if closing.len() < before.len() && FAREWELLS.iter().any(|words| ends_with(closing, words)) {
        let (end, _) = name(text, at, 3)?;
        let rest = text[end..].trim_start_matches([' ', '.', '\r']);
        return (rest.is_empty() || rest.starts_with('\n')).then_some(end);
    }
    None
}

/// Whether the line ends with a title.
fn is_titled(line: &str) -> bool {
    let token = |line: &str| line.rsplit([' ', '\n', '(', '"', ',', '/']).next().unwrap_or_default().to_owned();
    let last = token(line);
    if last == "m." {
        let rest = line[..line.len() - last.len()].trim_end();
        return rest.is_empty() || is_in(BEFORE_M, &token(rest));
    }
    is_in(TITLES, &last)
}

/// Whether a text ends with these words, the first of them whole.
fn ends_with(text: &str, words: &str) -> bool {
    text.strip_suffix(words).is_some_and(|rest| !rest.chars().next_back().is_some_and(in_word))
}

/// The end of a name of at most so many words, and how many they are. Errors: `None` where the first word names nobody.
fn name(text: &str, at: usize, words_max: usize) -> Option<(usize, usize)> {
    let (mut end, mut words, mut next) = (at, 0, at);
    let mut folded = String::with_capacity(WORD_CHARS_MAX);
    while words < words_max {
        let (stop, capital) = word(text, next)?;
        folded.clear();
        text[next..stop].chars().for_each(|c| fold_char(c, &mut folded));
        if capital && is_in(NOBODY, &folded) {
            return (words > 0).then_some((end, words));
        }
        if capital {
            words += 1;
            // An initial keeps its dot.
            end = if stop - next == 1 && text[stop..].starts_with('.') && text[stop + 1..].starts_with(' ') { stop + 1 } else { stop };
        } else if words == 0 || !is_in(PARTICLES, &folded) {
            break;
        }
        let from = if capital { end } else { stop };
        if !text[from..].starts_with(' ') || !text[from + 1..].starts_with(char::is_alphabetic) {
            break;
        }
        next = from + 1;
    }
    let only_initial = words == 1 && (end - at < 2 || text[..end].ends_with('.'));
    (words > 0 && !only_initial).then_some((end, words))
}

/// The end of the word that begins at `at`, and whether it has a capital. Errors: `None` for what is no word, or too long for one of a name.
fn word(text: &str, at: usize) -> Option<(usize, bool)> {
    let mut end = at;
    let mut chars = 0;
    for c in text[at..].chars() {
        let inside = matches!(c, '\'' | '’' | '-') && text[end + c.len_utf8()..].starts_with(char::is_alphabetic);
        if !c.is_alphabetic() && !inside {
            break;
        }
        end += c.len_utf8();
        chars += 1;
        if chars > WORD_CHARS_MAX {
            return None;
        }
    }
    step(chars);
    let capital = text[at..].chars().next().is_some_and(char::is_uppercase);
    (end > at && !text[end..].starts_with(|c: char| c.is_ascii_digit() || c == '_' || c == '@')).then_some((end, capital))
}

/// The hundred most common family names and more. Source: written from general knowledge of Japanese family names.
const FAMILIES: &str = "佐藤 鈴木 高橋 田中 伊藤 渡辺 渡邊 山本 中村 小林 加藤 吉田 山田 佐々木 山口 松本 井上 木村 斎藤 斉藤 清水 山崎 池田 橋本 阿部 石川 山下 中島 石井 小川 前田 岡田 \
    長谷川 藤田 後藤 近藤 村上 遠藤 青木 坂本 福田 太田 西村 藤井 金子 岡本 藤原 三浦 中野 中川 原田 松田 竹内 小野 田村 中山 和田 石田 森田 上田 柴田 酒井 工藤 横山 宮崎 宮本 内田 \
    高木 安藤 谷口 大野 丸山 今井 高田 藤本 武田 村田 上野 杉山 増田 平野 大塚 千葉 久保 松井 小島 岩崎 桜井 野口 松尾 木下 野村 菊地 佐野 大西 杉本 新井 浜田 菅原 市川 水野 小松 島田 \
    古川 小山 高野 西田 菊池 山内 西川 五十嵐 北村 安田 中田 川口 平田 川崎 飯田 吉川 本田 久保田 沢田 辻 関 吉村 渡部 岩田 中西 服部 樋口 福島 川上 永井 松岡 田口 山中 森本";

/// Family names before `さん` or `様`, and what stands between `名前は` and `です`.
fn japanese(view: &View, found: &mut Vec<Found>) {
    let text = view.text();
    if text.is_ascii() {
        return;
    }
    for mark in ["さん", "様", "氏", "さま"] {
        for (at, _) in text.match_indices(mark) {
            step(mark.len());
            let before = &text[..at];
            let family = FAMILIES.split_ascii_whitespace().filter(|family| before.ends_with(family)).max_by_key(|family| family.len());
            if let Some(family) = family {
                found.push(Found { start: at - family.len(), end: at, hit: Hit::Name });
            }
        }
    }
    for (at, mark) in text.match_indices("名前は") {
        let start = at + mark.len();
        let len: usize = text[start..]
            .chars()
            .take(9)
            .take_while(|c| matches!(c, '一'..='龯' | 'ァ'..='ヶ' | 'ー' | '々' | ' '))
            .map(char::len_utf8)
            .sum();
        if len >= 6 && ["です", "と申", "でござ", "と言", "といい"].iter().any(|after| text[start + len..].starts_with(after)) {
            found.push(Found { start, end: start + len, hit: Hit::Name });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ScrubRules, scrub};

    fn tags(text: &str) -> String {
        let mut out = Vec::new();
        scrub(text, &ScrubRules::all(), &[], &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn names_that_are_announced() {
        for (text, want) in [
            ("Ask Mr Okafor about it", "Ask Mr [name] about it"),
            ("Mr. J. R. Okafor-Smith signed", "Mr. [name] signed"),
            ("bei Frau von der Leyden-Schmitt gekauft", "bei Frau von der Leyden-Schmitt gekauft"),
            ("bei Frau Anna von der Leyden gekauft", "bei Frau [name] gekauft"),
            ("Danke an Herrn Prof. Dr. Weiß!", "Danke an Herrn Prof. Dr. [name]!"),
            ("My name is: Ola Nordmann", "My name is: [name]"),
            ("Hello Ana, hello Bo, where", "Hello [name], hello [name], where"),
            ("Best regards\nJo Doe\nLisbon", "Best regards\n[name]\nLisbon"),
            ("Size M. Great", "Size M. Great"),
            ("I miss Berlin, and Miss Jones does", "I miss Berlin, and Miss [name] does"),
            ("merci de contacter M. Dupont", "merci de contacter M. [name]"),
            ("Dr. Martens, Mr Clean, Miss Universe", "Dr. Martens, Mr Clean, Miss Universe"),
            ("Dear Customer Service, no", "Dear Customer Service, no"),
            ("Say hello Kitty for me", "Say hello Kitty for me"),
            ("Liebe Grüße\nTom", "Liebe Grüße\n[name]"),
            ("Kind regards, Very disappointed customer", "Kind regards, Very disappointed customer"),
            ("佐々木さんと店員さん", "[name]さんと店員さん"),
        ] {
            assert_eq!(tags(text), want, "{text}");
        }
    }

    #[test]
    fn a_tenant_can_do_without() {
        let mut out = Vec::new();
        let rules = ScrubRules::all().without(&["name".into(), "handle".into()]).unwrap();
        scrub("Ask Mr Okafor, @ada or ada@example.org", &rules, &[], &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "Ask Mr Okafor, @ada or [email]");
        assert_eq!(ScrubRules::all().without(&["nickname".into()]).unwrap_err(), "nickname");
    }
}
