//! Bounce frames: how an exception, an event or a system call enters a guest's kernel.
//!
//! A frame goes on the kernel stack set by `stack_switch` when a program was running, else on the kernel's own.
//! From its lowest address it holds RCX, R11, the error code if there is one, RIP, CS with the saved event mask
//! in bits 32 to 39, RFLAGS, RSP and SS. Nothing is written here: the caller writes the words, and only then
//! takes over the registers.

use crate::addr::VirtAddr;
use crate::crash::Reason;
use crate::descriptor::Policy;
use crate::emulate::{Mode, flag};
use arrayvec::ArrayVec;
use paravane_abi::regs::CpuUserRegs;

/// What the frame depends on besides the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Where the kernel runs.
    pub policy: Policy,
    /// Which half of the guest was running.
    pub mode: Mode,
    /// `stack_switch`'s stack pointer.
    pub kernel_sp: u64,
    /// `evtchn_upcall_mask` as it is.
    pub upcall_mask: bool,
    /// The virtual IOPL, if the `architectural_iopl` assistance shows it in frames.
    pub shown_iopl: Option<u8>,
}

/// What kind of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An event, or an exception without an error code.
    Plain,
    /// An exception with an error code.
    WithErrorCode(u32),
    /// A system call: the direction flag is cleared for the kernel.
    SystemCall,
    /// The failsafe callback: DS, ES, FS and GS lie between R11 and RIP.
    Failsafe {
        /// The data selectors, in that order.
        selectors: [u16; 4],
    },
}

/// Where the guest goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The handler; 0 means there is none, but for the failsafe callback.
    pub handler: u64,
    /// Whether events are masked for it.
    pub mask_events: bool,
    /// What it finds on the stack.
    pub kind: Kind,
}

/// The longest frame: RCX, R11, four selectors and the five words of a return.
pub const MAX_WORDS: usize = 11;

/// A frame to write and what the registers become.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "write the words, then take over the registers"]
pub struct Frame {
    /// Address of the first word, and the new RSP.
    pub sp: u64,
    /// The words, upwards from there.
    pub words: ArrayVec<u64, MAX_WORDS>,
    /// The handler.
    pub rip: u64,
    /// Its RFLAGS.
    pub rflags: u64,
    /// `evtchn_upcall_mask` from now on.
    pub upcall_mask: bool,
    policy: Policy,
}

impl Frame {
    /// Takes over the registers. The vcpu runs its kernel from here on.
    pub fn enter(&self, regs: &mut CpuUserRegs) {
        regs.rip = self.rip;
        regs.cs = self.policy.kernel_code();
        regs.rflags = self.rflags;
        regs.rsp = self.sp;
        regs.ss = self.policy.kernel_stack();
        if self.policy == Policy::Ring3 {
            // Xen enters a handler by `sysret`.
            (regs.rcx, regs.r11) = (regs.rip, regs.rflags);
        }
    }
}

/// Vectors for which the CPU pushes an error code (SDM volume 3, table 6-1).
pub const fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21)
}

/// A page fault's error code as the guest gets it: its U bit says program or kernel, whatever the ring.
pub const fn page_fault_error_code(raw: u32, mode: Mode) -> u32 {
    const USER: u32 = 1 << 2;
    match mode {
        Mode::Kernel => raw & !USER,
        Mode::User => raw | USER,
    }
}

/// RFLAGS in a frame: IF is the inverse of the saved mask, IOPL 0 or the virtual one.
fn shown_flags(rflags: u64, origin: &Origin) -> u64 {
    let interrupts = if origin.upcall_mask { 0 } else { flag::IF };
    let iopl = (origin.shown_iopl.unwrap_or(0) as u64) << flag::IOPL_SHIFT;
    (rflags & 0xffff_ffff & !(flag::IF | flag::IOPL)) | interrupts | (iopl & flag::IOPL)
}

/// RFLAGS a handler starts with. The CPU clears TF, VM, RF and NT on a trap; AC has no meaning in a kernel.
fn handler_flags(rflags: u64, kind: Kind) -> u64 {
    let cleared = flag::TF | flag::RF | flag::NT | flag::AC | flag::VM | flag::IOPL;
    let direction = if kind == Kind::SystemCall { flag::DF } else { 0 };
    (rflags & SETTABLE & !(cleared | direction)) | flag::IF | flag::ONE
}

/// The flags a guest can have at all; IF and IOPL are the hypervisor's.
pub(crate) const SETTABLE: u64 = flag::ARITHMETIC
    | flag::TF
    | flag::DF
    | flag::NT
    | flag::RF
    | flag::AC
    | flag::VIF
    | flag::VIP
    | flag::ID;

