//! Writes of L1 entries by way of a mapping for reading, which the hypervisor performs for a kernel that has asked for it
//! (`VMASST_TYPE_writable_pagetables`): it may work on its page tables by ordinary instructions. What `mmu_update` refuses is the instruction's page fault.

use core::arch::asm;

use paravane_abi::errno::Errno;
use paravane_abi::mmu::{MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_UNPIN_TABLE};
use paravane_abi::pte;
use pv_probe::guard::{Caught, RETURNED, guarded};
use pv_probe::hypercall::mmuext;
use pv_probe::memory::{self, A, D, DATA, NX, P, PS, READ, RW, US, peek, root};
use pv_probe::user;

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::tables::{
    BEYOND, EmulatedWrites, LOW, Mapped, entry, filled, frame, pinnable, place, places,
};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "page-table-rules-emulated-writes",
    &[
        Case::good("mov", "mov writes an entry, which maps its page", mov),
        Case::good("clears", "mov of 0 lets go of the page", clears),
        Case::good("exchange", "xchg gives the entry before", exchange),
        Case::good(
            "compare-exchange",
            "cmpxchg writes if the entry is as expected, else it tells it",
            compare_exchange,
        ),
        Case::good("locked-and", "lock and of a byte clears bits", locked_and),
        Case::good("bit-operations", "lock bts and btr give the bit before", bit_operations),
        Case::good("or", "or reads and writes", or),
        Case::good("narrow", "parts of an entry are written: bytes, words, double words", narrow),
        Case::good("held", "a page that was mapped so is held", held),
        Case::good("pinned", "a table that is used nowhere is written so too", pinned),
        Case::good("string", "stos with rep writes entry by entry", string),
        Case::good("flags", "arithmetic leaves the flags that it leaves anywhere", flags),
        Case::good("add", "add, sub, xor, not and inc read and write", add),
        Case::good("exchange-add", "lock xadd gives what was there", exchange_add),
        Case::good("step", "a single step is one over an emulated write", step),
        Case::refusal("entries", "entries that mmu_update refuses", entries),
        Case::refusal("narrow-refused", "a part that makes an entry one that is refused", narrow_refused),
        Case::refusal("unaligned", "a write that is not aligned", unaligned),
        Case::refusal("upper", "writes of L2, L3 and L4", upper),
        Case::refusal("page", "writes of a page that is no table", page),
        Case::refusal("program", "writes by a program", program),
    ],
);

/// A mapping for reading of the places' L1, whose writes are emulated.
struct View(Mapped, EmulatedWrites);

fn view() -> View {
    View(Mapped::with(50, entry(places(), READ | NX)), EmulatedWrites::on())
}

/// The address in the view of a place's entry.
fn slot(view: &View, index: u64) -> u64 {
    view.0.address() + pte::index(place(index), 1) as u64 * 8
}

/// The place whose entry the cases write.
const INDEX: u64 = 51;

fn mov(t: &mut Trial) -> Verdict {
    let view = view();
    let page = filled(&[(0, 0x1234)]);
    // SAFETY: the table's entry of the cases' place.
    unsafe { memory::write(slot(&view, INDEX), entry(page, DATA | NX)) };
    t.reads("read", place(INDEX), 0x1234);
    t.flags("flags", memory::entry_at(place(INDEX), 1), P | RW | US | A | D | NX, DATA | NX);
    // SAFETY: as above.
    unsafe { memory::write(slot(&view, INDEX), 0) };
    t.does_not_read("gone", place(INDEX));
    Ok(())
}

fn clears(t: &mut Trial) -> Verdict {
    let view = view();
    let page = frame();
    let mapped = Mapped::new(INDEX, page);
    t.refused("held", Errno::EINVAL, || pinnable(page));
    // SAFETY: as above.
    unsafe { memory::write(slot(&view, INDEX), 0) };
    t.succeeds("free", pinnable(page));
    drop(mapped);
    Ok(())
}

fn exchange(t: &mut Trial) -> Verdict {
    let view = view();
    let (first, second) = (frame(), frame());
    let mapped = Mapped::new(INDEX, first);
    let before = mapped.entry();
    let mut value = entry(second, DATA | NX);
    // SAFETY: as above.
    unsafe { asm!("xchg [{}], {}", in(reg) slot(&view, INDEX), inout(reg) value) };
    t.holds("before", value == before);
    t.holds("after", pte::mfn(mapped.entry()) == second);
    t.succeeds("first-free", pinnable(first));
    Ok(())
}

