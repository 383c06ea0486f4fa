//! Counts over several tenants that name none: a day's published counts of those who take part, added up by group.
//!
//! Only what a tenant publishes anyway goes in, so people are as safe as there. A tenant is hidden by company: at least five have the group, and
//! none has more than half of any number that is published.

use crate::derive::cell::{Cell, Group, Sum, Window, time_text};
use crate::derive::money::Micros;
use std::collections::BTreeMap;

/// The least number of tenants.
const TENANTS_MIN: usize = 5;

/// Days that wait for all who take part.
pub struct Benchmarks {
    until_ms: i64,
    /// By day and group: the cells of the tenants.
    days: BTreeMap<i64, BTreeMap<Group, Vec<Cell>>>,
}

impl Benchmarks {
    /// Goes on where days before `until_ms` are published. Units: ms since the epoch.
    #[must_use]
    pub fn new(until_ms: i64) -> Benchmarks {
        Benchmarks { until_ms, days: BTreeMap::new() }
    }

    /// Days before this are published. Units: ms since the epoch.
    #[must_use]
    pub fn until_ms(&self) -> i64 {
        self.until_ms
    }

    /// Takes a tenant's published cell. What is not a group's day, or is of a day that is published, is passed over.
    pub fn take(&mut self, cell: &Cell) {
        let Some(start_ms) = cell.start_ms().filter(|ms| cell.window == Window::Day && *ms >= self.until_ms) else { return };
        if let Some(group) = &cell.group {
            self.days.entry(start_ms).or_default().entry(group.clone()).or_default().push(cell.clone());
        }
    }

    /// Publishes the days that everybody who takes part has published. Units: ms since the epoch.
    pub fn close(&mut self, everybody_until_ms: i64) -> Vec<Cell> {
        self.until_ms = self.until_ms.max(everybody_until_ms);
        let open = self.days.split_off(&self.until_ms);
        let closed = std::mem::replace(&mut self.days, open);
        let cells = closed.into_iter().flat_map(|(day, groups)| groups.into_iter().filter_map(move |(g, cells)| sum(day, g, &cells)));
        cells.collect()
    }
}

/// The sum of some tenants' numbers, if it hides each of them.
fn hidden(parts: &[i128]) -> Option<i128> {
    let sum = parts.iter().copied().fold(0, i128::saturating_add);
    let most = parts.iter().copied().max()?;
    let hides = parts.len() >= TENANTS_MIN && parts.iter().all(|n| *n > 0) && most.saturating_mul(2) <= sum;
    hides.then_some(sum)
}

fn sum(day_ms: i64, group: Group, cells: &[Cell]) -> Option<Cell> {
    let numbers = |of: fn(&Cell) -> u64| cells.iter().map(|c| i128::from(of(c))).collect::<Vec<_>>();
    let events = hidden(&numbers(|c| c.events))?;
    let subjects = hidden(&numbers(|c| c.subjects))?;
    let mut by_currency: BTreeMap<Box<str>, Vec<i128>> = BTreeMap::new();
    for (currency, amount) in cells.iter().flat_map(Cell::sums) {
        by_currency.entry(currency).or_default().push(amount.0);
    }
    let sums = by_currency.into_iter().filter_map(|(currency, parts)| Some((currency, Micros(hidden(&parts)?))));
    Some(Cell {
        tenant: None,
        tenants: Some(cells.len() as u64),
        window: Window::Day,
        start: time_text(day_ms),
        group: Some(group),
        k: cells.iter().map(|c| c.k).min().unwrap_or_default(),
        events: u64::try_from(events).ok()?,
        subjects: u64::try_from(subjects).ok()?,
        subjects_error: cells.iter().map(|c| c.subjects_error).fold(0.0, f64::max),
        values: sums.map(|(currency, sum)| Sum { currency: currency.to_string(), sum: sum.to_text() }).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::DAY_MS;
    use proptest::prelude::*;

    fn cell(tenant: usize, day: i64, events: u64, sum: Option<u64>) -> Cell {
        let group = Group { event_name: "buy".into(), country: "DE".into(), device_class: String::new(), campaign_source: String::new() };
        Cell {
            tenant: Some(format!("tenant-{tenant}")),
            tenants: None,
            window: Window::Day,
            start: time_text(day * DAY_MS),
            group: Some(group),
            k: 10,
            events,
            subjects: events.div_ceil(2),
            subjects_error: 0.0,
            values: sum.map(|n| Sum { currency: "EUR".into(), sum: n.to_string() }).into_iter().collect(),
        }
    }

    #[test]
    fn a_day_waits_for_everybody_and_is_published_once() {
        let mut b = Benchmarks::new(0);
        (0..5).for_each(|t| b.take(&cell(t, 1, 20, None)));
        assert!(b.close(DAY_MS).is_empty());
        assert_eq!(b.close(2 * DAY_MS)[0].events, 100);
        (0..5).for_each(|t| b.take(&cell(t, 1, 20, None)));
        assert!(b.close(3 * DAY_MS).is_empty());
        assert_eq!(b.until_ms(), 3 * DAY_MS);
    }

    proptest! {
        #[test]
        fn nobody_stands_out(parts in proptest::collection::vec((1u64..40, proptest::option::of(0u64..40)), 0..9)) {
            let mut b = Benchmarks::new(0);
            parts.iter().enumerate().for_each(|(t, (events, sum))| b.take(&cell(t, 0, *events, *sum)));
            let published = b.close(DAY_MS);
            let (total, most) = (parts.iter().map(|p| p.0).sum::<u64>(), parts.iter().map(|p| p.0).max().unwrap_or(0));
            if parts.len() < 5 || most * 2 > total {
                prop_assert!(published.is_empty());
            }
            for cell in published {
                prop_assert_eq!((cell.events, cell.tenants), (total, Some(parts.len() as u64)));
                prop_assert!(!String::from_utf8(cell.to_json()).unwrap().contains("tenant-"));
                let sums: Vec<u64> = parts.iter().filter_map(|p| p.1).collect();
                let (sum, most) = (sums.iter().sum::<u64>(), sums.iter().max().copied().unwrap_or(0));
                for value in cell.values {
                    prop_assert!(value.sum == sum.to_string() && sums.len() >= 5 && most * 2 <= sum && !sums.contains(&0));
                }
            }
        }
    }
}
