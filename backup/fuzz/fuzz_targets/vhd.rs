#![no_main]
//! A VHD of an imported repository: 128 KiB of file whose checksums are right and whose other fields are anybody's.

fn checksum(bytes: &[u8], field: usize) -> u32 {
    let sum = |part: &[u8]| part.iter().map(|&b| u32::from(b)).fold(0, u32::wrapping_add);
    !sum(&bytes[..field]).wrapping_add(sum(&bytes[field + 4..]))
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut file = data.to_vec();
    file.resize(128 << 10, 0);
    let sums = [checksum(&file[..512], 64), checksum(&file[512..1536], 36)];
    file[64..68].copy_from_slice(&sums[0].to_be_bytes());
    file[548..552].copy_from_slice(&sums[1].to_be_bytes());
    let path = std::env::temp_dir().join(format!("xenith-fuzz-{}.vhd", std::process::id()));
    std::fs::write(&path, &file).expect("there is a folder for temporary files");
    if let Ok(vhd) = xenith_backup::xo::Vhd::open(&path) {
        let mut sector = [0; 512];
        for number in (0..vhd.blocks().min(8)).filter(|&number| vhd.has(number)) {
            let _ = vhd.bitmap(number);
            let _ = vhd.read(number, vhd.block_size() - 512, &mut sector);
        }
    }
});
