//! Returns to a guest: hypercall 23, a ring-1 kernel's own `iretq` that the hypervisor intercepted, and the
//! register contexts a guest hands over for a new vcpu.

use crate::addr::VirtAddr;
use crate::bounce::SETTABLE;
use crate::crash::Reason;
use crate::descriptor::{
    CodeBits, GuestTables, Policy, SelectorFault, USER_CS32, USER_CS64, USER_SS, fixup, may_return_with,
    reload,
};
use crate::emulate::{Form, Mode, decode, flag};
use paravane_abi::errno::Errno;
use paravane_abi::regs::{CpuUserRegs, IretContext, VGCF_IN_SYSCALL};

/// Registers to return with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "take over the registers"]
pub struct Return {
    /// Which half of the guest runs next.
    pub mode: Mode,
    /// `evtchn_upcall_mask` from now on; `None` leaves it alone.
    pub upcall_mask: Option<bool>,
    /// The virtual IOPL from now on, if the guest has the `architectural_iopl` assistance.
    pub iopl: Option<u8>,
    rip: u64,
    cs: u16,
    rflags: u64,
    rsp: u64,
    ss: u16,
    /// RAX, and RCX and R11 unless the return is from a system call of a program of a kernel in ring 1.
    scratch: Option<Scratch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scratch {
    rax: u64,
    rcx_r11: Option<(u64, u64)>,
}

impl Return {
    /// What becomes of it if it is made by `sysret`, as Xen does: RCX and R11 are RIP and RFLAGS, and the segments are
    /// the flat ones, whatever the frame says (SDM volume 2, SYSRET; RF is not among the flags that it loads). A RIP
    /// that `sysret` must not be given is refused by `iretq` instead, with the frame's segments.
    fn as_by_sysret(self) -> Self {
        let scratch = self.scratch.map(|it| Scratch { rcx_r11: Some((self.rip, self.rflags)), ..it });
        if !VirtAddr::is_canonical(self.rip) {
            return Self { scratch, ..self };
        }
        let (cs, rip) = match self.cs {
            USER_CS32 => (USER_CS32, u64::from(self.rip as u32)),
            _ => (USER_CS64, self.rip),
        };
        Self { rip, cs, ss: USER_SS, rflags: self.rflags & !flag::RF, scratch, ..self }
    }

