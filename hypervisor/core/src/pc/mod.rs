//! Domains that believe themselves on a PC: full virtualization by trap and emulation. Their kernel was written for ring 0
//! and runs in ring 1; what it does with the processor traps and is done to a virtual one.
//!
//! The parts know nothing of domains: [`full`](crate::full) is the virtual processor, [`shadow`](crate::shadow) its page
//! tables, [`platform`](crate::platform) the board. Here they are joined, and joined to the rest of the hypervisor:
//! [`entry`] takes what the real processor reports, [`effects`] does what the virtual one asks for, [`resume`] prepares the
//! return; [`patching`] replaces what would not trap, before the guest starts; [`tables`] has the frames that only the real
//! processor looks at, [`linear`] the guest's view of its memory.

mod effects;
mod entry;
mod linear;
mod memory;
mod patching;
mod resume;
mod tables;

use alloc::vec::Vec;

use paravane_abi::regs::CpuUserRegs;

use crate::addr::{Mfn, PAGE_SHIFT};
use crate::build::PcStart;
use crate::cpuid::CpuidLeaf;
use crate::domain::Vcpu;
use crate::flush::Tlb;
use crate::frame::FrameTable;
use crate::full::{FullCpu, GdtCopy, Host, Model, PatchTable};
use crate::hypervisor::Hypervisor;
use crate::machine::{GUEST_GDT_PAGES, Machine};
use crate::memory::Memory;
use crate::platform::Platform;
use crate::shadow::{Controls, Pool, Shadow};

pub(crate) use memory::PcMemory;
pub(crate) use patching::Patching;
use tables::ShadowFrames;

/// Frames for shadow tables: a guest of a few processes needs about a hundred.
const SHADOW_FRAMES: usize = 512;
/// Guest frames that shadows are remembered of.
const SHADOW_RECORDS: usize = 16 << 10;
/// Bits of a physical address that a guest is offered.
const ADDRESS_BITS: u32 = 40;

/// Frames of the hypervisor's that a PC needs beside its memory.
pub(crate) const FRAMES: u64 = (SHADOW_FRAMES + GUEST_GDT_PAGES) as u64;

/// Bytes of heap that a PC takes, with an eighth for what cannot be filled. They are set aside when the hypervisor starts,
/// since nobody can ask a PC to do with less.
pub(crate) const HEAP_BYTES: u64 = (Pool::heap_bytes(SHADOW_FRAMES, SHADOW_RECORDS) as u64) * 9 / 8;

/// What a domain has that is a PC.
#[derive(Debug)]
pub(crate) struct Pc {
    /// Its memory.
    pub(crate) memory: PcMemory,
    /// The virtual processor's registers, but those that the real one has while it runs.
    cpu: FullCpu,
    /// What is known of the descriptors that the real processor uses.
    gdt: GdtCopy,
    /// The frames that hold them.
    gdt_frames: [Mfn; GUEST_GDT_PAGES],
    /// Sites at which its code was replaced.
    patches: PatchTable,
    /// Its page tables as the real processor walks them. None before it is ready, and after it has ended.
    shadow: Option<Shadow>,
    platform: Platform,
    /// When the board is to be looked at next.
    armed: Option<u64>,
    /// The processor knows of the entry that is being handled.
    noticed: bool,
    /// The real processor steps over the instruction behind `sti`, so that what waits for its end is delivered then.
    stepping: bool,
}

/// The real processor's answers.
struct Answers<'a, M>(&'a M);

impl<M: Machine> Host for Answers<'_, M> {
    fn tsc(&self) -> u64 {
        self.0.tsc()
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidLeaf {
        let [eax, ebx, ecx, edx] = self.0.cpuid(leaf, subleaf);
        CpuidLeaf { eax, ebx, ecx, edx }
    }
}

/// The machine's part of what a PC is made of.
#[derive(Debug)]
pub(crate) struct PcFrames {
    gdt: [Mfn; GUEST_GDT_PAGES],
    pool: Vec<Mfn>,
}

