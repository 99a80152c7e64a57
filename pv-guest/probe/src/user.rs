//! Programs: a page of code and a stack, in the lower half. In ring 3 they run on a root of their
//! own, which has the tables of these pages and of the cases' window in common with the kernel's.

use core::sync::atomic::{AtomicU64, Ordering};

use paravane_abi::mmu::{MMUEXT_NEW_USER_BASEPTR, MMUEXT_PIN_L4_TABLE};
use paravane_abi::pte;
use paravane_abi::regs::rflags;
use paravane_abi::segment::{FLAT_USER_CS, FLAT_USER_SS};

use crate::guard::{Caught, leave};
use crate::hypercall::{mmuext, set_entry};
use crate::memory::{DATA, PAGE, WINDOW, entry_at, l1_for, map_new, mfn, take};
use crate::ring;

/// Where a program's code is.
pub const CODE: u64 = 0x40_0000;
/// The end of its stack.
pub const STACK_END: u64 = 0x40_4000;

static ROOT: AtomicU64 = AtomicU64::new(0);

/// The programs' L4, 0 before [`prepare`] and in ring 1.
pub fn root() -> u64 {
    ROOT.load(Ordering::Relaxed)
}

/// Makes the pages and loads the root, if that is still to do.
pub fn prepare() {
    if entry_at(CODE, 1) != 0 {
        return;
    }
    // One page lies behind the stack's end: what looks at a frame there looks further.
    for page in [CODE, STACK_END - 2 * PAGE, STACK_END - PAGE, STACK_END] {
        map_new(page, DATA);
    }
    l1_for(WINDOW);
    if ring::is_1() {
        // The kernel's root is the programs' too.
        return;
    }
    let root = mfn(take());
    let result = mmuext(MMUEXT_PIN_L4_TABLE, root, 0);
    assert!(result == 0, "pinning the user root: {result}");
    for va in [CODE, WINDOW] {
        let result = set_entry(root, pte::index(va, 4), entry_at(va, 4));
        assert!(result == 0, "the user root's entry of {va:#x}: {result}");
    }
    let result = mmuext(MMUEXT_NEW_USER_BASEPTR, root, 0);
    assert!(result == 0, "the user root: {result}");
    ROOT.store(root, Ordering::Relaxed);
}

/// Places a program.
pub fn place(code: &[u8]) {
    assert!(code.len() <= PAGE as usize);
    for (index, byte) in code.iter().enumerate() {
        // SAFETY: the page is the programs' alone.
        unsafe { (CODE as *mut u8).add(index).write_volatile(*byte) };
    }
}

/// A frame for `iret` to a program's start.
#[must_use]
pub fn frame() -> [u64; 9] {
    [0, 0, 0, 0, CODE, FLAT_USER_CS.into(), rflags::FIXED, STACK_END, FLAT_USER_SS.into()]
}

/// Runs a program to what it raises.
pub fn run(code: &[u8], registers: &[u64; 15]) -> Caught {
    prepare();
    place(code);
    // SAFETY: programs of the cases touch their own pages.
    unsafe { leave(&frame(), registers) }
}
