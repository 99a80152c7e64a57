//! Emulated writes to page-table entries against the CPU: the same instruction bytes are emulated and executed.
#![cfg(target_arch = "x86_64")]

use paravane_abi::regs::CpuUserRegs;
use paravane_core::emulate::{SegmentBases, page_table_write};
use std::arch::asm;

const CF: u64 = 1 << 0;
const PF: u64 = 1 << 2;
const AF: u64 = 1 << 4;
const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const OF: u64 = 1 << 11;
const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;
/// Flags that are defined after logic, and after a bit test.
const LOGIC: u64 = ARITHMETIC & !AF;
const BIT: u64 = CF | ZF;

const LONGEST: usize = 8;

/// Instructions on the memory at RDI: bytes, operand width, flags that are defined afterwards.
const INSTRUCTIONS: &[(&[u8], u64, u64)] = &[
    // mov [rdi], al, ax, eax, rax; mov [rdi], ch; mov [rdi], imm
    (&[0x88, 0x07], 1, ARITHMETIC),
    (&[0x66, 0x89, 0x07], 2, ARITHMETIC),
    (&[0x89, 0x07], 4, ARITHMETIC),
    (&[0x48, 0x89, 0x07], 8, ARITHMETIC),
    (&[0x88, 0x2f], 1, ARITHMETIC),
    (&[0x48, 0xc7, 0x07, 0xfe, 0xff, 0xff, 0xff], 8, ARITHMETIC),
    // xchg [rdi], al, ah, ax, eax, rax
    (&[0x86, 0x07], 1, ARITHMETIC),
    (&[0x86, 0x27], 1, ARITHMETIC),
    (&[0x66, 0x87, 0x07], 2, ARITHMETIC),
    (&[0x87, 0x07], 4, ARITHMETIC),
    (&[0x48, 0x87, 0x07], 8, ARITHMETIC),
    // lock cmpxchg [rdi], cl, cx, ecx, rcx; lock cmpxchg8b [rdi]
    (&[0xf0, 0x0f, 0xb0, 0x0f], 1, ARITHMETIC),
    (&[0xf0, 0x66, 0x0f, 0xb1, 0x0f], 2, ARITHMETIC),
    (&[0xf0, 0x0f, 0xb1, 0x0f], 4, ARITHMETIC),
    (&[0xf0, 0x48, 0x0f, 0xb1, 0x0f], 8, ARITHMETIC),
    (&[0xf0, 0x0f, 0xc7, 0x0f], 8, ARITHMETIC),
    // lock xadd [rdi], cl, cx, ecx, rcx
    (&[0xf0, 0x0f, 0xc0, 0x0f], 1, ARITHMETIC),
    (&[0xf0, 0x66, 0x0f, 0xc1, 0x0f], 2, ARITHMETIC),
    (&[0xf0, 0x0f, 0xc1, 0x0f], 4, ARITHMETIC),
    (&[0xf0, 0x48, 0x0f, 0xc1, 0x0f], 8, ARITHMETIC),
    // add, adc, sub, sbb [rdi], rdx at several widths
    (&[0x00, 0x17], 1, ARITHMETIC),
    (&[0x66, 0x01, 0x17], 2, ARITHMETIC),
    (&[0x48, 0x01, 0x17], 8, ARITHMETIC),
    (&[0x10, 0x17], 1, ARITHMETIC),
    (&[0x11, 0x17], 4, ARITHMETIC),
    (&[0x48, 0x11, 0x17], 8, ARITHMETIC),
    (&[0x28, 0x17], 1, ARITHMETIC),
    (&[0x48, 0x29, 0x17], 8, ARITHMETIC),
    (&[0x18, 0x17], 1, ARITHMETIC),
    (&[0x66, 0x19, 0x17], 2, ARITHMETIC),
    (&[0x48, 0x19, 0x17], 8, ARITHMETIC),
    // lock and, or, xor
    (&[0xf0, 0x80, 0x27, 0xfd], 1, LOGIC),
    (&[0x3e, 0x80, 0x27, 0xfd], 1, LOGIC),
    (&[0xf0, 0x66, 0x21, 0x17], 2, LOGIC),
    (&[0xf0, 0x48, 0x83, 0x27, 0xfd], 8, LOGIC),
    (&[0xf0, 0x48, 0x81, 0x27, 0x9f, 0xff, 0xff, 0x7f], 8, LOGIC),
    (&[0xf0, 0x09, 0x17], 4, LOGIC),
    (&[0xf0, 0x48, 0x83, 0x0f, 0x82], 8, LOGIC),
    (&[0xf0, 0x48, 0x31, 0x17], 8, LOGIC),
    // inc, dec, neg, not
    (&[0xfe, 0x07], 1, ARITHMETIC),
    (&[0x48, 0xff, 0x07], 8, ARITHMETIC),
    (&[0xfe, 0x0f], 1, ARITHMETIC),
    (&[0x66, 0xff, 0x0f], 2, ARITHMETIC),
    (&[0xf6, 0x1f], 1, ARITHMETIC),
    (&[0x48, 0xf7, 0x1f], 8, ARITHMETIC),
    (&[0xf7, 0x17], 4, ARITHMETIC),
    // lock bts, btr, btc with an immediate
    (&[0xf0, 0x48, 0x0f, 0xba, 0x2f, 0x3f], 8, BIT),
    (&[0xf0, 0x0f, 0xba, 0x37, 0x25], 4, BIT),
    (&[0xf0, 0x66, 0x0f, 0xba, 0x3f, 0x0b], 2, BIT),
];

