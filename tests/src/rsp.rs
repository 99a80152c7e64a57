//! A client of the GDB remote serial protocol, as far as it takes to stop a machine and read its registers
//! (GDB manual, appendix "GDB Remote Serial Protocol"; register order of QEMU's x86-64 stub).

use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The registers that say who runs where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// The instruction pointer.
    pub rip: u64,
    /// The stack pointer.
    pub rsp: u64,
    /// The code segment selector.
    pub cs: u16,
    /// The stack segment selector.
    pub ss: u16,
    /// RDI and RSI: a function's first two arguments.
    pub arguments: [u64; 2],
}

impl Registers {
    /// The current privilege level, which the processor keeps in CS's low bits.
    #[must_use]
    pub fn ring(self) -> u16 {
        self.cs & 3
    }
}

/// The stub closed the connection, as it does when the emulator ends.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the debug stub closed the connection")
    }
}

impl std::error::Error for Closed {}

/// A connection to a stub.
#[derive(Debug)]
pub struct Stub {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Stub {
    /// Connects to the socket, which the emulator may still be about to make; the machine stops at that.
    pub fn connect(path: &Path, limit: Duration) -> Result<Self> {
        let wait = || {
            std::thread::sleep(Duration::from_millis(50));
            Ok(true)
        };
        Self::connect_while(path, limit, wait)
    }

    /// The same while something is waited for again and again; it says whether the emulator still runs.
    pub fn connect_while(
        path: &Path,
        limit: Duration,
        mut wait: impl FnMut() -> Result<bool>,
    ) -> Result<Self> {
        let start = Instant::now();
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(_) if start.elapsed() < limit && wait()? => {}
                Err(error) => return Err(error).context("connecting to the debug stub"),
            }
        };
        stream.set_read_timeout(Some(limit))?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Lets the machine run.
    pub fn resume(&mut self) -> Result<()> {
        self.send("c")
    }

    /// Waits until the machine stops by itself; false when it has ended.
    pub fn stopped(&mut self) -> Result<bool> {
        match self.receive() {
            Ok(reply) if reply.starts_with('T') => Ok(true),
            Ok(reply) if reply.starts_with(['W', 'X']) => Ok(false),
            Ok(reply) => bail!("the stub told of {reply:?} in place of a stop"),
            Err(error) if error.is::<Closed>() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has the machine stop before it executes the instruction at an address.
    pub fn set_breakpoint(&mut self, address: u64) -> Result<()> {
        self.command(&format!("Z1,{address:x},1"))
    }

    /// Undoes that.
    pub fn clear_breakpoint(&mut self, address: u64) -> Result<()> {
        self.command(&format!("z1,{address:x},1"))
    }

    /// Reads memory through the stopped processor's tables.
    pub fn memory(&mut self, address: u64, length: usize) -> Result<Vec<u8>> {
        self.send(&format!("m{address:x},{length:x}"))?;
        let reply = self.receive()?;
        // An error is a letter and two digits, and so never whole bytes.
        let bytes = bytes_of(&reply).filter(|bytes| bytes.len() == length);
        bytes.with_context(|| format!("memory at {address:#x}: {reply:.40}"))
    }

    /// Has the emulator's monitor carry out a command of those that print nothing unless they are refused.
    pub fn monitor(&mut self, command: &str) -> Result<()> {
        let digits: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.send(&format!("qRcmd,{digits}"))?;
        let mut printed = Vec::new();
        loop {
            let reply = self.receive()?;
            match reply.strip_prefix('O') {
                _ if reply == "OK" => break,
                Some(digits) => printed.extend(bytes_of(digits).with_context(|| reply.clone())?),
                None => bail!("the stub answered the monitor's {command:?} with {reply:?}"),
            }
        }
        ensure!(printed.is_empty(), "the monitor said of {command:?}: {}", String::from_utf8_lossy(&printed));
        Ok(())
    }

    fn command(&mut self, text: &str) -> Result<()> {
        self.send(text)?;
        let reply = self.receive()?;
        if reply != "OK" {
            bail!("the stub answered {text} with {reply:?}");
        }
        Ok(())
    }

    /// Stops the machine where it is.
    pub fn interrupt(&mut self) -> Result<()> {
        // A lone byte 3 outside any packet is the interrupt.
        self.stream.write_all(&[3]).context("interrupting the machine")?;
        let reply = self.receive()?;
        if !reply.starts_with(['T', 'S']) {
            bail!("the stub answered an interrupt with {reply:?}");
        }
        Ok(())
    }

    /// Reads the registers of the stopped machine.
    pub fn registers(&mut self) -> Result<Registers> {
        self.send("g")?;
        // A stub that stops the machine on its own, as QEMU's does for a new connection, may say so first.
        let mut reply = self.receive()?;
        while reply.starts_with(['T', 'S']) {
            reply = self.receive()?;
        }
        parse_registers(&reply).with_context(|| format!("registers: {reply:.40}..."))
    }

    /// Lets the machine go on without a debugger.
    pub fn detach(mut self) -> Result<()> {
        self.send("D")?;
        let mut reply = self.receive()?;
        while reply.starts_with(['T', 'S']) {
            reply = self.receive()?;
        }
        if reply != "OK" {
            bail!("the stub answered a detach with {reply:?}");
        }
        Ok(())
    }

    fn send(&mut self, text: &str) -> Result<()> {
        self.stream.write_all(&packet(text)).context("writing to the debug stub")
    }

    /// Takes the next packet's content and acknowledges it.
    fn receive(&mut self) -> Result<String> {
        loop {
            if let Some((content, used)) = unpack(&self.received)? {
                self.received.drain(..used);
                self.stream.write_all(b"+").context("acknowledging")?;
                return Ok(content);
            }
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes).context("reading from the debug stub")?;
            if count == 0 {
                bail!(Closed);
            }
            self.received.extend_from_slice(&bytes[..count]);
        }
    }
}

/// `$text#sum`.
fn packet(text: &str) -> Vec<u8> {
    format!("${text}#{:02x}", checksum(text.as_bytes())).into_bytes()
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
}

/// The first whole packet's content, and how many bytes it took with what stood before it.
fn unpack(bytes: &[u8]) -> Result<Option<(String, usize)>> {
    let Some(start) = bytes.iter().position(|&byte| byte == b'$') else { return Ok(None) };
    let Some(length) = bytes[start..].iter().position(|&byte| byte == b'#') else { return Ok(None) };
    let Some(sum) = bytes.get(start + length + 1..start + length + 3) else { return Ok(None) };
    let content = &bytes[start + 1..start + length];
    let sum = u8::from_str_radix(std::str::from_utf8(sum)?, 16).context("a packet's checksum")?;
    if sum != checksum(content) {
        bail!("a packet's checksum is wrong");
    }
    Ok(Some((String::from_utf8(content.to_vec())?, start + length + 3)))
}

/// The bytes that pairs of hexadecimal digits stand for.
fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [_, _] => u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok(),
        _ => None,
    };
    pairs.map(byte).collect()
}

