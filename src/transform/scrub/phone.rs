//! Phone numbers in runs of digits: international ones by calling code, national ones by the numbering plans of the tenant's countries.

mod plans;

use rlibphonenumber::PHONE_NUMBER_UTIL;

use super::context::{self, Topic};
use super::number::{Run, closes, opens, sane};
use super::view::{View, step};
use super::{Found, Hit, ScrubRules, card};
use plans::{Plan, calling_code, nanp, plan_of};

/// The longest number, in digits (E.164), and room for "00" or "011" before it.
const DIGITS_MAX: usize = 18;

/// How often libphonenumber may be asked in one pass; beyond that only the shape decides.
const VALIDATIONS_MAX: u32 = 32;

/// What is left of `VALIDATIONS_MAX`.
pub(super) struct Budget(u32);

impl Default for Budget {
    fn default() -> Self {
        Self(VALIDATIONS_MAX)
    }
}

/// The last digits of the row's own phones: at most nine, at least seven, so that another notation of the same number is recognised.
pub(super) fn known_tails(known: &[(Hit, &str)]) -> Vec<Vec<u8>> {
    let phones = known.iter().filter(|(hit, _)| *hit == Hit::Phone);
    let digits = phones.map(|(_, value)| value.bytes().filter(u8::is_ascii_digit).map(|b| b - b'0').collect::<Vec<u8>>());
    digits.filter(|d| d.len() >= 7).map(|d| d[d.len() - d.len().min(9)..].to_vec()).collect()
}

/// One stretch of groups on trial.
struct Trial<'r> {
    digits: Vec<u8>,
    lengths: Vec<usize>,
    gaps: Vec<&'r str>,
    plus: bool,
    paren: bool,
    topic: Option<Topic>,
}

/// Appends every phone number in the run. Bounds: from each group at most 12 groups and 18 digits are tried, longest first.
pub(super) fn find(run: &Run, rules: &ScrubRules, known: &[Vec<u8>], budget: &mut Budget, found: &mut Vec<Found>) {
    let mut from = 0;
    let mut after_phone = true;
    while from < run.groups.len() {
        match number_at(run, rules, known, budget, from, after_phone) {
            Some((f, to)) => {
                found.push(f);
                from = to;
                after_phone = true;
            }
            None => {
                after_phone = run.groups[from].date || run.groups[from].len() <= 3;
                from += 1;
            }
        }
    }
}

fn number_at(
    run: &Run,
    rules: &ScrubRules,
    known: &[Vec<u8>],
    budget: &mut Budget,
    from: usize,
    after_phone: bool,
) -> Option<(Found, usize)> {
    let view = run.view;
    let first = run.groups[from].start;
    let (start, plus, paren) = opening(view, first);
    let separate = from == 0 || paren || run.gap(from - 1).contains(' ') && after_phone || run.gap(from - 1).contains('/');
    if run.groups[from].date || !(plus || separate && opens(view, start)) {
        return None;
    }
    let mut topic = None;
    let mut total = 0;
    let mut reach = from;
    while reach < run.groups.len() && reach - from < 12 && total + run.groups[reach].len() <= DIGITS_MAX && !run.groups[reach].date {
        total += run.groups[reach].len();
        reach += 1;
    }
    for to in (from + 1..=reach).rev() {
        let end = run.groups[to - 1].end;
        let ended = to == run.groups.len()
            || run.gap(to - 1).contains('/')
            || run.gap(to - 1).contains(' ') && (plus || run.groups[to].len() <= 3 || run.groups[to].date);
        step(to - from);
        if total >= 7 && sane(to - from, total) && ended && (closes(view, end) || extension(view, end) > end) {
            let topic = *topic.get_or_insert_with(|| context::before(view, start));
            let trial = trial(run, from, to, plus, paren, topic);
            if is_known(&trial.digits, known) || is_phone(&trial, rules, budget) {
                return Some((Found { start, end: extension(view, end), hit: Hit::Phone }, to));
            }
        }
        total -= run.groups[to - 1].len();
    }
    None
}

fn trial<'r>(run: &'r Run, from: usize, to: usize, plus: bool, paren: bool, topic: Option<Topic>) -> Trial<'r> {
    let mut trial = Trial { digits: Vec::with_capacity(DIGITS_MAX), lengths: Vec::new(), gaps: Vec::new(), plus, paren, topic };
    for i in from..to {
        // "+49 (0)30 …": the bracketed trunk zero is not dialled.
        let trunk = i > from && i + 1 < to && run.gap(i - 1).ends_with('(') && run.gap(i).starts_with(')') && run.digits(i, i + 1) == [0];
        if trunk && trial.digits.len() <= 5 {
            continue;
        }
        trial.digits.extend(run.digits(i, i + 1));
        trial.lengths.push(run.groups[i].len());
        if i + 1 < to {
            trial.gaps.push(run.gap(i));
        }
    }
    trial
}

