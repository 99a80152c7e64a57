//! Exceptions of the guest: given to its kernel, or done on its behalf.

use super::world::*;
use crate::addr::{Level, Mfn};
use crate::debugreg::DR6_DEFAULT;
use crate::descriptor::{RING1_CS64, USER_CS32};
use crate::guest::{EXIT_FAULT, VECTOR_SYSCALL, VECTOR_SYSCALL32};
use crate::memory::Memory;
use crate::pagetable::Pte;
use paravane_abi::callback::*;
use paravane_abi::hypercall::*;
use paravane_abi::physdev::*;
use paravane_abi::regs::CpuUserRegs;
use paravane_abi::trap::{TrapFlags, TrapInfo, vector};
use paravane_abi::vm_assist::{VMASST_CMD_DISABLE, VMASST_CMD_ENABLE, VMASST_TYPE_WRITABLE_PAGETABLES};

const PAGE_FAULT: u32 = 14;
const GP: u32 = 13;

fn handler(vector: u8) -> u64 {
    HANDLER + 16 * u64::from(vector)
}

fn set_trap(world: &mut World, trap: TrapInfo) {
    world.put(LIST, &[trap, TrapInfo::default()]);
    assert_eq!(world.call(HYPERVISOR_SET_TRAP_TABLE, &[LIST]), 0);
}

/// The kernel executes an instruction that faults.
fn kernel_runs(
    world: &mut World,
    code: &[u8],
    regs: CpuUserRegs,
    fault: u32,
    error: u32,
    at: u64,
) -> CpuUserRegs {
    world.put(regs.rip, code);
    world.exception(regs, fault, error, at)
}

#[test]
fn every_exception_goes_to_its_handler() {
    for number in (0..32u8).filter(|n| !matches!(n, 2 | 7 | 8 | 18)) {
        for program in [false, true] {
            let mut world = World::new();
            let before = if program { world.program() } else { world.kernel() };
            world.set_mask(false);
            let code = if number == 13 { 0x18 } else { 0x10 };
            let regs = world.exception(before, number.into(), code, 0x1234);
            assert_eq!((regs.rip, regs.cs), (handler(number), RING1_CS64), "{number}");
            let words = if vector::has_error_code(number) { 8 } else { 7 };
            let stack = if program { KERNEL_SP } else { STACK };
            assert_eq!(regs.rsp, (stack - 8 * words) & !7);
            let frame = world.bounced(&regs, words as usize);
            assert_eq!(frame[..2], [before.rcx, before.r11]);
            assert_eq!(frame[words as usize - 5..words as usize - 3], [before.rip, before.cs.into()]);
            assert!(!world.upcall().1, "no mask was asked for");
        }
    }
}

#[test]
fn a_page_fault_says_where_and_whose() {
    let mut world = World::new();
    for (raw, program, shown) in
        [(2, false, 2), (6, true, 6), (7, false, 3), (0x11, false, 0x11), (3, true, 7)]
    {
        let before = if program { world.program() } else { world.kernel() };
        let regs = world.exception(before, PAGE_FAULT, raw, 0xdead_beef);
        assert_eq!((regs.rip, world.bounced(&regs, 3)[2]), (handler(14), shown));
        assert_eq!(world.hv.shared().cr2(world.vcpu().info), 0xdead_beef);
    }
}

#[test]
fn a_handler_that_masks_events_finds_them_masked() {
    let mut world = World::new();
    set_trap(&mut world, TrapInfo::new(6, TrapFlags::MASK_EVENTS, 0, HANDLER));
    world.set_mask(false);
    let before = world.kernel();
    let regs = world.exception(before, 6, 0, 0);
    assert!(world.upcall().1);
    assert_eq!(world.bounced(&regs, 5)[3..], [RING1_CS64.into(), 0x202], "and unmasked before");
}

/// An L1 in use as its kernel sees it, the index of LIST's entry there, and its address.
fn table(world: &World) -> (Mfn, usize, u64) {
    let (table, index) = world.entry(LIST, Level::L1);
    let va =
        (0..1024u64).map(|pfn| crate::build::tests::BASE + (pfn << 12)).find(|va| world.mfn(*va) == table);
    (table, index, va.unwrap() + 8 * index as u64)
}

