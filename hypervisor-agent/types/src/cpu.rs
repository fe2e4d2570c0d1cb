//! What the processors of a host can do, as Xen tells it, and the level that hides a part of it from a guest.
//!
//! A guest's kernel asks once, when it boots, what the processor can do. So a guest runs on only where all of that is
//! there. What always holds: features of processors of different makers are never compared bit by bit, and
//! [`CpuFeatures`] has no bits that no guest is ever given.
//!
//! The words and their bits are those of Xen's `arch-x86/cpufeatureset.h`, the first eight of them: what physinfo tells.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// How many words Xen tells in physinfo.
pub const CPU_WORDS: usize = 8;

/// As in Xen's header: leaf 1 edx and ecx, leaf 0x80000001 edx and ecx, leaf 0xd/1 eax, leaf 7/0 ebx and ecx, leaf
/// 0x80000007 edx.
type Words = [u32; CPU_WORDS];

/// Bits that describe the machine rather than instructions, or that no guest which can move is given. A host that has
/// more or fewer of these is no obstacle.
const NEVER_GIVEN: Words = [
    // PSN, DS, ACPI, HTT, TM1, PBE.
    bits(&[18, 21, 22, 28, 29, 31]),
    // DTES64, MONITOR, DSCPL, VMX, SMX, EIST, TM2, CNXT, SDBG, XTPR, PDCM, DCA, OSXSAVE, HYPERVISOR.
    bits(&[2, 3, 4, 5, 6, 7, 8, 10, 11, 14, 15, 18, 27, 31]),
    0,
    // SVM, EXTAPIC, OSVW, IBS, SKINIT, WDT, NODEID, TOPOEXT, and counters of AMD's.
    bits(&[2, 3, 9, 10, 12, 13, 19, 22, 23, 24, 27, 28]),
    0,
    // SGX, PQM, PQE, PROC_TRACE.
    bits(&[2, 12, 15, 25]),
    // OSPKE, TME.
    bits(&[4, 13]),
    // A guest with an invariant clock cannot move.
    u32::MAX,
];

const fn bits(numbers: &[u32]) -> u32 {
    let mut word = 0;
    let mut at = 0;
    while at < numbers.len() {
        word |= 1 << numbers[at];
        at += 1;
    }
    word
}

/// What people look for, by word and bit. Others are shown as `word:bit`.
const NAMES: &[(usize, u32, &str)] = &[
    (0, 25, "sse"),
    (0, 26, "sse2"),
    (1, 0, "sse3"),
    (1, 1, "pclmulqdq"),
    (1, 9, "ssse3"),
    (1, 12, "fma"),
    (1, 13, "cx16"),
    (1, 17, "pcid"),
    (1, 19, "sse4.1"),
    (1, 20, "sse4.2"),
    (1, 21, "x2apic"),
    (1, 22, "movbe"),
    (1, 23, "popcnt"),
    (1, 24, "tsc-deadline"),
    (1, 25, "aes"),
    (1, 26, "xsave"),
    (1, 28, "avx"),
    (1, 29, "f16c"),
    (1, 30, "rdrand"),
    (2, 20, "nx"),
    (2, 26, "page1gb"),
    (2, 27, "rdtscp"),
    (2, 29, "lm"),
    (3, 5, "lzcnt"),
    (3, 6, "sse4a"),
    (3, 8, "prefetchw"),
    (3, 11, "xop"),
    (3, 16, "fma4"),
    (3, 21, "tbm"),
    (4, 0, "xsaveopt"),
    (4, 1, "xsavec"),
    (4, 2, "xgetbv1"),
    (4, 3, "xsaves"),
    (5, 0, "fsgsbase"),
    (5, 3, "bmi1"),
    (5, 4, "hle"),
    (5, 5, "avx2"),
    (5, 7, "smep"),
    (5, 8, "bmi2"),
    (5, 9, "erms"),
    (5, 10, "invpcid"),
    (5, 11, "rtm"),
    (5, 14, "mpx"),
    (5, 16, "avx512f"),
    (5, 17, "avx512dq"),
    (5, 18, "rdseed"),
    (5, 19, "adx"),
    (5, 20, "smap"),
    (5, 21, "avx512-ifma"),
    (5, 23, "clflushopt"),
    (5, 24, "clwb"),
    (5, 28, "avx512cd"),
    (5, 29, "sha"),
    (5, 30, "avx512bw"),
    (5, 31, "avx512vl"),
    (6, 1, "avx512-vbmi"),
    (6, 2, "umip"),
    (6, 3, "pku"),
    (6, 6, "avx512-vbmi2"),
    (6, 7, "cet-ss"),
    (6, 8, "gfni"),
    (6, 9, "vaes"),
    (6, 10, "vpclmulqdq"),
    (6, 11, "avx512-vnni"),
    (6, 12, "avx512-bitalg"),
    (6, 14, "avx512-vpopcntdq"),
    (6, 22, "rdpid"),
    (6, 27, "movdiri"),
    (6, 28, "movdir64b"),
];

