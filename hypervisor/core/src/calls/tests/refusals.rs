//! What is refused, by the table: numbers, sub-operations and pointers; and that no refusal leaves a trace.

use super::world::*;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::*;
use paravane_abi::memory::XENMEM_MAXIMUM_RAM_PAGE;
use paravane_abi::multicall::MulticallEntry;
use std::vec::Vec;

/// The calls whose first argument is a sub-operation; where their pointer is.
fn pointer_index(call: u64) -> Option<usize> {
    match call {
        HYPERVISOR_MEMORY_OP
        | HYPERVISOR_XEN_VERSION
        | HYPERVISOR_SCHED_OP
        | HYPERVISOR_CALLBACK_OP
        | HYPERVISOR_EVENT_CHANNEL_OP
        | HYPERVISOR_PHYSDEV_OP
        | HYPERVISOR_RING1_OP => Some(1),
        HYPERVISOR_VCPU_OP => Some(2),
        _ => None,
    }
}

/// Sub-operations of `memory_op` that would write an answer, if a PV domain got one, or if there were anything to do.
const REFUSED_MEMORY: [&str; 6] =
    ["exchange", "set_pod_target", "get_pod_target", "access_op", "get_vnumainfo", "acquire_resource"];

/// Sub-operations that answer something else before they look at their argument, and what.
fn not_looked_at(call: u64, name: &str) -> Option<i64> {
    let error = match (call, name) {
        // Xen answers how many extents were done, which is none.
        (HYPERVISOR_MEMORY_OP, "increase_reservation" | "decrease_reservation" | "populate_physmap") => {
            return Some(0);
        }
        // Others' business, or not offered: refused unseen.
        (HYPERVISOR_MEMORY_OP, "machine_memory_map") => Errno::EPERM,
        (HYPERVISOR_MEMORY_OP, "machphys_compat_mfn_list") => Errno::EOPNOTSUPP,
        (HYPERVISOR_XEN_VERSION, "build_id") => Errno::EPERM,
        (HYPERVISOR_SCHED_OP, "pin_override") => Errno::EPERM,
        (HYPERVISOR_PHYSDEV_OP, "pci_mmcfg_reserved" | "dbgp_op") => Errno::EPERM,
        (HYPERVISOR_VCPU_OP, "get_physid") => Errno::EINVAL,
        _ => return None,
    };
    Some(error.to_ret())
}

