//! A byte range in an arena: how columns refer to text without owning it.

/// A byte range in an arena. Shape: `start` and `len` in bytes; the empty span stands for "absent".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte, from the arena's beginning.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// The absent value.
    pub const NONE: Span = Span { start: 0, len: 0 };

    /// The bytes the span stands for. Shape: `len` bytes; empty when the span does not lie in the arena.
    #[inline]
    #[must_use]
    pub fn of<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        arena.get(start..start + self.len as usize).unwrap_or(&[])
    }

    /// The text that the span stands for. Shape: as [`Span::of`]; empty also when it would split a character.
    #[inline]
    #[must_use]
    pub fn text<'a>(&self, arena: &'a str) -> &'a str {
        let start = self.start as usize;
        arena.get(start..start + self.len as usize).unwrap_or("")
    }

    /// The span that covers what was appended to `arena` since it was `start` bytes long.
    #[inline]
    #[must_use]
    pub fn since(start: usize, arena: &[u8]) -> Span {
        Span { start: start as u32, len: (arena.len() - start) as u32 }
    }

    /// Whether nothing is there.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
