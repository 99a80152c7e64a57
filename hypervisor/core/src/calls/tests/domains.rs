//! Several domains on one or more processors: who runs, what a switch keeps, how domains end and begin again.

use super::world::*;
use crate::build::Action;
use crate::construct::Construction;
use crate::descriptor::{RING1_CS64, USER_SS};
use crate::domain::{RunState, Shutdown};
use crate::hypervisor::{Leave, Next};
use crate::lifecycle::Job;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::*;
use paravane_abi::regs::CpuUserRegs;
use paravane_abi::sched::*;
use paravane_abi::vcpu::*;
use std::sync::Arc;
use std::vec::Vec;

const MS: u64 = 1_000_000;

/// Runs this processor until it is in a guest or idle.
pub(super) fn settle(world: &mut World, regs: &mut CpuUserRegs) -> Next {
    for _ in 0..10_000 {
        match world.next(regs) {
            Next::Work => {}
            next => return next,
        }
    }
    panic!("work never ends")
}

/// The domain that this processor runs.
fn running(world: &World) -> Option<u16> {
    world.hv.machine.told.running.map(|(domain, _)| domain.0)
}

#[test]
fn domains_take_turns_and_find_their_registers_again() {
    let mut world = World::on_processors(1, 2, |_| {});
    let mut regs = CpuUserRegs::default();
    let mut seen = Vec::new();
    for turn in 0..20u64 {
        assert_eq!(settle(&mut world, &mut regs), Next::Guest);
        let id = running(&world).expect("a domain runs");
        if turn >= 2 {
            let own = u64::from(id) << 32;
            assert_eq!((regs.rbx, regs.r15), (own + 1, own + 2), "turn {turn}");
            assert_eq!(world.hv.machine.told.bases, [own, own + 8, own + 16]);
            assert_eq!(world.hv.machine.told.selectors, [USER_SS, 0, 0, if id == 1 { USER_SS } else { 0 }]);
            assert_eq!(world.hv.machine.fpu.bytes()[100], id as u8);
            assert_eq!(world.hv.machine.told.task_switched, id == 2);
        }
        let own = u64::from(id) << 32;
        (regs.rbx, regs.r15) = (own + 1, own + 2);
        world.hv.machine.told.bases = [own, own + 8, own + 16];
        world.hv.machine.told.selectors = [USER_SS, 0, 0, if id == 1 { USER_SS } else { 0 }];
        world.hv.machine.fpu.bytes_mut()[100] = id as u8;
        world.hv.set_task_switched(id == 2);
        seen.push(id);
        world.hv.machine.now += 30 * MS;
        world.hv.timer_interrupt();
    }
    assert_eq!(seen.iter().filter(|id| **id == 1).count(), 10, "{seen:?}");
    world.audit();
}

#[test]
fn a_vcpu_that_goes_on_where_it_was_is_not_loaded_again() {
    let mut world = World::new();
    let mut regs = world.kernel();
    assert_eq!(world.call(HYPERVISOR_SCHED_OP, &[SCHEDOP_BLOCK.into(), 0]), 0);
    assert_eq!(settle(&mut world, &mut regs), Next::Idle);
    assert_eq!(running(&world), None);
    world.hv.machine.told.bases = [7; 3];
    world.hv.machine.fpu.bytes_mut()[..24].fill(9);
    world.vcpu_mut().state = RunState::Runnable;
    world.hv.refresh(0, 0);
    assert_eq!(settle(&mut world, &mut regs), Next::Guest);
    assert_eq!(
        (running(&world), world.hv.machine.told.bases, world.hv.machine.fpu.bytes()[0]),
        (Some(1), [7; 3], 9)
    );
}

#[test]
fn a_domain_that_asks_for_it_is_built_again_and_nothing_is_lost() {
    let mut world = World::configured(1, |config| {
        (config.actions.on_reboot, config.restarts) = (Action::Restart, 1000);
    });
    let mut regs = world.kernel();
    let mut free = None;
    for restart in 0..1000 {
        assert_eq!(settle(&mut world, &mut regs), Next::Guest, "{restart}");
        let now = world.hv.frames.free_frames();
        assert_eq!(*free.get_or_insert(now), now, "restart {restart}");
        assert_eq!((regs.cs, world.domain().restarts), (RING1_CS64, restart));
        world.hv.stop_domain(0, Shutdown::Reboot);
        assert_eq!(world.next(&mut regs), Next::Work);
    }
    assert_eq!(settle(&mut world, &mut regs), Next::Guest);
    world.hv.stop_domain(0, Shutdown::Reboot);
    world.audit();
    assert_eq!(world.end(&mut regs), Leave::Reboot);
}

