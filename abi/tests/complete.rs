//! Every struct and every number of the headers a PV guest reads is in the crate, or stands here with the reason why not.
//!
//! The headers are found as `layout.rs` finds them; without them the test fails, unless `PARAVANE_ALLOW_SKIP` is set.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Headers of the interface between the hypervisor and a PV guest, and between such guests.
const HEADERS: &[&str] = &[
    "xen.h",
    "event_channel.h",
    "grant_table.h",
    "memory.h",
    "sched.h",
    "vcpu.h",
    "version.h",
    "features.h",
    "physdev.h",
    "callback.h",
    "nmi.h",
    "elfnote.h",
    "pmu.h",
    "argo.h",
    "arch-x86/pmu.h",
    "arch-x86/xen.h",
    "arch-x86/xen-x86_64.h",
    "arch-x86/cpuid.h",
    "arch-x86/hvm/start_info.h",
    "io/console.h",
    "io/xs_wire.h",
    "io/xenbus.h",
    "io/blkif.h",
    "io/netif.h",
];

/// Names left out, or with `_` at the end beginnings of names, each with its reason.
const LEFT_OUT: &[(&str, &str)] = &[
    ("XEN_VGATYPE_", "the first domain's video console"),
    ("xen_vga_console_info", "the first domain's video console"),
    ("xen_vga_console_info_t", "the first domain's video console"),
    ("XEN_X86_EMU_", "for tools: what is emulated for an HVM domain"),
    ("XEN_X86_MSR_RELAXED", "for tools: a domain's configuration"),
    ("XEN_X86_MISC_FLAGS_MAX", "for tools: a domain's configuration"),
    ("XEN_HVM_", "HVM domains"),
    ("xenctl_bitmap", "for tools"),
    ("EVTCHNOP_reset_cont", "the hypervisor's own continuation"),
    ("XENMEM_paging_op_", "left out of ordinary builds of Xen"),
    ("xen_mem_paging_op", "left out of ordinary builds of Xen"),
    ("XENMEM_sharing_op_", "left out of ordinary builds of Xen"),
    ("XENMEM_SHARING_OP_", "left out of ordinary builds of Xen"),
    ("XENMEM_FORK_", "left out of ordinary builds of Xen"),
    ("xen_mem_sharing_op", "left out of ordinary builds of Xen"),
    ("XENMEM_access_op_", "for tools: access rights of an HVM domain's pages"),
    ("XENMEM_resource_ioreq_server_frame_bufioreq", "for device models"),
    ("XENMEM_add_to_physmap_range", "another name of an older interface version"),
    ("xen_add_to_physmap_range", "another name of an older interface version"),
    ("PHYSDEVOP_IRQ_", "another name of an older interface version"),
    ("PHYSDEVOP_SET_IOPL", "another name of an older interface version"),
    ("PHYSDEVOP_SET_IOBITMAP", "another name of an older interface version"),
    ("PHYSDEVOP_APIC_", "another name of an older interface version"),
    ("PHYSDEVOP_ASSIGN_VECTOR", "another name of an older interface version"),
    ("PHYSDEVOP_FREE_VECTOR", "another name of an older interface version"),
    ("PHYSDEVOP_pirq_eoi_gmfn", "another name, which depends on the interface version"),
    ("physdev_restore_msi", "laid out and used as `physdev_manage_pci`"),
    ("XEN_NMIREASON_parity_error", "another name of an older interface version"),
    ("MAX_VMASST_TYPE", "another name of an older interface version"),
    ("NR_EVENT_CHANNELS", "another name of an older interface version"),
    ("XEN_ELFNOTE_CRASH_", "notes in the hypervisor's own crash dumps"),
    ("XEN_ELFNOTE_DUMPCORE_", "notes in dumps that tools make"),
    ("XEN_ARGO_REGISTER_FLAG_MASK", "the hypervisor's own"),
    ("FLAT_KERNEL_", "another name of a `FLAT_RING3_*` selector"),
    ("FLAT_USER_", "another name of a `FLAT_RING3_*` selector"),
    ("VGCF_i387_valid", "another name of a `VGCF_*` flag"),
    ("VGCF_in_kernel", "another name of a `VGCF_*` flag"),
    ("VGCF_in_syscall", "another name of a `VGCF_*` flag"),
    ("xsd_errors", "a table, here `io::xenstore::ERRORS`"),
    ("XS_DEBUG", "another name of `XS_CONTROL`"),
    ("XS_WRITE_", "texts, in `io::xenstore`"),
    ("XENPMU_REGS_PAD_SZ", "sizes, part of the struct"),
    ("XENPMU_CTXT_PAD_SZ", "sizes, part of the struct"),
    ("XEN_EXTRAVERSION_LEN", "the size of a type"),
    ("XEN_CAPABILITIES_INFO_LEN", "the size of a type"),
    ("XEN_CHANGESET_INFO_LEN", "the size of a type"),
    ("GNTTABOP_error_msgs", "texts"),
    ("grant_entry_v1_t", "another name of `grant_entry_t`"),
    ("PRI_xen_pfn", "C only"),
    ("PRIu_xen_pfn", "C only"),
    ("PRI_xen_ulong", "C only"),
    ("XEN_HAVE_PV_", "C only"),
    ("XEN_FLEX_ARRAY_DIM", "C only"),
    ("XEN_EMULATE_PREFIX", "assembly, here `cpuid::EMULATE_PREFIX`"),
    ("XEN_CPUID", "assembly, here `cpuid::EMULATE_PREFIX`"),
    ("int64_aligned_t", "C only"),
    ("uint64_aligned_t", "C only"),
    ("machine_to_phys_mapping", "C only"),
    ("xen_wc_sec_hi", "C only"),
    ("blkif_vdev_t", "C only"),
    ("blkif_sector_t", "C only"),
];

