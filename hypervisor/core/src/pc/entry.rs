//! What the real processor reports while a PC runs: emulated, hidden, or the guest's own.

use paravane_abi::regs::CpuUserRegs;

use super::linear::{Frames, Linear};
use super::tables::RealDescriptors;
use super::{Answers, Pc};
use crate::addr::{PAGE_SHIFT, Pfn, VirtAddr};
use crate::crash::Reason;
use crate::debugreg::DR6_DEFAULT;
use crate::emulate::vector::{DEBUG, PAGE_FAULT, PROTECTION};
use crate::emulate::{self, DR6_SINGLE_STEP, Fault, MAX_LENGTH, NotEmulated, SegmentBases, flag};
use crate::full::{Event, GuestLinear, Outcome, Privilege, Processor, Trap};
use crate::guest::{EXIT_FAULT, VECTOR_SYSCALL, VECTOR_SYSCALL32};
use crate::hypervisor::Hypervisor;
use crate::machine::{Machine, SegmentBase};
use crate::platform::Platform;
use crate::shadow::{self, Physical, TracedWrite, Use};

/// Attempts at a compare-and-exchange before the guest is let run again.
const COMPARE_ATTEMPTS: usize = 8;

/// Writes to a page table since it was used as one, after which it is taken for a page that is none any more: a kernel that
/// clears a page writes 512 words.
const MOST_WRITES: u32 = 256;

/// The virtual processor of a PC with all it stands on.
pub(super) type Running<'p, 'a, M> = Processor<'p, Linear<'a, M>, RealDescriptors<'a, M>, Answers<'a, M>>;

impl<M: Machine> Hypervisor<M> {
    /// Does something with the running PC's processor. None when the domain is none, or has ended.
    pub(super) fn on_processor<R>(
        &mut self,
        regs: &mut CpuUserRegs,
        what: impl FnOnce(&mut Running<'_, '_, M>, &mut Platform) -> R,
    ) -> Option<R> {
        let Self { frames, machine, domains, here, .. } = self;
        let domain = &mut domains[here.domain];
        let Pc { memory, cpu, gdt, gdt_frames, patches, shadow, platform, .. } = &mut **domain.pc.as_mut()?;
        let (frames, machine, shadow) = (&*frames, &*machine, shadow.as_mut()?);
        let root = Some(shadow.root());
        let mut mem = Linear { frames: Frames { frames, machine, domain: domain.id, memory, root }, shadow };
        let mut real = RealDescriptors { frames, machine, pages: *gdt_frames };
        let host = Answers(machine);
        let mut processor =
            Processor { cpu, regs, mem: &mut mem, gdt, real: &mut real, host: &host, patches };
        Some(what(&mut processor, platform))
    }

    /// An exception, or a `syscall`, of a PC.
    pub(crate) fn pc_exception(&mut self, regs: &mut CpuUserRegs, address: u64) {
        self.take_bases();
        let stepped = self.end_step(regs);
        let vector = regs.entry_vector;
        let outcome = match vector {
            _ if vector & EXIT_FAULT != 0 => {
                // Whatever the guest did, what is returned to it can be returned to.
                let vector = (vector & !EXIT_FAULT) as u8;
                return self.crash(regs, Reason::Unexpected { vector, error_code: regs.error_code });
            }
            VECTOR_SYSCALL => self.on_processor(regs, |processor, _| processor.syscall(false)),
            VECTOR_SYSCALL32 => self.on_processor(regs, |processor, _| processor.syscall(true)),
            _ if vector == u32::from(PAGE_FAULT) => self.pc_page_fault(regs, address),
            _ => {
                let conditions = if vector == u32::from(DEBUG) { self.debug_conditions() } else { 0 };
                if vector == u32::from(DEBUG) && stepped && conditions == DR6_SINGLE_STEP {
                    return self.shadow_ends(regs);
                }
                let trap = Trap { vector: vector as u8, error_code: regs.error_code, address: 0, conditions };
                self.on_processor(regs, |processor, _| processor.exception(trap))
            }
        };
        self.noticed(regs, outcome);
    }

    /// What a #DB was raised for; the real processor's DR6 tells nothing of it any more.
    fn debug_conditions(&mut self) -> u32 {
        let conditions = self.machine.debug_status() ^ DR6_DEFAULT;
        self.machine.set_debug_register(6, DR6_DEFAULT);
        conditions as u32
    }

    /// Whether the real processor was made to step; the guest sees nothing of it.
    pub(super) fn end_step(&mut self, regs: &mut CpuUserRegs) -> bool {
        let Some(pc) = self.domain_mut().pc.as_deref_mut() else { return false };
        let stepped = core::mem::take(&mut pc.stepping);
        if stepped {
            regs.rflags &= !flag::TF;
        }
        stepped
    }

