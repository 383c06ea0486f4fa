//! Enrichment: what may be kept of the address, the user agent and the page. Pure; the tables it reads are handed in.
//!
//! Each file is one subject: [`ip`], [`device`] (its memo in [`device_table`]), [`page`] (its scrub in [`segment`]), [`geo`].
//! What comes out is either free of personal values (device, geo, page, campaign) or goes to an arena of its own (click ids).

pub mod device;
pub mod device_table;
pub mod geo;
pub mod ip;
pub mod page;
mod parts;
mod segment;