#[test]
fn writes_to_live_tables_are_done_for_the_kernel() {
    let mut world = World::new();
    let (frame, index, at) = table(&world);
    let old = world.hv.machine.read_word(frame, index);
    let next = old & !(Pte::RW | Pte::D);
    // xchg [rdi], rax; mov [rdi], rax; lock and byte [rdi], ~2; lock cmpxchg [rdi], rbx.
    for (code, rax, entry, shown) in [
        (&[0x48u8, 0x87, 0x07][..], next, next, old),
        (&[0x48, 0x89, 0x07], 0, 0, 0),
        (&[0x48, 0x89, 0x07], old, old, old),
        (&[0xf0, 0x80, 0x27, 0xfd], 5, old & !2, 5),
        (&[0xf0, 0x48, 0x0f, 0xb1, 0x1f], old & !2, old, old & !2),
    ] {
        let before = CpuUserRegs { rdi: at, rax, rbx: old, ..world.kernel() };
        let regs = kernel_runs(&mut world, code, before, PAGE_FAULT, 3, at);
        assert_eq!(regs.rip, before.rip + code.len() as u64, "{code:x?}");
        assert_eq!((world.hv.machine.read_word(frame, index), regs.rax), (entry, shown));
        world.audit();
    }
    assert_eq!(world.hv.counters.emulated, 5);
}

#[test]
fn a_kernel_in_ring_3_asks_for_writes_of_tables_to_be_done() {
    let mut world = super::ring3::world();
    let (frame, index, at) = table(&world);
    let old = world.hv.machine.read_word(frame, index);
    for (command, performed) in
        [(None, false), (Some(VMASST_CMD_ENABLE), true), (Some(VMASST_CMD_DISABLE), false)]
    {
        if let Some(command) = command {
            let arguments = [command.into(), VMASST_TYPE_WRITABLE_PAGETABLES.into()];
            assert_eq!(world.call(HYPERVISOR_VM_ASSIST, &arguments), 0);
        }
        let before = CpuUserRegs { rdi: at, rax: 0, ..super::ring3::kernel(&world) };
        let regs = kernel_runs(&mut world, &[0x48, 0x89, 0x07], before, PAGE_FAULT, 3, at);
        assert_eq!(regs.rip == handler(14), !performed, "{command:?}");
        assert_eq!(world.hv.machine.read_word(frame, index), if performed { 0 } else { old });
        if performed {
            world.map(LIST, old);
        }
    }
}

#[test]
fn writes_that_a_table_does_not_take_are_the_kernels_page_faults() {
    let mut world = World::with_domains(2);
    world.set_up();
    let (frame, index, at) = table(&world);
    let old = world.hv.machine.read_word(frame, index);
    let writable_table = frame.address() | Pte::P | Pte::RW;
    let foreign = (0..world.hv.frames.len() as u64)
        .map(Mfn::new)
        .find(|one| world.hv.frames.is_owned_by(*one, world.hv.domains[1].id))
        .unwrap();
    let store = [0x48u8, 0x89, 0x07];
    for wish in [writable_table, foreign.address() | Pte::P, 0x1000 | Pte::P, u64::MAX, old | Pte::PS] {
        let before = CpuUserRegs { rdi: at, rax: wish, ..world.kernel() };
        let regs = kernel_runs(&mut world, &store, before, PAGE_FAULT, 3, at);
        assert_eq!(regs.rip, handler(14), "{wish:#x}");
        assert_eq!(world.hv.machine.read_word(frame, index), old);
        assert_eq!(world.hv.shared().cr2(world.vcpu().info), at);
        world.audit();
    }
    // A program, an upper table, an instruction that writes elsewhere, one that does not write.
    let before = CpuUserRegs { rdi: at, rax: 0, ..world.program() };
    world.put(before.rip, &store);
    assert_eq!(world.exception(before, PAGE_FAULT, 7, at).rip, handler(14));
    let upper = world.entry(LIST, Level::L2).0;
    let va = (0..1024u64)
        .map(|pfn| crate::build::tests::BASE + (pfn << 12))
        .find(|va| world.mfn(*va) == upper)
        .unwrap();
    let before = CpuUserRegs { rdi: va, rax: 0, ..world.kernel() };
    assert_eq!(kernel_runs(&mut world, &store, before, PAGE_FAULT, 3, va).rip, handler(14));
    let before = CpuUserRegs { rdi: at + 8, rax: 0, ..world.kernel() };
    assert_eq!(kernel_runs(&mut world, &store, before, PAGE_FAULT, 3, at).rip, handler(14));
    let before = CpuUserRegs { rdi: at, rax: 0, ..world.kernel() };
    assert_eq!(kernel_runs(&mut world, &[0x48, 0x8b, 0x07], before, PAGE_FAULT, 3, at).rip, handler(14));
    assert_eq!(world.hv.machine.read_word(frame, index), old);
}

