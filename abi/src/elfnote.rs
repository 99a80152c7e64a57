//! Xen's ELF notes (`xen/elfnote.h`): how a kernel tells a domain builder what it is.
//!
//! A kernel written in Rust emits its notes with [`elf_notes!`](crate::elf_notes); a builder reads them with
//! [`Notes`]. Notes lie in a `PT_NOTE` segment and have owner `Xen`; numbers are 4 or 8 bytes, strings end with a NUL.

use crate::macros::xen_constants;

xen_constants! {
    /// A `NAME=VALUE` string.
    pub const XEN_ELFNOTE_INFO: u32 = 0;
    /// Virtual address of the entry point.
    pub const XEN_ELFNOTE_ENTRY: u32 = 1;
    /// Virtual address of the page the hypervisor fills with hypercall slots.
    pub const XEN_ELFNOTE_HYPERCALL_PAGE: u32 = 2;
    /// Virtual address at which physical address 0 is mapped; 0 without the note.
    pub const XEN_ELFNOTE_VIRT_BASE: u32 = 3;
    /// What to take off the ELF file's physical addresses; 0 without the note.
    pub const XEN_ELFNOTE_PADDR_OFFSET: u32 = 4;
    /// Interface version, the string `xen-3.0`.
    pub const XEN_ELFNOTE_XEN_VERSION: u32 = 5;
    /// Name of the operating system, a string.
    pub const XEN_ELFNOTE_GUEST_OS: u32 = 6;
    /// Version of the operating system, a string.
    pub const XEN_ELFNOTE_GUEST_VERSION: u32 = 7;
    /// Loader, the string `generic`.
    pub const XEN_ELFNOTE_LOADER: u32 = 8;
    /// PAE support of a 32-bit kernel, a string.
    pub const XEN_ELFNOTE_PAE_MODE: u32 = 9;
    /// `XENFEAT_*` names that the kernel supports, or with `!` requires, separated by `|`.
    pub const XEN_ELFNOTE_FEATURES: u32 = 10;
    /// Whether the symbol table is to be loaded: the string `yes` or `no`.
    pub const XEN_ELFNOTE_BSD_SYMTAB: u32 = 11;
    /// Lowest address at which the reserved range may begin.
    pub const XEN_ELFNOTE_HV_START_LOW: u32 = 12;
    /// Pairs of mask and value that tell which non-present L1 entries hold mfns.
    pub const XEN_ELFNOTE_L1_MFN_VALID: u32 = 13;
    /// Whether the kernel understands a cancelled suspend; a number.
    pub const XEN_ELFNOTE_SUSPEND_CANCEL: u32 = 14;
    /// Virtual address at which to map the p2m, instead of after the kernel.
    pub const XEN_ELFNOTE_INIT_P2M: u32 = 15;
    /// Whether the ramdisk may stay unmapped and be named by pfn; a number.
    pub const XEN_ELFNOTE_MOD_START_PFN: u32 = 16;
    /// `XENFEAT_*` bits that the kernel supports; a number.
    pub const XEN_ELFNOTE_SUPPORTED_FEATURES: u32 = 17;
    /// Physical address of the 32-bit entry point for PVH.
    pub const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;
    /// The highest of these types.
    pub const XEN_ELFNOTE_MAX: u32 = 18;
}

/// Owner of Xen's notes, without the NUL.
pub const OWNER: &str = "Xen";

/// A note as it lies in the file: `NAME` bytes of owner, NUL and padding, `DESC` bytes of description and padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(4))]
pub struct Note<const NAME: usize, const DESC: usize> {
    namesz: u32,
    descsz: u32,
    kind: u32,
    name: [u8; NAME],
    desc: [u8; DESC],
}

/// A note whose description is the address of something, which only the linker knows.
///
/// `T` is a function pointer or a `&'static` reference.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
pub struct AddressNote<T: Copy> {
    namesz: u32,
    descsz: u32,
    kind: u32,
    name: [u8; 4],
    desc: T,
}

/// Bytes that a note reserves for `len` bytes: a multiple of 4.
pub const fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

const fn copy_padded<const N: usize>(from: &[u8]) -> [u8; N] {
    assert!(from.len() <= N && N.is_multiple_of(4), "the array is not the padded length");
    let mut to = [0; N];
    let mut i = 0;
    while i < from.len() {
        to[i] = from[i];
        i += 1;
    }
    to
}

