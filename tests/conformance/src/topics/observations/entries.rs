//! Page-table entries read back: what the hypervisor makes of the flags that a guest writes.

use crate::case::{Case, Explained, because};
use crate::observe;
use crate::rows::tables::EmulatedWrites;
use pv_probe::guard::{RETURNED, guarded};
use pv_probe::hypercall::{code, map, set_entry};
use pv_probe::memory::{
    A, D, DATA, Entry, G, NX, P, PAGE, PS, RW, US, WINDOW, entry_at, l1_for, mfn, table_at, take,
};

/// The case.
pub const CASE: Case =
    super::observation("entries", "page-table entries read back after they were written", |_| {
        observe();
        Ok(())
    })
    .explained(&[
        Explained { value: "l1.write-through.*", reason: because::PRIVILEGE },
        Explained { value: "l1.not-cached.*", reason: because::PRIVILEGE },
        Explained { value: "l1.not-cached-through.*", reason: because::PRIVILEGE },
        Explained { value: "l1.pat.*", reason: because::PRIVILEGE },
        Explained { value: "l1.pat-through.*", reason: because::PRIVILEGE },
    ]);

const PWT: u64 = 1 << 3;
const PCD: u64 = 1 << 4;

/// What is written, by name.
const WRITTEN: [(&str, u64); 21] = [
    ("present", P),
    ("kernel", P | RW | A | D),
    ("user", P | RW | US | A | D),
    ("read-only", P | US | A),
    ("global", P | RW | US | A | D | G),
    ("kernel-global", P | RW | A | D | G),
    ("not-executable", P | RW | US | A | D | NX),
    ("write-through", P | US | PWT),
    ("not-cached", P | US | PCD),
    ("not-cached-through", P | US | PWT | PCD),
    ("pat", P | US | PS),
    ("pat-through", P | US | PS | PWT),
    ("available", P | US | 7 << 9),
    ("bit-52", P | US | 1 << 52),
    ("kernel-bit-52", P | 1 << 52),
    ("available-high", P | US | 0x7fe << 52),
    ("kernel-available-high", P | 0x7fe << 52),
    ("not-present", 0),
    ("not-present-writable", RW | US),
    ("not-present-all", 0xffe),
    ("not-present-high", 0x7ff << 52 | NX),
];

fn observe() {
    let _emulated = EmulatedWrites::on();
    let va = WINDOW;
    let l1 = l1_for(va);
    let frame = mfn(take());
    for (name, flags) in WRITTEN {
        let by_address = map(va, frame << 12 | flags);
        observe!(("l1.{name}.by-address"), "{}: {}", code(by_address), Entry(entry_at(va, 1)));
        map(va, 0);
        let by_update = set_entry(l1, 0, frame << 12 | flags);
        observe!(("l1.{name}.by-update"), "{}: {}", code(by_update), Entry(entry_at(va, 1)));
        map(va, 0);
        trapped(name, va, frame << 12 | flags);
        map(va, 0);
    }
    for level in [2u32, 3, 4] {
        let table = table_at(va, level).unwrap_or(0);
        let index = paravane_abi::pte::index(va, level);
        let before = entry_at(va, level);
        for (name, flags) in WRITTEN {
            let result = set_entry(table, index, before & 0x000f_ffff_ffff_f000 | flags);
            let now = pv_probe::memory::peek(table, index);
            observe!(("l{level}.{name}"), "{}: {}", code(result), Entry(now));
            set_entry(table, index, before);
        }
    }
    preserved(va, l1, frame);
    used(va, frame);
}

/// The same by a write to the table, which the hypervisor emulates.
fn trapped(name: &str, va: u64, entry: u64) {
    let at = WINDOW + PAGE;
    let l1 = l1_for(va);
    let result = map(at, l1 << 12 | P | US | A);
    assert!(result == 0, "a table read-only: {result}");
    // SAFETY: the address maps the window's L1 read-only; the hypervisor emulates the write, or raises a fault that the
    // guard takes.
    let caught = unsafe { guarded(write as *const () as u64, (&raw const entry) as u64) };
    let now = Entry(entry_at(va, 1));
    match caught.vector {
        RETURNED => observe!(("l1.{name}.by-write"), "written: {now}"),
        vector => observe!(("l1.{name}.by-write"), "vector {vector} error {:x?}: {now}", caught.error()),
    }
    map(at, 0);
}

/// Writes an entry through the read-only mapping of its table.
extern "C" fn write(entry: &u64) {
    // SAFETY: as the caller says.
    unsafe { ((WINDOW + PAGE) as *mut u64).write_volatile(*entry) };
}

/// Updates that keep A and D.
fn preserved(va: u64, l1: u64, frame: u64) {
    let at = l1 << 12;
    for (name, before, after) in [
        ("set", P | US | A | D, P | US),
        ("clear", P | US, P | US | A | D),
        ("other-frame", P | US | A | D, P | US | RW),
    ] {
        map(va, frame << 12 | before);
        let result = pv_probe::hypercall::mmu_update(at | 2, frame << 12 | after);
        observe!(("preserve.{name}"), "{}: {}", code(result), Entry(entry_at(va, 1)));
        map(va, 0);
    }
}

/// What the processor leaves in an entry.
fn used(va: u64, frame: u64) {
    map(va, frame << 12 | P | RW | US);
    // SAFETY: the page is mapped and the case's own.
    unsafe { (va as *const u64).read_volatile() };
    observe!("used.read", "{}", Entry(entry_at(va, 1)));
    // SAFETY: as above.
    unsafe { (va as *mut u64).write_volatile(1) };
    observe!("used.written", "{}", Entry(entry_at(va, 1)));
    map(va, frame << 12 | DATA);
    map(va, 0);
}
