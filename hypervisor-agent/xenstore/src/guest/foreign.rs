//! Values that a guest wrote, made harmless.

use std::net::IpAddr;

use xenith_common_units::MemoryMiB;

/// Longer texts are cut. A node of a guest may hold 2 KiB; a table or an alarm has no room for that.
pub const TEXT_MAX: usize = 256;

/// One line of text without anything that could move a cursor, hide or reorder what stands around it; `None`
/// when nothing is left.
pub fn parse_text(value: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(value);
    let clean: String = text
        .chars()
        .map(|c| if matches!(c, '\t' | '\n' | '\r') { ' ' } else { c })
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .take(TEXT_MAX)
        .collect();
    let trimmed = clean.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// Marks that change the direction or the width of text, and the line separators.
const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// The addresses in a value: usually one, several separated by blanks in old guest tools. Words that are no
/// addresses, and addresses that reach nobody (unspecified, loopback), are left out.
pub fn parse_addresses(value: &[u8]) -> impl Iterator<Item = IpAddr> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    text.split([' ', '\t', '\r', '\n', ',', '\0']).filter_map(|word| {
        // Windows tools add a zone ("fe80::1%12"), some Linux ones a prefix length.
        let word = word.split(['%', '/']).next().unwrap_or_default();
        let address: IpAddr = word.parse().ok()?;
        (!address.is_unspecified() && !address.is_loopback() && !address.is_multicast()).then_some(address)
    })
}

/// An amount that is written in KiB.
pub fn parse_kib(value: &[u8]) -> Option<MemoryMiB> {
    let digits = value.trim_ascii();
    let plain = !digits.is_empty() && digits.len() <= 16 && digits.iter().all(u8::is_ascii_digit);
    let kib: u64 = plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok())??;
    Some(MemoryMiB::from_bytes_floor(kib.saturating_mul(1024)))
}

/// A switch: "1" is on, all else is off.
pub fn parse_flag(value: &[u8]) -> bool {
    value.trim_ascii() == b"1"
}

/// A number in the name of a node, such as the 3 of `eth3`.
pub fn parse_index(name: &str, below: u16) -> Option<u16> {
    let plain = name.len() <= 5 && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|index| plain && *index < below)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts() {
        let long = vec![b'x'; 4000];
        let cut = "x".repeat(TEXT_MAX);
        let cases: [(&str, &[u8], Option<&str>); 9] = [
            ("plain", b"Debian GNU/Linux 12", Some("Debian GNU/Linux 12")),
            ("blanks around", b"  a b\n", Some("a b")),
            ("escape sequence", b"\x1b[31mred\x07", Some("[31mred")),
            ("lines become blanks", b"a\r\nb", Some("a  b")),
            ("right to left override", "abc\u{202e}def".as_bytes(), Some("abcdef")),
            ("not UTF-8", b"a\xffb", Some("a\u{fffd}b")),
            ("empty", b"", None),
            ("nothing visible", b"\0\0 \x01", None),
            ("too long", &long, Some(&cut)),
        ];
        for (name, value, expected) in cases {
            assert_eq!(parse_text(value).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn addresses() {
        let cases: [(&str, &[u8], &[&str]); 9] = [
            ("IPv4", b"192.0.2.7", &["192.0.2.7"]),
            ("IPv6", b"2001:db8::7", &["2001:db8::7"]),
            ("zone", b"fe80::1%eth0", &["fe80::1"]),
            ("prefix", b"192.0.2.7/24", &["192.0.2.7"]),
            ("several", b"192.0.2.7\n192.0.2.8 ", &["192.0.2.7", "192.0.2.8"]),
            ("unspecified and loopback", b"0.0.0.0 127.0.0.1 ::1 ::", &[]),
            ("words", b"none 1.2.3 1.2.3.4.5 1.2.3.999", &[]),
            ("not UTF-8", b"192.0.2.7\xff", &[]),
            ("empty", b"", &[]),
        ];
        for (name, value, expected) in cases {
            let seen: Vec<String> = parse_addresses(value).map(|address| address.to_string()).collect();
            assert_eq!(seen, expected, "{name}");
        }
    }

    #[test]
    fn numbers() {
        let cases: [(&str, &[u8], Option<u64>); 7] = [
            ("plain", b"262144", Some(256)),
            ("rounded down", b"1023", Some(0)),
            ("blank", b" 2048\n", Some(2)),
            ("more than Xen can", b"9999999999999999", Some(MemoryMiB::MAX.mib())),
            ("too many digits", b"99999999999999999", None),
            ("signed", b"+1024", None),
            ("empty", b"", None),
        ];
        for (name, value, expected) in cases {
            assert_eq!(parse_kib(value).map(MemoryMiB::mib), expected, "{name}");
        }
        for (name, expected) in [("0", Some(0)), ("63", Some(63)), ("64", None), ("+1", None), ("", None)] {
            assert_eq!(parse_index(name, 64), expected, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_guest_writes_comes_out_short_and_clean(value: Vec<u8>) {
            if let Some(text) = parse_text(&value) {
                prop_assert!(text.chars().count() <= TEXT_MAX);
                prop_assert!(!text.chars().any(|c| c.is_control() || is_invisible(c)));
            }
            let _ = (parse_addresses(&value).count(), parse_kib(&value), parse_flag(&value));
        }
    }
}
