//! What the calls of a `multicall` do to one another and to the call around them (xen/include/public/xen.h).
//!
//! They are made in order, each as if it were made by itself, and each sees what those before it did. A multicall in a
//! multicall is refused. A call that takes long is interrupted in the middle and goes on, and so is a long list. `iret` among
//! them ends the list: what stands behind it is not made.

use core::arch::asm;
use core::cell::UnsafeCell;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::{
    HYPERVISOR_GET_DEBUGREG, HYPERVISOR_IRET, HYPERVISOR_MMU_UPDATE, HYPERVISOR_MMUEXT_OP,
    HYPERVISOR_MULTICALL, HYPERVISOR_SCHED_OP, HYPERVISOR_SET_DEBUGREG, HYPERVISOR_SET_TRAP_TABLE,
    HYPERVISOR_UPDATE_VA_MAPPING,
};
use paravane_abi::mmu::{
    DOMID_SELF, MMU_NORMAL_PT_UPDATE, MMUEXT_PIN_L1_TABLE, MMUEXT_UNPIN_TABLE, MmuUpdate, MmuextOp,
    UVMF_INVLPG,
};
use paravane_abi::multicall::MulticallEntry;
use paravane_abi::pte;
use paravane_abi::regs::rflags;
use pv_probe::guard::guarded;
use pv_probe::hypercall::{entry as call, multicall, raw};
use pv_probe::memory::{DATA, NX, PAGE, Page, peek, root};
use pv_probe::ring;

use crate::case::{Case, Row, Verdict};
use crate::code;
use crate::rows::pointers;
use crate::rows::tables::{Mapped, entry, filled, frame, pinnable, place, places, writable};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "multicall-semantics",
    &[
        Case::good("order", "calls are made in order: each sees what was done before", order),
        Case::good("mappings", "a page that one call maps the next may use", mappings),
        Case::good("refused", "a call that is refused does not stop those behind it", refused),
        Case::good("results-overwritten", "results are written over what stood there", overwritten),
        Case::good("nested", "a multicall in a multicall is refused, and its calls are not made", nested),
        Case::good("long-list", "thousands of calls are made, each once", long_list),
        Case::good("long-call", "a call of thousands of requests is done to its end", long_call),
        Case::good("long-calls", "several of them, with others between", long_calls),
        Case::good("two-pages", "an entry may lie in two pages", two_pages),
        Case::good("yields", "giving the processor away is a call like others", yields),
        Case::good("count", "the count is 32 bits wide", count),
        Case::good("iret", "an iret ends the list", iret),
        Case::good("arguments", "a call gets no more than its entry's arguments", arguments),
        Case::refusal("end-of-space", "a list that goes on where no addresses are", end_of_space),
        Case::refusal("list-unmapped", "a list that one of its calls takes away", list_unmapped),
        Case::refusal("list-table", "a list that one of its calls makes a table", list_table),
    ],
);

fn set_debugreg(register: u64, value: u64) -> MulticallEntry {
    call(HYPERVISOR_SET_DEBUGREG, [register, value])
}

fn get_debugreg(register: u64) -> MulticallEntry {
    call(HYPERVISOR_GET_DEBUGREG, [register])
}

fn debugreg(register: u64) -> u64 {
    raw(HYPERVISOR_GET_DEBUGREG, [register, 0, 0, 0, 0]) as u64
}

fn clear_debugregs() {
    for register in 0..4 {
        raw(HYPERVISOR_SET_DEBUGREG, [register, 0, 0, 0, 0]);
    }
}

fn order(t: &mut Trial) -> Verdict {
    let mut calls = [
        set_debugreg(1, 0x1000),
        get_debugreg(1),
        set_debugreg(1, 0x2000),
        get_debugreg(1),
        set_debugreg(1, 0),
    ];
    t.succeeds("call", multicall(&mut calls));
    t.equal("first", calls[1].result, 0x1000);
    t.equal("second", calls[3].result, 0x2000);
    t.equal("after", debugreg(1), 0);
    Ok(())
}

