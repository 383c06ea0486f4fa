//! Step 2: free text is scrubbed while the row's own clear values are still at hand; rows that speak of a special category are held back.

use crate::model::category::Category;
use crate::model::field::Field;
use crate::model::rejected::{Reason, Rejected};
use crate::model::span::Span;
use crate::transform::batch::{Batch, Clear, ClearText};
use crate::transform::destinations::names::Canonical;
use crate::transform::own_values::{Own, OwnValues, Which};
use crate::transform::route::{Primary, Route};
use crate::transform::rules::{Rules, TenantRules};
use crate::transform::scrub::{Hit, HitCounts, ScrubRules, SpecialCategory, scrub, special_category, unspaced};
use percent_encoding::percent_decode_str;

/// Longest scrubbed text of an item or custom variable; the rest is cut. Units: bytes.
const MAX_SHORT_TEXT_BYTES: usize = 1_024;

/// The scrubbed texts of all rows.
pub struct FreeTexts<'a> {
    arena: Vec<u8>,
    event_names: Vec<&'a str>,
    /// Event names in which something was found: row and text.
    scrubbed_names: Vec<(u32, Span)>,
    feedback: Vec<(u32, Span)>,
    customs: Vec<(u32, u16, Span)>,
    /// Item texts in which something was found: row, item, which text.
    items: Vec<(usize, usize, usize, Span)>,
    /// URLs in which a value of the row's own was found.
    urls: Vec<(usize, Field, Span)>,
    /// What was found.
    pub hits: HitCounts,
    /// Rows held back: row of the batch, category, field.
    pub special: Vec<(u32, SpecialCategory, Field)>,
}

/// Shortest date of birth that is searched for: a year alone is a word of every text. Units: bytes.
const MIN_BIRTH_DATE_BYTES: usize = 6;

/// Where the row's own values stand and what they are called in the text. Fields of which the record holds a coarser form (country, state,
/// gender) are not searched for: their values are words of every text. A date of birth is found as it came, not in another writing.
const KNOWN: [(Hit, Field); 20] = [
    (Hit::FirstName, Field::FirstName),
    (Hit::LastName, Field::LastName),
    (Hit::Street, Field::Street),
    (Hit::City, Field::City),
    (Hit::City, Field::Zip),
    (Hit::Email, Field::Email),
    (Hit::Phone, Field::Phone),
    (Hit::Name, Field::FeedbackAuthor),
    (Hit::ExternalId, Field::ExternalId),
    (Hit::ExternalId, Field::ClientId),
    (Hit::ExternalId, Field::SessionId),
    (Hit::ExternalId, Field::GaClientId),
    (Hit::ExternalId, Field::Fbp),
    (Hit::ExternalId, Field::Fbc),
    (Hit::ExternalId, Field::Ttp),
    (Hit::ExternalId, Field::Fingerprint),
    (Hit::ExternalId, Field::EventId),
    (Hit::ExternalId, Field::OrderId),
    (Hit::Ip, Field::Ip),
    (Hit::DateOfBirth, Field::DateOfBirth),
];

/// Takes the row's own values, `known` being where they stand. An event id that the tenant declared harmless is not one.
fn take_own<'a>(batch: &Batch<'a, Clear>, row: usize, known: &[(Hit, Field)], tenant: &TenantRules, own: &mut OwnValues<'a>) {
    own.clear();
    for (hit, field) in known.iter().copied() {
        if !batch.clear(field, row).is_present() || field == Field::EventId && tenant.clear_event_ids {
            continue;
        }
        for value in batch.clear_all(field, row).map(ClearText::expose) {
            if hit != Hit::DateOfBirth || value.len() >= MIN_BIRTH_DATE_BYTES {
                own.add(hit, value);
            }
        }
    }
}

