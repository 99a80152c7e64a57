//! What a hypercall does to the caller (xen/include/public/arch-x86/xen-x86_64.h).
//!
//! RAX is the number, RDI, RSI, RDX, R10, R8 and R9 are the arguments, RAX is the result. `syscall` makes the call: RCX is
//! then the address behind it and R11 the flags; all other registers and the flags are kept, but for the arguments of a long
//! call that was interrupted and went on. The hypercall page has a slot of 32 bytes for each number, which keeps RCX and R11 as
//! well; that of `iret` pushes what the call takes. The page is filled when a kernel's ELF note names it, or by a write to
//! the MSR 0x40000000. A number that is no call's is `ENOSYS`, all 64 bits of it.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::{
    HYPERVISOR_IRET, HYPERVISOR_MMU_UPDATE, HYPERVISOR_SCHED_OP, HYPERVISOR_XEN_VERSION, PAGE_SLOTS,
    SLOT_SIZE,
};
use paravane_abi::mmu::{DOMID_SELF, MMU_NORMAL_PT_UPDATE, MmuUpdate};
use paravane_abi::trap::vector;
use pv_probe::boot::start;
use pv_probe::hypercall::{map, raw};
use pv_probe::memory::{DATA, PAGE, PAGE as PAGE_SIZE, Page, WINDOW, l1_for, map_new, mfn, take};
use pv_probe::{ring, user};

use crate::case::{Case, Rings, Row, Verdict};
use crate::code;
use crate::code::{Came, Half, kernel, kernel_address};
use crate::trial::Trial;

const THREE: Rings = Rings::Three("a kernel in ring 1 calls by int 0x82, which the topic ring1 tries");

/// The row.
pub const ROW: Row = Row::call(
    "hypercall-entry",
    &[
        Case::good("registers", "all registers but RAX, RCX and R11 are kept", registers).rings(THREE),
        Case::good("rcx-r11", "RCX is the return address and R11 the flags", rcx_r11).rings(THREE),
        Case::good("flags", "the flags are kept", flags).rings(THREE),
        Case::good("stack", "nothing is written below the stack", stack),
        Case::good("page-slots", "the slots of the hypercall page", page_slots).rings(THREE),
        Case::good("page-slot-called", "a call of a slot keeps RCX and R11", slot_called).rings(THREE),
        Case::good("page-slot-iret", "the slot of iret", slot_iret),
        Case::good("page-by-msr", "a page is filled by a write to the MSR", by_msr),
        Case::refusal("page-by-msr-bad", "no page that is not the guest's to write", by_msr_bad),
        Case::refusal("number-64-bits", "all of RAX is the number", number),
        Case::good("result-64-bits", "the result is all of RAX", result),
        Case::good("long-call", "a long call keeps the registers that are no arguments", long_call),
    ],
);

/// A code of registers set to known values, then `sched_op(yield)`.
fn registers(t: &mut Trial) -> Verdict {
    let code = code!(
        "mov ebx, 0x2222",
        "mov ecx, 0x3333",
        "mov edx, 0x4444",
        "mov esi, 0x5555",
        "xor edi, edi",
        "mov ebp, 0x7777",
        "mov r8d, 0x8888",
        "mov r9d, 0x9999",
        "mov r10d, 0xaaaa",
        "mov r11d, 0xbbbb",
        "mov r12d, 0xcccc",
        "mov r13d, 0xdddd",
        "mov r14d, 0xeeee",
        "mov r15d, 0xffff",
        "mov eax, 29",
        "syscall",
        "ud2"
    );
    let came = kernel(code, 0);
    t.raises("kernel", &came.caught, vector::UD.into(), None);
    let mut wanted: [u64; 15] = core::array::from_fn(|index| 0x1111 * (index as u64 + 1));
    (wanted[0], wanted[5]) = (0, 0);
    for index in [2, 10] {
        wanted[index] = came.caught.registers[index];
    }
    t.holds("kept", came.caught.registers == wanted);
    t.equal("rsp", came.caught.frame()[3].wrapping_sub(came.rsp), 0);
    t.equal("number", HYPERVISOR_SCHED_OP, 29);
    Ok(())
}

fn rcx_r11(t: &mut Trial) -> Verdict {
    let code = code!("mov eax, 29", "xor edi, edi", "stc", "syscall", "ud2");
    let came = kernel(code, 0);
    t.raises("kernel", &came.caught, vector::UD.into(), None);
    t.equal("rcx", came.caught.pushed[0].wrapping_sub(came.start), code.len() as u64 - 2);
    t.equal("r11", came.caught.pushed[1], 0x247);
    Ok(())
}

fn flags(t: &mut Trial) -> Verdict {
    for bits in [0u64, 0x8d5, 0x400, 0x4_0000, 0x20_0000, 0x24_0cd5] {
        let code = code!(
            "push rdi",
            "popfq",
            "mov eax, 29",
            "mov edi, 0",
            "syscall",
            "pushfq",
            "pop r15",
            "cld",
            "ud2"
        );
        let came = kernel(code, bits);
        t.raises(format_args!("{bits:x}"), &came.caught, vector::UD.into(), None);
        t.equal(format_args!("{bits:x}.after"), came.caught.registers[14], bits | 0x202);
    }
    Ok(())
}