/// `lock cmpxchg`: whether it wrote, and RAX.
fn compared(address: u64, expected: u64, new: u64) -> (bool, u64) {
    let (found, written): (u64, u8);
    // SAFETY: as above.
    unsafe {
        asm!("lock cmpxchg [{}], {}", "setz {}", in(reg) address, in(reg) new, out(reg_byte) written,
             inout("rax") expected => found);
    }
    (written != 0, found)
}

fn compare_exchange(t: &mut Trial) -> Verdict {
    let view = view();
    let (first, second) = (frame(), frame());
    let mapped = Mapped::new(INDEX, first);
    let now = mapped.entry();
    let (written, found) = compared(slot(&view, INDEX), now ^ 1 << 9, entry(second, DATA | NX));
    t.holds("other.refused", !written);
    t.holds("other.found", found == now);
    t.holds("other.unchanged", mapped.entry() == now);
    t.succeeds("second-free", pinnable(second));
    let (written, _) = compared(slot(&view, INDEX), now, entry(second, DATA | NX));
    t.holds("same.written", written);
    t.holds("same.changed", pte::mfn(mapped.entry()) == second);
    t.succeeds("first-free", pinnable(first));
    Ok(())
}

fn locked_and(t: &mut Trial) -> Verdict {
    let view = view();
    let mapped = Mapped::new(INDEX, frame());
    // RW is bit 1 of the first byte.
    // SAFETY: as above.
    unsafe { asm!("lock and byte ptr [{}], 0xfd", in(reg) slot(&view, INDEX)) };
    t.flags("flags", mapped.entry(), P | RW, P);
    Ok(())
}

fn bit_operations(t: &mut Trial) -> Verdict {
    let view = view();
    let mapped = Mapped::with(INDEX, entry(frame(), P | RW | US | NX));
    let (first, second, third): (u8, u8, u8);
    // SAFETY: as above; bit 9 is the guest's.
    unsafe {
        asm!(
            "lock bts qword ptr [{0}], 9", "setc {1}", "lock bts qword ptr [{0}], 9", "setc {2}",
            "lock btr qword ptr [{0}], 9", "setc {3}",
            in(reg) slot(&view, INDEX), out(reg_byte) first, out(reg_byte) second, out(reg_byte) third,
        );
    }
    t.same("bits", [first, second, third], [0, 1, 1]);
    t.flags("flags", mapped.entry(), 1 << 9 | P, P);
    Ok(())
}

fn or(t: &mut Trial) -> Verdict {
    let view = view();
    let mapped = Mapped::with(INDEX, entry(frame(), P | RW | US | NX));
    // SAFETY: as above.
    unsafe { asm!("or qword ptr [{}], 0x600", in(reg) slot(&view, INDEX)) };
    t.flags("flags", mapped.entry(), 0xe00 | P, 0x600 | P);
    Ok(())
}

fn narrow(t: &mut Trial) -> Verdict {
    let view = view();
    let address = slot(&view, INDEX);
    // The entry is not present: every part is the guest's.
    // SAFETY: as above.
    unsafe {
        asm!(
            "mov dword ptr [{0}], 0x11223344", "mov dword ptr [{0} + 4], 0x00556677", "mov word ptr [{0} + 2], 0x0102",
            "mov byte ptr [{0} + 5], 0x03",
            in(reg) address,
        );
    }
    t.reads("word", address, 0x0055_0377_0102_3344 & !0xff_0000_0000 | 0x77_0000_0000);
    // SAFETY: as above.
    unsafe { memory::write(address, 0) };
    Ok(())
}

fn string(t: &mut Trial) -> Verdict {
    let view = view();
    let address = slot(&view, INDEX);
    // Three entries that are not present.
    for (name, note) in [("note", 0x1000u64), ("nothing", 0)] {
        // SAFETY: as above.
        unsafe { asm!("rep stosq", inout("rcx") 3u64 => _, in("rax") note, inout("rdi") address => _) };
        for index in 0..3 {
            t.reads(format_args!("{name}.{index}"), address + index * 8, note);
        }
    }
    Ok(())
}