fn mappings(t: &mut Trial) -> Verdict {
    let page = frame();
    let va = place(60);
    let requests = [MmuUpdate::new(page << 12 | 64, MMU_NORMAL_PT_UPDATE, 0x1234)];
    let mut calls = [
        call(HYPERVISOR_MMU_UPDATE, [requests.as_ptr() as u64, 1, va, DOMID_SELF.into()]),
        call(HYPERVISOR_UPDATE_VA_MAPPING, [va, entry(page, DATA | NX), UVMF_INVLPG]),
        call(HYPERVISOR_MMU_UPDATE, [requests.as_ptr() as u64, 1, va, DOMID_SELF.into()]),
    ];
    t.succeeds("call", multicall(&mut calls));
    for (index, call) in calls.iter().enumerate() {
        t.equal(format_args!("result.{index}"), call.result, 0);
    }
    // The second request's number was stored in the page that the call between mapped.
    t.reads("done", va, 1);
    t.reads("word", va + 64, 0x1234);
    t.need("unmap", raw(HYPERVISOR_UPDATE_VA_MAPPING, [va, 0, UVMF_INVLPG, 0, 0]))
}

fn refused(t: &mut Trial) -> Verdict {
    let mut calls = [
        set_debugreg(2, 0x1000),
        set_debugreg(3, pointers::HYPERVISOR),
        call(55, [0]),
        call(u64::MAX, [0]),
        call(HYPERVISOR_SET_TRAP_TABLE, [pointers::NOTHING]),
        set_debugreg(3, 0x3000),
    ];
    t.succeeds("call", multicall(&mut calls));
    let [.., last] = calls;
    for (name, got, error) in [
        ("second", calls[1].result, Errno::EPERM),
        ("third", calls[2].result, Errno::ENOSYS),
        ("fourth", calls[3].result, Errno::ENOSYS),
        ("fifth", calls[4].result, Errno::EFAULT),
    ] {
        t.fails(name, got as i64, error);
    }
    t.equal("last", last.result, 0);
    t.equal("first-done", debugreg(2), 0x1000);
    t.equal("last-done", debugreg(3), 0x3000);
    clear_debugregs();
    Ok(())
}

fn overwritten(t: &mut Trial) -> Verdict {
    let mut calls = [set_debugreg(2, 0x1000), call(55, [0])];
    for call in &mut calls {
        call.result = 0x5555_5555_5555_5555;
    }
    t.succeeds("call", multicall(&mut calls));
    t.equal("first", calls[0].result, 0);
    t.fails("second", calls[1].result as i64, Errno::ENOSYS);
    clear_debugregs();
    Ok(())
}

fn nested(t: &mut Trial) -> Verdict {
    let mut inner = [set_debugreg(2, 0x1000)];
    inner[0].result = 0x77;
    let mut calls = [
        call(HYPERVISOR_MULTICALL, [inner.as_mut_ptr() as u64, 1]),
        set_debugreg(3, 0x3000),
        call(HYPERVISOR_MULTICALL, [0, 0]),
    ];
    t.succeeds("call", multicall(&mut calls));
    t.fails("inner", calls[0].result as i64, Errno::EINVAL);
    t.fails("inner-empty", calls[2].result as i64, Errno::EINVAL);
    t.equal("inner-result", inner[0].result, 0x77);
    t.equal("inner-made", debugreg(2), 0);
    t.equal("behind", debugreg(3), 0x3000);
    // The refusal leaves no mark: the next multicall is none in a multicall.
    t.succeeds("afterwards", multicall(&mut inner));
    t.equal("afterwards-made", debugreg(2), 0x1000);
    clear_debugregs();
    Ok(())
}

const LONG: usize = 3000;

struct Cell<T>(UnsafeCell<T>);

