//! Exceptions a guest raised: emulated, or passed on to its kernel.

use paravane_abi::regs::CpuUserRegs;

use super::emulation::Applied;
use crate::addr::VirtAddr;
use crate::bounce::{Entry, Kind};
use crate::crash::Reason;
use crate::descriptor::{Policy, USER_CS32, USER_CS64};
use crate::domain::Callback;
use crate::emulate::vector::{DEBUG, INVALID_OPCODE, NOT_PRESENT, PAGE_FAULT, PROTECTION};
use crate::emulate::{self, Emulated, Fault, MAX_LENGTH, Mode, SoftInterrupt};
use crate::guest_memory::GuestMemory;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// #NM.
const DEVICE_NOT_AVAILABLE: u32 = 7;
/// The pseudo-vector under which entry code reports a `syscall` that has no callback.
pub const VECTOR_SYSCALL: u32 = 0x100;
/// The same from 32-bit code, which always comes through the hypervisor.
pub const VECTOR_SYSCALL32: u32 = 0x101;
/// Marks the vector of a fault that the processor raised on the hypervisor's own return to the guest. No
/// instruction of the guest's is behind it, so nothing is emulated: if it were, RIP would move while the return
/// keeps faulting, and a guest could hold the processor for as long as it has code to step over.
pub const EXIT_FAULT: u32 = 0x200;
/// The vector of older system calls, which programs may always use.
const OPEN_VECTOR: u8 = 0x80;
/// Length of `syscall`.
const SYSCALL_LENGTH: u64 = 2;
/// `iretq`.
const IRETQ: [u8; 2] = [0x48, 0xcf];

impl<M: Machine> Hypervisor<M> {
    /// Handles an exception; `fault_address` is CR2 for a page fault.
    pub fn exception(&mut self, regs: &mut CpuUserRegs, fault_address: u64) {
        self.enter();
        if self.on_pc() {
            self.counters.exceptions += 1;
            self.counters.total_entries += 1;
            return self.pc_exception(regs, fault_address);
        }
        if regs.entry_vector == VECTOR_SYSCALL && self.mode(regs) == Mode::Kernel {
            return self.hypercall_by_syscall(regs);
        }
        self.counters.exceptions += 1;
        self.counters.total_entries += 1;
        let handled = match regs.entry_vector {
            vector if vector & EXIT_FAULT != 0 => self.exit_fault(regs, fault_address),
            vector if vector == u32::from(PAGE_FAULT) => self.page_fault(regs, fault_address),
            vector if vector == u32::from(PROTECTION) => self.protection_fault(regs),
            vector if vector == u32::from(NOT_PRESENT) => self.not_present(regs),
            vector if vector == u32::from(INVALID_OPCODE) => self.invalid_opcode(regs),
            vector if vector == u32::from(DEBUG) => self.debug_trap(regs),
            DEVICE_NOT_AVAILABLE => self.device_not_available(regs),
            VECTOR_SYSCALL => self.system_call(regs, self.vcpu().callbacks.syscall),
            VECTOR_SYSCALL32 => self.system_call(regs, self.vcpu().callbacks.syscall32),
            _ => self.reflect(regs),
        };
        if let Err(reason) = handled {
            self.crash(regs, reason);
        }
    }

    /// A hypercall of a kernel in ring 3: one in ring 1 has a gate of its own, and no `syscall` comes from there.
    fn hypercall_by_syscall(&mut self, regs: &mut CpuUserRegs) {
        self.hypercall(regs);
        // Behind a `syscall` that ends the lower half there is no instruction. A processor refuses to return there
        // (XSA-7 is what became of trying); QEMU 7.2 returns, and faults on the fetch.
        if !VirtAddr::is_canonical(regs.rip)
            && let Err(reason) = self.inject(regs, Fault::PROTECTION)
        {
            self.crash(regs, reason);
        }
    }

    /// `syscall` without a callback does not exist; address 0 is none, as in Xen.
    fn refuse_syscall(&mut self, regs: &mut CpuUserRegs) -> Result<(), Reason> {
        regs.rip = regs.rip.wrapping_sub(SYSCALL_LENGTH);
        self.inject(regs, Fault::INVALID_OPCODE)
    }

