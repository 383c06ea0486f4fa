//! Runs of digits: where phones, cards, account numbers, ids and addresses begin, and where dates and prices are told apart.

use super::card::{self, Shape};
use super::context::{self, Topic};
use super::view::{View, step};
use super::{Found, Hit, ScrubRules, iban, ip, national_id, national_id_plain, phone};

/// Digits looked at from one beginning: the longest card has 19.
const DIGITS_MAX: usize = 19;

/// Groups looked at from one beginning.
const GROUPS_MAX: usize = 12;

/// Digits that stand together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub start: usize,
    pub end: usize,
    /// Part of a date or a span of years: nothing else begins or ends here.
    pub date: bool,
}

impl Group {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }
}

/// Groups joined by spaces, dashes, dots, slashes and brackets.
pub(super) struct Run<'v, 'a> {
    pub view: &'v View<'a>,
    pub groups: Vec<Group>,
}

impl Run<'_, '_> {
    /// What stands between group `i` and the next.
    pub(super) fn gap(&self, i: usize) -> &str {
        &self.view.text()[self.groups[i].end..self.groups[i + 1].start]
    }

    /// The values of the digits of groups `from..to`.
    pub(super) fn digits(&self, from: usize, to: usize) -> Vec<u8> {
        let groups = &self.groups[from..to];
        groups.iter().flat_map(|g| self.view.bytes()[g.start..g.end].iter().map(|b| b - b'0')).collect()
    }

    /// Bytes from the first digit of `from` to the last of `to - 1`.
    pub(super) fn bounds(&self, from: usize, to: usize) -> (usize, usize) {
        (self.groups[from].start, self.groups[to - 1].end)
    }

    /// The largest `to` for which groups `from..to` have no date and stay within the limits.
    fn reach(&self, from: usize) -> usize {
        let mut digits = 0;
        let mut to = from;
        while to < self.groups.len() && to - from < GROUPS_MAX && !self.groups[to].date {
            digits += self.groups[to].len();
            if digits > DIGITS_MAX {
                break;
            }
            to += 1;
        }
        to
    }
}

/// Appends every hit that begins at a digit. Bounds: each byte is in one run; from each group of a run at most 12 groups and 19 digits are tried.
pub(super) fn find(view: &View, rules: &ScrubRules, known: &[(Hit, &str)], found: &mut Vec<Found>) {
    let mut budget = phone::Budget::default();
    let known_phones = if rules.on(Hit::Phone) { phone::known_tails(known) } else { Vec::new() };
    let mut at = 0;
    while let Some(offset) = view.bytes()[at..].iter().position(u8::is_ascii_digit) {
        let run = read(view, at + offset);
        at = run.groups.last().map_or(at + offset + 1, |g| g.end);
        coded(&run, rules, found);
        numbered(&run, rules, found);
        if rules.on(Hit::Phone) {
            phone::find(&run, rules, &known_phones, &mut budget, found);
        }
    }
}

