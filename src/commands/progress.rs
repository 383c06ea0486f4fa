//! A bar on the terminal while much is read or made; where standard error is no terminal, nothing.

use indicatif::{ProgressBar, ProgressStyle};

/// The bar. Removed when dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    waiting: u64,
}

/// Records between two steps of the bar: drawing must cost nothing beside reading.
const STEP: u64 = 1_000;

impl Progress {
    /// Begins. `total`: how many are to be done, as far as it is known; `what`: of what.
    pub(super) fn begin(total: u64, what: &str) -> Self {
        // Draws to standard error, and not at all where that is no terminal.
        let bar = ProgressBar::new(total);
        if let Ok(style) =
            ProgressStyle::with_template(&format!("{{msg}} {{wide_bar}} {{human_pos}}/{{human_len}} {what}, {{per_sec}}, {{eta}} left"))
        {
            bar.set_style(style);
        }
        Progress { bar, waiting: 0 }
    }

    /// Tells what is being read.
    pub(super) fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// One record was read.
    pub(super) fn step(&mut self) {
        self.waiting += 1;
        if self.waiting == STEP {
            self.bar.inc(std::mem::take(&mut self.waiting));
        }
    }

    /// More is to be read than was thought.
    pub(super) fn add(&self, records: u64) {
        self.bar.inc_length(records);
    }

    /// Where the bar must be by now, whatever gaps the offsets had.
    pub(super) fn at(&mut self, records: u64) {
        self.waiting = 0;
        self.bar.set_position(records);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
