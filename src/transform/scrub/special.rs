//! Special categories of personal data (GDPR article 9) in free text, by lists of terms per language.
//!
//! A match diverts the whole text, so the lists under `schemas/terms/` hold phrases in which somebody tells something about a person
//! ("diagnosed with", "as a Muslim"), and single words only where they mean nothing else. What is said in other words is not found. What only
//! looks so ("a stroke of luck") has a phrase of its own, in which nothing is found.

use aho_corasick::AhoCorasick;

use super::view::fold_char;
use std::ops::Range;

/// What GDPR article 9 protects above the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SpecialCategory {
    /// Physical or mental health, disability, pregnancy.
    Health,
    /// Religious or philosophical belief.
    Religion,
    /// Sexual orientation, sex life, gender identity.
    Orientation,
    /// Political opinion.
    Politics,
    /// Racial or ethnic origin.
    Ethnicity,
    /// Membership of a trade union.
    Union,
    /// Genetic and biometric data.
    Biometrics,
}

impl SpecialCategory {
    /// Every category, in order.
    pub const ALL: [SpecialCategory; 7] = [
        SpecialCategory::Health,
        SpecialCategory::Religion,
        SpecialCategory::Orientation,
        SpecialCategory::Politics,
        SpecialCategory::Ethnicity,
        SpecialCategory::Union,
        SpecialCategory::Biometrics,
    ];

    /// The name in configs, notices, term lists and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SpecialCategory::Health => "health",
            SpecialCategory::Religion => "religion",
            SpecialCategory::Orientation => "orientation",
            SpecialCategory::Politics => "politics",
            SpecialCategory::Ethnicity => "ethnicity",
            SpecialCategory::Union => "union",
            SpecialCategory::Biometrics => "biometrics",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }
}

/// The lists that come with Lethe, by language.
const BUILTIN: [(&str, &str); 9] = [
    ("en", include_str!("../../../schemas/terms/en.txt")),
    ("de", include_str!("../../../schemas/terms/de.txt")),
    ("fr", include_str!("../../../schemas/terms/fr.txt")),
    ("es", include_str!("../../../schemas/terms/es.txt")),
    ("it", include_str!("../../../schemas/terms/it.txt")),
    ("pt", include_str!("../../../schemas/terms/pt.txt")),
    ("nl", include_str!("../../../schemas/terms/nl.txt")),
    ("pl", include_str!("../../../schemas/terms/pl.txt")),
    ("sv", include_str!("../../../schemas/terms/sv.txt")),
];

/// The most alternatives one term may stand for, so that a list cannot blow up.
const EXPANSIONS_MAX: usize = 4_096;
/// The longest term, in bytes; a longer one is ignored.
const TERM_BYTES_MAX: usize = 256;

#[derive(Clone, Debug)]
struct Term {
    /// Folded, without the star.
    text: String,
    /// The last word may go on: an inflection.
    open: bool,
    /// Nothing is found where this stands.
    harmless: bool,
    category: SpecialCategory,
    /// `None` holds in every language.
    language: Option<Box<str>>,
}

/// The terms to look for, compiled once per tenant.
#[derive(Clone, Debug, Default)]
pub struct SpecialTerms {
    terms: Vec<Term>,
    automaton: Option<AhoCorasick>,
}

impl SpecialTerms {
    /// The lists that come with Lethe: English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Swedish.
    #[must_use]
    pub fn builtin() -> Self {
        let mut terms = Vec::new();
        for (language, list) in BUILTIN {
            read_list(language, list, &mut terms);
        }
        Self::compile(terms)
    }

    /// No terms: nothing is ever found.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a tenant's own terms. Shape: each a phrase, case and accents do not matter, a star at the end lets the last word go on;
    /// `language` is a two-letter code, `None` for all. Empty terms are ignored.
    #[must_use]
    pub fn with_extra<'t>(mut self, category: SpecialCategory, language: Option<&str>, terms: impl IntoIterator<Item = &'t str>) -> Self {
        let language = language.map(primary);
        for term in terms {
            push_term(term, category, language.as_deref(), &mut self.terms);
        }
        Self::compile(self.terms)
    }

    /// Leaves out categories that a tenant does not want watched.
    #[must_use]
    pub fn only(mut self, categories: &[SpecialCategory]) -> Self {
        self.terms.retain(|t| categories.contains(&t.category));
        Self::compile(self.terms)
    }

    fn compile(terms: Vec<Term>) -> Self {
        let automaton = AhoCorasick::new(terms.iter().map(|t| t.text.as_bytes())).ok().filter(|_| !terms.is_empty());
        Self { terms, automaton }
    }
}

