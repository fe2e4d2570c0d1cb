//! VDIs from creation to deletion.

use xenith_common_ids::VdiId;

use super::{MIB, Scene, size};
use crate::{Sharing, StorageError};

pub fn repeats(scene: &Scene) {
    let vdi = VdiId::new();
    for _ in 0..2 {
        let facts = scene.driver.ensure(vdi, size(64)).expect("ensure");
        assert_eq!(
            (facts.vdi, facts.sr, facts.size, facts.snapshot_of),
            (vdi, scene.driver.sr(), size(64), None)
        );
        assert!(facts.physical < MIB, "thin, but takes {}", facts.physical);
    }
    let other = scene.driver.ensure(vdi, size(32));
    assert!(matches!(other, Err(StorageError::OtherSize { found, .. }) if found == size(64)), "{other:?}");
    for _ in 0..2 {
        scene.driver.delete(vdi).expect("delete");
    }
    assert!(!scene.present(vdi));
}

pub fn not_there(scene: &Scene) {
    let vdi = VdiId::new();
    let results = [
        scene.driver.facts(vdi).map(|_| ()),
        scene.driver.path(vdi).map(|_| ()),
        scene.driver.grow(vdi, size(1)).map(|_| ()),
        scene.driver.clone_vdi(vdi, VdiId::new()).map(|_| ()),
        scene.driver.open_source(vdi).map(|_| ()),
        scene.driver.open_sink(vdi).map(|_| ()),
    ];
    for result in results {
        assert!(matches!(result, Err(StorageError::NotFound { .. })), "{result:?}");
    }
}

pub fn grows(scene: &Scene) {
    let vdi = scene.disk(4);
    scene.write(vdi, 0, &[7; 4096]);
    for _ in 0..2 {
        assert_eq!(scene.driver.grow(vdi, size(8)).expect("grow").size, size(8));
    }
    let shrunk = scene.driver.grow(vdi, size(4));
    assert!(matches!(shrunk, Err(StorageError::Shrink { .. })), "{shrunk:?}");
    assert_eq!(scene.read(vdi, 0, 4096), [7; 4096]);
    assert_eq!(scene.read(vdi, 7 * MIB, 4096), [0; 4096]);
    scene.write(vdi, 8 * MIB - 512, &[9; 512]);
    assert_eq!(scene.source(vdi).size(), 8 * MIB);
    assert_eq!(scene.driver.facts(vdi).expect("facts").size, size(8));
}

pub fn contents(scene: &Scene) {
    let vdi = scene.disk(16);
    scene.write(vdi, 5 * MIB, &[3; 65536]);
    assert_eq!(scene.read(vdi, 5 * MIB - 512, 1024), [[0; 512], [3; 512]].concat());
    let sink = scene.driver.open_sink(vdi).expect("a sink");
    sink.zero(xenith_common_block::ByteRange::with_len(5 * MIB, 32768)).expect("zero");
    drop(sink);
    assert_eq!(scene.read(vdi, 5 * MIB + 32256, 1024), [[0; 512], [3; 512]].concat());
    let source = scene.source(vdi);
    let mut covered = 0;
    for extent in source.extents(xenith_common_block::ByteRange::new(0, 16 * MIB)).expect("extents") {
        assert_eq!(extent.range.start, covered, "without gap or overlap");
        covered = extent.range.end;
        if extent.kind != xenith_common_block::ExtentKind::Data {
            let mut bytes = vec![1; usize::try_from(extent.range.len()).expect("small")];
            source.read_at(extent.range.start, &mut bytes).expect("read");
            assert!(bytes.iter().all(|&byte| byte == 0), "{extent:?} reads as zeros");
        }
    }
    assert_eq!(covered, 16 * MIB);
}

pub fn listed(scene: &Scene) {
    let (first, second) = (scene.disk(4), scene.disk(8));
    let snapshot = scene.snapshot_one(first);
    let listing = scene.driver.list().expect("a list");
    let mut ids: Vec<_> = listing.vdis.iter().map(|facts| (facts.vdi, facts.snapshot_of)).collect();
    ids.sort();
    let mut expected = [(first, None), (second, None), (snapshot, Some(first))];
    expected.sort();
    assert_eq!(ids, expected);
    let space = scene.driver.space().expect("space");
    assert!(space.promised >= 12 * MIB && space.total >= space.free, "{space:?}");
}

pub fn clones(scene: &Scene) {
    let source = scene.disk(8);
    scene.write(source, MIB, &[1; 8192]);
    let clone = VdiId::new();
    for _ in 0..2 {
        let facts = scene.driver.clone_vdi(source, clone).expect("clone");
        assert_eq!((facts.size, facts.snapshot_of), (size(8), None));
    }
    scene.write(clone, MIB, &[2; 4096]);
    scene.write(source, MIB + 4096, &[3; 4096]);
    assert_eq!(scene.read(source, MIB, 8192), [[1; 4096], [3; 4096]].concat());
    assert_eq!(scene.read(clone, MIB, 8192), [[2; 4096], [1; 4096]].concat());
    scene.driver.delete(source).expect("delete");
    assert_eq!(scene.read(clone, MIB, 8192), [[2; 4096], [1; 4096]].concat());
    if scene.driver.sharing() == Sharing::CopyOnWrite {
        let large = scene.disk(1 << 20);
        scene.write(large, 3 << 30, &[5; 4096]);
        let began = std::time::Instant::now();
        scene.driver.clone_vdi(large, VdiId::new()).expect("clone");
        // Emulated, the five commands that LVM needs take a second each.
        assert!(began.elapsed().as_secs() < 30, "1 TiB took {:?}", began.elapsed());
    }
}

pub fn renamed(scene: &Scene) {
    let (aside, vdi) = (scene.disk(8), VdiId::new());
    scene.write(aside, MIB, &[6; 4096]);
    assert_eq!(scene.driver.rename(aside, vdi).expect("rename").size, size(8));
    assert!(scene.present(vdi) && !scene.present(aside));
    assert_eq!(scene.read(vdi, MIB, 4096), [6; 4096]);
    let other = scene.disk(4);
    assert!(matches!(scene.driver.rename(other, vdi), Err(StorageError::Exists { .. })));
    assert!(matches!(scene.driver.rename(aside, VdiId::new()), Err(StorageError::NotFound { .. })));
}
