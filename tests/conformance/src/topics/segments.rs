//! Segments: selectors that the guest loads, and bases (`set_segment_base`, `set_gdt`, `MMUEXT_SET_LDT`).
//!
//! Loading a selector of a data segment gives FS or GS the descriptor's base; a base that was set by call or MSR stays until
//! then. In ring 3 kernel and programs have a GS base each. The guest may have 14 pages of descriptors, of level 3 (or its own);
//! what follows them is the hypervisor's. A kernel in ring 3 may have an LDT too.

use paravane_abi::hypercall::{HYPERVISOR_SET_SEGMENT_BASE, HYPERVISOR_UPDATE_DESCRIPTOR};
use paravane_abi::mmu::MMUEXT_SET_LDT;
use paravane_abi::ring1::USER_CS64;
use paravane_abi::segment::FLAT_RING3_DS32;
use paravane_abi::trap::vector;
use pv_probe::hypercall::{map, mmuext, raw, yield_now};
use pv_probe::memory::{P, PAGE, Page, US, WINDOW, l1_for, mfn, take};
use pv_probe::ring;

use crate::case::{Case, Rings, Row, Verdict};
use crate::code;
use crate::code::{Half, kernel, program, run};
use crate::topics::gdt::{self, CODE64, DATA, Gdt};
use crate::trial::Trial;

const THREE: Rings = Rings::Three("a kernel in ring 1 has one GS base with its programs, and no LDT");

/// The row.
pub const ROW: Row = Row::call(
    "segments",
    &[
        Case::good("fs-reads", "an access by FS adds its base", |t| reads(t, 0)),
        Case::good("gs-reads", "an access by GS adds its base", |t| reads(t, 2)).rings(THREE),
        Case::good("gs-halves", "kernel and programs have a GS base each", gs_halves).rings(THREE),
        Case::good("kept", "selectors and bases over calls, exceptions and programs", kept),
        Case::good("flat-selectors", "the hypervisor's flat selectors can be loaded", flat),
        Case::good("null-selectors", "DS, ES, FS and GS can be null", null),
        Case::good(
            "descriptor-base",
            "a selector of the guest's own has its descriptor's base",
            descriptor_base,
        ),
        Case::good("own-data", "data of the guest's own, for every register", own_data),
        Case::good("own-code", "code of the guest's own, by a far return", own_code).rings(THREE),
        Case::refusal("beyond-gdt", "a selector beyond the guest's descriptors", beyond),
        Case::refusal("hypervisors", "selectors of the hypervisor's own descriptors", hypervisors),
        Case::good("ldt", "a selector of an LDT", ldt).rings(THREE),
        Case::good("ldt-taken-away", "an LDT of no entries", ldt_none).rings(THREE),
        Case::good("visible", "lar and verr tell the flat segments", visible),
    ],
);

/// What is read.
static DATA_PAGE: Page = Page::new();

fn set_base(t: &mut Trial, which: u64, base: u64) -> Verdict {
    t.need("set_segment_base", raw(HYPERVISOR_SET_SEGMENT_BASE, [which, base, 0, 0, 0]))
}

fn reads(t: &mut Trial, which: u64) -> Verdict {
    // SAFETY: a word of the page.
    unsafe { ((DATA_PAGE.address() + 0x80) as *mut u64).write_volatile(0x1234_5678_9abc) };
    set_base(t, which, DATA_PAGE.address())?;
    let code = if which == 0 { code!("mov rax, fs:[0x80]") } else { code!("mov rax, gs:[0x80]") };
    let came = kernel(code, 0);
    set_base(t, which, 0)?;
    t.raises("kernel", &came.caught, vector::UD.into(), None);
    t.equal("read", came.caught.registers[0], 0x1234_5678_9abc);
    Ok(())
}

/// The base of GS as an access shows it: the kernel's fault address, less the offset.
fn live_gs(half: Half) -> u64 {
    run(half, code!("mov al, gs:[0x123]"), 0);
    crate::code::fault_address().wrapping_sub(0x123)
}

