//! Exceptions, from kernel mode and from programs: the frame that the hypervisor pushes, and the flags it leaves.

use paravane_abi::hypercall::HYPERVISOR_VM_ASSIST;
use paravane_abi::hypercall::vm_assist::VMASST_CMD_ENABLE;
use paravane_abi::vm_assist::VMASST_TYPE_M2P_STRICT;

use crate::case::{Case, Explained, because};
use crate::observe;
use pv_probe::guard::{self, Distance, guard_rsp, guarded};
use pv_probe::hypercall::raw;
use pv_probe::memory::{P, PAGE, Page, US, WINDOW, map_new, shared};
use pv_probe::user;

/// The case.
pub const CASE: Case = super::observation(
    "exceptions",
    "the frames of exceptions and system calls, from kernel mode and from programs",
    |_| {
        observe();
        Ok(())
    },
)
.explained(&[
    Explained { value: "kernel.int-14", reason: because::EMULATOR },
    Explained { value: "user.int-14", reason: because::EMULATOR },
    Explained { value: "kernel.int-32", reason: because::EMULATOR },
    Explained { value: "user.int-32", reason: because::EMULATOR },
    Explained { value: "kernel.int-63", reason: because::EMULATOR },
    Explained { value: "user.int-63", reason: because::EMULATOR },
    Explained { value: "kernel.int-82", reason: because::EMULATOR },
    Explained { value: "user.int-82", reason: because::EMULATOR },
    Explained { value: "kernel.int-ff", reason: because::EMULATOR },
    Explained { value: "user.int-ff", reason: because::EMULATOR },
]);

/// A page whose code the kernel mode's probes are.
static CODE: Page = Page::new();

/// What is executed, by name. `WINDOW` is in RDI for kernel mode; programs have it there too.
const PROBES: &[(&str, &[u8])] = &[
    ("divide", &[0x31, 0xc0, 0x31, 0xd2, 0x31, 0xc9, 0xf7, 0xf1]),
    ("int3", &[0xcc]),
    ("int-3", &[0xcd, 3]),
    ("int-4", &[0xcd, 4]),
    ("int-0", &[0xcd, 0]),
    ("int-14", &[0xcd, 14]),
    ("int-32", &[0xcd, 32]),
    ("int-63", &[0xcd, 63]),
    ("int-80", &[0xcd, 0x80]),
    ("int-82", &[0xcd, 0x82]),
    ("int-ff", &[0xcd, 0xff]),
    ("int1", &[0xf1]),
    ("ud2", &[0x0f, 0x0b]),
    ("ud2-behind-prefix", &[0x66, 0x0f, 0x0b]),
    ("forced-cpuid-only-prefix", &[0x0f, 0x0b, b'x', b'e', b'n', 0x90]),
    ("hlt", &[0xf4]),
    ("lgdt", &[0x0f, 0x01, 0x17]),
    ("lidt", &[0x0f, 0x01, 0x1f]),
    ("ltr", &[0x0f, 0x00, 0xd8]),
    ("lldt", &[0x0f, 0x00, 0xd0]),
    ("invlpg", &[0x0f, 0x01, 0x3f]),
    ("invd", &[0x0f, 0x08]),
    ("in", &[0xe4, 0x80]),
    ("out", &[0xe6, 0x80]),
    ("mov-cr3", &[0x0f, 0x22, 0xdf]),
    ("mov-cr8", &[0x44, 0x0f, 0x22, 0xc7]),
    ("rdmsr-unknown", &[0xb9, 0x78, 0x56, 0x34, 0x12, 0x0f, 0x32]),
    ("wrmsr-unknown", &[0xb9, 0x78, 0x56, 0x34, 0x12, 0x0f, 0x30]),
    ("read-nothing", &[0x48, 0x8b, 0x07]),
    ("write-nothing", &[0x48, 0x89, 0x07]),
    ("call-nothing", &[0xff, 0xe7]),
    ("write-read-only", &[0x48, 0x89, 0x87, 0x00, 0x10, 0x00, 0x00]),
    ("not-canonical", &[0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x48, 0x8b, 0x00]),
    ("read-hypervisor", &[0x48, 0xb8, 0, 0, 0, 0, 0, 0x81, 0xff, 0xff, 0x48, 0x8b, 0x00]),
    ("write-m2p", &[0x48, 0xb8, 0, 0, 0, 0, 0, 0x80, 0xff, 0xff, 0x48, 0x89, 0x00]),
    ("mov-ds-bad", &[0x66, 0xb8, 0xf3, 0xff, 0x8e, 0xd8]),
    ("mov-ds-null-3", &[0x66, 0xb8, 3, 0, 0x8e, 0xd8, 0x0f, 0x0b]),
    ("mov-ss-null", &[0x31, 0xc0, 0x8e, 0xd0]),
    ("mov-fs-bad", &[0x66, 0xb8, 0x08, 0, 0x8e, 0xe0]),
    (
        "alignment",
        &[0x9c, 0x81, 0x0c, 0x24, 0, 0, 4, 0, 0x9d, 0x48, 0x8d, 0x44, 0x24, 0xf1, 0x8b, 0x00, 0x0f, 0x0b],
    ),
    ("single-step", &[0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0x90, 0x90, 0x0f, 0x0b]),
    ("direction", &[0xfd, 0x0f, 0x0b]),
    ("nested-task", &[0x9c, 0x81, 0x0c, 0x24, 0, 0x40, 0, 0, 0x9d, 0x0f, 0x0b]),
    ("alignment-flag", &[0x9c, 0x81, 0x0c, 0x24, 0, 0, 4, 0, 0x9d, 0x0f, 0x0b]),
    ("resume-flag", &[0x9c, 0x81, 0x0c, 0x24, 0, 0, 1, 0, 0x9d, 0x0f, 0x0b]),
    ("iopl-flag", &[0x9c, 0x81, 0x0c, 0x24, 0, 0x30, 0, 0, 0x9d, 0x0f, 0x0b]),
    ("id-flag", &[0x9c, 0x81, 0x0c, 0x24, 0, 0, 0x20, 0, 0x9d, 0x0f, 0x0b]),
    ("cli", &[0xfa, 0x0f, 0x0b]),
    ("sti", &[0xfb, 0x0f, 0x0b]),
    ("popf-if-clear", &[0x9c, 0x81, 0x24, 0x24, 0xff, 0xfd, 0xff, 0xff, 0x9d, 0x0f, 0x0b]),
    ("sysenter", &[0x0f, 0x34]),
    ("smsw", &[0x0f, 0x01, 0xe0, 0x0f, 0x0b]),
    ("clts", &[0x0f, 0x06, 0x0f, 0x0b]),
    ("wbinvd", &[0x0f, 0x09, 0x0f, 0x0b]),
    ("xgetbv", &[0x31, 0xc9, 0x0f, 0x01, 0xd0, 0x0f, 0x0b]),
    ("swapgs", &[0x0f, 0x01, 0xf8]),
    ("rdpmc", &[0x31, 0xc9, 0x0f, 0x33]),
    ("vmcall", &[0x0f, 0x01, 0xc1]),
    ("vmmcall", &[0x0f, 0x01, 0xd9]),
    ("mov-dr4", &[0x0f, 0x21, 0xe0]),
    ("far-return-0", &[0x6a, 0x00, 0x6a, 0x00, 0x48, 0xcb]),
    ("iretq-bad", &[0x6a, 0x00, 0x6a, 0x00, 0x6a, 0x02, 0x6a, 0x08, 0x6a, 0x00, 0x48, 0xcf]),
];

