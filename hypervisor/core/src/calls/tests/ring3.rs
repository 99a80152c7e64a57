//! A kernel in ring 3: which half of the guest runs is the hypervisor's to remember.

use super::world::*;
use crate::addr::{Level, Mfn, VirtAddr};
use crate::build::MachineKind;
use crate::build::tests::BASE;
use crate::descriptor::{USER_CS64, USER_SS};
use crate::domain::Shutdown;
use crate::emulate::Mode;
use crate::guest::{VECTOR_SYSCALL, VECTOR_SYSCALL32};
use crate::hypervisor::Next;
use crate::machine::{Live, Processor, SegmentBase};
use crate::memory::Memory;
use crate::pagetable::Pte;
use paravane_abi::callback::*;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::*;
use paravane_abi::mmu::{MMUEXT_NEW_USER_BASEPTR, MmuextOp};
use paravane_abi::regs::{CpuUserRegs, IretContext};
use paravane_abi::trap::{TrapFlags, TrapInfo};
use zerocopy::FromZeros;

/// A page that becomes the programs' L4.
const USER_L4: u64 = BASE + 0x3e_0000;
const SYSCALL_HANDLER: u64 = HANDLER + 0x3000;

/// A kernel in ring 3 that has set itself up, for programs too.
pub(super) fn world() -> World {
    set_up(World::configured(1, |config| config.machine = Some(MachineKind::PvRing3)))
}

pub(super) fn set_up(mut world: World) -> World {
    world.set_up();
    let l4 = world.vcpu().paging.base().unwrap();
    let slot = VirtAddr::new(USER).unwrap().slot(Level::L4);
    let entry = world.hv.machine.read_word(l4, slot);
    world.put(USER_L4 + 8 * slot as u64, &entry);
    let frame = world.mfn(USER_L4);
    world.map(USER_L4, frame.address() | Pte::P | Pte::US);
    assert_eq!(set_user_base(&mut world, frame.get()), 0);
    let callback = CallbackRegister::new(CALLBACKTYPE_SYSCALL, 0, SYSCALL_HANDLER);
    assert_eq!(world.op(HYPERVISOR_CALLBACK_OP, CALLBACKOP_REGISTER, &callback), 0);
    world
}

fn set_user_base(world: &mut World, frame: u64) -> i64 {
    let op = MmuextOp { cmd: MMUEXT_NEW_USER_BASEPTR, arg1: frame, ..MmuextOp::new_zeroed() };
    world.put(ARG, &op);
    world.call(HYPERVISOR_MMUEXT_OP, &[ARG, 1, 0, 0x7ff0])
}

pub(super) fn kernel(world: &World) -> CpuUserRegs {
    CpuUserRegs { cs: USER_CS64, ss: USER_SS, ..world.kernel() }
}

/// The kernel returns to a program.
pub(super) fn to_program(world: &mut World) -> CpuUserRegs {
    let program = world.program();
    let context = IretContext {
        rip: program.rip,
        cs: USER_CS64.into(),
        rflags: program.rflags,
        rsp: program.rsp,
        ss: USER_SS.into(),
        ..IretContext::new_zeroed()
    };
    world.put(STACK - 0x100, &context);
    let mut regs = CpuUserRegs { rax: HYPERVISOR_IRET, rsp: STACK - 0x100, ..kernel(world) };
    regs.entry_vector = VECTOR_SYSCALL;
    world.hv.exception(&mut regs, 0);
    regs
}

fn live(world: &World) -> Live {
    world.hv.machine.told.live
}

#[test]
fn a_kernels_syscall_is_a_hypercall() {
    let mut world = world();
    assert_eq!((world.vcpu().half, live(&world)), (Mode::Kernel, Live::Kernel));
    let before = CpuUserRegs { rax: HYPERVISOR_XEN_VERSION, rdi: 0, ..kernel(&world) };
    let regs = world.exception(before, VECTOR_SYSCALL, 0, 0);
    assert_eq!(regs.rax, 4 << 16 | 17);
    assert_eq!((regs.rip, regs.rsp, live(&world)), (before.rip, before.rsp, Live::Kernel));
}

#[test]
fn a_hypercall_at_the_end_of_the_lower_half_returns_to_a_fault() {
    let mut world = world();
    let before = CpuUserRegs { rip: 0x8000_0000_0000, rax: HYPERVISOR_XEN_VERSION, ..kernel(&world) };
    let regs = world.exception(before, VECTOR_SYSCALL, 0, 0);
    assert_eq!(
        (regs.rip, world.bounced(&regs, 4)[2..].to_vec()),
        (HANDLER + 16 * 13, std::vec![0, before.rip])
    );
}

#[test]
fn iret_leads_to_a_program_and_its_syscall_back() {
    let mut world = world();
    let program = to_program(&mut world);
    assert_eq!((program.rip, program.cs, program.ss), (USER + 0x100, USER_CS64, USER_SS));
    assert_eq!((world.vcpu().half, live(&world)), (Mode::User, Live::User));
    let regs = world.exception(program, VECTOR_SYSCALL, 0, 0);
    assert_eq!((regs.rip, regs.cs, regs.rsp), (SYSCALL_HANDLER, USER_CS64, KERNEL_SP - 56));
    assert_eq!((world.vcpu().half, live(&world)), (Mode::Kernel, Live::Kernel));
    let frame = world.bounced(&regs, 7);
    let cs = u64::from(USER_CS64);
    assert_eq!(frame[..4], [program.rcx, program.r11, program.rip, cs], "RPL 3 says that it was a program");
    assert_eq!(frame[5..], [program.rsp, USER_SS.into()]);
}

