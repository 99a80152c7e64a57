//! Error numbers (`xen/errno.h`). Hypercalls return them negated in RAX.

use core::fmt;

macro_rules! errnos {
    ($( $name:ident = $value:literal, $doc:literal; )* --- { $( $iname:ident = $ivalue:literal, $idoc:literal; )* }) => {
        /// An error number, as a positive value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i32)]
        #[allow(clippy::upper_case_acronyms)]
        #[non_exhaustive]
        pub enum Errno {
            $( #[doc = $doc] $name = $value, )*
            $( #[doc = $idoc] $iname = $ivalue, )*
        }

        impl Errno {
            /// Every error number, in order of value within the public ones and the internal ones.
            pub const ALL: &[Errno] = &[$(Errno::$name,)* $(Errno::$iname,)*];

            /// The error with this positive number.
            pub const fn from_code(code: i32) -> Option<Errno> {
                match code {
                    $( $value => Some(Errno::$name), )*
                    $( $ivalue => Some(Errno::$iname), )*
                    _ => None,
                }
            }

            /// The name, such as `"EINVAL"`.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Errno::$name => stringify!($name), )*
                    $( Errno::$iname => stringify!($iname), )*
                }
            }

            /// What the error means, in a phrase.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $( Errno::$name => $doc, )*
                    $( Errno::$iname => $idoc, )*
                }
            }
        }

        pub(crate) const XEN_CONSTANTS: &[crate::layout::ConstantRow] = &[$(
            crate::layout::ConstantRow {
                c_name: concat!("XEN_", stringify!($name)),
                rust: concat!(module_path!(), "::Errno::", stringify!($name)),
                value: Errno::$name as i128,
            },
        )*];
    };
}

errnos! {
    EPERM = 1, "Operation not permitted.";
    ENOENT = 2, "No such entry.";
    ESRCH = 3, "No such domain.";
    EIO = 5, "Input or output failed.";
    ENXIO = 6, "No such device or address.";
    E2BIG = 7, "Argument list too long.";
    ENOEXEC = 8, "Not an executable this loader knows.";
    EBADF = 9, "Bad handle.";
    ECHILD = 10, "No child.";
    EAGAIN = 11, "Try again.";
    ENOMEM = 12, "Out of memory.";
    EACCES = 13, "Permission denied.";
    EFAULT = 14, "A pointer could not be read or written.";
    EBUSY = 16, "The resource is in use.";
    EEXIST = 17, "It exists already.";
    EXDEV = 18, "Link across devices.";
    ENODEV = 19, "No such device.";
    ENOTDIR = 20, "Not a directory.";
    EISDIR = 21, "A directory.";
    EINVAL = 22, "Invalid argument.";
    ENFILE = 23, "Table overflow.";
    EMFILE = 24, "Too many open handles.";
    ENOSPC = 28, "No space left.";
    EROFS = 30, "Read-only.";
    EMLINK = 31, "Too many links.";
    EDOM = 33, "Argument out of the function's domain.";
    ERANGE = 34, "Result not representable.";
    EDEADLK = 35, "Would deadlock.";
    ENAMETOOLONG = 36, "Name too long.";
    ENOLCK = 37, "No locks left.";
    ENOSYS = 38, "No such call or sub-operation.";
    ENOTEMPTY = 39, "Not empty.";
    ENODATA = 61, "No data.";
    ETIME = 62, "The time has passed.";
    EBADMSG = 74, "Not a data message.";
    EOVERFLOW = 75, "Value too large for its type.";
    EILSEQ = 84, "Illegal byte sequence.";
    ENOTSOCK = 88, "Not a socket.";
    EMSGSIZE = 90, "Message too large.";
    EOPNOTSUPP = 95, "Operation not supported.";
    EADDRINUSE = 98, "Address in use.";
    EADDRNOTAVAIL = 99, "Address not available.";
    ENOBUFS = 105, "No buffer space.";
    EISCONN = 106, "Connected already.";
    ENOTCONN = 107, "Not connected.";
    ETIMEDOUT = 110, "Timed out.";
    ECONNREFUSED = 111, "Connection refused.";
    --- {
        EINTR = 4, "Interrupted. Hypervisor-internal: no guest sees it.";
        ERESTART = 85, "Preempted, to be restarted. Hypervisor-internal: no guest sees it.";
    }
}

/// Another name of [`Errno::EAGAIN`].
pub const EWOULDBLOCK: Errno = Errno::EAGAIN;
/// Another name of [`Errno::EDEADLK`].
pub const EDEADLOCK: Errno = Errno::EDEADLK;

/// The largest error number a return value can carry; more negative values are results.
///
/// `get_debugreg` is the exception Xen's own header calls defective: a register's value may look like an error.
pub const MAX_ERRNO: i64 = 4095;

impl Errno {
    /// The positive number.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// The value a hypercall returns for this error: the number negated, sign-extended.
    pub const fn to_ret(self) -> i64 {
        -(self as i64)
    }

    /// [`Errno::to_ret`] as the bits of RAX.
    pub const fn to_rax(self) -> u64 {
        self.to_ret() as u64
    }
}

/// Splits a hypercall's RAX into its result, or the positive number of its error.
///
/// [`Errno::from_code`] names the number.
pub const fn split_rax(rax: u64) -> Result<u64, i32> {
    let ret = rax as i64;
    if ret < 0 && ret >= -MAX_ERRNO { Err(-ret as i32) } else { Ok(rax) }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-{}: {}", self.name(), self.meaning())
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for &errno in Errno::ALL {
            assert_eq!(Errno::from_code(errno.code()), Some(errno));
            assert_eq!(errno.to_ret(), -i64::from(errno.code()));
            assert_eq!(split_rax(errno.to_rax()), Err(errno.code()));
        }
        assert_eq!(Errno::from_code(0), None);
        assert_eq!(Errno::from_code(-22), None);
    }

    #[test]
    fn rax_splits_at_the_largest_error() {
        assert_eq!(split_rax(0), Ok(0));
        assert_eq!(split_rax(0x0004_0011), Ok(0x0004_0011));
        assert_eq!(split_rax(-38i64 as u64), Err(38));
        assert_eq!(split_rax(-4095i64 as u64), Err(4095));
        assert_eq!(split_rax(-4096i64 as u64), Ok(-4096i64 as u64));
    }
}
