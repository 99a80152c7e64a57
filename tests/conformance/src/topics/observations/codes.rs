//! What calls answer that are refused, and a few that are not: the codes, and which of several reasons comes first.

use paravane_abi::hypercall as nr;
use paravane_abi::mmu::DOMID_SELF;

use crate::case::{Case, Explained, because};
use crate::observe;
use pv_probe::boot::start;
use pv_probe::guard;
use pv_probe::hypercall::{code, map, mmu_update, mmuext, operation, raw};
use pv_probe::memory::{self, DATA, P, PAGE, mfn, pfn_at};

/// The case.
pub const CASE: Case = super::observation("codes", "the answers of calls that are refused", |_| {
    observe();
    Ok(())
})
.explained(&[
    Explained { value: "number.1f", reason: because::BUILD },
    Explained { value: "mmu_update.l1-flags", reason: because::PRIVILEGE },
    Explained { value: "mmuext.12.no-frame", reason: because::PRIVILEGE },
    Explained { value: "mmuext.18.no-frame", reason: because::PRIVILEGE },
    Explained { value: "update_va_mapping.entry.hypervisor-frame", reason: because::PRIVILEGE },
]);

/// An address of the hypervisor's.
const HYPERVISOR: u64 = 0xffff_8100_0000_0000;
/// An address where nothing is mapped.
const NOTHING: u64 = 0x7000_0000_0000;
/// No canonical address.
const NOT_CANONICAL: u64 = 0x8000_0000_0000;
/// A frame beyond all memory.
const NO_FRAME: u64 = 0xff_ffff_ffff;

fn observe() {
    for number in [11, 31, 38, 39, 49, 50, 55, 56, 63, 64, 127, 128, u64::MAX] {
        observe!(("number.{number:x}"), "{}", code(raw(number, [0; 5])));
    }
    pointers();
    // The call without a table takes all handlers away.
    guard::initialise();
    tables();
    mappings();
    descriptors();
    sub_operations();
}

/// Calls with pointers that cannot be followed.
fn pointers() {
    for (name, address) in
        [("null", 0), ("nothing", NOTHING), ("hypervisor", HYPERVISOR), ("not-canonical", NOT_CANONICAL)]
    {
        let call = |number, a| code(raw(number, [a, address, 0, 0, 0]));
        observe!(
            ("pointer.{name}.mmu_update"),
            "{}",
            code(raw(nr::HYPERVISOR_MMU_UPDATE, [address, 1, 0, DOMID_SELF.into(), 0]))
        );
        observe!(
            ("pointer.{name}.mmuext_op"),
            "{}",
            code(raw(nr::HYPERVISOR_MMUEXT_OP, [address, 1, 0, DOMID_SELF.into(), 0]))
        );
        observe!(
            ("pointer.{name}.multicall"),
            "{}",
            code(raw(nr::HYPERVISOR_MULTICALL, [address, 1, 0, 0, 0]))
        );
        observe!(
            ("pointer.{name}.set_trap_table"),
            "{}",
            code(raw(nr::HYPERVISOR_SET_TRAP_TABLE, [address, 0, 0, 0, 0]))
        );
        observe!(("pointer.{name}.set_gdt"), "{}", code(raw(nr::HYPERVISOR_SET_GDT, [address, 1, 0, 0, 0])));
        observe!(("pointer.{name}.xen_version"), "{}", call(nr::HYPERVISOR_XEN_VERSION, 1));
        observe!(("pointer.{name}.event_channel_op"), "{}", call(nr::HYPERVISOR_EVENT_CHANNEL_OP, 5));
        observe!(("pointer.{name}.sched_op"), "{}", call(nr::HYPERVISOR_SCHED_OP, 3));
        observe!(("pointer.{name}.callback_op"), "{}", call(nr::HYPERVISOR_CALLBACK_OP, 0));
        observe!(("pointer.{name}.physdev_op"), "{}", call(nr::HYPERVISOR_PHYSDEV_OP, 6));
        observe!(("pointer.{name}.memory_op"), "{}", call(nr::HYPERVISOR_MEMORY_OP, 1));
        observe!(
            ("pointer.{name}.console_io"),
            "{}",
            code(raw(nr::HYPERVISOR_CONSOLE_IO, [0, 1, address, 0, 0]))
        );
        observe!(
            ("pointer.{name}.grant_table_op"),
            "{}",
            code(raw(nr::HYPERVISOR_GRANT_TABLE_OP, [6, address, 1, 0, 0]))
        );
        observe!(("pointer.{name}.vcpu_op"), "{}", code(raw(nr::HYPERVISOR_VCPU_OP, [4, 0, address, 0, 0])));
    }
}

