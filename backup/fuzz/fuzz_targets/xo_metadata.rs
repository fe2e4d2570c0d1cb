#![no_main]
//! The JSON beside the VHDs of a Xen Orchestra repository: nothing that it names lies outside.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let root = std::env::temp_dir().join(format!("xenith-fuzz-xo-{}", std::process::id()));
    let vm = root.join("xo-vm-backups/vm");
    if !vm.join("vdis/a.vhd").exists() {
        std::fs::create_dir_all(vm.join("vdis")).expect("there is a folder for temporary files");
        std::fs::write(vm.join("vdis/a.vhd"), b"").expect("it can be written");
        std::fs::write(vm.join("vdis/out.alias.vhd"), b"/../../etc/passwd").expect("it can be written");
    }
    std::fs::write(vm.join("x.json"), data).expect("it can be written");
    let (found, _) = xenith_backup::xo::scan(&root).expect("the folder can be listed");
    for disk in found.iter().flat_map(|backup| &backup.disks) {
        let real = disk.vhd.canonicalize().expect("it is there");
        assert!(real.starts_with(root.canonicalize().expect("it is there")));
    }
});
