//! `xenith-vmdk-generate FORMAT RAW OUT [BASE.raw BASE.vmdk]`, for benches and for trying things.
//!
//! FORMAT: cowd, sesparse, sparse, stream, stream-no-tables, with `-shuffled` behind it for shuffled tables;
//! or `sample:SIZE_MIB:PERCENT`, which writes a raw image to RAW.

use std::path::Path;

use anyhow::{Context, bail};
use xenith_vmware_import_generator as generate;
use xenith_vmware_import_generator::{Options, Order, ParentRef, RawImage, StreamStyle};

/// Content ids of everything this program makes.
const CID: u32 = 0x1234_5678;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (format, raw, out, base) = match words[..] {
        [sample, raw] if sample.starts_with("sample:") => {
            let numbers: Vec<u64> = sample[7..].split(':').filter_map(|n| n.parse().ok()).collect();
            let [mib, percent] = numbers[..] else { bail!("say sample:SIZE_MIB:PERCENT") };
            return Ok(generate::sample(Path::new(raw), mib << 20, percent, 1)?);
        }
        [format, raw, out] => (format, raw, out, None),
        [format, raw, out, base_raw, base] => (format, raw, out, Some((base_raw, base))),
        _ => bail!("usage: xenith-vmdk-generate FORMAT RAW OUT [BASE.raw BASE.vmdk]"),
    };
    let (format, order) = match format.strip_suffix("-shuffled") {
        Some(format) => (format, Order::Shuffled(7)),
        None => (format, Order::AsOnDisk),
    };
    let content = match base {
        Some((base_raw, _)) => RawImage::changes(Path::new(raw), Path::new(base_raw)),
        None => RawImage::open(Path::new(raw)),
    }
    .context("cannot open the raw image")?;
    let parent = base.map(|(_, name)| ParentRef { cid: CID, hint: name.to_owned() });
    let options = Options { cid: CID, parent, order };
    let out = Path::new(out);
    match format {
        "cowd" => generate::vmfs_sparse(out, &content, &options)?,
        "sesparse" => generate::se_sparse(out, &content, &options)?,
        "sparse" => generate::monolithic_sparse(out, &content, &options)?,
        "stream" => generate::stream_optimized(out, &content, &options, StreamStyle::VMware)?,
        "stream-no-tables" => generate::stream_optimized(out, &content, &options, StreamStyle::NoTables)?,
        _ => bail!("{format} is not a format this program makes"),
    }
    Ok(())
}
