//! `ioctl`: the terminal's settings, and the few requests that every file takes.

use super::rw::open_file;
use crate::errno::{Errno, Result};
use crate::fs::{Object, flag};
use crate::mm::user;
use crate::{process, tty};
use pv_guest_logic::termios::{SIZE, Termios};

// asm-generic/ioctls.h
const TCGETS: u64 = 0x5401;
const TCSETS: u64 = 0x5402;
const TCSETSW: u64 = 0x5403;
const TCSETSF: u64 = 0x5404;
const TCSBRK: u64 = 0x5409;
const TCXONC: u64 = 0x540a;
const TCFLSH: u64 = 0x540b;
const TIOCSCTTY: u64 = 0x540e;
const TIOCGPGRP: u64 = 0x540f;
const TIOCSPGRP: u64 = 0x5410;
const TIOCGWINSZ: u64 = 0x5413;
const TIOCSWINSZ: u64 = 0x5414;
const FIONREAD: u64 = 0x541b;
const FIONBIO: u64 = 0x5421;
const TIOCNOTTY: u64 = 0x5422;
const TIOCGSID: u64 = 0x5429;
const FIONCLEX: u64 = 0x5450;
const FIOCLEX: u64 = 0x5451;

/// `ioctl`.
pub fn ioctl(fd: u64, request: u64, argument: u64) -> Result<u64> {
    let file = open_file(fd)?;
    let request = u64::from(request as u32);
    match request {
        FIOCLEX | FIONCLEX => {
            process::current().files.lock().set_close_on_exec(fd, request == FIOCLEX)?;
            Ok(0)
        }
        FIONBIO => {
            let on = user::read::<u32>(argument)? != 0;
            let flags = file.flags() & !flag::NONBLOCK | if on { flag::NONBLOCK } else { 0 };
            file.set_flags(flags);
            Ok(0)
        }
        FIONREAD => {
            let count = match &file.object {
                Object::Pipe(end) => end.queued(),
                _ if file.is_tty() => tty::queued(),
                _ => return Err(Errno::ENOTTY),
            };
            user::write(argument, &(count as u32))?;
            Ok(0)
        }
        _ if file.is_tty() => terminal(request, argument),
        _ => Err(Errno::ENOTTY),
    }
}

fn terminal(request: u64, argument: u64) -> Result<u64> {
    match request {
        TCGETS => user::write_bytes(argument, &tty::termios().to_bytes())?,
        TCSETS | TCSETSW | TCSETSF => {
            let mut bytes = [0; SIZE];
            user::read_bytes(&mut bytes, argument)?;
            // Output is never queued here, so there is nothing to wait for (TCSETSW).
            tty::set_termios(Termios::from_bytes(&bytes), request == TCSETSF);
        }
        TCFLSH => tty::flush(),
        TCSBRK | TCXONC | TIOCSCTTY | TIOCNOTTY => {}
        TIOCGPGRP => {
            let group = match tty::foreground() {
                0 => process::current().pgid(),
                group => group,
            };
            user::write(argument, &group)?;
        }
        TIOCSPGRP => {
            let group: u32 = user::read(argument)?;
            let mut exists = false;
            process::for_each(&mut |process| exists |= process.pgid() == group);
            if !exists {
                return Err(Errno::ESRCH);
            }
            tty::set_foreground(group);
        }
        TIOCGSID => user::write(argument, &process::current().sid())?,
        TIOCGWINSZ => {
            let (rows, columns) = tty::window();
            user::write(argument, &[rows, columns, 0, 0])?;
        }
        TIOCSWINSZ => {
            let [rows, columns, _, _] = user::read::<[u16; 4]>(argument)?;
            tty::set_window(rows, columns);
        }
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}
