//! What a file mapping takes its pages from.

/// Something that can be mapped: the contents of a file.
pub trait FileBacking: Send + Sync {
    /// A number under which pages may be cached and shared; 0 when the contents can change.
    fn id(&self) -> u64;
    /// Length in bytes.
    fn len(&self) -> u64;
    /// Whether there is nothing to map.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Copies bytes from `offset` and returns how many there were. Never waits.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize;
}

/// A file whose bytes lie in memory for good, as those of the initramfs do.
pub struct StaticFile {
    id: u64,
    bytes: &'static [u8],
}

impl StaticFile {
    /// A file with this cache number and contents.
    pub fn new(id: u64, bytes: &'static [u8]) -> Self {
        Self { id, bytes }
    }
}

impl FileBacking for StaticFile {
    fn id(&self) -> u64 {
        self.id
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let Some(rest) = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..)) else {
            return 0;
        };
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        count
    }
}
