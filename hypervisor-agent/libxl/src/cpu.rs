//! The processors' features: read from libxl, and hidden from a guest that is built.
//!
//! `libxl_physinfo` has them as `hw_cap`, eight words (`libxl_hwcap` in `libxl.h`), of which `libxl_hwcap_gen_json` writes
//! four, in every version up to 4.17: AVX2 and AVX-512 are in the others. No layout of the struct is compiled in, so the
//! four that are told are looked for in its memory, and the other four are those that follow. Where the four are not
//! found, or at more than one place, nothing is known, and no level can be kept on this host.
//!
//! What is hidden goes as `cpuid` of the build information, a list of CPUID leaves. For each register there is a letter
//! for each bit, the highest first: `x` is what Xen gives by default, `0` hides, `1` gives. Xen takes away what depends on
//! a hidden feature, and sizes the XSAVE area anew. What always holds:
//!
//! * a leaf is named only where the host has it: libxl fails on one that is missing;
//! * nothing is given that Xen does not give by default, but the number of the last extended leaf;
//! * under a level, instructions of words that physinfo does not tell of are hidden, too: nobody could compare them. What
//!   protects from speculation is never hidden.

use std::fs;

use serde_json::{Value, json};
use xenith_hypervisor_agent_types::{CPU_WORDS, CpuFeatures, CpuLevel};

use crate::info::Physinfo;

/// How many words libxl writes down.
const TOLD: usize = 4;

/// Instructions in leaf 7/0 edx: AVX512_4VNNIW, AVX512_4FMAPS, AVX512_VP2INTERSECT, SERIALIZE, TSXLDTRK, CET_IBT,
/// AMX-BF16, AVX512_FP16, AMX-TILE, AMX-INT8.
const UNTOLD_7D0: u32 = (1 << 2)
    | (1 << 3)
    | (1 << 8)
    | (1 << 14)
    | (1 << 16)
    | (1 << 20)
    | (1 << 22)
    | (1 << 23)
    | (1 << 24)
    | (1 << 25);

/// CLZERO and WBNOINVD in leaf 0x80000008 ebx.
const UNTOLD_E8B: u32 = 1 | (1 << 9);

/// The last extended leaf that all 64-bit processors have.
const LAST_EXTENDED: u32 = 0x8000_0008;

/// What this machine's processors can do, as far as libxl tells.
pub fn features(physinfo: &Physinfo, bytes: &[u8]) -> Option<CpuFeatures> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    CpuFeatures::new(parse_maker(&cpuinfo)?, words(&physinfo.hw_cap, bytes)?)
}

/// As CPUID says it; ARM has none.
fn parse_maker(cpuinfo: &str) -> Option<&str> {
    let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == "vendor_id").map(|(_, maker)| maker.trim())
}

/// All of `hw_cap`, by the words of it that are told.
fn words(told: &[u32], bytes: &[u8]) -> Option<[u32; CPU_WORDS]> {
    // Zeroes are everywhere.
    if told.len() != TOLD || told.iter().all(|word| *word == 0) {
        return None;
    }
    let all: Vec<u32> = bytes
        .chunks_exact(size_of::<u32>())
        .filter_map(|chunk| Some(u32::from_ne_bytes(chunk.try_into().ok()?)))
        .collect();
    let mut places = all.windows(CPU_WORDS).filter(|window| window.starts_with(told));
    let found = places.next()?;
    if places.next().is_some() {
        return None;
    }
    found.try_into().ok()
}

/// `libxl_cpuid_policy_list`, in the form that all versions read.
pub fn policy(level: &CpuLevel) -> Value {
    let (host, given) = (level.host().words(), level.given().words());
    let hidden = |word: usize| hide(host[word] & !given[word]);
    let has = |word: usize| host[word] != 0;
    let mut leaves = vec![
        leaf(1, None, &[("edx", hidden(0)), ("ecx", hidden(1))]),
        leaf(0x8000_0000, None, &[("eax", exactly(LAST_EXTENDED))]),
        leaf(0x8000_0001, None, &[("edx", hidden(2)), ("ecx", hidden(3))]),
        leaf(LAST_EXTENDED, None, &[("ebx", hide(UNTOLD_E8B))]),
    ];
    if has(4) {
        leaves.push(leaf(0xd, Some(1), &[("eax", hidden(4))]));
    }
    if has(5) || has(6) {
        // eax is the last subleaf: the others have instructions that physinfo does not tell of.
        let registers =
            [("eax", exactly(0)), ("ebx", hidden(5)), ("ecx", hidden(6)), ("edx", hide(UNTOLD_7D0))];
        leaves.push(leaf(7, Some(0), &registers));
    }
    Value::Array(leaves)
}

