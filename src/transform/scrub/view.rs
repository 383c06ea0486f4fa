//! The text as the finders read it: full-width and foreign digits as ASCII, one kind of space and of dash, nothing invisible.

use std::borrow::Cow;

use unicode_normalization::char::decompose_canonical;

/// What a first look at the bytes tells.
pub(super) struct Triggers {
    /// Something that a hit needs is there: a digit, `@`, `:`, `?`, a bracket, or a character that may stand for one.
    pub shapes: bool,
    /// Characters that `View::plain` may have to replace are there.
    pub exotic: bool,
}

/// Looks once at every byte. Bounds: one comparison chain per byte, which the compiler turns into vector code.
pub(super) fn triggers(text: &str) -> Triggers {
    let (mut shapes, mut exotic) = (0u8, 0u8);
    for chunk in text.as_bytes().chunks(4096) {
        for &b in chunk {
            let lead = (b == 0xC2) | (b == 0xCD) | (b.wrapping_sub(0xD8) < 4) | (b.wrapping_sub(0xE0) < 4) | (b == 0xEF) | (b >= 0xF0);
            exotic |= u8::from(lead);
            // '0'..=':' are neighbours in ASCII, and so are '?' and '@'.
            shapes |= u8::from((b.wrapping_sub(b'0') < 11) | (b.wrapping_sub(b'?') < 2));
        }
    }
    Triggers { shapes: (shapes | exotic) != 0, exotic: exotic != 0 }
}

/// A text and the way back from each of its bytes to the original's.
pub(super) struct View<'a> {
    text: Cow<'a, str>,
    /// Original offset of each byte, and of the end; empty when they are the same.
    map: Vec<usize>,
}

impl<'a> View<'a> {
    /// The text with look-alikes of digits, spaces, dashes and signs made ASCII.
    pub(super) fn plain(text: &'a str, exotic: bool) -> Self {
        if !exotic || !text.chars().any(|c| plain_char(c) != Some(c)) {
            return Self { text: Cow::Borrowed(text), map: Vec::new() };
        }
        Self::rewritten(text, |c, out| out.extend(plain_char(c)))
    }

    /// The text without case and accents, for comparing words.
    pub(super) fn folded(text: &'a str) -> Self {
        if text.is_ascii() {
            return Self { text: Cow::Owned(text.to_ascii_lowercase()), map: Vec::new() };
        }
        Self::rewritten(text, fold_char)
    }

    fn rewritten(text: &str, each: impl Fn(char, &mut String)) -> Self {
        let mut out = String::with_capacity(text.len());
        let mut map = Vec::with_capacity(text.len() + 1);
        for (at, c) in text.char_indices() {
            each(c, &mut out);
            map.resize(out.len(), at);
        }
        map.push(text.len());
        Self { text: Cow::Owned(out), map }
    }

