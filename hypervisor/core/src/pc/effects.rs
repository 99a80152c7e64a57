//! What a PC's instructions ask of whoever owns the machine.

use paravane_abi::regs::CpuUserRegs;

use super::entry::Running;
use super::linear::Linear;
use super::tables::RealDescriptors;
use super::{Pc, controls};
use crate::crash::Reason;
use crate::domain::{RunState, Shutdown};
use crate::emulate::{Direction, Mode, Segment};
use crate::full::{Effect, Outcome, PortAccess, cr0, cr4};
use crate::hypervisor::Hypervisor;
use crate::machine::{Machine, SegmentBase};
use crate::platform::{self, Width, verdict};

/// Bits of CR4 that act as the guest chose them.
const LIVE_CR4: u64 = cr4::TSD | cr4::FSGSBASE;

/// What a kernel ended with, by what it wrote to the exit port.
fn ended(value: u32) -> Shutdown {
    match u8::try_from(value) {
        Ok(verdict::POWER_OFF) => Shutdown::PowerOff,
        Ok(verdict::REBOOT) => Shutdown::Reboot,
        _ => Shutdown::Crash,
    }
}

impl<M: Machine> Hypervisor<M> {
    /// Does what is to be done before the guest goes on.
    pub(super) fn follow(&mut self, regs: &mut CpuUserRegs, outcome: Outcome) {
        let mut next = Some(outcome);
        while let Some(outcome) = next.take() {
            match outcome {
                Outcome::Resume => {}
                Outcome::Do(effect) => self.take_effect(regs, effect),
                Outcome::Port(access) => next = self.access_port(regs, access),
                Outcome::Shutdown => self.crash(regs, Reason::TripleFault),
            }
        }
    }

    fn take_effect(&mut self, regs: &mut CpuUserRegs, effect: Effect) {
        match effect {
            // Halting is looked at when the guest would go on.
            Effect::None | Effect::FlushCaches | Effect::Halt => {}
            Effect::LoadCr3(cr3) => self.change_translation(regs, |processor| {
                let Linear { frames, shadow } = &mut *processor.mem;
                shadow.load_cr3(&*frames, cr3).discharge(frames.machine, frames.domain);
            }),
            Effect::InvalidatePage(address) => self.change_translation(regs, |processor| {
                let Linear { frames, shadow } = &mut *processor.mem;
                shadow.invlpg(&*frames, address).discharge(frames.machine, frames.domain);
            }),
            Effect::Control { paging, fpu } => self.change_control(regs, paging, fpu),
            Effect::Debug => {
                if let Some(debug) = self.domain().pc.as_ref().map(|pc| pc.cpu.debug) {
                    self.load_debug_registers(debug);
                }
            }
            Effect::Xcr0 => {
                if let Some(value) = self.domain().pc.as_ref().map(|pc| pc.cpu.xcr0) {
                    self.vcpu_mut().xcr0 = value;
                    self.machine.set_xcr0(value);
                }
            }
            Effect::TscAux => {
                if let Some(value) = self.domain().pc.as_ref().map(|pc| pc.cpu.tsc_aux) {
                    self.vcpu_mut().tsc_aux = value;
                    self.machine.set_tsc_aux(value);
                }
            }
            Effect::Bases => self.give_bases(),
            Effect::LoadSegment { segment, selector } => self.load_segment(segment, selector),
        }
    }

    /// Changes what the guest's addresses mean, and has the real processor run on the root of now.
    fn change_translation(&mut self, regs: &mut CpuUserRegs, what: impl FnOnce(&mut Running<'_, '_, M>)) {
        let _ = self.on_processor(regs, |processor, _| what(processor));
        let domain = self.domain();
        let root = domain.pc.as_ref().and_then(|pc| pc.root());
        self.machine.base_changed(domain.id, Mode::Kernel, root);
    }

    fn change_control(&mut self, regs: &mut CpuUserRegs, paging: bool, fpu: bool) {
        let Some(pc) = self.domain().pc.as_ref() else { return };
        let (now, cr0, cr4) = (controls(&pc.cpu), pc.cpu.cr0, pc.cpu.cr4);
        if paging {
            self.change_translation(regs, |processor| {
                let Linear { frames, shadow } = &mut *processor.mem;
                shadow
                    .set_controls(&*frames, now.write_protect, now.no_execute)
                    .discharge(frames.machine, frames.domain);
            });
        }
        if fpu {
            self.set_task_switched(cr0 & (cr0::TS | cr0::EM) != 0);
        }
        self.vcpu_mut().cr4 = cr4 & LIVE_CR4;
        self.machine.set_guest_cr4(cr4 & LIVE_CR4);
    }

    /// Gives the real processor the bases of FS and GS.
    fn give_bases(&mut self) {
        let Some(pc) = self.domain().pc.as_ref() else { return };
        let bases = [(SegmentBase::Fs, pc.cpu.fs_base), (SegmentBase::GsUser, pc.cpu.gs_base)];
        for (which, base) in bases {
            self.machine.set_segment_base(which, base);
        }
    }

