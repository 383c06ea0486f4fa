//! Appends numbers, amounts and times as text.

/// A template with its `#` filled from a number.
pub fn push_digits(template: &str, mut digits: u64, out: &mut Vec<u8>) {
    for &b in template.as_bytes() {
        if b != b'#' {
            out.push(b);
            continue;
        }
        out.push(b'0' + (digits % 10) as u8);
        digits /= 10;
    }
}

/// Appends a number in decimal.
pub fn push_number(out: &mut Vec<u8>, n: u64) {
    let mut text = [0; 20];
    let (mut at, mut n) = (text.len(), n);
    loop {
        at -= 1;
        text[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
}

/// Appends the low `digits` hex digits of a number.
pub fn push_hex(n: u64, digits: u32, out: &mut Vec<u8>) {
    for i in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(n >> (4 * i) & 15) as usize]);
    }
}

/// Appends an amount given in minor units, `12.10`.
pub fn push_money(minor: u64, decimals: u32, out: &mut Vec<u8>) {
    let unit = 10u64.pow(decimals);
    push_number(out, minor / unit);
    if decimals > 0 {
        out.push(b'.');
        push_padded(minor % unit, decimals as usize, out);
    }
}

/// Appends a number in `width` decimal digits.
fn push_padded(n: u64, width: usize, out: &mut Vec<u8>) {
    for i in (0..width).rev() {
        out.push(b'0' + (n / 10u64.pow(i as u32) % 10) as u8);
    }
}

/// `YYYY-MM-DD` of a day since 1970 (Howard Hinnant's `civil_from_days`, for days not before the epoch).
pub fn push_date(days: u64, out: &mut Vec<u8>) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    push_padded(era * 400 + year_of_era + u64::from(month <= 2), 4, out);
    out.push(b'-');
    push_padded(month, 2, out);
    out.push(b'-');
    push_padded(day_of_year - (153 * shifted + 2) / 5 + 1, 2, out);
}

/// Appends `YYYY-MM-DDThh:mm:ss.sssZ`.
pub fn push_rfc3339(ms: i64, out: &mut Vec<u8>) {
    let ms = ms.max(0) as u64;
    push_date(ms / 86_400_000, out);
    for (sign, value, width) in
        [(b'T', ms / 3_600_000 % 24, 2), (b':', ms / 60_000 % 60, 2), (b':', ms / 1000 % 60, 2), (b'.', ms % 1000, 3)]
    {
        out.push(sign);
        push_padded(value, width, out);
    }
    out.push(b'Z');
}
