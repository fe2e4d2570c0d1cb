//! Telling zeros from data.

/// What is compared at a time.
const UNIT: usize = 4096;
static ZEROS: [u8; UNIT] = [0; UNIT];

/// Whether all of `bytes` are zero. Compares with zeros: `memcmp` gives up at the first byte that differs, and looks at many
/// at once until then, which a loop over bytes that may end early does not.
#[must_use]
#[inline]
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(UNIT).all(|part| part == &ZEROS[..part.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_byte_is_found_wherever_it_is() {
        for len in [0, 1, 511, UNIT, UNIT + 1, 3 * UNIT - 1] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes), "{len}");
            for at in [0, len / 2, len.saturating_sub(1)].into_iter().filter(|&at| at < len) {
                bytes[at] = 1;
                assert!(!is_zero(&bytes), "{at} of {len}");
                bytes[at] = 0;
            }
        }
    }
}