impl<const NAME: usize> Note<NAME, 8> {
    /// A note with an 8-byte number. `NAME` is [`padded`]`(owner.len() + 1)`.
    pub const fn number(owner: &str, kind: u32, value: u64) -> Self {
        Self {
            namesz: owner.len() as u32 + 1,
            descsz: 8,
            kind,
            name: copy_padded(owner.as_bytes()),
            desc: value.to_le_bytes(),
        }
    }
}

impl<const NAME: usize, const DESC: usize> Note<NAME, DESC> {
    /// A note with a string, NUL added. `NAME` is [`padded`]`(owner.len() + 1)`, `DESC` [`padded`]`(text.len() + 1)`.
    pub const fn string(owner: &str, kind: u32, text: &str) -> Self {
        assert!(text.len() < DESC && owner.len() < NAME, "no room for the NUL");
        Self {
            namesz: owner.len() as u32 + 1,
            descsz: text.len() as u32 + 1,
            kind,
            name: copy_padded(owner.as_bytes()),
            desc: copy_padded(text.as_bytes()),
        }
    }
}

impl<T: Copy> AddressNote<T> {
    /// A note of owner `Xen` with an address.
    pub const fn new(kind: u32, address: T) -> Self {
        assert!(size_of::<T>() == 8, "not a 64-bit address");
        Self {
            namesz: OWNER.len() as u32 + 1,
            descsz: 8,
            kind,
            name: copy_padded(OWNER.as_bytes()),
            desc: address,
        }
    }
}