    /// `syscall` of a program under a kernel in ring 3, or of a 32-bit one under any kernel, as its return address
    /// says nothing of its ring.
    fn system_call(&mut self, regs: &mut CpuUserRegs, callback: Option<Callback>) -> Result<(), Reason> {
        let ring1_entry = regs.entry_vector == VECTOR_SYSCALL && self.domain().policy == Policy::Ring1;
        let registered = callback.filter(|callback| callback.address != 0 && !ring1_entry);
        let Some(callback) = registered else { return self.refuse_syscall(regs) };
        let entry =
            Entry { handler: callback.address, mask_events: callback.mask_events, kind: Kind::SystemCall };
        self.enter_kernel(regs, &entry)
    }

    /// The processor refused the hypervisor's own return to the guest. As in Xen, the guest gets the exception in the
    /// context that was being returned to; unless it was for the want of a page of the LDT, which is there the next
    /// time: a page that is held stays so until the vcpu itself does something about it.
    fn exit_fault(&mut self, regs: &mut CpuUserRegs, fault_address: u64) -> Result<(), Reason> {
        regs.entry_vector &= !EXIT_FAULT;
        if regs.entry_vector != u32::from(PAGE_FAULT) {
            return self.reflect(regs);
        }
        match self.ldt_offset(regs.error_code, fault_address) {
            Some(offset) => self.ldt_fault(regs, offset),
            None => self.inject(regs, Fault::page(fault_address, regs.error_code)),
        }
    }

    /// Passes the exception that was raised on to the guest.
    fn reflect(&mut self, regs: &mut CpuUserRegs) -> Result<(), Reason> {
        let vector = regs.entry_vector as u8;
        let error_code = crate::bounce::has_error_code(vector).then_some(regs.error_code);
        self.inject(regs, Fault { vector, error_code, address: None })
    }