/// Sixteen general registers and RIP of eight bytes, then EFLAGS, CS, SS of four, in the target's byte order.
fn parse_registers(text: &str) -> Result<Registers> {
    let word = |at: usize, size: usize| -> Result<u64> {
        let digits = text.get(at * 2..(at + size) * 2).context("too few registers")?;
        let mut value = 0;
        for index in (0..size).rev() {
            let byte =
                u64::from_str_radix(&digits[index * 2..index * 2 + 2], 16).context("not hexadecimal")?;
            value = value << 8 | byte;
        }
        Ok(value)
    };
    Ok(Registers {
        arguments: [word(5 * 8, 8)?, word(4 * 8, 8)?],
        rsp: word(7 * 8, 8)?,
        rip: word(16 * 8, 8)?,
        cs: word(17 * 8 + 4, 4)? as u16,
        ss: word(17 * 8 + 8, 4)? as u16,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_carry_their_sum() {
        assert_eq!(packet("g"), b"$g#67");
        assert_eq!(unpack(b"+$OK#9a").unwrap(), Some(("OK".into(), 7)));
        assert_eq!(unpack(b"+$OK#9").unwrap(), None);
        assert_eq!(unpack(b"++").unwrap(), None);
        assert!(unpack(b"$OK#9b").is_err());
    }

    #[test]
    fn digits_are_whole_bytes() {
        assert_eq!(bytes_of("00ff7f"), Some(vec![0, 0xff, 0x7f]));
        for bad in ["E14", "0", "zz"] {
            assert_eq!(bytes_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn registers_are_found_at_their_places() {
        let mut bytes = [0u8; 17 * 8 + 24];
        bytes[32..40].copy_from_slice(&2u64.to_le_bytes());
        bytes[40..48].copy_from_slice(&1u64.to_le_bytes());
        bytes[56..64].copy_from_slice(&0xffff_8080_0002_0ff0_u64.to_le_bytes());
        bytes[128..136].copy_from_slice(&0xffff_ffff_8020_1234_u64.to_le_bytes());
        bytes[140..144].copy_from_slice(&0xe069u32.to_le_bytes());
        bytes[144..148].copy_from_slice(&0xe071u32.to_le_bytes());
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let registers = parse_registers(&text).unwrap();
        assert_eq!(registers.rip, 0xffff_ffff_8020_1234);
        assert_eq!(registers.rsp, 0xffff_8080_0002_0ff0);
        assert_eq!(registers.arguments, [1, 2]);
        assert_eq!((registers.cs, registers.ss, registers.ring()), (0xe069, 0xe071, 1));
        assert!(parse_registers(&text[..200]).is_err());
        assert!(parse_registers(&"zz".repeat(200)).is_err());
    }
}