/// Emits ELF notes into the section `.note.Xen`.
///
/// Each is `TYPE = kind(value)`, where `TYPE` is the end of a `XEN_ELFNOTE_` constant and the kind one of
///
/// - `number(u64)`,
/// - `string("...")`, the NUL being added,
/// - `address::<T>(item)`, a function as pointer type `T` (a linker's or an assembler's symbol can be declared as one), or
///   a reference; the file must be linked at a fixed address.
///
/// `modes(u64)` without a type is Paravane's note of the modes a kernel can run in; see [`ring1`](crate::ring1).
///
/// The linker script must keep the section and give it a `PT_NOTE` segment:
///
/// ```text
/// PHDRS { text PT_LOAD; data PT_LOAD; note PT_NOTE; }
/// SECTIONS { .notes : { KEEP(*(.note.Xen)) } :text :note }
/// ```
///
/// # Examples
///
/// ```
/// use paravane_abi::{elf_notes, ring1};
///
/// elf_notes! {
///     XEN_VERSION = string("xen-3.0");
///     LOADER = string("generic");
///     GUEST_OS = string("example");
///     VIRT_BASE = number(0xffff_ffff_8000_0000);
///     modes(ring1::MODE_PV_RING1);
/// }
/// ```
///
/// An entry point and a hypercall page:
///
/// ```
/// use paravane_abi::elf_notes;
///
/// #[repr(C, align(4096))]
/// pub struct HypercallPage([u8; 4096]);
/// static HYPERCALL_PAGE: HypercallPage = HypercallPage([0xcc; 4096]);
///
/// extern "C" fn start() -> ! {
///     loop {}
/// }
///
/// elf_notes! {
///     ENTRY = address::<extern "C" fn() -> !>(start);
///     HYPERCALL_PAGE = address::<&HypercallPage>(&HYPERCALL_PAGE);
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! elf_notes {
    () => {};
    (modes($value:expr); $($rest:tt)*) => {
        const _: () = {
            const NAME: usize = $crate::elfnote::padded($crate::ring1::NOTE_OWNER.len() + 1);
            #[used]
            #[unsafe(link_section = ".note.Xen")]
            static NOTE: $crate::elfnote::Note<NAME, 8> = $crate::elfnote::Note::number(
                $crate::ring1::NOTE_OWNER,
                $crate::ring1::NOTE_TYPE_MODES,
                $value,
            );
        };
        $crate::elf_notes! { $($rest)* }
    };
    ($kind:ident = number($value:expr); $($rest:tt)*) => {
        const _: () = {
            #[used]
            #[unsafe(link_section = ".note.Xen")]
            static NOTE: $crate::elfnote::Note<4, 8> =
                $crate::elfnote::Note::number($crate::elfnote::OWNER, $crate::elf_notes!(@type $kind), $value);
        };
        $crate::elf_notes! { $($rest)* }
    };
    ($kind:ident = string($value:expr); $($rest:tt)*) => {
        const _: () = {
            const TEXT: &str = $value;
            const DESC: usize = $crate::elfnote::padded(TEXT.len() + 1);
            #[used]
            #[unsafe(link_section = ".note.Xen")]
            static NOTE: $crate::elfnote::Note<4, DESC> =
                $crate::elfnote::Note::string($crate::elfnote::OWNER, $crate::elf_notes!(@type $kind), TEXT);
        };
        $crate::elf_notes! { $($rest)* }
    };
    ($kind:ident = address::<$ty:ty>($value:expr); $($rest:tt)*) => {
        const _: () = {
            #[used]
            #[unsafe(link_section = ".note.Xen")]
            static NOTE: $crate::elfnote::AddressNote<$ty> =
                $crate::elfnote::AddressNote::new($crate::elf_notes!(@type $kind), $value);
        };
        $crate::elf_notes! { $($rest)* }
    };
    (@type ENTRY) => { $crate::elfnote::XEN_ELFNOTE_ENTRY };
    (@type HYPERCALL_PAGE) => { $crate::elfnote::XEN_ELFNOTE_HYPERCALL_PAGE };
    (@type VIRT_BASE) => { $crate::elfnote::XEN_ELFNOTE_VIRT_BASE };
    (@type PADDR_OFFSET) => { $crate::elfnote::XEN_ELFNOTE_PADDR_OFFSET };
    (@type XEN_VERSION) => { $crate::elfnote::XEN_ELFNOTE_XEN_VERSION };
    (@type GUEST_OS) => { $crate::elfnote::XEN_ELFNOTE_GUEST_OS };
    (@type GUEST_VERSION) => { $crate::elfnote::XEN_ELFNOTE_GUEST_VERSION };
    (@type LOADER) => { $crate::elfnote::XEN_ELFNOTE_LOADER };
    (@type PAE_MODE) => { $crate::elfnote::XEN_ELFNOTE_PAE_MODE };
    (@type FEATURES) => { $crate::elfnote::XEN_ELFNOTE_FEATURES };
    (@type BSD_SYMTAB) => { $crate::elfnote::XEN_ELFNOTE_BSD_SYMTAB };
    (@type HV_START_LOW) => { $crate::elfnote::XEN_ELFNOTE_HV_START_LOW };
    (@type SUSPEND_CANCEL) => { $crate::elfnote::XEN_ELFNOTE_SUSPEND_CANCEL };
    (@type INIT_P2M) => { $crate::elfnote::XEN_ELFNOTE_INIT_P2M };
    (@type MOD_START_PFN) => { $crate::elfnote::XEN_ELFNOTE_MOD_START_PFN };
    (@type SUPPORTED_FEATURES) => { $crate::elfnote::XEN_ELFNOTE_SUPPORTED_FEATURES };
    (@type PHYS32_ENTRY) => { $crate::elfnote::XEN_ELFNOTE_PHYS32_ENTRY };
}

/// A note, as [`Notes`] finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoteRef<'a> {
    /// Owner, without its NUL.
    pub owner: &'a [u8],
    /// Type.
    pub kind: u32,
    /// Description, without padding.
    pub desc: &'a [u8],
}

impl<'a> NoteRef<'a> {
    /// The description as a little-endian number, if it has 4 or 8 bytes.
    pub fn number(&self) -> Option<u64> {
        match *self.desc {
            [a, b, c, d] => Some(u32::from_le_bytes([a, b, c, d]).into()),
            [a, b, c, d, e, f, g, h] => Some(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
            _ => None,
        }
    }

    /// The description as a string, up to its first NUL, if it is UTF-8.
    pub fn string(&self) -> Option<&'a str> {
        let text = self.desc.split(|&byte| byte == 0).next()?;
        core::str::from_utf8(text).ok()
    }

    /// Whether the owner is `Xen`.
    pub fn is_xen(&self) -> bool {
        self.owner == OWNER.as_bytes()
    }

    /// Whether the owner is `Paravane`.
    pub fn is_paravane(&self) -> bool {
        self.owner == crate::ring1::NOTE_OWNER.as_bytes()
    }
}

