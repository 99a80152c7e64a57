//! One processor, several vcpus: what stays with a vcpu when another runs in between.

use super::world::*;
use crate::domain::RunState;
use crate::hypervisor::Next;
use paravane_abi::hypercall::HYPERVISOR_SCHED_OP;
use paravane_abi::sched::SCHEDOP_YIELD;

/// The running vcpu yields, and the other one runs.
fn switch(world: &mut World, to: usize) {
    let mut regs = world.kernel();
    assert_eq!(world.call(HYPERVISOR_SCHED_OP, &[u64::from(SCHEDOP_YIELD), 0]), 0);
    assert_eq!(world.next(&mut regs), Next::Guest);
    assert_eq!(world.hv.here.domain, to);
}

#[test]
fn a_program_stack_pointer_that_its_kernel_has_not_read_stays_with_the_vcpu() {
    let mut world = World::with_domains(2);
    world.hv.domains[1].vcpus[0].state = RunState::Runnable;
    world.hv.refresh(1, 0);
    world.hv.machine.told.user_rsp = 0x1000;
    switch(&mut world, 1);
    assert_eq!(world.hv.machine.told.user_rsp, 0, "a vcpu sees another's stack pointer");
    world.hv.machine.told.user_rsp = 0x2000;
    switch(&mut world, 0);
    assert_eq!(world.hv.machine.told.user_rsp, 0x1000);
    switch(&mut world, 1);
    assert_eq!(world.hv.machine.told.user_rsp, 0x2000);
}
