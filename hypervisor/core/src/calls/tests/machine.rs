//! The fake machine with a processor that remembers what it was told, and memory that remembers what it
//! held.

use crate::addr::{DomainId, ENTRIES, Mfn, Pfn};
use crate::descriptor::bits::{CODE, PRESENT, SEGMENT, WRITABLE};
use crate::descriptor::{Gate, USER_CS32, USER_CS64, dpl};
use crate::emulate::Mode;
use crate::fake_machine::FakeMachine;
use crate::flush::{Flush, RootChange, Tlb};
use crate::fpu::{self, FpuState, XState};
use crate::machine::{GUEST_GDT_PAGES, Live, Processor, SegmentBase};
use crate::memory::{FrameWriter, Memory};
use crate::pagetable::Ldt;
use core::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::vec::Vec;

/// What the processor was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub kernel_stack: u64,
    pub syscall_entry: Option<u64>,
    pub gates: BTreeMap<u8, Gate>,
    pub hypervisor_shown: bool,
    pub gdt: [Option<Mfn>; GUEST_GDT_PAGES],
    pub user_code_hidden: bool,
    pub bases: [u64; 3],
    pub user_gs: u16,
    pub task_switched: bool,
    pub debug: [u64; 8],
    pub armed: Option<u64>,
    pub output: Vec<u8>,
    pub running: Option<(DomainId, u32)>,
    pub selectors: [u16; 4],
    pub tsc_aux: u32,
    pub user_rsp: u64,
    pub live: Live,
    pub xcr0: u64,
    pub cr4: u64,
}

/// The machine.
pub(super) struct TestMachine {
    pub fake: FakeMachine,
    /// Processors, of which each has its caches in `fake`; that may have more.
    processors: usize,
    processor: usize,
    pub told: Told,
    /// What the others were told; the running one's place holds nothing.
    others: Vec<Told>,
    /// Processors that were interrupted, and have not been looked at since.
    pub interrupted: RefCell<BTreeSet<usize>>,
    /// Nanoseconds.
    pub now: u64,
    /// DR6 as a trap left it.
    pub debug_status: u64,
    pub input: VecDeque<u8>,
    pub fpu: FpuState,
    /// Frames written since [`Self::mark`], as they were then; of what was before the first, nothing is kept.
    before: RefCell<Option<BTreeMap<Mfn, Vec<u64>>>>,
}

/// A word that is another than it was: frame, index, was, is.
pub(super) type Change = (Mfn, usize, u64, u64);

impl TestMachine {
    pub fn new(fake: FakeMachine, processors: usize) -> Self {
        let before = RefCell::default();
        let others = (0..processors).map(|_| Told::default()).collect();
        let (told, input) = (Told::default(), VecDeque::new());
        Self {
            fake,
            processors,
            processor: 0,
            told,
            others,
            interrupted: RefCell::default(),
            now: 1_000_000,
            debug_status: crate::debugreg::DR6_DEFAULT,
            input,
            fpu: XState::detect(cpuid).initial(),
            before,
        }
    }

    /// Goes on as another processor.
    pub fn switch_to(&mut self, cpu: usize) {
        self.interrupted.borrow_mut().remove(&cpu);
        if cpu == self.processor {
            return;
        }
        let left = core::mem::replace(&mut self.processor, cpu);
        self.fake.switch_to(cpu);
        let arriving = core::mem::take(&mut self.others[cpu]);
        self.others[left] = core::mem::replace(&mut self.told, arriving);
    }

    /// Forgets earlier writes.
    pub fn mark(&self) {
        self.before.replace(Some(BTreeMap::new()));
    }

    /// What memory holds other than at the mark.
    pub fn changes(&self) -> Vec<Change> {
        let now = |frame, index| self.fake.read_word(frame, index);
        let before = self.before.borrow();
        let frames = before.iter().flatten();
        let words = frames.flat_map(|(frame, words)| words.iter().enumerate().map(move |w| (*frame, w)));
        words
            .map(|(frame, (index, was))| (frame, index, *was, now(frame, index)))
            .filter(|(.., was, is)| was != is)
            .collect()
    }

    fn keep(&self, frame: Mfn) {
        if let Some(before) = &mut *self.before.borrow_mut() {
            before.entry(frame).or_insert_with(|| self.fake.snapshot(frame));
        }
    }
}

impl Memory for TestMachine {
    fn read_word(&self, frame: Mfn, index: usize) -> u64 {
        self.fake.read_word(frame, index)
    }

    fn read_bytes(&self, frame: Mfn, offset: usize, bytes: &mut [u8]) {
        self.fake.read_bytes(frame, offset, bytes);
    }

    fn write_word(&self, frame: &FrameWriter<'_>, index: usize, value: u64) {
        self.keep(frame.frame());
        self.fake.write_word(frame, index, value);
    }

