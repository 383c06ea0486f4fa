//! Categories of record: each has its own output topic and its own window.

use serde::{Deserialize, Serialize};

/// The kind of record, as `raw event.kind` names it and as the output topics are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Category {
    /// Tracking events.
    Events,
    /// Conversions.
    Conversions,
    /// Customer feedback.
    Feedback,
    /// Session replays: opaque bodies.
    Replay,
    /// Media: opaque bodies.
    Media,
    /// Technical logs.
    Logs,
    /// Computed sessions, written by `lethe sessions`.
    Sessions,
    /// Short-lived clear network identifiers.
    Network,
}

impl Category {
    /// Every category, in the order of their numbers.
    pub const ALL: [Category; 8] = [
        Category::Events,
        Category::Conversions,
        Category::Feedback,
        Category::Replay,
        Category::Media,
        Category::Logs,
        Category::Sessions,
        Category::Network,
    ];

    /// The name in topics, config and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Category::Events => "events",
            Category::Conversions => "conversions",
            Category::Feedback => "feedback",
            Category::Replay => "replay",
            Category::Media => "media",
            Category::Logs => "logs",
            Category::Sessions => "sessions",
            Category::Network => "network",
        }
    }

    /// The category that a raw event's `kind` picks; `None` for a word that is not one.
    #[must_use]
    pub fn from_kind(kind: &str) -> Option<Category> {
        Some(match kind {
            "event" => Category::Events,
            "conversion" => Category::Conversions,
            "feedback" => Category::Feedback,
            "replay" => Category::Replay,
            "media" => Category::Media,
            "log" => Category::Logs,
            _ => return None,
        })
    }
}
