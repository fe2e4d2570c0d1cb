use std::path::Path;

use crate::generate;

/// Fails only when the headers are there and say something else than the file that was checked in.
#[test]
fn the_checked_in_bindings_agree_with_the_installed_headers() {
    let version = match generate::installed_version() {
        Ok(version) => version,
        Err(absent) => return println!("not compared: {absent}"),
    };
    let generated = match generate::generate() {
        Ok(generated) => generated,
        Err(absent) => return println!("not compared, bindgen could not run here: {absent:#}"),
    };
    let path = generate::bindings_path(Path::new(env!("CARGO_MANIFEST_DIR")), &version);
    let Ok(checked_in) = std::fs::read_to_string(&path) else {
        return println!(
            "not compared: this machine has Xen {version}, for which no bindings are checked in"
        );
    };
    let difference = checked_in.lines().zip(generated.lines()).enumerate().find(|(_, (old, new))| old != new);
    if let Some((line, (old, new))) = difference {
        panic!("{} line {}: checked in {old:?}, headers say {new:?}", path.display(), line + 1);
    }
    assert_eq!(checked_in.len(), generated.len(), "{} is shorter or longer", path.display());
}
