//! Numbers of documents and bank accounts that have no checksum of their own: told by the words just before them.

use super::context::{self, Topic};
use super::view::{View, fold_char, step};
use super::{Found, Hit, ScrubRules};

/// How far back the words may stand, in bytes.
const REACH_BYTES: usize = 48;

/// Folded; a passport, a driving licence, an identity card.
const DOCUMENTS: [&str; 52] = [
    "passport",
    "passeport",
    "pasaporte",
    "passaporto",
    "passaporte",
    "reisepass",
    "paspoort",
    "paszport",
    "passnummer",
    "pass-nr",
    "driver's licen",
    "drivers licen",
    "driver licen",
    "driving licen",
    "fuhrerschein",
    "fuehrerschein",
    "permis de conduire",
    "permiso de conducir",
    "carnet de conducir",
    "patente di guida",
    "rijbewijs",
    "prawo jazdy",
    "prawa jazdy",
    "carta de conducao",
    "korkort",
    "ausweis",
    "carta d'identita",
    "carta di identita",
    "carte d'identite",
    "carte nationale d'identite",
    "identity card",
    "id card",
    "dowod osobist",
    "dowodu osobist",
    "identiteitskaart",
    "identitetskort",
    "cartao de cidadao",
    "bilhete de identidade",
    "documento de identi",
    "documento d'identi",
    "documento di identi",
    "voter id",
    "voter card",
    "epic no",
    "ajokortti",
    "henkilokortti",
    "パスポート",
    "旅券",
    "免許証",
    "护照",
    "여권",
    "운전면허",
];

/// Folded; a bank account, the place of a bank.
const ACCOUNTS: [&str; 34] = [
    "bank account",
    "account number",
    "account no",
    "acct",
    "routing n",
    "sort code",
    "checking account",
    "savings account",
    "kontonummer",
    "kontonr",
    "konto-nr",
    "konto nr",
    "bankkonto",
    "girokonto",
    "bankleitzahl",
    "blz",
    "numero de compte",
    "compte bancaire",
    "numero de cuenta",
    "cuenta bancaria",
    "conto corrente",
    "numero di conto",
    "rekeningnummer",
    "bankrekening",
    "numer konta",
    "konta bankow",
    "konto bankow",
    "numero da conta",
    "numero de conta",
    "conta bancaria",
    "bankgiro",
    "口座番号",
    "银行账号",
    "계좌번호",
];

/// Appends every announced number. Bounds: each byte is in one word; `REACH_BYTES` bytes before a word that may be one are compared with some
/// eighty phrases.
pub(super) fn find(view: &View, rules: &ScrubRules, found: &mut Vec<Found>) {
    let bytes = view.bytes();
    let (mut at, mut folded) = (0, String::with_capacity(2 * REACH_BYTES));
    while at < bytes.len() {
        let len = bytes[at..].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        step(len + 1);
        let (start, end) = (at, at + len);
        at = end + 1;
        if len == 0 || !bytes[start..end].iter().any(u8::is_ascii_digit) || !view.free_before(start) || !view.free_after(end) {
            continue;
        }
        fold_before(view, start, &mut folded);
        if rules.on(Hit::NationalId) && is_document(&bytes[start..end]) && announces(&folded, &DOCUMENTS, view, start) {
            found.push(Found { start, end, hit: Hit::NationalId });
        } else if rules.on(Hit::BankAccount)
            && let Some(end) = account(view, start)
            && announces(&folded, &ACCOUNTS, view, start)
        {
            found.push(Found { start, end, hit: Hit::BankAccount });
            at = end;
        }
    }
}

/// The words before, folded, back to a line's or sentence's beginning.
fn fold_before(view: &View, start: usize, folded: &mut String) {
    let from = view.floor(start.saturating_sub(REACH_BYTES));
    let text = &view.text()[from..start];
    let cut = text.rfind(['[', ']', '\n', '!', '?', ';']).map_or(0, |i| i + 1);
    folded.clear();
    step(text.len());
    text[cut..].chars().for_each(|c| fold_char(c, folded));
}

/// Whether one of the phrases stands in the words before, and nothing behind it that names a thing.
fn announces(folded: &str, phrases: &[&str], view: &View, start: usize) -> bool {
    let Some(behind) = phrases.iter().filter_map(|p| folded.rfind(p).map(|at| at + p.len())).max() else {
        // Swedish for passport is half a word of many others.
        return phrases.len() == DOCUMENTS.len() && matches!(folded.trim_end_matches([' ', ':']).rsplit(' ').next(), Some("pass"));
    };
    let rest = &folded[behind..];
    let words = rest.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).count();
    let ended = rest.contains(". ") && !rest.contains("nr. ") && !rest.contains("no. ");
    // "Sort code" itself would be a thing's.
    words == 0 || words <= 4 && !ended && context::before(view, start) != Some(Topic::Thing)
}

/// Six to sixteen capitals and digits, three digits at least; of digits alone seven to twelve.
fn is_document(word: &[u8]) -> bool {
    let digits = word.iter().filter(|b| b.is_ascii_digit()).count();
    let capitals = word.iter().filter(|b| b.is_ascii_uppercase()).count();
    digits + capitals == word.len()
        && if capitals == 0 { (7..=12).contains(&digits) } else { (6..=16).contains(&word.len()) && digits >= 3 }
}

/// The end of six to seventeen digits, which may stand in groups.
fn account(view: &View, start: usize) -> Option<usize> {
    let (mut at, mut end, mut digits) = (start, start, 0);
    while at < start + 24 {
        match view.at(at) {
            b if b.is_ascii_digit() => {
                digits += 1;
                end = at + 1;
            }
            b' ' | b'-' if view.at(at + 1).is_ascii_digit() && view.before(at).is_ascii_digit() => {}
            _ => break,
        }
        at += 1;
    }
    ((6..=17).contains(&digits) && view.free_after(end)).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> String {
        let mut out = Vec::new();
        super::super::scrub(text, &ScrubRules::all(), &[], &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_number_is_what_it_is_announced_as() {
        for (text, want) in [
            ("My passport no. is X1234567.", "My passport no. is [national_id]."),
            ("Mein Führerschein: B072RRE2I55", "Mein Führerschein: [national_id]"),
            ("bank account 000123456789, thanks", "bank account [bank_account], thanks"),
            ("Passport holder, article 40271883, is thin", "Passport holder, article 40271883, is thin"),
            ("Shown my passport. Order AB123456 came", "Shown my passport. Order AB123456 came"),
            ("I like passports. 1234567 others do", "I like passports. 1234567 others do"),
            ("compass 98172635 points north", "compass 98172635 points north"),
        ] {
            assert_eq!(tags(text), want, "{text}");
        }
    }
}