    /// The instruction behind `sti` has been executed.
    fn shadow_ends(&mut self, regs: &mut CpuUserRegs) {
        let outcome = self.on_processor(regs, |processor, _| {
            processor.entered();
            processor.cpu.shadow = None;
            Outcome::Resume
        });
        self.noticed(regs, outcome);
    }

    /// Does what an outcome asks for; the return need not look again at what was interrupted.
    fn noticed(&mut self, regs: &mut CpuUserRegs, outcome: Option<Outcome>) {
        if let Some(pc) = self.domain_mut().pc.as_mut() {
            pc.noticed = true;
        }
        if let Some(outcome) = outcome {
            self.follow(regs, outcome);
        }
    }

    /// The bases that the guest may have changed behind everybody's back, by loading a selector.
    fn take_bases(&mut self) {
        let [fs, gs] = [SegmentBase::Fs, SegmentBase::GsUser].map(|which| self.machine.segment_base(which));
        if let Some(pc) = self.domain_mut().pc.as_mut() {
            (pc.cpu.fs_base, pc.cpu.gs_base) = (fs, gs);
        }
    }

    /// A page fault on the shadow tables.
    fn pc_page_fault(&mut self, regs: &mut CpuUserRegs, address: u64) -> Option<Outcome> {
        let Some(page) = VirtAddr::new(address) else {
            // No processor reports such an address.
            return self
                .on_processor(regs, |processor, _| processor.deliver(Event::exception(Fault::PROTECTION)));
        };
        let error_code = regs.error_code;
        let usage = Use::from_error_code(error_code);
        self.on_processor(regs, |processor, _| {
            processor.entered();
            let Linear { frames, shadow } = &mut *processor.mem;
            let shadow::Answer { outcome, flush } = shadow.fault(&*frames, page, usage);
            flush.discharge(frames.machine, frames.domain);
            let fault = |code: u32| Event::exception(Fault::page(address, code));
            match outcome {
                shadow::Outcome::Retry => Outcome::Resume,
                shadow::Outcome::Fault(code) => processor.deliver(fault(code)),
                shadow::Outcome::TracedWrite(write) => table_write(processor, address, &write),
                // There is no device with registers in memory, and no memory: a bus error, which PCs have none of.
                shadow::Outcome::Mmio(_) => processor.deliver(Event::exception(Fault {
                    vector: PROTECTION,
                    error_code: Some(0),
                    address: None,
                })),
                // As where nothing is mapped.
                shadow::Outcome::Reserved => {
                    processor.deliver(fault(error_code & !crate::guest_memory::Fault::PRESENT))
                }
            }
        })
    }
}

/// Emulates a write to a page table of the guest's; one by an instruction that is not known is let through unseen.
fn table_write<M: Machine>(
    processor: &mut Running<'_, '_, M>,
    address: u64,
    traced: &TracedWrite,
) -> Outcome {
    let untraced = |processor: &mut Running<'_, '_, M>| {
        let Linear { frames, shadow } = &mut *processor.mem;
        let flush = shadow.untrace(&*frames, Pfn::new(traced.address >> PAGE_SHIFT));
        flush.discharge(frames.machine, frames.domain);
        Outcome::Resume
    };
    if traced.writes >= MOST_WRITES {
        return untraced(processor);
    }
    let mut buffer = [0; MAX_LENGTH];
    let rip = processor.regs.rip;
    let bytes = match processor.mem.fetch(rip, &mut buffer, Privilege::Supervisor) {
        Ok(count) => &buffer[..count],
        Err(fault) => return processor.deliver(Event::exception(fault.into())),
    };
    let bases = SegmentBases { fs: processor.cpu.fs_base, gs: processor.cpu.gs_base };
    let write = match emulate::page_table_write(bytes, processor.regs, address, bases) {
        Ok(write) => write,
        Err(NotEmulated::Fetch(fault)) => return processor.deliver(Event::exception(fault)),
        Err(NotEmulated::Unhandled) => return untraced(processor),
    };
    let place = traced.address & !7;
    for _ in 0..COMPARE_ATTEMPTS {
        let Linear { frames, shadow } = &mut *processor.mem;
        let Some(old) = frames.read(place) else { break };
        let new = write.apply(old);
        if frames.compare_exchange(place, old, new) {
            let flush = shadow.guest_wrote(&*frames, place, old, new);
            flush.discharge(frames.machine, frames.domain);
            processor.cpu.pending_debug |= write.commit(processor.regs, old);
            break;
        }
    }
    Outcome::Resume
}