/// Tables that the builder wrote are checked like a guest's. Should they be refused, all goes back that was taken.
#[test]
fn a_domain_whose_first_tables_are_refused_leaves_nothing() {
    // At once, and after much of them has been accepted.
    for slot in [0, 511] {
        let mut world = World::with_spare_frames(1, 1400);
        let plan = world.domain().plan.clone();
        let mut plan = crate::build::Plan::clone(&plan);
        plan.config.domid = 7;
        let free = world.hv.frames.free_frames();
        world.hv.begin(Job::Build(Construction::new(Arc::new(plan), 0)));
        let mut spoilt = false;
        for _ in 0..10_000 {
            if let Some(Job::Build(construction)) = world.hv.jobs.front()
                && let Some(l4) = construction.unchecked_l4()
                && !spoilt
            {
                world.hv.machine.fake.poke(l4, slot, 1 | 1 << 7);
                spoilt = true;
            }
            if world.hv.jobs.is_empty() {
                break;
            }
            world.hv.work();
            world.audit();
        }
        assert!(spoilt, "the tables were never seen");
        assert_eq!((world.hv.domains.len(), world.hv.frames.accounts().len()), (1, 1), "slot {slot}");
        assert_eq!(world.hv.frames.free_frames(), free, "slot {slot}");
        assert!(world.hv.sched.parameters(crate::addr::DomainId(7)).is_none());
    }
}

#[test]
fn what_was_configured_follows_a_stop() {
    for (shutdown, action, gone) in [
        (Shutdown::Crash, Action::Destroy, true),
        (Shutdown::Crash, Action::Preserve, false),
        (Shutdown::Watchdog, Action::Restart, false),
        (Shutdown::PowerOff, Action::Restart, false),
    ] {
        let mut world = World::on_processors(1, 2, |config| {
            config.actions.on_crash = action;
            config.actions.on_watchdog = action;
            config.actions.on_poweroff = action;
        });
        let mut regs = CpuUserRegs::default();
        assert_eq!(settle(&mut world, &mut regs), Next::Guest);
        let id = running(&world).map(crate::addr::DomainId).expect("one runs");
        let index = world.hv.domain_index(id).expect("it exists");
        world.hv.stop_domain(index, shutdown);
        let mut steps = 0;
        for _ in 0..200 {
            let next = world.next(&mut regs);
            assert!(matches!(next, Next::Guest | Next::Work));
            steps += u32::from(next == Next::Work);
            world.hv.machine.now += 31 * MS;
            world.hv.timer_interrupt();
        }
        assert_eq!(world.hv.domain_index(id).is_none(), gone, "{shutdown:?} {action:?}: {steps} steps");
        if let Some(index) = world.hv.domain_index(id) {
            let domain = &world.hv.domains[index];
            assert_eq!(domain.may_run(), action == Action::Restart);
            assert_eq!(domain.restarts, u32::from(action == Action::Restart));
        }
        world.audit();
    }
}

#[test]
fn two_processors_run_two_domains_and_interrupt_each_other() {
    let mut world = World::on_processors(2, 2, |_| {});
    let mut regs = [CpuUserRegs::default(); 2];
    for (cpu, regs) in regs.iter_mut().enumerate() {
        world.on(cpu);
        assert_eq!(settle(&mut world, regs), Next::Guest);
    }
    let second = running(&world).expect("it runs a domain");
    world.on(0);
    let first = running(&world).expect("it runs a domain");
    assert_ne!(first, second);
    // The other processor's domain is stopped from here: that processor is told, and puts it down.
    let index = world.hv.domain_index(crate::addr::DomainId(second)).expect("it exists");
    world.hv.machine.interrupted.borrow_mut().clear();
    world.hv.stop_domain(index, Shutdown::Crash);
    assert!(world.hv.machine.interrupted.borrow().contains(&1));
    assert_eq!(world.next(&mut regs[0]), Next::Guest);
    assert!(world.hv.domain_index(crate::addr::DomainId(second)).is_some(), "it is still on a processor");
    world.on(1);
    assert_eq!(settle(&mut world, &mut regs[1]), Next::Idle);
    assert!(world.hv.domain_index(crate::addr::DomainId(second)).is_none());
    world.on(0);
    assert_eq!((world.next(&mut regs[0]), running(&world)), (Next::Guest, Some(first)));
    world.audit();
}

