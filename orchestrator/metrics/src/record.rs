//! What is written of one entity and period: so many triples of each metric.
//!
//! A byte for the version, one for the number of metrics; for each its number, the length of what follows (two
//! bytes, little endian) and the packed triples. A reader of one metric steps over the others.

use xenith_orchestrator_types::metrics::Metric;

use crate::code::Triple;
use crate::pack::{pack_triples, unpack_triples};

const VERSION: u8 = 1;

/// `columns` have `count` triples each; those without any value are left out.
pub fn write(columns: &[(Metric, Vec<Triple>)]) -> Vec<u8> {
    let measured: Vec<_> = columns
        .iter()
        .filter(|(_, triples)| triples.iter().any(|triple| *triple != Triple::default()))
        .collect();
    let mut bytes = vec![VERSION, measured.len() as u8];
    for (metric, triples) in measured {
        let mut packed = Vec::new();
        pack_triples(triples, &mut packed);
        bytes.push(metric.number());
        // At most 60 triples of 6 bytes.
        bytes.extend((packed.len() as u16).to_le_bytes());
        bytes.extend(packed);
    }
    bytes
}

/// All metrics of a record whose columns have `count` triples and that `wanted` lets through. `None`: not a record.
/// Metrics of later versions of this program are left out.
pub fn read(
    bytes: &[u8],
    count: usize,
    wanted: impl Fn(Metric) -> bool,
) -> Option<Vec<(Metric, Vec<Triple>)>> {
    let [VERSION, metrics, rest @ ..] = bytes else { return None };
    let mut rest = rest;
    let mut columns = Vec::new();
    for _ in 0..*metrics {
        let (head, behind) = rest.split_first_chunk::<3>()?;
        let length = usize::from(u16::from_le_bytes([head[1], head[2]]));
        let (packed, behind) = behind.split_at_checked(length)?;
        rest = behind;
        if let Some(metric) = Metric::from_number(head[0]).filter(|metric| wanted(*metric)) {
            columns.push((metric, unpack_triples(packed, count)?));
        }
    }
    Some(columns)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_reads_back_without_what_was_not_measured() {
        let constant = vec![Triple { avg: 9000, min: 9000, max: 9000 }; 60];
        let bytes = write(&[
            (Metric::Cpu, constant.clone()),
            (Metric::Load, vec![Triple::default(); 60]),
            (Metric::Power, constant.clone()),
        ]);
        assert_eq!(bytes.len(), 2 + 2 * (3 + 8));
        let expected = vec![(Metric::Cpu, constant.clone()), (Metric::Power, constant.clone())];
        assert_eq!(read(&bytes, 60, |_| true), Some(expected));
        assert_eq!(read(&bytes, 60, |metric| metric == Metric::Power), Some(vec![(Metric::Power, constant)]));
        for bad in [&bytes[..20], &bytes[1..], b"", &[2, 0]] {
            assert_eq!(read(bad, 60, |_| true), None);
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _any = read(&bytes, 60, |_| true);
            let _any = read(&[&[VERSION, 3][..], &bytes].concat(), 24, |_| true);
        }
    }
}
