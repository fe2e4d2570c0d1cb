//! What a disk is, for people and for scripts.

use std::collections::BTreeMap;

use serde::Serialize;

use std::io::Read;

use crate::error::Result;
use crate::inspect;
use crate::vmdk::Descriptor;
use crate::vmdk::image::{Image, Layer, Reader};
use crate::vmdk::stream::StreamReader;

/// The answer of `xenith-import info`; the JSON is this struct.
#[derive(Debug, Clone, Serialize)]
pub struct DiskInfo {
    pub name: String,
    /// `vmdk`, `qcow2`, `vhd` or `raw`.
    pub format: &'static str,
    /// The descriptor's createType; empty for other formats.
    pub create_type: String,
    /// In bytes.
    pub virtual_size: u64,
    /// Bytes of the disk that hold data, the chain resolved.
    pub allocated: u64,
    pub data_runs: u64,
    /// Sum of the files' sizes.
    pub file_size: u64,
    pub cid: Option<String>,
    pub parent_cid: Option<String>,
    pub adapter: Option<String>,
    pub uuid: Option<String>,
    /// Whether the descriptor names a file of changed-block tracking.
    pub change_tracking: bool,
    pub compressed: bool,
    pub chain: Vec<LayerInfo>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct LayerInfo {
    pub name: String,
    pub create_type: String,
    pub cid: Option<String>,
    pub extents: Vec<ExtentInfo>,
    pub ddb: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ExtentInfo {
    /// `None` for an extent of zeros.
    pub file: Option<String>,
    pub kind: &'static str,
    pub offset: u64,
    pub length: u64,
}

/// Walks the tables of `image` and sums up.
pub fn describe(image: &Image) -> Result<DiskInfo> {
    let audit = image.audit()?;
    let top = image.layers.first();
    let descriptor = top.and_then(|layer| layer.descriptor.as_ref());
    let mut warnings = image.warnings.clone();
    for reader in &image.extents {
        if let Reader::Sparse(sparse) = reader
            && sparse.header.unclean
        {
            warnings.push(format!("{} was not closed cleanly", sparse.tables.bytes.name()));
        }
    }
    // What cannot be read is no matter of this look: `info` tells of damaged disks, too.
    warnings.extend(inspect::look(image).unwrap_or_default().warnings());
    Ok(DiskInfo {
        name: top.map_or_else(String::new, |layer| layer.name.clone()),
        format: image.format,
        create_type: descriptor.map_or_else(String::new, |d| d.create_type.clone()),
        virtual_size: image.virtual_size(),
        allocated: audit.data,
        data_runs: audit.runs,
        file_size: image.extents.iter().map(|extent| extent.bytes().len()).sum(),
        cid: descriptor.and_then(|d| d.cid).map(|cid| cid.to_string()),
        parent_cid: descriptor.and_then(|d| d.parent_cid).map(|cid| cid.to_string()),
        adapter: ddb(descriptor, "adapterType"),
        uuid: ddb(descriptor, "uuid"),
        change_tracking: descriptor.is_some_and(|d| d.change_track_path.is_some()),
        compressed: image.extents.iter().any(|e| matches!(e, Reader::Sparse(s) if s.header.compressed)),
        chain: image.layers.iter().map(|layer| layer_info(image, layer)).collect(),
        warnings,
    })
}

fn ddb(descriptor: Option<&Descriptor>, key: &str) -> Option<String> {
    descriptor.and_then(|d| d.ddb.get(key)).cloned()
}

/// Reads a stream to its end, without inflating, and sums up.
pub fn describe_stream<R: Read>(stream: &mut StreamReader<R>) -> Result<DiskInfo> {
    let (mut allocated, mut grains) = (0, 0);
    let mut packed = Vec::new();
    while let Some(grain) = stream.next_grain(&mut packed)? {
        packed.clear();
        allocated += grain.len;
        grains += 1;
    }
    let name = stream.name().to_owned();
    let descriptor = stream.descriptor.as_ref();
    let create_type = descriptor.map_or_else(String::new, |d| d.create_type.clone());
    let (cid, size) = (descriptor.and_then(|d| d.cid).map(|cid| cid.to_string()), stream.header.capacity);
    let extent = ExtentInfo { file: Some(name.clone()), kind: "stream", offset: 0, length: size };
    let layer = LayerInfo {
        name: name.clone(),
        create_type: create_type.clone(),
        cid: cid.clone(),
        extents: vec![extent],
        ddb: descriptor.map(|d| d.ddb.clone()).unwrap_or_default(),
    };
    Ok(DiskInfo {
        name,
        format: "vmdk",
        create_type,
        virtual_size: size,
        allocated,
        data_runs: grains,
        file_size: stream.position(),
        cid,
        parent_cid: None,
        adapter: ddb(descriptor, "adapterType"),
        uuid: ddb(descriptor, "uuid"),
        change_tracking: false,
        compressed: true,
        chain: vec![layer],
        warnings: vec!["read front to back, without tables".to_owned()],
    })
}

fn layer_info(image: &Image, layer: &Layer) -> LayerInfo {
    let extents = layer.parts.iter().map(|part| {
        let reader = part.extent.map(|index| &image.extents[index as usize]);
        ExtentInfo {
            file: reader.map(|reader| reader.bytes().name().to_owned()),
            kind: reader.map_or("zero", Reader::kind),
            offset: part.range.start,
            length: part.range.len(),
        }
    });
    LayerInfo {
        name: layer.name.clone(),
        create_type: layer.descriptor.as_ref().map_or_else(String::new, |d| d.create_type.clone()),
        cid: layer.cid().map(|cid| cid.to_string()),
        extents: extents.collect(),
        ddb: layer.descriptor.as_ref().map(|d| d.ddb.clone()).unwrap_or_default(),
    }
}