/// CS in a frame. In ring 3 the RPL tells kernel (0) from program (3); in ring 1 it does so by itself.
fn shown_cs(cs: u16, origin: &Origin) -> u16 {
    match (origin.policy, origin.mode) {
        (Policy::Ring3, Mode::Kernel) => cs & !3,
        _ => cs,
    }
}

/// Computes the frame for an entry into the guest's kernel, or why the domain cannot go on.
pub fn bounce(regs: &CpuUserRegs, origin: &Origin, entry: &Entry) -> Result<Frame, Reason> {
    let none = entry.handler == 0 && !matches!(entry.kind, Kind::Failsafe { .. });
    if none || !VirtAddr::is_guest(entry.handler) {
        return Err(Reason::NoHandler { handler: entry.handler });
    }
    let words = words(regs, origin, entry.kind);
    let stack = match origin.mode {
        Mode::Kernel => regs.rsp,
        Mode::User => origin.kernel_sp,
    };
    let top = stack & !15;
    let sp = top.wrapping_sub(words.len() as u64 * 8);
    // The last word's end may touch the top of memory or of the lower half, never reach beyond.
    if !VirtAddr::is_guest(sp) || !VirtAddr::is_guest(top.wrapping_sub(1)) || sp >= top.wrapping_sub(1) {
        return Err(Reason::BadStack { sp: stack });
    }
    Ok(Frame {
        sp,
        words,
        rip: entry.handler,
        rflags: handler_flags(regs.rflags, entry.kind),
        upcall_mask: origin.upcall_mask || entry.mask_events,
        policy: origin.policy,
    })
}