    /// The original offset of a boundary between characters.
    pub(super) fn origin(&self, at: usize) -> usize {
        if self.map.is_empty() { at } else { self.map[at] }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The byte at `at`, 0 past either end.
    pub(super) fn at(&self, at: usize) -> u8 {
        self.bytes().get(at).copied().unwrap_or(0)
    }

    /// The byte before `at`, 0 at the beginning.
    pub(super) fn before(&self, at: usize) -> u8 {
        at.checked_sub(1).map_or(0, |i| self.at(i))
    }

    /// Whether a word may begin at `at`: no letter or digit before it (a script without spaces does not count).
    pub(super) fn free_before(&self, at: usize) -> bool {
        let b = self.before(at);
        if b < 0x80 { !b.is_ascii_alphanumeric() && b != b'_' } else { !self.text[..at].chars().next_back().is_some_and(in_word) }
    }

    /// Whether a word may end at `at`.
    pub(super) fn free_after(&self, at: usize) -> bool {
        let b = self.at(at);
        if b < 0x80 { !b.is_ascii_alphanumeric() && b != b'_' } else { !self.text[at..].chars().next().is_some_and(in_word) }
    }

    /// `at` moved down to a character boundary.
    pub(super) fn floor(&self, at: usize) -> usize {
        self.text.floor_char_boundary(at)
    }
}

/// A letter or digit of a script that puts spaces between words.
pub(super) fn in_word(c: char) -> bool {
    c.is_alphanumeric() && !unspaced(c)
}

/// Scripts written without spaces between words: Thai, Lao, Khmer, Burmese, kana, Han, full-width forms; and Hangul, whose particles follow the word directly.
pub(crate) fn unspaced(c: char) -> bool {
    matches!(u32::from(c), 0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1100..=0x11FF | 0x1780..=0x17FF | 0x2E80..=0xD7FF | 0xF900..=0xFAFF | 0xFF00..=0xFFEF | 0x20000..=0x3FFFF)
}

/// What `View::plain` shows for a character; `None` for the invisible.
fn plain_char(c: char) -> Option<char> {
    let code = u32::from(c);
    let digit = |zero: u32| char::from_u32(u32::from('0') + code - zero);
    match code {
        // Soft hyphens, joiners, marks of direction; and what makes an emoji of a digit.
        0x00AD | 0x034F | 0x061C | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x2064 | 0x2066..=0x2069 | 0xFEFF => None,
        0x20E3 | 0xFE00..=0xFE0F | 0xE0000..=0xE01EF => None,
        0x00A0 | 0x2000..=0x200A | 0x202F | 0x205F | 0x3000 => Some(' '),
        0x2010..=0x2015 | 0x2212 | 0xFE58 | 0xFE63 => Some('-'),
        0x2024 => Some('.'),
        0xFF01..=0xFF5E => char::from_u32(code - 0xFEE0),
        0x0660..=0x0669 => digit(0x0660),
        0x06F0..=0x06F9 => digit(0x06F0),
        0x0E50..=0x0E59 => digit(0x0E50),
        0x0ED0..=0x0ED9 => digit(0x0ED0),
        // Of the scripts of India each has a block of 128, with its digits at the same place.
        0x0966..=0x0D6F if matches!(code & 0x7F, 0x66..=0x6F) => digit((code & !0x7F) | 0x66),
        0x1040..=0x1049 => digit(0x1040),
        0x17E0..=0x17E9 => digit(0x17E0),
        // Mathematical bold, double-struck and so on.
        0x1D7CE..=0x1D7FF => digit(0x1D7CE + (code - 0x1D7CE) / 10 * 10),
        _ => Some(c),
    }
}

/// Appends the character in lower case, without the accents of Latin and Greek, look-alikes made ASCII.
pub(crate) fn fold_char(c: char, out: &mut String) {
    if c.is_ascii() {
        out.push(c.to_ascii_lowercase());
        return;
    }
    let Some(c) = plain_char(c) else { return };
    match c {
        'ł' | 'Ł' => out.push('l'),
        'ø' | 'Ø' => out.push('o'),
        'đ' | 'Đ' => out.push('d'),
        'ı' => out.push('i'),
        'ς' => out.push('σ'),
        'ß' | 'ẞ' => out.push_str("ss"),
        'æ' | 'Æ' => out.push_str("ae"),
        'œ' | 'Œ' => out.push_str("oe"),
        '’' | '‘' | 'ʼ' => out.push('\''),
        '\u{0300}'..='\u{036F}' => {}
        '\u{00C0}'..='\u{024F}' | '\u{1E00}'..='\u{1FFF}' | '\u{0370}'..='\u{03FF}' => decompose_canonical(c, |part| {
            if !matches!(part, '\u{0300}'..='\u{036F}') {
                out.extend(part.to_lowercase());
            }
        }),
        _ => out.extend(c.to_lowercase()),
    }
}

/// Counts `n` bytes looked at. Nothing outside of tests.
#[inline(always)]
pub(super) fn step(n: usize) {
    #[cfg(test)]
    steps::add(n);
    let _ = n;
}

/// Steps counted in tests only, to show that the work is linear in the text.
#[cfg(test)]
pub(super) mod steps {
    use std::cell::Cell;
    thread_local! { static STEPS: Cell<u64> = const { Cell::new(0) }; }
    pub(crate) fn add(n: usize) {
        STEPS.with(|s| s.set(s.get() + n as u64));
    }
    pub(crate) fn take() -> u64 {
        STEPS.with(|s| s.replace(0))
    }
}
