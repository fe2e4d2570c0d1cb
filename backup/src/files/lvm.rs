//! LVM's logical volumes as disks: linear ones and RAID 1, whose extents all lie on this disk.

use std::sync::{Arc, Mutex, PoisonError};

use embedded_io::{Read, Seek, SeekFrom};
use lamlvm::{Lvm2, OwnedLvReader};
use xenith_common_block::{BlockError, BlockSource};

use super::window::Embedded;
use super::{Window, damaged, guard};
use crate::error::Result;

struct LogicalVolume {
    reader: Mutex<OwnedLvReader<Embedded>>,
    window: Window,
    name: String,
    size: u64,
}

impl BlockSource for LogicalVolume {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, buf.len() as u64, self.size)?;
        self.window.refuel();
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let corrupt = |detail: String| BlockError::Corrupt { target: self.name.clone(), detail };
        reader.seek(SeekFrom::Start(offset)).map_err(|error| corrupt(format!("{error:?}")))?;
        reader.read_exact(buf).map_err(|error| corrupt(format!("{error:?}")))
    }
}

/// The logical volumes of the physical one on `source`, each as a disk or the reason why not.
pub(super) fn logical_volumes(
    source: &Arc<dyn BlockSource>,
) -> Result<Vec<(String, Result<Arc<dyn BlockSource>, String>)>> {
    let window = Window::new(Arc::clone(source));
    guard(|| {
        let lvm = Lvm2::open(Embedded(window.clone())).map_err(|error| damaged(error.to_string()))?;
        let mut volumes = Vec::new();
        for lv in lvm.lvs() {
            let name = format!("{}/{}", lvm.vg_name(), lv.name());
            let opened = lvm.open_lv_owned_by_name(lv.name(), Embedded(window.clone()));
            let opened = match opened {
                Ok(Some(reader)) => {
                    let size = reader.len();
                    let window = window.clone();
                    let volume =
                        LogicalVolume { reader: Mutex::new(reader), window, name: name.clone(), size };
                    Ok(Arc::new(volume) as Arc<dyn BlockSource>)
                }
                Ok(None) => Err("it is gone".to_owned()),
                Err(error) => Err(format!("{error:?}")),
            };
            volumes.push((name, opened));
        }
        Ok(volumes)
    })
}