#[test]
fn no_sub_operation_takes_a_bad_pointer() {
    let mut world = World::new();
    let mut looked_at = 0;
    for row in ROWS {
        let Some(index) = pointer_index(row.number) else { continue };
        // What can be read but not written asks event channels about the domain itself.
        let request = if row.number == HYPERVISOR_EVENT_CHANNEL_OP { 0x7ff0 } else { 0 };
        world.hv.machine.fake.poke(world.mfn(READ_ONLY), 0, request);
        for sub in row.sub_operations {
            let writes = matches!(sub.argument, Argument::Write | Argument::Both);
            if !writes && sub.argument != Argument::Read {
                continue;
            }
            let expected = not_looked_at(row.number, sub.name).unwrap_or(Errno::EFAULT.to_ret());
            // What is refused, as all that concerns devices, is so before an answer could be written.
            let refused = sub.name == "bind_pirq"
                || row.number == HYPERVISOR_PHYSDEV_OP
                || (row.number == HYPERVISOR_MEMORY_OP && REFUSED_MEMORY.contains(&sub.name));
            let answers = writes && expected == Errno::EFAULT.to_ret() && !refused;
            let read_only = answers.then_some(READ_ONLY);
            for pointer in BAD.into_iter().chain(read_only) {
                // Structures of a few bytes may end before the page does.
                let mut args = [sub.number, 0, 0];
                args[index] = pointer;
                let answer = world.untouched(row.number, &args);
                assert_eq!(answer, expected, "{} {} at {pointer:#x}", row.name, sub.name);
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 250, "{looked_at}");
}

#[test]
fn no_other_call_takes_a_bad_pointer() {
    let mut world = World::new();
    for pointer in BAD.into_iter().chain([u64::MAX - 3, 0xffff_87ff_ffff_fffc]) {
        for (number, args) in [
            (HYPERVISOR_SET_TRAP_TABLE, [pointer, 0, 0, 0]),
            (HYPERVISOR_SET_GDT, [pointer, 512, 0, 0]),
            (HYPERVISOR_MULTICALL, [pointer, 1, 0, 0]),
            (HYPERVISOR_MMU_UPDATE, [pointer, 1, 0, 0x7ff0]),
            (HYPERVISOR_MMUEXT_OP, [pointer, 1, 0, 0x7ff0]),
            (HYPERVISOR_CONSOLE_IO, [0, 2, pointer, 0]),
        ] {
            world.refused(number, &args, Errno::EFAULT);
        }
    }
    // A result that cannot be stored is the batch's failure.
    let version = MulticallEntry::new(HYPERVISOR_XEN_VERSION, [0; 6]);
    world.hv.machine.fake.poke(world.mfn(READ_ONLY), 0, version.op);
    world.refused(HYPERVISOR_MULTICALL, &[READ_ONLY, 1], Errno::EFAULT);
}

#[test]
fn numbers_without_a_call_do_not_exist() {
    let mut world = World::new();
    let known: Vec<u64> = ROWS.iter().map(|row| row.number).collect();
    let beyond = [128, 129, 1 << 31, 1 << 32, 1 << 32 | 17, u64::MAX];
    let mut unknown = 0;
    for number in (0..128).chain(beyond).filter(|number| !known.contains(number)) {
        world.refused(number, &[ARG; 6], Errno::ENOSYS);
        unknown += 1;
    }
    assert_eq!(unknown, 128 + beyond.len() - known.len());
}

#[test]
fn sub_operations_that_nobody_knows_do_not_exist() {
    let mut world = World::new();
    for row in ROWS.iter().filter(|row| pointer_index(row.number).is_some()) {
        let known: Vec<u64> = row.sub_operations.iter().map(|sub| sub.number).collect();
        let numbers = (0..40).chain([63, 0x8000_0000, 0xffff_ffff]).filter(|n| !known.contains(n));
        for number in numbers {
            // The upper bits of memory_op's are an extent's number; 14 is a reset that goes on.
            let skip = match row.number {
                HYPERVISOR_MEMORY_OP => number > 63,
                HYPERVISOR_EVENT_CHANNEL_OP => number == 14,
                _ => false,
            };
            if !skip {
                let args =
                    if row.number == HYPERVISOR_VCPU_OP { [number, 0, ARG] } else { [number, ARG, ARG] };
                world.refused(row.number, &args, Errno::ENOSYS);
            }
        }
    }
    world.refused(HYPERVISOR_CONSOLE_IO, &[2, 1, ARG], Errno::ENOSYS);
    world.refused(HYPERVISOR_VM_ASSIST, &[2, 4], Errno::ENOSYS);
    world.refused(HYPERVISOR_SET_SEGMENT_BASE, &[4, 0], Errno::EINVAL);
    world.refused(HYPERVISOR_SET_DEBUGREG, &[8, 0], Errno::ENODEV);
    world.refused(HYPERVISOR_GET_DEBUGREG, &[8], Errno::ENODEV);
}

#[test]
fn a_vcpu_that_does_not_exist_is_said_so_before_anything_else() {
    let mut world = World::new();
    for vcpu in [1, 2, 8191, 8192, u64::from(u32::MAX)] {
        for command in (0..16).chain([0xffff_ffff]) {
            world.refused(HYPERVISOR_VCPU_OP, &[command, vcpu, BAD[0]], Errno::ENOENT);
        }
    }
}

#[test]
fn a_known_number_has_upper_bits_that_nobody_looks_at() {
    let mut world = World::new();
    // Xen's sub-operations are C ints; memory_op's command is a long.
    assert_eq!(world.call(HYPERVISOR_XEN_VERSION, &[1 << 32, 0]), 0x4_0011);
    assert_eq!(world.call(HYPERVISOR_SCHED_OP, &[1 << 32, 0]), 0);
    world.refused(HYPERVISOR_MEMORY_OP, &[u64::from(XENMEM_MAXIMUM_RAM_PAGE) | 1 << 32, ARG], Errno::EINVAL);
}
