//! Frames of other domains, mapped here.

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use paravane_abi::hypercall::HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN;
use paravane_abi::mmu::UVMF_INVLPG;
use paravane_core::console::RingPage;
use pv_probe::hypercall::{map, raw};

use crate::calls::{Refused, checked};
use crate::start::{DATA, PAGE, frame_at};

const LAYOUT: Layout = match Layout::from_size_align(PAGE, PAGE) {
    Ok(layout) => layout,
    Err(_) => panic!("a page is a multiple of itself"),
};

/// A page of the heap at which another domain's frame can be mapped in place of its own.
#[derive(Debug)]
pub struct Window {
    page: NonNull<u8>,
    /// The page's own frame.
    own: u64,
    mapped: Option<u64>,
}

impl Window {
    /// One at which nothing is mapped.
    pub fn new() -> Self {
        // SAFETY: the layout's size is not zero.
        let page = unsafe { alloc::alloc::alloc(LAYOUT) };
        let page = NonNull::new(page).expect("the heap is large enough for a page of each domain's");
        Self { page, own: frame_at(page.as_ptr() as u64), mapped: None }
    }

    /// Maps a frame of a domain's, unless it is mapped.
    pub fn show(&mut self, domain: u16, frame: u64) -> Result<(), Refused> {
        if self.mapped == Some(frame) {
            return Ok(());
        }
        let arguments = [self.page.as_ptr() as u64, frame << 12 | DATA, UVMF_INVLPG, domain.into(), 0];
        checked("update_va_mapping_otherdomain", raw(HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN, arguments))?;
        self.mapped = Some(frame);
        Ok(())
    }

    /// Takes the frame away: nothing of this domain's refers to it any more.
    pub fn hide(&mut self) {
        if self.mapped.take().is_some() {
            let result = map(self.page.as_ptr() as u64, self.own << 12 | DATA);
            assert!(result == 0, "a page cannot have its frame back: {result}");
        }
    }

    /// Writes to the frame.
    ///
    /// # Panics
    /// When none is mapped, or not all of it lies in the page.
    pub fn write_bytes(&mut self, offset: usize, bytes: &[u8]) {
        assert!(self.mapped.is_some() && offset + bytes.len() <= PAGE);
        // SAFETY: within the page, which is this value's and no Rust value.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.page.as_ptr().add(offset), bytes.len()) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.hide();
        // SAFETY: allocated with this layout, and its own frame is there again.
        unsafe { alloc::alloc::dealloc(self.page.as_ptr(), LAYOUT) }
    }
}

/// A console ring that is shared with a running domain: bytes and indices one by one.
impl RingPage for Window {
    fn index(&self, offset: usize) -> u32 {
        assert!(self.mapped.is_some() && offset + 4 <= PAGE && offset.is_multiple_of(4));
        // SAFETY: an aligned word of the page.
        unsafe { self.page.as_ptr().add(offset).cast::<u32>().read_volatile() }
    }

    fn set_index(&mut self, offset: usize, value: u32) {
        assert!(self.mapped.is_some() && offset + 4 <= PAGE && offset.is_multiple_of(4));
        // SAFETY: an aligned word of the page.
        unsafe { self.page.as_ptr().add(offset).cast::<u32>().write_volatile(value) }
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) {
        assert!(self.mapped.is_some() && offset + bytes.len() <= PAGE);
        for (index, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: within the page.
            *byte = unsafe { self.page.as_ptr().add(offset + index).read_volatile() };
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(self.mapped.is_some() && offset + bytes.len() <= PAGE);
        for (index, byte) in bytes.iter().enumerate() {
            // SAFETY: within the page.
            unsafe { self.page.as_ptr().add(offset + index).write_volatile(*byte) }
        }
    }
}
