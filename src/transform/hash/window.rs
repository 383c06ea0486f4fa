//! The next few hundred values of a column, made safe and ordered for the kernels: bounds settled, equal block counts together.

use super::recipe::{BLOCK, Recipe};
use crate::model::span::Span;

/// Values per window: its scratch (some 6 KB) stays on the stack and in the first-level cache.
pub(super) const WINDOW: usize = 512;

/// Longest value, in blocks, that shares its lanes with others; longer ones go one by one, as they would keep the lanes waiting.
const BLOCKS_MAX: u32 = 16;

/// Blocks that a message of `len` bytes takes once padded. Source: FIPS 180-4 §5.1.1.
#[inline(always)]
pub(super) fn blocks(len: u32) -> u32 {
    len.saturating_add(8) / BLOCK as u32 + 1
}

/// Up to [`WINDOW`] values of one column, by block count, then by place; those of more than [`BLOCKS_MAX`] blocks stand last.
/// Every value lies in the arena: the kernels rely on that.
pub(super) struct Window<'a> {
    arena: &'a [u8],
    starts: [u32; WINDOW],
    lens: [u32; WINDOW],
    /// Where each value stood in the column, counted from the window's beginning.
    places: [u16; WINDOW],
    /// Whether `places` counts up from 0, as it does unless the values had to be sorted.
    in_place: bool,
    len: usize,
    /// How many values are no longer than [`BLOCKS_MAX`] blocks.
    short: usize,
}

impl<'a> Window<'a> {
    pub fn new(arena: &'a [u8]) -> Window<'a> {
        Window { arena, starts: [0; WINDOW], lens: [0; WINDOW], places: [0; WINDOW], in_place: false, len: 0, short: 0 }
    }

    /// Takes in the next values, at most [`WINDOW`]. A span outside of the arena counts as empty, as in [`Span::of`].
    // Inlined, so that it is compiled for the instructions of the kernel that calls it.
    #[inline(always)]
    pub fn fill(&mut self, recipe: &Recipe<'_>, values: &[Span]) {
        assert!(values.len() <= WINDOW, "more values than a window holds");
        let mut len_max = 0;
        for ((start, len), value) in self.starts.iter_mut().zip(&mut self.lens).zip(values) {
            let settled = settle(self.arena, *value);
            (*start, *len) = (settled.start, settled.len);
            len_max = len_max.max(*len);
        }
        self.len = values.len();
        self.short = self.len;
        let prefix_len = recipe.prefix_len as u32;
        if blocks(prefix_len.saturating_add(len_max)) > 1 {
            self.sort(prefix_len, values);
        } else if !self.in_place {
            (0..).zip(&mut self.places).for_each(|(place, slot)| *slot = place);
            self.in_place = true;
        }
    }

    /// Counting sort by block count, stable.
    #[inline(never)]
    fn sort(&mut self, prefix_len: u32, values: &[Span]) {
        const KEYS: usize = BLOCKS_MAX as usize + 1;
        let mut keys = [0u8; WINDOW];
        let mut counts = [0u16; KEYS];
        for (key, len) in keys.iter_mut().zip(&self.lens[..self.len]) {
            *key = (blocks(prefix_len.saturating_add(*len)).min(BLOCKS_MAX + 1) - 1) as u8;
            counts[usize::from(*key)] += 1;
        }
        let mut next = [0u16; KEYS];
        for key in 1..KEYS {
            next[key] = next[key - 1] + counts[key - 1];
        }
        self.short = usize::from(next[KEYS - 1]);
        for (place, (key, value)) in keys.iter().zip(values).enumerate() {
            let slot = &mut next[usize::from(*key)];
            let value = settle(self.arena, *value);
            self.starts[usize::from(*slot)] = value.start;
            self.lens[usize::from(*slot)] = value.len;
            self.places[usize::from(*slot)] = place as u16;
            *slot += 1;
        }
        self.in_place = false;
    }

    /// The values that share lanes, and those that go one by one.
    #[inline(always)]
    pub fn values(&self) -> (Values<'_>, Values<'_>) {
        let (starts, lens, places) = (&self.starts[..self.len], &self.lens[..self.len], &self.places[..self.len]);
        Values { arena: self.arena, starts, lens, places }.split_at(self.short)
    }
}

/// The span itself if it lies in the arena, else the empty one.
#[inline(always)]
fn settle(arena: &[u8], span: Span) -> Span {
    let inside = u64::from(span.start) + u64::from(span.len) <= arena.len() as u64;
    if inside { span } else { Span::NONE }
}

/// Some of a window's values. Every value lies in the arena.
#[derive(Clone, Copy)]
pub(super) struct Values<'w> {
    arena: &'w [u8],
    starts: &'w [u32],
    lens: &'w [u32],
    places: &'w [u16],
}

impl<'w> Values<'w> {
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The first `at` values, and the rest.
    #[inline(always)]
    pub fn split_at(&self, at: usize) -> (Values<'w>, Values<'w>) {
        let (starts, lens, places) = (self.starts.split_at(at), self.lens.split_at(at), self.places.split_at(at));
        let arena = self.arena;
        (
            Values { arena, starts: starts.0, lens: lens.0, places: places.0 },
            Values { arena, starts: starts.1, lens: lens.1, places: places.1 },
        )
    }

    /// The arena in which all values lie.
    #[inline(always)]
    pub fn arena(&self) -> &'w [u8] {
        self.arena
    }

    /// Where each value's result belongs in the window's part of the output.
    #[inline(always)]
    pub fn places(&self) -> &'w [u16] {
        self.places
    }

    /// The value at a position. Shape: `start + len` is at most the arena's length.
    #[inline(always)]
    pub fn span(&self, position: usize) -> Span {
        Span { start: self.starts[position], len: self.lens[position] }
    }

    /// Length of the last value. Of short values, none has more blocks.
    #[inline(always)]
    pub fn last_len(&self) -> u32 {
        self.lens.last().copied().unwrap_or(0)
    }

    /// The first `L` values as starts and lengths. Shape: missing ones are empty; `start + len` is at most the arena's length.
    #[inline(always)]
    pub fn lanes<const L: usize>(&self) -> ([u32; L], [u32; L]) {
        if let (Some(starts), Some(lens)) = (self.starts.first_chunk(), self.lens.first_chunk()) {
            return (*starts, *lens);
        }
        let (mut starts, mut lens) = ([0; L], [0; L]);
        starts[..self.len()].copy_from_slice(self.starts);
        lens[..self.len()].copy_from_slice(self.lens);
        (starts, lens)
    }
}
