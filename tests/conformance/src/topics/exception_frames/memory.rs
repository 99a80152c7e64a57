//! Page faults, and addresses that are not canonical: error codes and the address in `vcpu_info.arch.cr2`.

use paravane_abi::mmu::MACH2PHYS_VIRT_START;
use paravane_abi::trap::vector;
use pv_probe::memory::{DATA, NX, P, PAGE, US, WINDOW, entry_at, map_new};
use pv_probe::user;

use crate::case::{Case, Rings, Verdict};
use crate::code;
use crate::code::{Half, fault_address, run, set_fault_address};
use crate::rows::pointers;
use crate::trial::Trial;

/// Nothing is mapped there.
const NOTHING: u64 = WINDOW + 0x3000_0000;
/// A page that may only be read, for both halves.
const READ_ONLY: u64 = NOTHING + PAGE;
/// A page that may not be executed.
const NO_CODE: u64 = NOTHING + 2 * PAGE;
/// A page of the kernel's, where rings make that difference.
const KERNEL_ONLY: u64 = NOTHING + 3 * PAGE;

/// A case: the half, the address in RDI, the error code, and the one instruction.
macro_rules! fault {
    ($name:literal, $half:ident, $address:expr, $error:literal, $line:literal) => {
        Case::good($name, concat!("error code, address and frame of ", $line), |t| {
            fault(t, Half::$half, $address, $error, code!($line))
        })
    };
}

const ONE: Rings = Rings::One("pages of ring 1 are the supervisor's");

/// The cases.
pub const CASES: &[Case] = &[
    fault!("kernel-read-nothing", Kernel, NOTHING, 0, "mov rax, [rdi]"),
    fault!("program-read-nothing", Program, NOTHING, 4, "mov rax, [rdi]"),
    fault!("kernel-write-nothing", Kernel, NOTHING, 2, "mov [rdi], rax"),
    fault!("program-write-nothing", Program, NOTHING, 6, "mov [rdi], rax"),
    fault!("kernel-write-read-only", Kernel, READ_ONLY, 3, "mov [rdi], rax"),
    fault!("program-write-read-only", Program, READ_ONLY, 7, "mov [rdi], rax"),
    fault!("kernel-exact-address", Kernel, NOTHING + 0xabc, 0, "mov al, [rdi]"),
    fault!("program-exact-address", Program, NOTHING + 0x123, 6, "mov [rdi], al"),
    fault!("kernel-lower-half", Kernel, 0x1234, 0, "mov al, [rdi]"),
    fault!("program-lower-half", Program, 0x1234, 4, "mov al, [rdi]"),
    fault!("kernel-read-hypervisor", Kernel, pointers::HYPERVISOR, 0, "mov rax, [rdi]"),
    fault!("program-read-hypervisor", Program, pointers::HYPERVISOR, 4, "mov rax, [rdi]"),
    fault!("kernel-write-machine-table", Kernel, MACH2PHYS_VIRT_START, 3, "mov [rdi], rax"),
    fault!("program-of-a-kernel-page", Program, KERNEL_ONLY, 5, "mov rax, [rdi]").rings(ONE),
    Case::good("kernel-call-nothing", "a call to where nothing is mapped", |t| {
        fetch(t, Half::Kernel, NOTHING, 0x10)
    }),
    Case::good("program-call-nothing", "the same of a program", |t| fetch(t, Half::Program, NOTHING, 0x14)),
    Case::good("kernel-call-data", "a call to a page without execution", |t| {
        fetch(t, Half::Kernel, NO_CODE, 0x11)
    }),
    Case::good("program-call-data", "the same of a program", |t| fetch(t, Half::Program, NO_CODE, 0x15)),
    Case::good("page-boundary", "an access across the end of a page faults at the second one", boundary),
    Case::good("kernel-not-canonical", "an address that is not canonical", |t| {
        not_canonical(t, Half::Kernel)
    }),
    Case::good("program-not-canonical", "the same of a program", |t| not_canonical(t, Half::Program)),
    Case::good("only-page-faults-have-addresses", "other exceptions leave arch.cr2 alone", others),
    Case::good("read-only-user-read", "what may be read is read by both halves", readable),
];

fn prepare() {
    if entry_at(READ_ONLY, 1) == 0 {
        map_new(READ_ONLY, P | US);
        map_new(NO_CODE, DATA | NX);
        map_new(KERNEL_ONLY, DATA & !US);
    }
    user::prepare();
}

fn fault(t: &mut Trial, half: Half, address: u64, error: u64, code: &[u8]) -> Verdict {
    prepare();
    set_fault_address(0);
    let came = run(half, code, address);
    let seen = fault_address();
    came.expect(t, vector::PF, Some(error), 0);
    t.equal("address", seen, address);
    Ok(())
}

fn fetch(t: &mut Trial, half: Half, address: u64, error: u64) -> Verdict {
    prepare();
    set_fault_address(0);
    let came = run(half, code!("jmp rdi"), address);
    let seen = fault_address();
    t.raises("fetch", &came.caught, vector::PF.into(), Some(error));
    t.equal("rip", came.caught.frame()[0], address);
    t.equal("address", seen, address);
    Ok(())
}

fn boundary(t: &mut Trial) -> Verdict {
    prepare();
    // NO_CODE can be read; behind KERNEL_ONLY lies nothing.
    let end = KERNEL_ONLY + PAGE;
    let came = run(Half::Kernel, code!("mov rax, [rdi]"), end - 3);
    let seen = fault_address();
    came.expect(t, vector::PF, Some(0), 0);
    t.equal("address", seen, end);
    Ok(())
}

fn not_canonical(t: &mut Trial, half: Half) -> Verdict {
    set_fault_address(0x55);
    let came = run(half, code!("mov rax, [rdi]"), pointers::NOT_CANONICAL);
    came.expect(t, vector::GP, Some(0), 0);
    t.equal("address", fault_address(), 0x55);
    Ok(())
}

fn others(t: &mut Trial) -> Verdict {
    set_fault_address(0x1234_5678);
    for (name, code) in
        [("invalid-opcode", code!("ud2")), ("protection", code!("hlt")), ("breakpoint", code!("int3"))]
    {
        run(Half::Kernel, code, 0);
        t.equal(name, fault_address(), 0x1234_5678);
    }
    Ok(())
}

fn readable(t: &mut Trial) -> Verdict {
    prepare();
    for half in [Half::Kernel, Half::Program] {
        let came = run(half, code!("mov rax, -1", "mov rax, [rdi]"), READ_ONLY);
        t.raises(half.name(), &came.caught, vector::UD.into(), None);
        t.equal(format_args!("{}.read", half.name()), came.caught.registers[0], 0);
    }
    Ok(())
}
