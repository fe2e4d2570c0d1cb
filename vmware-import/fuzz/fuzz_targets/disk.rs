#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use xenith_vmware_import::ByteRange;
use xenith_vmware_import::bytes::{DirFolder, MemoryBytes};
use xenith_vmware_import::vmdk::image::GrainReader;
use xenith_vmware_import::vmdk::runs::Runs;
use xenith_vmware_import::vmdk::{OpenOptions, open_image};

fuzz_target!(|data: &[u8]| {
    let bytes = Arc::new(MemoryBytes::new("fuzz", data.to_vec()));
    let folder = Arc::new(DirFolder::new("/nonexistent".as_ref()));
    let Ok(image) = open_image(bytes, folder, OpenOptions::default()) else { return };
    if image.audit().is_err() {
        return;
    }
    let mut runs = Runs::with_budget(64, 1 << 20);
    let whole = ByteRange::new(0, image.virtual_size());
    if image.resolve(whole, &mut runs).is_ok() {
        let mut grains = GrainReader::default();
        for run in runs.as_slice().iter().filter(|run| run.is_data() && run.range.len() <= 1 << 21) {
            let mut buf = vec![0; run.range.len() as usize];
            let _ = image.read_run(run, &mut buf, &mut grains);
        }
    }
});

