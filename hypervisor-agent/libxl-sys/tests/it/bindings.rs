use std::panic::{UnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Result, anyhow, ensure};

use crate::generate;

/// `xtask test` looks for the same file, and lists what is not compared without it as skipped.
const HEADER: &str = "/usr/include/libxl.h";

/// Skipped only where there are no headers: then there is nothing to agree with.
#[test]
fn the_checked_in_bindings_agree_with_the_installed_headers() {
    if !Path::new(HEADER).is_file() {
        return println!("skipped: there is no {HEADER}; install libxen-dev");
    }
    let version = generate::installed_version().unwrap();
    let path = generate::bindings_path(Path::new(env!("CARGO_MANIFEST_DIR")), &version);
    let Ok(checked_in) = std::fs::read_to_string(&path) else {
        return println!("skipped: this machine has Xen {version}, for which no bindings are checked in");
    };
    compare(&generated(generate::generate).unwrap(), &checked_in).unwrap();
}

/// What bindgen makes, or how to repair that it makes nothing. It panics where it finds no libclang.
fn generated(generate: impl FnOnce() -> Result<String> + UnwindSafe) -> Result<String> {
    let made = catch_unwind(generate).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(anyhow!("{}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("bindgen panicked")))
    });
    made.map_err(|error| {
        anyhow!(
            "the bindings cannot be compared with the Xen headers, as bindgen does not run here: {error:#}. It needs \
             libclang and its headers: `cargo xtask setup`, or install clang and libclang-dev. Where they are in an \
             unusual place, name the folder of libclang.so in LIBCLANG_PATH"
        )
    })
}

fn compare(generated: &str, checked_in: &str) -> Result<()> {
    const REPAIR: &str = "look at the difference after \
                          `cargo run -p xenith-hypervisor-agent-libxl-sys --example regenerate`";
    for (line, (old, new)) in (1..).zip(checked_in.lines().zip(generated.lines())) {
        ensure!(old == new, "line {line}: checked in {old:?}, the headers say {new:?}; {REPAIR}");
    }
    ensure!(checked_in.len() == generated.len(), "the checked-in bindings are shorter or longer; {REPAIR}");
    Ok(())
}

#[test]
fn a_bindgen_that_does_not_run_is_an_error_with_its_repair() {
    let unable = || -> Result<String> { Err(anyhow!("libclang could not read the Xen headers")) };
    let without = || -> Result<String> { panic!("Unable to find libclang") };
    for (error, word) in [
        (generated(unable).unwrap_err(), "could not read"),
        (generated(without).unwrap_err(), "Unable to find libclang"),
    ] {
        let text = error.to_string();
        assert!(text.contains(word) && text.contains("libclang-dev"), "{text}");
    }
}

#[test]
fn a_difference_is_an_error() {
    compare("one\ntwo\n", "one\ntwo\n").unwrap();
    for (generated, checked_in) in
        [("one\nTWO\n", "one\ntwo\n"), ("one\n", "one\ntwo\n"), ("one\ntwo\n", "one\n")]
    {
        compare(generated, checked_in).unwrap_err();
    }
}
