//! Giving memory back to the hypervisor, and asking for it again.
//!
//! A frame that is given away keeps its pfn, without an mfn and without a mapping; the pfn gets another mfn later.

use alloc::vec::Vec;

use paravane_abi::memory::{MemoryReservation, XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP};
use paravane_abi::mmu::DOMID_SELF;

use super::addr::{self, Mfn, Pfn};
use super::table::KERNEL_RW;
use super::{frames, table};
use crate::cpu_ops::hypercall::memory_op;
use crate::cpu_ops::{MapOp, machine};

/// Frames in one call.
const BATCH: usize = 256;

/// A reservation call on a list of frames; gives how many were done.
fn change(command: u32, extents: &mut [u64]) -> usize {
    let mut request = MemoryReservation {
        extent_start: extents.as_mut_ptr() as u64,
        nr_extents: extents.len() as u64,
        domid: DOMID_SELF,
        ..MemoryReservation::default()
    };
    // SAFETY: the request and its list live until the call returns; the frames are the caller's to give.
    let done = unsafe { memory_op(command, (&raw mut request).cast()) };
    usize::try_from(done).unwrap_or(0)
}

/// Gives away frames that nothing uses, as many as it can up to `count`; gives their pfns.
pub fn give(count: usize) -> Vec<Pfn> {
    let mut given = Vec::with_capacity(count);
    while given.len() < count {
        let want = BATCH.min(count - given.len());
        let pfns: Vec<Pfn> = core::iter::from_fn(frames::alloc).take(want).collect();
        let mut mfns: Vec<u64> = pfns.iter().map(|pfn| pfn.mfn().0).collect();
        let unmap: Vec<MapOp> =
            pfns.iter().map(|pfn| MapOp::Mapping { va: pfn.direct(), entry: 0 }).collect();
        machine().map(&unmap).expect("a free frame's mapping can be taken away");
        let done = change(XENMEM_DECREASE_RESERVATION, &mut mfns);
        for (index, &pfn) in pfns.iter().enumerate() {
            if index < done {
                addr::set_mfn(pfn, None);
                given.push(pfn);
            } else {
                machine()
                    .map(&[table::map_direct(pfn, KERNEL_RW)])
                    .expect("a frame kept can be mapped again");
                frames::release(pfn);
            }
        }
        if done < want {
            break;
        }
    }
    given
}

/// Asks for memory for pfns that were given away; gives how many got some, which are `pfns`' first. They hold what the
/// hypervisor left in them; the caller releases them to the allocator.
pub fn take(pfns: &[Pfn]) -> usize {
    let mut taken = 0;
    for batch in pfns.chunks(BATCH) {
        let mut extents: Vec<u64> = batch.iter().map(|pfn| pfn.0).collect();
        let done = change(XENMEM_POPULATE_PHYSMAP, &mut extents);
        let mut remap = Vec::with_capacity(done);
        for (&pfn, &mfn) in batch.iter().zip(&extents[..done]) {
            addr::set_mfn(pfn, Some(Mfn(mfn)));
            remap.push(table::map_direct(pfn, KERNEL_RW));
        }
        machine().map(&remap).expect("a frame this domain was given can be mapped");
        taken += done;
        if done < batch.len() {
            break;
        }
    }
    taken
}
