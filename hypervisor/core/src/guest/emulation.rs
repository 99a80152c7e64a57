//! Performing what the emulator decided.

use paravane_abi::regs::{CpuUserRegs, IretContext};
use paravane_abi::vm_assist::VMASST_TYPE_WRITABLE_PAGETABLES;

use crate::addr::{Mfn, VirtAddr};
use crate::build::populate::hypercall_page;
use crate::crash::Reason;
use crate::debugreg::DebugRegs;
use crate::descriptor::Policy;
use crate::emulate::{
    self, Direction, Effect, Fault, MAX_LENGTH, NotEmulated, Retire, SegmentBases, StringIo,
};
use crate::hypervisor::Hypervisor;
use crate::iret::{self, NotPresent};
use crate::machine::{Machine, SegmentBase};
use crate::msr::MsrEffect;
use crate::pagetable::{Budget, OpError, Paging, PtWrite};

/// What a port that belongs to no device reads as.
const NO_DEVICE: u32 = u32::MAX;
/// Attempts at a compare-and-exchange before the guest is let run again.
const COMPARE_ATTEMPTS: usize = 8;

/// What became of an instruction's effect.
pub(super) enum Applied {
    /// It is performed; the instruction is to be committed.
    Done(Retire),
    /// It was refused: the original exception stands.
    Refused,
    /// The bounded step is used up: the guest executes the instruction again, which goes on.
    Again,
}

impl<M: Machine> Hypervisor<M> {
    /// Performs an instruction's effect.
    pub(super) fn apply(&mut self, retire: Retire) -> Applied {
        if let Effect::LoadBase(cr3) = retire.effect {
            let set = self.paging(Budget::HYPERCALL).set_base(Mfn::containing(cr3));
            self.look_for_last_unmap();
            return match set {
                Ok(()) => Applied::Done(retire),
                Err(OpError::Again) => Applied::Again,
                Err(OpError::Refused(_)) => Applied::Refused,
            };
        }
        self.apply_at_once(retire).map_or(Applied::Refused, Applied::Done)
    }

    fn apply_at_once(&mut self, retire: Retire) -> Option<Retire> {
        match retire.effect {
            Effect::None | Effect::FlushCaches | Effect::PortWrite { .. } | Effect::LoadBase(_) => {}
            // No domain has a device; Xen answers reads of ports that are not the guest's with ones.
            Effect::PortRead { .. } => return Some(retire.with_port_value(NO_DEVICE)),
            Effect::SetTs(set) => self.set_task_switched(set),
            Effect::SetCr2(address) => {
                self.vcpu_mut().cr2 = address;
                self.shared().set_cr2(self.vcpu().info, address);
            }
            Effect::WriteCr4(value) => {
                self.vcpu_mut().cr4 = value;
                self.machine.set_guest_cr4(value);
            }
            Effect::SetDebugRegs(debug) => self.load_debug_registers(debug),
            Effect::WriteMsr(effect) => self.write_msr(effect)?,
            // What the value adds is in the registers already: all components are switched, whatever XCR0 holds.
            Effect::WriteXcr0(value) => {
                self.vcpu_mut().xcr0 = value;
                self.machine.set_xcr0(value);
            }
        }
        Some(retire)
    }

    fn write_msr(&mut self, effect: MsrEffect) -> Option<()> {
        match effect {
            MsrEffect::Ignored => {}
            MsrEffect::FsBase(base) => self.machine.set_segment_base(SegmentBase::Fs, base),
            MsrEffect::GsBase(base) => self.machine.set_segment_base(self.live_gs(), base),
            MsrEffect::GsBaseInactive(base) => {
                let inactive = match self.live_gs() {
                    SegmentBase::GsKernel => SegmentBase::GsUser,
                    _ => SegmentBase::GsKernel,
                };
                self.machine.set_segment_base(inactive, base);
            }
            MsrEffect::TscAux(value) => {
                self.vcpu_mut().tsc_aux = value;
                self.machine.set_tsc_aux(value);
            }
            MsrEffect::HypercallPage(frame) => return self.write_hypercall_page(Mfn::new(frame)),
        }
        Some(())
    }

    /// Fills a frame that the guest may write with the hypercall page.
    fn write_hypercall_page(&mut self, frame: Mfn) -> Option<()> {
        let policy = self.domain().policy;
        self.paging(Budget::HYPERCALL).hold_writable(frame).ok()?;
        if let Some(writer) = self.frames.writable(frame, self.domain().id) {
            self.machine.write_bytes(&writer, 0, &hypercall_page(policy));
        }
        self.paging(Budget::HYPERCALL).drop_writable(frame);
        Some(())
    }