    /// Takes over the registers.
    pub fn enter(&self, regs: &mut CpuUserRegs) {
        regs.rip = self.rip;
        regs.cs = self.cs;
        regs.rflags = self.rflags;
        regs.rsp = self.rsp;
        regs.ss = self.ss;
        let Some(scratch) = self.scratch else { return };
        regs.rax = scratch.rax;
        if let Some((rcx, r11)) = scratch.rcx_r11 {
            regs.rcx = rcx;
            regs.r11 = r11;
        }
    }
}

/// RFLAGS as the hypervisor returns with them: interrupts on, IOPL 0, nothing reserved.
pub const fn exit_flags(rflags: u64) -> u64 {
    (rflags & SETTABLE) | flag::IF | flag::ONE
}

const fn iopl_of(rflags: u64) -> u8 {
    ((rflags & flag::IOPL) >> flag::IOPL_SHIFT) as u8
}

/// Hypercall 23. RPL 3 in CS returns to a program, any other to the kernel.
///
/// `user_table` is whether the vcpu has a base pointer for programs (always, where kernel and programs share
/// one); without it a return to a program crashes the domain, as in Xen. RIP may be non-canonical and selectors
/// may be unusable: [`check_exit`] turns that into the guest's exception.
pub fn hypercall(
    policy: Policy,
    context: &IretContext,
    user_table: bool,
    architectural_iopl: bool,
) -> Result<Return, Reason> {
    let mode = if context.cs & 3 == 3 { Mode::User } else { Mode::Kernel };
    if mode == Mode::User && !user_table {
        return Err(Reason::NoUserTable);
    }
    let (cs, ss) = selectors(policy, mode, context.cs as u16, context.ss as u16);
    let in_syscall = context.flags & VGCF_IN_SYSCALL != 0;
    let to = Return {
        mode,
        upcall_mask: Some(context.rflags & flag::IF == 0),
        iopl: architectural_iopl.then_some(iopl_of(context.rflags)),
        rip: context.rip,
        cs,
        rflags: exit_flags(context.rflags),
        rsp: context.rsp,
        ss,
        scratch: Some(Scratch {
            rax: context.rax,
            rcx_r11: (!in_syscall).then_some((context.rcx, context.r11)),
        }),
    };
    Ok(if in_syscall && policy == Policy::Ring3 { to.as_by_sysret() } else { to })
}

/// Gives CS and SS the RPL of the half of the guest that will run.
const fn selectors(policy: Policy, mode: Mode, cs: u16, ss: u16) -> (u16, u16) {
    let rpl = match mode {
        Mode::User => 3,
        Mode::Kernel => policy.kernel_rpl(),
    };
    ((cs & !3) | rpl, (ss & !3) | rpl)
}

/// Whether the hypervisor's `iretq` can return with these registers; if not, the exception the guest gets
/// instead, in the context it was to return to (as Xen does).
pub fn check_exit(
    policy: Policy,
    tables: &impl GuestTables,
    regs: &CpuUserRegs,
) -> Result<CodeBits, SelectorFault> {
    may_return_with(policy, tables, regs.rip, regs.cs, regs.ss)
}

/// What a #NP in a ring-1 kernel turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPresent {
    /// Its `iretq` to a program, intercepted. The frame is used up; take over the registers, then deliver.
    Return(Return),
    /// Its `iretq` would have failed anyway, with this exception.
    Fault(SelectorFault),
    /// Something else: the #NP is the guest's.
    NotOurs,
}

/// Whether a #NP's error code names one of ring 3's code segments, so that it is worth reading the instruction
/// and the frame.
pub const fn names_user_code(error_code: u32) -> bool {
    error_code == (USER_CS64 & !3) as u32 || error_code == (USER_CS32 & !3) as u32
}

/// Decides a #NP that a ring-1 kernel raised while ring 3's code segments were marked not present.
///
/// `bytes` is what could be fetched at RIP and `frame` the five words at RSP. `tables` must answer as if the
/// segments were present.
pub fn intercepted(
    tables: &impl GuestTables,
    regs: &CpuUserRegs,
    bytes: &[u8],
    frame: [u64; 5],
) -> NotPresent {
    let [rip, cs, rflags, rsp, ss] = frame;
    let (cs, ss) = (cs as u16, ss as u16);
    let is_iretq =
        decode(bytes, CodeBits::Bits64, regs.rip).is_some_and(|decoded| decoded.form == Form::Iretq);
    let to_program = cs == USER_CS64 || cs == USER_CS32;
    if !is_iretq || !to_program || !names_user_code(regs.error_code) {
        return NotPresent::NotOurs;
    }
    if let Err(fault) = may_return_with(Policy::Ring1, tables, rip, cs, ss) {
        return NotPresent::Fault(fault);
    }
    NotPresent::Return(Return {
        mode: Mode::User,
        upcall_mask: None,
        iopl: None,
        rip,
        cs,
        // IRETQ outside ring 0 with IOPL 0 changes neither IF, IOPL, VM, VIF nor VIP (SDM, IRET).
        rflags: exit_flags(rflags & !(flag::VIF | flag::VIP)),
        rsp,
        ss,
        scratch: None,
    })
}

