//! The real machine behind `core`'s traits: frames through the direct map, this processor's tables and
//! registers, the clock and the serial port.

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use paravane_core::addr::{
    DomainId, ENTRIES, Mfn, PAGE_SIZE, Pfn, RESERVED_FIRST_SLOT, RESERVED_LAST_SLOT, is_reserved_slot,
};
use paravane_core::descriptor::{Gate, USER_CODE_ENTRIES, set_user_code_present};
use paravane_core::flush::{Flush, FlushWhat, RootChange, Tlb};
use paravane_core::machine::{FpuState, GUEST_GDT_PAGES, Processor, SegmentBase};
use paravane_core::memory::{FrameWriter, Memory};
use x86_64::registers::control::{Cr0, Cr0Flags};
use x86_64::registers::debug::Dr6;

use crate::clock;
use crate::cpu::msr;
use crate::device::serial::COM1_PORT;
use crate::direct_map;
use crate::entry::area::EntryArea;
use crate::entry::{syscall_entry, syscall_refused};

/// One processor with the memory of the machine.
pub struct Hardware {
    /// One past the last frame of RAM.
    end: Mfn,
    /// Physical address of the machine-to-physical table.
    m2p: u64,
    /// Physical address of the table that guests run on: a copy of the current guest's L4 with the
    /// hypervisor's slots (invariant 1).
    guest_root: u64,
    /// The guest L4 that `guest_root` is a copy of.
    loaded: Cell<Option<Mfn>>,
    area: UnsafeCell<EntryArea>,
    user_code_present: Cell<bool>,
    flush_clock: AtomicU64,
    /// Flushes made: of everything, of one page.
    flushes: [Cell<u64>; 2],
}

// SAFETY: every use is under the hypervisor's lock, on the one processor this value describes.
unsafe impl Send for Hardware {}

impl Hardware {
    /// Takes over what boot has laid out. `guest_root` must hold the hypervisor's slots already.
    pub fn new(end: Mfn, m2p: u64, guest_root: u64, area: EntryArea) -> Self {
        Self {
            end,
            m2p,
            guest_root,
            loaded: Cell::new(None),
            area: UnsafeCell::new(area),
            user_code_present: Cell::new(true),
            flush_clock: AtomicU64::new(1),
            flushes: [Cell::new(0), Cell::new(0)],
        }
    }

    fn area(&mut self) -> &mut EntryArea {
        self.area.get_mut()
    }

    fn word(&self, frame: Mfn, index: usize) -> &AtomicU64 {
        assert!(frame < self.end && index < ENTRIES, "word {index} of {frame}");
        // SAFETY: a word of RAM in the direct map; guests and page walkers may change it at any time, which
        // is why it is only ever seen as an atomic.
        unsafe { &*direct_map::pointer::<AtomicU64>(frame.address() + index as u64 * 8) }
    }

    fn half(&self, frame: Mfn, index: usize) -> &AtomicU32 {
        assert!(frame < self.end && index < 2 * ENTRIES, "half word {index} of {frame}");
        // SAFETY: as in `word`; x86 keeps accesses of different widths to the same bytes atomic (SDM vol. 3,
        // 9.1.1 and 9.1.2.2).
        unsafe { &*direct_map::pointer::<AtomicU32>(frame.address() + index as u64 * 4) }
    }

    fn bytes(&self, frame: Mfn, offset: usize, length: usize) -> *mut u8 {
        assert!(
            frame < self.end && offset <= PAGE_SIZE && length <= PAGE_SIZE - offset,
            "{offset} of {frame}"
        );
        direct_map::pointer::<u8>(frame.address() + offset as u64)
    }

    /// Books a flush. A complete one moves the clock: frames stamped before it may be used anew.
    #[inline]
    fn count_flush(&self, what: FlushWhat) {
        let counter = match what {
            FlushWhat::Nothing => return,
            FlushWhat::All => {
                self.flush_clock.fetch_add(1, Ordering::Relaxed);
                &self.flushes[0]
            }
            FlushWhat::Page(_) => &self.flushes[1],
        };
        counter.set(counter.get() + 1);
    }

    fn root_word(&self, slot: usize) -> *mut u64 {
        assert!(slot < ENTRIES, "L4 slot {slot}");
        direct_map::pointer::<u64>(self.guest_root + slot as u64 * 8)
    }
}

impl Memory for Hardware {
    #[inline]
    fn read_word(&self, frame: Mfn, index: usize) -> u64 {
        self.word(frame, index).load(Ordering::Relaxed)
    }

    #[inline]
    fn read_bytes(&self, frame: Mfn, offset: usize, bytes: &mut [u8]) {
        let from = self.bytes(frame, offset, bytes.len());
        // SAFETY: both sides are checked to be in bounds and are not the same memory: `bytes` is the
        // hypervisor's. A guest that writes meanwhile makes the copy a mixture, which callers expect.
        unsafe { core::ptr::copy_nonoverlapping(from.cast_const(), bytes.as_mut_ptr(), bytes.len()) }
    }