fn gs_halves(t: &mut Trial) -> Verdict {
    set_base(t, 1, 0x1111_0000)?;
    set_base(t, 2, 0x2222_0000)?;
    t.equal("kernel", live_gs(Half::Kernel), 0x2222_0000);
    t.equal("program", live_gs(Half::Program), 0x1111_0000);
    t.equal("kernel-again", live_gs(Half::Kernel), 0x2222_0000);
    set_base(t, 1, 0)?;
    set_base(t, 2, 0)
}

fn kept(t: &mut Trial) -> Verdict {
    let flat = u64::from(FLAT_RING3_DS32);
    kernel(code!("mov ds, edi", "mov es, edi", "mov fs, edi"), flat);
    set_base(t, 0, 0x3333_0000)?;
    (0..10).for_each(|_| yield_now());
    kernel(code!("int3"), 0);
    program(code!("nop"), 0);
    let came = kernel(
        code!(
            "mov r12d, ds",
            "mov r13d, es",
            "mov r14d, fs",
            "xor eax, eax",
            "mov ds, eax",
            "mov es, eax",
            "mov al, fs:[0x10]"
        ),
        0,
    );
    t.raises("kernel", &came.caught, vector::PF.into(), Some(0));
    t.equal("fs-base", crate::code::fault_address(), 0x3333_0010);
    for (name, index) in [("ds", 11), ("es", 12), ("fs", 13)] {
        t.equal(name, came.caught.registers[index], flat);
    }
    kernel(code!("xor eax, eax", "mov fs, eax"), 0);
    set_base(t, 0, 0)
}

fn flat(t: &mut Trial) -> Verdict {
    for half in [Half::Kernel, Half::Program] {
        let code = code!(
            "mov ds, edi",
            "mov es, edi",
            "mov fs, edi",
            "mov gs, edi",
            "mov eax, gs",
            "xor ecx, ecx",
            "mov ds, ecx",
            "mov es, ecx",
            "mov fs, ecx",
            "mov gs, ecx"
        );
        let came = run(half, code, FLAT_RING3_DS32.into());
        t.raises(half.name(), &came.caught, vector::UD.into(), None);
        t.equal(format_args!("{}.gs", half.name()), came.caught.registers[0], FLAT_RING3_DS32.into());
    }
    Ok(())
}

fn null(t: &mut Trial) -> Verdict {
    for half in [Half::Kernel, Half::Program] {
        for selector in 0..4 {
            let came = run(half, code!("mov ds, edi", "mov es, edi", "mov fs, edi", "mov gs, edi"), selector);
            t.raises(format_args!("{}.{selector}", half.name()), &came.caught, vector::UD.into(), None);
        }
    }
    kernel(code!("xor edi, edi", "mov ds, edi", "mov es, edi", "mov fs, edi", "mov gs, edi"), 0);
    Ok(())
}

fn descriptor_base(t: &mut Trial) -> Verdict {
    let gdt = Gdt::install(&[(7, gdt::with_base(DATA, 0x1234_5000))])?;
    let came = kernel(code!("mov eax, 0x3b", "mov fs, eax", "mov al, fs:[0x67]"), 0);
    t.raises("kernel", &came.caught, vector::PF.into(), Some(0));
    t.equal("address", crate::code::fault_address(), 0x1234_5067);
    kernel(code!("xor eax, eax", "mov fs, eax"), 0);
    gdt.remove()
}

fn own_data(t: &mut Trial) -> Verdict {
    let gdt = Gdt::install(&[(7, DATA)])?;
    for half in [Half::Kernel, Half::Program] {
        let code = code!(
            "mov eax, 0x3b",
            "mov ds, eax",
            "mov es, eax",
            "mov fs, eax",
            "mov gs, eax",
            "xor ecx, ecx",
            "mov ds, ecx",
            "mov es, ecx",
            "mov fs, ecx",
            "mov gs, ecx"
        );
        t.raises(half.name(), &run(half, code, 0).caught, vector::UD.into(), None);
    }
    gdt.remove()
}

