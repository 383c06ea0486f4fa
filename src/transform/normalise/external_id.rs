//! The customer's own id, which must equal what the browser's tag sends.

use super::text::{self, DropReason, SPACE};

/// Lower case, no white space. Source: destinations.md §3 external_id (D14).
pub(super) fn folded(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    if input.is_ascii() {
        text::push_ascii_lower(input, SPACE, out);
    } else {
        text::push_unicode_lower(input, |c| !c.is_whitespace(), out);
    }
    Ok(())
}

/// Trim only, case kept. Source: destinations.md §5 external_id (D24).
pub(super) fn trimmed(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    text::push_trimmed(input, out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_folds_and_tiktok_keeps_the_case() {
        let (mut meta, mut tiktok) = (Vec::new(), Vec::new());
        assert_eq!((folded(" User-42 A ", &mut meta), trimmed(" User-42 A\u{a0}", &mut tiktok)), (Ok(()), Ok(())));
        assert_eq!((meta.as_slice(), tiktok.as_slice()), (&b"user-42a"[..], &b"User-42 A"[..]));
    }
}
