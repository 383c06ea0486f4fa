//! Step 2: what may be kept of the address, the user agent, the page and the person, column by column; click ids apart.

use crate::model::field::Field;
use crate::model::span::Span;
use crate::model::time::civil;
use crate::transform::batch::{Batch, Clear, Released};
use crate::transform::enrich::device_table::{DeviceMemo, DeviceTable, KnownDevice};
use crate::transform::enrich::geo::{GeoReader, locate};
use crate::transform::enrich::{ip, page};
use crate::transform::normalise::{Country, Hints, country};
use crate::transform::route::{Primary, Route};
use crate::transform::rules::Rules;
use std::sync::Arc;

/// Tables that enrichment reads, handed in.
pub struct Assets {
    /// Devices by user agent.
    pub devices: Arc<DeviceTable>,
    /// GeoIP, if a database is configured.
    pub geo: Option<Arc<GeoReader>>,
}

/// A click id by its URL parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClickId {
    /// Google Ads.
    Gclid,
    /// Google Ads, web to app.
    Wbraid,
    /// Google Ads, app to web.
    Gbraid,
    /// Google Display.
    Dclid,
    /// Meta.
    Fbclid,
    /// TikTok.
    Ttclid,
}

impl ClickId {
    /// Where `ids` names it.
    #[must_use]
    pub fn released(self) -> Released {
        match self {
            ClickId::Gclid => Released::Gclid,
            ClickId::Wbraid => Released::Wbraid,
            ClickId::Gbraid => Released::Gbraid,
            ClickId::Dclid => Released::Dclid,
            ClickId::Fbclid => Released::Fbclid,
            ClickId::Ttclid => Released::Ttclid,
        }
    }
}

/// One row's enrichment. Shape: spans point into the record arena, those of `clicks` into the arena of click ids.
#[derive(Default)]
pub struct EnrichedRow {
    /// Country, from GeoIP, else the event's own.
    pub country: Option<Country>,
    /// Region, from GeoIP.
    pub region: Span,
    /// City, only if the tenant allows it.
    pub city: Span,
    /// Network address of the /24 or /48.
    pub ip_truncated: Span,
    /// Device.
    pub device: Option<Arc<KnownDevice>>,
    /// Host of the page.
    pub host: Span,
    /// Scrubbed path of the page.
    pub path: Span,
    /// Host of the referrer.
    pub referrer_host: Span,
    /// source, medium, campaign, term, content.
    pub utm: [Span; 5],
    /// Whose click id was there; empty for none.
    pub click_platform: &'static str,
    /// Age band; empty for none.
    pub age_band: &'static str,
    /// First three characters of the postal code, only if the tenant allows it.
    pub zip_prefix: Span,
    clicks: page::ClickIds,
    /// What destinations may see of the page's URL.
    url: page::Reduced,
    /// The same of the referrer's.
    referrer: page::Reduced,
}

impl EnrichedRow {
    /// The country's code; empty for none.
    #[must_use]
    pub fn country(&self) -> &str {
        self.country.as_ref().map_or("", Country::as_str)
    }
}

/// Enrichment of all rows.
pub struct Enriched {
    /// Texts of records.
    record: String,
    /// Click ids.
    clicks: String,
    urls: page::Urls,
    rows: Vec<EnrichedRow>,
}

impl Enriched {
    /// One row.
    #[must_use]
    pub fn row(&self, row: usize) -> &EnrichedRow {
        &self.rows[row]
    }

    /// The text behind a span.
    #[must_use]
    pub fn text(&self, span: Span) -> &str {
        span.text(&self.record)
    }

    /// A click id from the page's URL; empty when absent.
    #[must_use]
    pub fn click_id(&self, row: usize, id: ClickId) -> &str {
        let clicks = &self.rows[row].clicks;
        let span = match id {
            ClickId::Gclid => clicks.gclid,
            ClickId::Wbraid => clicks.wbraid,
            ClickId::Gbraid => clicks.gbraid,
            ClickId::Dclid => clicks.dclid,
            ClickId::Fbclid => clicks.fbclid,
            ClickId::Ttclid => clicks.ttclid,
        };
        span.text(&self.clicks)
    }

    /// Appends the page's URL as a destination may see it: path scrubbed, query reduced to UTM and the click ids in `keep`. Shape: false, with
    /// nothing appended, when there is none.
    pub fn push_url(&self, row: usize, keep: &[&str], out: &mut Vec<u8>) -> bool {
        self.urls.push(self.rows[row].url, keep, out)
    }