/// Registers an instruction gets and leaves, in the order the trampoline uses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    rax: u64,
    rbx: u64,
    rcx: u64,
    rdx: u64,
    rdi: u64,
    flags: u64,
}

const SLOT: usize = LONGEST + 1;
const RET: u8 = 0xc3;

const fn code() -> [[u8; SLOT]; INSTRUCTIONS.len()] {
    let mut code = [[RET; SLOT]; INSTRUCTIONS.len()];
    let mut n = 0;
    while n < INSTRUCTIONS.len() {
        let bytes = INSTRUCTIONS[n].0;
        let mut i = 0;
        while i < bytes.len() {
            code[n][i] = bytes[i];
            i += 1;
        }
        n += 1;
    }
    code
}

/// The instructions, each followed by `ret`, where the CPU can execute them.
#[unsafe(link_section = ".text")]
static CODE: [[u8; SLOT]; INSTRUCTIONS.len()] = code();

fn execute(index: usize, state: &mut State) {
    // SAFETY: the code is one of the instructions above and `ret`. They write eight bytes at most, at RDI, which
    // the only caller points at a u64 it owns, and registers that are saved or declared here. Flags are
    // arithmetic ones.
    unsafe {
        asm!(
            "push rbx",
            "push rsi",
            "push qword ptr [rsi + 40]",
            "popfq",
            "mov rax, [rsi]",
            "mov rbx, [rsi + 8]",
            "mov rcx, [rsi + 16]",
            "mov rdx, [rsi + 24]",
            "mov rdi, [rsi + 32]",
            "call r8",
            "mov rsi, [rsp]",
            "pushfq",
            "pop qword ptr [rsi + 40]",
            "mov [rsi], rax",
            "mov [rsi + 8], rbx",
            "mov [rsi + 16], rcx",
            "mov [rsi + 24], rdx",
            "mov [rsi + 32], rdi",
            "pop rsi",
            "pop rbx",
            in("rsi") state,
            in("r8") CODE[index].as_ptr(),
            out("rax") _,
            out("rcx") _,
            out("rdx") _,
            out("rdi") _,
        );
    }
}

/// A small generator, so that every run is the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Half of the values lie at the edges, where carries and overflows happen.
    fn operand(&mut self) -> u64 {
        const EDGES: [u64; 8] =
            [0, 1, u64::MAX, 1 << 63, i64::MAX as u64, 0x8080_8080_8080_8080, 0x7f7f_7f7f_7f7f_7f7f, 0x67];
        let edge = EDGES[(self.next() % 8) as usize];
        if self.next() & 1 == 0 { edge } else { self.next() }
    }
}

#[test]
fn emulation_does_what_the_cpu_does() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut changed, mut exchanged) = (0u32, 0u32);
    for round in 0..400 {
        for (index, &(bytes, width, defined)) in INSTRUCTIONS.iter().enumerate() {
            let old = numbers.operand();
            let offset = numbers.next() % (8 / width) * width;
            // Let compare-and-exchange succeed every other time.
            let pair = bytes.ends_with(&[0x0f, 0xc7, 0x0f]);
            let rax = if round % 2 == 0 { old >> (offset * 8) } else { numbers.operand() };
            let rdx = if pair && round % 2 == 0 { old >> 32 } else { numbers.operand() };
            let before = CpuUserRegs {
                rax,
                rbx: numbers.operand(),
                rcx: numbers.operand(),
                rdx,
                rflags: (numbers.next() & ARITHMETIC) | 0x202,
                rip: 0x1000,
                ..CpuUserRegs::default()
            };

            let mut memory = old;
            let address = &raw mut memory as u64 + offset;
            let mut native = State {
                rax: before.rax,
                rbx: before.rbx,
                rcx: before.rcx,
                rdx: before.rdx,
                rdi: address,
                flags: before.rflags,
            };
            execute(index, &mut native);
            // SAFETY: `memory` is a live local; the read is volatile because the CPU wrote it behind the
            // compiler's back.
            let memory = unsafe { std::ptr::read_volatile(&raw const memory) };

            let mut after = CpuUserRegs { rdi: address, ..before };
            let write = page_table_write(bytes, &after, address, SegmentBases::default())
                .unwrap_or_else(|error| panic!("{bytes:x?}: {error:?}"));
            let emulated = write.apply(old);
            assert_eq!(write.commit(&mut after, old), 0);

            let context = format!("{bytes:x?} on {old:#x} + {offset}, {before:x?}");
            assert_eq!(emulated, memory, "{context}");
            let registers = (after.rax, after.rbx, after.rcx, after.rdx, after.rdi);
            assert_eq!(registers, (native.rax, native.rbx, native.rcx, native.rdx, native.rdi), "{context}");
            assert_eq!(after.rflags & defined, native.flags & defined, "{context}");
            assert_eq!(after.rip, 0x1000 + bytes.len() as u64);
            changed += (emulated != old) as u32;
            exchanged += (after.rax != before.rax) as u32;
        }
    }
    assert!(changed > 10_000 && exchanged > 1_000, "{changed} {exchanged}");
}