/// The features of a host's processors that a guest may be given, with who made them; or a part of these. Written as
/// `GenuineIntel:178bfbff:f6fa3203:…`, the words in hexadecimal as `xl info` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CpuFeatures {
    maker: [u8; 12],
    words: Words,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} are no CPU features; copy those that `xenith host get` shows, such as GenuineIntel:178bfbff:…, eight words in all"
)]
pub struct ParseCpuFeaturesError(String);

impl CpuFeatures {
    /// `maker` is what CPUID says, such as `AuthenticAMD`; anything else than its twelve characters is no maker.
    #[must_use]
    pub fn new(maker: &str, words: Words) -> Option<Self> {
        let maker: [u8; 12] = maker.as_bytes().try_into().ok()?;
        let fine = |byte: &u8| byte.is_ascii_graphic() && *byte != b':';
        maker.iter().all(fine).then(|| {
            let mut words = words;
            words.iter_mut().zip(NEVER_GIVEN).for_each(|(word, never)| *word &= !never);
            Self { maker, words }
        })
    }

    #[must_use]
    pub fn maker(&self) -> &str {
        std::str::from_utf8(&self.maker).unwrap_or_default()
    }

    #[must_use]
    pub const fn words(&self) -> &Words {
        &self.words
    }

    /// What both have; `None`: of different makers.
    #[must_use]
    pub fn common(&self, other: &Self) -> Option<Self> {
        (self.maker == other.maker).then(|| {
            let mut words = self.words;
            words.iter_mut().zip(other.words).for_each(|(word, other)| *word &= other);
            Self { maker: self.maker, words }
        })
    }

    /// Whether a guest that was given `other` finds all of that here.
    #[must_use]
    pub fn has_all_of(&self, other: &Self) -> bool {
        self.common(other) == Some(*other)
    }

    /// What `other` has and this has not, in words.
    #[must_use]
    pub fn lacks(&self, other: &Self) -> Vec<String> {
        if self.maker != other.maker {
            return vec![format!("{}'s instructions", other.maker())];
        }
        let name = |(word, bit): (usize, u32)| {
            let known = NAMES.iter().find(|(of, number, _)| (*of, *number) == (word, bit));
            known.map_or_else(|| format!("{word}:{bit}"), |(.., name)| (*name).to_owned())
        };
        let all = (0..CPU_WORDS).flat_map(|word| (0..u32::BITS).map(move |bit| (word, bit)));
        let lacking =
            all.filter(|(word, bit)| other.words[*word] & !self.words[*word] & (1_u32 << *bit) != 0);
        lacking.map(name).collect()
    }
}

impl fmt::Display for CpuFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.maker())?;
        self.words.iter().try_for_each(|word| write!(f, ":{word:08x}"))
    }
}

impl FromStr for CpuFeatures {
    type Err = ParseCpuFeaturesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (maker, words) = text.split_once(':')?;
            // `from_str_radix` would take a sign.
            let word = |text: &str| {
                let fine = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                fine.then(|| u32::from_str_radix(text, 16).ok())?
            };
            let words: Vec<u32> = words.split(':').map(word).collect::<Option<_>>()?;
            Self::new(maker, words.try_into().ok()?)
        };
        parse().ok_or_else(|| ParseCpuFeaturesError(text.to_owned()))
    }
}