    fn compare_exchange_word(
        &self,
        frame: &FrameWriter<'_>,
        index: usize,
        expected: u64,
        new: u64,
    ) -> Result<(), u64> {
        self.keep(frame.frame());
        self.fake.compare_exchange_word(frame, index, expected, new)
    }

    fn compare_exchange_half(
        &self,
        frame: &FrameWriter<'_>,
        index: usize,
        expected: u32,
        new: u32,
    ) -> Result<(), u32> {
        self.keep(frame.frame());
        self.fake.compare_exchange_half(frame, index, expected, new)
    }

    fn set_bits(&self, frame: &FrameWriter<'_>, index: usize, bits: u64) -> u64 {
        self.keep(frame.frame());
        self.fake.set_bits(frame, index, bits)
    }

    fn clear_bits(&self, frame: &FrameWriter<'_>, index: usize, bits: u64) -> u64 {
        self.keep(frame.frame());
        self.fake.clear_bits(frame, index, bits)
    }

    fn copy_bytes(
        &self,
        to: &FrameWriter<'_>,
        to_offset: usize,
        from: Mfn,
        from_offset: usize,
        length: usize,
    ) {
        self.keep(to.frame());
        self.fake.copy_bytes(to, to_offset, from, from_offset, length);
    }

    fn write_bytes(&self, frame: &FrameWriter<'_>, offset: usize, bytes: &[u8]) {
        self.keep(frame.frame());
        self.fake.write_bytes(frame, offset, bytes);
    }

    fn zero(&self, frame: &FrameWriter<'_>) {
        self.keep(frame.frame());
        self.fake.zero(frame);
    }

    fn copy_frame(&self, to: &FrameWriter<'_>, from: Mfn) {
        self.keep(to.frame());
        self.fake.copy_frame(to, from);
    }

    fn m2p(&self, frame: Mfn) -> Pfn {
        self.fake.m2p(frame)
    }

    fn set_m2p(&self, frame: Mfn, pfn: Pfn) {
        self.fake.set_m2p(frame, pfn);
    }

    fn m2p_extent(&self, extent: u64) -> Mfn {
        self.fake.m2p_extent(extent)
    }
}

impl Tlb for TestMachine {
    fn flush_clock(&self) -> u64 {
        self.fake.flush_clock()
    }

    fn flush_stale(&self, stamp: u64) {
        self.fake.flush_stale(stamp);
    }

    fn flush(&self, domain: DomainId, flush: Flush) {
        self.fake.flush(domain, flush);
    }

    fn root_changed(&self, domain: DomainId, change: RootChange) {
        self.fake.root_changed(domain, change);
    }

    fn base_changed(&self, domain: DomainId, half: Mode, l4: Option<Mfn>) {
        self.fake.base_changed(domain, half, l4);
    }

    fn ldt_changed(&self, ldt: &Ldt) {
        self.fake.ldt_changed(ldt);
    }
}

fn base_index(which: SegmentBase) -> usize {
    match which {
        SegmentBase::Fs => 0,
        SegmentBase::GsUser => 1,
        SegmentBase::GsKernel => 2,
    }
}

impl Processor for TestMachine {
    fn cpus(&self) -> usize {
        self.processors
    }

    fn this_cpu(&self) -> usize {
        self.processor
    }

    fn interrupt(&self, cpu: usize) {
        assert!(cpu < self.cpus() && cpu != self.this_cpu());
        self.interrupted.borrow_mut().insert(cpu);
    }

    fn set_live(&mut self, live: Live) {
        self.told.live = live;
    }

    fn set_running(&mut self, vcpu: Option<(DomainId, u32)>) {
        self.told.running = vcpu;
        self.fake.set_away(vcpu.is_none());
    }

    fn save_fpu(&mut self, state: &mut FpuState) {
        assert!(!self.told.task_switched, "xsave with TS set is #NM in ring 0");
        state.bytes_mut().copy_from_slice(self.fpu.bytes());
    }

    fn load_fpu(&mut self, state: &FpuState, xcr0: u64) {
        assert!(!self.told.task_switched, "xrstor with TS set is #NM in ring 0");
        let (header, bits) = (&state.bytes()[fpu::LEGACY_SIZE..fpu::MIN_SIZE], XState::detect(cpuid).mask);
        assert!(u64::from(header[0]) & !bits == 0 && header[1..] == [0; 63], "xrstor faults");
        let mxcsr = state.bytes()[24..28].try_into().expect("four bytes");
        assert_eq!(u32::from_le_bytes(mxcsr) & !state.mxcsr_mask(), 0, "xrstor faults");
        self.fpu = state.clone();
        self.set_xcr0(xcr0);
    }

    fn set_xcr0(&mut self, xcr0: u64) {
        let bits = XState::detect(cpuid).mask;
        assert!(fpu::valid_xcr0(xcr0) && xcr0 & !bits == 0, "xsetbv of {xcr0:#x} faults");
        self.told.xcr0 = xcr0;
    }

