//! How a kernel finds out where it is, how it calls, and what its memory is like.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::{
    HYPERVISOR_IRET, HYPERVISOR_SCHED_OP, HYPERVISOR_XEN_VERSION, PAGE_SLOTS, SLOT_SIZE,
};
use paravane_abi::ring1::{
    CPUID_LEAF_MAX, CPUID_LEAF_SIGNATURE, CPUID_LEAF_VERSION, ENTRY_AREA, ENTRY_CODE_OFFSET,
    ENTRY_GDT_OFFSET, ENTRY_IDT_OFFSET, ENTRY_TSS_OFFSET, HYPERVISOR_RING1_OP, INTERFACE_VERSION,
    M2P_VIRT_START, RING1_CS64, RING1_OP_READ_COUNTERS, RING1_SS, Ring1Counters, is_signature,
};
use paravane_abi::trap::vector;
use pv_probe::boot::{EntryRegisters, start};
use pv_probe::hypercall::{map, operation, raw, yield_now};
use pv_probe::memory::{DATA, G, PAGE, PS, WINDOW, entry_at, l1_for, mfn, take};

use super::{good, refusal};
use crate::case::{Case, Verdict};
use crate::code;
use crate::code::{Half, kernel, program, run};
use crate::topics::cpuid_of::forced_cpuid;
use crate::trial::Trial;

/// The cases.
pub const CASES: &[Case] = &[
    good("selectors", "CS and SS of the kernel", selectors),
    good("entry-registers", "registers at the first instruction", entry_registers),
    good("signature", "the extension's CPUID leaves", signature),
    good("registers-kept", "int 0x82 keeps every register but RAX", registers),
    good("flags-kept", "int 0x82 keeps the flags", flags),
    good("page-slots", "the slots of the hypercall page", page_slots),
    good("page-slot-called", "a call of a slot", page_slot_called),
    refusal("program-call", "int 0x82 of a program is #GP", program_call),
    refusal("syscall", "syscall of the kernel is an invalid opcode, and no call", kernel_syscall),
    good("counters", "ring1_op counts hypercalls", counters),
    refusal("counters-unknown", "no other sub-operation", counters_unknown),
    refusal("page-size", "PS in an entry", |t| entry_refused(t, PS)),
    good("global", "G in an entry is dropped", global),
    refusal("entry-area-write", "the entry area is not the kernel's to write", entry_area),
    good("entry-area-read", "the kernel may read it", entry_area_read),
    refusal("entry-area-program", "nor the programs' to read", entry_area_program),
    refusal("machine-table-program", "nor is the machine-to-physical table", machine_table_program),
    refusal("descriptor-stores", "sgdt, sidt, sldt, str and smsw are #GP, where the processor can", stores),
];

fn selectors(t: &mut Trial) -> Verdict {
    let came = kernel(code!("mov r12d, cs", "mov r13d, ss", "ud2"), 0);
    t.equal("cs", came.caught.registers[11], RING1_CS64.into());
    t.equal("ss", came.caught.registers[12], RING1_SS.into());
    Ok(())
}

fn entry_registers(t: &mut Trial) -> Verdict {
    for (name, value) in EntryRegisters::NAMES.iter().zip(start().registers.0) {
        match *name {
            "rsi" | "rsp" => {}
            "cs" => t.equal(name, value, RING1_CS64.into()),
            "ss" => t.equal(name, value, RING1_SS.into()),
            "rflags" => t.equal(name, value, 0x202),
            _ => t.equal(name, value, 0),
        }
    }
    Ok(())
}

