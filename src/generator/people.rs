//! A population in several scripts: each person keeps name, country, phone, address and device.

use super::random::{PERSON, Random};
use super::text::push_number;
use super::user_agents;

/// A country with its ways of writing. In the templates `#` stands for a digit.
pub struct Locale {
    /// ISO 3166 alpha-2.
    pub country: &'static str,
    /// ISO 4217.
    pub currency: &'static str,
    /// Decimals of that currency.
    pub decimals: u32,
    /// BCP 47 language of the texts.
    pub language: &'static str,
    /// A phone as people of the country write it.
    pub national: &'static str,
    /// The same with its country code.
    pub international: &'static str,
    /// Postal code.
    pub zip: &'static str,
    /// Given names.
    pub first: [&'static str; 4],
    /// Family names.
    pub last: [&'static str; 4],
    /// Cities.
    pub cities: [&'static str; 3],
    /// What somebody might say.
    pub text: &'static str,
}

/// One row of the table below.
macro_rules! locale {
    ($country:literal, $currency:literal, $decimals:literal, $language:literal, $national:literal, $international:literal, $zip:literal,
     $first:expr, $last:expr, $cities:expr, $text:literal) => {
        Locale {
            country: $country,
            currency: $currency,
            decimals: $decimals,
            language: $language,
            national: $national,
            international: $international,
            zip: $zip,
            first: $first,
            last: $last,
            cities: $cities,
            text: $text,
        }
    };
}

/// The countries, Latin, Cyrillic, Greek, Arabic, Thai, Devanagari, Chinese, Japanese and Korean scripts.
#[rustfmt::skip]
pub const LOCALES: [Locale; 18] = [
    locale!("US", "USD", 2, "en", "(2#2) 555-####", "+1 2#2 555 ####", "#####", ["Ana", "Mary-Jane", "James", "O’Neil"], ["Silva", "De La Cruz", "Smith", "O'Brien"], ["New York", "St. Louis", "Menlo Park"], "Fast delivery, will buy again."),
    locale!("GB", "GBP", 2, "en", "020 7946 ####", "+44 20 7946 ####", "SW1A #AA", ["Oliver", "Amelia", "Siân", "Zoë"], ["Jones", "Taylor", "Ferguson-Lee", "Khan"], ["London", "Stoke-on-Trent", "Leeds"], "The parcel came a day late."),
    locale!("DE", "EUR", 2, "de", "030 2312####", "+49 30 2312####", "1####", ["Jürgen", "Käthe", "Lena", "Björn"], ["Müller", "Weiß", "von der Heide", "Schröder"], ["Berlin", "Köln", "Weißenburg"], "Die Größe passt nicht, sonst schön."),
    locale!("FR", "EUR", 2, "fr", "01 99 00 ## ##", "+33 1 99 00 ## ##", "750##", ["Valéry", "Zoé", "Jean-Luc", "Chloé"], ["Lefèvre", "Dupont", "D’Arc", "Noël"], ["Paris", "Saint-Étienne", "Nîmes"], "Très bon accueil, merci."),
    locale!("ES", "EUR", 2, "es", "600 ### ###", "+34 600 ### ###", "280##", ["José", "María", "Íñigo", "Lucía"], ["García Pérez", "Núñez", "Ibáñez", "López"], ["Madrid", "La Coruña", "Cádiz"], "No encuentro mi talla."),
    locale!("BR", "BRL", 2, "pt", "(11) 9####-####", "+55 11 9####-####", "01###-###", ["João", "Ana", "Antônia", "Luís"], ["da Silva", "Gonçalves", "Araújo", "Souza"], ["São Paulo", "Brasília", "Belém"], "Ótimo preço e boa qualidade."),
    locale!("TR", "TRY", 2, "tr", "0530 ### ## ##", "+90 530 ### ## ##", "34###", ["İbrahim", "Işıl", "Ayşe", "Çağla"], ["Yılmaz", "Şahin", "Öztürk", "Güneş"], ["İstanbul", "Iğdır", "İzmir"], "Kargo çok hızlıydı."),
    locale!("GR", "EUR", 2, "el", "690 ### ####", "+30 690 ### ####", "10###", ["Γιώργος", "ΟΔΥΣΣΕΥΣ", "Μαρία", "Ελένη"], ["Παπαδόπουλος", "Νικολάου", "ΓΕΩΡΓΙΟΥ", "Σωτηρίου"], ["Αθήνα", "Θεσσαλονίκη", "Πάτρα"], "Πολύ καλή εξυπηρέτηση."),
    locale!("RU", "RUB", 2, "ru", "8 (900) ###-##-##", "+7 900 ###-##-##", "1#####", ["Алексей", "Фёдор", "Мария", "Наталья"], ["Иванов", "Королёва", "Петров-Водкин", "Чехов"], ["Москва", "Санкт-Петербург", "Орёл"], "Всё пришло вовремя."),
    locale!("UA", "UAH", 2, "uk", "050 ### ####", "+380 50 ### ####", "01###", ["Олексій", "Їжакевич", "Ганна", "Соломія"], ["Шевченко", "Франко", "Лісова", "Ґудзь"], ["Київ", "Львів", "Кривий Ріг"], "Дякую, усе добре."),
    locale!("SA", "SAR", 2, "ar", "050 ### ####", "+966 50 ### ####", "1####", ["محمد", "فاطمة", "أحمد", "نورة"], ["العتيبي", "الغامدي", "آل سعود", "الحربي"], ["الرياض", "جدة", "مكة المكرمة"], "خدمة ممتازة وسريعة"),
    locale!("KW", "KWD", 3, "ar", "500# ####", "+965 500# ####", "1####", ["عبد الله", "مريم", "يوسف", "ليلى"], ["الصباح", "العجمي", "المطيري", "الرشيدي"], ["الكويت", "الجهراء", "السالمية"], "السعر مناسب"),
    locale!("TH", "THB", 2, "th", "081 ### ####", "+66 81 ### ####", "10###", ["สมชาย", "กนกวรรณ", "ณัฐพล", "พิมพ์"], ["ใจดี", "ศรีสุข", "วงศ์ไทย", "แก้วมณี"], ["กรุงเทพมหานคร", "เชียงใหม่", "ภูเก็ต"], "ส่งเร็วมาก"),
    locale!("IN", "INR", 2, "hi", "98### #####", "+91 98### #####", "1100##", ["आरव", "Priya", "अनन्या", "Rahul"], ["शर्मा", "Patel", "वर्मा", "Iyer"], ["नई दिल्ली", "Mumbai", "बेंगलुरु"], "बहुत अच्छा उत्पाद"),
    locale!("CN", "CNY", 2, "zh", "138 #### ####", "+86 138 #### ####", "10####", ["伟", "秀英", "子涵", "𠮷"], ["王", "李", "欧阳", "张"], ["北京", "上海", "呼和浩特"], "质量很好，会再来。"),
    locale!("JP", "JPY", 0, "ja", "090-####-####", "+81 90-####-####", "1##-####", ["太郎", "さくら", "ﾊﾅｺ", "健"], ["山田", "髙橋", "佐藤", "渡邉"], ["東京都", "大阪市", "北広島市"], "とても良かったです。"),
    locale!("KR", "KRW", 0, "ko", "010-####-####", "+82 10-####-####", "0####", ["민준", "서연", "지훈", "하은"], ["김", "이", "박", "남궁"], ["서울특별시", "부산광역시", "제주시"], "배송이 빨라요"),
    locale!("EG", "EGP", 2, "ar", "010 #### ####", "+20 10 #### ####", "11###", ["عمر", "هبة", "Mona", "كريم"], ["عبد الرحمن", "حسن", "Fahmy", "السيد"], ["القاهرة", "الإسكندرية", "أسوان"], "المنتج مطابق للوصف"),
];

/// A person: everything about them follows from the seed and their number.
pub struct Person {
    /// Number in the population.
    pub number: u64,
    /// Country and script.
    pub locale: &'static Locale,
    /// Given name.
    pub first: &'static str,
    /// Family name.
    pub last: &'static str,
    /// City.
    pub city: &'static str,
    /// Digits that fill the templates.
    pub digits: u64,
    /// How this person writes things: one bit per habit.
    pub habits: u64,
    /// The device.
    pub user_agent: &'static str,
    /// Bits of the address.
    pub address: u64,
}

impl Person {
    /// Person `number` of a seed's population.
    pub fn of(seed: u64, number: u64) -> Self {
        let mut random = Random::new(seed, PERSON, number);
        // Half of the people come from the first six countries.
        let among = if random.one_of(5_000) { 6 } else { LOCALES.len() };
        let locale = &LOCALES[random.below(among as u64) as usize];
        Person {
            number,
            locale,
            first: random.pick(&locale.first),
            last: random.pick(&locale.last),
            city: random.pick(&locale.cities),
            digits: random.bits(),
            habits: random.bits(),
            user_agent: random.pick(&user_agents::PEOPLE),
            address: random.bits(),
        }
    }

    /// Whether the person has a habit that `share` of 16 people have. Shape: the same `at` (0-15) gives the same answer for ever.
    pub fn has(&self, at: u32, share: u64) -> bool {
        self.habits >> (4 * at) & 15 < share
    }
}

/// Appends the person's email, always the same.
pub fn push_email(person: &Person, out: &mut Vec<u8>) {
    out.extend_from_slice(if person.has(12, 2) { b"User+promo." } else { b"user." });
    push_number(out, person.number);
    let domain = if person.has(13, 1) {
        "bücher.example"
    } else {
        ["example.com", "example.org", "mail.example.net"][(person.digits % 3) as usize]
    };
    out.push(b'@');
    out.extend_from_slice(domain.as_bytes());
}
