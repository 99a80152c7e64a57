//! The first instructions on a PC, entered as [`NOTE_TYPE_PHYS64_ENTRY`](paravane_abi::ring1::NOTE_TYPE_PHYS64_ENTRY) or as
//! PVH says (in 32-bit mode without paging). Both build the same tables: the first GiB where it is and at
//! [`VIRT_BASE`], in large pages, so that the image's addresses are those of a direct map.

use core::arch::global_asm;

use crate::notes::VIRT_BASE;

/// From an address of the image to where it lies: as an addend that wraps, what has to be taken off.
const TO_PHYSICAL: u64 = 0u64.wrapping_sub(VIRT_BASE);
/// The slot of the L4 for the image.
const SLOT: u64 = VIRT_BASE >> 39 & 511;

global_asm!(
    ".pushsection .bss.page, \"aw\", @nobits",
    "    .balign 4096",
    ".global native_l4",
    "native_l4:",
    "    .skip 4096",
    "native_l3:",
    "    .skip 4096",
    "native_l2:",
    "    .skip 4096",
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
    "    mov edi, offset native_l2 + {physical}",
    "    mov eax, 0xe3",
    "    mov ecx, 512",
    "2:  mov dword ptr [edi], eax",
    "    mov dword ptr [edi + 4], 0",
    "    add eax, 0x200000",
    "    add edi, 8",
    "    dec ecx",
    "    jnz 2b",
    "    mov edi, offset native_l3 + {physical}",
    "    mov eax, offset native_l2 + {physical} + 0x23",
    "    mov dword ptr [edi], eax",
    "    mov edi, offset native_l4 + {physical}",
    "    mov eax, offset native_l3 + {physical} + 0x23",
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
    "    mov esp, offset core_stack_top + {physical}",
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
    "    lea rdi, [rip + native_l2]",
    "    mov eax, 0xe3",
    "    mov ecx, 512",
    "2:  mov [rdi], rax",
    "    add rax, 0x200000",
    "    add rdi, 8",
    "    dec ecx",
    "    jnz 2b",
    "    lea rdi, [rip + native_l3]",
    "    lea rax, [rip + native_l2 + 0x23]",
    "    mov [rdi], rax",
    "    lea rax, [rip + native_l3 + 0x23]",
    "    lea rdi, [rip + native_l4]",
    "    mov [rdi], rax",
    "    mov [rdi + {slot} * 8], rax",
    "    mov cr3, rdi",
    "    movabs rax, offset native_high",
    "    jmp rax",
    "native_high:",
    "    lea rsp, [rip + core_stack_top]",
    "    xor ebp, ebp",
    "    mov rdi, rbx",
    "    call native_main",
    "    ud2",
    ".popsection",
    physical = const TO_PHYSICAL as i64,
    slot = const SLOT,
);