/// Requests about tables and frames.
fn tables() {
    let info = &start().info;
    let root = memory::root();
    let data = mfn(pfn_at(start().info_address));
    let l1 = memory::table_at(start().info_address, 1).unwrap_or(0);
    for command in 0..4 {
        observe!(
            ("mmu_update.command.{command}.no-frame"),
            "{}",
            code(mmu_update(NO_FRAME << 12 | command, 0))
        );
    }
    observe!("mmu_update.unaligned", "{}", code(mmu_update((l1 << 12) + 4, 0)));
    observe!("mmu_update.reserved-slot", "{}", code(mmu_update((root << 12) + 256 * 8, 0)));
    observe!("mmu_update.last-reserved-slot", "{}", code(mmu_update((root << 12) + 271 * 8, 0)));
    observe!("mmu_update.root-as-l3", "{}", code(mmu_update((root << 12) + 300 * 8, root << 12 | DATA)));
    observe!("mmu_update.data-as-l3", "{}", code(mmu_update((root << 12) + 300 * 8, data << 12 | DATA)));
    observe!("mmu_update.l1-writable", "{}", code(mmu_update(l1 << 12, l1 << 12 | DATA)));
    observe!("mmu_update.no-frame-entry", "{}", code(mmu_update(l1 << 12, NO_FRAME << 12 | DATA)));
    observe!("mmu_update.l1-flags", "{}", code(mmu_update(l1 << 12, data << 12 | DATA | 1 << 7)));
    observe!(
        "mmu_update.l4-page-size",
        "{}",
        code(mmu_update((root << 12) + 300 * 8, data << 12 | DATA | 1 << 7))
    );
    observe!("mmu_update.foreign", "{}", code(raw(nr::HYPERVISOR_MMU_UPDATE, [0, 0, 0, 77, 0])));
    observe!("mmu_update.self-as-foreign", "{}", code(raw(nr::HYPERVISOR_MMU_UPDATE, [0, 0, 0, 0, 0])));
    for command in 0..22 {
        observe!(("mmuext.{command}.no-frame"), "{}", code(mmuext(command, NO_FRAME, NO_FRAME)));
    }
    for command in [0, 1, 2, 3, 4, 5, 15] {
        observe!(("mmuext.{command}.data"), "{}", code(mmuext(command, data, 0)));
    }
    observe!("mmuext.4.root", "{}", code(mmuext(4, root, 0)));
    observe!("mmuext.3.root-again", "{}", code(mmuext(3, root, 0)));
    observe!("mmuext.15.null", "{}", code(mmuext(15, 0, 0)));
    observe!("mmuext.ldt.too-many", "{}", code(mmuext(13, start().info_address & !(PAGE - 1), 8193)));
    observe!("mmuext.ldt.unaligned", "{}", code(mmuext(13, start().info_address + 8, 1)));
    observe!("info.nr_pages", "{:#x}", info.nr_pages);
}

/// Requests by address.
fn mappings() {
    let data = mfn(pfn_at(start().info_address));
    for (name, va) in [
        ("nothing", NOTHING),
        ("hypervisor", HYPERVISOR),
        ("not-canonical", NOT_CANONICAL),
        ("table", start().info.pt_base),
    ] {
        observe!(("update_va_mapping.{name}"), "{}", code(map(va, data << 12 | DATA)));
    }
    let va = start().info_address;
    for (name, entry) in [
        ("no-frame", NO_FRAME << 12 | DATA),
        ("root-writable", memory::root() << 12 | DATA),
        ("reserved-bits", 1 << 51 | DATA),
        ("hypervisor-frame", 1 << 12 | DATA),
        ("not-present", data << 12 | (DATA & !P)),
    ] {
        observe!(("update_va_mapping.entry.{name}"), "{}", code(map(va, entry)));
    }
    let result = map(va, data << 12 | DATA);
    observe!("update_va_mapping.back", "{}", code(result));
    for flags in [3u64, 4, 8] {
        observe!(
            ("update_va_mapping.flags.{flags}"),
            "{}",
            code(raw(nr::HYPERVISOR_UPDATE_VA_MAPPING, [va, data << 12 | DATA, flags, 0, 0]))
        );
    }
}

