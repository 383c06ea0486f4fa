//! Event names: the canonical ones, every spelling that means one of them, and what a tenant makes of them (destinations.md §2).

/// An event that the platforms know. Source: destinations.md §2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // the names are the table's own
pub enum Canonical {
    PageView,
    ViewItem,
    Search,
    AddToCart,
    AddToWishlist,
    BeginCheckout,
    AddPaymentInfo,
    Purchase,
    GenerateLead,
    SignUp,
    Subscribe,
    StartTrial,
    Contact,
    Refund,
}

/// A destination's column of the table. Shape: `None` where the platform has no such event.
pub type Column = fn(Canonical) -> Option<&'static str>;

/// Longest event name. Units: bytes.
const NAME_BYTES_MAX: usize = 64;

impl Canonical {
    /// Every event, in the order of the table.
    pub const ALL: [Canonical; 14] = [
        Canonical::PageView,
        Canonical::ViewItem,
        Canonical::Search,
        Canonical::AddToCart,
        Canonical::AddToWishlist,
        Canonical::BeginCheckout,
        Canonical::AddPaymentInfo,
        Canonical::Purchase,
        Canonical::GenerateLead,
        Canonical::SignUp,
        Canonical::Subscribe,
        Canonical::StartTrial,
        Canonical::Contact,
        Canonical::Refund,
    ];

    /// The event that `name` means, in the canonical or any destination's spelling, in any case. Shape: `None` for a custom event.
    #[must_use]
    pub fn read(name: &str) -> Option<Canonical> {
        let mut buffer = [0u8; NAME_BYTES_MAX];
        let lower = buffer.get_mut(..name.len())?;
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        Some(match &*lower {
            b"page_view" | b"pageview" => Canonical::PageView,
            b"view_item" | b"viewcontent" => Canonical::ViewItem,
            b"search" => Canonical::Search,
            b"add_to_cart" | b"addtocart" => Canonical::AddToCart,
            b"add_to_wishlist" | b"addtowishlist" => Canonical::AddToWishlist,
            b"begin_checkout" | b"initiatecheckout" => Canonical::BeginCheckout,
            b"add_payment_info" | b"addpaymentinfo" => Canonical::AddPaymentInfo,
            b"purchase" | b"completepayment" => Canonical::Purchase,
            b"generate_lead" | b"lead" | b"submitform" => Canonical::GenerateLead,
            b"sign_up" | b"completeregistration" => Canonical::SignUp,
            b"subscribe" => Canonical::Subscribe,
            b"start_trial" | b"starttrial" => Canonical::StartTrial,
            b"contact" => Canonical::Contact,
            b"refund" => Canonical::Refund,
            _ => return None,
        })
    }

    /// The canonical name, which is GA4's.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Canonical::PageView => "page_view",
            Canonical::ViewItem => "view_item",
            Canonical::Search => "search",
            Canonical::AddToCart => "add_to_cart",
            Canonical::AddToWishlist => "add_to_wishlist",
            Canonical::BeginCheckout => "begin_checkout",
            Canonical::AddPaymentInfo => "add_payment_info",
            Canonical::Purchase => "purchase",
            Canonical::GenerateLead => "generate_lead",
            Canonical::SignUp => "sign_up",
            Canonical::Subscribe => "subscribe",
            Canonical::StartTrial => "start_trial",
            Canonical::Contact => "contact",
            Canonical::Refund => "refund",
        }
    }

    /// Meta's name.
    #[must_use]
    pub fn meta(self) -> Option<&'static str> {
        Some(match self {
            Canonical::PageView => "PageView",
            Canonical::ViewItem => "ViewContent",
            Canonical::Search => "Search",
            Canonical::AddToCart => "AddToCart",
            Canonical::AddToWishlist => "AddToWishlist",
            Canonical::BeginCheckout => "InitiateCheckout",
            Canonical::AddPaymentInfo => "AddPaymentInfo",
            Canonical::Purchase => "Purchase",
            Canonical::GenerateLead => "Lead",
            Canonical::SignUp => "CompleteRegistration",
            Canonical::Subscribe => "Subscribe",
            Canonical::StartTrial => "StartTrial",
            Canonical::Contact => "Contact",
            Canonical::Refund => return None,
        })
    }

    /// TikTok's name: Meta's, but for the capital in `Pageview`.
    #[must_use]
    pub fn tiktok(self) -> Option<&'static str> {
        if self == Canonical::PageView { Some("Pageview") } else { self.meta() }
    }

    /// GA4's name.
    #[must_use]
    pub fn ga4(self) -> Option<&'static str> {
        Some(self.as_str())
    }
}

