//! What the words just before a number say that it is.

use std::sync::LazyLock;

use super::view::{View, fold_char, step};

/// How far back a word may stand, in bytes.
const REACH_BYTES: usize = 56;

/// How many words back.
const REACH_WORDS: usize = 7;

/// What a number is announced as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Topic {
    /// "call me on"
    Phone,
    /// "my Visa is"
    Card,
    /// "SSN"
    Ssn,
    /// "PESEL", "NIF", "BSN"
    NationalId,
    /// "firmware 1.2.3.4"
    Version,
    /// "order", "invoice", "article": a thing's number
    Thing,
}

/// Beginnings of words, folded; `$` at the end asks for the whole word.
const WORDS: [(Topic, &str); 5] = [
    (
        Topic::Phone,
        "tel$ telef telnr telephon phone mobile mobil mob$ cell$ cellphone cellul cellular celular handy handynummer call ring$ ringa ringde fax whatsapp wapp \
         sms$ text$ texted anruf rufen ruf$ ruckruf appel portable$ gsm$ joign joindre llam movil chiam recapit ligue ligar liga$ telemov contact kontakt kontaktu reach$ \
         bel$ bellen mobiel zadzwon komork dzwon hotline viber signal$ telegram dial voicemail callback tlf$ tlf. puh$ puhelin soita soittaa ringme landline festnetz \
         durchwahl fijo fisso fixe mobilnummer telefonnummer nummern$ celu$ whats$ zap$ fono \
         тел$ телеф моб$ мобил звон номер сот$ сотов ватсап τηλ$ τηλεφων κινητ καλεσ φαξ هاتف هاتفي الهاتف جوال جوالي موبايل اتصل واتساب फोन फ़ोन मोबाइल कॉल",
    ),
    (
        Topic::Card,
        "card visa mastercard maestro amex discover$ karte$ karten kreditkart kreditkarte kredit credit carte bancaire tarjeta carta cartao karta karty karte kart$ kaart \
         kort$ kortnummer pan$ debit betalkort creditcard credito карт καρτ بطاقة कार्ड",
    ),
    (Topic::Ssn, "ssn social$ socialsecurity itin$ taxpayer"),
    (
        Topic::NationalId,
        "bsn burgerservice sofi nif$ nie$ dni$ contribuint fiscal fiscale pesel personnummer personnr pnr$ cpr$ hetu$ henkilo fodsels fnr$ nir$ secu$ securite insee nhs$ nino$ \
         insurance ppsn pps$ oib$ egn$ amka rijksregister registre niss$ insz$ cnp$ rodn ahv$ avs$ svnr sozialvers versicherungsnummer steuer idnr tin$ identifik identit identid \
         tajszam isikukood asmens personal$ national$ aadhaar aadhar uidai tfn$ file$ medicare abn$ acn$ resident$ thai$ nric$ cf$ nip$ dowod citizen dokument documento \
         cpf$ tckn$ kimlik ni$ curp$ taj$ rentenvers rentenversicherungsnummer снилс инн$ иин$ паспорт αμκα$ αφμ$ आधार هوية",
    ),
    (
        Topic::Version,
        "vers ver$ v$ verz firmware build release fw$ wersj utgava$ sdk$ driver kernel surum verzia верс εκδοσ إصدار الإصدار संस्करण",
    ),
];

/// Words for things that carry numbers of their own.
const THINGS: &str = "order commande articol partita iva$ vat$ ust$ ustid btw tva$ siret siren bestell pedido ordine ordre$ encomenda zamow bestall sku$ ref$ refer referenz artik article artikel articulo artigo artykul \
    product produkt produit producto prodotto produto item$ items$ invoice rechnung facture factura fattura fatura faktur ticket tracking sendung suivi colis envio \
    spedizion seguimiento przesyl paczk serial serien serie$ seri$ numeroserie model modell modele modelo isbn ean$ upc$ gtin imei lot$ batch charge$ chargen code codigo codice \
    kod$ kode booking reservation buchung reserva prenotazione rezerwac case$ contract vertrag contrat kundennummer policy parcel shipment section chapter kapitel chapitre \
    capitulo paragraph transaction transaktion voucher gutschein coupon part$ teil teilenummer barcode bestilling verzending zending pakket factuur referentie \
    referencia riferimento capitol siparis urun$ kargo irsaliye objednavk objednavc заказ замовл счет счёт артикул посылк трек товар индекс παραγγελ \
    τιμολογ κωδικ طلب الطلب فاتورة شحنة ऑर्डर इनवॉइस";

