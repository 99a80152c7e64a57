//! What a domain is told of its memory, and of the machine's.

use super::*;
use crate::addr::{DomainId, PAGE_SHIFT};
use paravane_abi::mmu::{MACH2PHYS_VIRT_END, MACH2PHYS_VIRT_START};
use std::vec;
use zerocopy::IntoBytes;

const OWN: [u16; 2] = [DOMID_SELF, 1];

#[test]
fn numbers_of_pages() {
    let mut world = World::new();
    // How many guest frame numbers there are the guest itself says.
    world.hv.machine.fake.poke(world.domain().shared_info, 0xa00 / 8, 5);
    for (command, answer) in ASKED.into_iter().zip([PAGES, PAGES, 0]) {
        for domid in OWN {
            assert_eq!(world.op(HYPERVISOR_MEMORY_OP, command, &MemoryDomain { domid }), answer as i64);
        }
        world.op_refused(HYPERVISOR_MEMORY_OP, command, &MemoryDomain { domid: 9 }, Errno::ESRCH);
        let continued = u64::from(command) | 1 << MEMOP_EXTENT_SHIFT;
        world.refused(HYPERVISOR_MEMORY_OP, &[continued, ARG], Errno::EINVAL);
    }
    let place = core::mem::offset_of!(paravane_abi::shared_info::SharedInfo, arch) / 8;
    for (pfns, highest) in [(0, 0), (1, 0), (4096, 4095), (u64::MAX, u64::MAX - 1)] {
        world.hv.machine.fake.poke(world.domain().shared_info, place, pfns);
        let answer = world.op(HYPERVISOR_MEMORY_OP, XENMEM_MAXIMUM_GPFN, &MemoryDomain { domid: DOMID_SELF });
        assert_eq!(answer, highest as i64);
    }
    let frames = world.hv.frames.len() as i64;
    assert_eq!(world.call(HYPERVISOR_MEMORY_OP, &[XENMEM_MAXIMUM_RAM_PAGE.into()]), frames);
}

#[test]
fn the_machine_to_physical_table_is_listed() {
    let mut world = World::new();
    assert_eq!(world.call(HYPERVISOR_MEMORY_OP, &[XENMEM_MACHPHYS_MAPPING.into(), ARG]), 0);
    let mapping: MachphysMapping = world.get(ARG);
    let max_mfn = world.hv.frames.len() as u64 - 1;
    assert_eq!(
        mapping,
        MachphysMapping { v_start: MACH2PHYS_VIRT_START, v_end: MACH2PHYS_VIRT_END, max_mfn }
    );
    // Less than a GiB of memory: one extent.
    for (max_extents, nr_extents) in [(0, 0), (1, 1), (9, 1)] {
        world.put(LIST, &[7u64; 2]);
        let request =
            MachphysMfnList { max_extents, extent_start: LIST, nr_extents: 99, ..Default::default() };
        assert_eq!(world.op(HYPERVISOR_MEMORY_OP, XENMEM_MACHPHYS_MFN_LIST, &request), 0);
        assert_eq!(world.get::<MachphysMfnList>(ARG), MachphysMfnList { nr_extents, ..request });
        let first = if nr_extents == 0 { 7 } else { world.hv.machine.m2p_extent(0).get() };
        assert_eq!(world.get::<[u64; 2]>(LIST), [first, 7]);
    }
    for extent_start in [HOLE, READ_ONLY, BAD[3]] {
        let request = MachphysMfnList { max_extents: 1, extent_start, ..Default::default() };
        world.op_refused(HYPERVISOR_MEMORY_OP, XENMEM_MACHPHYS_MFN_LIST, &request, Errno::EFAULT);
    }
    for command in [XENMEM_MACHPHYS_MFN_LIST, XENMEM_MACHPHYS_MAPPING, XENMEM_MEMORY_MAP] {
        let continued = u64::from(command) | 1 << MEMOP_EXTENT_SHIFT;
        world.refused(HYPERVISOR_MEMORY_OP, &[continued, ARG], Errno::ENOSYS);
    }
}

fn map(nr_entries: u32, buffer: u64) -> MemoryMap {
    MemoryMap { nr_entries, pad: 0, buffer }
}