fn read<'v, 'a>(view: &'v View<'a>, start: usize) -> Run<'v, 'a> {
    let mut groups = Vec::new();
    let mut at = start;
    loop {
        let len = view.bytes()[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        groups.push(Group { start: at, end: at + len, date: false });
        at += len;
        let gap = view.bytes()[at..].iter().take(3).take_while(|b| b" -./()".contains(b)).count();
        step(len + gap + 1);
        if gap == 0 || !view.at(at + gap).is_ascii_digit() {
            break;
        }
        at += gap;
    }
    let mut run = Run { view, groups };
    mark_dates(&mut run);
    run
}

/// Marks groups that are a date (`2024-05-12`, `12.5.24`, `12/05/2024`) or a span of years (`2019-2023`, `2019/20`).
fn mark_dates(run: &mut Run) {
    let n = run.groups.len();
    let value = |run: &Run, i: usize| run.digits(i, i + 1).iter().take(5).fold(0u32, |v, d| v * 10 + u32::from(*d));
    for i in 0..n {
        let year = |j: usize| run.groups[j].len() == 4 && (1900..2100).contains(&value(run, j));
        if i + 1 < n && year(i) && year(i + 1) && matches!(run.gap(i), "-" | "/" | " - ") {
            run.groups[i].date = true;
            run.groups[i + 1].date = true;
            continue;
        }
        if i + 2 >= n || !matches!(run.gap(i), "." | "-" | "/") || run.gap(i) != run.gap(i + 1) {
            continue;
        }
        let joined = |j: usize| run.gap(j) == run.gap(i);
        let belgian = i + 4 < n && run.gap(i + 2) == "-" && run.groups[i + 3].len() == 3; // 85.07.30-033.28
        if belgian || i > 0 && joined(i - 1) || i + 3 < n && joined(i + 2) {
            continue; // four or more groups alike, or an id: no date
        }
        let small = |j: usize, most: u32| run.groups[j].len() <= 2 && (1..=most).contains(&value(run, j));
        let day_month = |a: usize, b: usize| small(a, 31) && small(b, 12) || small(a, 12) && small(b, 31);
        let dated = year(i) && day_month(i + 1, i + 2) || (year(i + 2) || run.groups[i + 2].len() == 2) && day_month(i, i + 1);
        if dated {
            (i..i + 3).for_each(|j| run.groups[j].date = true);
        }
    }
}

/// IBANs, ids with letters and dotted quads: told by the bytes around one group.
fn coded(run: &Run, rules: &ScrubRules, found: &mut Vec<Found>) {
    let mut done = 0;
    for group in &run.groups {
        if group.start < done {
            continue;
        }
        let view = run.view;
        if rules.on(Hit::Iban)
            && let Some((start, end)) = iban::at(view, group.start)
        {
            found.push(Found { start, end, hit: Hit::Iban });
            done = end;
            continue;
        }
        if rules.on(Hit::NationalId)
            && let Some((start, end)) = national_id::lettered(view, group)
        {
            found.push(Found { start, end, hit: Hit::NationalId });
            done = end;
            continue;
        }
        if rules.on(Hit::Ip)
            && let Some(end) = ip::v4_at(view, group.start)
        {
            found.push(Found { start: group.start, end, hit: Hit::Ip });
            done = end;
        }
    }
}

/// Cards, US social security numbers and national ids made of digits only.
fn numbered(run: &Run, rules: &ScrubRules, found: &mut Vec<Found>) {
    let mut from = 0;
    while from < run.groups.len() {
        let reach = run.reach(from);
        let opened = run.groups.get(from).is_some_and(|g| opens(run.view, g.start));
        let next = if opened { longest(run, rules, from, reach, found) } else { None };
        from = next.unwrap_or(from + 1);
    }
}

fn longest(run: &Run, rules: &ScrubRules, from: usize, reach: usize, found: &mut Vec<Found>) -> Option<usize> {
    let mut topic = None;
    for to in (from + 1..=reach).rev() {
        let (start, end) = run.bounds(from, to);
        let total: usize = run.groups[from..to].iter().map(Group::len).sum();
        step(total);
        if !(8..=DIGITS_MAX).contains(&total) || !sane(to - from, total) || !closes(run.view, end) {
            continue;
        }
        let digits = run.digits(from, to);
        let topic = *topic.get_or_insert_with(|| context::before(run.view, start));
        let hit = numbered_kind(run, rules, (from, to), &digits, topic);
        if let Some(hit) = hit {
            found.push(Found { start, end, hit });
            return Some(to);
        }
    }
    None
}

fn numbered_kind(run: &Run, rules: &ScrubRules, (from, to): (usize, usize), digits: &[u8], topic: Option<Topic>) -> Option<Hit> {
    let lengths: Vec<usize> = run.groups[from..to].iter().map(Group::len).collect();
    let gaps: Vec<&str> = (from..to - 1).map(|i| run.gap(i)).collect();
    let spaced = gaps.iter().all(|g| matches!(*g, " " | "-" | "."));
    if rules.on(Hit::Card) && spaced && card::is_card(&Shape { digits, groups: &lengths }, topic) {
        return Some(Hit::Card);
    }
    if rules.on(Hit::Ssn) && national_id_plain::is_ssn(digits, &lengths, &gaps, topic) {
        return Some(Hit::Ssn);
    }
    if rules.on(Hit::NationalId) && national_id_plain::is_id(digits, &lengths, &gaps, topic, rules) {
        return Some(Hit::NationalId);
    }
    None
}

/// Whether so many digits in so many groups can be one number: nobody writes single digits apart.
pub(super) fn sane(groups: usize, digits: usize) -> bool {
    groups <= digits / 2 + 1
}

/// Whether a number may begin here: no letter, digit, currency sign or joining mark before it.
pub(super) fn opens(view: &View, start: usize) -> bool {
    let b = view.before(start);
    let joined = matches!(b, b'-' | b'.' | b'/' | b',') && view.before(start - 1).is_ascii_alphanumeric();
    let spelled = &view.text()[..start];
    view.free_before(start) && !joined && !matches!(b, b'$' | b'#') && !spelled.trim_end_matches(' ').ends_with(['$', '€', '£', '¥', '₹'])
}

/// Whether a number may end here: no letter, percent, joining mark or currency after it.
pub(super) fn closes(view: &View, end: usize) -> bool {
    let b = view.at(end);
    let joined = matches!(b, b'-' | b'/' | b'.' | b',' | b':')
        && view.at(end + 1).is_ascii_alphanumeric()
        && !(b == b'.' && view.at(end + 1).is_ascii_alphabetic());
    if !view.free_after(end) || joined || matches!(b, b'%' | b'$') {
        return false;
    }
    let rest = view.text()[end..].trim_start_matches(' ');
    let word = rest.get(..4).or_else(|| rest.get(..3)).unwrap_or("");
    let unit = ["EUR", "USD", "GBP", "PLN", "SEK", "DKK", "NOK", "CHF", "JPY", "CZK", "Euro", "euro", "zł", "kr ", "kr."];
    !rest.starts_with(['€', '£', '¥', '₹', '$', '円', '%']) && !unit.iter().any(|u| word.starts_with(u)) && !rest.starts_with("zł")
}