/// Iterates over the notes in the bytes of a `PT_NOTE` segment; stops at one that does not fit.
#[derive(Clone, Debug)]
pub struct Notes<'a> {
    rest: &'a [u8],
}

impl<'a> Notes<'a> {
    /// The notes in `segment`, whose length fields are little-endian and whose parts are padded to 4 bytes.
    pub const fn new(segment: &'a [u8]) -> Self {
        Self { rest: segment }
    }
}

impl<'a> Iterator for Notes<'a> {
    type Item = NoteRef<'a>;

    fn next(&mut self) -> Option<NoteRef<'a>> {
        let (header, rest) = self.rest.split_at_checked(12)?;
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (namesz, descsz) = (word(0) as usize, word(4) as usize);
        let owner = rest.get(..namesz)?;
        let desc_start = namesz.checked_next_multiple_of(4)?;
        let desc = rest.get(desc_start..desc_start.checked_add(descsz)?)?;
        // The last note's padding may be cut off by the segment's end.
        let end = desc_start.checked_add(descsz.checked_next_multiple_of(4)?)?;
        self.rest = rest.get(end..).unwrap_or(&[]);
        Some(NoteRef { owner: owner.strip_suffix(&[0]).unwrap_or(owner), kind: word(8), desc })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    /// The bytes of a note, field by field, as the linker copies them.
    fn bytes<const NAME: usize, const DESC: usize>(note: &Note<NAME, DESC>) -> Vec<u8> {
        assert_eq!(size_of_val(note), 12 + NAME + DESC, "no padding between fields");
        [[note.namesz, note.descsz, note.kind].as_bytes(), &note.name, &note.desc].concat()
    }

    #[test]
    fn notes_read_back() {
        let version = Note::<4, 8>::string(OWNER, XEN_ELFNOTE_XEN_VERSION, "xen-3.0");
        let loader = Note::<4, 8>::string(OWNER, XEN_ELFNOTE_LOADER, "gene");
        let base = Note::<4, 8>::number(OWNER, XEN_ELFNOTE_VIRT_BASE, 0xffff_ffff_8000_0000);
        let modes = Note::<12, 8>::number("Paravane", crate::ring1::NOTE_TYPE_MODES, 1);
        let segment = [bytes(&version), bytes(&loader), bytes(&base), bytes(&modes)].concat();
        let notes: Vec<NoteRef<'_>> = Notes::new(&segment).collect();
        assert_eq!(notes.len(), 4);
        assert_eq!((notes[0].kind, notes[0].string()), (XEN_ELFNOTE_XEN_VERSION, Some("xen-3.0")));
        assert_eq!((notes[1].kind, notes[1].string()), (XEN_ELFNOTE_LOADER, Some("gene")));
        assert_eq!((notes[2].kind, notes[2].number()), (XEN_ELFNOTE_VIRT_BASE, Some(0xffff_ffff_8000_0000)));
        assert_eq!((notes[3].kind, notes[3].number()), (1, Some(1)));
        assert!(notes[2].is_xen() && !notes[2].is_paravane());
        assert!(notes[3].is_paravane() && !notes[3].is_xen());
    }

    #[test]
    fn an_address_note_has_no_padding() {
        assert_eq!(size_of::<AddressNote<fn()>>(), 24);
        assert_eq!(align_of::<AddressNote<fn()>>(), 4);
        assert_eq!(core::mem::offset_of!(AddressNote<fn()>, desc), 16);
    }

    #[test]
    fn truncated_and_hostile_segments_end_the_iteration() {
        let note = bytes(&Note::<4, 8>::number(OWNER, 1, 2));
        for len in 0..note.len() {
            assert_eq!(Notes::new(&note[..len]).count(), 0, "cut to {len} bytes");
        }
        assert_eq!(Notes::new(&[0xff; 64]).count(), 0);
        // A name and a description of zero bytes are allowed and still advance.
        assert_eq!(Notes::new(&[0; 24]).count(), 2);
    }

    #[test]
    fn four_byte_numbers_are_numbers() {
        let note = |desc| NoteRef { owner: b"Xen", kind: 1, desc };
        assert_eq!(note(&[1, 0, 0, 0]).number(), Some(1));
        assert_eq!(note(&[1, 0, 0]).number(), None);
        assert_eq!(note(b"yes").string(), Some("yes"));
    }
}
