//! Entering the guest's kernel: exceptions, events, and what is looked at before every return.

use paravane_abi::regs::CpuUserRegs;
use zerocopy::IntoBytes;

use crate::bounce::{self, Entry, Kind, Origin};
use crate::crash::Reason;
use crate::descriptor::Policy;
use crate::domain::upcall;
use crate::emulate::vector::PAGE_FAULT;
use crate::emulate::{Fault, Mode};
use crate::hypervisor::{Hypervisor, Next};
use crate::machine::{Live, Machine, SegmentBase};

/// Trap-table flag: mask events on entry (`TI_SET_IF`, bit 2).
const TRAP_MASKS_EVENTS: u8 = 4;

impl<M: Machine> Hypervisor<M> {
    /// Which half of the guest the registers belong to.
    #[inline]
    pub(crate) fn mode(&self, regs: &CpuUserRegs) -> Mode {
        match self.domain().policy {
            Policy::Ring1 if regs.cs & 3 == 3 => Mode::User,
            Policy::Ring1 => Mode::Kernel,
            Policy::Ring3 => self.vcpu().half,
        }
    }

    /// The other half of the guest goes on. Where both run in ring 3 it has its own table and GS base.
    pub(super) fn set_mode(&mut self, half: Mode) {
        if self.domain().policy == Policy::Ring3 && self.vcpu().half != half {
            self.vcpu_mut().half = half;
            self.load_half();
        }
    }

    /// Tells the machine which half of the guest runs.
    pub(super) fn load_half(&mut self) {
        let live = match (self.domain().policy, self.vcpu().half) {
            (Policy::Ring1, _) => Live::Shared,
            (Policy::Ring3, Mode::Kernel) => Live::Kernel,
            (Policy::Ring3, Mode::User) => Live::User,
        };
        self.machine.set_live(live);
    }

    /// Which of the guest's GS bases is the live one.
    pub(super) fn live_gs(&self) -> SegmentBase {
        match (self.domain().policy, self.vcpu().half) {
            (Policy::Ring3, Mode::Kernel) => SegmentBase::GsKernel,
            _ => SegmentBase::GsUser,
        }
    }

    /// Gives the guest an exception.
    pub(super) fn inject(&mut self, regs: &mut CpuUserRegs, fault: Fault) -> Result<(), Reason> {
        let mode = self.mode(regs);
        let vcpu = self.vcpu();
        let trap = &vcpu.traps[usize::from(fault.vector)];
        let error_code = match (fault.vector, fault.error_code) {
            (PAGE_FAULT, Some(raw)) => Some(bounce::page_fault_error_code(raw, mode)),
            (_, code) => code,
        };
        let entry = Entry {
            handler: trap.address,
            mask_events: trap.flags & TRAP_MASKS_EVENTS != 0,
            kind: error_code.map_or(Kind::Plain, Kind::WithErrorCode),
        };
        self.enter_kernel(regs, &entry)?;
        if let Some(address) = fault.address {
            self.vcpu_mut().cr2 = address;
            self.shared().set_cr2(self.vcpu().info, address);
        }
        self.counters.traps_bounced += 1;
        Ok(())
    }

    /// Writes a bounce frame and points the registers at the handler.
    pub(super) fn enter_kernel(&mut self, regs: &mut CpuUserRegs, entry: &Entry) -> Result<(), Reason> {
        let vcpu = self.vcpu();
        let place = vcpu.info;
        let (_, upcall_mask) = self.shared().upcall(place);
        let origin = Origin {
            policy: self.domain().policy,
            mode: self.mode(regs),
            kernel_sp: vcpu.kernel_sp,
            upcall_mask,
            shown_iopl: self.architectural_iopl().then_some(vcpu.iopl),
        };
        let frame = bounce::bounce(regs, &origin, entry)?;
        let memory = self.kernel_memory().ok_or(Reason::NoPageTable)?;
        memory
            .copy_to_guest(frame.sp, frame.words.as_bytes())
            .map_err(|fault| Reason::StackFault { sp: frame.sp, address: fault.address })?;
        if frame.upcall_mask != upcall_mask {
            self.shared().set_upcall_mask(place, frame.upcall_mask);
        }
        frame.enter(regs);
        self.set_mode(Mode::Kernel);
        Ok(())
    }

    /// Says what this processor does next, having delivered what is to be delivered.
    #[inline(always)]
    pub fn prepare_return(&mut self, regs: &mut CpuUserRegs) -> Next {
        if self.here.attention {
            let next = self.look_around(regs);
            if next != Next::Guest {
                return next;
            }
        }
        let (pending, masked) = upcall(&self.machine, self.here.info);
        if !pending {
            self.show_user_code(true);
            return Next::Guest;
        }
        self.deliver_event(regs, masked)
    }

    /// Chooses whom to run, and gives it the NMI that it is owed; again, if that was its end.
    #[cold]
    fn look_around(&mut self, regs: &mut CpuUserRegs) -> Next {
        loop {
            let next = self.choose(regs);
            if next != Next::Guest || !self.nmi_is_due() {
                return next;
            }
            match self.deliver_nmi(regs) {
                Ok(()) => return next,
                Err(reason) => self.crash(regs, reason),
            }
        }
    }

    /// An event is pending. Under a kernel in ring 1, ring 3 always takes it, and ring 1 unless it masks them; and
    /// if it does, its way to ring 3 leads through the hypervisor (invariant 8). Under a kernel in ring 3 the mask
    /// alone decides, as in Xen: every way to a program sets it.
    ///
    /// A PC has an event pending all the time, so that every return to it comes by here.
    #[cold]
    fn deliver_event(&mut self, regs: &mut CpuUserRegs, masked: bool) -> Next {
        if self.on_pc() {
            return self.enter_pc(regs);
        }
        let ring1 = self.domain().policy == Policy::Ring1;
        if masked && (!ring1 || self.mode(regs) == Mode::Kernel) {
            self.show_user_code(!ring1);
            return Next::Guest;
        }
        let callback = self.vcpu().callbacks.event;
        let handler = callback.map_or(0, |callback| callback.address);
        let entry = Entry { handler, mask_events: true, kind: Kind::Plain };
        match self.enter_kernel(regs, &entry) {
            Ok(()) => {
                self.counters.events_delivered += 1;
                // The handler has it now. Should it return without taking it, or should another come, the
                // next entry finds it pending and masked.
                self.show_user_code(true);
                Next::Guest
            }
            Err(reason) => {
                self.crash(regs, reason);
                self.look_around(regs)
            }
        }
    }

    #[inline]
    pub(crate) fn show_user_code(&mut self, present: bool) {
        if self.here.user_code_present != present {
            self.here.user_code_present = present;
            self.machine.set_user_code_present(present);
        }
    }
}