    fn set_guest_cr4(&mut self, value: u64) {
        self.told.cr4 = value & (1 << 2 | 1 << 16);
    }

    fn data_selectors(&self) -> [u16; 4] {
        self.told.selectors
    }

    fn load_data_selectors(&mut self, selectors: [u16; 4]) {
        for selector in selectors.into_iter().filter(|selector| selector & 4 == 0 && *selector > 3) {
            let index = usize::from(selector >> 3);
            if let Some(Some(frame)) = self.told.gdt.get(index / ENTRIES) {
                let raw = self.read_word(*frame, index % ENTRIES);
                let readable =
                    raw & (SEGMENT | PRESENT) == SEGMENT | PRESENT && raw & (CODE | WRITABLE) != CODE;
                assert!(readable && dpl(raw) >= selector & 3, "mov ds of {selector:#x} faults: {raw:#x}");
            }
        }
        self.told.selectors = selectors;
    }

    fn set_tsc_aux(&mut self, value: u32) {
        self.told.tsc_aux = value;
    }

    fn user_rsp(&self) -> u64 {
        self.told.user_rsp
    }

    fn set_user_rsp(&mut self, rsp: u64) {
        self.told.user_rsp = rsp;
    }

    fn flushes(&self) -> [u64; 2] {
        [0; 2]
    }

    fn set_kernel_stack(&mut self, pointer: u64) {
        self.told.kernel_stack = pointer;
    }

    fn set_syscall_entry(&mut self, entry: Option<u64>) {
        self.told.syscall_entry = entry;
    }

    fn set_direct_gate(&mut self, vector: u8, gate: Option<Gate>) {
        match gate {
            Some(gate) => self.told.gates.insert(vector, gate),
            None => self.told.gates.remove(&vector),
        };
    }

    fn show_hypervisor(&mut self, shown: bool) {
        self.told.hypervisor_shown = shown;
    }

    fn show_gdt(&mut self, frames: &[Option<Mfn>; GUEST_GDT_PAGES]) {
        self.told.gdt = *frames;
    }

    fn set_user_code_present(&mut self, present: bool) {
        self.told.user_code_hidden = !present;
    }

    fn set_segment_base(&mut self, which: SegmentBase, base: u64) {
        // WRMSR of another address is a fault in ring 0.
        assert!(crate::addr::VirtAddr::is_canonical(base), "{which:?} {base:#x}");
        self.told.bases[base_index(which)] = base;
    }

    fn segment_base(&self, which: SegmentBase) -> u64 {
        self.told.bases[base_index(which)]
    }

    fn load_user_gs(&mut self, selector: u16) {
        let code = matches!(selector, USER_CS32 | USER_CS64);
        assert!(!code || !self.told.user_code_hidden, "{selector:#x} is not present: #NP in ring 0");
        self.told.user_gs = selector;
    }

    fn set_task_switched(&mut self, set: bool) {
        self.told.task_switched = set;
    }

    fn set_debug_register(&mut self, index: u8, value: u64) {
        // MOV to DR6 or DR7 with upper bits set is a fault in ring 0, and 4 and 5 may not exist.
        assert!(
            matches!(index, 0..=3) || (matches!(index, 6 | 7) && value >> 32 == 0),
            "DR{index} {value:#x}"
        );
        self.told.debug[usize::from(index)] = value;
    }

    fn debug_status(&self) -> u64 {
        self.debug_status
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        cpuid(leaf, subleaf)
    }

    fn microcode(&self) -> u64 {
        0x1234
    }

    fn tsc(&self) -> u64 {
        self.now
    }

    fn arm_timer(&mut self, nanoseconds: Option<u64>) {
        self.told.armed = nanoseconds;
    }

    fn console_write(&mut self, bytes: &[u8]) {
        self.told.output.extend_from_slice(bytes);
    }

    fn console_lines(&mut self, lines: &[u8]) {
        self.told.output.extend_from_slice(lines);
    }

    fn console_read(&mut self) -> Option<u8> {
        self.input.pop_front()
    }
}

/// An AMD processor with x87, SSE and AVX state, and FSGSBASE.
fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    match (leaf, subleaf) {
        (0, _) => [0xd, u32::from_le_bytes(*b"Auth"), 0, 0],
        (1, _) => [0, 0, 1 << 26 | 1 << 28, 0],
        (7, 0) => [0, 1, 0, 0],
        (0xd, 0) => [7, 0, 0, 0],
        (0xd, 2) => [256, 576, 0, 0],
        (0x8000_0000, _) => [0x8000_0008, 0, 0, 0],
        (0x8000_0001, _) => [0, 0, 0, 1 << 27],
        (0x8000_0008, _) => [40, 0, 0, 0],
        _ => [0; 4],
    }
}
