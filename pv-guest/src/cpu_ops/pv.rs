//! The paravirtual machines: every privileged act is a hypercall, or a word in memory that the hypervisor reads. What
//! differs between them is in their [`Facts`].

use alloc::boxed::Box;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;
use paravane_abi::callback::{
    CALLBACKF_MASK_EVENTS, CALLBACKOP_REGISTER, CALLBACKTYPE_EVENT, CALLBACKTYPE_FAILSAFE,
    CALLBACKTYPE_SYSCALL, CallbackRegister,
};
use paravane_abi::console::CONSOLEIO_WRITE;
use paravane_abi::hypercall as nr;
use paravane_abi::mmu::{
    DOMID_SELF, MMU_NORMAL_PT_UPDATE, MMUEXT_INVLPG_LOCAL, MMUEXT_INVLPG_MULTI, MMUEXT_NEW_BASEPTR,
    MMUEXT_NEW_USER_BASEPTR, MMUEXT_PIN_L4_TABLE, MMUEXT_TLB_FLUSH_LOCAL, MMUEXT_TLB_FLUSH_MULTI,
    MMUEXT_UNPIN_TABLE, MmuUpdate, MmuextOp, UVMF_INVLPG,
};
use paravane_abi::multicall::MulticallEntry;
use paravane_abi::sched::{
    SCHEDOP_BLOCK, SCHEDOP_SHUTDOWN, SCHEDOP_YIELD, SHUTDOWN_CRASH, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT,
    SchedShutdown,
};
use paravane_abi::shared_info::PVCLOCK_TSC_STABLE;
use paravane_abi::trap::{TI_MASK_EVENTS, TrapInfo};
use paravane_abi::vcpu::{
    SEGBASE_FS, SEGBASE_GS_USER, VCPUOP_SET_SINGLESHOT_TIMER, VCPUOP_STOP_SINGLESHOT_TIMER,
    VGCF_FAILSAFE_DISABLES_EVENTS, VGCF_IN_KERNEL, VGCF_SYSCALL_DISABLES_EVENTS, VcpuGuestContext,
    VcpuSetSingleshotTimer, mfn_to_cr3,
};

use super::hypercall::{self, check, raw_null_hypercall};
use super::shared::Shared;
use super::{Context, CpuOps, MapOp, Refused, Roots, SegmentBase, StopReason, TrapEntry, facts};
use crate::arch::{self, entry};
use crate::cpu::{self, CpuSet};
use crate::{event, trap};

/// A machine with a hypervisor that speaks the PV ABI.
pub struct Pv;

/// Calls in one multicall; Linux's limit too.
const BATCH_CALLS: usize = 32;
/// Page-table entries in one multicall.
const BATCH_UPDATES: usize = 64;

/// A multicall being collected, with the arrays its calls point to.
struct Batch {
    calls: ArrayVec<MulticallEntry, BATCH_CALLS>,
    updates: ArrayVec<MmuUpdate, BATCH_UPDATES>,
    ext_ops: ArrayVec<MmuextOp, BATCH_CALLS>,
    /// The vcpus that flushes name by pointer.
    vcpus: ArrayVec<CpuSet, BATCH_CALLS>,
    /// Whether the latest call is an `mmu_update` that the next entry can join.
    open: bool,
}

impl Batch {
    fn new() -> Self {
        Self {
            calls: ArrayVec::new(),
            updates: ArrayVec::new(),
            ext_ops: ArrayVec::new(),
            vcpus: ArrayVec::new(),
            open: false,
        }
    }

    fn call(&mut self, number: u64, args: &[u64]) {
        let mut call = MulticallEntry { op: number, ..Default::default() };
        call.args[..args.len()].copy_from_slice(args);
        self.calls.push(call);
        self.open = false;
    }

    /// Adds an extended operation. The pointer stays good because the array neither moves nor shrinks before `run`.
    fn ext(&mut self, cmd: u32, arg1: u64, arg2: u64) {
        self.ext_ops.push(MmuextOp::new(cmd, arg1, arg2));
        let pointer = &raw const self.ext_ops[self.ext_ops.len() - 1] as u64;
        self.call(nr::HYPERVISOR_MMUEXT_OP, &[pointer, 1, 0, u64::from(DOMID_SELF)]);
    }

    fn update(&mut self, at: u64, value: u64) {
        self.updates.push(MmuUpdate::new(at, MMU_NORMAL_PT_UPDATE, value));
        if self.open {
            let last = self.calls.len() - 1;
            self.calls[last].args[1] += 1;
            return;
        }
        let pointer = &raw const self.updates[self.updates.len() - 1] as u64;
        self.call(nr::HYPERVISOR_MMU_UPDATE, &[pointer, 1, 0, u64::from(DOMID_SELF)]);
        self.open = true;
    }