    fn load_segment(&mut self, segment: Segment, selector: u16) {
        let mut selectors = self.machine.data_selectors();
        let index = match segment {
            Segment::Es => 1,
            Segment::Fs => 2,
            Segment::Gs => 3,
            Segment::Ds | Segment::Cs | Segment::Ss => 0,
        };
        selectors[index] = selector;
        self.load_pc_selectors(selectors);
        // Loading FS and GS changes their bases, also of the one that stays.
        self.give_bases();
    }

    /// Loads a PC's DS, ES, FS and GS. The kernel may have changed the descriptors since they were loaded: what the real
    /// processor cannot load any more becomes null. The return marks programs' code anew.
    pub(crate) fn load_pc_selectors(&mut self, selectors: [u16; 4]) {
        let Self { frames, machine, domains, here, .. } = self;
        let Some(Pc { gdt, gdt_frames, .. }) = domains[here.domain].pc.as_deref_mut() else { return };
        let mut real = RealDescriptors { frames, machine: &*machine, pages: *gdt_frames };
        gdt.set_user_code(&mut real, true);
        let loadable = selectors.map(|selector| if gdt.can_load(&real, selector) { selector } else { 0 });
        machine.load_data_selectors(loadable);
    }

    /// Makes an access to a port; what comes after it.
    fn access_port(&mut self, regs: &mut CpuUserRegs, access: PortAccess) -> Option<Outcome> {
        let now = self.now();
        let width = Width::of(access.width.into())?;
        let (port, input) = (access.port, access.direction == Direction::In);
        let (outcome, effect) = self.on_processor(regs, |processor, platform| {
            if input {
                let value = platform.read(port, width, now);
                return (processor.finish_port(access, value), platform::Effect::Nothing);
            }
            let effect = platform.write(port, width, access.value, now);
            (processor.finish_port(access, 0), effect)
        })?;
        let domain = self.current_domain();
        match effect {
            platform::Effect::Nothing => {}
            platform::Effect::Console(byte) => self.print_of(domain, &[byte], None),
            platform::Effect::Exit(value) => self.stop_domain(domain, ended(value)),
            platform::Effect::Reboot => self.stop_domain(domain, Shutdown::Reboot),
        }
        // The guest may have taken what was typed, and there is room for more.
        self.serve_console(domain);
        self.arm_platform(domain);
        Some(outcome)
    }

    /// Hands a PC what was typed, as far as its serial port takes it.
    pub(crate) fn type_to_pc(&mut self, index: usize) {
        let now = self.now();
        let Self { domains, typed, .. } = self;
        let Some(Pc { platform, .. }) = domains[index].pc.as_deref_mut() else { return };
        let count = typed.len().min(platform.room());
        if count == 0 {
            return;
        }
        typed.drain(..count).for_each(|byte| platform.type_byte(byte, now));
        self.interrupt_pc(index);
        self.arm_platform(index);
    }

    /// The time has come for a PC's board to be looked at. Called while timers are served, whose next is looked for
    /// afterwards.
    pub(crate) fn advance_pc(&mut self, index: usize, now: u64) {
        if let Some(pc) = self.domains[index].pc.as_deref_mut() {
            pc.platform.advance(now);
            self.interrupt_pc(index);
            self.set_platform_timer(index, now);
        }
    }

    /// Has a PC's processor look at its interrupts, if it takes any: one that halts without waits for good, and waking it for
    /// each would only have it halt again.
    fn interrupt_pc(&mut self, index: usize) {
        let pc = self.domains[index].pc.as_deref();
        if !pc.is_some_and(|pc| pc.cpu.interrupts && pc.platform.interrupt_pending()) {
            return;
        }
        if self.domains[index].vcpus[0].state == RunState::Blocked {
            self.unblock(index, 0);
        } else if let Some(cpu) = self.cpu_of(index, 0).filter(|cpu| *cpu != self.here.number) {
            self.machine.interrupt(cpu);
        }
    }

    /// Arms the timer for the next thing that a PC's board does by itself.
    pub(super) fn arm_platform(&mut self, index: usize) {
        let now = self.now();
        if self.set_platform_timer(index, now) {
            self.timers_changed(index, 0);
        }
    }

    /// Sets the vcpu's timer for it. Whether it is another than before.
    fn set_platform_timer(&mut self, index: usize, now: u64) -> bool {
        let domain = &mut self.domains[index];
        let Some(pc) = domain.pc.as_deref_mut() else { return false };
        let next = pc.platform.next_event(now);
        if next == pc.armed {
            return false;
        }
        pc.armed = next;
        match next {
            // In the past it cannot be: the board says when it is later than now.
            Some(at) => _ = domain.vcpus[0].timers.set_singleshot(at, now),
            None => domain.vcpus[0].timers.stop_singleshot(),
        }
        true
    }
}
