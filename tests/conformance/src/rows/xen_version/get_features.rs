//! `xen_version(get_features, request)`, sub-operation 6 (xen/include/public/version.h, `struct xen_feature_info`; features.h):
//! a word of 32 features, of which there is one.
//!
//! A PV guest is told that updates may keep accessed and dirty bits, that there are calls for high memory, that grant
//! mappings honour the bits that are the guest's own, that memory can be asked for by virtual node, and that its frames are
//! the machine's; with the assist `pae_extended_cr3`, that base pointers may be long.
//!
//! Refused: requests that cannot be read or written (`EFAULT`), words that there are not (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::vm_assist::{VMASST_CMD_DISABLE, VMASST_CMD_ENABLE};
use paravane_abi::hypercall::{HYPERVISOR_VM_ASSIST, HYPERVISOR_XEN_VERSION as CALL};
use paravane_abi::version::*;
use paravane_abi::vm_assist::VMASST_TYPE_PAE_EXTENDED_CR3;
use pv_probe::hypercall::{operation, raw};

use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "xen_version",
    "get_features",
    &[
        Case::good("first-word", "what a PV guest has, and what it has not", first_word),
        Case::good("assisted", "a feature that comes and goes with an assist", assisted),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, XENVER_GET_FEATURES))
        }),
        Case::refusal("beyond", "words that there are not", beyond),
    ],
);

/// What every PV guest is told.
const ALWAYS: u32 = 1 << XENFEAT_MMU_PT_UPDATE_PRESERVE_AD
    | 1 << XENFEAT_HIGHMEM_ASSIST
    | 1 << XENFEAT_GNTTAB_MAP_AVAIL_BITS
    | 1 << XENFEAT_MEMORY_OP_VNODE_SUPPORTED
    | 1 << XENFEAT_DIRECT_MAPPED;

/// What is asked of elsewhere: by the assist, and of the first domain alone.
const ELSEWHERE: u32 = 1 << XENFEAT_PAE_PGDIR_ABOVE_4GB | 1 << XENFEAT_DOM0;

fn features() -> u32 {
    let mut request = FeatureInfo { submap_idx: 0, submap: 0x5a5a_5a5a };
    operation(CALL, XENVER_GET_FEATURES, &mut request);
    request.submap
}

fn first_word(t: &mut Trial) -> Verdict {
    let mut request = FeatureInfo { submap_idx: 0, submap: u32::MAX };
    t.succeeds("word", operation(CALL, XENVER_GET_FEATURES, &mut request));
    t.equal("features", (request.submap & !ELSEWHERE).into(), ALWAYS.into());
    Ok(())
}

fn assisted(t: &mut Trial) -> Verdict {
    let assist = |command: u32| {
        raw(HYPERVISOR_VM_ASSIST, [command.into(), VMASST_TYPE_PAE_EXTENDED_CR3.into(), 0, 0, 0])
    };
    let before = features() & 1 << XENFEAT_PAE_PGDIR_ABOVE_4GB;
    t.succeeds("enable", assist(VMASST_CMD_ENABLE));
    t.holds("enabled", features() & 1 << XENFEAT_PAE_PGDIR_ABOVE_4GB != 0);
    t.succeeds("disable", assist(VMASST_CMD_DISABLE));
    t.holds("disabled", features() & 1 << XENFEAT_PAE_PGDIR_ABOVE_4GB == 0);
    if before != 0 {
        t.succeeds("back", assist(VMASST_CMD_ENABLE));
    }
    Ok(())
}

fn beyond(t: &mut Trial) -> Verdict {
    for (name, submap_idx) in [("second", 1), ("third", 2), ("last", u32::MAX)] {
        let request = FeatureInfo { submap_idx, submap: 0x5a };
        refusals::request(t, name, Errno::EINVAL, request, at(CALL, XENVER_GET_FEATURES))?;
    }
    Ok(())
}