// SAFETY: there is one vcpu, and one case at a time.
unsafe impl<T> Sync for Cell<T> {}

static CALLS: Cell<[MulticallEntry; LONG]> =
    Cell(UnsafeCell::new([const { MulticallEntry::new(0, [0; 6]) }; LONG]));
static REQUESTS: Cell<[MmuUpdate; LONG]> =
    Cell(UnsafeCell::new([const { MmuUpdate { ptr: 0, val: 0 } }; LONG]));

fn long_list(t: &mut Trial) -> Verdict {
    // SAFETY: one case at a time is here.
    let calls = unsafe { &mut *CALLS.0.get() };
    for (index, slot) in (0..).zip(calls.iter_mut()) {
        // Each reads what the one before wrote.
        *slot = if index % 2 == 0 { set_debugreg(1, 8 * index) } else { get_debugreg(1) };
        slot.result = u64::MAX;
    }
    t.succeeds("call", multicall(calls));
    let good = (0..)
        .zip(calls.iter())
        .filter(|(index, call)| call.result == if index % 2 == 0 { 0 } else { 8 * (index - 1) });
    t.equal("results", good.count() as u64, LONG as u64);
    clear_debugregs();
    Ok(())
}

/// Requests that map and unmap a page in turn, an even number of them.
fn requests(target: u64) -> &'static [MmuUpdate; LONG] {
    // SAFETY: one case at a time is here.
    let requests = unsafe { &mut *REQUESTS.0.get() };
    let address = places() << 12 | (pte::index(place(61), 1) as u64) << 3;
    for (index, request) in requests.iter_mut().enumerate() {
        let value = if index % 2 == 0 { entry(target, DATA | NX) } else { 0 };
        *request = MmuUpdate::new(address, MMU_NORMAL_PT_UPDATE, value);
    }
    requests
}

fn long_call(t: &mut Trial) -> Verdict {
    let target = frame();
    let requests = requests(target);
    let mut done = u32::MAX;
    let mut calls = [
        call(
            HYPERVISOR_MMU_UPDATE,
            [requests.as_ptr() as u64, LONG as u64, &raw mut done as u64, DOMID_SELF.into()],
        ),
        set_debugreg(2, 0x1000),
    ];
    t.succeeds("call", multicall(&mut calls));
    t.equal("result", calls[0].result, 0);
    t.equal("done", done.into(), LONG as u64);
    t.equal("behind", debugreg(2), 0x1000);
    t.succeeds("free", pinnable(target));
    clear_debugregs();
    Ok(())
}

fn long_calls(t: &mut Trial) -> Verdict {
    let target = frame();
    let requests = requests(target);
    let mut done = [u32::MAX; 3];
    let places = done.each_mut().map(|done| &raw mut *done as u64);
    let long = |index: usize, count: usize| {
        call(
            HYPERVISOR_MMU_UPDATE,
            [requests.as_ptr() as u64, count as u64, places[index], DOMID_SELF.into()],
        )
    };
    let mut calls = [long(0, LONG), set_debugreg(1, 0x10), long(1, LONG - 2), get_debugreg(1), long(2, LONG)];
    t.succeeds("call", multicall(&mut calls));
    for (index, want) in [0, 0, 0, 0x10, 0].into_iter().enumerate() {
        t.equal(format_args!("result.{index}"), calls[index].result, want);
    }
    t.same("done", done, [LONG as u32, LONG as u32 - 2, LONG as u32]);
    clear_debugregs();
    Ok(())
}

fn two_pages(t: &mut Trial) -> Verdict {
    let pages = [Mapped::new(62, frame()), Mapped::new(63, frame())];
    let list = pages[1].address() - 32;
    // SAFETY: within the two pages, which follow one another.
    unsafe {
        (list as *mut MulticallEntry).write_unaligned(set_debugreg(2, 0x1000));
        ((list + 64) as *mut MulticallEntry).write_unaligned(get_debugreg(2));
    }
    t.succeeds("call", raw(HYPERVISOR_MULTICALL, [list, 2, 0, 0, 0]));
    t.reads("result", list + 64 + 8, 0x1000);
    clear_debugregs();
    Ok(())
}

