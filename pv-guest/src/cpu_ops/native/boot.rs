//! The first instructions on a bare machine. QEMU, as any loader of PVH's, enters in 32-bit protected mode without paging,
//! EBX = physical address of `hvm_start_info` (xen/include/public/arch-x86/hvm/start_info.h). A loader that starts kernels in
//! 64-bit mode enters behind that, at the address of Paravane's own note
//! ([`NOTE_TYPE_PHYS64_ENTRY`](paravane_abi::ring1::NOTE_TYPE_PHYS64_ENTRY)): the two ways meet there.
//!
//! The tables built here map the first [`BOOT_MIB`] twice, where they are and at the image's addresses, until
//! [`mm`](crate::mm) has its own. They have small pages, because the entry of a page of the image serves as a window.

use core::arch::global_asm;

use paravane_abi::pte::{ENTRIES, PteFlags};

use crate::arch::notes::VIRT_BASE;

/// What the tables of the boot map: the image lies in it, as the linker script asserts.
pub const BOOT_MIB: u64 = 8;
const TABLES: usize = BOOT_MIB as usize / 2;

/// From an address of the image to where it lies: as an addend that wraps, what has to be taken off.
const TO_PHYSICAL: u64 = 0u64.wrapping_sub(VIRT_BASE);

global_asm!(
    ".pushsection .bss.page, \"aw\", @nobits",
    "    .balign 4096",
    "native_identity_l4:",
    "    .skip 4096",
    "native_identity_l3:",
    "    .skip 4096",
    "native_identity_l2:",
    "    .skip 4096",
    "native_boot_l4:",
    "    .skip 4096",
    "native_boot_l3:",
    "    .skip 4096",
    "native_boot_l2:",
    "    .skip 4096",
    ".global native_boot_l1",
    "native_boot_l1:",
    "    .skip 4096 * {tables}",
    ".popsection",
    // Until this kernel has its own: 64-bit code at the first place.
    ".pushsection .rodata.native, \"a\", @progbits",
    "    .balign 8",
    "native_first_gdt:",
    "    .quad 0",
    "    .quad 0x00af9b000000ffff",
    "native_first_gdtr:",
    "    .word . - native_first_gdt - 1",
    "    .long native_first_gdt + {physical}",
    ".popsection",
    ".pushsection .text.native, \"ax\", @progbits",
    ".code32",
    ".global native_start32",
    "native_start32:",
    "    cld",
    // The first GiB where it is, in large pages.
    "    mov edi, offset native_identity_l2 + {physical}",
    "    mov eax, 0x83",
    "    mov ecx, 512",
    "2:  mov dword ptr [edi], eax",
    "    mov dword ptr [edi + 4], 0",
    "    add eax, 0x200000",
    "    add edi, 8",
    "    dec ecx",
    "    jnz 2b",
    "    mov edi, offset native_identity_l3 + {physical}",
    "    mov eax, offset native_identity_l2 + {physical} + 3",
    "    mov dword ptr [edi], eax",
    "    mov edi, offset native_identity_l4 + {physical}",
    "    mov eax, offset native_identity_l3 + {physical} + 3",
    "    mov dword ptr [edi], eax",
    "    mov eax, 0x20", // CR4.PAE
    "    mov cr4, eax",
    "    mov cr3, edi",
    "    mov ecx, 0xc0000080", // EFER
    "    rdmsr",
    "    or eax, 0x100", // LME
    "    wrmsr",
    "    mov eax, cr0",
    "    or eax, 0x80000001", // PG, PE
    "    mov cr0, eax",
    "    mov edi, offset native_first_gdtr + {physical}",
    "    lgdt [edi]",
    // A far return takes its target from the stack, and so from anywhere; the stack is the one that is used next.
    "    mov esp, offset boot_stack_info + {physical}",
    "    push 0x08",
    "    mov eax, offset native_start64 + {physical}",
    "    push eax",
    "    retf",
    ".code64",
    // Long mode, the first GiB where it is, EBX = hvm_start_info, interrupts off.
    ".global native_start64",
    "native_start64:",
    "    cld",
    "    mov ebx, ebx",
    "    lea rdi, [rip + native_boot_l1]",
    "    mov eax, {page}",
    "    mov ecx, 512 * {tables}",
    "2:  mov [rdi], rax",
    "    add rax, 4096",
    "    add rdi, 8",
    "    dec ecx",
    "    jnz 2b",
    "    lea rdi, [rip + native_boot_l2]",
    "    lea rax, [rip + native_boot_l1 + {page}]",
    "    mov ecx, {tables}",
    "2:  mov [rdi], rax",
    "    add rax, 4096",
    "    add rdi, 8",
    "    dec ecx",
    "    jnz 2b",
    "    lea rdi, [rip + native_boot_l3]",
    "    lea rax, [rip + native_boot_l2 + {page}]",
    "    mov [rdi], rax",
    "    mov [rdi + 510 * 8], rax",
    "    lea rdi, [rip + native_boot_l4]",
    "    lea rax, [rip + native_boot_l3 + {page}]",
    "    mov [rdi], rax",
    "    mov [rdi + 511 * 8], rax",
    "    mov cr3, rdi",
    "    movabs rax, offset native_high",
    "    jmp rax",
    "native_high:",
    "    lea rsp, [rip + boot_stack_info]",
    "    xor ebp, ebp",
    "    mov rdi, rbx",
    "    call native_main",
    "    ud2",
    ".popsection",
    tables = const TABLES,
    physical = const TO_PHYSICAL as i64,
    page = const PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::ACCESSED).union(PteFlags::DIRTY).bits(),
);

unsafe extern "C" {
    static mut native_boot_l1: [u64; TABLES * ENTRIES];
}

/// The place of the entry that maps a page of the image, until the boot's tables are left.
pub(super) fn entry_of(va: u64) -> *mut u64 {
    let index = ((va - VIRT_BASE) / 4096) as usize;
    assert!(index < TABLES * ENTRIES, "{va:#x} is no address of the image");
    // SAFETY: the index is in range.
    unsafe { (&raw mut native_boot_l1).cast::<u64>().add(index) }
}