#[test]
fn base_pointers_load_by_instruction_too() {
    let mut world = World::new();
    let base = world.vcpu().paging.base().unwrap();
    let before = CpuUserRegs { rax: base.address() | 0x18, ..world.kernel() };
    let regs = kernel_runs(&mut world, &[0x0f, 0x22, 0xd8], before, GP, 0, 0);
    assert_eq!(regs, CpuUserRegs { rip: before.rip + 3, entry_vector: GP, ..before });
    let bad = [world.mfn(LIST).address(), 0, u64::MAX, world.entry(LIST, Level::L1).0.address()];
    for rax in bad {
        let before = CpuUserRegs { rax, ..world.kernel() };
        let regs = kernel_runs(&mut world, &[0x0f, 0x22, 0xd8], before, GP, 0, 0);
        assert_eq!((regs.rip, world.vcpu().paging.base()), (handler(13), Some(base)), "{rax:#x}");
        world.audit();
    }
    // mov rax, cr3; a program reads nothing.
    let before = world.kernel();
    let regs = kernel_runs(&mut world, &[0x0f, 0x20, 0xd8], before, GP, 0, 0);
    assert_eq!((regs.rax, regs.rip), (base.address(), before.rip + 3));
    let before = world.program();
    world.put(before.rip, &[0x0fu8, 0x20, 0xd8]);
    assert_eq!(world.exception(before, GP, 0, 0).rip, handler(13));
}

#[test]
fn a_fault_of_the_exit_is_no_instruction_of_the_guests() {
    let mut world = World::new();
    let before = world.kernel();
    // clts, which would be done for the kernel; and the kernel's iretq, which would be completed.
    for (code, vector, error_code) in [(&[0x0fu8, 0x06][..], 13, 0), (&[0x48, 0xcf], 11, 0xe030)] {
        world.put(before.rip, code);
        let regs = world.exception(before, vector | EXIT_FAULT, error_code, 0);
        let frame = world.bounced(&regs, 4);
        assert_eq!((regs.rip, frame[2], frame[3]), (handler(vector as u8), error_code.into(), before.rip));
    }
}

