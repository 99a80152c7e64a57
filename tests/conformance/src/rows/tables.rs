//! What the cases about paging share: frames in every state, and places to map them.

use core::fmt::Display;

use paravane_abi::event::{
    EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_CLOSE, EVTCHNOP_STATUS, EvtchnAllocUnbound,
    EvtchnBindInterdomain, EvtchnClose, EvtchnStatus,
};
use paravane_abi::hypercall::{HYPERVISOR_EVENT_CHANNEL_OP, HYPERVISOR_MEMORY_OP, HYPERVISOR_VM_ASSIST};
use paravane_abi::memory::{MachphysMfnList, XENMEM_MACHPHYS_MFN_LIST};
use paravane_abi::mmu::{
    DOMID_SELF, MMUEXT_COPY_PAGE, MMUEXT_INVLPG_LOCAL, MMUEXT_PIN_L1_TABLE, MMUEXT_UNPIN_TABLE,
};
use paravane_abi::pte;
use paravane_abi::vm_assist::{VMASST_CMD_DISABLE, VMASST_CMD_ENABLE, VMASST_TYPE_WRITABLE_PAGETABLES};
use pv_probe::guard::{Caught, RETURNED, guarded};
use pv_probe::hypercall::{map, mmuext, operation, raw, set_entry};
use pv_probe::memory::{self, DATA, NX, PAGE, WINDOW, l1_for, mfn, peek, poke, take, vcpu_info};

use crate::case::Stop;
use crate::trial::Trial;

/// Where the cases map pages; an L3 entry of its own.
const PLACE: u64 = WINDOW + 0x20_0000_0000;

/// A frame that no machine has memory at.
pub const BEYOND: u64 = 0x3_0000_0000;

/// A page of a machine's first MiB, which no domain owns.
pub const LOW: u64 = 1;

/// The page at an index of the cases' place, up to 511. Its table exists, and what the processor remembers of the page is
/// forgotten: `mmu_update` leaves that to the guest.
pub fn place(index: u64) -> u64 {
    l1_for(PLACE);
    let va = PLACE + index * PAGE;
    let result = mmuext(MMUEXT_INVLPG_LOCAL, va, 0);
    assert!(result == 0, "invlpg_local: {result}");
    va
}

/// The L1 that maps [`place`]s.
pub fn places() -> u64 {
    l1_for(PLACE)
}

/// This domain's number, which nothing but a channel's other end tells a domain without privileges.
///
/// # Errors
/// An end of the case as an error, when there is no channel to be had.
pub fn own_number(t: &mut Trial) -> Result<u16, Stop> {
    let call = HYPERVISOR_EVENT_CHANNEL_OP;
    let mut end = EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, port: 0 };
    t.need("alloc_unbound", operation(call, EVTCHNOP_ALLOC_UNBOUND, &mut end))?;
    let mut other =
        EvtchnBindInterdomain { remote_dom: DOMID_SELF, remote_port: end.port, ..Default::default() };
    t.need("bind_interdomain", operation(call, EVTCHNOP_BIND_INTERDOMAIN, &mut other))?;
    let mut status = EvtchnStatus { dom: DOMID_SELF, port: end.port, ..Default::default() };
    t.need("status", operation(call, EVTCHNOP_STATUS, &mut status))?;
    for port in [end.port, other.local_port] {
        t.need("close", operation(call, EVTCHNOP_CLOSE, &mut EvtchnClose { port }))?;
    }
    // The other end was told of its being bound.
    // SAFETY: words of the shared page; this vcpu is the only one to take its events.
    unsafe {
        (&raw mut (*vcpu_info(0)).evtchn_pending_sel).write_volatile(0);
        (&raw mut (*vcpu_info(0)).evtchn_upcall_pending).write_volatile(0);
    }
    Ok(status.u[0] as u16)
}

/// A frame of zeroes that is mapped nowhere.
pub fn frame() -> u64 {
    mfn(take())
}

/// A frame with these words, mapped nowhere: a table to be.
pub fn filled(words: &[(usize, u64)]) -> u64 {
    let frame = frame();
    for (index, word) in words {
        poke(frame, *index, *word);
    }
    frame
}

/// An entry.
pub const fn entry(frame: u64, flags: u64) -> u64 {
    frame << 12 | flags
}

/// Maps a frame at a place for as long as the value lives.
#[derive(Debug)]
pub struct Mapped(u64);

impl Mapped {
    /// Maps it for reading and writing.
    pub fn new(index: u64, frame: u64) -> Self {
        Self::with(index, entry(frame, DATA | NX))
    }

    /// Writes this entry.
    pub fn with(index: u64, entry: u64) -> Self {
        let va = place(index);
        let result = map(va, entry);
        assert!(result == 0, "place {index}: {result}");
        Self(va)
    }

    /// The address.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.0
    }

    /// The entry as it is.
    pub fn entry(&self) -> u64 {
        memory::entry_at(self.0, 1)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // What is refused here, the next user of the place sees.
        map(self.0, 0);
    }
}

/// As long as it lives, this kernel's writes of its page tables are emulated (`VMASST_TYPE_writable_pagetables`).
#[derive(Debug)]
pub struct EmulatedWrites(());

