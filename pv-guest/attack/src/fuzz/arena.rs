//! The part of the domain that the fuzzer may ruin, and how it is put together again at the beginning of each epoch.

use core::cell::UnsafeCell;

use paravane_abi::event::{EVTCHNOP_BIND_VIRQ, EVTCHNOP_RESET, EvtchnBindVirq, EvtchnReset, VIRQ_TIMER};
use paravane_abi::grant::{
    GNTTABOP_SET_VERSION, GNTTABOP_SETUP_TABLE, GNTTABOP_UNMAP_GRANT_REF, GnttabSetVersion, GnttabSetupTable,
    GnttabUnmapGrantRef,
};
use paravane_abi::hypercall as nr;
use paravane_abi::memory::{MemoryReservation, XENMEM_INCREASE_RESERVATION};
use paravane_abi::mmu::{
    DOMID_SELF, MMU_NORMAL_PT_UPDATE, MMUEXT_NEW_BASEPTR, MMUEXT_PIN_L4_TABLE, MMUEXT_TLB_FLUSH_LOCAL,
    MMUEXT_UNPIN_TABLE, MmuUpdate,
};
use paravane_abi::physdev::{PHYSDEVOP_SET_IOBITMAP, PHYSDEVOP_SET_IOPL, PhysdevSetIobitmap, PhysdevSetIopl};
use paravane_abi::vcpu::{
    VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, VCPUOP_STOP_PERIODIC_TIMER,
    VcpuRegisterRunstateMemoryArea,
};
use pv_attack_logic::generate::{ARENA, ARENA_READ_ONLY, CORE_SLOT, SLOTS, World};

use crate::attacks::{HYPERVISOR, copy_of_root, subject};
use crate::hypercall::{map, mmuext, operation, raw, set_entry};
use crate::memory::{
    KERNEL, NX, Page, READ, STRUCTURES, USER_CODE, USER_DATA, WINDOW, clear_events, emulate_table_writes,
    memory, shared, take,
};

/// Where runstate and time are kept while nobody has said otherwise.
#[unsafe(link_section = ".bss.page")]
static AREAS: Page = Page::new();
/// The domain's grant table, its first frame.
#[unsafe(link_section = ".bss.page")]
static GRANTS: Page = Page::new();

struct Updates(UnsafeCell<[MmuUpdate; 512]>);

// SAFETY: used by vcpu 0 alone.
unsafe impl Sync for Updates {}

static UPDATES: Updates = Updates(UnsafeCell::new([MmuUpdate { ptr: 0, val: 0 }; 512]));

/// The page with them.
pub fn areas() -> u64 {
    AREAS.address()
}

/// Handles that a domain of this size comes to.
const HANDLES: u32 = 64;

/// What there is before the first epoch.
pub fn world() -> World {
    let memory = memory();
    let arena = core::array::from_fn(|_| take());
    let roots = [copy_of_root(), copy_of_root()];
    let tables = core::array::from_fn(|index| crate::memory::mfn(memory.tables + index as u64));
    World {
        scratch: STRUCTURES,
        window: WINDOW,
        arena,
        tables,
        roots,
        window_l1: memory.window,
        foreign: [0; 16],
        reserved: HYPERVISOR,
        code: subject::kernel_code(),
        user: [USER_CODE, USER_DATA],
        fifo: false,
        contested: false,
        batches: false,
        now: 0,
    }
}

/// Frames that are not this domain's: the first, the last, the hypervisor's roots, some between.
fn foreign() -> [u64; 16] {
    let end = raw(nr::HYPERVISOR_MEMORY_OP, [2, 0, 0, 0, 0]).max(0) as u64 + 1;
    let mut frames = [0; 16];
    for (index, frame) in frames.iter_mut().enumerate() {
        let mut candidate = match index {
            0 => 0,
            1 => end - 1,
            2 => end,
            3 => 0xb8,
            4 => 0xfee00,
            5 => (1 << 40) - 1,
            index => end / 10 * (index as u64 - 5),
        };
        while candidate < end && crate::attacks::is_own(candidate, end) {
            candidate += 1;
        }
        *frame = candidate;
    }
    frames
}