/// The registers that the probes begin with.
fn registers() -> [u64; 15] {
    let mut registers = [0; 15];
    registers[5] = WINDOW + 16 * PAGE;
    registers
}

fn observe() {
    map_new(WINDOW + 17 * PAGE, P | US);
    user::prepare();
    // Programs do not see the M2P, as Linux wants it.
    let result =
        raw(HYPERVISOR_VM_ASSIST, [VMASST_CMD_ENABLE.into(), VMASST_TYPE_M2P_STRICT.into(), 0, 0, 0]);
    assert!(result == 0, "m2p_strict: {result}");
    for (name, code) in PROBES {
        kernel(name, code);
        program(name, code);
    }
    let caught = user::run(&[0x0f, 0x05], &registers());
    observe!("user.syscall", "{}, flags {:x}", caught.seen(user::CODE, user::STACK_END), caught.rflags);
    observe!("user.syscall.rcx-r11", "{:x?}", [caught.pushed[0], caught.pushed[1]]);
}

fn fault_address() -> u64 {
    // SAFETY: a word of the shared page.
    unsafe { (&raw const (*shared()).vcpu_info[0].arch.cr2).read_volatile() }
}

fn clear_fault_address() {
    // SAFETY: as above; the guest may write it.
    unsafe { (&raw mut (*shared()).vcpu_info[0].arch.cr2).write_volatile(0) };
}

fn kernel(name: &str, code: &[u8]) {
    let bytes = CODE.address() as *mut u8;
    for (index, byte) in code.iter().chain(&[0x0f, 0x0b]).enumerate() {
        // SAFETY: the page is this case's own; the image is mapped writable and executable.
        unsafe { bytes.add(index).write_volatile(*byte) };
    }
    clear_fault_address();
    // SAFETY: the probes touch nothing, and end in ud2.
    let caught = unsafe { guarded(CODE.address(), registers()[5]) };
    observe!(
        ("kernel.{name}"),
        "{}, flags {:x}, pushed at {}, cr2 {:#x}",
        caught.seen(CODE.address(), guard_rsp() - 8),
        caught.rflags,
        Distance(caught.rsp.wrapping_sub(guard_rsp() - 8)),
        fault_address(),
    );
}

fn program(name: &str, code: &[u8]) {
    let mut bytes = [0x90; 32];
    bytes[..code.len()].copy_from_slice(code);
    bytes[code.len()..code.len() + 2].copy_from_slice(&[0x0f, 0x0b]);
    clear_fault_address();
    let caught = user::run(&bytes, &registers());
    observe!(
        ("user.{name}"),
        "{}, flags {:x}, pushed at {}, cr2 {:#x}",
        caught.seen(user::CODE, user::STACK_END),
        caught.rflags,
        Distance(caught.rsp.wrapping_sub(guard::trap_stack())),
        fault_address(),
    );
}