    /// Appends the referrer's URL in the same way, with UTM alone.
    pub fn push_referrer(&self, row: usize, out: &mut Vec<u8>) -> bool {
        self.urls.push(self.rows[row].referrer, &[], out)
    }
}

/// Enriches every open row.
///
/// Shape: one entry a row; a closed row's is empty. Errors: what cannot be read is left out.
#[must_use]
pub fn enriched(batch: &Batch<'_, Clear>, routes: &[Route], hints: &[Hints], rules: &Rules, assets: &Assets) -> Enriched {
    let record = Vec::with_capacity(batch.rows() * 96);
    let mut out = Reader { arenas: page::Arenas { record, ..page::Arenas::default() }, last: LastReferrer::default() };
    let mut rows = Vec::with_capacity(batch.rows());
    let mut memo = DeviceMemo::default();
    for (row, route) in routes.iter().enumerate() {
        let mut r = EnrichedRow::default();
        if route.closed.is_none() {
            out.page(batch, row, route.is_sent(), &mut r);
            if route.primary != Primary::None {
                let tenant = &rules.tenants[usize::from(batch.heads[row].tenant)];
                out.person(batch, row, &hints[row], tenant.city, tenant.zip_prefix, assets, &mut r);
                let agent = batch.clear(Field::UserAgent, row);
                if agent.is_present() {
                    r.device = Some(Arc::clone(memo.lookup(&assets.devices, agent.expose())));
                }
            }
        }
        rows.push(r);
    }
    let page::Arenas { record, clear, urls } = out.arenas;
    Enriched { record: text_of(record), clicks: text_of(clear), urls, rows }
}

/// An arena as text, looked at once and not value by value. Nothing but text goes in, so there is always some.
fn text_of(arena: Vec<u8>) -> String {
    let text = String::from_utf8(arena);
    debug_assert!(text.is_ok());
    text.unwrap_or_default()
}

/// Reads rows one after the other.
struct Reader<'a> {
    arenas: page::Arenas,
    last: LastReferrer<'a>,
}

/// The referrer of a row before, and what was read of it: most come from few places.
#[derive(Default)]
struct LastReferrer<'a> {
    url: &'a str,
    /// Whether it was reduced for destinations too.
    sent: bool,
    read: page::Referrer,
}