/// Does up to 512 updates of entries, in few calls; calls `failed` for each that was refused.
fn update_all(count: usize, mut failed: impl FnMut(usize)) {
    let mut first = 0;
    while first < count {
        let mut done = 0u32;
        let requests = UPDATES.0.get() as u64 + first as u64 * 16;
        let left = (count - first) as u64;
        let result =
            raw(nr::HYPERVISOR_MMU_UPDATE, [requests, left, &raw mut done as u64, DOMID_SELF.into(), 0]);
        first += done as usize;
        if result != 0 {
            failed(first);
            first += 1;
        }
    }
}

fn plan(index: usize, pointer: u64, value: u64) {
    // SAFETY: vcpu 0 alone uses the array; the index is checked.
    unsafe { (&mut *UPDATES.0.get())[index] = MmuUpdate { ptr: pointer | MMU_NORMAL_PT_UPDATE, val: value } };
}

/// Lets go of what steps have taken: tables, events, grants, timers, descriptors, registers.
fn let_go(world: &World) {
    mmuext(MMUEXT_NEW_BASEPTR, memory().l4, 0);
    subject::restore();
    raw(nr::HYPERVISOR_SET_TIMER_OP, [0; 5]);
    raw(nr::HYPERVISOR_FPU_TASKSWITCH, [0; 5]);
    operation(nr::HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOPL, &mut PhysdevSetIopl { iopl: 0 });
    operation(nr::HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOBITMAP, &mut PhysdevSetIobitmap::default());
    for kind in 0..8 {
        raw(nr::HYPERVISOR_VM_ASSIST, [1, kind, 0, 0, 0]);
    }
    emulate_table_writes();
    operation(nr::HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_RESET, &mut EvtchnReset { dom: DOMID_SELF });
    for command in [VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA] {
        let mut area = VcpuRegisterRunstateMemoryArea { addr: AREAS.address() };
        raw(nr::HYPERVISOR_VCPU_OP, [command.into(), 0, &raw mut area as u64, 0, 0]);
    }
    raw(nr::HYPERVISOR_VCPU_OP, [VCPUOP_STOP_PERIODIC_TIMER.into(), 0, 0, 0, 0]);
    for frame in world.arena.iter().chain(&world.roots) {
        mmuext(MMUEXT_UNPIN_TABLE, *frame, 0);
    }
    for slot in SLOTS {
        set_entry(memory().l4, slot as usize, 0);
    }
    // The window may hold mappings of grants, which go by their handles alone.
    for handle in 0..HANDLES {
        for page in 0..4 {
            let mut unmap = GnttabUnmapGrantRef {
                host_addr: WINDOW + page * 4096,
                dev_bus_addr: 0,
                handle,
                ..GnttabUnmapGrantRef::default()
            };
            if page == 0
                && raw(
                    nr::HYPERVISOR_GRANT_TABLE_OP,
                    [GNTTABOP_UNMAP_GRANT_REF.into(), &raw mut unmap as u64, 1, 0, 0],
                ) < 0
            {
                return;
            }
            if unmap.status == 0 || unmap.status == -4 {
                break;
            }
        }
    }
}

/// Gives the domain a frame in place of one it has lost.
fn another() -> Option<u64> {
    let mut frame = 0u64;
    let mut request = MemoryReservation {
        extent_start: &raw mut frame as u64,
        nr_extents: 1,
        domid: DOMID_SELF,
        ..MemoryReservation::default()
    };
    (operation(nr::HYPERVISOR_MEMORY_OP, XENMEM_INCREASE_RESERVATION, &mut request) == 1).then_some(frame)
}

/// Whether a root has the core in its place.
fn runs_core(root: u64) -> bool {
    let view = AREAS.address();
    let shown = map(view, root << 12 | READ | NX) == 0;
    // SAFETY: the page is mapped, to the root or to what it was.
    let entry = unsafe { (view as *const u64).add(CORE_SLOT as usize).read_volatile() };
    let restored = map(view, crate::memory::core_mfn(view) << 12 | KERNEL | NX) == 0;
    shown && restored && entry & 1 != 0
}

