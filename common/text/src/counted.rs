//! A number with what it counts, for people: `1 VM`, `2 VMs`, `0 repositories`.

use std::fmt::Display;

/// `noun` is the English one, as it is called when there is one of it.
#[must_use]
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    if count == N::from(1_u8) {
        return format!("{count} {noun}");
    }
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{count} {stem}ies"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        for (count, noun, said) in [
            (0, "VM", "0 VMs"),
            (1, "VM", "1 VM"),
            (2, "VM", "2 VMs"),
            (21, "map page", "21 map pages"),
            (1, "repository", "1 repository"),
            (3, "repository", "3 repositories"),
            (2, "day", "2 days"),
        ] {
            assert_eq!(counted::<u64>(count, noun), said);
        }
        assert_eq!(counted([(); 1].len(), "host"), "1 host");
    }
}
