//! The attacks that nobody comes back from.

use core::arch::asm;

use pv_attack_logic::random::Random;

use super::guard::stub;
use super::memory::{self, HYPERVISOR, frame, write};
use super::registers::set_cr3;
use super::subject::{self, NOTHING, exec, exec_user, operand};
use super::tables::{self, IST1, KERNEL_CODE, Table, gate_with, pointer_to, set_gate, set_task_word};
use crate::guard::Regs;

/// Loads an IDT or a GDT by this opcode's last byte, and raises an exception.
fn load(byte: u8, base: u64, limit: u16) {
    exec(&[0x0f, 0x01, byte, 0x0f, 0x0b], operand(&pointer_to(base, limit)));
}

const LIDT: u8 = 0x1f;
const LGDT: u8 = 0x17;

/// Gives every gate this target, and a stack at this address.
fn handlers(target: Option<u64>, stack: u64) {
    set_task_word(IST1, stack);
    for vector in 0..=255 {
        set_gate(vector, gate_with(target.unwrap_or(stub(vector)), KERNEL_CODE, 1, 0x8e));
    }
    exec(&[0xcc], Regs::default());
}

/// A task state that can be loaded, of which nothing can be read.
fn task_nowhere() {
    for (word, raw) in tables::system(NOTHING, 103, 0x89).into_iter().enumerate() {
        tables::set_descriptor(tables::FREE + word as u16 * 8, raw);
    }
    exec(&[0x0f, 0x00, 0xde], Regs { rsi: tables::FREE.into(), ..Regs::default() });
    exec_user(&[0xcc], Regs::default());
}

fn random_root() -> u64 {
    let (root, mut random) = (frame(), Random::new(0xc3));
    (0..512).for_each(|index| write(root + index * 8, random.next()));
    root
}

/// Handles its breakpoint by a breakpoint: a page of `int3`, for ever.
fn faults_for_ever() {
    let start = subject::kernel(&[0xcc; 60]);
    set_gate(3, gate_with(start.rip, KERNEL_CODE, 1, 0x8e));
    super::guard::run(&start);
}

/// Makes the attack of a name.
pub fn make(name: &str) {
    match name {
        "pc-idt-empty" => load(LIDT, tables::address(Table::Idt), 0),
        "pc-idt-unmapped" => load(LIDT, NOTHING, 0xfff),
        "pc-idt-hypervisor" => load(LIDT, HYPERVISOR | 0x8000_0000, 0xfff),
        "pc-handlers-nowhere" => handlers(Some(1 << 47), tables::gate_stack()),
        "pc-handler-stacks-nowhere" => handlers(None, 1 << 47),
        "pc-handler-stacks-hypervisor" => handlers(None, HYPERVISOR | 0x8000_4000),
        "pc-gdt-empty" => load(LGDT, tables::address(Table::Gdt), 0),
        "pc-gdt-unmapped" => load(LGDT, NOTHING, 0xfff),
        "pc-task-unmapped" => task_nowhere(),
        "pc-root-random" => set_cr3(random_root()),
        "pc-root-zero" => set_cr3(frame()),
        "pc-root-beyond-memory" => set_cr3(memory::end()),
        "pc-root-device" => set_cr3(0xfee0_0000),
        "pc-root-far" => set_cr3((1 << 40) - 0x1000),
        "pc-kernel-gone" => {
            write(memory::root() + memory::slot(memory::DIRECT, 4) * 8, 0);
            set_cr3(memory::root());
        }
        "pc-faults" => faults_for_ever(),
        // SAFETY: this kernel is not to go on.
        "pc-halts" => unsafe { asm!("2: cli", "hlt", "jmp 2b", options(noreturn)) },
        // SAFETY: as above.
        _ => unsafe { asm!("cli", "2: jmp 2b", options(noreturn)) },
    }
}
