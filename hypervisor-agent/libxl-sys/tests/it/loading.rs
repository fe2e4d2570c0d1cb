use xenith_hypervisor_agent_libxl_sys::{LoadError, load, load_first};

#[test]
fn no_library_is_a_typed_error_that_says_what_to_do() {
    let error = load_first(&["libxenlight.so.0.1", "libxenlight.so.0.2"]).unwrap_err();
    assert!(
        matches!(&error, LoadError::NotInstalled { tried } if tried == "libxenlight.so.0.1, libxenlight.so.0.2")
    );
    assert!(error.to_string().contains("apt install"));
}

#[test]
fn a_library_without_our_functions_is_refused_by_symbol() {
    let error = load_first(&["libxenlight.so.0.1", "libc.so.6"]).unwrap_err();
    let LoadError::Unusable { soname, reason } = error else { panic!("{error}") };
    assert_eq!(soname, "libc.so.6");
    assert!(reason.contains("undefined symbol: libxl_"), "{reason}");
}

#[test]
fn the_installed_library_has_every_function() {
    match load() {
        Ok(library) => assert!(library.soname().starts_with("libxenlight.so.")),
        Err(LoadError::NotInstalled { .. }) => println!("Xen's libraries are not installed here"),
        Err(error) => panic!("{error}"),
    }
}
