//! Hypercalls by an inline `syscall`, in ring 1 `int 0x82`, so that the hypercall page is a thing to look at and not to depend on.

use core::arch::asm;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall as nr;
use paravane_abi::mmu::{DOMID_SELF, MMU_NORMAL_PT_UPDATE, MmuUpdate, MmuextOp, UVMF_INVLPG};
use paravane_abi::multicall::MulticallEntry;
use paravane_abi::sched::{SCHEDOP_SHUTDOWN, SCHEDOP_YIELD, SchedShutdown};

use crate::ring;

/// A hypercall.
pub fn raw(number: u64, arguments: [u64; 5]) -> i64 {
    let [a, b, c, d, e] = arguments;
    let result;
    if ring::is_1() {
        // SAFETY: what a call does to this kernel's memory is the caller's affair; a preempted call changes its arguments.
        unsafe {
            asm!("int 0x82", inlateout("rax") number => result, inlateout("rdi") a => _, inlateout("rsi") b => _,
                 inlateout("rdx") c => _, inlateout("r10") d => _, inlateout("r8") e => _, lateout("r9") _);
        }
        return result;
    }
    // SAFETY: as above.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, inlateout("rdi") a => _, inlateout("rsi") b => _,
             inlateout("rdx") c => _, inlateout("r10") d => _, inlateout("r8") e => _, lateout("r9") _,
             lateout("rcx") _, lateout("r11") _);
    }
    result
}

/// A call with a sub-operation and a structure.
pub fn operation<T>(number: u64, command: u32, argument: &mut T) -> i64 {
    raw(number, [command.into(), core::ptr::from_mut(argument) as u64, 0, 0, 0])
}

/// Writes a page-table entry, or whatever the command says, at a machine address.
pub fn mmu_update(pointer: u64, value: u64) -> i64 {
    let request = MmuUpdate { ptr: pointer, val: value };
    raw(nr::HYPERVISOR_MMU_UPDATE, [&raw const request as u64, 1, 0, DOMID_SELF.into(), 0])
}

/// Writes an entry of a table.
pub fn set_entry(table: u64, index: usize, value: u64) -> i64 {
    mmu_update((table << 12 | (index as u64) << 3) | MMU_NORMAL_PT_UPDATE, value)
}

/// Maps an address of the running address space.
pub fn map(va: u64, entry: u64) -> i64 {
    raw(nr::HYPERVISOR_UPDATE_VA_MAPPING, [va, entry, UVMF_INVLPG, 0, 0])
}

/// A call about vcpu 0, or another, with a structure.
pub fn vcpu_operation<T>(command: u32, vcpu: u32, argument: &mut T) -> i64 {
    raw(nr::HYPERVISOR_VCPU_OP, [command.into(), vcpu.into(), core::ptr::from_mut(argument) as u64, 0, 0])
}

/// Grant-table operations, all of one kind.
pub fn grant_operations<T>(command: u32, arguments: &mut [T]) -> i64 {
    let count = arguments.len() as u64;
    raw(nr::HYPERVISOR_GRANT_TABLE_OP, [command.into(), arguments.as_mut_ptr() as u64, count, 0, 0])
}

/// A batch; its entries hold the results.
pub fn multicall(calls: &mut [MulticallEntry]) -> i64 {
    raw(nr::HYPERVISOR_MULTICALL, [calls.as_mut_ptr() as u64, calls.len() as u64, 0, 0, 0])
}

/// An entry of a batch.
pub fn entry<const N: usize>(number: u64, arguments: [u64; N]) -> MulticallEntry {
    let mut args = [0; 6];
    args[..N].copy_from_slice(&arguments);
    MulticallEntry::new(number, args)
}

/// Gives the processor to who else wants it.
pub fn yield_now() {
    raw(nr::HYPERVISOR_SCHED_OP, [SCHEDOP_YIELD.into(), 0, 0, 0, 0]);
}

/// One extended operation.
pub fn mmuext(command: u32, arg1: u64, arg2: u64) -> i64 {
    let operation = MmuextOp::new(command, arg1, arg2);
    raw(nr::HYPERVISOR_MMUEXT_OP, [&raw const operation as u64, 1, 0, DOMID_SELF.into(), 0])
}

/// Ends the domain.
pub fn shutdown(reason: u32) -> ! {
    let mut argument = SchedShutdown { reason };
    loop {
        operation(nr::HYPERVISOR_SCHED_OP, SCHEDOP_SHUTDOWN, &mut argument);
    }
}

/// A call's result for a line: the error's name, or the number.
pub fn code(result: i64) -> Code {
    Code(result)
}

/// See [`code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(i64);

impl core::fmt::Display for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let error = self.0.checked_neg().and_then(|code| i32::try_from(code).ok()).and_then(Errno::from_code);
        match error {
            Some(error) => write!(f, "-{}", error.name()),
            None => write!(f, "{:#x}", self.0),
        }
    }
}
