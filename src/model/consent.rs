//! Purposes, legal bases and the consent that comes with an event.

use serde::{Deserialize, Serialize};

/// What a person can consent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Purpose {
    /// Functional identifiers.
    Functional,
    /// Statistics.
    Analytics,
    /// Advertising destinations.
    Ads,
    /// Personalised advertising.
    Personalization,
}

impl Purpose {
    /// Every purpose, in the order of their numbers.
    pub const ALL: [Purpose; 4] = [Purpose::Functional, Purpose::Analytics, Purpose::Ads, Purpose::Personalization];

    /// The name in events, config and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Functional => "functional",
            Purpose::Analytics => "analytics",
            Purpose::Ads => "ads",
            Purpose::Personalization => "personalization",
        }
    }
}

/// Why a category may be processed (GDPR art. 6): a purpose that needs consent, or a basis that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Consent to functional identifiers.
    Functional,
    /// Consent to statistics.
    Analytics,
    /// Consent to advertising.
    Ads,
    /// Consent to personalised advertising.
    Personalization,
    /// A contract with the person.
    Contract,
    /// Legitimate interest.
    LegitimateInterest,
    /// Security: fraud and abuse.
    Security,
}

impl Basis {
    /// The purpose that must have been consented to; `None` where no consent is needed.
    #[must_use]
    pub fn consent_needed(self) -> Option<Purpose> {
        match self {
            Basis::Functional => Some(Purpose::Functional),
            Basis::Analytics => Some(Purpose::Analytics),
            Basis::Ads => Some(Purpose::Ads),
            Basis::Personalization => Some(Purpose::Personalization),
            Basis::Contract | Basis::LegitimateInterest | Basis::Security => None,
        }
    }

    /// The name in config and in records' `legal_basis`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Basis::Functional => "consent:functional",
            Basis::Analytics => "consent:analytics",
            Basis::Ads => "consent:ads",
            Basis::Personalization => "consent:personalization",
            Basis::Contract => "contract",
            Basis::LegitimateInterest => "legitimate_interest",
            Basis::Security => "security",
        }
    }
}

/// The consent object of one event. Shape: one answer a purpose, `None` where the event says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    answers: [Option<bool>; 4],
    /// When it was given, ms since the epoch; the event's own time where the event does not say.
    pub given_at_ms: Option<i64>,
    /// The person opted out of sale or sharing of their data.
    pub opt_out_of_sale: bool,
    /// Whether the event had a consent object at all.
    pub present: bool,
}

impl Consent {
    /// What the event says about `purpose`.
    #[must_use]
    pub fn answer(&self, purpose: Purpose) -> Option<bool> {
        self.answers[purpose as usize]
    }

    /// Records an answer; the last one wins.
    pub fn set(&mut self, purpose: Purpose, answer: Option<bool>) {
        self.answers[purpose as usize] = answer;
    }

    /// Whether `purpose` was consented to once, and the consent had run out: the person may be asked again. Units: as [`Consent::allows`].
    #[must_use]
    pub fn has_run_out(&self, purpose: Purpose, occurred_at_ms: i64, at_ms: i64, validity_ms: i64) -> bool {
        // A time that could not be read is none.
        let given_at = self.given_at_ms.unwrap_or(occurred_at_ms);
        self.answer(purpose) == Some(true) && given_at != i64::MIN && at_ms.saturating_sub(given_at) > validity_ms
    }

    /// Whether `purpose` was consented to and the consent had not run out. Unknown or expired means no.
    ///
    /// Units: `at_ms` is when the event was received, `validity_ms` how long a consent counts, `tolerance_ms` how far ahead a clock may be.
    #[must_use]
    pub fn allows(&self, purpose: Purpose, occurred_at_ms: i64, at_ms: i64, validity_ms: i64, tolerance_ms: i64) -> bool {
        let given_at = self.given_at_ms.unwrap_or(occurred_at_ms);
        self.answer(purpose) == Some(true)
            && given_at <= at_ms.saturating_add(tolerance_ms)
            && at_ms.saturating_sub(given_at) <= validity_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn given(answer: Option<bool>, at: Option<i64>) -> Consent {
        let mut c = Consent { given_at_ms: at, present: true, ..Consent::default() };
        c.set(Purpose::Ads, answer);
        c
    }

    #[test]
    fn unknown_denied_and_expired_mean_no() {
        let now = 1_000 * DAY;
        assert!(given(Some(true), Some(now - DAY)).allows(Purpose::Ads, now, now, 183 * DAY, 0));
        assert!(!given(Some(true), Some(now - 184 * DAY)).allows(Purpose::Ads, now, now, 183 * DAY, 0));
        let run_out = |answer, at| given(answer, at).has_run_out(Purpose::Ads, now, now, 183 * DAY);
        assert!(run_out(Some(true), Some(now - 184 * DAY)) && !run_out(Some(true), Some(now - DAY)) && !run_out(Some(true), None));
        assert!(!run_out(Some(false), Some(now - 184 * DAY)) && !run_out(Some(true), Some(i64::MIN)));
        assert!(!given(Some(false), Some(now)).allows(Purpose::Ads, now, now, 183 * DAY, 0));
        assert!(!given(None, Some(now)).allows(Purpose::Ads, now, now, 183 * DAY, 0));
        assert!(!given(Some(true), Some(now)).allows(Purpose::Analytics, now, now, 183 * DAY, 0));
        assert!(
            !given(Some(true), Some(now + 2 * DAY)).allows(Purpose::Ads, now, now, 183 * DAY, DAY),
            "a consent from the future is none"
        );
        assert!(given(Some(true), None).allows(Purpose::Ads, now, now, 183 * DAY, 0), "given with the event");
    }
}
