//! XSAVE: what a kernel is shown of it, what it may choose, and that each vcpu keeps its own.

use super::domains::settle;
use super::world::*;
use crate::emulate::vector::{INVALID_OPCODE, PROTECTION};
use crate::hypervisor::Next;
use paravane_abi::regs::CpuUserRegs;

const MS: u64 = 1_000_000;
const OSXSAVE: u64 = 1 << 18;
const FSGSBASE: u64 = 1 << 16;
const TSD: u64 = 1 << 2;
const FORCED_CPUID: [u8; 7] = [0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2];
const XSETBV: [u8; 3] = [0x0f, 0x01, 0xd1];
const READ_CR4: [u8; 3] = [0x0f, 0x20, 0xe0];
const WRITE_CR4: [u8; 3] = [0x0f, 0x22, 0xe0];

/// The kernel executes an instruction that is not its own to execute.
fn runs(world: &mut World, code: &[u8], vector: u8, regs: CpuUserRegs) -> CpuUserRegs {
    world.put(regs.rip, code);
    world.exception(regs, vector.into(), 0, 0)
}

fn leaf(world: &mut World, leaf: u64, subleaf: u64) -> [u64; 4] {
    let before = CpuUserRegs { rax: leaf, rcx: subleaf, ..world.kernel() };
    let after = runs(world, &FORCED_CPUID, INVALID_OPCODE, before);
    assert_eq!(after.rip, before.rip + 7);
    [after.rax, after.rbx, after.rcx, after.rdx]
}

fn cr4(world: &mut World) -> u64 {
    let before = world.kernel();
    runs(world, &READ_CR4, PROTECTION, before).rax
}

fn set_cr4(world: &mut World, value: u64) {
    let before = CpuUserRegs { rax: value, ..world.kernel() };
    assert_eq!(runs(world, &WRITE_CR4, PROTECTION, before).rip, before.rip + 3);
}

/// The vector that `xsetbv` raises, if it does not complete.
fn xsetbv(world: &mut World, value: u64) -> Result<(), u8> {
    let before = CpuUserRegs { rcx: 0, rax: value, rdx: value >> 32, ..world.kernel() };
    match runs(world, &XSETBV, PROTECTION, before).rip {
        rip if rip == before.rip + 3 => Ok(()),
        rip => Err(((rip - HANDLER) / 16) as u8),
    }
}

#[test]
fn a_kernel_sees_osxsave_before_it_has_set_it() {
    let mut world = World::new();
    assert_eq!(leaf(&mut world, 1, 0)[2] & (3 << 26 | 1 << 28), 3 << 26 | 1 << 28);
    assert_eq!(leaf(&mut world, 0xd, 0), [7, 576, 832, 0]);
    // What faults by itself is told what CR4 says.
    let before = CpuUserRegs { rax: 1, ..world.kernel() };
    let faulted = |world: &mut World| runs(world, &FORCED_CPUID[5..], PROTECTION, before).rcx >> 27 & 1;
    assert_eq!((faulted(&mut world), cr4(&mut world) & OSXSAVE), (0, 0));
    set_cr4(&mut world, OSXSAVE | 1 << 17);
    assert_eq!((faulted(&mut world), cr4(&mut world)), (1, 0x660 | OSXSAVE), "and no PCIDE");
}

#[test]
fn xcr0_is_the_kernels_within_what_is_offered() {
    let mut world = World::new();
    assert_eq!(world.vcpu().xcr0, 3);
    assert_eq!(xsetbv(&mut world, 7), Err(INVALID_OPCODE));
    set_cr4(&mut world, OSXSAVE);
    for refused in [0, 2, 5, 0xf, 0x207, 0xe7, 1 << 63 | 7, !0] {
        assert_eq!(xsetbv(&mut world, refused), Err(PROTECTION), "{refused:#x}");
        assert_eq!(world.vcpu().xcr0, 3);
    }
    for value in [7, 1, 3, 7] {
        assert_eq!(xsetbv(&mut world, value), Ok(()));
        assert_eq!((world.vcpu().xcr0, world.hv.machine.told.xcr0), (value, value));
        assert_eq!(leaf(&mut world, 0xd, 0)[1], if value == 7 { 832 } else { 576 });
    }
    // Taking the permission away leaves the value, as Xen leaves it.
    set_cr4(&mut world, 0);
    assert_eq!((world.vcpu().xcr0, xsetbv(&mut world, 7)), (7, Err(INVALID_OPCODE)));
}