fn signature(t: &mut Trial) -> Verdict {
    let leaf = forced_cpuid(CPUID_LEAF_SIGNATURE, 0);
    t.equal("last", leaf.eax.into(), CPUID_LEAF_MAX.into());
    t.holds("signature", is_signature(leaf.ebx, leaf.ecx, leaf.edx));
    let leaf = forced_cpuid(CPUID_LEAF_VERSION, 0);
    t.equal("version", leaf.eax.into(), INTERFACE_VERSION.into());
    t.equal("others", (leaf.ebx | leaf.ecx | leaf.edx).into(), 0);
    Ok(())
}

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
        "int 0x82",
        "ud2"
    );
    let came = kernel(code, 0);
    t.raises("kernel", &came.caught, vector::UD.into(), None);
    let mut wanted: [u64; 15] = core::array::from_fn(|index| 0x1111 * (index as u64 + 1));
    (wanted[0], wanted[5]) = (0, 0);
    t.holds("kept", came.caught.registers == wanted);
    t.equal("rsp", came.caught.frame()[3].wrapping_sub(came.rsp), 0);
    t.equal("call", HYPERVISOR_SCHED_OP, 29);
    Ok(())
}

fn flags(t: &mut Trial) -> Verdict {
    for bits in [0u64, 0x8d5, 0x400, 0x4_0000, 0x20_0000, 0x24_0cd5] {
        let code = code!(
            "push rdi",
            "popfq",
            "mov eax, 29",
            "mov edi, 0",
            "int 0x82",
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

fn slot(number: usize) -> [u8; SLOT_SIZE] {
    let address = start().hypercall_page + (number * SLOT_SIZE) as u64;
    // SAFETY: a slot of the page.
    unsafe { (address as *const [u8; SLOT_SIZE]).read_volatile() }
}

fn page_slots(t: &mut Trial) -> Verdict {
    let good = (0..PAGE_SLOTS).filter(|&number| number as u64 != HYPERVISOR_IRET).all(|number| {
        let n = (number as u32).to_le_bytes();
        slot(number)[..8] == [0xb8, n[0], n[1], n[2], n[3], 0xcd, 0x82, 0xc3]
    });
    t.holds("all", good);
    // push rcx; push r11; push rax; mov eax, 23; int 0x82
    let iret = slot(HYPERVISOR_IRET as usize);
    t.holds("iret", iret[..11] == [0x51, 0x41, 0x53, 0x50, 0xb8, HYPERVISOR_IRET as u8, 0, 0, 0, 0xcd, 0x82]);
    Ok(())
}

fn page_slot_called(t: &mut Trial) -> Verdict {
    let address = start().hypercall_page + HYPERVISOR_XEN_VERSION * SLOT_SIZE as u64;
    let code = code!("mov r15, rdi", "xor edi, edi", "mov ecx, 0x33", "mov r11d, 0x44", "call r15");
    let came = kernel(code, address);
    came.expect(t, vector::UD, None, code.len() as u64);
    t.holds("result", came.caught.registers[0] as i64 == raw(HYPERVISOR_XEN_VERSION, [0; 5]));
    t.equal("rcx", came.caught.pushed[0], 0x33);
    t.equal("r11", came.caught.pushed[1], 0x44);
    Ok(())
}

fn program_call(t: &mut Trial) -> Verdict {
    let came = program(code!("mov eax, 29", "xor edi, edi", "int 0x82"), 0);
    came.expect(t, vector::GP, Some(0x412), 7);
    t.equal("rax", came.caught.registers[0], 29);
    Ok(())
}

fn kernel_syscall(t: &mut Trial) -> Verdict {
    let came = kernel(code!("mov eax, 17", "xor edi, edi", "xor edx, edx", "syscall"), 0);
    t.observe("vector", came.caught.vector);
    t.holds("no-call", came.caught.registers[0] == 17);
    Ok(())
}

fn read_counters(t: &mut Trial) -> Result<Ring1Counters, crate::case::Stop> {
    let mut counters = Ring1Counters::default();
    t.need("read_counters", operation(HYPERVISOR_RING1_OP, RING1_OP_READ_COUNTERS, &mut counters))?;
    Ok(counters)
}

fn counters(t: &mut Trial) -> Verdict {
    let before = read_counters(t)?;
    (0..10).for_each(|_| yield_now());
    kernel(code!("mov rax, cr0"), 0);
    let now = read_counters(t)?.since(&before);
    t.holds("hypercalls", (11..20).contains(&now.hypercalls));
    t.equal("emulated", now.emulated, 1);
    t.holds("exceptions", now.exceptions >= 2 && now.traps_bounced >= 1);
    t.holds("entries", now.total_entries >= 13);
    Ok(())
}

fn counters_unknown(t: &mut Trial) -> Verdict {
    for command in [1u64, 99, u64::from(u32::MAX)] {
        t.refused(format_args!("{command:x}"), Errno::ENOSYS, || {
            raw(HYPERVISOR_RING1_OP, [command, 0, 0, 0, 0])
        });
    }
    t.refused("pointer", Errno::EFAULT, || {
        raw(HYPERVISOR_RING1_OP, [u64::from(RING1_OP_READ_COUNTERS), crate::rows::pointers::NOTHING, 0, 0, 0])
    });
    Ok(())
}

fn entry_refused(t: &mut Trial, flag: u64) -> Verdict {
    let va = WINDOW + 0x3500_0000;
    l1_for(va);
    let frame = mfn(take());
    t.refused("entry", Errno::EINVAL, || map(va, frame << 12 | DATA | flag));
    t.succeeds("without", map(va, frame << 12 | DATA));
    t.succeeds("back", map(va, 0));
    Ok(())
}

fn global(t: &mut Trial) -> Verdict {
    let va = WINDOW + 0x3500_0000;
    l1_for(va);
    let frame = mfn(take());
    t.succeeds("entry", map(va, frame << 12 | DATA | G));
    t.equal("flags", entry_at(va, 1) & 0xfff, DATA);
    t.succeeds("back", map(va, 0));
    Ok(())
}

/// Parts of the area that nobody may write.
const PARTS: [(&str, u64); 4] = [
    ("gdt", ENTRY_GDT_OFFSET),
    ("idt", ENTRY_IDT_OFFSET),
    ("tss", ENTRY_TSS_OFFSET),
    ("code", ENTRY_CODE_OFFSET),
];

fn entry_area(t: &mut Trial) -> Verdict {
    for (name, offset) in PARTS {
        // The guest's own descriptors begin the area; the hypervisor's page of them is mapped for sure.
        let address = ENTRY_AREA + if offset == ENTRY_GDT_OFFSET { 14 * PAGE } else { offset };
        let came = kernel(code!("mov [rdi], rax"), address);
        t.raises(name, &came.caught, vector::PF.into(), Some(3));
    }
    Ok(())
}

fn entry_area_read(t: &mut Trial) -> Verdict {
    let came = kernel(code!("mov rax, [rdi]"), ENTRY_AREA + ENTRY_IDT_OFFSET);
    t.raises("idt", &came.caught, vector::UD.into(), None);
    Ok(())
}

fn entry_area_program(t: &mut Trial) -> Verdict {
    for (name, offset) in PARTS {
        let address = ENTRY_AREA + if offset == ENTRY_GDT_OFFSET { 14 * PAGE } else { offset };
        let came = program(code!("mov rax, [rdi]"), address);
        t.raises(name, &came.caught, vector::PF.into(), Some(5));
    }
    Ok(())
}

fn machine_table_program(t: &mut Trial) -> Verdict {
    let came = program(code!("mov rax, [rdi]"), M2P_VIRT_START);
    t.raises("program", &came.caught, vector::PF.into(), Some(5));
    Ok(())
}

fn stores(t: &mut Trial) -> Verdict {
    for half in [Half::Kernel, Half::Program] {
        for (name, code) in [
            ("sgdt", code!("sgdt [rsp - 32]")),
            ("sidt", code!("sidt [rsp - 32]")),
            ("sldt", code!("sldt ax")),
            ("str", code!("str ax")),
            ("smsw", code!("smsw ax")),
        ] {
            let came = run(half, code, 0);
            t.raises(format_args!("{}.{name}", half.name()), &came.caught, vector::GP.into(), Some(0));
        }
    }
    Ok(())
}