/// The category of the first term found in the text. `language` (a tag such as `de` or `pt-BR`) chooses that language's list and the
/// English one; absent or unknown, all lists count. Bounds: linear in the text, by one automaton over all terms.
#[must_use]
pub fn special_category(text: &str, language: Option<&str>, terms: &SpecialTerms) -> Option<SpecialCategory> {
    let automaton = terms.automaton.as_ref()?;
    let language = language.map(primary).filter(|l| terms.terms.iter().any(|t| t.language.as_deref() == Some(l)));
    let folded = fold(text);
    let said = || {
        automaton.find_overlapping_iter(&folded).filter_map(|m| {
            let term = &terms.terms[m.pattern().as_usize()];
            let spoken = language.is_none()
                || matches!(term.language.as_deref(), None | Some("en"))
                || term.language.as_deref() == language.as_deref();
            let begins = !folded[..m.start()].chars().next_back().is_some_and(char::is_alphanumeric);
            let ends = term.open || !folded[m.end()..].chars().next().is_some_and(char::is_alphanumeric);
            (spoken && begins && ends).then_some((m.range(), term))
        })
    };
    said().find(|(_, term)| !term.harmless)?;
    // In the order of their ends, as they were found; none is longer than a phrase.
    let harmless: Vec<Range<usize>> = said().filter(|(_, term)| term.harmless).map(|(range, _)| range).collect();
    let excused = |range: &Range<usize>| {
        let near = &harmless[harmless.partition_point(|h| h.end <= range.start)..];
        near.iter().take_while(|h| h.end < range.end + TERM_BYTES_MAX).any(|h| h.start < range.end)
    };
    said().find(|(range, term)| !term.harmless && !excused(range)).map(|(_, term)| term.category)
}

fn primary(tag: &str) -> Box<str> {
    tag.split(['-', '_']).next().unwrap_or("").to_ascii_lowercase().into()
}

/// Lower case, no accents, one space between words, a full stop for whatever parts sentences.
fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        // ASCII letters in one go: nearly all of nearly every text.
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        if letters > 0 {
            let from = out.len();
            out.push_str(&rest[..letters]);
            out[from..].make_ascii_lowercase();
            rest = &rest[letters..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        if c.is_alphanumeric() || matches!(c, '\u{0300}'..='\u{036F}') || matches!(c, '\'' | '’' | 'ʼ') {
            fold_char(c, &mut out);
            continue;
        }
        let gap = if c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '_' | '/' | '"' | '«' | '»' | '“' | '”' | '„' | '*')
        {
            ' '
        } else {
            '.'
        };
        match (out.chars().next_back(), gap) {
            (Some(' ' | '.'), ' ') => {}
            (Some(' '), '.') => {
                out.pop();
                out.push('.');
            }
            _ => out.push(gap),
        }
    }
    out
}

/// Reads a list: `[category]` heads a part, `name = a | b` names alternatives, `{name}` stands for each of them, `!` begins a phrase in which nothing is found, `#` opens
/// a comment.
fn read_list(language: &str, list: &str, terms: &mut Vec<Term>) {
    let mut names: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut category = None;
    for line in list.lines().map(|l| l.split('#').next().unwrap_or("").trim()).filter(|l| !l.is_empty()) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            category = SpecialCategory::from_name(name);
        } else if let Some((name, alternatives)) = line.split_once('=') {
            names.push((name.trim(), alternatives.split('|').map(str::trim).collect()));
        } else if let (Some(category), Some(phrase)) = (category, line.strip_prefix('!')) {
            push(phrase, true, category, Some(language), terms);
        } else if let Some(category) = category {
            for term in expand(line, &names) {
                push_term(&term, category, Some(language), terms);
            }
        }
    }
}

fn expand(line: &str, names: &[(&str, Vec<&str>)]) -> Vec<String> {
    let mut lines = vec![line.to_owned()];
    for (name, alternatives) in names {
        let mark = format!("{{{name}}}");
        if lines.iter().any(|l| l.contains(&mark)) && lines.len() * alternatives.len() <= EXPANSIONS_MAX {
            lines = lines.iter().flat_map(|l| alternatives.iter().map(|a| l.replace(&mark, a))).collect();
        }
    }
    // Of a line that stands for more than it may there is nothing: a name in braces is no word.
    lines.retain(|l| !l.contains('{'));
    lines
}

fn push_term(term: &str, category: SpecialCategory, language: Option<&str>, terms: &mut Vec<Term>) {
    push(term, false, category, language, terms);
}

