// Start of day by PVH (Xen public header arch-x86/hvm/start_info.h) and by multiboot2 (its specification, 3.3):
// both enter in 32-bit protected mode, flat segments, paging off, EBX = physical address of the information.
// Builds nothing at run time: the first page tables are laid out by the assembler and map the first 4 GiB at 0,
// at the image base and at the direct map.

.section .note.Xen, "a", @note
    .balign 4
    .long 4, 4, 18                  // name and value sizes; type XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_start

// The first section of the file: boot loaders look for it in the first 32 KiB. Without the tag of an EFI entry,
// a boot loader under UEFI ends the boot services and enters as any other.
.section .boot.header, "a", @progbits
    .balign 8
multiboot2_header:
    .long 0xe85250d6, 0, multiboot2_end - multiboot2_header
    .long -(0xe85250d6 + multiboot2_end - multiboot2_header)
    .short 1, 0                     // information that must be given: the memory map
    .long 12, 6
    .balign 8
    .short 3, 0                     // entry
    .long 12, multiboot2_start
    .balign 8
    .short 6, 0                     // modules begin at frames
    .long 8
    .short 0, 0
    .long 8
multiboot2_end:

.section .boot.text, "ax", @progbits
.code32
.global pvh_start
multiboot2_start:
    mov esi, eax                    // the magic
    jmp start
pvh_start:
    xor esi, esi
start:
    cld
    mov edi, ebx
    mov eax, 0x20                   // PAE, and nothing that firmware left set
    mov cr4, eax
    lea eax, [boot_l4]
    mov cr3, eax
    mov ecx, 0xc0000080             // EFER
    rdmsr
    or  eax, 0x900                  // LME, NXE
    wrmsr
    mov eax, cr0
    or  eax, 0x80010001             // PG, WP, PE
    mov cr0, eax
    lgdt [boot_gdtr]
    ljmp 0x08, offset long_mode

.code64
long_mode:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov edi, edi                    // the upper halves are undefined after the mode change
    mov esi, esi
    movabs rsp, offset hypervisor_stack + 0x10000
    movabs rax, offset boot_main
    call rax
    ud2

.section .boot.data, "aw", @progbits
.global boot_l4, boot_gdt           // the other processors start with them: smp/trampoline.S
.balign 4096
boot_l4:
    .quad boot_l3 + 3
    .fill 260, 8, 0
    .quad boot_l3_image + 3         // slot 261: the image
    .quad boot_l3 + 3               // slot 262: the direct map
    .fill 249, 8, 0
boot_l3:
    .quad boot_l2 + 3, boot_l2 + 0x1003, boot_l2 + 0x2003, boot_l2 + 0x3003
    .fill 508, 8, 0
boot_l3_image:
    .fill 322, 8, 0
    .quad boot_l2 + 3
    .fill 189, 8, 0
boot_l2:
    .set page, 0
    .rept 2048
    .quad page * 0x200000 + 0x83
    .set page, page + 1
    .endr
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff        // 64-bit code, accessed
boot_gdtr:
    .word . - boot_gdt - 1
    .long boot_gdt