#[test]
fn a_program_cannot_set_xcr0() {
    let mut world = World::new();
    set_cr4(&mut world, OSXSAVE);
    let before = CpuUserRegs { rcx: 0, rax: 7, rdx: 0, ..world.program() };
    assert_eq!(runs(&mut world, &XSETBV, PROTECTION, before).rip, HANDLER + 16 * u64::from(PROTECTION));
    assert_eq!(world.vcpu().xcr0, 3);
}

/// The processor's CR4.FSGSBASE and TSD are the running vcpu's, at once and after every switch (XSA-293).
#[test]
fn bits_of_cr4_are_as_the_kernel_that_runs_chose_them() {
    let mut world = World::on_processors(1, 3, |_| {});
    let mut regs = CpuUserRegs::default();
    let mut seen = [0; 3];
    for _ in 0..24 {
        assert_eq!(settle(&mut world, &mut regs), Next::Guest);
        let (domain, _) = world.hv.machine.told.running.expect("a domain runs");
        let index = usize::from(domain.0) - 1;
        // The first sets both bits once, the second one after the other in turns, the third knows nothing of them.
        let chosen = |times: usize| [FSGSBASE | TSD, [0, TSD, FSGSBASE][times % 3], 0][index];
        let before = if seen[index] == 0 { 0 } else { chosen(seen[index] - 1) };
        assert_eq!(world.hv.machine.told.cr4, before, "{index} {}", seen[index]);
        let wanted = chosen(seen[index]);
        if wanted != before {
            set_cr4(&mut world, wanted);
            assert_eq!(world.hv.machine.told.cr4, wanted);
            assert_eq!(leaf(&mut world, 7, 0)[1], 1, "FSGSBASE is shown whatever CR4 says");
        }
        seen[index] += 1;
        world.hv.machine.now += 30 * MS;
        world.hv.timer_interrupt();
    }
    assert!(seen.iter().all(|times| *times >= 4), "{seen:?}");
}

/// With TSD the counter is the kernel's alone, which reads it through the hypervisor.
#[test]
fn a_program_cannot_read_the_counter_when_its_kernel_forbids_it() {
    const RDTSC: [u8; 2] = [0x0f, 0x31];
    let mut world = World::new();
    for (cr4, program_may) in [(0, true), (TSD, false)] {
        set_cr4(&mut world, cr4);
        for (before, may) in [(world.kernel(), true), (world.program(), program_may)] {
            let after = runs(&mut world, &RDTSC, PROTECTION, before).rip;
            let wanted = if may { before.rip + 2 } else { HANDLER + 16 * u64::from(PROTECTION) };
            assert_eq!(after, wanted, "{cr4:#x}");
        }
    }
}

/// Whatever one vcpu's XCR0 leaves out, the next one finds its own of all components.
#[test]
fn every_component_is_a_vcpus_own() {
    let mut world = World::on_processors(1, 3, |_| {});
    for (index, xcr0) in [3, 7, 1].into_iter().enumerate() {
        world.hv.domains[index].vcpus[0].xcr0 = xcr0;
    }
    let mut regs = CpuUserRegs::default();
    let pattern = |id: u16| id as u8 * 0x11;
    let mut seen = [0; 3];
    for _ in 0..24 {
        assert_eq!(settle(&mut world, &mut regs), Next::Guest);
        let (domain, _) = world.hv.machine.told.running.expect("a domain runs");
        let index = usize::from(domain.0) - 1;
        let machine = &mut world.hv.machine;
        assert_eq!(machine.told.xcr0, [3, 7, 1][index]);
        let wanted = if seen[index] == 0 { 0 } else { pattern(domain.0) };
        assert!(machine.fpu.bytes()[576..832].iter().all(|byte| *byte == wanted), "upper halves");
        assert!(machine.fpu.bytes()[160..416].iter().all(|byte| *byte == wanted), "XMM registers");
        let bytes = machine.fpu.bytes_mut();
        bytes[160..416].fill(pattern(domain.0));
        bytes[576..832].fill(pattern(domain.0));
        seen[index] += 1;
        machine.now += 30 * MS;
        world.hv.timer_interrupt();
    }
    assert!(seen.iter().all(|times| *times >= 4), "{seen:?}");
}
