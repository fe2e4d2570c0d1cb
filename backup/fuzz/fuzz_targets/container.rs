#![no_main]
use xenith_backup::format::{Footer, Header, Trailer};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = Header::parse(data);
    if let Ok(trailer) = Trailer::parse(data, data.len() as u64) {
        let footer = data.len().saturating_sub(trailer.footer as usize + 32);
        let _ = Footer::parse(&data[footer..data.len() - 32], trailer.end);
    }
    let _ = Footer::parse(data, data.len() as u64);
});