/// Carry, parity, auxiliary carry, zero, sign, overflow (SDM volume 1, 3.4.3).
const STATUS: u64 = 0x8d5;

fn flags(t: &mut Trial) -> Verdict {
    let view = view();
    let address = slot(&view, INDEX);
    let (cleared, negative, compared): (u64, u64, u64);
    // SAFETY: as above; no entry is present.
    unsafe {
        memory::write(address, 0x7000);
        asm!("and qword ptr [{0}], 0", "pushfq", "pop {1}", in(reg) address, out(reg) cleared);
        asm!("sub qword ptr [{0}], 2", "pushfq", "pop {1}", in(reg) address, out(reg) negative);
        asm!("lock cmpxchg [{0}], {1}", "pushfq", "pop {2}", in(reg) address, in(reg) 0u64, out(reg) compared,
             inout("rax") -2i64 => _);
    }
    t.equal("and", cleared & STATUS & !0x10, 0x44);
    t.equal("sub", negative & STATUS, 0x91);
    t.equal("cmpxchg", compared & STATUS, 0x44);
    t.reads("entry", address, 0);
    Ok(())
}

fn add(t: &mut Trial) -> Verdict {
    let view = view();
    let address = slot(&view, INDEX);
    // SAFETY: as above; bit 0 stays clear wherever the entry is looked at.
    unsafe {
        memory::write(address, 0x1000);
        asm!(
            "add qword ptr [{0}], 0x2000", "sub dword ptr [{0}], 0x1000", "xor qword ptr [{0}], 0x600",
            "add byte ptr [{0}], 2", "not byte ptr [{0} + 4]", "inc word ptr [{0} + 6]",
            in(reg) address,
        );
    }
    t.reads("word", address, 0x0001_00ff_0000_2602);
    // SAFETY: as above.
    unsafe { memory::write(address, 0) };
    Ok(())
}

fn exchange_add(t: &mut Trial) -> Verdict {
    let view = view();
    let address = slot(&view, INDEX);
    let before: u64;
    // SAFETY: as above.
    unsafe {
        memory::write(address, 0x1000);
        asm!("lock xadd [{}], {}", in(reg) address, inout(reg) 0x2000u64 => before);
    }
    t.equal("before", before, 0x1000);
    t.reads("after", address, 0x3000);
    // SAFETY: as above.
    unsafe { memory::write(address, 0) };
    Ok(())
}

extern "C" fn stepped(address: u64) -> u64 {
    // SAFETY: the guard takes the step; the flags are restored by it.
    unsafe {
        asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "mov [{0}], {1}", "nop", "ud2", in(reg) address, in(reg) 0x4000u64);
    }
    0
}

fn step(t: &mut Trial) -> Verdict {
    let view = view();
    let address = slot(&view, INDEX);
    // SAFETY: a store of a note, stepped over.
    let caught = unsafe { guarded(stepped as *const () as u64, address) };
    t.raises("step", &caught, 1, None);
    t.reads("written", address, 0x4000);
    // SAFETY: as above.
    unsafe { memory::write(address, 0) };
    Ok(())
}

fn held(t: &mut Trial) -> Verdict {
    let view = view();
    let page = frame();
    // SAFETY: as above.
    unsafe { memory::write(slot(&view, INDEX), entry(page, DATA | NX)) };
    t.refused("page", Errno::EINVAL, || pinnable(page));
    // SAFETY: as above.
    unsafe { memory::write(slot(&view, INDEX), entry(page, READ | NX)) };
    t.succeeds("read-only", pinnable(page));
    // SAFETY: as above.
    unsafe { memory::write(slot(&view, INDEX), 0) };
    place(INDEX);
    Ok(())
}

fn pinned(t: &mut Trial) -> Verdict {
    let _emulated = EmulatedWrites::on();
    let (table, page) = (frame(), frame());
    let view = Mapped::with(50, entry(table, READ | NX));
    t.need("pin", mmuext(MMUEXT_PIN_L1_TABLE, table, 0))?;
    // SAFETY: the case's table.
    unsafe { memory::write(view.address() + 64, entry(page, DATA)) };
    t.refused("held", Errno::EINVAL, || pinnable(page));
    t.need("unpin", mmuext(MMUEXT_UNPIN_TABLE, table, 0))?;
    t.succeeds("free", pinnable(page));
    Ok(())
}