/// Registers of a vcpu to be started (`VCPUOP_initialise`), made safe to return with, and its virtual IOPL.
///
/// As in Xen, selectors get at least the kernel's RPL, and the IOPL in RFLAGS becomes the virtual one.
pub fn initial(policy: Policy, mode: Mode, given: &CpuUserRegs) -> Result<(CpuUserRegs, u8), Errno> {
    if !VirtAddr::is_canonical(given.rip) {
        return Err(Errno::EINVAL);
    }
    let (cs, ss) = match mode {
        Mode::User => selectors(policy, mode, given.cs, given.ss),
        Mode::Kernel => (fixup(policy, given.cs), fixup(policy, given.ss)),
    };
    let regs = CpuUserRegs {
        cs,
        ss,
        ds: reload(policy, given.ds),
        es: reload(policy, given.es),
        fs: reload(policy, given.fs),
        gs: reload(policy, given.gs),
        rflags: exit_flags(given.rflags),
        error_code: 0,
        entry_vector: 0,
        ..*given
    };
    Ok((regs, iopl_of(given.rflags)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{RESERVED_OFFSET, RING1_CS64, RING1_SS, reserved_gdt_page, tss_descriptor};

    struct Reserved(Policy);

    impl GuestTables for Reserved {
        fn descriptor(&self, selector: u16) -> Option<u64> {
            let index = selector.checked_sub(RESERVED_OFFSET)? >> 3;
            (selector & 4 == 0).then(|| reserved_gdt_page(self.0, tss_descriptor(0, 0x67))[index as usize])
        }
    }

    const RING1: Reserved = Reserved(Policy::Ring1);
    const RING3: Reserved = Reserved(Policy::Ring3);

    fn context(cs: u64, ss: u64, rflags: u64) -> IretContext {
        IretContext { rax: 1, r11: 2, rcx: 3, flags: 0, rip: 0x40_0000, cs, rflags, rsp: 0x7000, ss }
    }

    #[test]
    fn a_return_to_a_program_restores_everything() {
        let context = context(0xe033, 0xe02b, 0x202);
        let back = hypercall(Policy::Ring3, &context, true, false).unwrap();
        assert_eq!((back.mode, back.upcall_mask, back.iopl), (Mode::User, Some(false), None));
        let mut regs = CpuUserRegs::default();
        back.enter(&mut regs);
        assert_eq!((regs.rax, regs.rcx, regs.r11), (1, 3, 2));
        assert_eq!((regs.rip, regs.rsp, regs.cs, regs.ss), (0x40_0000, 0x7000, 0xe033, 0xe02b));
        assert_eq!(check_exit(Policy::Ring3, &RING3, &regs), Ok(CodeBits::Bits64));
    }

    #[test]
    fn a_system_call_return_in_ring_1_leaves_rcx_and_r11() {
        let context = IretContext { flags: VGCF_IN_SYSCALL, ..context(0xe033, 0xe02b, 0x202) };
        let mut regs = CpuUserRegs { rcx: 77, r11: 88, ..CpuUserRegs::default() };
        hypercall(Policy::Ring1, &context, true, false).unwrap().enter(&mut regs);
        assert_eq!((regs.rax, regs.rcx, regs.r11), (1, 77, 88));
    }

    #[test]
    fn a_system_call_return_in_ring_3_is_by_sysret() {
        for (cs, rip, wanted) in [
            (0x13u64, 0xffff_9000_0040_0000, (0xffff_9000_0040_0000, USER_CS64, USER_SS)),
            (0xe020, 0x1_2345_6789, (0x2345_6789, USER_CS32, USER_SS)),
            (0x10, 1 << 47, (1 << 47, 0x13, 0x1b)),
        ] {
            let rflags = 0x1_0246;
            let context = IretContext { flags: VGCF_IN_SYSCALL, rip, ..context(cs, 0x18, rflags) };
            let mut regs = CpuUserRegs::default();
            hypercall(Policy::Ring3, &context, true, false).unwrap().enter(&mut regs);
            assert_eq!((regs.rip, regs.cs, regs.ss), wanted);
            assert_eq!((regs.rcx, regs.r11), (rip, rflags));
            assert_eq!(regs.rflags & flag::RF != 0, !VirtAddr::is_canonical(rip), "sysret clears it");
        }
    }

    #[test]
    fn privilege_is_forced() {
        for (policy, cs, ss, wanted) in [
            (Policy::Ring3, 0xe030, 0xe028, (Mode::Kernel, 0xe033, 0xe02b)),
            (Policy::Ring3, 0xe008, 0xe010, (Mode::Kernel, 0xe00b, 0xe013)),
            (Policy::Ring1, 0xe068, 0xe070, (Mode::Kernel, RING1_CS64, RING1_SS)),
            (Policy::Ring1, 0xe069, 0xe071, (Mode::Kernel, RING1_CS64, RING1_SS)),
            (Policy::Ring1, 0xe033, 0xe028, (Mode::User, USER_CS64, USER_SS)),
            (Policy::Ring1, 0xe008, 0xe010, (Mode::Kernel, 0xe009, 0xe011)),
        ] {
            let back = hypercall(policy, &context(cs, ss, 0x202), true, false).unwrap();
            assert_eq!((back.mode, back.cs, back.ss), wanted);
        }
    }

    #[test]
    fn flags_and_mask() {
        let back = hypercall(Policy::Ring3, &context(0xe030, 0xe028, !flag::IF), true, true).unwrap();
        assert_eq!(back.upcall_mask, Some(true));
        assert_eq!(back.iopl, Some(3));
        assert_eq!(back.rflags & (flag::IOPL | flag::VM), 0);
        assert_eq!(back.rflags & (flag::IF | flag::ONE), flag::IF | flag::ONE);
        assert_eq!(back.rflags >> 22, 0);
    }

    #[test]
    fn no_user_table_crashes_the_domain() {
        let context = context(0xe033, 0xe02b, 0);
        assert_eq!(hypercall(Policy::Ring3, &context, false, false), Err(Reason::NoUserTable));
        let kernel = self::context(0xe030, 0xe02b, 0);
        assert!(hypercall(Policy::Ring3, &kernel, false, false).is_ok());
    }

    #[test]
    fn exits_that_would_fault_become_the_guests() {
        let regs = |rip, cs, ss| CpuUserRegs { rip, cs, ss, ..CpuUserRegs::default() };
        let fault = |vector, error_code| Err(SelectorFault { vector, error_code });
        for (rip, cs, ss, wanted) in [
            (0, RING1_CS64, RING1_SS, Ok(CodeBits::Bits64)),
            (0, RING1_CS64, 1, Ok(CodeBits::Bits64)),
            (0, USER_CS32, USER_SS, Ok(CodeBits::Bits32)),
            (1 << 32, USER_CS32, USER_SS, fault(13, 0)),
            (1 << 47, USER_CS64, USER_SS, fault(13, 0)),
            (0, USER_CS64, 3, fault(13, 0)),
            (0, 3, USER_SS, fault(13, 0)),
            // The hypervisor's own segments, whatever RPL.
            (0, 0xe009, RING1_SS, fault(13, 0xe008)),
            (0, 0xe008, 0xe010, fault(13, 0xe008)),
            (0, RING1_CS64, 0xe011, fault(13, 0xe010)),
            (0, USER_CS64, RING1_SS, fault(13, 0xe070)),
            (0, 0xe06b, USER_SS, fault(13, 0xe068)),
            (0, 0xe043, USER_SS, fault(13, 0xe040)),
            (0, USER_SS, USER_SS, fault(13, 0xe028)),
            (0, USER_CS64, USER_CS64, fault(13, 0xe030)),
            (0, 0x13, USER_SS, fault(13, 0x10)),
            (0, USER_CS64, 7, fault(13, 4)),
        ] {
            let result = check_exit(Policy::Ring1, &RING1, &regs(rip, cs, ss));
            assert_eq!(result, wanted, "{rip:#x} {cs:#x} {ss:#x}");
        }
        let ring1_segment = check_exit(Policy::Ring3, &RING3, &regs(0, RING1_CS64, RING1_SS));
        assert_eq!(ring1_segment, fault(13, 0xe068));
    }

    const IRETQ: [u8; 2] = [0x48, 0xcf];

    fn np(error_code: u32) -> CpuUserRegs {
        CpuUserRegs { error_code, cs: RING1_CS64, ss: RING1_SS, rax: 5, ..CpuUserRegs::default() }
    }

    #[test]
    fn an_intercepted_iretq_returns_to_the_program() {
        let frame = [0x40_0000, 0xe033, !flag::IF, 0x7000, 0xe02b];
        let NotPresent::Return(back) = intercepted(&RING1, &np(0xe030), &IRETQ, frame) else {
            panic!("not taken for an iretq");
        };
        assert_eq!((back.mode, back.upcall_mask), (Mode::User, None));
        let mut regs = np(0xe030);
        back.enter(&mut regs);
        assert_eq!((regs.rip, regs.rsp, regs.cs, regs.ss, regs.rax), (0x40_0000, 0x7000, 0xe033, 0xe02b, 5));
        assert_eq!(regs.rflags & (flag::IOPL | flag::VM | flag::VIF | flag::VIP), 0);
        assert_ne!(regs.rflags & flag::IF, 0);
    }

    #[test]
    fn other_causes_of_not_present_are_the_guests() {
        let frame = [0x40_0000, 0xe033, 0x202, 0x7000, 0xe02b];
        for (error_code, bytes, cs) in [
            (0x10, &IRETQ[..], 0xe033),
            (0xe031, &IRETQ, 0xe033),
            (0xe030, &[0x48, 0xcb], 0xe033),
            (0xe030, &[0xcf, 0x90], 0xe033),
            (0xe030, &[0x48], 0xe033),
            (0xe030, &[], 0xe033),
            (0xe030, &IRETQ, 0xe069),
            (0xe030, &IRETQ, 0xe030),
        ] {
            let frame = [frame[0], cs, frame[2], frame[3], frame[4]];
            assert_eq!(intercepted(&RING1, &np(error_code), bytes, frame), NotPresent::NotOurs);
        }
    }

    #[test]
    fn an_intercepted_iretq_is_checked_as_the_cpu_would() {
        let result = intercepted(&RING1, &np(0xe030), &IRETQ, [1 << 47, 0xe033, 0x202, 0, 0xe02b]);
        assert_eq!(result, NotPresent::Fault(SelectorFault { vector: 13, error_code: 0 }));
        let result = intercepted(&RING1, &np(0xe030), &IRETQ, [0, 0xe033, 0x202, 0, 0xe071]);
        assert_eq!(result, NotPresent::Fault(SelectorFault { vector: 13, error_code: 0xe070 }));
    }

    #[test]
    fn initial_contexts_are_made_safe() {
        let given = CpuUserRegs {
            rip: 0xffff_ffff_8100_0000,
            cs: 0x10,
            ss: 0x18,
            ds: 0xe010,
            es: 0,
            rflags: 0x1000,
            rax: 9,
            ..CpuUserRegs::default()
        };
        let (regs, iopl) = initial(Policy::Ring3, Mode::Kernel, &given).unwrap();
        assert_eq!((regs.cs, regs.ss, regs.ds, regs.es), (0x13, 0x1b, 0xe013, 0));
        assert_eq!((regs.rflags, iopl, regs.rax), (0x202, 1, 9));
        let (ring1, _) = initial(Policy::Ring1, Mode::Kernel, &given).unwrap();
        assert_eq!((ring1.cs, ring1.ss, ring1.ds), (0x11, 0x19, 0xe011));
        let bad = CpuUserRegs { rip: 1 << 47, ..given };
        assert_eq!(initial(Policy::Ring1, Mode::Kernel, &bad), Err(Errno::EINVAL));
    }
}
