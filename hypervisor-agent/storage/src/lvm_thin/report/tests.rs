//! Answers as LVM 2.03.16 and Linux 6.1 of Debian 12 give them, written from lvmreport(7) and the kernel's document.

use super::*;

const LVS: &str = r#"  {
      "report": [
          {
              "lv": [
                  {"lv_name":"pool", "lv_size":"1056964608", "lv_tags":"xenith.sr.0190c5c4-0000-7000-8000-000000000001", "pool_lv":"", "thin_id":"", "lv_time":"1700000000", "segtype":"thin-pool"},
                  {"lv_name":"root", "lv_size":"10737418240", "lv_tags":"", "pool_lv":"", "thin_id":"", "lv_time":"1700000000", "segtype":"linear"},
                  {"lv_name":"xenith_0190c5c4-0000-7000-8000-000000000002", "lv_size":"67108864", "lv_tags":"xenith.making,xenith.of.0190c5c4-0000-7000-8000-000000000003", "pool_lv":"pool", "thin_id":"7", "lv_time":"1700000100", "segtype":"thin"}
              ]
          }
      ]
  }
"#;

#[test]
fn volumes_are_listed() {
    let listed = volumes(LVS).unwrap();
    let kinds: Vec<(&str, &str)> = listed.iter().map(|one| (&*one.kind, &*one.pool)).collect();
    assert_eq!(kinds, [("thin-pool", ""), ("linear", ""), ("thin", "pool")]);
    let snapshot = &listed[2].volume;
    assert_eq!((snapshot.bytes, snapshot.thin_id, snapshot.made), (64 << 20, Some(7), Some(1_700_000_100)));
    assert!(snapshot.has("xenith.making") && snapshot.snapshot_of().is_some());
    assert!(listed[0].volume.thin_id.is_none() && listed[1].volume.tags.is_empty());
    assert!(volumes(r#"{"report": [{"lv": []}]}"#).unwrap().is_empty());
    for odd in ["", "  No such thing", r#"{"report": [{"lv": [{"lv_name": "a", "lv_size": "1g"}]}]}"#] {
        assert!(volumes(odd).is_err(), "{odd}");
    }
}

#[test]
fn groups_and_disks_are_read() {
    let json = r#"{"report": [{"vg": [{"vg_extent_size":"1048576", "vg_free":"1072693248"}]}]}"#;
    assert_eq!(group(json).unwrap(), Some(Group { extent: 1 << 20, free: 1023 << 20 }));
    assert_eq!(group(r#"{"report": [{"vg": []}]}"#).unwrap(), None);
    assert!(belongs_to_none(r#"{"report": [{"pv": [{"vg_name":""}]}]}"#).unwrap());
    assert!(!belongs_to_none(r#"{"report": [{"pv": [{"vg_name":"data"}]}]}"#).unwrap());
}

#[test]
fn the_table_of_a_pool_is_read() {
    for (line, block, zeroes, fails_when_full) in [
        ("0 2064384 thin-pool 253:0 253:1 128 0 0 ", 65536, true, false),
        ("0 2064384 thin-pool 253:0 253:1 2048 0 1 skip_block_zeroing ", 1 << 20, false, false),
        ("0 2064384 thin-pool 253:0 253:1 128 0 2 no_discard_passdown error_if_no_space", 65536, true, true),
    ] {
        assert_eq!(pool_table(line).unwrap(), PoolTable { block, zeroes, fails_when_full }, "{line}");
    }
    assert!(pool_table("0 2064384 linear 8:16 2048").is_err());
    assert!(pool_table("").is_err());
}

#[test]
fn a_pool_is_full_when_its_data_or_its_metadata_are() {
    let block = 65536;
    for (line, free, is_read_only) in [
        ("0 204800 thin-pool 5 10/1024 100/1600 - rw discard_passdown queue_if_no_space - 256", 1500, false),
        // There are blocks, and too few names for them.
        ("0 204800 thin-pool 5 748/1024 100/1600 - rw discard_passdown queue_if_no_space - 256", 1280, false),
        // Before kernels told their reserve.
        ("0 204800 thin-pool 5 1004/1024 0/1600 - rw discard_passdown queue_if_no_space -", 1280, false),
        ("0 204800 thin-pool 5 900/1024 100/1600 - rw discard_passdown queue_if_no_space - 256", 0, false),
        (
            "0 204800 thin-pool 5 10/1024 1600/1600 - out_of_data_space discard_passdown queue_if_no_space - 256",
            0,
            false,
        ),
        (
            "0 204800 thin-pool 5 10/1024 100/1600 - ro discard_passdown queue_if_no_space needs_check 256",
            1500,
            true,
        ),
    ] {
        let status = pool_status(line).unwrap();
        assert_eq!(status.room(block), (free * block, 1600 * block), "{line}");
        assert_eq!((status.is_read_only, status.holds_metadata), (is_read_only, false), "{line}");
    }
    let held = "0 204800 thin-pool 5 10/1024 100/1600 57 rw discard_passdown queue_if_no_space - 256";
    assert!(pool_status(held).unwrap().holds_metadata);
    let failed = pool_status("0 204800 thin-pool Fail").unwrap_err().to_string();
    assert!(failed.contains("has failed"), "{failed}");
    assert!(pool_status("0 204800 linear").is_err());
}

#[test]
fn what_volumes_take_is_read() {
    let said = "vg-pool-tpool: 0 2064384 thin-pool 5 1/2 3/4 - rw\nvg-xenith_a--b: 0 131072 thin 256 2047\n\
                vg-empty: 0 131072 thin 0 -\nvg-broken: 0 131072 thin Fail\nNo devices found\n";
    let taken = thin_status(said);
    assert_eq!(taken.len(), 2, "{taken:?}");
    assert_eq!((taken["vg-xenith_a--b"], taken["vg-empty"]), (128 << 10, 0));
}
