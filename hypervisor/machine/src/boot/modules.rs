//! What the loader hands over, by PVH: the memory map, the command line, the modules.

use core::ffi::CStr;
use core::slice;

use paravane_abi::pvh::{HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo};

use crate::boot::memory_map::Range;
use crate::direct_map;

/// Bytes of command line that are looked at.
const COMMAND_LINE_LIMIT: usize = 4096;

/// The loader's information, as it stands in memory.
pub struct BootInfo {
    /// Where it stands.
    physical: u64,
    info: &'static HvmStartInfo,
}

/// A slice of physical memory that the loader filled.
///
/// # Safety
/// The range must be RAM below 4 GiB which stays unwritten for good.
unsafe fn loaded<T>(physical: u64, count: usize) -> &'static [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY: as the caller promises; the direct map covers it.
    unsafe { slice::from_raw_parts(direct_map::pointer::<T>(physical), count) }
}

impl BootInfo {
    /// Takes the address PVH passes in EBX.
    ///
    /// # Panics
    /// When the structure there is not PVH's, or is too old to carry a memory map (version 1).
    pub fn new(physical: u64) -> Self {
        // SAFETY: PVH promises an hvm_start_info at this address; its magic is checked before use.
        let info = unsafe { &*direct_map::pointer::<HvmStartInfo>(physical).cast_const() };
        assert!(info.has_magic(), "not started by PVH: magic {:#x}", info.magic);
        assert!(info.version >= 1, "PVH start info version {} has no memory map", info.version);
        Self { physical, info }
    }

    /// The memory map.
    pub fn memory_map(&self) -> &'static [HvmMemmapTableEntry] {
        // SAFETY: the loader's table, read before any memory is handed out and never after.
        unsafe { loaded(self.info.memmap_paddr, self.info.memmap_entries as usize) }
    }

    /// The command line, without the image's name where the loader put one first.
    pub fn command_line(&self) -> &'static str {
        if self.info.cmdline_paddr == 0 {
            return "";
        }
        // SAFETY: as above; the terminating zero is looked for within the limit.
        let bytes = unsafe { loaded::<u8>(self.info.cmdline_paddr, COMMAND_LINE_LIMIT) };
        CStr::from_bytes_until_nul(bytes).ok().and_then(|text| text.to_str().ok()).unwrap_or("")
    }

    fn list(&self) -> &'static [HvmModlistEntry] {
        // SAFETY: as above.
        unsafe { loaded(self.info.modlist_paddr, self.info.nr_modules as usize) }
    }

    /// The modules' contents.
    pub fn modules(&self) -> impl Iterator<Item = &'static [u8]> {
        // SAFETY: modules are reserved in the memory map, so nothing overwrites them.
        self.list().iter().map(|module| unsafe { loaded(module.paddr, module.size as usize) })
    }

    /// What must not be handed out: the modules, the command line and the structures themselves.
    pub fn reserved(&self) -> impl Iterator<Item = Range> {
        let structures = [
            Range::covering(self.physical, size_of::<HvmStartInfo>() as u64),
            Range::covering(self.info.cmdline_paddr, COMMAND_LINE_LIMIT as u64),
            Range::covering(
                self.info.memmap_paddr,
                u64::from(self.info.memmap_entries) * size_of::<HvmMemmapTableEntry>() as u64,
            ),
            Range::covering(
                self.info.modlist_paddr,
                u64::from(self.info.nr_modules) * size_of::<HvmModlistEntry>() as u64,
            ),
        ];
        structures
            .into_iter()
            .chain(self.list().iter().map(|module| Range::covering(module.paddr, module.size)))
    }
}