fn leaf(number: u32, sub: Option<u32>, registers: &[(&str, String)]) -> Value {
    let mut leaf = json!({ "leaf": number });
    if let Some(sub) = sub {
        leaf["subleaf"] = json!(sub);
    }
    for (register, letters) in registers {
        leaf[*register] = json!(letters);
    }
    leaf
}

fn hide(bits: u32) -> String {
    letters(|bit| if bits & (1 << bit) == 0 { 'x' } else { '0' })
}

fn exactly(value: u32) -> String {
    letters(|bit| if value & (1 << bit) == 0 { '0' } else { '1' })
}

fn letters(of: impl Fn(u32) -> char) -> String {
    (0..u32::BITS).rev().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKER: &str = "GenuineIntel";

    #[test]
    fn the_words_that_are_not_told_follow_those_that_are() {
        let all: [u32; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
        let memory = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        let around: Vec<u32> = [&[9, 1, 2][..], &all, &[7]].concat();
        for (case, told, lies, found) in [
            ("among others", &all[..4], around.clone(), Some(all)),
            ("nowhere", &[1, 2, 3, 9][..], around.clone(), None),
            ("twice", &all[..4], [around.clone(), around.clone()].concat(), None),
            ("at the very end", &all[..4], around[..7].to_vec(), None),
            ("all zero", &[0; 4][..], vec![0; 16], None),
            ("fewer than there were", &all[..3], around.clone(), None),
        ] {
            assert_eq!(words(told, &memory(&lies)), found, "{case}");
        }
    }

    #[test]
    fn who_made_the_processors() {
        assert_eq!(parse_maker("processor\t: 0\nvendor_id\t: AuthenticAMD\n"), Some("AuthenticAMD"));
        assert_eq!(parse_maker("processor\t: 0\n"), None);
    }

    fn register<'a>(policy: &'a Value, number: u32, register: &str) -> Option<&'a str> {
        let leaves = policy.as_array()?;
        leaves.iter().find(|leaf| leaf["leaf"] == number)?.get(register)?.as_str()
    }

    #[test]
    fn what_the_level_lacks_is_hidden() {
        // AVX2 and AVX512F, of which the level has only the first.
        let host = CpuFeatures::new(MAKER, [1, 1, 0, 0, 1, (1 << 5) | (1 << 16), 0, 0]).unwrap();
        let less = CpuFeatures::new(MAKER, [1, 0, 0, 0, 1, 1 << 5, 0, 0]).unwrap();
        let policy = policy(&CpuLevel::on(host, &less).unwrap());
        let (all, x) = ("x".repeat(32), |count| "x".repeat(count));
        let last = format!("1{}1000", "0".repeat(27));
        for (number, name, letters) in [
            (1, "edx", all.clone()),
            (1, "ecx", format!("{}0", x(31))),
            (7, "ebx", format!("{}0{}", x(15), x(16))),
            (7, "eax", "0".repeat(32)),
            (0xd, "eax", all.clone()),
            (0x8000_0000, "eax", last),
            (0x8000_0008, "ebx", format!("{}0{}0", x(22), x(8))),
        ] {
            assert_eq!(register(&policy, number, name), Some(letters.as_str()), "{number:x} {name}");
        }
        // IBRS, STIBP and SSBD stay as Xen gives them.
        let edx = register(&policy, 7, "edx").unwrap();
        assert!([26, 27, 31].into_iter().all(|bit| edx.as_bytes()[31 - bit] == b'x'), "{edx}");
    }

    #[test]
    fn a_leaf_that_the_host_has_not_is_not_named() {
        let old = CpuFeatures::new(MAKER, [1, 1, 1, 1, 0, 0, 0, 0]).unwrap();
        let policy = policy(&CpuLevel::on(old, &old).unwrap());
        assert_eq!(register(&policy, 7, "ebx"), None);
        assert_eq!(register(&policy, 0xd, "eax"), None);
    }
}