#[test]
fn effects_of_instructions_reach_the_processor() {
    let mut world = World::new();
    world.hv.set_task_switched(true);
    let before = world.kernel();
    assert_eq!(kernel_runs(&mut world, &[0x0f, 0x06], before, GP, 0, 0).rip, before.rip + 2);
    assert!(!world.hv.machine.told.task_switched);
    // wrmsr of FS_BASE, GS_BASE, KERNEL_GS_BASE.
    for (n, rcx) in [0xc000_0100u64, 0xc000_0101, 0xc000_0102].into_iter().enumerate() {
        let before = CpuUserRegs { rcx, rax: 0x1000, rdx: 0x7f, ..world.kernel() };
        assert_eq!(kernel_runs(&mut world, &[0x0f, 0x30], before, GP, 0, 0).rip, before.rip + 2);
        assert_eq!(world.hv.machine.told.bases[n], 0x7f_0000_1000);
        let before = CpuUserRegs { rdx: 0x8000, ..before };
        assert_eq!(
            kernel_runs(&mut world, &[0x0f, 0x30], before, GP, 0, 0).rip,
            handler(13),
            "not canonical"
        );
    }
    // mov dr7, rax; mov cr2, rax.
    let before = CpuUserRegs { rax: 0x402, ..world.kernel() };
    assert_eq!(kernel_runs(&mut world, &[0x0f, 0x23, 0xf8], before, GP, 0, 0).rip, before.rip + 3);
    assert_eq!(world.hv.machine.told.debug[7], 0x402);
    kernel_runs(&mut world, &[0x0f, 0x22, 0xd0], before, GP, 0, 0);
    assert_eq!(world.hv.shared().cr2(world.vcpu().info), 0x402);
    // in al, dx with the privilege; a program without it.
    world.op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOPL, &PhysdevSetIopl { iopl: 1 });
    let before = world.kernel();
    let regs = kernel_runs(&mut world, &[0xec], before, GP, 0, 0);
    assert_eq!((regs.rip, regs.rax), (before.rip + 1, before.rax | 0xff));
    let before = CpuUserRegs { rdx: 0x60, ..world.program() };
    world.put(before.rip, &[0xecu8]);
    assert_eq!(world.exception(before, GP, 0, 0).rip, handler(13));
    // Its bitmap may let it.
    world.put(LIST, &[0u8; 16]);
    world.op(
        HYPERVISOR_PHYSDEV_OP,
        PHYSDEVOP_SET_IOBITMAP,
        &PhysdevSetIobitmap { bitmap: LIST, nr_ports: 0x70, pad: 0 },
    );
    assert_eq!(world.exception(before, GP, 0, 0).rip, before.rip + 1);
    let beyond = CpuUserRegs { rdx: 0x70, ..before };
    assert_eq!(world.exception(beyond, GP, 0, 0).rip, handler(13));
    // A bitmap that cannot be read is all set.
    let hole = PhysdevSetIobitmap { bitmap: HOLE, nr_ports: 0x70, pad: 0 };
    world.op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOBITMAP, &hole);
    assert_eq!(world.exception(before, GP, 0, 0).rip, handler(13));
}

#[test]
fn cpuid_answers_behind_the_prefix_to_both_halves() {
    let code = [0x0fu8, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2];
    let mut world = World::new();
    for regs in [world.kernel(), world.program()] {
        let before = CpuUserRegs { rax: 0x4000_0000, rcx: 0, ..regs };
        world.put(before.rip, &code);
        let after = world.exception(before, 6, 0, 0);
        assert_eq!((after.rip, after.rbx as u32), (before.rip + 7, u32::from_le_bytes(*b"XenV")));
        world.put(before.rip, &[0x0fu8, 0x0b, 0x90]);
        assert_eq!(world.exception(before, 6, 0, 0).rip, handler(6));
    }
}

#[test]
fn floating_point_traps_once() {
    let mut world = World::new();
    assert_eq!(world.call(HYPERVISOR_FPU_TASKSWITCH, &[1]), 0);
    let before = world.kernel();
    assert_eq!(world.exception(before, 7, 0, 0).rip, handler(7));
    assert!(!world.hv.machine.told.task_switched && !world.vcpu().task_switched);
    assert_eq!(world.exception(before, 7, 0, 0).rip, before.rip, "not the guest's doing");
}