    #[inline]
    fn write_word(&self, frame: &FrameWriter<'_>, index: usize, value: u64) {
        self.word(frame.frame(), index).store(value, Ordering::Relaxed);
    }

    #[inline]
    fn compare_exchange_word(
        &self,
        frame: &FrameWriter<'_>,
        index: usize,
        expected: u64,
        new: u64,
    ) -> Result<(), u64> {
        self.word(frame.frame(), index)
            .compare_exchange(expected, new, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
    }

    #[inline]
    fn compare_exchange_half(
        &self,
        frame: &FrameWriter<'_>,
        index: usize,
        expected: u32,
        new: u32,
    ) -> Result<(), u32> {
        self.half(frame.frame(), index)
            .compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst)
            .map(|_| ())
    }

    #[inline]
    fn set_bits(&self, frame: &FrameWriter<'_>, index: usize, bits: u64) -> u64 {
        self.word(frame.frame(), index).fetch_or(bits, Ordering::SeqCst)
    }

    #[inline]
    fn clear_bits(&self, frame: &FrameWriter<'_>, index: usize, bits: u64) -> u64 {
        self.word(frame.frame(), index).fetch_and(!bits, Ordering::SeqCst)
    }

    fn copy_bytes(
        &self,
        to: &FrameWriter<'_>,
        to_offset: usize,
        from: Mfn,
        from_offset: usize,
        length: usize,
    ) {
        let from = self.bytes(from, from_offset, length);
        let to = self.bytes(to.frame(), to_offset, length);
        // SAFETY: both sides are checked to be in bounds, and may overlap; the writer proves that the frame may
        // be written. A guest that writes meanwhile makes the copy a mixture, which is that guest's affair.
        unsafe { core::ptr::copy(from.cast_const(), to, length) }
    }

    #[inline]
    fn write_bytes(&self, frame: &FrameWriter<'_>, offset: usize, bytes: &[u8]) {
        let to = self.bytes(frame.frame(), offset, bytes.len());
        // SAFETY: as in `read_bytes`; the writer proves that the frame may be written.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
    }

    fn zero(&self, frame: &FrameWriter<'_>) {
        // SAFETY: as in `write_bytes`.
        unsafe { self.bytes(frame.frame(), 0, PAGE_SIZE).write_bytes(0, PAGE_SIZE) }
    }

    fn copy_frame(&self, to: &FrameWriter<'_>, from: Mfn) {
        let (from, to) = (self.bytes(from, 0, PAGE_SIZE), self.bytes(to.frame(), 0, PAGE_SIZE));
        // SAFETY: as in `write_bytes`; the frames may be the same one.
        unsafe { core::ptr::copy(from.cast_const(), to, PAGE_SIZE) }
    }

    fn m2p(&self, frame: Mfn) -> Pfn {
        assert!(frame < self.end, "M2P entry of {frame}");
        // SAFETY: the table has an entry for every frame below `end`.
        Pfn::new(unsafe { direct_map::pointer::<u64>(self.m2p).add(frame.index()).read_volatile() })
    }

    fn set_m2p(&self, frame: Mfn, pfn: Pfn) {
        assert!(frame < self.end, "M2P entry of {frame}");
        // SAFETY: as in `m2p`.
        unsafe { direct_map::pointer::<u64>(self.m2p).add(frame.index()).write_volatile(pfn.get()) }
    }
}

/// A processor in the hypervisor holds no translation of an isolated guest: entry loaded CR3, which drops them
/// all since none is global and no PCID is used, and the exit loads CR3 again. So on one processor every flush
/// is done by the time it could matter, and what is left to do is to keep the root's copy right.
impl Tlb for Hardware {
    fn flush_clock(&self) -> u64 {
        self.flush_clock.load(Ordering::Relaxed)
    }

    /// The entry's CR3 load was a complete flush, and no guest has run since: nothing can be stale.
    fn flush_stale(&self, _stamp: u64) {}

    fn flush(&self, _domain: DomainId, flush: Flush) {
        self.count_flush(flush.what);
    }

    fn root_changed(&self, _domain: DomainId, change: RootChange) {
        if self.loaded.get() == Some(change.l4) && !is_reserved_slot(change.slot) {
            // SAFETY: a slot of this processor's own root, which nobody walks while ring 0 runs on its own.
            unsafe { self.root_word(change.slot).write_volatile(change.entry) };
        }
    }

