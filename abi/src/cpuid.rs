//! Hypervisor CPUID leaves (`xen/arch-x86/cpuid.h`).
//!
//! A PV guest kernel must ask through the forced-emulation prefix, [`EMULATE_PREFIX`] and then the `cpuid` instruction:
//! without it the CPU answers, not the hypervisor.

use crate::macros::xen_constants;

xen_constants! {
    /// First hypervisor leaf: EAX the last leaf, EBX, ECX, EDX the signature.
    pub const XEN_CPUID_FIRST_LEAF: u32 = 0x4000_0000;
    /// EBX of the first leaf.
    pub const XEN_CPUID_SIGNATURE_EBX: u32 = 0x566e_6558;
    /// ECX of the first leaf.
    pub const XEN_CPUID_SIGNATURE_ECX: u32 = 0x6558_4d4d;
    /// EDX of the first leaf.
    pub const XEN_CPUID_SIGNATURE_EDX: u32 = 0x4d4d_566e;
    /// Leaf +2, ECX: `MMU_PT_UPDATE_PRESERVE_AD` is supported.
    pub const XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD: u32 = 1 << 0;
    /// Leaf +5, EBX: width of machine addresses in bits.
    pub const XEN_CPUID_MACHINE_ADDRESS_WIDTH_MASK: u32 = 0xff;
    /// Leaves after the first.
    pub const XEN_CPUID_MAX_NUM_LEAVES: u32 = 5;
}

/// Xen's signature, as the bytes of EBX, ECX and EDX in turn.
pub const SIGNATURE: &[u8; 12] = b"XenVMMXenVMM";
/// Leaf with the version: EAX = major << 16 | minor.
pub const LEAF_VERSION: u32 = XEN_CPUID_FIRST_LEAF + 1;
/// Leaf with hypercall-page count (EAX), the base of Xen's MSRs (EBX) and features (ECX, EDX).
pub const LEAF_HYPERCALL: u32 = XEN_CPUID_FIRST_LEAF + 2;
/// Leaf with TSC parameters.
pub const LEAF_TSC: u32 = XEN_CPUID_FIRST_LEAF + 3;
/// Leaf with HVM parameters.
pub const LEAF_HVM: u32 = XEN_CPUID_FIRST_LEAF + 4;
/// Leaf with PV parameters: EBX bits 0 to 7, width of machine addresses.
pub const LEAF_PV: u32 = XEN_CPUID_FIRST_LEAF + 5;

/// The forced-emulation prefix: `ud2` and then the characters `xen`.
pub const EMULATE_PREFIX: [u8; 5] = [0x0f, 0x0b, b'x', b'e', b'n'];
/// The `cpuid` instruction.
pub const CPUID_INSN: [u8; 2] = [0x0f, 0xa2];
/// Prefix and instruction together, in bytes: how far RIP advances.
pub const EMULATED_CPUID_LEN: u64 = 7;

/// EBX, ECX and EDX that spell `signature`.
pub const fn signature_registers(signature: &[u8; 12]) -> (u32, u32, u32) {
    let s = signature;
    (
        u32::from_le_bytes([s[0], s[1], s[2], s[3]]),
        u32::from_le_bytes([s[4], s[5], s[6], s[7]]),
        u32::from_le_bytes([s[8], s[9], s[10], s[11]]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_spells_xen() {
        assert_eq!(
            signature_registers(SIGNATURE),
            (XEN_CPUID_SIGNATURE_EBX, XEN_CPUID_SIGNATURE_ECX, XEN_CPUID_SIGNATURE_EDX)
        );
        assert!(crate::ring1::is_signature(
            u32::from_le_bytes(*b"Para"),
            u32::from_le_bytes(*b"vane"),
            u32::from_le_bytes(*b"Rng1")
        ));
        assert!(!crate::ring1::is_signature(
            XEN_CPUID_SIGNATURE_EBX,
            XEN_CPUID_SIGNATURE_ECX,
            XEN_CPUID_SIGNATURE_EDX
        ));
    }

    #[test]
    fn prefix_and_instruction_have_the_stated_length() {
        assert_eq!((EMULATE_PREFIX.len() + CPUID_INSN.len()) as u64, EMULATED_CPUID_LEN);
    }
}
