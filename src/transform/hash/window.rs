//! The next few hundred values of a column, made safe and ordered for the kernels: bounds settled, equal block counts together.

use super::recipe::{BLOCK, Recipe};
use crate::model::span::Span;

/// Values per window: its scratch (some 6 KB) stays on the stack and in the first-level cache.
pub(super) const WINDOW: usize = 512;

/// Longest value, in blocks, that shares its lanes with others; longer ones go one by one, as they would keep the lanes waiting.
const BLOCKS_MAX: u32 = 16;

/// Up to [`WINDOW`] values of one column. Every span lies in the arena: the kernels rely on that.
pub(super) struct Window<'a> {
    arena: &'a [u8],
    spans: [Span; WINDOW],
    /// Indices of the values, by block count, then by place; those of more than [`BLOCKS_MAX`] blocks stand last.
    order: [u16; WINDOW],
    len: usize,
    /// How many of `order` are no longer than [`BLOCKS_MAX`] blocks.
    short: usize,
}

/// Blocks that a message of `len` bytes takes once padded. Source: FIPS 180-4 §5.1.1.
#[inline(always)]
pub(super) fn blocks(len: u32) -> u32 {
    len.saturating_add(8) / BLOCK as u32 + 1
}

impl<'a> Window<'a> {
    pub fn new(arena: &'a [u8]) -> Window<'a> {
        Window { arena, spans: [Span::NONE; WINDOW], order: [0; WINDOW], len: 0, short: 0 }
    }

    /// Takes in the next values, at most [`WINDOW`]. A span outside of the arena counts as empty, as in [`Span::of`].
    pub fn fill(&mut self, recipe: &Recipe<'_>, values: &[Span]) {
        assert!(values.len() <= WINDOW, "more values than a window holds");
        let prefix_len = recipe.prefix_len as u32;
        let arena_len = self.arena.len() as u64;
        let mut len_max = 0;
        self.len = values.len();
        for (span, value) in self.spans.iter_mut().zip(values) {
            let inside = u64::from(value.start) + u64::from(value.len) <= arena_len;
            *span = if inside { *value } else { Span::NONE };
            len_max = len_max.max(span.len);
        }
        if blocks(prefix_len.saturating_add(len_max)) == 1 {
            self.short = self.len;
            for (index, slot) in self.order.iter_mut().enumerate() {
                *slot = index as u16;
            }
        } else {
            self.sort(prefix_len);
        }
    }

    /// Counting sort by block count, stable.
    fn sort(&mut self, prefix_len: u32) {
        const KEYS: usize = BLOCKS_MAX as usize + 1;
        let mut keys = [0u8; WINDOW];
        let mut counts = [0u16; KEYS];
        let spans = &self.spans[..self.len];
        for (key, span) in keys.iter_mut().zip(spans) {
            *key = (blocks(prefix_len.saturating_add(span.len)).min(BLOCKS_MAX + 1) - 1) as u8;
            counts[usize::from(*key)] += 1;
        }
        let mut next = [0u16; KEYS];
        for key in 1..KEYS {
            next[key] = next[key - 1] + counts[key - 1];
        }
        self.short = usize::from(next[KEYS - 1]);
        for (index, key) in keys[..self.len].iter().enumerate() {
            let slot = &mut next[usize::from(*key)];
            self.order[usize::from(*slot)] = index as u16;
            *slot += 1;
        }
    }

    /// The arena in which all spans lie.
    #[inline(always)]
    pub fn arena(&self) -> &'a [u8] {
        self.arena
    }

    /// A value's span. Shape: `start + len` is at most the arena's length.
    #[inline(always)]
    pub fn span(&self, index: u16) -> Span {
        self.spans[usize::from(index) % WINDOW]
    }

    /// Indices of the values that share lanes, by block count.
    pub fn short(&self) -> &[u16] {
        &self.order[..self.short]
    }

    /// Indices of the values that go one by one.
    pub fn long(&self) -> &[u16] {
        &self.order[self.short..self.len]
    }
}
