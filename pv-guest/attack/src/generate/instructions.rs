//! Instructions: any bytes for programs, privileged ones for the kernel.

use super::World;
use crate::random::Random;

/// Longest sequence.
pub const LENGTH: usize = 24;

/// Bytes of code.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    bytes: [u8; LENGTH],
    used: usize,
}

impl Code {
    /// Nothing.
    pub const fn new() -> Self {
        Self { bytes: [0; LENGTH], used: 0 }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    fn push(&mut self, byte: u8) {
        if self.used < LENGTH {
            self.bytes[self.used] = byte;
            self.used += 1;
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.push(*byte));
    }
}

impl Default for Code {
    fn default() -> Self {
        Self::new()
    }
}

const PREFIXES: [u8; 12] = [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x64, 0x65, 0x48, 0x4c, 0x40, 0x41];

/// Instructions of which a hypervisor must know something: those that enter rings, use tables, ports and system registers.
/// RDI points to memory, RCX is small.
pub const SYSTEM: &[&[u8]] = &[
    &[0xfa],
    &[0xfb],
    &[0xf4],
    &[0x0f, 0x06],
    &[0xec],
    &[0xed],
    &[0xee],
    &[0xef],
    &[0x6c],
    &[0x6d],
    &[0x6e],
    &[0x6f],
    &[0xf3, 0x6c],
    &[0xf3, 0x6d],
    &[0xf3, 0x6e],
    &[0xf3, 0x6f],
    &[0xe4, 0x61],
    &[0xe6, 0x80],
    &[0x0f, 0x01, 0x17],
    &[0x0f, 0x01, 0x1f],
    &[0x0f, 0x01, 0x07],
    &[0x0f, 0x01, 0x0f],
    &[0x0f, 0x01, 0x3f],
    &[0x0f, 0x01, 0xe0],
    &[0x0f, 0x01, 0xf0],
    &[0x0f, 0x01, 0xf8],
    &[0x0f, 0x01, 0xf9],
    &[0x0f, 0x01, 0xc8],
    &[0x0f, 0x01, 0xc9],
    &[0x0f, 0x01, 0xca],
    &[0x0f, 0x01, 0xcb],
    &[0x0f, 0x01, 0xd0],
    &[0x0f, 0x01, 0xd1],
    &[0x0f, 0x01, 0xc1],
    &[0x0f, 0x01, 0xd8],
    &[0x0f, 0x01, 0xd9],
    &[0x0f, 0x01, 0xda],
    &[0x0f, 0x01, 0xdb],
    &[0x0f, 0x01, 0xdc],
    &[0x0f, 0x01, 0xdd],
    &[0x0f, 0x01, 0xde],
    &[0x0f, 0x01, 0xdf],
    &[0x0f, 0x00, 0xc0],
    &[0x0f, 0x00, 0xc8],
    &[0x0f, 0x00, 0xd0],
    &[0x0f, 0x00, 0xd8],
    &[0x0f, 0x00, 0xe0],
    &[0x0f, 0x00, 0xe8],
    &[0x0f, 0x02, 0xc1],
    &[0x0f, 0x03, 0xc1],
    &[0x0f, 0x30],
    &[0x0f, 0x31],
    &[0x0f, 0x32],
    &[0x0f, 0x33],
    &[0x0f, 0x05],
    &[0x0f, 0x07],
    &[0x48, 0x0f, 0x07],
    &[0x0f, 0x34],
    &[0x0f, 0x35],
    &[0x0f, 0x08],
    &[0x0f, 0x09],
    &[0x0f, 0x0b],
    &[0x0f, 0xa2],
    &[0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2],
    &[0x0f, 0x0b, b'x', b'e', b'n'],
    &[0xcc],
    &[0xf1],
    &[0xce],
    &[0xcd, 0x80],
    &[0xcd, 0x03],
    &[0xcd, 0x04],
    &[0xcd, 0x02],
    &[0xcd, 0x0e],
    &[0xcd, 0xf0],
    &[0x8e, 0xd9],
    &[0x8e, 0xc1],
    &[0x8e, 0xe1],
    &[0x8e, 0xe9],
    &[0x0f, 0xb4, 0x07],
    &[0x0f, 0xb5, 0x07],
    &[0xf3, 0x0f, 0xae, 0xc0],
    &[0xf3, 0x0f, 0xae, 0xd1],
    &[0xf3, 0x0f, 0xae, 0xd9],
    &[0x66, 0x0f, 0x38, 0x82, 0x07],
    &[0x0f, 0xae, 0x07],
    &[0x0f, 0xae, 0x0f],
    &[0x0f, 0xae, 0x27],
    &[0x0f, 0xae, 0x2f],
    &[0xdb, 0xe3],
    &[0x0f, 0x58, 0xc1],
    &[0x9c],
    &[0xff, 0x1f],
    &[0x48, 0xff, 0x2f],
];

/// Model-specific registers worth a try.
const REGISTERS: [u64; 16] = [
    0x10,
    0x1b,
    0x174,
    0x175,
    0x176,
    0x1a0,
    0x1d9,
    0x277,
    0xc000_0080,
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084,
    0xc000_0100,
    0xc000_0101,
    0xc000_0102,
];

/// Bytes for ring 3: any at all, or an instruction of which the hypervisor knows something with prefixes before it.
pub fn program(random: &mut Random) -> Code {
    let mut code = Code::new();
    if random.once_in(2) {
        for _ in 0..random.below(3) {
            code.push(random.pick(&PREFIXES));
        }
        code.extend(random.pick(SYSTEM));
    }
    for _ in 0..1 + random.below(15) {
        code.push(random.next() as u8);
    }
    code
}

/// A privileged instruction for the kernel, which leaves the stack where it is. Its hypercall instruction with any
/// registers is a call that nobody has tamed, and is left out.
pub fn privileged(random: &mut Random, hypercall: [u8; 2]) -> Code {
    loop {
        let code = any_privileged(random);
        if !code.bytes().windows(2).any(|pair| pair == hypercall) {
            return code;
        }
    }
}

fn any_privileged(random: &mut Random) -> Code {
    let mut code = Code::new();
    if random.once_in(4) {
        code.push(random.pick(&PREFIXES));
    }
    match random.below(6) {
        0 | 1 => {
            // mov between RAX and a control or debug register; RSP is not one of the operands.
            let opcode = random.pick(&[0x20, 0x21, 0x22, 0x23]);
            let register = random.below(8) as u8;
            let operand = if (opcode, register) == (0x22, 3) { 0 } else { random.pick(&[0, 1, 2, 3, 6, 7]) };
            code.extend(&[0x0f, opcode, 0xc0 | register << 3 | operand]);
        }
        2 => code.extend(&[0xcd, random.next() as u8]),
        _ => code.extend(random.pick(SYSTEM)),
    }
    code
}

/// Whether the instruction loads a root table, from RAX: the root must run the core, or be none.
pub fn loads_root(code: &Code) -> bool {
    code.bytes().windows(3).any(|bytes| bytes == [0x0f, 0x22, 0xd8])
}

/// A write to memory at RDI, of RAX or of a constant, in one of many forms.
pub fn write(random: &mut Random) -> Code {
    const FORMS: &[&[u8]] = &[
        &[0x48, 0x89, 0x07],
        &[0x89, 0x07],
        &[0x66, 0x89, 0x07],
        &[0x88, 0x07],
        &[0x48, 0x87, 0x07],
        &[0xf0, 0x48, 0x0f, 0xb1, 0x0f],
        &[0xf0, 0x48, 0x0f, 0xc7, 0x0f],
        &[0x48, 0x0f, 0xc7, 0x0f],
        &[0x48, 0x01, 0x07],
        &[0xf0, 0x48, 0x09, 0x07],
        &[0x48, 0x21, 0x07],
        &[0x48, 0x31, 0x07],
        &[0x48, 0xf7, 0x17],
        &[0x48, 0xff, 0x07],
        &[0xf0, 0x48, 0x0f, 0xab, 0x0f],
        &[0xf0, 0x48, 0x0f, 0xb3, 0x0f],
        &[0x48, 0xc7, 0x07, 0, 0, 0, 0],
        &[0x48, 0xab],
        &[0xf3, 0x48, 0xab],
        &[0xf3, 0xa4],
        &[0x0f, 0xc3, 0x07],
        &[0x0f, 0x11, 0x07],
    ];
    let mut code = Code::new();
    code.extend(random.pick(FORMS));
    code
}

/// RAX, RCX, RDX, RSI, RDI for such an instruction. RCX is small, or a register's number: string instructions end.
pub fn registers(world: &World, random: &mut Random) -> [u64; 5] {
    let rax = match random.below(4) {
        // A root that runs the core: `mov cr3` takes it.
        0 => random.pick(&world.roots) << 12,
        1 => world.entry(random),
        _ => world.word(random),
    };
    let rcx = match random.below(4) {
        0 => random.pick(&REGISTERS),
        1 => random.pick(&[0xe02b, 0xe033, 0xe008, 0xe010, 0x0b, 0, 3, 0xe069, 0xe071, 0xfffb]),
        _ => random.below(40),
    };
    [rax, rcx, world.word(random), world.window_address(random), world.window_address(random)]
}

#[cfg(test)]
mod tests {
    use super::super::tests::world;
    use super::*;