fn words(regs: &CpuUserRegs, origin: &Origin, kind: Kind) -> ArrayVec<u64, MAX_WORDS> {
    let mut words = ArrayVec::new();
    words.extend([regs.rcx, regs.r11]);
    match kind {
        Kind::Plain | Kind::SystemCall => {}
        Kind::WithErrorCode(code) => words.push(code as u64),
        Kind::Failsafe { selectors } => words.extend(selectors.map(|selector| selector as u64)),
    }
    let cs = shown_cs(regs.cs, origin) as u64 | (origin.upcall_mask as u64) << 32;
    words.extend([regs.rip, cs, shown_flags(regs.rflags, origin), regs.rsp, regs.ss as u64]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{RING1_CS64, RING1_SS, USER_CS64, USER_SS};

    const HANDLER: u64 = 0xffff_ffff_8100_0000;

    fn regs(cs: u16, ss: u16) -> CpuUserRegs {
        CpuUserRegs {
            rcx: 0xc,
            r11: 0x11,
            rip: 0x40_1000,
            cs,
            rflags: 0x246,
            rsp: 0x7fff_1239,
            ss,
            ..CpuUserRegs::default()
        }
    }

    fn origin(policy: Policy, mode: Mode) -> Origin {
        Origin { policy, mode, kernel_sp: 0xffff_c900_0000_4000, upcall_mask: false, shown_iopl: None }
    }

    fn entry(kind: Kind) -> Entry {
        Entry { handler: HANDLER, mask_events: false, kind }
    }

    #[test]
    fn a_program_is_left_for_the_kernel_stack() {
        for policy in [Policy::Ring1, Policy::Ring3] {
            let mut regs = regs(USER_CS64, USER_SS);
            let frame = bounce(&regs, &origin(policy, Mode::User), &entry(Kind::Plain)).unwrap();
            assert_eq!(frame.sp, 0xffff_c900_0000_4000 - 56);
            assert_eq!(frame.words[..], [0xc, 0x11, 0x40_1000, 0xe033, 0x246, 0x7fff_1239, 0xe02b]);
            frame.enter(&mut regs);
            assert_eq!((regs.cs, regs.ss), (policy.kernel_code(), policy.kernel_stack()));
            assert_eq!((regs.rip, regs.rsp), (HANDLER, frame.sp));
        }
    }

    #[test]
    fn a_kernel_keeps_its_stack_rounded_down() {
        let regs = regs(RING1_CS64, RING1_SS);
        let frame = bounce(&regs, &origin(Policy::Ring1, Mode::Kernel), &entry(Kind::Plain)).unwrap();
        assert_eq!(frame.sp, 0x7fff_1230 - 56);
        assert_eq!(frame.words[3], 0xe069);
        assert_eq!(frame.words[6], 0xe071);
    }

    #[test]
    fn a_ring_3_kernel_shows_rpl_0() {
        let regs = regs(USER_CS64, USER_SS);
        let frame = bounce(&regs, &origin(Policy::Ring3, Mode::Kernel), &entry(Kind::Plain)).unwrap();
        assert_eq!(frame.words[3], 0xe030);
        assert_eq!(frame.words[6], 0xe02b);
    }

    #[test]
    fn error_codes_lie_below_rip() {
        let regs = regs(USER_CS64, USER_SS);
        let origin = origin(Policy::Ring3, Mode::User);
        let frame = bounce(&regs, &origin, &entry(Kind::WithErrorCode(0x15))).unwrap();
        assert_eq!(frame.words.len(), 8);
        assert_eq!(frame.words[2..4], [0x15, 0x40_1000]);
        assert_eq!(frame.sp % 16, 0);
    }

    #[test]
    fn the_mask_is_saved_and_set() {
        let regs = regs(USER_CS64, USER_SS);
        let masked = Origin { upcall_mask: true, ..origin(Policy::Ring3, Mode::Kernel) };
        let frame = bounce(&regs, &masked, &entry(Kind::Plain)).unwrap();
        assert_eq!(frame.words[3], 1 << 32 | 0xe030);
        assert_eq!(frame.words[4] & flag::IF, 0);
        assert!(frame.upcall_mask);
        let masking = Entry { mask_events: true, ..entry(Kind::Plain) };
        let frame = bounce(&regs, &origin(Policy::Ring3, Mode::Kernel), &masking).unwrap();
        assert_eq!(frame.words[3] >> 32, 0);
        assert_ne!(frame.words[4] & flag::IF, 0);
        assert!(frame.upcall_mask);
    }

    #[test]
    fn flags_are_sanitised() {
        let mut regs = regs(USER_CS64, USER_SS);
        regs.rflags = u64::MAX;
        let origin = Origin { shown_iopl: Some(1), ..origin(Policy::Ring3, Mode::User) };
        let frame = bounce(&regs, &origin, &entry(Kind::Plain)).unwrap();
        let gone = flag::TF | flag::RF | flag::NT | flag::AC | flag::VM | flag::IOPL;
        assert_eq!(frame.rflags & gone, 0);
        assert_eq!(frame.rflags & (flag::IF | flag::ONE), flag::IF | flag::ONE);
        assert_ne!(frame.rflags & flag::DF, 0);
        assert_eq!(frame.words[4] & flag::IOPL, 1 << 12);
        let call = bounce(&regs, &origin, &entry(Kind::SystemCall)).unwrap();
        assert_eq!(call.rflags & flag::DF, 0);
        assert_ne!(call.words[4] & flag::DF, 0);
    }

    #[test]
    fn failsafe_frames_carry_the_selectors() {
        let regs = regs(USER_CS64, USER_SS);
        let kind = Kind::Failsafe { selectors: [1, 2, 3, 4] };
        let frame = bounce(&regs, &origin(Policy::Ring3, Mode::User), &entry(kind)).unwrap();
        assert_eq!(frame.words.len(), MAX_WORDS);
        assert_eq!(frame.words[2..7], [1, 2, 3, 4, 0x40_1000]);
    }

    #[test]
    fn stacks_in_the_hypervisors_range_crash_the_domain() {
        let mut regs = regs(RING1_CS64, RING1_SS);
        for (rsp, good) in [
            (0xffff_8000_0000_0000_u64, false),
            (0xffff_8400_0000_0000, false),
            (0xffff_8800_0000_0000, false),
            (0xffff_8800_0000_0030, false),
            (0xffff_8800_0000_0040, true),
            (0x8000_0000_0000, true),
            (0x8000_0000_0040, false),
            (0x9000_0000_0000, false),
            (0, true),
            (0x30, false),
            (0x40, true),
            (u64::MAX, true),
        ] {
            regs.rsp = rsp;
            let frame = bounce(&regs, &origin(Policy::Ring1, Mode::Kernel), &entry(Kind::Plain));
            assert_eq!(frame.is_ok(), good, "{rsp:#x}");
        }
    }

    #[test]
    fn handlers_must_be_the_guests() {
        let regs = regs(USER_CS64, USER_SS);
        for handler in [0, 0x8000_0000_0000, 0xffff_8000_0000_0000, 0xffff_87ff_ffff_ffff] {
            let entry = Entry { handler, mask_events: false, kind: Kind::Plain };
            let frame = bounce(&regs, &origin(Policy::Ring3, Mode::User), &entry);
            assert_eq!(frame, Err(Reason::NoHandler { handler }));
        }
    }

    #[test]
    fn error_code_vectors_and_the_user_bit() {
        let with: std::vec::Vec<u8> = (0..=255).filter(|&vector| has_error_code(vector)).collect();
        assert_eq!(with, [8, 10, 11, 12, 13, 14, 17, 21]);
        assert_eq!(page_fault_error_code(7, Mode::Kernel), 3);
        assert_eq!(page_fault_error_code(3, Mode::User), 7);
    }
}
