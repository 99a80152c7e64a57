//! What the processor makes of entries' bits, and what it writes to them (SDM volume 3, 4.6 and 4.8).

use paravane_abi::pte;
use pv_probe::guard::{Caught, RETURNED, guarded};
use pv_probe::memory::{A, D, DATA, NX, P, PS, READ, RW, US, entry_at, peek, root};
use pv_probe::user;

use crate::case::{Case, Rings, Row, Verdict};
use crate::rows::tables::{Mapped, entry, filled, frame, hierarchy, load, place, store};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "page-table-rules-entries",
    &[
        Case::good("accessed", "a read marks an entry accessed, and not dirty", accessed),
        Case::good("dirty", "a write marks it dirty", dirty),
        Case::good("upper-accessed", "entries of upper tables are marked accessed", upper_accessed),
        Case::good("no-execute", "NX: the page is read and not run", no_execute),
        Case::good("execute", "without NX it is run", execute),
        Case::good("upper-no-execute", "NX in an upper entry is for all below it", upper_no_execute),
        Case::good("upper-read-only", "an upper entry without RW is for all below it", upper_read_only),
        Case::good(
            "kernel-page",
            "in ring 3 programs reach what their own table maps, US or not",
            kernel_page,
        )
        .rings(Rings::Three("in ring 1 US keeps programs out")),
        Case::good("supervisor-page", "in ring 1 programs do not reach pages without US", supervisor_page)
            .rings(Rings::One("in ring 3 the hypervisor sets US in every entry")),
        Case::good(
            "machine-to-physical",
            "the machine-to-physical table is read and not written",
            machine_to_physical,
        ),
        Case::refusal("large-pages", "PS at any level above the first", large_pages),
    ],
);

fn accessed(t: &mut Trial) -> Verdict {
    let page = Mapped::with(32, entry(frame(), P | RW | US | NX));
    t.flags("before", page.entry(), A | D, 0);
    t.reads("read", page.address(), 0);
    t.flags("after", page.entry(), A | D, A);
    Ok(())
}

fn dirty(t: &mut Trial) -> Verdict {
    let page = Mapped::with(32, entry(frame(), P | RW | US | NX));
    t.raises("write", &store(page.address()), RETURNED, None);
    t.flags("after", page.entry(), A | D, A | D);
    Ok(())
}

/// An address in an L4 slot where nothing is.
const FAR: u64 = 0xffff_8d00_0000_4000;

/// Maps a page there, the entries of L3 and L2 with these flags, the L4's with all: the tables.
struct Far([u64; 3]);

impl Far {
    fn new(page: u64, upper: u64) -> Self {
        let l1 = filled(&[(pte::index(FAR, 1), entry(page, P | RW))]);
        let l2 = filled(&[(pte::index(FAR, 2), entry(l1, upper))]);
        let l3 = filled(&[(pte::index(FAR, 3), entry(l2, upper))]);
        let result = pv_probe::hypercall::set_entry(root(), pte::index(FAR, 4), entry(l3, DATA));
        assert!(result == 0, "far tables: {result}");
        Self([l3, l2, l1])
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        pv_probe::hypercall::set_entry(root(), pte::index(FAR, 4), 0);
    }
}

fn upper_accessed(t: &mut Trial) -> Verdict {
    let far = Far::new(frame(), P | RW | US);
    for (level, table) in [(3, far.0[0]), (2, far.0[1])] {
        t.flags(format_args!("l{level}.before"), peek(table, pte::index(FAR, level)), A, 0);
    }
    t.reads("read", FAR, 0);
    for (level, table) in [(3, far.0[0]), (2, far.0[1])] {
        t.flags(format_args!("l{level}.after"), peek(table, pte::index(FAR, level)), A, A);
    }
    Ok(())
}

/// Calls code that is one `ret`.
fn call(address: u64) -> Caught {
    // SAFETY: a `ret`, or what the page's entry makes of it.
    unsafe { guarded(address, 0) }
}

/// A page that begins with `ret`.
fn code() -> u64 {
    filled(&[(0, 0xc3)])
}

fn no_execute(t: &mut Trial) -> Verdict {
    let page = Mapped::with(32, entry(code(), P | RW | NX));
    t.reads("read", page.address(), 0xc3);
    t.raises("call", &call(page.address()), 14, Some(0x11));
    Ok(())
}

fn execute(t: &mut Trial) -> Verdict {
    // Without US, since a kernel in ring 1 must not run its programs' pages.
    let page = Mapped::with(32, entry(code(), P));
    t.raises("call", &call(page.address()), RETURNED, None);
    Ok(())
}

fn upper_no_execute(t: &mut Trial) -> Verdict {
    for (name, upper, want) in [("without", P | RW | US, None), ("with", P | RW | US | NX, Some(0x11))] {
        let _far = Far::new(code(), upper);
        t.reads(format_args!("{name}.read"), FAR, 0xc3);
        let vector = if want.is_some() { 14 } else { RETURNED };
        t.raises(format_args!("{name}.call"), &call(FAR), vector, want);
    }
    Ok(())
}

fn upper_read_only(t: &mut Trial) -> Verdict {
    let _far = Far::new(frame(), P | US);
    t.reads("read", FAR, 0);
    t.raises("write", &store(FAR), 14, Some(3));
    Ok(())
}

/// A program that reads a word.
fn program(address: u64) -> Caught {
    let mut registers = [0; 15];
    registers[1] = address;
    // mov rax, [rbx]; ud2
    user::run(&[0x48, 0x8b, 0x03, 0x0f, 0x0b], &registers)
}

fn kernel_page(t: &mut Trial) -> Verdict {
    let page = Mapped::with(32, entry(filled(&[(0, 0x99)]), P | NX));
    let caught = program(page.address());
    t.raises("program", &caught, 6, None);
    t.equal("word", caught.registers[0], 0x99);
    Ok(())
}

fn supervisor_page(t: &mut Trial) -> Verdict {
    let page = Mapped::with(32, entry(filled(&[(0, 0x99)]), P | NX));
    t.raises("program", &program(page.address()), 14, Some(5));
    let page = Mapped::with(32, entry(filled(&[(0, 0x98)]), READ | NX));
    let caught = program(page.address());
    t.raises("program-us", &caught, 6, None);
    t.equal("word", caught.registers[0], 0x98);
    Ok(())
}

fn machine_to_physical(t: &mut Trial) -> Verdict {
    let address = paravane_abi::mmu::MACH2PHYS_VIRT_START + root() * 8;
    t.raises("read", &load(address), RETURNED, None);
    t.raises("write", &store(address), 14, Some(3));
    t.holds("no-l1-of-ours", entry_at(place(0), 4) & P != 0);
    Ok(())
}

fn large_pages(t: &mut Trial) -> Verdict {
    let far = Far::new(frame(), DATA);
    for (level, table) in [(4, root()), (3, far.0[0]), (2, far.0[1])] {
        let index = pte::index(FAR, level) + 1;
        let value = entry(far.0[2] & !0x1ff, DATA | PS);
        t.refused(format_args!("l{level}"), paravane_abi::errno::Errno::EINVAL, || {
            pv_probe::hypercall::set_entry(table, index, value)
        });
    }
    // Nothing is made of PS in what is not validated by an entry: a pin looks at it too.
    let table = filled(&[(0, entry(hierarchy(FAR, 0), DATA | PS))]);
    t.refused("pin", paravane_abi::errno::Errno::EINVAL, || {
        pv_probe::hypercall::mmuext(paravane_abi::mmu::MMUEXT_PIN_L4_TABLE, table, 0)
    });
    Ok(())
}