fn yields(t: &mut Trial) -> Verdict {
    let yields = call(HYPERVISOR_SCHED_OP, [paravane_abi::sched::SCHEDOP_YIELD.into(), 0]);
    let mut calls = [yields, set_debugreg(1, 0x10), yields, get_debugreg(1)];
    t.succeeds("call", multicall(&mut calls));
    t.equal("first", calls[0].result, 0);
    t.equal("last", calls[3].result, 0x10);
    clear_debugregs();
    Ok(())
}

fn count(t: &mut Trial) -> Verdict {
    let mut calls = [set_debugreg(1, 0x10), set_debugreg(1, 0x20)];
    t.succeeds("one", raw(HYPERVISOR_MULTICALL, [calls.as_mut_ptr() as u64, 1 << 32 | 1, 0, 0, 0]));
    t.equal("one-made", debugreg(1), 0x10);
    t.succeeds("none", raw(HYPERVISOR_MULTICALL, [calls.as_mut_ptr() as u64, 1 << 32, 0, 0, 0]));
    t.equal("none-made", debugreg(1), 0x10);
    clear_debugregs();
    Ok(())
}

static STACK: Page = Page::new();

/// Makes a multicall with a stack on which a context for `iret` lies.
extern "C" fn with_context(request: u64) -> u64 {
    // SAFETY: the list, its length, and the stack lie there; the `iret` among the calls goes on at a `ud2`.
    unsafe {
        let [list, count, stack] = *(request as *const [u64; 3]);
        if ring::is_1() {
            asm!("mov rsp, {0}", "int 0x82", "int3", in(reg) stack, in("rax") HYPERVISOR_MULTICALL, in("rdi") list,
                 in("rsi") count, options(noreturn));
        }
        asm!("mov rsp, {0}", "syscall", "int3", in(reg) stack, in("rax") HYPERVISOR_MULTICALL, in("rdi") list,
             in("rsi") count, options(noreturn));
    }
}

fn iret(t: &mut Trial) -> Verdict {
    let target = code!("ud2");
    let shown = if ring::is_1() { ring::code().into() } else { u64::from(ring::code()) & !3 };
    let stack = STACK.address() + PAGE - 72;
    let context = [
        0,
        0,
        0,
        0,
        target.as_ptr() as u64,
        shown,
        rflags::FIXED,
        STACK.address() + PAGE,
        ring::stack().into(),
    ];
    // SAFETY: the end of the case's page.
    unsafe { (stack as *mut [u64; 9]).write(context) };
    let mut calls = [set_debugreg(1, 0x10), call(HYPERVISOR_IRET, []), set_debugreg(2, 0x20)];
    let request = [calls.as_mut_ptr() as u64, 3, stack];
    // SAFETY: the context leads to a `ud2`.
    let caught = unsafe { guarded(with_context as *const () as u64, &raw const request as u64) };
    t.raises("lands", &caught, 6, None);
    t.holds("where", caught.frame()[0] == target.as_ptr() as u64);
    t.equal("before", debugreg(1), 0x10);
    t.equal("behind", debugreg(2), 0);
    // The multicall is over: another is none in it.
    t.succeeds("afterwards", multicall(&mut calls[2..]));
    t.equal("afterwards-made", debugreg(2), 0x20);
    clear_debugregs();
    Ok(())
}

fn arguments(t: &mut Trial) -> Verdict {
    // The sixth argument of an entry is nobody's.
    let mut calls =
        [MulticallEntry::new(HYPERVISOR_SET_DEBUGREG, [1, 0x10, u64::MAX, u64::MAX, u64::MAX, u64::MAX])];
    t.succeeds("call", multicall(&mut calls));
    t.equal("result", calls[0].result, 0);
    t.equal("made", debugreg(1), 0x10);
    clear_debugregs();
    Ok(())
}