fn stack(t: &mut Trial) -> Verdict {
    let [a, b] = ring::hypercall();
    // mov rsp, rdi; mov eax, 29; xor edi, edi; the call; ud2, whose frame is what is written there last.
    let code = [
        0x48, 0x89, 0xfc, 0xb8, 29, 0, 0, 0, 0x31, 0xff, a, b, 0x48, 0x8b, 0x5c, 0x24, 0xf8, 0x4c, 0x8b,
        0x64, 0x24, 0x80,
    ];
    let words = BELOW.address() as *mut u64;
    // SAFETY: words of the page.
    (0..512).for_each(|index| unsafe { words.add(index).write_volatile(0x5a5a) });
    let came = kernel(&code, BELOW.address() + PAGE_SIZE);
    t.raises("kernel", &came.caught, vector::UD.into(), None);
    t.equal("rbx", came.caught.registers[1], 0x5a5a);
    t.equal("r12", came.caught.registers[11], 0x5a5a);
    Ok(())
}

/// A stack.
static BELOW: Page = Page::new();

fn slot(page: u64, number: usize) -> [u8; SLOT_SIZE] {
    // SAFETY: a slot of a page that is mapped.
    unsafe { ((page + (number * SLOT_SIZE) as u64) as *const [u8; SLOT_SIZE]).read_volatile() }
}

fn page_slots(t: &mut Trial) -> Verdict {
    let page = start().hypercall_page;
    let good = (0..PAGE_SLOTS).filter(|&number| number as u64 != HYPERVISOR_IRET).all(|number| {
        let n = (number as u32).to_le_bytes();
        // push rcx; push r11; mov eax, n; syscall; pop r11; pop rcx; ret
        let want = [0x51, 0x41, 0x53, 0xb8, n[0], n[1], n[2], n[3], 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3];
        slot(page, number)[..14] == want
    });
    t.holds("all", good);
    // push rcx; push r11; push rax; mov eax, 23; syscall
    let iret = slot(page, HYPERVISOR_IRET as usize);
    t.holds("iret", iret[..11] == [0x51, 0x41, 0x53, 0x50, 0xb8, HYPERVISOR_IRET as u8, 0, 0, 0, 0x0f, 0x05]);
    Ok(())
}

fn slot_called(t: &mut Trial) -> Verdict {
    let address = start().hypercall_page + HYPERVISOR_XEN_VERSION * SLOT_SIZE as u64;
    let code = code!("mov r15, rdi", "xor edi, edi", "mov ecx, 0x33", "mov r11d, 0x44", "call r15");
    let came = kernel(code, address);
    came.expect(t, vector::UD, None, code.len() as u64);
    t.holds("result", came.caught.registers[0] as i64 == raw(HYPERVISOR_XEN_VERSION, [0; 5]));
    t.equal("rcx", came.caught.pushed[0], 0x33);
    t.equal("r11", came.caught.pushed[1], 0x44);
    Ok(())
}

fn slot_iret(t: &mut Trial) -> Verdict {
    user::prepare();
    user::place(code!("ud2"));
    // The slot's pushes are below these: flags, RIP, CS, RFLAGS, RSP, SS.
    let words = BELOW.address() as *mut u64;
    let frame = user::frame();
    for (index, value) in frame[3..].iter().enumerate() {
        // SAFETY: words of the page.
        unsafe { words.add(128 + index).write_volatile(*value) };
    }
    let address = start().hypercall_page + HYPERVISOR_IRET * SLOT_SIZE as u64;
    code::place(code!(
        "lea rsp, [rdi + 1024]",
        "mov rbx, rsi",
        "mov eax, 0x11",
        "mov ecx, 0x33",
        "mov r11d, 0x44",
        "jmp rbx"
    ));
    let mut registers = [0; 15];
    (registers[4], registers[5]) = (address, BELOW.address());
    let to = [
        0,
        0,
        0,
        0,
        kernel_address(),
        ring::shown_code(),
        2,
        pv_probe::guard::trap_stack() - 0x400,
        u64::from(ring::stack()),
    ];
    // SAFETY: the code leads to a program's `ud2`.
    let caught = unsafe { pv_probe::guard::leave(&to, &registers) };
    let came = Came { caught, half: Half::Program, start: user::CODE, rsp: user::STACK_END };
    came.expect(t, vector::UD, None, 0);
    t.equal("rax", came.caught.registers[0], 0x11);
    t.equal("rcx", came.caught.pushed[0], 0x33);
    t.equal("r11", came.caught.pushed[1], 0x44);
    Ok(())
}

/// Writes the MSR of hypercall pages.
fn write_msr(value: u64) -> Came {
    kernel(code!("mov rax, rdi", "mov rdx, rdi", "shr rdx, 32", "mov ecx, 0x40000000", "wrmsr"), value)
}