    fn base_changed(&self, _domain: DomainId, kernel: Option<Mfn>, _user: Option<Mfn>) {
        if self.loaded.replace(kernel) == kernel {
            return;
        }
        for slots in [0..RESERVED_FIRST_SLOT, RESERVED_LAST_SLOT + 1..ENTRIES] {
            let to = self.root_word(slots.start);
            // SAFETY: as in `root_changed`; the L4 is RAM, and the processor's changes to its A bits meanwhile
            // make no difference to which tables it names.
            unsafe {
                match kernel {
                    Some(l4) => {
                        let from = self.bytes(l4, slots.start * 8, slots.len() * 8).cast::<u64>();
                        core::ptr::copy_nonoverlapping(from.cast_const(), to, slots.len());
                    }
                    None => to.write_bytes(0, slots.len()),
                }
            }
        }
    }
}

impl Processor for Hardware {
    fn cpus(&self) -> usize {
        1
    }

    fn this_cpu(&self) -> usize {
        0
    }

    /// There is no other processor.
    fn interrupt(&self, _cpu: usize) {}

    fn set_running(&mut self, _vcpu: Option<(DomainId, u32)>) {}

    fn save_fpu(&mut self, state: &mut FpuState) {
        crate::cpu::save_fpu(state);
    }

    fn load_fpu(&mut self, state: &FpuState) {
        crate::cpu::load_fpu(state);
    }

    fn data_selectors(&self) -> [u16; 4] {
        crate::cpu::data_selectors()
    }

    fn load_data_selectors(&mut self, selectors: [u16; 4]) {
        crate::cpu::load_data_selectors(selectors);
    }

    fn set_tsc_aux(&mut self, value: u32) {
        if crate::cpu::has_tsc_aux() {
            msr::write(msr::TSC_AUX, u64::from(value));
        }
    }

    fn set_kernel_stack(&mut self, pointer: u64) {
        let cpu = self.area().cpu();
        cpu.syscall_frame[3] = pointer;
        cpu.tss.rsp = [cpu.tss.rsp[0], pointer, 0];
    }

    fn set_syscall_entry(&mut self, entry: Option<u64>) {
        let target = match entry {
            Some(entry) => {
                self.area().cpu().syscall_frame[0] = entry;
                &raw const syscall_entry
            }
            None => &raw const syscall_refused,
        };
        msr::write(msr::LSTAR, target as u64);
    }

    fn set_direct_gate(&mut self, vector: u8, gate: Option<Gate>) {
        self.area().write_gate(vector, gate.unwrap_or(Gate::ABSENT));
    }

    fn show_gdt(&mut self, frames: &[Option<Mfn>; GUEST_GDT_PAGES]) {
        for (page, frame) in frames.iter().enumerate() {
            self.area().map_guest_gdt(page, frame.map(Mfn::address));
        }
    }

    #[inline]
    fn set_user_code_present(&mut self, present: bool) {
        if self.user_code_present.replace(present) == present {
            return;
        }
        for index in USER_CODE_ENTRIES {
            let raw = self.area().reserved(index);
            self.area().write_reserved(index, set_user_code_present(raw, present));
        }
    }

    fn set_segment_base(&mut self, which: SegmentBase, base: u64) {
        msr::write(base_register(which), base);
    }

    fn segment_base(&self, which: SegmentBase) -> u64 {
        msr::read(base_register(which))
    }

    fn load_user_gs(&mut self, selector: u16) {
        crate::cpu::load_gs(selector);
    }

    fn set_task_switched(&mut self, set: bool) {
        // SAFETY: TS has no effect on ring 0, which uses no floating point.
        unsafe { Cr0::update(|flags| flags.set(Cr0Flags::TASK_SWITCHED, set)) };
    }

    fn set_debug_register(&mut self, index: u8, value: u64) {
        crate::cpu::write_debug_register(index, value);
    }

    fn debug_status(&self) -> u64 {
        Dr6::read_raw()
    }

    fn flushes(&self) -> [u64; 2] {
        [self.flushes[0].get(), self.flushes[1].get()]
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let answer = core::arch::x86_64::__cpuid_count(leaf, subleaf);
        [answer.eax, answer.ebx, answer.ecx, answer.edx]
    }

    #[inline]
    fn tsc(&self) -> u64 {
        clock::tsc()
    }

    fn arm_timer(&mut self, nanoseconds: Option<u64>) {
        clock::arm(nanoseconds);
    }

    fn console_write(&mut self, bytes: &[u8]) {
        let mut port = COM1_PORT.lock();
        bytes.iter().for_each(|byte| port.send(*byte));
    }

    fn console_read(&mut self) -> Option<u8> {
        COM1_PORT.lock().receive()
    }
}

fn base_register(which: SegmentBase) -> u32 {
    match which {
        SegmentBase::Fs => msr::FS_BASE,
        SegmentBase::GsUser => msr::GS_BASE,
        SegmentBase::GsKernel => msr::KERNEL_GS_BASE,
    }
}
