//! Named steps at which a test may kill, hold or mislead this process.
//!
//! Nothing outside the tests can arm one: the shipped binary has neither a switch nor a variable for it, and costs one relaxed load a step.

use std::sync::OnceLock;

/// A step that has just been taken. The first four are any transaction's: which command's, the test knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// A transaction has begun, nothing is in it.
    Begun,
    /// Some of its records were given to the producer.
    Producing,
    /// The offsets are in it, it is not committed.
    OffsetsSent,
    /// It is committed, nobody was told.
    Committed,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Begun, Self::Producing, Self::OffsetsSent, Self::Committed];

    /// Its name in a test's command: `offsets_sent`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Producing => "producing",
            Self::OffsetsSent => "offsets_sent",
            Self::Committed => "committed",
        }
    }
}

/// A bug that a test plants to see whether the suite finds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Planted {
    /// `run` commits offsets before it produces.
    OffsetsBeforeProduce,
}

/// What a test wants to happen.
pub struct Armed {
    /// Called at each step; may never return.
    pub reached: Box<dyn Fn(Step) + Send + Sync>,
    /// The bugs that are planted.
    pub planted: Vec<Planted>,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Arms this process, once; for tests alone.
pub fn arm(armed: Armed) {
    let _ = ARMED.set(armed);
}

/// Says that a step has been taken.
pub fn reached(step: Step) {
    if let Some(armed) = ARMED.get() {
        (armed.reached)(step);
    }
}

/// Whether this bug is planted here.
#[must_use]
pub fn planted(bug: Planted) -> bool {
    ARMED.get().is_some_and(|armed| armed.planted.contains(&bug))
}
