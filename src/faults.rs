//! Named steps at which a test may kill, hold or mislead this process.
//!
//! Nothing outside the tests can arm one: the shipped binary has neither a switch nor a variable for it, and costs one relaxed load a step.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

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
    /// A sweep has found what must go in a topic; nothing of it is written.
    Swept,
    /// All is gone and read back, the certificate is not written.
    Certifying,
    /// The topics of a terminated tenant were deleted, the audit does not know.
    TopicsDeleted,
    /// Its keys were destroyed, the audit does not know.
    KeysDestroyed,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Begun,
        Self::Producing,
        Self::OffsetsSent,
        Self::Committed,
        Self::Swept,
        Self::Certifying,
        Self::TopicsDeleted,
        Self::KeysDestroyed,
    ];
    /// Those of a transaction.
    pub const OF_TRANSACTIONS: [Self; 4] = [Self::Begun, Self::Producing, Self::OffsetsSent, Self::Committed];

    /// Its name in a test's command: `offsets_sent`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Producing => "producing",
            Self::OffsetsSent => "offsets_sent",
            Self::Committed => "committed",
            Self::Swept => "swept",
            Self::Certifying => "certifying",
            Self::TopicsDeleted => "topics_deleted",
            Self::KeysDestroyed => "keys_destroyed",
        }
    }
}

/// A bug that a test plants to see whether the suite finds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Planted {
    /// `run` commits offsets before it produces.
    OffsetsBeforeProduce,
    /// `retain` sweeps without waiting until every worker has taken the directive in.
    DropBarrier,
    /// `retain` writes no roll records for an erasure's tombstones.
    SkipRoll,
    /// `run` logs the payload of rows that it rejects.
    LogRejected,
    /// A commit that failed is taken for one that was made.
    CommitTakenForGranted,
    /// `run` does not hear that the second tenant of its config is paused.
    ForgetTenant,
    /// `run` reads some rows again when partitions are assigned to it.
    ReadAgain,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::OffsetsBeforeProduce,
        Self::DropBarrier,
        Self::SkipRoll,
        Self::LogRejected,
        Self::CommitTakenForGranted,
        Self::ForgetTenant,
        Self::ReadAgain,
    ];

    /// Its name in a test's command: `drop_barrier`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OffsetsBeforeProduce => "offsets_before_produce",
            Self::DropBarrier => "drop_barrier",
            Self::SkipRoll => "skip_roll",
            Self::LogRejected => "log_rejected",
            Self::CommitTakenForGranted => "commit_taken_for_granted",
            Self::ForgetTenant => "forget_tenant",
            Self::ReadAgain => "read_again",
        }
    }
}

/// What a test wants to happen.
pub struct Armed {
    /// Called at each step; may never return.
    pub reached: Box<dyn Fn(Step) + Send + Sync>,
    /// The bugs that are planted.
    pub planted: Vec<Planted>,
}

static ARMED: OnceLock<Armed> = OnceLock::new();
static CLOCK_SHIFT_MS: AtomicI64 = AtomicI64::new(0);

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

/// Steps this process's clock; for tests alone. Units: ms from the true time.
pub fn step_clock(shift_ms: i64) {
    CLOCK_SHIFT_MS.store(shift_ms, Ordering::Relaxed);
}

/// How far this process's clock was stepped. Units: ms.
#[must_use]
pub fn clock_shift_ms() -> i64 {
    CLOCK_SHIFT_MS.load(Ordering::Relaxed)
}
