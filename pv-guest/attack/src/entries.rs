//! Registers the stubs of [`guard`](crate::guard) with the hypervisor, as often as an attack has changed them.

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering;

use paravane_abi::callback::{
    CALLBACKOP_REGISTER, CALLBACKTYPE_EVENT, CALLBACKTYPE_FAILSAFE, CALLBACKTYPE_SYSCALL,
    CALLBACKTYPE_SYSCALL32, CallbackRegister,
};
use paravane_abi::hypercall as nr;
use paravane_abi::mmu::{DOMID_SELF, MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR, MmuextOp};
use paravane_abi::multicall::MulticallEntry;
use paravane_abi::trap::TrapInfo;

use crate::guard::{EXCEPTIONS, VCPUS, int80_stub, stub, system_call_stub};
use crate::hypercall::{entry, multicall};
use crate::memory::{event_mask, memory};
use crate::ring;

/// Bytes of the stack on which ring 3 enters.
const STACK: usize = 8192;

#[repr(C, align(4096))]
struct Stacks(UnsafeCell<[[u8; STACK]; VCPUS]>);

// SAFETY: each vcpu has its own.
unsafe impl Sync for Stacks {}

#[unsafe(link_section = ".bss.page")]
static STACKS: Stacks = Stacks(UnsafeCell::new([[0; STACK]; VCPUS]));

/// The end of the stack on which ring 3 enters a vcpu.
pub fn kernel_stack(vcpu: usize) -> u64 {
    STACKS.0.get() as u64 + ((vcpu + 1) * STACK) as u64
}

/// A vcpu's trap table, ended by an entry of zeroes.
pub fn traps(vcpu: usize) -> [TrapInfo; EXCEPTIONS + 2] {
    let mut table = [TrapInfo::default(); EXCEPTIONS + 2];
    for (vector, trap) in table[..EXCEPTIONS].iter_mut().enumerate() {
        // Breakpoint and overflow have instructions of their own for ring 3.
        let dpl = if vector == 3 || vector == 4 { 3 } else { 0 };
        *trap = TrapInfo {
            vector: vector as u8,
            flags: dpl,
            cs: ring::code(),
            address: stub(vcpu, vector),
            ..TrapInfo::default()
        };
    }
    table[EXCEPTIONS] = TrapInfo {
        vector: 0x80,
        flags: 3,
        cs: ring::code(),
        address: int80_stub(vcpu),
        ..TrapInfo::default()
    };
    table
}

/// A callback's registration: its place in the stub table follows the exceptions.
pub fn callback(vcpu: usize, index: usize) -> CallbackRegister {
    let kinds = [CALLBACKTYPE_EVENT, CALLBACKTYPE_SYSCALL, CALLBACKTYPE_SYSCALL32, CALLBACKTYPE_FAILSAFE];
    let address = if index == 1 { system_call_stub(vcpu) } else { stub(vcpu, EXCEPTIONS + index) };
    CallbackRegister::new(kinds[index], 0, address)
}

/// Registers the traps of vcpu 0, and says whether they were taken.
fn try_traps() -> bool {
    let table = traps(0);
    // Vectors that are not in the table may have been given handlers.
    let mut calls = [
        entry(nr::HYPERVISOR_SET_TRAP_TABLE, [0]),
        entry(nr::HYPERVISOR_SET_TRAP_TABLE, [table.as_ptr() as u64]),
    ];
    multicall(&mut calls) == 0 && calls.iter().all(|call| call.result == 0)
}

/// Registers callbacks and stack of vcpu 0, loads the core's roots, masks events, and says whether all was taken.
pub fn try_callbacks() -> bool {
    let callbacks = [0, 1, 2, 3].map(|index| callback(0, index));
    let register = |callback: &CallbackRegister| -> MulticallEntry {
        entry(nr::HYPERVISOR_CALLBACK_OP, [CALLBACKOP_REGISTER.into(), core::ptr::from_ref(callback) as u64])
    };
    let memory = memory();
    let roots = [
        MmuextOp::new(MMUEXT_NEW_BASEPTR, memory.l4, 0),
        MmuextOp::new(MMUEXT_NEW_USER_BASEPTR, memory.user_l4, 0),
    ];
    let count = if ring::is_3() { 2 } else { 1 };
    let mut calls = [
        entry(nr::HYPERVISOR_MMUEXT_OP, [roots.as_ptr() as u64, count, 0, DOMID_SELF.into()]),
        entry(nr::HYPERVISOR_STACK_SWITCH, [ring::stack().into(), kernel_stack(0)]),
        register(&callbacks[0]),
        register(&callbacks[1]),
        register(&callbacks[2]),
        register(&callbacks[3]),
    ];
    event_mask(0).store(1, Ordering::SeqCst);
    multicall(&mut calls) == 0 && calls.iter().all(|call| call.result == 0)
}

/// Registers everything for vcpu 0, and says whether all was taken.
pub fn try_arm() -> bool {
    try_callbacks() && try_traps()
}

/// As [`try_arm`], where it cannot fail.
pub fn arm() {
    assert!(try_arm(), "the hypervisor takes traps, callbacks and a stack");
}