    fn add(&mut self, op: &MapOp) {
        match *op {
            MapOp::Mapping { va, entry } => {
                self.call(nr::HYPERVISOR_UPDATE_VA_MAPPING, &[va, entry, UVMF_INVLPG]);
            }
            MapOp::Entry { at, value } => self.update(at, value),
            MapOp::KeepRoot(root) => self.ext(MMUEXT_PIN_L4_TABLE, root.0, 0),
            MapOp::ReleaseRoot(root) => self.ext(MMUEXT_UNPIN_TABLE, root.0, 0),
            MapOp::FlushAll(cpus) => {
                self.vcpus.push(reach(cpus));
                let (command, arg2) = flush_command(
                    &self.vcpus[self.vcpus.len() - 1],
                    MMUEXT_TLB_FLUSH_LOCAL,
                    MMUEXT_TLB_FLUSH_MULTI,
                );
                self.ext(command, 0, arg2);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.calls.is_full() || self.updates.is_full()
    }

    /// Makes the calls and empties the batch. A call's failure does not stop a multicall, so the first one is reported
    /// after all have run.
    fn run(&mut self) -> Result<(), Refused> {
        let count = self.calls.len();
        if count > 0 {
            // SAFETY: the entries and what they point to live in `self` until the call returns; what they ask for is
            // checked by the hypervisor, and meant by the caller of `map`.
            let result = unsafe { hypercall::multicall(self.calls.as_mut_ptr(), count as u32) };
            check(result)?;
        }
        let failed = self.calls.iter().find(|call| (call.result as i64) < 0).map(|call| call.result as i64);
        self.calls.clear();
        self.updates.clear();
        self.ext_ops.clear();
        self.vcpus.clear();
        self.open = false;
        failed.map_or(Ok(()), |code| Err(Refused(code)))
    }
}

/// The vcpus that a flush must reach: this one always.
fn reach(cpus: CpuSet) -> CpuSet {
    cpus.with(cpu::this().id())
}

/// The command of a flush, and its second argument: the address of the bitmap of vcpus when there are others.
fn flush_command(vcpus: &CpuSet, local: u32, several: u32) -> (u32, u64) {
    if *vcpus == CpuSet::one(cpu::this().id()) { (local, 0) } else { (several, ptr::from_ref(vcpus) as u64) }
}

fn mmuext(op: &MmuextOp) -> Result<u64, Refused> {
    // SAFETY: one operation, which lives until the call returns.
    check(unsafe { hypercall::mmuext_op(op, 1, ptr::null_mut(), u32::from(DOMID_SELF)) })
}

fn register_callback(kind: u16, flags: u16, address: u64) {
    let callback = CallbackRegister { kind, flags, address, ..Default::default() };
    // SAFETY: the addresses registered are this kernel's entry stubs.
    let result = unsafe { hypercall::callback_op(CALLBACKOP_REGISTER, (&raw const callback).cast()) };
    check(result).expect("the hypervisor takes callbacks at canonical addresses");
}

/// Replaces one mapping of the loaded address space.
pub fn update_va_mapping(va: u64, entry: u64) -> Result<(), Refused> {
    // SAFETY: the hypervisor checks the entry; the callers own the address they remap.
    check(unsafe { hypercall::update_va_mapping(va, entry, UVMF_INVLPG) }).map(drop)
}

/// Maps the shared page over a page of the image; before it, no event, clock or fault address can be read.
pub fn map_shared_page(machine_address: u64) {
    use paravane_abi::pte::PteFlags;
    let flags = PteFlags::PRESENT | PteFlags::RW | PteFlags::ACCESSED | PteFlags::DIRTY | PteFlags::NX;
    update_va_mapping(Shared::address(), machine_address | flags.bits())
        .expect("start_info names a page this domain may map");
}

/// Adds what loads root tables.
fn add_base(batch: &mut Batch, roots: Roots) {
    batch.ext(MMUEXT_NEW_BASEPTR, roots.kernel.0, 0);
    if facts().user_roots {
        // Without a program there is none, and the one loaded before may be about to go.
        batch.ext(MMUEXT_NEW_USER_BASEPTR, roots.user.map_or(0, |root| root.0), 0);
    }
}

fn trap_info(trap: &TrapEntry) -> TrapInfo {
    TrapInfo {
        vector: trap.vector,
        flags: trap.dpl | if facts().entries_mask { TI_MASK_EVENTS } else { 0 },
        cs: facts().selectors.code,
        address: trap.address,
        ..Default::default()
    }
}

/// The state in which a vcpu starts: at an address, on a stack, with the first CPU's handlers.
pub fn vcpu_context(start: u64, stack: u64, roots: Roots) -> Box<VcpuGuestContext> {
    let selectors = facts().selectors;
    let mut context = Box::new(VcpuGuestContext::default());
    context.flags = VGCF_IN_KERNEL | VGCF_FAILSAFE_DISABLES_EVENTS;
    if facts().entries_mask {
        context.flags |= VGCF_SYSCALL_DISABLES_EVENTS;
    }
    context.user_regs.rip = start;
    context.user_regs.cs = selectors.code;
    context.user_regs.ss = selectors.stack;
    context.user_regs.rsp = stack;
    context.user_regs.rflags = 0x202;
    for trap in trap::table() {
        context.trap_ctxt[usize::from(trap.vector)] = trap_info(&trap);
    }
    context.kernel_ss = u64::from(selectors.stack);
    context.kernel_sp = stack;
    context.ctrlreg[3] = mfn_to_cr3(roots.kernel.0);
    context.event_callback_eip = entry::event_entry_address();
    context.failsafe_callback_eip = entry::failsafe_entry_address();
    context.syscall_callback_eip = facts().entries.syscall as *const () as u64;
    context
}

impl CpuOps for Pv {
    fn load_base(&self, roots: Roots) {
        let mut batch = Batch::new();
        add_base(&mut batch, roots);
        batch.run().expect("pinned roots can be loaded");
        cpu::this().set_root(roots.kernel);
    }

    fn switch_context(&self, next: &Context) {
        let mut batch = Batch::new();
        batch.call(nr::HYPERVISOR_STACK_SWITCH, &[u64::from(facts().selectors.stack), next.kernel_stack]);
        add_base(&mut batch, next.roots);
        for (which, base) in [(SEGBASE_FS, next.fs_base), (SEGBASE_GS_USER, next.gs_base)] {
            if let Some(base) = base {
                batch.call(nr::HYPERVISOR_SET_SEGMENT_BASE, &[u64::from(which), base]);
            }
        }
        batch.run().expect("a process's stack, root and bases were checked when they were set");
        cpu::this().set_root(next.roots.kernel);
    }

    fn set_kernel_stack(&self, top: u64) {
        // SAFETY: ring 3 enters at `top`, which is the end of the current process's kernel stack.
        let result = unsafe { hypercall::stack_switch(u64::from(facts().selectors.stack), top) };
        check(result).expect("the hypervisor takes a stack of this kernel's");
    }

    fn map(&self, ops: &[MapOp]) -> Result<(), Refused> {
        let mut batch = Batch::new();
        for op in ops {
            batch.add(op);
            if batch.is_full() {
                batch.run()?;
            }
        }
        batch.run()
    }

    fn flush_one(&self, va: u64, cpus: CpuSet) {
        let vcpus = reach(cpus);
        let (command, arg2) = flush_command(&vcpus, MMUEXT_INVLPG_LOCAL, MMUEXT_INVLPG_MULTI);
        mmuext(&MmuextOp::new(command, va, arg2)).expect("a flush of one address");
    }

    fn flush_all(&self, cpus: CpuSet) {
        let vcpus = reach(cpus);
        let (command, arg2) = flush_command(&vcpus, MMUEXT_TLB_FLUSH_LOCAL, MMUEXT_TLB_FLUSH_MULTI);
        mmuext(&MmuextOp::new(command, 0, arg2)).expect("a flush");
    }

    fn fault_address(&self) -> u64 {
        Shared::fault_address()
    }

    fn mask_events(&self) -> bool {
        Shared::mask().swap(1, Ordering::AcqRel) != 0
    }

    fn unmask_events(&self) {
        Shared::mask().store(0, Ordering::SeqCst);
        // The store itself delivers nothing: an event that came while masked waits for the next entry.
        if Shared::pending().load(Ordering::SeqCst) != 0 {
            raw_null_hypercall();
        }
    }

    fn restore_events(&self, was_masked: bool) {
        if !was_masked {
            self.unmask_events();
        }
    }

    fn idle(&self) {
        // The hypervisor clears the mask and checks for pending events in one step; delivery sets the mask again.
        // SAFETY: block has no argument; the event upcall may run on this stack.
        let result = unsafe { hypercall::sched_op(SCHEDOP_BLOCK, ptr::null_mut()) };
        check(result).expect("a vcpu may block");
        Shared::mask().store(1, Ordering::SeqCst);
    }

    fn yield_cpu(&self) {
        // SAFETY: yield has no argument.
        let result = unsafe { hypercall::sched_op(SCHEDOP_YIELD, ptr::null_mut()) };
        check(result).expect("a vcpu may yield");
    }

    fn set_traps(&self, traps: &[TrapEntry]) {
        let mut table: ArrayVec<TrapInfo, 64> = traps.iter().map(trap_info).collect();
        // An entry with address 0 ends the table.
        table.push(TrapInfo::default());
        // SAFETY: the table lives until the call returns; its addresses are entry stubs.
        let result = unsafe { hypercall::set_trap_table(table.as_ptr()) };
        check(result).expect("the hypervisor takes the trap table");
    }

    fn set_entries(&self, event: u64, failsafe: u64, syscall: u64) {
        register_callback(CALLBACKTYPE_EVENT, 0, event);
        register_callback(CALLBACKTYPE_FAILSAFE, CALLBACKF_MASK_EVENTS, failsafe);
        let flags = if facts().entries_mask { CALLBACKF_MASK_EVENTS } else { 0 };
        register_callback(CALLBACKTYPE_SYSCALL, flags, syscall);
    }

    fn set_segment_base(&self, which: SegmentBase, base: u64) -> Result<(), Refused> {
        let which = match which {
            SegmentBase::Fs => SEGBASE_FS,
            SegmentBase::Gs => SEGBASE_GS_USER,
        };
        // SAFETY: user bases do not matter to this kernel, which uses neither FS nor GS.
        check(unsafe { hypercall::set_segment_base(which, base) }).map(drop)
    }

    fn enable_fpu(&self) {
        // SAFETY: clears the virtual task-switched flag.
        let result = unsafe { hypercall::fpu_taskswitch(0) };
        check(result).expect("fpu_taskswitch cannot fail");
    }

    fn set_debug_register(&self, number: u32, value: u64) -> Result<(), Refused> {
        // SAFETY: the hypervisor lets no breakpoint be set on itself, and this kernel's own are the caller's to handle.
        check(unsafe { hypercall::set_debugreg(number as _, value) }).map(drop)
    }

    fn take_fpu(&self) {
        // SAFETY: sets the virtual task-switched flag.
        let result = unsafe { hypercall::fpu_taskswitch(1) };
        check(result).expect("fpu_taskswitch cannot fail");
    }

    fn interrupt(&self, _: u64) {
        event::upcall();
    }

    fn system_time(&self) -> u64 {
        let time = cpu::this().state().time();
        let now = time.system_time_at(arch::rdtsc());
        if time.flags & PVCLOCK_TSC_STABLE != 0 {
            return now;
        }
        // Two vcpus' clocks may differ by a little: time never goes back for whoever asked one and then the other.
        static LATEST: AtomicU64 = AtomicU64::new(0);
        LATEST.fetch_max(now, Ordering::Relaxed).max(now)
    }

    fn wall_clock_base(&self) -> u64 {
        let (seconds, nanos) = Shared::wall_clock();
        seconds * 1_000_000_000 + u64::from(nanos)
    }

    fn set_timer(&self, deadline: Option<u64>) {
        let id = cpu::this().id();
        let result = match deadline {
            Some(timeout_abs_ns) => {
                let mut timer = VcpuSetSingleshotTimer { timeout_abs_ns, ..Default::default() };
                // SAFETY: the argument lives until the call returns; asks for an event at a time.
                unsafe { hypercall::vcpu_op(VCPUOP_SET_SINGLESHOT_TIMER, id, (&raw mut timer).cast()) }
            }
            // SAFETY: the operation has no argument.
            None => unsafe { hypercall::vcpu_op(VCPUOP_STOP_SINGLESHOT_TIMER, id, ptr::null_mut()) },
        };
        check(result).expect("a vcpu has a timer");
    }

    fn emergency_write(&self, bytes: &[u8]) {
        // A refusal loses the text: there is nowhere to report it.
        // SAFETY: the bytes live until the call returns.
        unsafe { hypercall::console_io(CONSOLEIO_WRITE, bytes.len() as u32, bytes.as_ptr().cast_mut()) };
    }

    fn stop(&self, reason: StopReason) -> ! {
        let reason = match reason {
            StopReason::PowerOff => SHUTDOWN_POWEROFF,
            StopReason::Reboot => SHUTDOWN_REBOOT,
            StopReason::Crash => SHUTDOWN_CRASH,
        };
        let mut argument = SchedShutdown { reason };
        loop {
            // SAFETY: ends this domain.
            unsafe { hypercall::sched_op(SCHEDOP_SHUTDOWN, (&raw mut argument).cast()) };
        }
    }
}
