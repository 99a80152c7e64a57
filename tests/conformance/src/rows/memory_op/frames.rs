//! Frames that the cases give back, take and exchange.

use paravane_abi::hypercall::HYPERVISOR_MEMORY_OP;
use paravane_abi::memory::{
    MEMOP_EXTENT_SHIFT, MemoryDomain, MemoryReservation, XENMEM_CURRENT_RESERVATION,
    XENMEM_DECREASE_RESERVATION, XENMEM_MAXIMUM_RESERVATION, XENMEM_POPULATE_PHYSMAP,
};
use paravane_abi::mmu::{DOMID_SELF, MMU_MACHPHYS_UPDATE};
use pv_probe::hypercall::{map, mmu_update, operation, raw};
use pv_probe::memory::{self, DATA, NX, WINDOW, l1_for};

use crate::case::{Stop, Verdict};
use crate::trial::Trial;

/// Where frames are mapped for a moment; the page behind it never has one.
pub const PLACE: u64 = WINDOW + 0x6300_0000;

/// An operation that says how much it has done, whose request lies at an address.
pub fn continued(command: u32, done: u64) -> impl Fn(u64) -> i64 {
    move |address| {
        raw(HYPERVISOR_MEMORY_OP, [u64::from(command) | done << MEMOP_EXTENT_SHIFT, address, 0, 0, 0])
    }
}

/// An operation with a request.
pub fn ask<T>(command: u32, request: &mut T) -> i64 {
    operation(HYPERVISOR_MEMORY_OP, command, request)
}

/// A request about so many extents, for the domain itself.
pub fn extents(list: &mut [u64], extent_order: u32) -> MemoryReservation {
    MemoryReservation {
        extent_start: list.as_mut_ptr() as u64,
        nr_extents: list.len() as u64,
        extent_order,
        domid: DOMID_SELF,
        ..Default::default()
    }
}

/// Gives frames back: how many extents.
pub fn decrease(list: &mut [u64], order: u32) -> i64 {
    ask(XENMEM_DECREASE_RESERVATION, &mut extents(list, order))
}

/// Backs guest frames, whose machine frames are in the list afterwards: how many extents.
pub fn populate(list: &mut [u64], order: u32) -> i64 {
    ask(XENMEM_POPULATE_PHYSMAP, &mut extents(list, order))
}

/// The domain's pages.
pub fn pages() -> i64 {
    ask(XENMEM_CURRENT_RESERVATION, &mut MemoryDomain { domid: DOMID_SELF })
}

/// Pages that the domain may have besides.
pub fn room() -> i64 {
    ask(XENMEM_MAXIMUM_RESERVATION, &mut MemoryDomain { domid: DOMID_SELF }) - pages()
}

/// Takes frames for a case and gives them back: their guest frames, which are backed by nothing then.
///
/// # Errors
/// When they are not taken back.
pub fn given_back<const N: usize>() -> Result<[u64; N], Stop> {
    let pfns = core::array::from_fn(|_| memory::take());
    let done = decrease(&mut pfns.map(memory::mfn), 0);
    if done != N as i64 {
        return Err(Stop::Error("giving frames back", done));
    }
    // Another domain may have the frames before long: what becomes of them is no change of this one's.
    pfns.iter().for_each(|pfn| memory::set_mfn(*pfn, memory::mfn(0)));
    Ok(pfns)
}

/// A guest frame has this machine frame from now on, as the machine-to-physical table and the guest's own list say.
pub fn settle(t: &mut Trial, pfn: u64, frame: u64) {
    memory::set_mfn(pfn, frame);
    if memory::m2p(frame) != pfn {
        let result = mmu_update(frame << 12 | MMU_MACHPHYS_UPDATE, pfn);
        t.holds("machphys", result == 0);
    }
}

/// Backs guest frames again that were given back.
///
/// # Errors
/// When there is no memory for them.
pub fn regain(t: &mut Trial, pfns: &[u64]) -> Verdict {
    for pfn in pfns {
        let mut list = [*pfn];
        let done = populate(&mut list, 0);
        if done != 1 {
            return Err(Stop::Error("taking a frame again", done));
        }
        settle(t, *pfn, list[0]);
    }
    Ok(())
}

/// Whether a frame can be mapped, written and read.
pub fn is_usable(frame: u64) -> bool {
    l1_for(PLACE);
    if map(PLACE, frame << 12 | DATA | NX) != 0 {
        return false;
    }
    let value = 0x5a5a_0000 ^ frame;
    // SAFETY: the frame is mapped there, and no case keeps anything in it.
    let read = unsafe {
        memory::write(PLACE + 8, value);
        memory::read(PLACE + 8)
    };
    map(PLACE, 0) == 0 && read == value
}

/// A frame that is the hypervisor's: one of the machine-to-physical table.
pub fn of_the_hypervisor() -> Result<u64, Stop> {
    use paravane_abi::memory::{MachphysMfnList, XENMEM_MACHPHYS_MFN_LIST};
    let mut list = [0u64];
    let mut request =
        MachphysMfnList { max_extents: 1, extent_start: list.as_mut_ptr() as u64, ..Default::default() };
    match ask(XENMEM_MACHPHYS_MFN_LIST, &mut request) {
        0 => Ok(list[0]),
        error => Err(Stop::Error("the machine-to-physical table's frames", error)),
    }
}