fn end_of_space(t: &mut Trial) -> Verdict {
    // The last page of the lower half.
    let va = pointers::NOT_CANONICAL - PAGE;
    pv_probe::memory::l1_for(va);
    t.need("map", raw(HYPERVISOR_UPDATE_VA_MAPPING, [va, entry(frame(), DATA | NX), UVMF_INVLPG, 0, 0]))?;
    let list = va + PAGE - 64;
    // SAFETY: the case's page.
    unsafe { (list as *mut MulticallEntry).write(set_debugreg(1, 0x10)) };
    for (name, count) in [("next", 2), ("huge", 0xffff_ffff)] {
        t.fails(name, raw(HYPERVISOR_MULTICALL, [list, count, 0, 0, 0]), Errno::EFAULT);
        t.equal(format_args!("{name}.first-made"), debugreg(1), 0x10);
        clear_debugregs();
    }
    t.succeeds("one", raw(HYPERVISOR_MULTICALL, [list, 1, 0, 0, 0]));
    t.equal("one-made", debugreg(1), 0x10);
    clear_debugregs();
    t.need("unmap", raw(HYPERVISOR_UPDATE_VA_MAPPING, [va, 0, UVMF_INVLPG, 0, 0]))
}

fn list_unmapped(t: &mut Trial) -> Verdict {
    let page = Mapped::new(62, frame());
    let list = page.address() as *mut [MulticallEntry; 3];
    let unmap = call(HYPERVISOR_UPDATE_VA_MAPPING, [page.address(), 0, UVMF_INVLPG]);
    // SAFETY: the case's page.
    unsafe { list.write([set_debugreg(1, 0x10), unmap, set_debugreg(2, 0x20)]) };
    t.fails("call", raw(HYPERVISOR_MULTICALL, [page.address(), 3, 0, 0, 0]), Errno::EFAULT);
    t.equal("before", debugreg(1), 0x10);
    t.equal("behind", debugreg(2), 0);
    t.does_not_read("gone", page.address());
    // And the multicall is over.
    t.succeeds("afterwards", multicall(&mut [set_debugreg(2, 0x20)]));
    clear_debugregs();
    Ok(())
}

fn list_table(t: &mut Trial) -> Verdict {
    let list = frame();
    let page = Mapped::new(62, list);
    // By a mapping for reading from the second call on, by which results cannot be stored.
    let protect = call(
        HYPERVISOR_UPDATE_VA_MAPPING,
        [page.address(), entry(list, pv_probe::memory::READ | NX), UVMF_INVLPG],
    );
    // SAFETY: the case's page.
    unsafe { (page.address() as *mut [MulticallEntry; 2]).write([protect, set_debugreg(2, 0x20)]) };
    t.fails("call", raw(HYPERVISOR_MULTICALL, [page.address(), 2, 0, 0, 0]), Errno::EFAULT);
    t.equal("behind", debugreg(2), 0);
    drop(page);
    let operations =
        [MmuextOp::new(MMUEXT_PIN_L1_TABLE, root(), 0), MmuextOp::new(MMUEXT_UNPIN_TABLE, filled(&[]), 0)];
    let mut calls = operations.each_ref().map(|operation| {
        call(HYPERVISOR_MMUEXT_OP, [core::ptr::from_ref(operation) as u64, 1, 0, DOMID_SELF.into()])
    });
    t.succeeds("operations", multicall(&mut calls));
    for (index, call) in calls.iter().enumerate() {
        t.fails(format_args!("operation.{index}"), call.result as i64, Errno::EINVAL);
    }
    t.succeeds("free", writable(list));
    t.holds("root", peek(root(), pte::index(place(0), 4)) & 1 != 0);
    Ok(())
}