/// A domain that has set itself up, and whose second vcpu has no registers yet.
fn two_vcpus() -> World {
    let mut world = World::configured(1, |config| config.vcpus = 2);
    world.set_up();
    world
}

#[test]
fn a_second_vcpu_comes_up_goes_down_and_comes_up_again() {
    let mut world = two_vcpus();
    let up = |world: &mut World| world.call(HYPERVISOR_VCPU_OP, &[VCPUOP_UP.into(), 1, 0]);
    let is_up = |world: &mut World| world.call(HYPERVISOR_VCPU_OP, &[VCPUOP_IS_UP.into(), 1, 0]);
    let down = |world: &mut World| world.call(HYPERVISOR_VCPU_OP, &[VCPUOP_DOWN.into(), 1, 0]);
    world.refused(HYPERVISOR_VCPU_OP, &[VCPUOP_UP.into(), 1, 0], Errno::EINVAL);
    let wanted = context(&world);
    put_context(&world, &wanted);
    let loads = world.hv.machine.fake.counters().base_changes;
    assert_eq!(world.call(HYPERVISOR_VCPU_OP, &[VCPUOP_INITIALISE.into(), 1, LIST]), 0);
    assert_eq!(
        world.hv.machine.fake.counters().base_changes,
        loads,
        "it runs nowhere: no CPU loads its table"
    );
    world.audit();
    world.refused(HYPERVISOR_VCPU_OP, &[VCPUOP_INITIALISE.into(), 1, LIST], Errno::EEXIST);
    world.refused(HYPERVISOR_VCPU_OP, &[VCPUOP_INITIALISE.into(), 1, HOLE], Errno::EFAULT);
    // Where it keeps its state is another's to say only while it is down.
    let place = VcpuRegisterVcpuInfo { mfn: world.mfn(LIST).get(), offset: 0, rsvd: 0 };
    let register = [VCPUOP_REGISTER_VCPU_INFO.into(), 1, ARG];
    assert_eq!(up(&mut world), 0);
    world.put(ARG, &place);
    world.refused(HYPERVISOR_VCPU_OP, &register, Errno::EINVAL);
    assert_eq!((down(&mut world), world.call(HYPERVISOR_VCPU_OP, &register)), (0, 0));
    for _ in 0..100 {
        assert_eq!(is_up(&mut world), 0);
        assert_eq!(up(&mut world), 0);
        assert_eq!((is_up(&mut world), world.domain().vcpus[1].awake), (1, true));
        assert_eq!(down(&mut world), 0);
        assert!(!world.domain().vcpus[1].awake);
    }
    assert_eq!(up(&mut world), 0);
    let mut regs = world.kernel();
    let mut seen = false;
    for _ in 0..10 {
        assert_eq!(settle(&mut world, &mut regs), Next::Guest);
        if world.hv.here.vcpu == 1 && !seen {
            seen = true;
            assert_eq!((regs.rip, regs.rsp, regs.rdi, regs.cs), (CODE + 0x40, STACK, 0x1234, RING1_CS64));
            assert_eq!(regs.rflags, 0x202, "IOPL is virtual, interrupts are on");
            let told = &world.hv.machine.told;
            assert_eq!((told.kernel_stack, told.bases[0]), (KERNEL_SP, 0x7000));
            let mxcsr = &world.hv.machine.fpu.bytes()[24..28];
            assert_eq!(mxcsr, [0xbf, 0xff, 0, 0], "reserved bits would fault");
        }
        world.hv.machine.now += 30 * MS;
        world.hv.timer_interrupt();
    }
    assert!(seen, "vcpu 1 never ran");
    world.audit();
    world.hv.stop_domain(0, Shutdown::PowerOff);
    assert_eq!(world.end(&mut regs), Leave::PowerOff);
}

