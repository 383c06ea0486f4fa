//! First and last names, by the three rules that destinations have for them.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use super::text::{self, CLASS, DIGIT, DropReason, LETTER, PUNCTUATION, SPACE};

/// Lower case, no white space, no punctuation: `De La Cruz` → `delacruz`. Source: destinations.md §3 fn, ln (D8) and §5 (D25).
pub(super) fn joined(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    if input.is_ascii() {
        text::push_ascii_lower(input, SPACE | PUNCTUATION, out);
    } else {
        text::push_unicode_lower(input, |c| !c.is_whitespace() && !text::is_punctuation(c), out);
    }
    Ok(())
}

/// Lower case, no punctuation, inner white space kept: `Mary-Ann Lee` → `maryann lee`. Source: destinations.md §4 (D18).
pub(super) fn spaced(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    if input.is_ascii() {
        let start = out.len();
        text::push_ascii_lower(text::trim(input), PUNCTUATION, out);
        trim_appended(start, out);
    } else {
        text::push_unicode_lower(input, |c| !text::is_punctuation(c), out);
    }
    Ok(())
}

/// Lower case and trim only: Google's names with the switch for punctuation set to keep it (D18), and its streets (§4).
pub(super) fn lower(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    if input.is_ascii() {
        text::push_ascii_lower(text::trim(input), 0, out);
    } else {
        text::push_unicode_lower(input, |_| true, out);
    }
    Ok(())
}

/// Lower case, only letters, marks and white space: `R2D2` → `rd`. Source: destinations.md §6 (D30, D31).
pub(super) fn letters(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    letters_and(input, 0, |_| false, out)
}

/// Lower case, only letters, marks, decimal digits and white space: GA4's street. Source: destinations.md §6 (D30).
pub(super) fn letters_and_digits(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    letters_and(input, DIGIT, |c| c.general_category() == unicode_properties::GeneralCategory::DecimalNumber, out)
}

fn letters_and(input: &str, ascii: u8, also: impl Fn(char) -> bool, out: &mut Vec<u8>) -> Result<(), DropReason> {
    if input.is_ascii() {
        let start = out.len();
        text::push_ascii_lower(text::trim(input), !(LETTER | SPACE | ascii), out);
        trim_appended(start, out);
    } else {
        let letter = |c: char| matches!(c.general_category_group(), GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark);
        text::push_unicode_lower(input, |c| letter(c) || c.is_whitespace() || also(c), out);
    }
    Ok(())
}

/// Removed punctuation can leave white space at an end: `- Ann` → `ann`. Shape: everything from `start` on is ASCII.
fn trim_appended(start: usize, out: &mut Vec<u8>) {
    let blank = |b: &u8| CLASS[usize::from(*b)] & SPACE != 0;
    while out.len() > start && out.last().is_some_and(blank) {
        out.pop();
    }
    let leading = out[start..].iter().take_while(|b| blank(b)).count();
    if leading > 0 {
        out.drain(start..start + leading);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&str, &mut Vec<u8>) -> Result<(), DropReason>;

    fn of(rule: Rule, input: &str) -> String {
        let mut out = b" before ".to_vec();
        rule(input, &mut out).expect("names are never refused");
        String::from_utf8(out[8..].to_vec()).expect("text")
    }

    #[test]
    fn one_name_by_each_rule() {
        for (input, meta, google, ga4) in [
            ("O'Brien", "obrien", "obrien", "obrien"),
            ("Mary Ann", "maryann", "mary ann", "mary ann"),
            ("R2D2", "r2d2", "r2d2", "rd"),
            ("Jean-Luc", "jeanluc", "jeanluc", "jeanluc"),
            (" De La Cruz ", "delacruz", "de la cruz", "de la cruz"),
            ("- Ann -", "ann", "ann", "ann"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς", "οδυσσευς", "οδυσσευς"),
            ("İpek", "i\u{307}pek", "i\u{307}pek", "i\u{307}pek"),
            ("Straße", "straße", "straße", "straße"),
            ("山田 太郎", "山田太郎", "山田 太郎", "山田 太郎"),
            ("วิภา", "วิภา", "วิภา", "วิภา"),
            ("D’Arcy", "d’arcy", "d’arcy", "darcy"),
            ("vale\u{301}ry", "valéry", "valéry", "valéry"),
            ("e-\u{301}", "é", "é", "é"),
            ("J\u{30c}", "ǰ", "ǰ", "ǰ"),
            ("Ⅳ №5", "ⅳ№5", "ⅳ №5", ""),
        ] {
            assert_eq!((of(joined, input), of(spaced, input), of(letters, input)), (meta.into(), google.into(), ga4.into()), "{input}");
        }
    }

    #[test]
    fn streets_keep_digits_in_ga4_and_everything_in_google() {
        assert_eq!(of(lower, " 12, Rue de l'Église 3b "), "12, rue de l'église 3b");
        assert_eq!(of(letters_and_digits, " 12, Rue de l'Église 3b "), "12 rue de léglise 3b");
        assert_eq!(of(letters_and_digits, "#5 Main St."), "5 main st");
        assert_eq!(of(letters_and_digits, "٣ شارع ½"), "٣ شارع");
    }
}