/// What a tenant makes of event names for one destination, compiled.
#[derive(Clone, Debug)]
pub struct EventNames {
    column: Column,
    /// By canonical event: the tenant's own name for it; empty: not sent.
    canonical: [Option<String>; Canonical::ALL.len()],
    /// Custom events that the tenant renames or, with an empty name, withholds.
    custom: Vec<(String, String)>,
    /// Custom events that are not named go out unchanged.
    pass_custom: bool,
}

impl EventNames {
    /// Compiles a tenant's map, from canonical or custom names to the destination's; an empty name withholds the event.
    pub fn new<'m>(column: Column, map: impl IntoIterator<Item = (&'m String, &'m String)>, pass_custom: bool) -> Self {
        let mut names = EventNames { column, canonical: Default::default(), custom: Vec::new(), pass_custom };
        for (from, to) in map {
            match Canonical::read(from) {
                Some(event) => names.canonical[event as usize] = Some(to.clone()),
                None => names.custom.push((from.clone(), to.clone())),
            }
        }
        names
    }

    /// The destination's name for an event. Shape: `None`: the destination does not get it.
    #[must_use]
    pub fn name<'n>(&'n self, given: &'n str) -> Option<&'n str> {
        let named = match Canonical::read(given) {
            Some(event) => match &self.canonical[event as usize] {
                Some(own) => Some(own.as_str()),
                None => (self.column)(event),
            },
            None => match self.custom.iter().find(|(from, _)| from == given) {
                Some((_, own)) => Some(own.as_str()),
                None => self.pass_custom.then_some(given),
            },
        };
        named.filter(|name| !name.is_empty())
    }

    /// Whether the tenant's map names this custom event.
    #[must_use]
    pub fn lists(&self, given: &str) -> bool {
        self.custom.iter().any(|(from, _)| from == given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: destinations.md §2, the whole table.
    #[test]
    fn the_table_of_event_names() {
        for (canonical, meta, tiktok) in [
            ("page_view", Some("PageView"), Some("Pageview")),
            ("view_item", Some("ViewContent"), Some("ViewContent")),
            ("search", Some("Search"), Some("Search")),
            ("add_to_cart", Some("AddToCart"), Some("AddToCart")),
            ("add_to_wishlist", Some("AddToWishlist"), Some("AddToWishlist")),
            ("begin_checkout", Some("InitiateCheckout"), Some("InitiateCheckout")),
            ("add_payment_info", Some("AddPaymentInfo"), Some("AddPaymentInfo")),
            ("purchase", Some("Purchase"), Some("Purchase")),
            ("generate_lead", Some("Lead"), Some("Lead")),
            ("sign_up", Some("CompleteRegistration"), Some("CompleteRegistration")),
            ("subscribe", Some("Subscribe"), Some("Subscribe")),
            ("start_trial", Some("StartTrial"), Some("StartTrial")),
            ("contact", Some("Contact"), Some("Contact")),
            ("refund", None, None),
        ] {
            let event = Canonical::read(canonical).expect("canonical");
            assert_eq!((event.as_str(), event.meta(), event.tiktok(), event.ga4()), (canonical, meta, tiktok, Some(canonical)));
            for spelling in [meta, tiktok].into_iter().flatten() {
                assert_eq!(Canonical::read(spelling), Some(event), "{spelling}");
            }
        }
    }

    #[test]
    fn every_spelling_is_understood_and_the_rest_is_custom() {
        for (spelling, event) in
            [("PURCHASE", Canonical::Purchase), ("CompletePayment", Canonical::Purchase), ("SubmitForm", Canonical::GenerateLead)]
        {
            assert_eq!(Canonical::read(spelling), Some(event));
        }
        for custom in ["", "checkout done", "purchase ", "Purchases", &"x".repeat(65)] {
            assert_eq!(Canonical::read(custom), None);
        }
        for (at, event) in Canonical::ALL.iter().enumerate() {
            assert_eq!(*event as usize, at);
        }
    }

    #[test]
    fn a_tenant_renames_withholds_and_passes() {
        let map = std::collections::BTreeMap::from(
            [("purchase", "CompletePayment"), ("PageView", ""), ("quiz_done", "Quiz"), ("secret", "")]
                .map(|(a, b)| (a.to_owned(), b.to_owned())),
        );
        let names = EventNames::new(Canonical::tiktok, &map, true);
        assert_eq!(names.name("Purchase"), Some("CompletePayment"));
        assert_eq!(names.name("page_view"), None);
        assert_eq!(names.name("search"), Some("Search"));
        assert_eq!(names.name("refund"), None);
        assert_eq!(names.name("quiz_done"), Some("Quiz"));
        assert_eq!(names.name("secret"), None);
        assert!(names.lists("secret") && !names.lists("purchase") && !names.lists("anything else"));
        assert_eq!(names.name("anything else"), Some("anything else"));
        assert_eq!(EventNames::new(Canonical::tiktok, &map, false).name("anything else"), None);
    }
}
