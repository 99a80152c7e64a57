//! The hypervisor's own stacks. No guest has them mapped.

/// Bytes of a stack, its guard page among them.
pub const SIZE: usize = 0x1_0000;

/// A stack in the image. Its lowest page is not mapped: an overflow is a double fault and not a corruption.
#[repr(C, align(4096))]
pub struct Stack([u8; SIZE]);

/// Entries from the guest, and boot before the first of them (`boot.S` names it).
#[unsafe(no_mangle)]
static mut hypervisor_stack: Stack = Stack([0; SIZE]);

/// NMI, #DF and #MC.
static mut PARANOID_STACK: Stack = Stack([0; SIZE]);

/// Top of the entries' stack.
pub fn entry_top() -> u64 {
    &raw const hypervisor_stack as u64 + SIZE as u64
}

/// Top of the stack of NMI, #DF and #MC.
pub fn paranoid_top() -> u64 {
    &raw const PARANOID_STACK as u64 + SIZE as u64
}

/// The pages below the stacks, which must stay unmapped.
pub fn guards() -> [u64; 2] {
    [&raw const hypervisor_stack as u64, &raw const PARANOID_STACK as u64]
}
