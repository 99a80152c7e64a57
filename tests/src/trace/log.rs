//! QEMU's log, line by line, as `log exec,int,in_asm,nochain` writes it (QEMU 7.2): every block of instructions that runs, the
//! instructions of every block once, and every exception and interrupt.

/// An exception, software interrupt or hardware interrupt that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its vector.
    pub vector: u8,
    /// Its error code, 0 where it has none.
    pub error: u32,
    /// Whether an instruction asked for it: `int N`, `int3`.
    pub software: bool,
    /// The interrupted instruction.
    pub address: u64,
    /// For a page fault, CR2; else 0.
    pub fault_address: u64,
    /// EAX's 64 bits, which number a hypercall; 0 for a page fault, where the log does not tell.
    pub rax: u64,
}

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// The instructions of a block follow.
    Listing,
    /// One of them.
    Instruction {
        /// Where it lies.
        address: u64,
        /// What it is, as a disassembler writes it.
        text: &'a str,
    },
    /// A block begins to run.
    Block {
        /// The emulator's own name of it.
        host: u64,
        /// Its first instruction.
        address: u64,
        /// The processor's mode (QEMU's `hflags`); the ring in the low two bits.
        flags: u32,
        /// Most instructions of it, where the emulator set a bound; else 0.
        most: u32,
    },
    /// The block named last did not run after all.
    Stopped,
    /// The block named last ran up to this instruction, which runs again in a block of its own.
    Rewound(u64),
    /// An interrupt of a device is taken; an [`Exception`] follows.
    Hardware,
    /// An exception or interrupt is taken.
    Exception(Exception),
    /// Nothing of interest.
    Other,
}

/// Bits of QEMU's compile flags that bound a block's length (`CF_COUNT_MASK`).
const COUNT: u32 = 0x1ff;
/// Columns of an instruction's bytes; what follows is its text.
const BYTES: usize = 25;

/// Reads a line. What does not look as expected is [`Line::Other`].
#[must_use]
pub fn parse(line: &str) -> Line<'_> {
    let found = match line.as_bytes().first() {
        Some(b'T') => block(line),
        Some(b'0') => instruction(line),
        Some(b'I') => line.starts_with("IN:").then_some(Line::Listing),
        Some(b'S') if line.starts_with("Stopped execution") => Some(Line::Stopped),
        Some(b'S') if line.starts_with("Servicing hardware INT=") => Some(Line::Hardware),
        Some(b'c') => line
            .strip_prefix("cpu_io_recompile: rewound execution of TB to ")
            .and_then(|address| hex(address.trim()))
            .map(Line::Rewound),
        Some(b' ') => exception(line).map(Line::Exception),
        _ => None,
    };
    found.unwrap_or(Line::Other)
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

/// `Trace 0: 0xHOST [CS_BASE/ADDRESS/FLAGS/CFLAGS] SYMBOL`.
fn block(line: &str) -> Option<Line<'_>> {
    let (host, rest) = line.strip_prefix("Trace 0: 0x")?.split_once(" [")?;
    let mut fields = rest.split(['/', ']']).skip(1);
    let mut field = || hex(fields.next()?);
    let (address, flags, compile) = (field()?, field()? as u32, field()? as u32);
    Some(Line::Block { host: hex(host)?, address, flags, most: compile & COUNT })
}

/// `0xADDRESS:  BYTES  TEXT`; a line of further bytes has no text.
fn instruction(line: &str) -> Option<Line<'_>> {
    let (address, rest) = line.strip_prefix("0x")?.split_once(":  ")?;
    let text = rest.get(BYTES..)?.trim();
    (!text.is_empty()).then_some(Line::Instruction { address: hex(address)?, text })
}

/// `   N: v=VECTOR e=ERROR i=SOFTWARE cpl=RING IP=CS:ADDRESS pc=… SP=… CR2=…`, or for other vectors than 14 `env->regs[R_EAX]=…`.
fn exception(line: &str) -> Option<Exception> {
    let (_, line) = line.split_once(": v=")?;
    let (vector, line) = line.split_once(" e=")?;
    let after = |key: &str| {
        let (_, rest) = line.split_once(key)?;
        rest.split(' ').next()
    };
    let error = line.split(' ').next()?;
    Some(Exception {
        vector: u8::from_str_radix(vector, 16).ok()?,
        error: u32::from_str_radix(error, 16).ok()?,
        software: after(" i=")? == "1",
        address: hex(after(" pc=")?)?,
        fault_address: after(" CR2=").and_then(hex).unwrap_or(0),
        rax: after("env->regs[R_EAX]=").and_then(hex).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        assert_eq!(parse("IN: compare_begins"), Line::Listing);
        assert_eq!(
            parse("0xffffffff80271c70:  c3                       retq     "),
            Line::Instruction { address: 0xffff_ffff_8027_1c70, text: "retq" }
        );
        assert_eq!(
            parse("0x00403e63:  0f 05                    syscall  "),
            Line::Instruction { address: 0x40_3e63, text: "syscall" }
        );
        assert_eq!(parse("0xffffffff8024054d:  00 00 00"), Line::Other);
        assert_eq!(
            parse(
                "Trace 0: 0x7fd8c4000100 [0000000000000000/ffffffff80271c70/1040c2b1/ff020201] compare_begins"
            ),
            Line::Block {
                host: 0x7fd8_c400_0100,
                address: 0xffff_ffff_8027_1c70,
                flags: 0x1040_c2b1,
                most: 1
            }
        );
        assert_eq!(
            parse("Stopped execution of TB chain before 0x7f0d3000e200 [ffff82d08021742e] x"),
            Line::Stopped
        );
        assert_eq!(
            parse("cpu_io_recompile: rewound execution of TB to ffff82d0402f6c19"),
            Line::Rewound(0xffff_82d0_402f_6c19)
        );
        assert_eq!(parse("Servicing hardware INT=0x20"), Line::Hardware);
        for line in
            ["", "RAX=0000000000000013 RBX=0", "CR0=80010033 CR2=0", "IDT=     ffff 00000fff", "T", "0x"]
        {
            assert_eq!(parse(line), Line::Other, "{line}");
        }
    }

    #[test]
    fn exceptions_are_read() {
        let line = "     3: v=0e e=0006 i=0 cpl=3 IP=0023:00000000004003ca pc=00000000004003ca \
                    SP=001b:00007fffffffdc58 CR2=00007fffeffe8000";
        let fault = Exception {
            vector: 14,
            error: 6,
            software: false,
            address: 0x40_03ca,
            fault_address: 0x7fff_effe_8000,
            rax: 0,
        };
        assert_eq!(parse(line), Line::Exception(fault));
        let line = "     0: v=82 e=0000 i=1 cpl=1 IP=e069:ffffffff80271cc0 pc=ffffffff80271cc0 \
                    SP=e071:ffff880000893c28 env->regs[R_EAX]=0000000000000011";
        let Line::Exception(call) = parse(line) else { panic!("no exception") };
        assert_eq!((call.vector, call.software, call.rax), (0x82, true, 0x11));
    }
}