impl EmulatedWrites {
    /// Asks for it.
    #[must_use]
    pub fn on() -> Self {
        let result = assist(VMASST_CMD_ENABLE);
        assert!(result == 0, "vm_assist: {result}");
        Self(())
    }
}

impl Drop for EmulatedWrites {
    fn drop(&mut self) {
        assist(VMASST_CMD_DISABLE);
    }
}

/// Turns the emulation of such writes on or off.
pub fn assist(command: u32) -> i64 {
    raw(HYPERVISOR_VM_ASSIST, [command.into(), VMASST_TYPE_WRITABLE_PAGETABLES.into(), 0, 0, 0])
}

/// Tries to map a frame for writing, and takes the mapping away again: the answer.
pub fn writable(frame: u64) -> i64 {
    let va = place(511);
    let result = map(va, entry(frame, DATA | NX));
    map(va, 0);
    result
}

/// Tries to make a frame an L1, and takes the pin away again: the answer.
pub fn pinnable(frame: u64) -> i64 {
    let result = mmuext(MMUEXT_PIN_L1_TABLE, frame, 0);
    if result == 0 {
        mmuext(MMUEXT_UNPIN_TABLE, frame, 0);
    }
    result
}

/// A frame that belongs to the hypervisor: of the machine-to-physical table, which every domain may ask for.
pub fn hypervisor_frame() -> u64 {
    let mut frames = [0u64];
    let mut list = MachphysMfnList {
        max_extents: 1,
        extent_start: frames.as_mut_ptr() as u64,
        ..MachphysMfnList::default()
    };
    let result = operation(HYPERVISOR_MEMORY_OP, XENMEM_MACHPHYS_MFN_LIST, &mut list);
    assert!(result == 0 && list.nr_extents == 1, "machphys_mfn_list: {result}");
    frames[0]
}

/// Makes tables down to an L1 for an address, pinned nowhere: the L3, to be put into an L4. The L1's entry of the
/// address is the last one given.
pub fn hierarchy(va: u64, leaf: u64) -> u64 {
    let l1 = filled(&[(pte::index(va, 1), leaf)]);
    let l2 = filled(&[(pte::index(va, 2), entry(l1, DATA))]);
    filled(&[(pte::index(va, 3), entry(l2, DATA))])
}

/// A copy of the L4 in use, which is no table yet.
pub fn copied_root() -> u64 {
    let copy = frame();
    let result = mmuext(MMUEXT_COPY_PAGE, copy, memory::root());
    assert!(result == 0, "copy_page: {result}");
    copy
}

/// Maps two frames at a place in turn, by requests that flush nothing, and flushes each time so: the new one should be seen.
pub fn remapped(t: &mut Trial, mut flush: impl FnMut(u64) -> i64) {
    let frames = [filled(&[(0, 0xa)]), filled(&[(0, 0xb)])];
    let page = Mapped::new(20, frames[0]);
    let index = pte::index(page.address(), 1);
    t.reads("first", page.address(), 0xa);
    for round in 0..8 {
        let frame = frames[(round + 1) % 2];
        t.succeeds(format_args!("entry.{round}"), set_entry(places(), index, entry(frame, DATA | NX)));
        t.succeeds(format_args!("flush.{round}"), flush(page.address()));
        t.reads(format_args!("read.{round}"), page.address(), 0xa + (round as u64 + 1) % 2);
    }
    // Not present any more.
    t.succeeds("entry.away", set_entry(places(), index, 0));
    t.succeeds("flush.away", flush(page.address()));
    t.does_not_read("read.away", page.address());
}

extern "C" fn load_word(address: u64) -> u64 {
    // SAFETY: what comes of it is the guard's affair.
    unsafe { memory::read(address) }
}

extern "C" fn store_word(address: u64) -> u64 {
    // SAFETY: as above; what is written is a case's page.
    unsafe { memory::write(address, STORED) };
    0
}

/// What [`store`] writes: nothing that is present as an entry.
pub const STORED: u64 = 0x5706_ed00;

/// Reads a word that need not be mapped.
pub fn load(address: u64) -> Caught {
    // SAFETY: one load.
    unsafe { guarded(load_word as *const () as u64, address) }
}

/// Writes a word that need not be mapped.
pub fn store(address: u64) -> Caught {
    // SAFETY: one store.
    unsafe { guarded(store_word as *const () as u64, address) }
}

impl Trial {
    /// A word that is read should be this one.
    pub fn reads(&mut self, what: impl Display, address: u64, want: u64) {
        let caught = load(address);
        if caught.vector == RETURNED {
            self.equal(what, caught.registers[0], want);
        } else {
            self.raises(what, &caught, RETURNED, None);
        }
    }

    /// Reading should be a page fault, with this error code.
    pub fn does_not_read(&mut self, what: impl Display, address: u64) {
        self.raises(what, &load(address), 14, Some(0));
    }

    /// An entry should have these flags among some.
    pub fn flags(&mut self, what: impl Display, entry: u64, among: u64, want: u64) {
        self.equal(what, entry & among, want);
    }
}

/// Reads an entry of a table.
pub fn slot(table: u64, index: usize) -> u64 {
    peek(table, index)
}