impl TryFrom<String> for CpuFeatures {
    type Error = ParseCpuFeaturesError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CpuFeatures> for String {
    fn from(features: CpuFeatures) -> Self {
        features.to_string()
    }
}

impl JsonSchema for CpuFeatures {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("CpuFeatures")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!-9;-~]{12}(:[0-9a-fA-F]{8}){8}$" })
    }
}

/// What a domain is to be given of its host's features. Only of a host's own maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CpuLevel {
    host: CpuFeatures,
    given: CpuFeatures,
}

impl CpuLevel {
    /// `None`: the level is of another maker's processors, and says nothing here.
    #[must_use]
    pub fn on(host: CpuFeatures, level: &CpuFeatures) -> Option<Self> {
        Some(Self { host, given: host.common(level)? })
    }

    /// What the host has.
    #[must_use]
    pub const fn host(&self) -> &CpuFeatures {
        &self.host
    }

    /// What its guest finds, and must find again wherever it runs on.
    #[must_use]
    pub const fn given(&self) -> &CpuFeatures {
        &self.given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTEL: &str = "GenuineIntel";

    fn features(ecx: u32, ebx: u32) -> CpuFeatures {
        CpuFeatures::new(INTEL, [0x0380_0000, ecx, 0, 0, 0, ebx, 0, 0]).unwrap()
    }

    #[test]
    fn they_are_written_as_they_are_read() {
        let text = "GenuineIntel:03800000:16000000:00000000:00000000:00000000:00000020:00000000:00000000";
        let all = features(0x1600_0000, 0x20);
        assert_eq!(all.to_string(), text);
        assert_eq!(text.parse::<CpuFeatures>(), Ok(all));
        assert_eq!(serde_json::from_value::<CpuFeatures>(serde_json::json!(text)).unwrap(), all);
        for (case, wrong) in [
            ("nothing", "".to_owned()),
            ("no words", "GenuineIntel".to_owned()),
            ("too few", text[..text.len() - 9].to_owned()),
            ("too many", format!("{text}:00000000")),
            ("a sign", text.replace("16000000", "+6000000")),
            ("a short word", text.replace("16000000", "1600000")),
            ("another maker", text.replace(INTEL, "Intel")),
        ] {
            assert!(wrong.parse::<CpuFeatures>().is_err(), "{case}");
        }
    }

    #[test]
    fn what_no_guest_is_given_is_left_out() {
        // OSXSAVE, HYPERVISOR, VMX; and an invariant clock.
        let all = CpuFeatures::new(INTEL, [0, 0x8800_0020, 0, 0, 0, 0, 0, 0x100]).unwrap();
        assert_eq!(all.words(), &[0; CPU_WORDS]);
    }

    #[test]
    fn a_guest_finds_what_it_was_given() {
        let (full, less) = (features(0x1600_0000, 0x0001_0020), features(0x1600_0000, 0x20));
        let amd = CpuFeatures::new("AuthenticAMD", *full.words()).unwrap();
        assert_eq!(full.common(&less), Some(less));
        assert_eq!(full.common(&amd), None, "never across makers");
        for (case, host, given, fine, lacking) in [
            ("the same", full, full, true, vec![]),
            ("less was given", full, less, true, vec![]),
            ("more was given", less, full, false, vec!["avx512f"]),
            ("another maker's", amd, less, false, vec!["GenuineIntel's instructions"]),
        ] {
            assert_eq!(host.has_all_of(&given), fine, "{case}");
            assert_eq!(host.lacks(&given), lacking, "{case}");
        }
        let odd = features(0x1600_0000, 0x60);
        assert_eq!(less.lacks(&odd), ["5:6"], "what has no name here");
    }

    #[test]
    fn a_level_gives_no_more_than_the_host_has() {
        let (full, less) = (features(0x1600_0000, 0x0001_0020), features(0x1600_0000, 0x20));
        assert_eq!(CpuLevel::on(full, &less).map(|level| *level.given()), Some(less));
        assert_eq!(CpuLevel::on(less, &full).map(|level| *level.given()), Some(less));
        let amd = CpuFeatures::new("AuthenticAMD", *full.words()).unwrap();
        assert_eq!(CpuLevel::on(full, &amd), None);
    }
}
