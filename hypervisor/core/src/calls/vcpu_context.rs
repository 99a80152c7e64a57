//! VCPUOP_initialise: a vcpu gets its first registers, tables and entry points. The order of the checks is that of
//! Xen 4.17's `arch_set_info_guest`.

use alloc::boxed::Box;

use paravane_abi::errno::Errno;
use paravane_abi::segment::MAX_GUEST_GDT_ENTRIES;
use paravane_abi::vcpu::*;
use zerocopy::IntoBytes;

use super::{Answer, Stop};
use crate::addr::{ENTRIES, Mfn, VirtAddr};
use crate::debugreg::DebugRegs;
use crate::descriptor::{Policy, fixup};
use crate::domain::{Callback, Callbacks, TRAPS};
use crate::emulate::Mode;
use crate::hypervisor::Hypervisor;
use crate::iret;
use crate::machine::{GUEST_GDT_PAGES, Machine};
use crate::pagetable::{Budget, Ldt, OpError, Paging};

/// CR0.TS, the one bit of CR0 that a context decides.
const CR0_TS: u64 = 1 << 3;
/// DR4 and DR5 are no registers.
const DEBUG_REGISTERS: [usize; 6] = [0, 1, 2, 3, 6, 7];

/// Whether the processor could take every address in a context.
fn addresses_are_canonical(context: &VcpuGuestContext) -> bool {
    let own = [
        context.user_regs.rip,
        context.user_regs.rsp,
        context.kernel_sp,
        context.fs_base,
        context.gs_base_kernel,
        context.gs_base_user,
        context.event_callback_eip,
        context.syscall_callback_eip,
        context.failsafe_callback_eip,
    ];
    let traps = context.trap_ctxt.iter().map(|trap| trap.address);
    own.into_iter().chain(traps).all(VirtAddr::is_canonical)
}

impl<M: Machine> Hypervisor<M> {
    /// VCPUOP_initialise. Repeated until the tables are checked; what it has done so far is held by the vcpu's
    /// paging state.
    pub(super) fn initialise_vcpu(&mut self, number: u32, pointer: u64) -> Answer {
        let number = number as usize;
        let mut context = Box::new(VcpuGuestContext::default());
        self.read_guest_bytes(pointer, context.as_mut_bytes())?;
        if self.domain().vcpus[number].initialised {
            return Err(Errno::EEXIST.into());
        }
        self.check_context(&context)?;
        self.load_context_tables(number, &context)?;
        let gdt = match self.hold_context_gdt(&context) {
            Ok(gdt) => gdt,
            Err(error) => {
                self.unload_context_tables(number);
                return Err(error.into());
            }
        };
        self.take_context(number, &context, gdt);
        let domain = self.here.domain;
        let vcpu = &mut self.domain_mut().vcpus[number];
        (vcpu.initialised, vcpu.up) = (true, context.flags & VGCF_ONLINE != 0);
        self.refresh(domain, number);
        Ok(0)
    }