    #[test]
    fn the_kernel_makes_no_untamed_call_and_keeps_its_stack() {
        let mut random = Random::new(8);
        for round in 0..100_000 {
            let hypercall = if round % 2 == 0 { [0xcd, 0x82] } else { [0x0f, 0x05] };
            let code = privileged(&mut random, hypercall);
            let bytes = code.bytes();
            assert!(!bytes.is_empty() && bytes.len() <= 15);
            assert!(!bytes.windows(2).any(|pair| pair == hypercall), "{bytes:x?}");
            // mov ss: under QEMU a null one is ring 0 (docs/caveats.md).
            assert!(!bytes.windows(2).any(|pair| pair[0] == 0x8e && pair[1] & 0x38 == 0x10), "{bytes:x?}");
            assert!(!bytes.windows(2).any(|pair| pair == [0x0f, 0xb2]), "{bytes:x?}");
            let load = bytes.windows(3).any(|three| three[..2] == [0x0f, 0x22] && three[2] & 0x38 == 0x18);
            assert_eq!(load, loads_root(&code), "{bytes:x?}");
        }
    }

    #[test]
    fn string_instructions_end() {
        let (world, mut random) = (world(), Random::new(9));
        let long = (0..10_000).filter(|_| registers(&world, &mut random)[1] > 0x1_0000).count();
        assert!(long < 4000, "{long}: model-specific registers are the only large counts");
    }

    #[test]
    fn programs_differ() {
        let mut random = Random::new(10);
        let codes: std::collections::BTreeSet<Vec<u8>> =
            (0..1000).map(|_| program(&mut random).bytes().to_vec()).collect();
        assert!(codes.len() > 900, "{}", codes.len());
    }
}