#[test]
fn debug_conditions_replace_breakpoints_and_gather_the_rest() {
    let mut world = World::new();
    world.hv.machine.debug_status = DR6_DEFAULT | 1 << 14 | 1;
    let before = world.kernel();
    assert_eq!(world.exception(before, 1, 0, 0).rip, handler(1));
    assert_eq!(world.call(HYPERVISOR_GET_DEBUGREG, &[6]), (DR6_DEFAULT | 1 << 14 | 1) as i64);
    assert_eq!(world.hv.machine.told.debug[6], DR6_DEFAULT);
    world.hv.machine.debug_status = DR6_DEFAULT | 2;
    world.exception(before, 1, 0, 0);
    assert_eq!(world.call(HYPERVISOR_GET_DEBUGREG, &[6]), (DR6_DEFAULT | 1 << 14 | 2) as i64);
    // An emulated instruction under TF owes a #DB, whose breakpoint bits are its own.
    assert_eq!(world.call(HYPERVISOR_SET_DEBUGREG, &[6, DR6_DEFAULT | 2]), 0);
    let before = CpuUserRegs { rflags: 0x302, ..world.kernel() };
    let regs = kernel_runs(&mut world, &[0x0f, 0x06], before, GP, 0, 0);
    assert_eq!((regs.rip, world.bounced(&regs, 3)[2]), (handler(1), before.rip + 2));
    assert_eq!(world.vcpu().debug.dr6, DR6_DEFAULT | 1 << 14);
}

#[test]
fn software_interrupts_need_a_gate_of_their_ring() {
    for (flags, program, delivered) in [
        (TrapFlags::DPL3, true, true),
        (TrapFlags::empty(), true, false),
        (TrapFlags::DPL_LOW, true, false),
        (TrapFlags::DPL_LOW, false, true),
    ] {
        let mut world = World::new();
        set_trap(&mut world, TrapInfo::new(0x90, flags, 0, HANDLER + 0x900));
        let before = if program { world.program() } else { world.kernel() };
        world.put(before.rip, &[0xcdu8, 0x90]);
        let regs = world.exception(before, GP, 0x90 << 3 | 2, 0);
        let wanted = if delivered { (HANDLER + 0x900, before.rip + 2) } else { (handler(13), before.rip) };
        let frame = world.bounced(&regs, 4);
        assert_eq!((regs.rip, frame[if delivered { 2 } else { 3 }]), wanted, "{flags:?} {program}");
    }
}

#[test]
fn system_calls_without_a_way_do_not_exist() {
    let mut world = World::new();
    let before = CpuUserRegs { rip: USER + 0x12, ..world.program() };
    let register = |world: &mut World, flags, address| {
        let request = CallbackRegister::new(CALLBACKTYPE_SYSCALL32, flags, address);
        assert_eq!(world.op(HYPERVISOR_CALLBACK_OP, CALLBACKOP_REGISTER, &request), 0);
    };
    for vector in [VECTOR_SYSCALL, VECTOR_SYSCALL32] {
        let regs = world.exception(before, vector, 0, 0);
        assert_eq!((regs.rip, world.bounced(&regs, 3)[2]), (handler(6), USER + 0x10));
        // Address 0 is no way either, as in Xen.
        register(&mut world, 0, 0);
    }
    let before = CpuUserRegs { cs: USER_CS32, rip: 0x1012, ..before };
    for flags in [0, CALLBACKF_MASK_EVENTS] {
        world.set_mask(false);
        register(&mut world, flags, HANDLER + 0x700);
        let regs = world.exception(CpuUserRegs { rflags: 0x602, ..before }, VECTOR_SYSCALL32, 0, 0);
        assert_eq!((regs.rip, regs.rflags), (HANDLER + 0x700, 0x202));
        assert_eq!(world.bounced(&regs, 7)[2..5], [0x1012, USER_CS32.into(), 0x602]);
        assert_eq!(world.upcall().1, flags != 0);
    }
    assert!(!world.crashed());
}

#[test]
fn cr2_is_not_what_a_guest_writes_beside_it() {
    let mut world = World::new();
    let read = |world: &mut World| {
        let before = world.kernel();
        kernel_runs(world, &[0x0f, 0x20, 0xd0], before, GP, 0, 0).rax
    };
    let before = world.kernel();
    let _ = world.exception(before, PAGE_FAULT, 0, 0x1234);
    assert_eq!(read(&mut world), 0x1234);
    let place = world.vcpu().info;
    world.hv.shared().set_cr2(place, 0x5678);
    assert_eq!(read(&mut world), 0x1234, "the shared page is the guest's to write");
}