#[test]
fn contexts_that_cannot_be_are_refused_without_a_trace() {
    type Change = fn(&mut VcpuGuestContext);
    let changes: &[Change] = &[
        |c| c.user_regs.rip = 1 << 47,
        |c| c.user_regs.rsp = 1 << 63,
        |c| c.kernel_sp = 1 << 50,
        |c| c.fs_base = 1 << 47,
        |c| c.gs_base_kernel = 1 << 47,
        |c| c.gs_base_user = 1 << 47,
        |c| c.event_callback_eip = 1 << 47,
        |c| c.syscall_callback_eip = 1 << 47,
        |c| c.failsafe_callback_eip = 1 << 47,
        |c| c.trap_ctxt[255].address = 1 << 47,
        |c| (c.ldt_ents, c.ldt_base) = (1, 1 << 47),
        |c| c.ldt_base = 1,
        |c| c.ldt_ents = 8193,
        |c| c.ldt_base = 0xffff_8000_0000_0000,
        |c| c.gdt_ents = 14 * 512 + 1,
        |c| (c.gdt_ents, c.gdt_frames[0]) = (1, 0),
        |c| (c.gdt_ents, c.gdt_frames[0]) = (1, u64::MAX),
        |c| c.ctrlreg[1] = 1 << 12,
        |c| c.ctrlreg[3] = 0,
        |c| c.ctrlreg[3] = u64::MAX,
        |c| c.ctrlreg[3] += 1 << 12,
    ];
    let mut world = two_vcpus();
    for (number, change) in changes.iter().enumerate() {
        let mut wanted = context(&world);
        change(&mut wanted);
        put_context(&world, &wanted);
        world.hv.machine.mark();
        let answer = world.untouched(HYPERVISOR_VCPU_OP, &[VCPUOP_INITIALISE.into(), 1, LIST]);
        assert_eq!(answer, Errno::EINVAL.to_ret(), "change {number}");
        let vcpu = &world.domain().vcpus[1];
        assert!(!vcpu.initialised && !vcpu.up && vcpu.paging.base().is_none(), "change {number}");
    }
}

#[test]
fn a_hostile_context_gets_no_selector_of_the_hypervisors() {
    for cs in [0u16, 8, 0xe008, 0xe010, 0xe040, 0xffff, 0x13] {
        let mut world = two_vcpus();
        let mut wanted = context(&world);
        wanted.flags |= VGCF_ONLINE;
        (wanted.user_regs.cs, wanted.user_regs.ss) = (cs, cs);
        wanted.user_regs.rflags = u64::MAX;
        put_context(&world, &wanted);
        assert_eq!(world.call(HYPERVISOR_VCPU_OP, &[VCPUOP_INITIALISE.into(), 1, LIST]), 0);
        let regs = &world.domain().vcpus[1].regs;
        assert!(regs.cs & 3 != 0 && regs.ss & 3 != 0, "{cs:#x}: RPL 0");
        assert_eq!(regs.rflags & (3 << 12 | 1 << 17), 0, "neither IOPL nor VM");
        assert!(world.domain().vcpus[1].awake);
    }
}

#[test]
fn a_watchdog_of_no_time_bites_at_once() {
    let mut world = World::new();
    let request = SchedWatchdog { id: 0, timeout: 0 };
    assert_eq!(world.op(HYPERVISOR_SCHED_OP, SCHEDOP_WATCHDOG, &request), 1);
    world.hv.timer_interrupt();
    assert_eq!(world.domain().shutdown, Some(Shutdown::Watchdog));
}

#[test]
fn a_domain_that_does_not_feed_its_watchdog_is_stopped() {
    let mut world = World::new();
    let set = |world: &mut World, id: u32, timeout: u32| {
        world.op(HYPERVISOR_SCHED_OP, SCHEDOP_WATCHDOG, &SchedWatchdog { id, timeout })
    };
    assert_eq!(set(&mut world, 3, 5), Errno::EINVAL.to_ret());
    assert_eq!(set(&mut world, 1, 5), Errno::EINVAL.to_ret(), "not taken yet");
    assert_eq!((set(&mut world, 0, 5), set(&mut world, 0, 9)), (1, 2));
    // Xen's answer is not extended to 64 bits.
    assert_eq!(set(&mut world, 0, 5), Errno::ENOSPC.to_ret() & i64::from(u32::MAX));
    world.hv.machine.now += 4_000 * MS;
    assert_eq!((set(&mut world, 1, 5), set(&mut world, 2, 0)), (0, 0));
    world.hv.machine.now += 4_999 * MS;
    world.hv.timer_interrupt();
    assert_eq!(world.domain().shutdown, None);
    world.hv.machine.now += 2 * MS;
    world.hv.timer_interrupt();
    assert_eq!(world.domain().shutdown, Some(Shutdown::Watchdog));
    let mut regs = world.kernel();
    assert_eq!(world.end(&mut regs), Leave::Crash);
}