/// Scrubs the free texts of every open row.
///
/// Shape: rows in order. A row with a special category goes to `rejected` by its index in the input batch; its route must then be closed.
pub fn free_texts<'a>(batch: &Batch<'a, Clear>, routes: &[Route], rules: &Rules, rejected: &mut Vec<Rejected>) -> FreeTexts<'a> {
    let mut out = FreeTexts {
        arena: Vec::new(),
        event_names: Vec::with_capacity(batch.rows()),
        scrubbed_names: Vec::new(),
        feedback: Vec::new(),
        customs: Vec::new(),
        items: Vec::new(),
        urls: Vec::new(),
        hits: HitCounts::default(),
        special: Vec::new(),
    };
    let mut own = OwnValues::default();
    let known: Vec<(Hit, Field)> = KNOWN.into_iter().filter(|(_, field)| batch.may_have(*field)).collect();
    for (row, route) in routes.iter().enumerate() {
        let name = batch.clear(Field::EventName, row).expose();
        out.event_names.push(name);
        if route.closed.is_some() {
            continue;
        }
        let tenant = &rules.tenants[usize::from(batch.heads[row].tenant)];
        take_own(batch, row, &known, tenant, &mut own);
        out.row_urls(batch, row, &own);
        let sent = route.is_sent();
        if sent || route.primary == Primary::Full {
            out.row_items(batch, row, tenant, &own);
        }
        if (sent || route.primary != Primary::None)
            && !is_vocabulary(name, tenant)
            && let Some(span) = out.short(name, &tenant.scrub, &own)
        {
            out.scrubbed_names.push((row as u32, span));
        }
        if tenant.special_categories
            && (sent || route.primary != Primary::None)
            && let Some((category, field)) = special_label(batch, row, rules)
        {
            out.special.push((row as u32, category, field));
            rejected.push(Rejected { row: batch.heads[row].input, reason: Reason::SpecialCategory, field: Some(field) });
            continue;
        }
        let prose = batch.heads[row].category == Category::Feedback || !batch.customs(row).is_empty();
        if prose && route.primary == Primary::Full {
            out.row(batch, row, tenant, rules, &own, rejected);
        }
    }
    out
}

/// What the scrub of a masked text still needs: the row's own phones, which it knows in other notations too; in scripts without spaces all
/// values, because there it needs no edge of a word.
fn left_to_scrub<'o, 'a>(text: &str, own: &'o OwnValues<'a>) -> &'o [Own<'a>] {
    let values = own.values();
    if !text.is_ascii() && text.chars().any(unspaced) {
        return values;
    }
    let is_phone = |own: &Own<'_>| own.0 == Hit::Phone;
    let from = values.iter().position(is_phone).unwrap_or(values.len());
    let phones = values[from..].iter().take_while(|v| is_phone(v)).count();
    &values[from..from + phones]
}

/// Whether an event name is a word of the trade or of the tenant's settings: a person may be called `Search`, the event still is a search.
fn is_vocabulary(name: &str, tenant: &TenantRules) -> bool {
    Canonical::read(name).is_some() || tenant.destinations.iter().any(|d| d.config.lists(name))
}

/// A special category that the event's name or the page's path speaks of, words set apart by whatever is no letter or digit.
fn special_label(batch: &Batch<'_, Clear>, row: usize, rules: &Rules) -> Option<(SpecialCategory, Field)> {
    [Field::EventName, Field::Url].into_iter().find_map(|field| {
        let text = batch.clear(field, row).expose();
        let text = percent_decode_str(&text[..text.find(['?', '#']).unwrap_or(text.len())]).decode_utf8_lossy();
        let words: String = text.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
        special_category(&words, None, &rules.special_terms).map(|category| (category, field))
    })
}

/// Whether a short text could hold anything that the scrub finds: a quick look that saves the long one.
fn needs_scrub(text: &str) -> bool {
    let (mut digits, mut spaces, mut other) = (0, 0, false);
    for b in text.bytes() {
        digits += usize::from(b.is_ascii_digit());
        spaces += usize::from(matches!(b, b' ' | b'(' | b'['));
        other |= matches!(b, b'@' | b'/') || !b.is_ascii();
    }
    // Four digits make an address (`1.2.3.4`), four gaps a spelled-out one (`ana at example dot com`).
    digits >= 4 || spaces >= 4 || other || text.contains("::")
}

impl<'a> FreeTexts<'a> {
    /// A short text without what is personal in it; `None` if it can stay as it is.
    fn short(&mut self, text: &str, rules: &ScrubRules, own: &OwnValues<'_>) -> Option<Span> {
        let masked = own.mask(text, Which::All);
        let kept = masked.as_deref().unwrap_or(text);
        if masked.is_none() && kept.len() <= MAX_SHORT_TEXT_BYTES && !needs_scrub(kept) {
            return None;
        }
        let span = self.scrub_masked(kept, rules, own, MAX_SHORT_TEXT_BYTES);
        if self.text(span) == text {
            self.arena.truncate(span.start as usize);
            return None;
        }
        Some(span)
    }