/// Where a page for stubs is mapped.
const PAGE_AT: u64 = WINDOW + 0x3600_0000;

fn by_msr(t: &mut Trial) -> Verdict {
    let frame = mfn(map_new(PAGE_AT, DATA));
    let came = write_msr(frame << 12);
    t.raises("written", &came.caught, vector::UD.into(), None);
    let own = start().hypercall_page;
    t.holds("same", (0..PAGE_SLOTS).all(|number| slot(PAGE_AT, number) == slot(own, number)));
    t.need("back", map(PAGE_AT, 0))
}

fn by_msr_bad(t: &mut Trial) -> Verdict {
    for (name, value) in [("root", pv_probe::memory::root() << 12), ("no-frame", 0xff_ffff_f000)] {
        let came = t.unchanged(name, || write_msr(value));
        t.raises(name, &came.caught, vector::GP.into(), Some(0));
    }
    Ok(())
}

fn number(t: &mut Trial) -> Verdict {
    for (name, number) in [
        ("bit-32", 1 << 32 | HYPERVISOR_XEN_VERSION),
        ("bit-63", 1 << 63 | HYPERVISOR_XEN_VERSION),
        ("all", u64::MAX),
    ] {
        t.refused(name, Errno::ENOSYS, || raw(number, [0; 5]));
    }
    t.holds("good", raw(HYPERVISOR_XEN_VERSION, [0; 5]) > 0);
    Ok(())
}

fn result(t: &mut Trial) -> Verdict {
    let [a, b] = ring::hypercall();
    // mov rax, 63; the call
    let came = kernel(&[0x48, 0xc7, 0xc0, 63, 0, 0, 0, a, b], 0);
    t.raises("kernel", &came.caught, vector::UD.into(), None);
    t.equal("rax", came.caught.registers[0], Errno::ENOSYS.to_ret() as u64);
    Ok(())
}

/// Requests of a batch that no hypervisor does in one go.
const REQUESTS: usize = 20_000;

fn long_call(t: &mut Trial) -> Verdict {
    // A list in pages of its own, each request the same harmless one.
    const LIST: u64 = WINDOW + 0x3700_0000;
    let pages = (REQUESTS * size_of::<MmuUpdate>()).div_ceil(PAGE as usize) as u64;
    let va = PAGE_AT + PAGE;
    let table = l1_for(va);
    let entry = mfn(take()) << 12 | DATA;
    let pointer = table << 12 | (paravane_abi::pte::index(va, 1) as u64) << 3 | MMU_NORMAL_PT_UPDATE;
    let frame = map_new(LIST, DATA);
    for page in 1..pages {
        l1_for(LIST + page * PAGE);
        t.need("the list", map(LIST + page * PAGE, mfn(frame) << 12 | DATA))?;
    }
    for index in 0..PAGE / 16 {
        // SAFETY: the list's one frame.
        unsafe {
            ((LIST + index * 16) as *mut MmuUpdate).write_volatile(MmuUpdate { ptr: pointer, val: entry })
        };
    }
    let [a, b] = ring::hypercall();
    // mov ebx, 0x22; mov ebp, 0x77; mov r12d, 0xcc; mov r15d, 0xff; xor edx, edx; mov r10d, DOMID_SELF; mov eax, 1; the call
    let code = [
        0xbb,
        0x22,
        0,
        0,
        0,
        0xbd,
        0x77,
        0,
        0,
        0,
        0x41,
        0xbc,
        0xcc,
        0,
        0,
        0,
        0x41,
        0xbf,
        0xff,
        0,
        0,
        0,
        0x31,
        0xd2,
        0x41,
        0xba,
        DOMID_SELF as u8,
        (DOMID_SELF >> 8) as u8,
        0,
        0,
        0xb8,
        HYPERVISOR_MMU_UPDATE as u8,
        0,
        0,
        0,
        a,
        b,
    ];
    code::place(&code);
    let mut registers = [0; 15];
    (registers[4], registers[5]) = (REQUESTS as u64, LIST);
    let to = [
        0,
        0,
        0,
        0,
        kernel_address(),
        ring::shown_code(),
        2,
        pv_probe::guard::trap_stack() - 0x400,
        u64::from(ring::stack()),
    ];
    // SAFETY: the code makes a call, and ends in `ud2`.
    let caught = unsafe { pv_probe::guard::leave(&to, &registers) };
    t.raises("kernel", &caught, vector::UD.into(), None);
    t.equal("result", caught.registers[0], 0);
    for (name, index, value) in [("rbx", 1, 0x22), ("rbp", 6, 0x77), ("r12", 11, 0xcc), ("r15", 14, 0xff)] {
        t.equal(name, caught.registers[index], value);
    }
    t.equal("rip", caught.frame()[0].wrapping_sub(kernel_address()), code.len() as u64);
    for page in 0..pages {
        t.need("the list", map(LIST + page * PAGE, 0))?;
    }
    t.need("the subject", map(va, 0))
}