    /// The memory of the half of the guest that was running.
    pub(super) fn running_memory(&self, regs: &CpuUserRegs) -> Option<GuestMemory<'_, M>> {
        let domain = self.domain();
        let paging = &self.vcpu().paging;
        if self.mode(regs) == Mode::User {
            let root = paging.user_base().or(paging.base())?;
            Some(GuestMemory::user(&self.frames, &self.machine, domain.id, root))
        } else {
            self.kernel_memory()
        }
    }

    /// The instruction at RIP: as many of the bytes a processor could need as can be fetched.
    pub(super) fn fetch<'b>(&self, regs: &CpuUserRegs, buffer: &'b mut [u8; MAX_LENGTH]) -> &'b [u8] {
        let Some(memory) = self.running_memory(regs) else { return &[] };
        if memory.fetch(regs.rip, buffer).is_ok() {
            return buffer;
        }
        let in_page =
            (crate::addr::PAGE_SIZE - (regs.rip as usize & (crate::addr::PAGE_SIZE - 1))).min(MAX_LENGTH);
        let bytes = &mut buffer[..in_page];
        if memory.fetch(regs.rip, bytes).is_ok() { bytes } else { &[] }
    }

    /// A write to a live page table by the kernel is emulated, and a page of the LDT is brought; every other page fault
    /// is the guest's.
    fn page_fault(&mut self, regs: &mut CpuUserRegs, address: u64) -> Result<(), Reason> {
        use crate::guest_memory::Fault as Code;
        if let Some(offset) = self.ldt_offset(regs.error_code, address) {
            return self.ldt_fault(regs, offset);
        }
        const TABLE_WRITE: u32 = Code::PRESENT | Code::WRITE;
        let kind = regs.error_code & (TABLE_WRITE | Code::FETCH);
        if self.mode(regs) == Mode::Kernel
            && kind == TABLE_WRITE
            && self.emulate_table_write(regs, address)?
        {
            return Ok(());
        }
        self.inject(regs, Fault::page(address, regs.error_code))
    }

    /// A refused `int n`, or a privileged instruction.
    fn protection_fault(&mut self, regs: &mut CpuUserRegs) -> Result<(), Reason> {
        self.reach_segments(regs);
        let mut buffer = [0; MAX_LENGTH];
        let bytes = self.fetch(regs, &mut buffer);
        if regs.error_code != 0 {
            let traps = &self.vcpu().traps;
            let open = self.domain().policy == Policy::Ring3;
            let dpl = |vector: u8| {
                let trap = &traps[usize::from(vector)];
                // Xen has a gate of its own for this one, and asks for no level there.
                let level = if open && vector == OPEN_VECTOR { 3 } else { trap.flags & 3 };
                (trap.address != 0).then_some(level)
            };
            return match emulate::software_interrupt(&self.view(regs), regs, bytes, dpl) {
                SoftInterrupt::Deliver { vector, rip } => {
                    regs.rip = rip;
                    self.inject(regs, Fault { vector, error_code: None, address: None })
                }
                SoftInterrupt::Refuse { error_code } => {
                    self.inject(regs, Fault { error_code: Some(error_code), ..Fault::PROTECTION })
                }
                SoftInterrupt::NotOurs => self.reflect(regs),
            };
        }
        let decided = emulate::privileged(&self.view(regs), regs, bytes);
        self.perform(regs, decided)
    }

    /// `cpuid` behind the forced-emulation prefix, or an instruction that does not exist in this ring.
    fn invalid_opcode(&mut self, regs: &mut CpuUserRegs) -> Result<(), Reason> {
        self.reach_segments(regs);
        let mut buffer = [0; MAX_LENGTH];
        let bytes = self.fetch(regs, &mut buffer);
        let decided = emulate::forced(&self.view(regs), regs, bytes);
        self.perform(regs, decided)
    }

    /// The kernel's `iretq` to ring 3 while an event waits (invariant 8): the return is completed here, and the
    /// event, which ring 3 always takes, is delivered before the program runs.
    fn not_present(&mut self, regs: &mut CpuUserRegs) -> Result<(), Reason> {
        let selector = regs.error_code as u16 | 3;
        let awaited = !self.here.user_code_present && matches!(selector, USER_CS32 | USER_CS64);
        let mut buffer = [0; MAX_LENGTH];
        if !awaited || regs.cs & 3 != 1 || !self.fetch(regs, &mut buffer).starts_with(&IRETQ) {
            return self.reflect(regs);
        }
        match self.complete_iretq(regs)? {
            None => Ok(()),
            Some(fault) => self.inject(regs, fault),
        }
    }

    /// Floating point after `fpu_taskswitch(1)`: TS is cleared on the guest's behalf, as Xen does.
    fn device_not_available(&mut self, regs: &mut CpuUserRegs) -> Result<(), Reason> {
        let wanted = self.vcpu().task_switched;
        self.set_task_switched(false);
        if wanted { self.reflect(regs) } else { Ok(()) }
    }

    /// A breakpoint or a single step; DR6 is virtual from here on.
    fn debug_trap(&mut self, regs: &mut CpuUserRegs) -> Result<(), Reason> {
        let conditions = self.machine.debug_status() ^ crate::debugreg::DR6_DEFAULT;
        self.vcpu_mut().debug = self.vcpu().debug.with_conditions(conditions as u32);
        self.machine.set_debug_register(6, crate::debugreg::DR6_DEFAULT);
        self.reflect(regs)
    }

    /// Does what the emulator decided.
    fn perform(&mut self, regs: &mut CpuUserRegs, decided: Emulated) -> Result<(), Reason> {
        let due = match decided {
            Emulated::NotOurs => return self.reflect(regs),
            Emulated::Fault(fault) => return self.inject(regs, fault),
            Emulated::StringIo(io) => {
                self.counters.emulated += 1;
                match self.move_string(&io, regs) {
                    (due, None) => due,
                    (_, Some(fault)) => return self.inject(regs, fault),
                }
            }
            Emulated::Retire(retire) => match self.apply(retire) {
                Applied::Done(retire) => {
                    self.counters.emulated += 1;
                    retire.commit(regs)
                }
                Applied::Refused => return self.reflect(regs),
                Applied::Again => return Ok(()),
            },
        };
        self.debug_due(regs, due)
    }

    /// Raises the #DB that an emulated instruction owes.
    pub(super) fn debug_due(&mut self, regs: &mut CpuUserRegs, due: u32) -> Result<(), Reason> {
        if due == 0 {
            return Ok(());
        }
        self.vcpu_mut().debug = self.vcpu().debug.with_conditions(due);
        self.inject(regs, Fault { vector: DEBUG, error_code: None, address: None })
    }
}