fn foreign_map(domid: u16, map: MemoryMap) -> ForeignMemoryMap {
    ForeignMemoryMap { domid, map, ..Default::default() }
}

#[test]
fn a_domain_reads_its_memory_map() {
    let mut world = World::new();
    let whole = E820Entry { addr: 0, size: PAGES << PAGE_SHIFT, kind: E820_RAM };
    assert_eq!(world.op(HYPERVISOR_MEMORY_OP, XENMEM_MEMORY_MAP, &map(8, LIST)), 0);
    assert_eq!((world.get::<MemoryMap>(ARG), world.get::<E820Entry>(LIST)), (map(1, LIST), whole));
    assert_eq!(world.op(HYPERVISOR_MEMORY_OP, XENMEM_MEMORY_MAP, &map(0, HOLE)), 0, "there is room for none");
    assert_eq!(world.get::<MemoryMap>(ARG), map(0, HOLE));
    for buffer in [HOLE, READ_ONLY, BAD[3]] {
        world.op_refused(HYPERVISOR_MEMORY_OP, XENMEM_MEMORY_MAP, &map(1, buffer), Errno::EFAULT);
    }
}

#[test]
fn a_domain_may_set_its_memory_map() {
    let mut world = World::with_domains(2);
    world.set_up();
    let entries: Vec<E820Entry> =
        (0..1024).map(|n| E820Entry { addr: n << 20, size: n, kind: n as u32 }).collect();
    let command = XENMEM_SET_MEMORY_MAP;
    let refused = |world: &mut World, request: &ForeignMemoryMap, error| {
        let before = world.domain().memory_map.clone();
        world.op_refused(HYPERVISOR_MEMORY_OP, command, request, error);
        assert_eq!(world.domain().memory_map, before);
    };
    refused(&mut world, &foreign_map(DOMID_SELF, map(1025, LIST)), Errno::EINVAL);
    refused(&mut world, &foreign_map(9, map(1, HOLE)), Errno::ESRCH);
    refused(&mut world, &foreign_map(2, map(1, HOLE)), Errno::EPERM);
    refused(&mut world, &foreign_map(1, map(1, HOLE)), Errno::EFAULT);
    refused(&mut world, &foreign_map(1, map(4, HOLE - 60)), Errno::EFAULT);
    world.put(LIST, entries.as_slice());
    for domid in OWN {
        assert_eq!(world.op(HYPERVISOR_MEMORY_OP, command, &foreign_map(domid, map(1024, LIST))), 0);
    }
    world.put(LIST, vec![0u8; 1024 * 20].as_slice());
    assert_eq!(world.op(HYPERVISOR_MEMORY_OP, XENMEM_MEMORY_MAP, &map(u32::MAX, LIST)), 0);
    assert_eq!(world.get::<MemoryMap>(ARG).nr_entries, 1024);
    let mut read = vec![0u8; 1024 * 20];
    world.memory().copy_from_guest(LIST, &mut read).unwrap();
    assert_eq!(read, entries.as_bytes());
    // Taken away, it is not there.
    assert_eq!(world.op(HYPERVISOR_MEMORY_OP, command, &foreign_map(1, map(0, HOLE))), 0);
    world.op_refused(HYPERVISOR_MEMORY_OP, XENMEM_MEMORY_MAP, &map(1, HOLE), Errno::ENOSYS);
    assert_eq!(world.hv.domains[1].memory_map.len(), 1, "the other one's is its own");
}

#[test]
fn a_domain_may_have_a_mebibyte_more_than_it_was_given() {
    let mut world = World::with_spare_frames(1, PAGES as usize + 1000);
    let config = world.construct_whole(7, |config| config.maxmem_kib += 40);
    let account = *world.hv.frames.account(DomainId(7)).unwrap();
    assert_eq!((account.allocated, account.max), (config.memory_kib / 4, config.memory_kib / 4 + 10 + 256));
    // Its memory map has room for what was configured.
    let size = world.hv.domains[1].memory_map[0].size;
    assert_eq!(size, config.maxmem_kib << 10);
}