fn push(term: &str, harmless: bool, category: SpecialCategory, language: Option<&str>, terms: &mut Vec<Term>) {
    let open = term.trim().ends_with('*');
    let text = fold(term.trim().trim_end_matches('*')).trim_matches([' ', '.']).to_owned();
    if !text.is_empty() && text.len() <= TERM_BYTES_MAX {
        terms.push(Term { text, open, harmless, category, language: language.map(Into::into) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, language: Option<&str>) -> Option<SpecialCategory> {
        special_category(text, language, &SpecialTerms::builtin())
    }

    #[test]
    fn tells_each_category_in_each_language() {
        use SpecialCategory::*;
        let cases = [
            ("Since I was diagnosed with MS I order online", "en", Health),
            ("As a Muslim I cannot eat it", "en", Religion),
            ("I'm Jewish, so no Saturdays", "en", Religion),
            ("Als Muslimin finde ich das unpassend", "de", Religion),
            ("My husband has dementia", "en", Health),
            ("As a practising Muslim I found the advert offensive", "en", Religion),
            ("My son is autistic and loved it", "en", Health),
            ("I'm a lesbian and felt unwelcome", "en", Orientation),
            ("I'm a lifelong Tory, still, great shop", "en", Politics),
            ("The clerk ignored me because I'm Black", "en", Ethnicity),
            ("I am a trade union member.", "en", Union),
            ("You stored my fingerprints without asking", "en", Biometrics),
            ("Ich bin im achten Monat schwanger", "de", Health),
            ("Wegen meines Kopftuchs wurde ich angestarrt", "de", Religion),
            ("Als Diabetikerin brauche ich das", "de-AT", Health),
            ("Je suis séropositif et", "fr", Health),
            ("Je suis musulmane pratiquante", "fr_CA", Religion),
            ("Soy celíaca y la salsa llevaba trigo", "es", Health),
            ("estoy EMBARAZADA de seis meses", "es", Health),
            ("Sono iscritta alla CGIL", "it", Union),
            ("Sou católica praticante", "pt", Religion),
            ("Ik ben homo en", "nl", Orientation),
            ("Jestem w ciąży", "pl", Health),
            ("jestem w ciazy", "pl", Health),
            ("He's HIV-positive", "en", Health),
            ("What a stroke of luck, I was diagnosed with MS in time", "en", Health),
            ("Cette enceinte est lourde, et je suis enceinte de trois mois", "fr", Health),
            ("Ich habe die Grünen gewählt", "de", Politics),
            ("Jag är gravid i sjunde månaden", "sv", Health),
            ("Jag är medlem i IF Metall", "sv", Union),
        ];
        for (text, language, category) in cases {
            assert_eq!(found(text, Some(language)), Some(category), "{text}");
            assert_eq!(found(text, None), Some(category), "{text}");
        }
    }

    #[test]
    fn ordinary_feedback_passes() {
        let texts = [
            "The black sofa is great, the white one too",
            "Der Bezug ist schwarz, die Kissen grau",
            "Le canapé est noir et gay",
            "Delivery was a nightmare, I was sick of waiting",
            "The union of design and price",
            "I voted 5 stars",
            "Il codice è invalido",
            "Trzy kila mąki",
            "Die Krankenkasse-App stürzt ab",
            "My race bike arrived",
            "Christmas gifts",
            "The cancer zodiac mug",
            "Party dress for the weekend",
            "Straight cut trousers, gay colours",
            "Le service est malade de lenteur",
            "O serviço está deficiente",
            "",
            "5/5",
            "😀",
            "Sushi rice, kosher salt and halal chicken were fresh",
            "headphones stopped working, I have MS Office",
            "The colour came out as dark green",
            "I had a stroke of luck with this one",
            "The laptop was diagnosed with a faulty fan",
            "My fingerprint sensor stopped working, my fingerprints on the case stay",
            "Ich habe die grünen Schuhe und die linke Tür bestellt, und Corona Bier: Ich habe Corona Bier bestellt",
            "Cette enceinte de bureau est bien, ma foi",
            "Me ingresaron el dinero en la cuenta, la tecla es sorda",
            "I codici sono invalidi, la mia fede è arrivata graffiata",
            "De jas kwam uit de kast, mijn geloof in deze winkel is weg",
            "Głosuję po raz pierwszy, moja partia towaru nie dotarła",
        ];
        for text in texts {
            assert_eq!(found(text, None), None, "{text}");
        }
    }

    #[test]
    fn a_tenant_adds_and_leaves_out() {
        let terms = SpecialTerms::none().with_extra(SpecialCategory::Union, Some("sv"), ["fackförbund*", "", "*"]);
        assert_eq!(special_category("Mitt Fackförbundet sa", Some("sv"), &terms), Some(SpecialCategory::Union));
        assert_eq!(special_category("mitt fackforbund", None, &terms), Some(SpecialCategory::Union));
        let only = SpecialTerms::builtin().only(&[SpecialCategory::Religion]);
        assert_eq!(special_category("I am pregnant", None, &only), None);
        assert_eq!(special_category("I am pregnant", None, &SpecialTerms::none()), None);
    }

    #[test]
    fn every_line_of_every_list_is_read() {
        for (language, list) in BUILTIN {
            let names = list.lines().filter_map(|l| l.split_once(" = ")).filter(|(name, _)| !name.contains(' '));
            let names: Vec<(&str, Vec<&str>)> = names.map(|(name, all)| (name, all.split(" | ").collect())).collect();
            for line in list.lines().filter(|l| l.contains('{') && !l.starts_with('#')) {
                assert!(!expand(line, &names).is_empty(), "{language}: {line}");
            }
            let mut terms = Vec::new();
            read_list(language, list, &mut terms);
            assert!(terms.iter().all(|t| !t.text.contains(['{', '}', '|', '!'])), "{language}");
            for category in SpecialCategory::ALL {
                assert!(terms.iter().filter(|t| t.category == category && !t.harmless).count() >= 10, "{language} {category:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_goes_through(text in "\\PC{0,60}", language in proptest::option::of("\\PC{0,5}")) {
            let terms = SpecialTerms::none().with_extra(SpecialCategory::Health, None, ["é*", "a b"]);
            let _ = special_category(&text, language.as_deref(), &terms);
        }
    }
}
