//! What a domain is told of its memory, and of the machine's.

use core::mem::offset_of;

use alloc::vec::Vec;

use paravane_abi::errno::Errno;
use paravane_abi::memory::{E820Entry, ForeignMemoryMap, MachphysMapping, MachphysMfnList, MemoryMap};
use paravane_abi::mmu::{MACH2PHYS_VIRT_END, MACH2PHYS_VIRT_START};
use paravane_abi::shared_info::{ArchSharedInfo, SharedInfo};
use zerocopy::{FromZeros, IntoBytes};

use super::super::{Answer, Stop};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// Most entries of a memory map (Xen's E820MAX).
const MAP_ENTRIES: u32 = 1024;
/// Frames that the machine-to-physical table has entries for in 2 MiB.
const FRAMES_AN_EXTENT: u64 = (2 << 20) / 8;

impl<M: Machine> Hypervisor<M> {
    /// XENMEM_machphys_mapping. Xen tells a domU that the table is as long as its address range; here it is told
    /// where the table ends, as Xen tells dom0.
    pub(super) fn machphys_mapping(&self, pointer: u64) -> Answer {
        let max_mfn = self.frames.len() as u64 - 1;
        let mapping = MachphysMapping { v_start: MACH2PHYS_VIRT_START, v_end: MACH2PHYS_VIRT_END, max_mfn };
        self.write_guest(pointer, &mapping)?;
        Ok(0)
    }

    /// XENMEM_machphys_mfn_list: the frame of each 2 MiB of the machine-to-physical table. There are few: one for each
    /// GiB of the machine's memory.
    pub(super) fn machphys_mfn_list(&self, pointer: u64) -> Answer {
        let mut request: MachphysMfnList = self.read_guest(pointer)?;
        let extents = (self.frames.len() as u64).div_ceil(FRAMES_AN_EXTENT);
        let count = extents.min(request.max_extents.into());
        for extent in 0..count {
            let frame = self.machine.m2p_extent(extent);
            self.write_guest(request.extent_start.wrapping_add(8 * extent), &frame.get())?;
        }
        request.nr_extents = count as u32;
        self.write_guest(pointer, &request)?;
        Ok(0)
    }

    /// The highest guest frame number, by the guest's own account: it says how many there are in its shared-info page.
    pub(super) fn maximum_gpfn(&self) -> u64 {
        const COUNT: usize = offset_of!(SharedInfo, arch) + offset_of!(ArchSharedInfo, max_pfn);
        self.machine.read_word(self.domain().shared_info, COUNT / 8).saturating_sub(1)
    }

    /// XENMEM_memory_map.
    pub(super) fn memory_map(&self, pointer: u64) -> Answer {
        let mut request: MemoryMap = self.read_guest(pointer)?;
        let map = &self.domain().memory_map;
        if map.is_empty() {
            return Err(Errno::ENOSYS.into());
        }
        let count = map.len().min(request.nr_entries as usize);
        let memory = self.kernel_memory().ok_or(Errno::EFAULT)?;
        memory.write_slice(request.buffer, &map[..count])?;
        request.nr_entries = count as u32;
        self.write_guest(pointer, &request)?;
        Ok(0)
    }

    /// XENMEM_set_memory_map: a domain may say what its map is, to read it again.
    pub(super) fn set_memory_map(&mut self, pointer: u64) -> Answer {
        let request: ForeignMemoryMap = self.read_guest(pointer)?;
        if request.map.nr_entries > MAP_ENTRIES {
            return Err(Errno::EINVAL.into());
        }
        self.check_domain(request.domid)?;
        let count = request.map.nr_entries as usize;
        let mut map = Vec::new();
        map.try_reserve_exact(count).map_err(|_| Stop::from(Errno::ENOMEM))?;
        map.resize(count, E820Entry::new_zeroed());
        self.read_guest_bytes(request.map.buffer, map.as_mut_slice().as_mut_bytes())?;
        self.domain_mut().memory_map = map;
        Ok(0)
    }
}
