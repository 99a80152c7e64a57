//! A process's table of open files.

use super::{Object, OpenFile, flag, walk};
use crate::errno::{Errno, Result};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Most descriptors of a process (`RLIMIT_NOFILE`).
pub const MAX_FILES: usize = 256;

#[derive(Clone)]
struct Slot {
    file: Arc<OpenFile>,
    close_on_exec: bool,
}

/// Descriptors, and the mask for new files' permissions. Dropping it closes everything.
pub struct Files {
    slots: Vec<Option<Slot>>,
    /// `umask`.
    pub umask: u32,
}

impl Files {
    /// No files.
    pub fn empty() -> Files {
        Files { slots: Vec::new(), umask: 0o022 }
    }

    /// Descriptors 0, 1 and 2 on the terminal.
    pub fn new_console() -> Files {
        let mut files = Self::empty();
        let console = walk("/", "/dev/console", true)
            .map(|found| OpenFile::new(Object::Node(found.node), String::from("/dev/console"), flag::RDWR));
        match console {
            Ok(file) => {
                files.slots.resize(3, Some(Slot { file, close_on_exec: false }));
            }
            Err(error) => log::error!("/dev/console: {error:?}"),
        }
        files
    }

    /// The child's table after fork: the same open files.
    pub fn fork(&self) -> Files {
        Files { slots: self.slots.clone(), umask: self.umask }
    }

    /// Closes what exec must not pass on.
    pub fn on_exec(&mut self) {
        for slot in &mut self.slots {
            if slot.as_ref().is_some_and(|slot| slot.close_on_exec) {
                *slot = None;
            }
        }
    }

    fn slot(&self, fd: u64) -> Result<&Slot> {
        let slot = usize::try_from(fd as u32).ok().and_then(|index| self.slots.get(index));
        slot.and_then(Option::as_ref).ok_or(Errno::EBADF)
    }

    /// The open file of a descriptor; like Linux, only the low 32 bits of an argument count.
    pub fn get(&self, fd: u64) -> Result<Arc<OpenFile>> {
        self.slot(fd).map(|slot| slot.file.clone())
    }

    /// Whether exec closes it.
    pub fn close_on_exec(&self, fd: u64) -> Result<bool> {
        self.slot(fd).map(|slot| slot.close_on_exec)
    }

    /// Sets whether exec closes it.
    pub fn set_close_on_exec(&mut self, fd: u64, close_on_exec: bool) -> Result<()> {
        self.slot(fd)?;
        if let Some(slot) = &mut self.slots[fd as u32 as usize] {
            slot.close_on_exec = close_on_exec;
        }
        Ok(())
    }

    /// Puts a file at the lowest free descriptor from `least` on.
    pub fn insert(&mut self, file: Arc<OpenFile>, close_on_exec: bool, least: usize) -> Result<u64> {
        let free = self.slots.iter().skip(least).position(Option::is_none);
        let index = free.map_or(self.slots.len().max(least), |free| least + free);
        if index >= MAX_FILES {
            return Err(Errno::EMFILE);
        }
        self.put(index, file, close_on_exec);
        Ok(index as u64)
    }

    /// Puts a file at a descriptor; returns what was there, to be dropped outside the table's lock.
    pub fn replace(
        &mut self,
        fd: u64,
        file: Arc<OpenFile>,
        close_on_exec: bool,
    ) -> Result<Option<Arc<OpenFile>>> {
        let index = fd as u32 as usize;
        if index >= MAX_FILES {
            return Err(Errno::EBADF);
        }
        Ok(self.put(index, file, close_on_exec))
    }

    fn put(&mut self, index: usize, file: Arc<OpenFile>, close_on_exec: bool) -> Option<Arc<OpenFile>> {
        if index >= self.slots.len() {
            self.slots.resize(index + 1, None);
        }
        self.slots[index].replace(Slot { file, close_on_exec }).map(|old| old.file)
    }

    /// Takes a descriptor away; the caller drops the file outside the table's lock.
    pub fn remove(&mut self, fd: u64) -> Result<Arc<OpenFile>> {
        self.slot(fd)?;
        self.slots[fd as u32 as usize].take().map(|slot| slot.file).ok_or(Errno::EBADF)
    }
}