impl PcFrames {
    /// Takes them. None when there are too few; then none is taken.
    pub(crate) fn take<M: Memory + Tlb>(frames: &mut FrameTable, machine: &M) -> Option<Self> {
        let mut taken = Vec::with_capacity(FRAMES as usize);
        while taken.len() < FRAMES as usize {
            let Some(frame) = frames.alloc_hypervisor(machine) else {
                give_back(frames, machine, taken);
                return None;
            };
            if let Some(writer) = frames.hypervisor_writer(frame) {
                machine.zero(&writer);
            }
            taken.push(frame);
        }
        let gdt = core::array::from_fn(|page| taken[page]);
        taken.drain(..GUEST_GDT_PAGES);
        Some(Self { gdt, pool: taken })
    }
}

fn give_back<M: Memory + Tlb>(frames: &mut FrameTable, machine: &M, given: impl IntoIterator<Item = Mfn>) {
    for frame in given {
        frames.free_hypervisor(machine, frame);
    }
}

impl Pc {
    /// A PC that starts as `start` says, its first vcpu with it. `seed` is something that no guest knows, `wall_clock` the
    /// nanoseconds since 1970.
    pub(crate) fn new<M: Machine>(
        (frames, machine): (&FrameTable, &M),
        (memory, patches): (PcMemory, PatchTable),
        PcFrames { gdt, pool }: PcFrames,
        (start, model): (&PcStart, Model),
        (seed, wall_clock): (u64, u64),
        vcpu: &mut Vcpu,
    ) -> Self {
        let (cpu, regs) = FullCpu::start(model, start.cr3, start.entry, start.start_info);
        vcpu.regs = CpuUserRegs { rsp: 0, ..regs };
        let tables = ShadowFrames { frames, machine, root: None };
        let pool = Pool { frames: pool, records: SHADOW_RECORDS, seed };
        // The per-processor roots have the hypervisor's slots; what is copied into them needs none.
        let shadow = Shadow::new(&tables, pool, [0; 16], controls(&cpu), cpu.cr3).ok();
        let platform = Platform::new(memory.len() << PAGE_SHIFT, wall_clock);
        Self {
            memory,
            cpu,
            gdt: GdtCopy::default(),
            gdt_frames: gdt,
            patches,
            shadow,
            platform,
            armed: None,
            noticed: false,
            stepping: false,
        }
    }

    /// The table that the real processor runs on.
    pub(crate) fn root(&self) -> Option<Mfn> {
        self.shadow.as_ref().map(Shadow::root)
    }

    /// The frames of the descriptors that the real processor uses.
    pub(crate) fn gdt_frames(&self) -> [Option<Mfn>; GUEST_GDT_PAGES] {
        self.gdt_frames.map(Some)
    }
}

/// What the control registers say about translation.
fn controls(cpu: &FullCpu) -> Controls {
    use crate::full::{cr0, efer};
    Controls {
        write_protect: cpu.cr0 & cr0::WP != 0,
        no_execute: cpu.efer & efer::NXE != 0,
        huge_pages: false,
        address_bits: ADDRESS_BITS,
    }
}

impl<M: Machine> Hypervisor<M> {
    /// What a PC's processor has. CPUID tells of no less than the real one has, since it does not trap.
    pub(crate) fn pc_model(&self) -> Model {
        use crate::full::cr4;
        let mut model = Model { xcr0: self.processor.xstate.mask, ..Model::default() };
        model.vendor = self.processor.vendor;
        model.tsc_aux = self.processor.has_tsc_aux;
        model.microcode = self.processor.microcode;
        if !self.processor.has_fsgsbase {
            model.cr4 &= !cr4::FSGSBASE;
        }
        if !self.processor.has_umip {
            model.cr4 &= !cr4::UMIP;
        }
        if model.xcr0 != 0 {
            model.cr4 |= cr4::OSXSAVE;
        }
        model
    }

    /// Whether the running domain is a PC.
    #[inline]
    pub(crate) fn on_pc(&self) -> bool {
        self.here.pc
    }

    /// Gives up what a domain has as a PC, in bounded steps. Whether all is.
    pub(crate) fn drop_pc(&mut self, index: usize) -> bool {
        let Self { frames, machine, domains, .. } = self;
        let Some(pc) = domains[index].pc.as_mut() else { return true };
        if let Some(shadow) = pc.shadow.take() {
            give_back(frames, machine, shadow.release().into_iter().chain(pc.gdt_frames));
            return false;
        }
        pc.memory.release(frames, machine)
    }
}
