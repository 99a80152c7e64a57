//! The processor this runs on, and its devices.

use paravane_abi::ring1::USER_RSP_SLOT;
use paravane_core::addr::{DomainId, Mfn};
use paravane_core::descriptor::{Gate, USER_CODE_ENTRIES, USER_SS, set_user_code_present};
use paravane_core::emulate::Mode;
use paravane_core::fpu::FpuState;
use paravane_core::machine::{GUEST_GDT_PAGES, Live, Processor, SegmentBase};
use x86_64::registers::control::{Cr0, Cr0Flags};
use x86_64::registers::debug::Dr6;

use super::Hardware;
use crate::clock;
use crate::cpu::fpu::write_xcr0;
use crate::cpu::{interrupts, local, msr};
use crate::device::apic;
use crate::device::serial::COM1_PORT;
use crate::entry::{syscall_entry, syscall_refused};

impl Processor for Hardware {
    fn cpus(&self) -> usize {
        self.cpus.len()
    }

    #[inline]
    fn this_cpu(&self) -> usize {
        local::this_cpu()
    }

    fn interrupt(&self, cpu: usize) {
        if cpu != local::this_cpu() {
            apic::send_interrupt(self.cpus[cpu].local.apic_id, apic::VECTOR_RESCHEDULE);
        }
    }

    fn set_live(&mut self, live: Live) {
        let old = self.this().live.replace(live);
        if old == live {
            return;
        }
        if (old == Live::Shared) != (live == Live::Shared) {
            crate::cpu::prevent_user_instructions(live == Live::Shared);
        }
        if (old == Live::Kernel) != (live == Live::Kernel) {
            crate::cpu::swap_gs();
        }
        let half = if live == Live::User { Mode::User } else { Mode::Kernel };
        let cpu = self.this_mut();
        if half == Mode::Kernel {
            cpu.show_m2p(live == Live::Kernel);
        }
        cpu.area.cpu().guest_cr3 = cpu.root(half).physical;
    }

    fn set_running(&mut self, vcpu: Option<(DomainId, u32)>) {
        self.this().running.set(vcpu);
    }

    fn save_fpu(&mut self, state: &mut FpuState) {
        let (method, guests) = (self.fpu, self.this().xcr0.get());
        self.show_xcr0(method.all());
        method.save(state);
        self.show_xcr0(guests);
    }

    fn load_fpu(&mut self, state: &FpuState, xcr0: u64) {
        self.show_xcr0(self.fpu.all());
        self.fpu.load(state);
        self.show_xcr0(xcr0);
    }

    fn set_xcr0(&mut self, xcr0: u64) {
        self.show_xcr0(xcr0);
    }

    fn set_guest_cr4(&mut self, value: u64) {
        crate::cpu::set_guest_cr4(value);
    }

    fn data_selectors(&self) -> [u16; 4] {
        crate::cpu::data_selectors()
    }

    fn load_data_selectors(&mut self, selectors: [u16; 4]) {
        crate::cpu::load_data_selectors(selectors);
    }

    fn set_tsc_aux(&mut self, value: u32) {
        if self.has_tsc_aux {
            msr::write(msr::TSC_AUX, u64::from(value));
        }
    }

    fn user_rsp(&self) -> u64 {
        // SAFETY: the first word of this processor's entry stack, mapped in every address space.
        unsafe { (USER_RSP_SLOT as *const u64).read_volatile() }
    }

    fn set_user_rsp(&mut self, rsp: u64) {
        // SAFETY: as above; nothing of the hypervisor's stands so far down, or reads the word.
        unsafe { (USER_RSP_SLOT as *mut u64).write_volatile(rsp) };
    }

    fn set_kernel_stack(&mut self, pointer: u64) {
        let cpu = self.this_mut().area.cpu();
        cpu.syscall_frame[3] = pointer;
        cpu.tss.rsp = [cpu.tss.rsp[0], pointer, 0];
    }