/// Where a number whose digits begin at `first` really begins, whether with a plus, whether in brackets.
fn opening(view: &View, first: usize) -> (usize, bool, bool) {
    let mut start = first;
    let plus = view.before(start) == b'+';
    start -= usize::from(plus);
    let paren = view.before(start) == b'(';
    start -= usize::from(paren);
    if paren && view.before(start) == b'+' {
        return (start - 1, true, true); // "+(49) 30"
    }
    (start, plus, paren)
}

/// The end of an extension (`x123`, ` ext. 123`) that begins at `end`; else `end`.
fn extension(view: &View, end: usize) -> usize {
    let Some(rest) = view.text().get(end..) else { return end };
    let inner = rest.strip_prefix([' ', ',']).unwrap_or(rest).trim_start_matches(' ');
    for word in ["ext. ", "ext.", "ext ", "x ", "x", "extension ", "poste ", "Durchwahl ", "DW "] {
        if let Some(tail) = inner.strip_prefix(word) {
            let digits = tail.bytes().take(7).take_while(u8::is_ascii_digit).count();
            let after = view.bytes().len() - tail.len() + digits;
            if (1..=6).contains(&digits) && view.free_after(after) {
                return after;
            }
        }
    }
    end
}

fn is_known(digits: &[u8], known: &[Vec<u8>]) -> bool {
    known.iter().any(|tail| digits.ends_with(tail))
}

fn is_phone(t: &Trial, rules: &ScrubRules, budget: &mut Budget) -> bool {
    if t.digits.iter().all(|d| *d == t.digits[0]) {
        return false;
    }
    if t.plus {
        return international(&t.digits, 6);
    }
    if matches!(t.topic, Some(Topic::Thing | Topic::Version)) {
        return false;
    }
    if let Some(rest) = t.digits.strip_prefix(&[0, 0]) {
        return international(rest, if t.lengths.len() > 1 { 7 } else { 8 }) && rest.len() >= 9;
    }
    if t.topic == Some(Topic::Phone) {
        return t.digits.len() <= 15 && !round(t);
    }
    if t.lengths.len() == 1 && t.topic.is_some() {
        return false;
    }
    national(t, rules, budget)
}

/// A calling code and as many digits as its plan allows; `least` where the plan is not known here.
fn international(digits: &[u8], least: usize) -> bool {
    let Some((code, len)) = calling_code(digits) else { return false };
    let rest = digits.len() - len;
    match plans::by_code(code) {
        Some(plan) => (plan.least..=plan.most + usize::from(digits[len] == 0)).contains(&rest),
        None => (least..=12).contains(&rest),
    }
}

fn national(t: &Trial, rules: &ScrubRules, budget: &mut Budget) -> bool {
    let total = t.digits.len();
    if nanp(&t.digits, &t.lengths, &t.gaps, t.paren) && (t.paren || t.gaps.iter().any(|g| *g != " ") || rules.in_country(&[*b"US", *b"CA"]))
    {
        return true;
    }
    if t.paren && t.lengths.len() > 1 && (t.lengths[0] <= 5) && (8..=12).contains(&total) && t.gaps[0].starts_with(')') {
        return true;
    }
    if total == 12 && t.lengths.len() == 1 && card::ean_13(&t.digits) {
        return false; // a UPC article number
    }
    rules.countries.iter().enumerate().any(|(i, country)| match plan_of(*country) {
        Some(plan) => in_plan(t, plan),
        None => in_library(t, rules, i, budget),
    })
}

/// Whether the digits and the way they are written fit the plan, with no word nearby to help.
fn in_plan(t: &Trial, plan: &Plan) -> bool {
    let trunk = plan.trunk.is_some_and(|d| t.digits[0] == d);
    let national = if trunk { &t.digits[1..] } else { &t.digits[..] };
    if !plan.fits(national) {
        return false;
    }
    let formatted = t.lengths.len() > 1 && !round(t);
    if plan.trunk == Some(0) {
        let whole = t.lengths[0] >= 2 || t.gaps.first().is_some_and(|g| g.contains([' ', '(']));
        return trunk && whole && (formatted && t.digits.len() >= 8 || t.lengths.len() == 1 && (10..=12).contains(&t.digits.len()));
    }
    if !formatted || t.gaps.contains(&".") && t.lengths[1..].iter().all(|l| *l == 3) {
        return false;
    }
    plan.written.iter().any(|w| *w == t.lengths)
}

/// For countries without a plan here: libphonenumber's word, for numbers written in groups.
fn in_library(t: &Trial, rules: &ScrubRules, country: usize, budget: &mut Budget) -> bool {
    if t.lengths.len() < 2 || round(t) || budget.0 == 0 {
        return false;
    }
    budget.0 -= 1;
    let code = rules.countries[country];
    let Some((_, region)) = rules.regions.iter().find(|(c, _)| *c == code) else { return false };
    let text: String = t.digits.iter().map(|d| char::from(b'0' + d)).collect();
    PHONE_NUMBER_UTIL.parse(&text, Some(*region)).is_ok_and(|number| number.is_valid())
}

/// "250 000 000": a quantity.
fn round(t: &Trial) -> bool {
    t.lengths.len() > 1 && t.lengths[1..].iter().all(|l| *l == 3) && t.lengths[0] <= 3 && t.digits.ends_with(&[0, 0, 0])
}
