//! Whom a processor runs, and the change from one vcpu to the next.

use paravane_abi::regs::CpuUserRegs;

use crate::bounce::{Entry, Kind};
use crate::crash::Reason;
use crate::descriptor::Policy;
use crate::emulate::Mode;
use crate::hypervisor::{Hypervisor, Next};
use crate::machine::{Machine, SegmentBase};
use crate::pc::Pc;
use crate::sched::VcpuKey;
use crate::time::Runstate;
use crate::trace::Turn;

/// The segment bases of a vcpu, in the order in which it keeps them.
const BASES: [SegmentBase; 3] = [SegmentBase::Fs, SegmentBase::GsUser, SegmentBase::GsKernel];

impl<M: Machine> Hypervisor<M> {
    /// Asks the scheduler whom to run, and makes the processor ready for it; again, if that changed the answer.
    #[cold]
    pub(super) fn choose(&mut self, regs: &mut CpuUserRegs) -> Next {
        loop {
            if let Some(why) = self.all_over() {
                return Next::Leave(why);
            }
            self.here.attention = false;
            let next = self.follow_scheduler(regs);
            self.program_timer();
            let changed = core::mem::replace(&mut self.here.attention, next != Next::Guest);
            match next {
                Next::Guest if changed => self.here.attention = true,
                Next::Idle if changed => return Next::Work,
                next => return next,
            }
        }
    }

    fn follow_scheduler(&mut self, regs: &mut CpuUserRegs) -> Next {
        let now = self.now();
        let pick = self.sched.pick(self.here.number, now);
        self.here.slice_end = pick.until;
        self.look_again(pick.look);
        match pick.vcpu {
            Some(VcpuKey::WORKER) => {
                self.put_down(regs);
                self.work();
                Next::Work
            }
            Some(key) => {
                let domain =
                    self.domain_index(key.domain).expect("the scheduler knows only domains that exist");
                self.run(domain, key.vcpu as usize, regs);
                Next::Guest
            }
            None => {
                self.put_down(regs);
                Next::Idle
            }
        }
    }

    /// Makes this processor run a vcpu. If its data segments cannot all be loaded again, a kernel in ring 3 is told by
    /// its failsafe callback, as by Xen.
    fn run(&mut self, domain: usize, vcpu: usize, regs: &mut CpuUserRegs) {
        if self.here.runs(domain, vcpu) {
            return;
        }
        self.put_down(regs);
        let key = self.key(domain, vcpu);
        (self.here.busy, self.here.domain, self.here.vcpu) = (true, domain, vcpu);
        self.here.info = self.vcpu().info;
        self.here.pc = self.domain().pc.is_some();
        self.machine.set_running(Some((key.domain, key.vcpu)));
        *regs = self.vcpu().regs;
        let stayed = self.here.resident == Some(key) && self.vcpu().home == self.here.number;
        let loaded = stayed || self.load_vcpu();
        self.here.resident = Some(key);
        self.vcpu_mut().home = self.here.number;
        self.here.since = self.now();
        self.account(domain, vcpu, Runstate::Running);
        if !loaded
            && self.domain().policy == Policy::Ring3
            && let Err(reason) = self.fail_safe(regs)
        {
            self.crash(regs, reason);
        }
    }

    /// Enters the failsafe callback. Where none is registered its address is 0, which Xen enters like any other.
    #[cold]
    fn fail_safe(&mut self, regs: &mut CpuUserRegs) -> Result<(), Reason> {
        let vcpu = self.vcpu();
        let callback = vcpu.callbacks.failsafe;
        let entry = Entry {
            handler: callback.map_or(0, |callback| callback.address),
            mask_events: callback.is_some_and(|callback| callback.mask_events),
            kind: Kind::Failsafe { selectors: vcpu.selectors },
        };
        self.enter_kernel(regs, &entry)
    }

    /// Saves the running vcpu, if there is one: from then on another processor may take it up.
    pub(crate) fn put_down(&mut self, regs: &CpuUserRegs) {
        if !self.here.busy {
            return;
        }
        self.save_vcpu(regs);
        self.here.busy = false;
        self.machine.set_running(None);
        let (domain, vcpu) = (self.here.domain, self.here.vcpu);
        let (cpu, start, end) = (self.here.number, self.here.since, self.now());
        self.trace.push(Turn { cpu, domain: self.domains[domain].id, vcpu: vcpu as u32, start, end });
        self.account(domain, vcpu, self.waiting_state(domain, vcpu));
        self.retire_if_still(domain);
    }

    /// Takes the running vcpu's state out of the registers.
    fn save_vcpu(&mut self, regs: &CpuUserRegs) {
        let (domain, number) = (self.here.domain, self.here.vcpu);
        let Self { machine, domains, .. } = self;
        let vcpu = &mut domains[domain].vcpus[number];
        vcpu.regs = *regs;
        vcpu.selectors = machine.data_selectors();
        vcpu.user_rsp = machine.user_rsp();
        vcpu.bases = BASES.map(|which| machine.segment_base(which));
        if vcpu.task_switched {
            machine.set_task_switched(false);
        }
        machine.save_fpu(&mut vcpu.fpu);
        if vcpu.task_switched {
            machine.set_task_switched(true);
        }
    }

    /// Loads the vcpu that runs from now on. Whether its data segments could be loaded.
    fn load_vcpu(&mut self) -> bool {
        let (id, paging) = (self.domain().id, &self.vcpu().paging);
        let pc = self.domain().pc.as_deref();
        self.machine.base_changed(id, Mode::Kernel, pc.map_or(paging.base(), Pc::root));
        if self.domain().policy == Policy::Ring3 {
            self.machine.base_changed(id, Mode::User, paging.user_base());
        }
        self.load_half();
        let (domain, number) = (self.here.domain, self.here.vcpu);
        let Self { machine, domains, .. } = self;
        let (vcpu, pc) = (&domains[domain].vcpus[number], domains[domain].pc.as_deref());
        machine.set_kernel_stack(vcpu.kernel_sp);
        machine.set_user_rsp(vcpu.user_rsp);
        machine.show_gdt(&pc.map_or(vcpu.gdt, |pc| pc.gdt_frames()));
        machine.show_hypervisor(pc.is_none());
        machine.ldt_changed(vcpu.paging.ldt());
        machine.set_task_switched(false);
        machine.load_fpu(&vcpu.fpu, vcpu.xcr0);
        machine.set_task_switched(vcpu.task_switched);
        machine.set_guest_cr4(vcpu.cr4);
        machine.set_tsc_aux(vcpu.tsc_aux);
        let (debug, bases, selectors) = (vcpu.debug, vcpu.bases, vcpu.selectors);
        let loaded = self.load_selectors(selectors);
        for (which, base) in BASES.into_iter().zip(bases) {
            self.machine.set_segment_base(which, base);
        }
        self.load_debug_registers(debug);
        self.load_syscall_entry();
        self.load_gates();
        loaded
    }

    /// Loads DS, ES, FS and GS. The kernel may have changed the descriptors, or its LDT, meanwhile: a selector that
    /// cannot be loaded any more becomes null. Whether all could.
    fn load_selectors(&mut self, selectors: [u16; 4]) -> bool {
        if self.on_pc() {
            self.load_pc_selectors(selectors);
            return true;
        }
        // Ring 3's code segments can be named, and may be marked not present (invariant 8). The return decides
        // anew.
        self.show_user_code(true);
        let loadable = selectors.map(|selector| self.loadable_data_selector(selector));
        self.machine.load_data_selectors(loadable.map(|selector| selector.unwrap_or(0)));
        loadable.iter().all(Option::is_some)
    }
}