impl<'a> Reader<'a> {
    /// Reads the page and the referrer. `sent`: destinations may want their URLs.
    fn page(&mut self, batch: &Batch<'a, Clear>, row: usize, sent: bool, r: &mut EnrichedRow) {
        let url = batch.clear(Field::Url, row);
        if url.is_present()
            && let Some(p) = page::read(url.expose(), sent, &mut self.arenas)
        {
            (r.host, r.path, r.clicks, r.url) = (p.host, p.path, p.clicks, p.reduced);
            r.utm = [p.campaign.source, p.campaign.medium, p.campaign.campaign, p.campaign.term, p.campaign.content];
            r.click_platform = p.click_platform.map_or("", page::ClickPlatform::as_str);
        }
        if r.click_platform.is_empty() {
            r.click_platform = platform_of_ids(batch, row);
        }
        let referrer = batch.clear(Field::Referrer, row);
        if referrer.is_present() {
            let url = referrer.expose();
            if (self.last.url, self.last.sent) != (url, sent) {
                let read = page::referrer(url, sent, &mut self.arenas).unwrap_or_default();
                self.last = LastReferrer { url, sent, read };
            }
            (r.referrer_host, r.referrer) = (self.last.read.host, self.last.read.reduced);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn person(
        &mut self,
        batch: &Batch<'_, Clear>,
        row: usize,
        hints: &Hints,
        city: bool,
        zip_prefix: bool,
        assets: &Assets,
        r: &mut EnrichedRow,
    ) {
        r.country = hints.country;
        if let Some(address) = batch.address(row) {
            let record = &mut self.arenas.record;
            let start = record.len();
            ip::push_network(address, record);
            r.ip_truncated = Span::since(start, record);
            if let Some(reader) = &assets.geo
                && let Some(address) = ip::end_user(address)
            {
                let place = locate(reader, address, city);
                r.country = country(place.country).or(r.country);
                r.region = self.push(place.region);
                r.city = self.push(place.city);
            }
        }
        r.age_band = age_band(batch.clear(Field::DateOfBirth, row).expose(), batch.heads[row].received_at_ms);
        if zip_prefix {
            let zip = batch.clear(Field::Zip, row).expose().trim();
            let prefix: String = zip.chars().filter(|c| c.is_alphanumeric()).take(3).collect();
            if zip.chars().filter(|c| c.is_alphanumeric()).count() > 3 {
                r.zip_prefix = self.push(&prefix);
            }
        }
    }

    fn push(&mut self, text: &str) -> Span {
        let record = &mut self.arenas.record;
        let start = record.len();
        record.extend_from_slice(text.as_bytes());
        Span::since(start, record)
    }
}

/// Which platform's click id the event itself names.
fn platform_of_ids(batch: &Batch<'_, Clear>, row: usize) -> &'static str {
    let has = |field| batch.clear(field, row).is_present();
    if has(Field::Gclid) || has(Field::Wbraid) || has(Field::Gbraid) || has(Field::Dclid) {
        page::ClickPlatform::Google.as_str()
    } else if has(Field::Fbclid) || has(Field::Fbc) {
        page::ClickPlatform::Meta.as_str()
    } else if has(Field::Ttclid) {
        page::ClickPlatform::TikTok.as_str()
    } else {
        ""
    }
}

/// The age band of a date of birth (`YYYY-MM-DD`, `YYYYMMDD`; of a year alone, the age reached that year). Units: `at_ms` in ms since the
/// epoch. Shape: `""` for a date that cannot be read.
fn age_band(date_of_birth: &str, at_ms: i64) -> &'static str {
    let text = date_of_birth.trim();
    let year: Option<i32> = text.get(..4).filter(|y| y.bytes().all(|b| b.is_ascii_digit())).and_then(|y| y.parse().ok());
    let Some(year) = year.filter(|y| *y >= 1900) else { return "" };
    let rest: Vec<u8> = text.bytes().skip(4).filter(u8::is_ascii_digit).map(|b| b - b'0').collect();
    let now = civil(at_ms);
    let birthday_to_come = match rest[..] {
        [m, n, d, e] => (m * 10 + n, d * 10 + e) > (now.month, now.day),
        _ => false,
    };
    match now.year - year - i32::from(birthday_to_come) {
        0..18 => "0-17",
        18..25 => "18-24",
        25..35 => "25-34",
        35..45 => "35-44",
        45..55 => "45-54",
        55..65 => "55-64",
        65..130 => "65+",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::fixture::{NOW, assets, records, rules, written};
    use crate::transform::line::transform;
    use serde_json::json;

    /// The one before may have been read for nobody to send.
    #[test]
    fn a_referrer_that_comes_again_is_there_for_whoever_is_sent() {
        let rules = rules("destinations = ['meta']\n[tenant.meta]\npixel_id = '1'\n");
        let row = |ads: bool, referrer: &str| {
            json!({
                "event_id": "e", "event_name": "search", "event_time": NOW, "user": {"email": "a@b.example"}, "ip": "1.1.1.1", "user_agent": "x",
                "url": "https://a.example/", "referrer": referrer, "consent": {"analytics": true, "ads": ads},
            })
            .to_string()
        };
        let google = "https://www.google.com/?q=x&utm_source=g";
        let rows = [row(false, google), row(true, google), row(true, ""), row(true, google), row(true, "https://b.example/")];
        let out = written(&rules, &transform(&records(&rows), &rules, &assets(), NOW));
        let sent = out.iter().filter(|w| w.topic == "acme.dest.meta").map(|w| w.json()["referrer_url"].clone());
        let google = json!("https://www.google.com/?utm_source=g");
        assert_eq!(sent.collect::<Vec<_>>(), [google.clone(), json!(null), google, json!("https://b.example/")]);
        let hosts = out.iter().filter(|w| w.topic == "acme.events").map(|w| w.json()["page"]["referrer_host"].clone());
        let host = json!("www.google.com");
        assert_eq!(hosts.collect::<Vec<_>>(), [host.clone(), host.clone(), json!(null), host, json!("b.example")]);
    }

    #[test]
    fn age_bands() {
        let at = 1_790_000_000_000; // 2026
        for (birth, want) in [
            ("1997-02-16", "25-34"),
            ("19970216", "25-34"),
            ("2008-09-21", "18-24"),
            ("2008-09-22", "0-17"),
            ("2008", "18-24"),
            ("2026-01-01", "0-17"),
            ("1800-01-01", ""),
            ("soon", ""),
            ("", ""),
            ("２０２０", ""),
        ] {
            assert_eq!(age_band(birth, at), want, "{birth}");
        }
    }
}