/// Puts the arena together: all frames empty and mapped, some read-only, two roots pinned. Gives how many frames could not
/// be had.
pub fn rebuild(world: &mut World) -> usize {
    let_go(world);
    let memory = memory();
    let at = |index: usize| memory.window << 12 | (index as u64) << 3;
    for index in 0..512 {
        plan(index, at(index), 0);
    }
    update_all(512, |_| {});
    mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
    let mut lost = 0;
    for index in 0..ARENA {
        plan(index, at(index), world.arena[index] << 12 | KERNEL | NX);
    }
    let mut bad = [false; ARENA];
    update_all(ARENA, |index| bad[index] = true);
    for (index, _) in bad.iter().enumerate().filter(|(_, bad)| **bad) {
        let page = WINDOW + index as u64 * 4096;
        match another() {
            Some(frame) if map(page, frame << 12 | KERNEL | NX) == 0 => world.arena[index] = frame,
            _ => lost += 1,
        }
    }
    for (index, bad) in bad.iter().enumerate() {
        let page = WINDOW + index as u64 * 4096;
        if !bad || world.arena[index] != 0 {
            clear(page);
        }
    }
    for index in ARENA_READ_ONLY..ARENA {
        plan(index - ARENA_READ_ONLY, at(index), world.arena[index] << 12 | READ | NX);
    }
    update_all(ARENA - ARENA_READ_ONLY, |_| {});
    for root in &mut world.roots {
        // A step may have given it back by a list that it found in old structures.
        if mmuext(MMUEXT_PIN_L4_TABLE, *root, 0) != 0 || !runs_core(*root) {
            *root = copy_of_root();
            mmuext(MMUEXT_PIN_L4_TABLE, *root, 0);
        }
    }
    mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
    world.foreign = foreign();
    world.fifo = false;
    grants();
    bind_timer();
    lost
}

/// Empties a page, if it can be written.
fn clear(page: u64) {
    let mut start = subject::kernel(&[0xf3, 0x48, 0xab]); // rep stosq
    start.regs.rdi = page;
    start.regs.rcx = 512;
    crate::guard::run(&start);
}

/// The first version of grants, its table mapped where steps find it.
fn grants() {
    operation(nr::HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_SET_VERSION, &mut GnttabSetVersion { version: 1 });
    let mut frame = 0u64;
    let mut setup = GnttabSetupTable {
        dom: DOMID_SELF,
        nr_frames: 1,
        frame_list: &raw mut frame as u64,
        ..GnttabSetupTable::default()
    };
    let pointer = &raw mut setup as u64;
    if raw(nr::HYPERVISOR_GRANT_TABLE_OP, [GNTTABOP_SETUP_TABLE.into(), pointer, 1, 0, 0]) == 0
        && setup.status == 0
    {
        map(GRANTS.address(), frame << 12 | KERNEL | NX);
    }
}

/// Writes an entry of the grant table.
pub fn grant(index: usize, word: u64) {
    // SAFETY: the page is the grant table or a page of zeroes; nobody else's either way.
    unsafe { GRANTS.0.get().cast::<u64>().add(index % 512).write_volatile(word) };
}

/// A timer's event comes when asked for: the steps that sleep or run programs need it.
pub fn bind_timer() {
    let mut bind = EvtchnBindVirq { virq: VIRQ_TIMER, vcpu: 0, port: 0 };
    operation(nr::HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, &mut bind);
    // SAFETY: the mask words of the shared page.
    unsafe { (&raw mut (*shared()).evtchn_mask).write_volatile([0; 64]) };
}

/// Asks for the timer's event at a system time.
pub fn wake_at(time: u64) {
    // An event that is pending already is not raised again.
    clear_events();
    bind_timer();
    raw(nr::HYPERVISOR_SET_TIMER_OP, [time, 0, 0, 0, 0]);
}

/// What of the core a step may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// Nothing.
    Nothing,
    /// Root, callbacks or kernel stack.
    Callbacks,
    /// The trap table too.
    Traps,
}

/// What a call may change.
pub fn touched_by(number: u64) -> Touched {
    match number & 0xffff_ffff {
        // A batch may lie in memory that steps have written.
        nr::HYPERVISOR_SET_TRAP_TABLE | nr::HYPERVISOR_MULTICALL => Touched::Traps,
        nr::HYPERVISOR_STACK_SWITCH
        | nr::HYPERVISOR_SET_CALLBACKS
        | nr::HYPERVISOR_CALLBACK_OP
        | nr::HYPERVISOR_MMUEXT_OP => Touched::Callbacks,
        _ => Touched::Nothing,
    }
}

/// Puts it back; false when the hypervisor refuses, which means that the core is damaged.
pub fn recover(touched: Touched) -> bool {
    match touched {
        Touched::Nothing => true,
        Touched::Callbacks => crate::entries::try_callbacks(),
        Touched::Traps => crate::entries::try_arm(),
    }
}
