// Where another processor begins: in real mode, at the start of a frame below 1 MiB to which this code has been
// copied (SDM vol. 3, 9.4). It goes to long mode in one step, on the tables that boot used, which map the first
// 4 GiB at 0 and the image where it is linked. All addresses but its own are known when it is linked.

.section .rodata, "a", @progbits
.balign 16
.global trampoline_start
trampoline_start:
.code16
    cli
    cld
    mov ax, cs
    mov ds, ax
    mov eax, 0x20                   // PAE
    mov cr4, eax
    mov eax, offset boot_l4
    mov cr3, eax
    mov ecx, 0xc0000080             // EFER
    rdmsr
    or  eax, 0x900                  // LME, NXE
    wrmsr
    .byte 0x66, 0x0f, 0x01, 0x16    // lgdt with a 32-bit base, at a 16-bit offset
    .word trampoline_gdtr - trampoline_start
    mov eax, 0x80010033             // PG, WP, NE, ET, MP, PE; INIT has set CD and NW, this clears them
    mov cr0, eax
    .byte 0x66, 0xea                // ljmp 0x08:processor_long_mode, with a 32-bit offset
    .long processor_long_mode
    .word 0x08
.balign 8
trampoline_gdtr:
    .word 15
    .long boot_gdt
.global trampoline_end
trampoline_end:
.code64

.section .boot.text, "ax", @progbits
.code64
processor_long_mode:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    movabs rax, offset processor_enter
    jmp rax

// In the image, which the boot tables and the processor's own map at the same place.
.section .text.processor_enter, "ax", @progbits
processor_enter:
    mov rax, [rip + processor_root]
    mov rcx, [rip + processor_stack]
    mov cr3, rax
    mov rsp, rcx
    xor ebp, ebp
    call processor_main
    ud2