    /// The paging operations of the running vcpu.
    #[inline]
    pub(crate) fn paging(&mut self, budget: Budget) -> Paging<'_, M> {
        let (domain, vcpu) = (self.here.domain, self.here.vcpu);
        let Self { frames, machine, domains, .. } = self;
        let domain = &mut domains[domain];
        Paging::new(frames, machine, &domain.memory, &mut domain.vcpus[vcpu].paging, budget)
    }

    /// Gives the running vcpu these debug registers.
    pub(crate) fn load_debug_registers(&mut self, debug: DebugRegs) {
        self.vcpu_mut().debug = debug;
        for (index, value) in debug.dr.into_iter().enumerate() {
            self.machine.set_debug_register(index as u8, value);
        }
        self.machine.set_debug_register(7, debug.dr7);
    }

    /// Completes the kernel's `iretq` to ring 3. A return that the processor itself would refuse gives the
    /// fault it would raise.
    pub(super) fn complete_iretq(&mut self, regs: &mut CpuUserRegs) -> Result<Option<Fault>, Reason> {
        let mut buffer = [0; MAX_LENGTH];
        let bytes = self.fetch(regs, &mut buffer);
        let frame: Result<[u64; 5], _> = match self.kernel_memory() {
            Some(memory) => memory.read(regs.rsp),
            None => return Ok(None),
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(fault) => return Ok(Some(Fault::page(fault.address, fault.code))),
        };
        Ok(match iret::intercepted(self, regs, bytes, frame) {
            NotPresent::Return(to) => {
                to.enter(regs);
                None
            }
            NotPresent::Fault(fault) => {
                Some(Fault { vector: fault.vector, error_code: Some(fault.error_code), address: None })
            }
            NotPresent::NotOurs => {
                let vector = regs.entry_vector as u8;
                Some(Fault { vector, error_code: Some(regs.error_code), address: None })
            }
        })
    }

    /// The `iret` hypercall.
    pub(crate) fn guest_iret(&mut self, regs: &mut CpuUserRegs) -> Result<(), Reason> {
        let memory = self.kernel_memory().ok_or(Reason::IretContext { address: regs.rsp })?;
        let context: IretContext =
            memory.read(regs.rsp).map_err(|fault| Reason::IretContext { address: fault.address })?;
        // Ring 1 shares one table with its programs; elsewhere they need their own.
        let paging = &self.vcpu().paging;
        let user_table = self.domain().policy == Policy::Ring1 || paging.user_base().is_some();
        let to = iret::hypercall(self.domain().policy, &context, user_table, self.architectural_iopl())?;
        to.enter(regs);
        self.set_mode(to.mode);
        if let Some(masked) = to.upcall_mask {
            self.shared().set_upcall_mask(self.vcpu().info, masked);
        }
        if let Some(iopl) = to.iopl {
            self.vcpu_mut().iopl = iopl;
        }
        self.unmask_nmi();
        // A processor refuses this when it returns; QEMU only when it fetches, as a page fault.
        if !VirtAddr::is_canonical(regs.rip) {
            return self.inject(regs, Fault::PROTECTION);
        }
        Ok(())
    }

    /// Emulates a write to a live page table; false when the fault is not that. A kernel in ring 3 has to ask for it
    /// beforehand, as on Xen; one in ring 1 always has it.
    pub(super) fn emulate_table_write(
        &mut self,
        regs: &mut CpuUserRegs,
        address: u64,
    ) -> Result<bool, Reason> {
        let domain = self.domain();
        if domain.policy == Policy::Ring3 && domain.vm_assist & 1 << VMASST_TYPE_WRITABLE_PAGETABLES == 0 {
            return Ok(false);
        }
        let mut paging = self.paging(Budget::HYPERCALL);
        if paging.trapped_table(address).is_none() {
            return Ok(false);
        }
        let mut buffer = [0; MAX_LENGTH];
        let bytes = self.fetch(regs, &mut buffer);
        let bases = SegmentBases {
            fs: self.machine.segment_base(SegmentBase::Fs),
            gs: self.machine.segment_base(self.live_gs()),
        };
        let write = match emulate::page_table_write(bytes, regs, address, bases) {
            Ok(write) => write,
            Err(NotEmulated::Unhandled) => return Ok(false),
            Err(NotEmulated::Fetch(fault)) => {
                self.inject(regs, fault)?;
                return Ok(true);
            }
        };
        paging = self.paging(Budget::HYPERCALL);
        // Only a processor that sets A or D can make the exchange fail; if it keeps doing so, the guest's
        // instruction is executed again.
        for _ in 0..COMPARE_ATTEMPTS {
            let Some(old) = paging.read_trapped(write.entry, 8) else { return Ok(false) };
            match paging.emulate_pt_write(write.entry, 8, write.apply(old), Some(old)) {
                PtWrite::Done => {
                    self.counters.emulated += 1;
                    self.look_for_last_unmap();
                    let due = write.commit(regs, old);
                    self.debug_due(regs, due)?;
                    return Ok(true);
                }
                PtWrite::Mismatch(_) => {}
                PtWrite::Refused(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Moves a step of a string instruction: reads give ones, writes go nowhere. The result is the #DB that is
    /// due, and the fault that ended the step.
    pub(super) fn move_string(&mut self, io: &StringIo, regs: &mut CpuUserRegs) -> (u32, Option<Fault>) {
        let Some(memory) = self.running_memory(regs) else { return (0, Some(Fault::PROTECTION)) };
        let mut moved = 0;
        let mut stopped = None;
        let mut address = io.address;
        while moved < io.count && stopped.is_none() {
            let mut item = NO_DEVICE.to_le_bytes();
            let item = &mut item[..usize::from(io.width)];
            let result = match io.direction {
                Direction::In => memory.copy_to_guest(address, item),
                Direction::Out => memory.copy_from_guest(address, item),
            };
            match result {
                Ok(()) => moved += 1,
                Err(fault) => stopped = Some(Fault::page(fault.address, fault.code)),
            }
            address = address.wrapping_add_signed(io.stride);
        }
        (io.commit(regs, moved), stopped)
    }
}