extern "C" fn store_entry(to: u64) -> u64 {
    // SAFETY: the address of the write and its value lie there.
    let [address, value] = unsafe { *(to as *const [u64; 2]) };
    // SAFETY: what comes of it is the guard's affair.
    unsafe { (address as *mut u64).write_unaligned(value) };
    0
}

/// Writes a word, if that can be done.
fn stored(address: u64, value: u64) -> Caught {
    let request = [address, value];
    // SAFETY: one store, of a table that is the case's.
    unsafe { guarded(store_entry as *const () as u64, &raw const request as u64) }
}

fn entries(t: &mut Trial) -> Verdict {
    let view = view();
    let address = slot(&view, INDEX);
    for (name, value) in [
        ("low", entry(LOW, DATA)),
        ("beyond", entry(BEYOND, DATA)),
        ("none", entry(pointers::NO_FRAME, DATA)),
        ("root-writable", entry(root(), DATA)),
        ("cache-disabled", entry(frame(), DATA | 1 << 4)),
        ("large", entry(frame(), DATA | PS)),
    ] {
        let caught = t.unchanged(name, || stored(address, value));
        t.raises(name, &caught, 14, Some(3));
        t.reads(format_args!("{name}.entry"), address, 0);
    }
    t.raises("good", &stored(address, 0x5000), RETURNED, None);
    // SAFETY: as above.
    unsafe { memory::write(address, 0) };
    Ok(())
}

extern "C" fn make_present(address: u64) -> u64 {
    // SAFETY: what comes of it is the guard's affair.
    unsafe { asm!("lock or byte ptr [{}], 1", in(reg) address) };
    0
}

fn narrow_refused(t: &mut Trial) -> Verdict {
    let view = view();
    let address = slot(&view, INDEX);
    // All but present, of a table that is in use.
    t.raises("note", &stored(address, entry(places(), DATA & !P)), RETURNED, None);
    // SAFETY: one instruction.
    let caught = t.unchanged("present", || unsafe { guarded(make_present as *const () as u64, address) });
    t.raises("present", &caught, 14, Some(3));
    // SAFETY: as above.
    unsafe { memory::write(address, 0) };
    Ok(())
}

fn unaligned(t: &mut Trial) -> Verdict {
    let view = view();
    for offset in [1, 4, 7] {
        let caught = t.unchanged(offset, || stored(slot(&view, INDEX) + offset, 0));
        t.raises(offset, &caught, 14, Some(3));
    }
    Ok(())
}

fn upper(t: &mut Trial) -> Verdict {
    let _emulated = EmulatedWrites::on();
    let l2 = frame();
    t.need("pin", mmuext(MMUEXT_PIN_L2_TABLE, l2, 0))?;
    let l3 = pte::mfn(peek(root(), pte::index(place(0), 4)));
    for (name, table) in [("l2", l2), ("l3", l3), ("l4", root())] {
        let view = Mapped::with(50, entry(table, READ | NX));
        let caught = t.unchanged(name, || stored(view.address() + 500 * 8, 0));
        t.raises(name, &caught, 14, Some(3));
    }
    t.need("unpin", mmuext(MMUEXT_UNPIN_TABLE, l2, 0))
}

fn page(t: &mut Trial) -> Verdict {
    let _emulated = EmulatedWrites::on();
    let frame = frame();
    let view = Mapped::with(50, entry(frame, READ | NX));
    let caught = t.unchanged("page", || stored(view.address(), 0x5000));
    t.raises("page", &caught, 14, Some(3));
    // A table that is not one any more.
    t.succeeds("table", pinnable(frame));
    t.raises("former-table", &stored(view.address(), 0x5000), 14, Some(3));
    Ok(())
}

fn program(t: &mut Trial) -> Verdict {
    let view = view();
    let mut registers = [0; 15];
    registers[1] = slot(&view, INDEX);
    // mov [rbx], rax; ud2
    user::prepare();
    let caught = t.unchanged("write", || user::run(&[0x48, 0x89, 0x03, 0x0f, 0x0b], &registers));
    t.raises("write", &caught, 14, Some(7));
    t.reads("entry", slot(&view, INDEX), 0);
    Ok(())
}