    fn push(&mut self, text: &str) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(text.as_bytes());
        Span::since(start, &self.arena)
    }

    fn row_urls(&mut self, batch: &Batch<'a, Clear>, row: usize, own: &OwnValues<'_>) {
        for field in [Field::Url, Field::Referrer] {
            let url = batch.clear(field, row).expose();
            if let Some(url) = own.mask_url(url, Which::NotPlaces) {
                let span = self.push(&url);
                self.urls.push((row, field, span));
            }
        }
    }

    fn row_items(&mut self, batch: &Batch<'a, Clear>, row: usize, tenant: &TenantRules, own: &OwnValues<'_>) {
        for (n, item) in batch.items(row).iter().enumerate() {
            for (at, text) in item.texts.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
                if let Some(span) = self.short(text, &tenant.scrub, own) {
                    self.items.push((row, n, at, span));
                }
            }
        }
    }

    fn row(
        &mut self,
        batch: &Batch<'a, Clear>,
        row: usize,
        tenant: &TenantRules,
        rules: &Rules,
        known: &OwnValues<'_>,
        rejected: &mut Vec<Rejected>,
    ) {
        let text = batch.clear(Field::FeedbackText, row);
        let language = Some(batch.clear(Field::FeedbackLanguage, row).expose()).filter(|l| !l.is_empty());
        let customs: Vec<(u16, &str)> = batch.customs(row).iter().map(|c| (c.name, batch.clear_custom(c).expose())).collect();
        if tenant.special_categories {
            let texts = std::iter::once((Field::FeedbackText, text.expose())).chain(customs.iter().map(|(_, v)| (Field::Custom, *v)));
            for (field, text) in texts {
                if let Some(category) = special_category(text, language, &rules.special_terms) {
                    self.special.push((row as u32, category, field));
                    rejected.push(Rejected { row: batch.heads[row].input, reason: Reason::SpecialCategory, field: Some(field) });
                    return;
                }
            }
        }
        if text.is_present() {
            let span = self.scrubbed(text.expose(), &tenant.scrub, known, usize::MAX);
            self.feedback.push((row as u32, span));
        }
        for (name, value) in customs {
            let span = self.scrubbed(value, &tenant.scrub, known, MAX_SHORT_TEXT_BYTES);
            self.customs.push((row as u32, name, span));
        }
    }

    /// Prose: its own values masked as in labels too, then what the scrub finds; cut last, as half an address has no shape any more.
    fn scrubbed(&mut self, text: &str, rules: &ScrubRules, known: &OwnValues<'_>, max: usize) -> Span {
        let masked = known.mask(text, Which::All);
        self.scrub_masked(masked.as_deref().unwrap_or(text), rules, known, max)
    }

    fn scrub_masked(&mut self, masked: &str, rules: &ScrubRules, known: &OwnValues<'_>, max: usize) -> Span {
        let start = self.arena.len();
        let hits = scrub(masked, rules, left_to_scrub(masked, known), &mut self.arena);
        self.hits.merge(&hits);
        let kept = cut(std::str::from_utf8(&self.arena[start..]).unwrap_or(""), max).len();
        self.arena.truncate(start + kept);
        Span::since(start, &self.arena)
    }

    /// The text behind a span.
    #[must_use]
    pub fn text(&self, span: Span) -> &str {
        std::str::from_utf8(span.of(&self.arena)).unwrap_or("")
    }

    /// The event's name, scrubbed.
    #[must_use]
    pub fn event_name(&self, row: usize) -> &str {
        let at = self.scrubbed_names.binary_search_by_key(&(row as u32), |(r, _)| *r);
        at.map_or(self.event_names[row], |at| self.text(self.scrubbed_names[at].1))
    }

    /// The feedback's text, scrubbed.
    #[must_use]
    pub fn feedback(&self, row: usize) -> &str {
        let at = self.feedback.binary_search_by_key(&(row as u32), |(r, _)| *r);
        at.map_or("", |at| self.text(self.feedback[at].1))
    }

    /// The custom variables: index in the allow-list and text.
    #[must_use]
    pub fn customs(&self, row: usize) -> Vec<(u16, Span)> {
        let row = row as u32;
        let from = self.customs.partition_point(|c| c.0 < row);
        self.customs[from..].iter().take_while(|c| c.0 == row).map(|c| (c.1, c.2)).collect()
    }

    /// Puts event names, item texts and URLs without what is personal in them in the place of those that came, for records and destinations
    /// alike.
    pub fn apply(&self, batch: &mut Batch<'a, Clear>) {
        for (row, span) in &self.scrubbed_names {
            batch.replace(Field::EventName, *row as usize, self.text(*span));
        }
        for (row, item, which, span) in &self.items {
            batch.replace_item_text(*row, *item, *which, self.text(*span));
        }
        for (row, field, span) in &self.urls {
            batch.replace(*field, *row, self.text(*span));
        }
    }
}