    fn set_syscall_entry(&mut self, entry: Option<u64>) {
        let target = match entry {
            Some(entry) => {
                self.this_mut().area.cpu().syscall_frame[0] = entry;
                &raw const syscall_entry
            }
            None => &raw const syscall_refused,
        };
        msr::write(msr::LSTAR, target as u64);
    }

    fn set_direct_gate(&mut self, vector: u8, gate: Option<Gate>) {
        self.this().area.write_gate(vector, gate.unwrap_or(Gate::ABSENT));
    }

    fn show_hypervisor(&mut self, shown: bool) {
        let cpu = self.this();
        cpu.area.write_gate(interrupts::VECTOR_HYPERCALL, interrupts::hypercall_gate(shown));
        cpu.hide_m2p(!shown);
        crate::cpu::prevent_user_execution(shown);
    }

    fn show_gdt(&mut self, frames: &[Option<Mfn>; GUEST_GDT_PAGES]) {
        let area = &mut self.this_mut().area;
        for (page, frame) in frames.iter().enumerate() {
            area.map_guest_gdt(page, frame.map(Mfn::address));
        }
    }

    #[inline]
    fn set_user_code_present(&mut self, present: bool) {
        let cpu = self.this();
        if cpu.user_code_present.replace(present) == present {
            return;
        }
        for index in USER_CODE_ENTRIES {
            let raw = cpu.area.reserved(index);
            cpu.area.write_reserved(index, set_user_code_present(raw, present));
        }
    }

    fn set_segment_base(&mut self, which: SegmentBase, base: u64) {
        msr::write(self.base_register(which), base);
    }

    fn segment_base(&self, which: SegmentBase) -> u64 {
        msr::read(self.base_register(which))
    }

    fn load_user_gs(&mut self, selector: u16) {
        // The load changes the live base, and the programs' is meant.
        let swapped = self.this().live.get() == Live::Kernel;
        if swapped {
            crate::cpu::swap_gs();
        }
        if selector & !3 == 0 {
            // A null selector leaves the base as it is on some processors (APM volume 2, 4.5.3).
            crate::cpu::load_gs(USER_SS);
        }
        crate::cpu::load_gs(selector);
        if swapped {
            crate::cpu::swap_gs();
        }
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
        crate::cpu::fpu::cpuid(leaf, subleaf)
    }

    fn microcode(&self) -> u64 {
        msr::read(msr::MICROCODE_REVISION)
    }

    #[inline]
    fn tsc(&self) -> u64 {
        clock::tsc()
    }

    fn arm_timer(&mut self, nanoseconds: Option<u64>) {
        clock::arm(nanoseconds);
    }

    fn console_write(&mut self, bytes: &[u8]) {
        COM1_PORT.lock().send_open(bytes);
    }

    fn console_lines(&mut self, lines: &[u8]) {
        COM1_PORT.lock().send_lines(|port| lines.iter().for_each(|byte| port.send(*byte)));
    }

    fn console_read(&mut self) -> Option<u8> {
        COM1_PORT.lock().receive()
    }
}

impl Hardware {
    /// Sets XCR0, where there is one and it holds something else.
    fn show_xcr0(&self, value: u64) {
        if self.fpu.all() != 0 && self.this().xcr0.replace(value) != value {
            write_xcr0(value);
        }
    }

    /// The register that holds a base while the guest is the way it is.
    fn base_register(&self, which: SegmentBase) -> u32 {
        let kernel = self.this().live.get() == Live::Kernel;
        match which {
            SegmentBase::Fs => msr::FS_BASE,
            SegmentBase::GsUser if !kernel => msr::GS_BASE,
            SegmentBase::GsKernel if kernel => msr::GS_BASE,
            SegmentBase::GsUser | SegmentBase::GsKernel => msr::KERNEL_GS_BASE,
        }
    }
}
