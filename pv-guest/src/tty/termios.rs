//! Terminal settings: `struct termios` as `TCGETS` and `TCSETS` carry it (asm-generic/termbits.h, 36 bytes).

/// Input flags.
pub mod iflag {
    #![allow(missing_docs)]
    pub const IGNCR: u32 = 0o200;
    pub const INLCR: u32 = 0o100;
    pub const ICRNL: u32 = 0o400;
    pub const IXON: u32 = 0o2000;
    pub const IUTF8: u32 = 0o40000;
}

/// Output flags.
pub mod oflag {
    #![allow(missing_docs)]
    pub const OPOST: u32 = 0o1;
    pub const ONLCR: u32 = 0o4;
}

/// Local flags.
pub mod lflag {
    #![allow(missing_docs)]
    pub const ISIG: u32 = 0o1;
    pub const ICANON: u32 = 0o2;
    pub const ECHO: u32 = 0o10;
    pub const ECHOE: u32 = 0o20;
    pub const ECHOK: u32 = 0o40;
    pub const ECHONL: u32 = 0o100;
    pub const NOFLSH: u32 = 0o200;
    pub const ECHOCTL: u32 = 0o1000;
    pub const ECHOKE: u32 = 0o4000;
    pub const IEXTEN: u32 = 0o100000;
}

/// Indices of control characters.
pub mod cc {
    #![allow(missing_docs)]
    pub const VINTR: usize = 0;
    pub const VQUIT: usize = 1;
    pub const VERASE: usize = 2;
    pub const VKILL: usize = 3;
    pub const VEOF: usize = 4;
    pub const VTIME: usize = 5;
    pub const VMIN: usize = 6;
    pub const VSUSP: usize = 10;
    pub const VEOL: usize = 11;
    pub const VWERASE: usize = 14;
    pub const VEOL2: usize = 16;
}

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termios {
    /// Input flags.
    pub iflag: u32,
    /// Output flags.
    pub oflag: u32,
    /// Control flags: kept, without effect on a ring.
    pub cflag: u32,
    /// Local flags.
    pub lflag: u32,
    /// Line discipline number.
    pub line: u8,
    /// Control characters.
    pub cc: [u8; 19],
}

/// Size of the structure in user memory.
pub const SIZE: usize = 36;

impl Termios {
    /// The settings a terminal starts with, as Linux has them: a cooked terminal with echo.
    pub const fn new() -> Termios {
        use {iflag::*, lflag::*, oflag::*};
        let mut cc = [0; 19];
        cc[cc::VINTR] = 0x03;
        cc[cc::VQUIT] = 0x1c;
        cc[cc::VERASE] = 0x7f;
        cc[cc::VKILL] = 0x15;
        cc[cc::VEOF] = 0x04;
        cc[cc::VMIN] = 1;
        cc[8] = 0x11;
        cc[9] = 0x13;
        cc[cc::VSUSP] = 0x1a;
        cc[12] = 0x12;
        cc[13] = 0x0f;
        cc[cc::VWERASE] = 0x17;
        cc[15] = 0x16;
        Termios {
            iflag: ICRNL | IXON | IUTF8,
            oflag: OPOST | ONLCR,
            // B38400, CS8, CREAD, HUPCL.
            cflag: 0o2277,
            lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
            line: 0,
            cc,
        }
    }

    /// The structure as user memory holds it.
    pub fn to_bytes(&self) -> [u8; SIZE] {
        let mut out = [0; SIZE];
        for (index, word) in [self.iflag, self.oflag, self.cflag, self.lflag].into_iter().enumerate() {
            out[4 * index..][..4].copy_from_slice(&word.to_le_bytes());
        }
        out[16] = self.line;
        out[17..].copy_from_slice(&self.cc);
        out
    }

    /// The structure from user memory.
    pub fn from_bytes(bytes: &[u8; SIZE]) -> Termios {
        let word = |index: usize| {
            u32::from_le_bytes([
                bytes[4 * index],
                bytes[4 * index + 1],
                bytes[4 * index + 2],
                bytes[4 * index + 3],
            ])
        };
        let mut cc = [0; 19];
        cc.copy_from_slice(&bytes[17..]);
        Termios { iflag: word(0), oflag: word(1), cflag: word(2), lflag: word(3), line: bytes[16], cc }
    }

    /// Whether input comes in edited lines.
    pub fn canonical(&self) -> bool {
        self.lflag & lflag::ICANON != 0
    }
}

impl Default for Termios {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_there_and_back() {
        let termios = Termios::new();
        let bytes = termios.to_bytes();
        assert_eq!(Termios::from_bytes(&bytes), termios);
        assert_eq!(bytes[17], 3);
        assert_eq!(bytes[0..4], 0o42400u32.to_le_bytes());
    }
}