/// The longest beginning of `text` of at most `max` bytes that does not split a character.
fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use crate::transform::fixture::{NOW, assets, records, rules, written};
    use crate::transform::line::transform;
    use serde_json::json;

    #[test]
    fn names_of_people_leave_event_names_and_words_of_the_trade_stay() {
        let tenant = "destinations = ['meta']\n[tenant.meta]\npixel_id = '1'\nevents = { to_grace = 'Quiz' }\n";
        let rules = rules(tenant);
        let row = |name: &str| {
            let user = json!({"first_name": "Grace", "last_name": "Search", "email": "grace@a.example"});
            json!({
                "event_id": "e", "event_name": name, "event_time": NOW, "user": user, "ip": "1.1.1.1", "user_agent": "x",
                "url": "https://a.example/", "consent": {"analytics": true, "ads": true},
            })
        };
        for (name, record, sent) in [
            ("search", "search", "Search"),
            ("signup_grace", "signup_[first_name]", "signup_[first_name]"),
            ("to_grace", "to_grace", "Quiz"),
        ] {
            let out = written(&rules, &transform(&records(&[row(name).to_string()]), &rules, &assets(), NOW));
            let of = |topic: &str| out.iter().find(|w| w.topic == topic).map(|w| w.json()["event_name"].clone());
            assert_eq!((of("acme.events"), of("acme.dest.meta")), (Some(json!(record)), Some(json!(sent))), "{name}");
        }
    }

    /// A URL is read without them, wherever they stand.
    #[test]
    fn tabs_and_line_ends_in_a_url_hide_nobody() {
        let rules = rules("");
        let row = json!({
            "event_id": "e", "event_name": "search", "event_time": NOW, "user": {"first_name": "Ana"},
            "url": "https://a.exa\tmple/a\tna?ut\nm_term=a\rna", "consent": {"analytics": true},
        });
        let out = written(&rules, &transform(&records(&[row.to_string()]), &rules, &assets(), NOW));
        let record = out.iter().find(|w| w.topic == "acme.events").unwrap().json();
        assert_eq!((&record["page"]["path"], &record["campaign"]["term"]), (&json!("/:name"), &json!("[first_name]")));
        assert_eq!(record["page"]["host"], json!("a.example"));
    }

    #[test]
    fn a_date_of_birth_leaves_texts_as_it_came_and_other_dates_stay() {
        let rules = rules("custom = ['note']\n");
        let row = |birth: &str, note: &str| {
            let user = json!({"date_of_birth": birth, "email": "grace@a.example"});
            let consent = json!({"analytics": true});
            json!({
                "event_id": "e", "event_name": "n", "event_time": NOW, "user": user, "custom": {"note": note}, "consent": consent,
            })
        };
        for (birth, note, want) in [
            ("1990-01-02", "born 1990-01-02, here since 2012-03-04", "born [date_of_birth], here since 2012-03-04"),
            ("02.01.1990", "born 02.01.1990", "born [date_of_birth]"),
            ("1990", "since 1990", "since 1990"),
        ] {
            let out = written(&rules, &transform(&records(&[row(birth, note).to_string()]), &rules, &assets(), NOW));
            assert_eq!(out[0].json()["custom"]["note"], json!(want), "{birth}");
        }
    }

    #[test]
    fn names_and_paths_that_tell_of_a_special_category_are_held_back() {
        let told = |special: bool, name: &str, url: &str| {
            let rules = rules(&format!("special_categories = {special}\n"));
            let row = json!({"event_id": "e", "event_name": name, "event_time": NOW, "url": url, "consent": {"analytics": true}});
            let out = written(&rules, &transform(&records(&[row.to_string()]), &rules, &assets(), NOW));
            let quarantined = out.iter().find(|w| w.topic == "acme.quarantine").map(|w| w.json()["field"].clone());
            assert!(quarantined.is_none() || out.iter().all(|w| w.topic == "acme.quarantine" || w.topic == "acme.notices"));
            quarantined
        };
        assert_eq!(told(true, "diagnosed_with_cancer", ""), Some(json!("event_name")));
        assert_eq!(told(true, "n", "https://a.example/stories/I-was-diagnosed-with%20cancer?x=y"), Some(json!("url")));
        assert_eq!(told(true, "page_view", "https://a.example/oncology/visit?q=diagnosed+with+cancer"), None);
        assert_eq!(told(false, "diagnosed_with_cancer", ""), None);
    }
}