fn own_code(t: &mut Trial) -> Verdict {
    let gdt = Gdt::install(&[(3, CODE64)])?;
    for half in [Half::Kernel, Half::Program] {
        let came =
            run(half, code!("push 0x1b", "lea rax, [rip + 3]", "push rax", "retfq", "mov r14d, cs"), 0);
        t.raises(half.name(), &came.caught, vector::UD.into(), None);
        t.equal(format_args!("{}.cs", half.name()), came.caught.registers[13], 0x1b);
    }
    gdt.remove()
}

fn beyond(t: &mut Trial) -> Verdict {
    let gdt = Gdt::install(&[(7, DATA)])?;
    for (name, selector) in [("empty", 0x43u64), ("beyond", 0x1003), ("end", 0xdffb)] {
        let came = kernel(code!("mov ds, edi"), selector);
        t.raises(name, &came.caught, vector::GP.into(), Some(selector & !3));
    }
    gdt.remove()
}

fn hypervisors(t: &mut Trial) -> Verdict {
    for (name, selector) in [("code", 0xe008u64), ("data", 0xe010), ("code-3", 0xe00b), ("data-3", 0xe013)] {
        for half in [Half::Kernel, Half::Program] {
            let came = run(half, code!("mov ds, edi"), selector);
            t.raises(
                format_args!("{}.{name}", half.name()),
                &came.caught,
                vector::GP.into(),
                Some(selector & !3),
            );
        }
    }
    Ok(())
}

/// Where an LDT's page is mapped, read-only as the hypervisor wants it.
const LDT: u64 = WINDOW + 0x3800_0000;

/// Has the hypervisor use a page of descriptors as the LDT: its frame.
fn set_ldt(t: &mut Trial, entries: u64) -> Verdict {
    t.need("set_ldt", mmuext(MMUEXT_SET_LDT, LDT, entries))
}

fn prepare_ldt(t: &mut Trial) -> Verdict {
    l1_for(LDT);
    let frame = mfn(take());
    t.need("the page", map(LDT, frame << 12 | P | US))?;
    let descriptor = gdt::with_base(DATA, 0x2345_6000);
    t.need("update_descriptor", raw(HYPERVISOR_UPDATE_DESCRIPTOR, [frame << 12 | 16, descriptor, 0, 0, 0]))
}

fn ldt(t: &mut Trial) -> Verdict {
    prepare_ldt(t)?;
    set_ldt(t, PAGE / 8)?;
    let came = kernel(code!("mov eax, 0x17", "mov fs, eax", "mov al, fs:[0x78]"), 0);
    t.raises("kernel", &came.caught, vector::PF.into(), Some(0));
    t.equal("address", crate::code::fault_address(), 0x2345_6078);
    let came =
        program(code!("mov eax, 0x17", "mov es, eax", "mov r14d, es", "xor eax, eax", "mov es, eax"), 0);
    t.raises("program", &came.caught, vector::UD.into(), None);
    t.equal("selector", came.caught.registers[13], 0x17);
    kernel(code!("xor eax, eax", "mov fs, eax"), 0);
    set_ldt(t, 0)?;
    t.need("the page", map(LDT, 0))
}

fn ldt_none(t: &mut Trial) -> Verdict {
    prepare_ldt(t)?;
    set_ldt(t, PAGE / 8)?;
    set_ldt(t, 0)?;
    let came = kernel(code!("mov eax, 0x17", "mov fs, eax"), 0);
    t.raises("kernel", &came.caught, vector::GP.into(), Some(0x14));
    t.need("the page", map(LDT, 0))
}

fn visible(t: &mut Trial) -> Verdict {
    let selectors = [
        ("user-code", u64::from(USER_CS64), 1),
        ("own-code", ring::code().into(), 1),
        ("hypervisor", 0xe008, 0),
    ];
    for (name, selector, there) in selectors {
        let came = kernel(code!("xor eax, eax", "lar eax, edi", "setz al", "movzx r14d, al"), selector);
        t.raises(name, &came.caught, vector::UD.into(), None);
        t.equal(format_args!("{name}.there"), came.caught.registers[13], there);
    }
    Ok(())
}
