//! Writes to live page tables, which the kernel maps read-only: the hypervisor does them for a kernel that asked for it, if
//! it would do them by `mmu_update`; else they are page faults. A program's are always page faults.

use paravane_abi::pte;
use paravane_abi::trap::vector;
use paravane_abi::vm_assist::{VMASST_CMD_DISABLE, VMASST_CMD_ENABLE};
use pv_probe::hypercall::map;
use pv_probe::memory::{DATA, P, PAGE, Page, US, WINDOW, entry_at, l1_for, mfn, take};

use crate::case::{Case, Verdict};
use crate::code;
use crate::code::{Half, fault_address, kernel, run};
use crate::rows::tables::assist;
use crate::trial::Trial;

/// An address whose entry the cases write.
const SUBJECT: u64 = WINDOW + 0x3400_0000;
/// Where its L1 is mapped.
const TABLE: u64 = SUBJECT + 0x20_0000;

/// The cases.
pub const CASES: &[Case] = &[
    Case::good("store", "mov of a whole entry", store),
    Case::good("exchange", "xchg gives the old entry", exchange),
    Case::good("compare-exchange", "cmpxchg replaces the entry that was expected", compare_exchange),
    Case::good(
        "compare-exchange-fails",
        "cmpxchg leaves another entry, and tells it",
        compare_exchange_fails,
    ),
    Case::good("and", "and of a register", and),
    Case::good("half", "mov of the lower half of an entry", half),
    Case::refusal("refused", "an entry that mmu_update would refuse is a page fault", refused),
    Case::refusal("program", "a program's write is its page fault", program),
    Case::good("read", "reading the table needs nobody", read),
];

/// Maps the table read-only, and a new frame at the subject: the entry.
fn prepare(t: &mut Trial) -> Result<u64, crate::case::Stop> {
    let l1 = l1_for(SUBJECT);
    l1_for(TABLE);
    t.need("the table", map(TABLE, l1 << 12 | P | US))?;
    let entry = mfn(take()) << 12 | DATA;
    t.need("the subject", map(SUBJECT, entry))?;
    t.need("the emulation", assist(VMASST_CMD_ENABLE))?;
    Ok(entry)
}

/// Takes both away.
fn finish(t: &mut Trial) -> Verdict {
    t.need("the emulation", assist(VMASST_CMD_DISABLE))?;
    t.need("the subject", map(SUBJECT, 0))?;
    t.need("the table", map(TABLE, 0))
}

/// The subject's entry through the table's mapping: index 0 of the L1, as the address says.
const ENTRY: u64 = TABLE + pte::index(SUBJECT, 1) as u64 * 8;

/// An address and a value for it.
static PAIR: Page = Page::new();

/// The entry without the flags that the hypervisor adds: global and one of the available ones.
fn now() -> u64 {
    entry_at(SUBJECT, 1) & !(1 << 8 | pte::AVAILABLE_HIGH_MASK)
}

fn store(t: &mut Trial) -> Verdict {
    let entry = prepare(t)?;
    let code = code!("xor eax, eax", "mov [rdi], rax");
    kernel(code, ENTRY).expect(t, vector::UD, None, code.len() as u64);
    t.equal("cleared", now(), 0);
    // SAFETY: words of the page.
    unsafe {
        let words = PAIR.address() as *mut u64;
        words.write_volatile(ENTRY);
        words.add(1).write_volatile(entry);
    }
    let code = code!("mov rsi, [rdi]", "mov rax, [rdi + 8]", "mov [rsi], rax");
    kernel(code, PAIR.address()).expect(t, vector::UD, None, code.len() as u64);
    t.holds("set", now() == entry);
    finish(t)
}

fn exchange(t: &mut Trial) -> Verdict {
    let entry = prepare(t)?;
    let code = code!("xor eax, eax", "xchg [rdi], rax");
    let came = kernel(code, ENTRY);
    came.expect(t, vector::UD, None, code.len() as u64);
    t.holds("old", came.caught.registers[0] & !(1 << 8 | pte::AVAILABLE_HIGH_MASK) == entry);
    t.equal("cleared", now(), 0);
    finish(t)
}

fn compare_exchange(t: &mut Trial) -> Verdict {
    prepare(t)?;
    let code = code!("mov rax, [rdi]", "xor ecx, ecx", "lock cmpxchg [rdi], rcx");
    let came = kernel(code, ENTRY);
    came.expect(t, vector::UD, None, code.len() as u64);
    t.equal("zero-flag", came.caught.frame()[2] & 0x40, 0x40);
    t.equal("cleared", now(), 0);
    finish(t)
}

fn compare_exchange_fails(t: &mut Trial) -> Verdict {
    let entry = prepare(t)?;
    let code = code!("mov eax, 0x1234", "xor ecx, ecx", "lock cmpxchg [rdi], rcx");
    let came = kernel(code, ENTRY);
    came.expect(t, vector::UD, None, code.len() as u64);
    t.equal("zero-flag", came.caught.frame()[2] & 0x40, 0);
    t.holds("told", came.caught.registers[0] & !(1 << 8 | pte::AVAILABLE_HIGH_MASK) == entry);
    t.holds("kept", now() == entry);
    finish(t)
}

fn and(t: &mut Trial) -> Verdict {
    let entry = prepare(t)?;
    let code = code!("mov rax, -3", "lock and [rdi], rax");
    kernel(code, ENTRY).expect(t, vector::UD, None, code.len() as u64);
    t.holds("read-only", now() == entry & !2);
    // The page may not be written any more.
    let came = kernel(code!("mov [rdi], rax"), SUBJECT);
    t.raises("write", &came.caught, vector::PF.into(), Some(3));
    finish(t)
}

fn half(t: &mut Trial) -> Verdict {
    prepare(t)?;
    let code = code!("xor eax, eax", "mov [rdi], eax");
    kernel(code, ENTRY).expect(t, vector::UD, None, code.len() as u64);
    t.equal("not-present", now() & 0xffff_ffff, 0);
    finish(t)
}

fn refused(t: &mut Trial) -> Verdict {
    let entry = prepare(t)?;
    let came = t.unchanged("table", || kernel(code!("mov rax, -1", "mov [rdi], rax"), ENTRY));
    t.raises("kernel", &came.caught, vector::PF.into(), Some(3));
    t.holds("kept", now() == entry);
    finish(t)
}

fn program(t: &mut Trial) -> Verdict {
    let entry = prepare(t)?;
    let came = run(Half::Program, code!("mov [rdi], rax"), ENTRY);
    let address = fault_address();
    came.expect(t, vector::PF, Some(7), 0);
    t.equal("address", address, ENTRY);
    t.holds("kept", now() == entry);
    finish(t)
}

fn read(t: &mut Trial) -> Verdict {
    let entry = prepare(t)?;
    for half in [Half::Kernel, Half::Program] {
        let came = run(half, code!("mov rax, [rdi]"), ENTRY);
        let seen = came.caught.registers[0] & !(1 << 8 | pte::AVAILABLE_HIGH_MASK);
        t.holds(half.name(), came.caught.vector == u64::from(vector::UD) && seen == entry);
    }
    t.equal("offset", ENTRY % PAGE, pte::index(SUBJECT, 1) as u64 * 8);
    finish(t)
}