#[test]
fn without_a_callback_a_programs_syscall_does_not_exist() {
    for vector in [VECTOR_SYSCALL, VECTOR_SYSCALL32] {
        let mut world = world();
        assert_eq!(world.call(HYPERVISOR_SET_CALLBACKS, &[EVENT_HANDLER, 0, 0]), 0);
        let program = to_program(&mut world);
        let regs = world.exception(program, vector, 0, 0);
        assert_eq!((regs.rip, live(&world)), (HANDLER + 16 * 6, Live::Kernel));
        assert_eq!(world.bounced(&regs, 3)[2], program.rip - 2);
    }
}

#[test]
fn exceptions_lead_to_the_kernel_whose_frames_show_ring_0_where_it_was_itself() {
    let mut world = world();
    world.set_mask(false);
    let before = kernel(&world);
    let regs = world.exception(before, 14, 5, 0x1234);
    let frame = world.bounced(&regs, 8);
    assert_eq!(frame[2..5], [1, before.rip, u64::from(USER_CS64) & !3], "no fault of a program's");
    assert_eq!(regs.rsp, (STACK - 64) & !15);
    let program = to_program(&mut world);
    let regs = world.exception(program, 14, 4, 0x1234);
    let frame = world.bounced(&regs, 8);
    assert_eq!(frame[2..5], [4, program.rip, USER_CS64.into()]);
    assert_eq!(live(&world), Live::Kernel);
}

#[test]
fn the_mask_alone_decides_about_events() {
    for program in [false, true] {
        for masked in [false, true] {
            let mut world = world();
            let mut regs = if program { to_program(&mut world) } else { kernel(&world) };
            world.set_mask(masked);
            let place = world.vcpu().info;
            let word = world.hv.machine.read_word(place.frame, place.offset / 8);
            world.hv.machine.fake.poke(place.frame, place.offset / 8, word | 1);
            assert_eq!(world.next(&mut regs), Next::Guest);
            assert_eq!(regs.rip == EVENT_HANDLER, !masked, "program {program}, masked {masked}");
            assert!(!world.hv.machine.told.user_code_hidden);
            let half = if program && masked { Live::User } else { Live::Kernel };
            assert_eq!(live(&world), half);
        }
    }
}

#[test]
fn a_return_to_a_program_without_a_table_crashes_the_domain() {
    let mut world = world();
    assert_eq!(set_user_base(&mut world, 0), 0);
    to_program(&mut world);
    assert!(world.domain().shutdown.is_some());
}

#[test]
fn the_live_gs_base_is_the_running_halfs() {
    let mut world = world();
    let wrmsr = |world: &mut World, regs: CpuUserRegs, register: u64, value: u64| {
        world.put(regs.rip, &[0x0fu8, 0x30]);
        let regs = CpuUserRegs { rcx: register, rax: value, rdx: 0, ..regs };
        let after = world.exception(regs, 13, 0, 0);
        assert_eq!(after.rip, regs.rip + 2);
    };
    let regs = kernel(&world);
    wrmsr(&mut world, regs, 0xc000_0101, 0x1111);
    wrmsr(&mut world, regs, 0xc000_0102, 0x2222);
    assert_eq!(world.hv.machine.segment_base(SegmentBase::GsKernel), 0x1111);
    assert_eq!(world.hv.machine.segment_base(SegmentBase::GsUser), 0x2222);
}

#[test]
fn what_ring_1_alone_has_is_not_there() {
    let mut world = world();
    world.refused(HYPERVISOR_RING1_OP, &[0, ARG], Errno::EPERM);
    assert!(world.hv.machine.told.gates.values().all(|gate| gate.0 == [0; 2]));
    assert_eq!(world.hv.machine.told.syscall_entry, None);
}

#[test]
fn both_tables_are_held_and_given_back() {
    let mut world = world();
    world.audit();
    let user = world.mfn(USER_L4);
    assert!(world.hv.frames.info(user).unwrap().type_count() > 0);
    assert_eq!(set_user_base(&mut world, Mfn::new(1 << 30).get()), Errno::EINVAL.to_ret());
    world.audit();
    let mut regs = kernel(&world);
    world.hv.stop_domain(0, Shutdown::PowerOff);
    world.end(&mut regs);
}

#[test]
fn interrupt_0x80_is_everybodys() {
    for (vector, level, delivered) in
        [(0x80u8, 0u8, true), (0x80, 1, true), (0x81, 1, false), (0x81, 3, true)]
    {
        let mut world = world();
        let trap = TrapInfo::new(vector, TrapFlags::from_bits_truncate(level), 0, HANDLER + 0x900);
        world.put(LIST, &[trap, TrapInfo::default()]);
        assert_eq!(world.call(HYPERVISOR_SET_TRAP_TABLE, &[LIST]), 0);
        let before = to_program(&mut world);
        world.put(before.rip, &[0xcd, vector]);
        let regs = world.exception(before, 13, u32::from(vector) << 3 | 2, 0);
        assert_eq!(regs.rip == HANDLER + 0x900, delivered, "vector {vector:#x} level {level}");
    }
    let mut world = world();
    let before = to_program(&mut world);
    world.put(before.rip, &[0xcdu8, 0x80]);
    let regs = world.exception(before, 13, 0x80 << 3 | 2, 0);
    assert_eq!(world.bounced(&regs, 4)[2..], [0x402, before.rip], "without a handler");
}