    fn check_context(&self, context: &VcpuGuestContext) -> Result<(), Errno> {
        // Xen looks at the address whether there are entries or not.
        let ldt = Ldt::new(context.ldt_base, context.ldt_ents.max(1)).is_some();
        // A ring-1 domain has no LDT, and one table for its kernel and its programs.
        let ring1 = self.domain().policy == Policy::Ring3 || context.ldt_ents == 0 && context.ctrlreg[1] == 0;
        let gdt = context.gdt_ents <= MAX_GUEST_GDT_ENTRIES;
        let table = self.domain().policy == Policy::Ring1
            || context.flags & VGCF_IN_KERNEL != 0
            || context.ctrlreg[1] != 0;
        let fits = addresses_are_canonical(context) && ldt && ring1 && gdt && table;
        if fits { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// The paging operations of another vcpu, which runs nowhere.
    fn paging_of(&mut self, vcpu: usize) -> Paging<'_, M> {
        let domain = self.here.domain;
        let Self { frames, machine, domains, .. } = self;
        let domain = &mut domains[domain];
        Paging::at_rest(frames, machine, &domain.memory, &mut domain.vcpus[vcpu].paging, Budget::HYPERCALL)
    }

    fn load_context_tables(&mut self, vcpu: usize, context: &VcpuGuestContext) -> Result<(), Stop> {
        let base = Mfn::new(cr3_to_mfn(context.ctrlreg[3]));
        let user = (context.ctrlreg[1] != 0).then(|| Mfn::new(cr3_to_mfn(context.ctrlreg[1])));
        let stop = |error| match error {
            OpError::Again => Stop::AGAIN,
            OpError::Refused(error) => Stop::from(error),
        };
        if self.domain().vcpus[vcpu].paging.base() != Some(base) {
            self.paging_of(vcpu).set_base(base).map_err(stop)?;
        }
        self.paging_of(vcpu).set_user_base(user).map_err(|error| {
            if matches!(error, OpError::Refused(_)) {
                self.unload_context_tables(vcpu);
            }
            stop(error)
        })
    }

    /// Gives the tables of a refused context back. The L4 is in use elsewhere or pinned, as every L4 that was
    /// accepted without a step of validation is; what is left otherwise is finished with the next attempt.
    fn unload_context_tables(&mut self, vcpu: usize) {
        let _ = self.paging_of(vcpu).drop_bases();
        self.look_for_last_unmap();
    }

    fn hold_context_gdt(
        &mut self,
        context: &VcpuGuestContext,
    ) -> Result<[Option<Mfn>; GUEST_GDT_PAGES], Errno> {
        let pages = (context.gdt_ents as usize).div_ceil(ENTRIES).min(GUEST_GDT_PAGES);
        self.hold_gdt(&context.gdt_frames[..pages])
    }

    /// Takes over everything that cannot fail any more.
    fn take_context(
        &mut self,
        number: usize,
        context: &VcpuGuestContext,
        gdt: [Option<Mfn>; GUEST_GDT_PAGES],
    ) {
        let policy = self.domain().policy;
        let mode = if context.flags & VGCF_IN_KERNEL != 0 { Mode::Kernel } else { Mode::User };
        // Only a RIP that is not canonical is refused there, and it has been looked at.
        let Ok((regs, iopl)) = iret::initial(policy, mode, &context.user_regs) else { return };
        let cr4 = context.ctrlreg[4] & self.processor.cr4_rule().settable;
        let mut debug = DebugRegs::default();
        for index in DEBUG_REGISTERS {
            // One that cannot be had stays as after a reset, without an error.
            debug = debug.with(index as u32, context.debugreg[index], cr4).unwrap_or(debug);
        }
        let callback = |address, mask| Some(Callback { address, mask_events: context.flags & mask != 0 });
        let processor = self.processor;
        let fpu_given = context.flags & VGCF_I387_VALID != 0;
        let vcpu = &mut self.domain_mut().vcpus[number];
        vcpu.regs = regs;
        vcpu.half = mode;
        // As they are given: those that cannot be loaded are shown to the failsafe callback.
        let given = &context.user_regs;
        vcpu.selectors = [given.ds, given.es, given.fs, given.gs];
        vcpu.iopl = iopl;
        for (vector, (to, from)) in vcpu.traps.iter_mut().zip(context.trap_ctxt).enumerate().take(TRAPS) {
            *to = from;
            to.vector = vector as u8;
            to.cs = fixup(policy, from.cs);
        }
        vcpu.fpu = processor.xstate.initial();
        if fpu_given {
            vcpu.fpu.give(&context.fpu_ctxt, &processor.xstate, processor.mxcsr_mask);
        }
        vcpu.gdt = gdt;
        vcpu.gdt_entries = context.gdt_ents as u32;
        vcpu.paging.set_first_ldt(Ldt::new(context.ldt_base, context.ldt_ents).unwrap_or(Ldt::NONE));
        vcpu.kernel_sp = context.kernel_sp;
        vcpu.task_switched = context.ctrlreg[0] & CR0_TS != 0;
        vcpu.cr4 = cr4;
        vcpu.debug = debug;
        vcpu.bases = [context.fs_base, context.gs_base_user, context.gs_base_kernel];
        vcpu.callbacks = Callbacks {
            event: callback(context.event_callback_eip, 0),
            failsafe: callback(context.failsafe_callback_eip, VGCF_FAILSAFE_DISABLES_EVENTS),
            syscall: callback(context.syscall_callback_eip, VGCF_SYSCALL_DISABLES_EVENTS),
            ..Callbacks::default()
        };
    }
}