fn include_dir() -> PathBuf {
    env::var_os("PARAVANE_XEN_INCLUDE").map_or_else(|| "/usr/include".into(), PathBuf::from)
}

/// Whether an entry of [`LEFT_OUT`] means a name.
fn matches(pattern: &str, name: &str) -> bool {
    pattern == name || (pattern.ends_with('_') && name.starts_with(pattern))
}

/// A header without its comments.
fn without_comments(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some((before, after)) = rest.split_once("/*") {
        kept.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, rest)| rest);
    }
    kept + rest
}

/// The name a line begins with.
fn name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The constants and structs a header declares, but for names that begin with an underscore.
fn declared(header: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in header.lines() {
        if let Some(rest) = line.trim_start().strip_prefix('#').map(str::trim_start) {
            let Some(rest) = rest.strip_prefix("define").map(str::trim_start) else { continue };
            let name = name(rest);
            // A macro with arguments, or without a value, is no constant.
            let value = &rest[name.len()..];
            if value.starts_with([' ', '\t']) && !value.trim().is_empty() {
                names.insert(name.to_owned());
            }
        } else if let Some(rest) = line.strip_prefix("struct ") {
            let name = name(rest);
            if matches!(rest[name.len()..].trim(), "{" | "") {
                names.insert(name.to_owned());
            }
        }
    }
    names.retain(|name| !name.starts_with('_'));
    names
}

#[test]
fn nothing_is_missing() {
    let folder = include_dir().join("xen");
    if !folder.exists() && env::var_os("PARAVANE_ALLOW_SKIP").is_some() {
        println!("SKIPPED nothing_is_missing: {} does not exist", folder.display());
        return;
    }
    let listing = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/xen-layout.txt");
    let listing = fs::read_to_string(listing).expect("the listing is part of the crate");
    let listed: BTreeSet<&str> = listing.split_whitespace().collect();
    let (mut found, mut missing, mut used) = (0, Vec::new(), BTreeSet::new());
    for header in HEADERS {
        let path = folder.join(header);
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; Debian's libxen-dev brings it", path.display()));
        for name in declared(&without_comments(&text)) {
            if listed.contains(name.as_str()) {
                found += 1;
            } else if let Some((pattern, _)) = LEFT_OUT.iter().find(|(pattern, _)| matches(pattern, &name)) {
                used.insert(*pattern);
            } else {
                missing.push(format!("{header}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{} names are not in the crate:\n{}", missing.len(), missing.join("\n"));
    assert!(found > 500, "only {found} names were found: the search looks in the wrong place");
    let stale: Vec<&str> =
        LEFT_OUT.iter().map(|(name, _)| *name).filter(|name| !used.contains(name)).collect();
    assert!(stale.is_empty(), "left out for nothing: {stale:?}");
}

#[test]
fn declarations_are_found() {
    let header = "/* #define A 1 */\n#define B 2\n# define C(x) (x)\n#define D\n#define _E 1\nstruct f {\n};\n\
                  struct g;\nstruct h\n{\n    struct i j;\n};\n#define K /* x */ 3\n";
    let names = declared(&without_comments(header));
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["B", "K", "f", "h"]);
}