/// Descriptors and callbacks.
fn descriptors() {
    let data = mfn(pfn_at(start().info_address)) << 12;
    let root = memory::root() << 12;
    for (name, address, descriptor) in [
        ("unaligned", data + 4, 0),
        ("no-frame", NO_FRAME << 12, 0),
        ("table", root, 0),
        ("call-gate", data, 0x0000_ec00_e033_0000),
        ("ring-0", data, 0x00af_9b00_0000_ffff),
        ("ring-3-system", data, 0x00cf_e300_0000_ffff),
        ("tss", data, 0x0000_8900_0000_ffff),
    ] {
        observe!(
            ("update_descriptor.{name}"),
            "{}",
            code(raw(nr::HYPERVISOR_UPDATE_DESCRIPTOR, [address, descriptor, 0, 0, 0]))
        );
    }
    observe!(
        "set_gdt.too-many",
        "{}",
        code(raw(nr::HYPERVISOR_SET_GDT, [start().info_address, 7169, 0, 0, 0]))
    );
    observe!(
        "set_debugreg.hypervisor",
        "{}",
        code(raw(nr::HYPERVISOR_SET_DEBUGREG, [0, HYPERVISOR, 0, 0, 0]))
    );
    observe!("set_debugreg.8", "{}", code(raw(nr::HYPERVISOR_SET_DEBUGREG, [8, 0, 0, 0, 0])));
    observe!("get_debugreg.8", "{}", code(raw(nr::HYPERVISOR_GET_DEBUGREG, [8, 0, 0, 0, 0])));
    observe!(
        "stack_switch.null",
        "{}",
        code(raw(nr::HYPERVISOR_STACK_SWITCH, [0, guard::trap_stack(), 0, 0, 0]))
    );
    observe!(
        "stack_switch.back",
        "{}",
        code(raw(nr::HYPERVISOR_STACK_SWITCH, [0xe02b, guard::trap_stack(), 0, 0, 0]))
    );
    for kind in 0..9u16 {
        let mut callback = [u64::from(kind), NOT_CANONICAL];
        observe!(
            ("callback.{kind}.not-canonical"),
            "{}",
            code(operation(nr::HYPERVISOR_CALLBACK_OP, 0, &mut callback))
        );
    }
    for kind in 0..32u32 {
        for command in [0u64, 1, 2] {
            if kind > 5 && command != 0 {
                continue;
            }
            observe!(
                ("vm_assist.{command}.{kind}"),
                "{}",
                code(raw(nr::HYPERVISOR_VM_ASSIST, [command, kind.into(), 0, 0, 0]))
            );
        }
    }
    // Back to what the kernel began with.
    guard::initialise();
}

/// Sub-operations that nobody knows.
fn sub_operations() {
    let mut argument = [0u64; 16];
    for (name, number) in [
        ("event_channel_op", nr::HYPERVISOR_EVENT_CHANNEL_OP),
        ("xen_version", nr::HYPERVISOR_XEN_VERSION),
        ("sched_op", nr::HYPERVISOR_SCHED_OP),
        ("callback_op", nr::HYPERVISOR_CALLBACK_OP),
        ("physdev_op", nr::HYPERVISOR_PHYSDEV_OP),
        ("memory_op", nr::HYPERVISOR_MEMORY_OP),
    ] {
        for command in [40, 63, 99, u32::MAX] {
            observe!(("sub.{name}.{command}"), "{}", code(operation(number, command, &mut argument)));
        }
    }
    observe!(
        "sub.vcpu_op.99",
        "{}",
        code(raw(nr::HYPERVISOR_VCPU_OP, [99, 0, (&raw mut argument) as u64, 0, 0]))
    );
    observe!(
        "sub.vcpu_op.vcpu",
        "{}",
        code(raw(nr::HYPERVISOR_VCPU_OP, [3, 77, (&raw mut argument) as u64, 0, 0]))
    );
    observe!(
        "sub.grant_table_op.99",
        "{}",
        code(raw(nr::HYPERVISOR_GRANT_TABLE_OP, [99, (&raw mut argument) as u64, 1, 0, 0]))
    );
    observe!(
        "sub.console_io.99",
        "{}",
        code(raw(nr::HYPERVISOR_CONSOLE_IO, [99, 0, (&raw mut argument) as u64, 0, 0]))
    );
    for port in [0u32, 77, 4095, 4096, u32::MAX] {
        let mut argument = [port, 0];
        for (name, command) in [("close", 3), ("send", 4), ("unmask", 9)] {
            observe!(
                ("event.{name}.{port:x}"),
                "{}",
                code(operation(nr::HYPERVISOR_EVENT_CHANNEL_OP, command, &mut argument))
            );
        }
    }
}