/// The topic named nearest before `at`; "number" alone stands for a phone's. Bounds: `REACH_BYTES` bytes, `REACH_WORDS` words.
pub(super) fn before(view: &View, at: usize) -> Option<Topic> {
    let window = window(view, at);
    step(window.len());
    if let Some(topic) = unspaced_topic(window) {
        return Some(topic);
    }
    if window.trim_end().ends_with(['#', '№', '§']) {
        return Some(Topic::Thing);
    }
    let mut numbered = false;
    let mut topic = None;
    let mut folded = String::with_capacity(24);
    for word in window.rsplit(|c: char| !c.is_alphanumeric()).filter(|w| w.starts_with(char::is_alphabetic)).take(REACH_WORDS) {
        folded.clear();
        word.chars().take(24).for_each(|c| fold_char(c, &mut folded));
        if topic.is_some() {
            // A "nota fiscal" is an invoice.
            return if matches!(folded.as_str(), "nota" | "notas") { Some(Topic::Thing) } else { topic };
        }
        topic = match (folded.as_str(), view.at(at + 5)) {
            ("cep", b'-') => Some(Topic::Thing), // a Brazilian postcode; in Turkish it is a mobile phone
            _ => topic_of(&folded),
        };
        if topic.is_some() && folded != "fiscal" {
            return topic;
        }
        numbered |= matches!(folded.as_str(), "number" | "nummer" | "numero" | "numer" | "numery" | "numeros" | "num");
    }
    topic.or_else(|| numbered.then_some(Topic::Phone))
}

/// The text before `at`, back to a line's beginning or a tag.
fn window<'v>(view: &'v View, at: usize) -> &'v str {
    let from = view.floor(at.saturating_sub(REACH_BYTES));
    let text = &view.text()[from..at];
    let cut = text.rfind(['[', ']', '\n']).map_or(0, |i| i + 1);
    &text[cut..]
}

/// A word's beginning, whether it must be the whole word, and what it announces.
type Entry = (&'static str, bool, Topic);

/// The entries by their first letter, `a` to `z` and all others, things first: looking a word up compares it with a score of them, not with all.
static BY_LETTER: LazyLock<[Vec<Entry>; 27]> = LazyLock::new(|| {
    let mut letters: [Vec<_>; 27] = std::array::from_fn(|_| Vec::new());
    for (topic, list) in std::iter::once((Topic::Thing, THINGS)).chain(WORDS) {
        for entry in list.split_ascii_whitespace() {
            let (word, whole) = entry.strip_suffix('$').map_or((entry, false), |word| (word, true));
            letters[letter_of(word)].push((word, whole, topic));
        }
    }
    letters
});

/// Where a folded word's entries stand; those of other scripts all in one place.
fn letter_of(word: &str) -> usize {
    usize::from(word.as_bytes().first().map_or(26, |b| b.wrapping_sub(b'a').min(26)))
}

fn topic_of(word: &str) -> Option<Topic> {
    let entries = BY_LETTER.get(letter_of(word))?;
    entries.iter().find(|(entry, whole, _)| if *whole { word == *entry } else { word.starts_with(entry) }).map(|(.., topic)| *topic)
}

/// Japanese, Chinese and Korean words, found anywhere in the window: the last one counts.
fn unspaced_topic(window: &str) -> Option<Topic> {
    const MARKS: [(Topic, &str); 30] = [
        (Topic::Phone, "電話"),
        (Topic::Phone, "携帯"),
        (Topic::Phone, "手机"),
        (Topic::Phone, "电话"),
        (Topic::Phone, "전화"),
        (Topic::Phone, "휴대폰"),
        (Topic::Phone, "連絡先"),
        (Topic::Phone, "ケータイ"),
        (Topic::Card, "カード"),
        (Topic::Card, "卡号"),
        (Topic::NationalId, "マイナンバー"),
        (Topic::NationalId, "個人番号"),
        (Topic::Version, "バージョン"),
        (Topic::Version, "版本"),
        (Topic::Thing, "注文"),
        (Topic::Thing, "商品"),
        (Topic::Thing, "品番"),
        (Topic::Thing, "追跡"),
        (Topic::Thing, "订单"),
        (Topic::Thing, "快递"),
        (Topic::Thing, "型号"),
        (Topic::Thing, "邮编"),
        (Topic::Thing, "주문"),
        (Topic::Thing, "송장"),
        (Topic::Version, "버전"),
        (Topic::Phone, "请打"),
        (Topic::Phone, "拨打"),
        (Topic::Phone, "联系"),
        (Topic::NationalId, "身份证"),
        (Topic::NationalId, "주민"),
    ];
    if window.is_ascii() {
        return None;
    }
    MARKS.iter().filter_map(|(topic, mark)| window.rfind(mark).map(|at| (at, *topic))).max_by_key(|(at, _)| *at).map(|(_, topic)| topic)
}
