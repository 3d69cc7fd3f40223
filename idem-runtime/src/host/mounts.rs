//! The kind of file system of a path, on Linux.
//!
//! `SQLite` in WAL mode needs shared memory and working locks. Network mounts and mounts of virtual machines have
//! neither: two machines can hold the same lock at once.

use std::fs;
use std::path::{Path, PathBuf};

/// Kinds of mounts that more than one machine can reach, or that lose locks.
const REMOTE_KINDS: [&str; 32] = [
    "9p",
    "acfs",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "drvfs",
    "fakeowner",
    "fuse",
    "gfs2",
    "glusterfs",
    "gpfs",
    "grpcfuse",
    "lustre",
    "mmfs",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "osxfs",
    "panfs",
    "prl_fs",
    "pvfs2",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
    "vmhgfs",
    "wekafs",
];
/// File systems in user space that keep their files on a local disk. Any other one counts as remote.
const LOCAL_FUSE_KINDS: [&str; 6] =
    ["fuse.cryfs", "fuse.encfs", "fuse.exfat", "fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.ntfs-3g"];

/// The kind of the remote mount of a canonical path; `None` if the mount is local or unknown.
pub(crate) fn remote_kind(canonical: &Path) -> Option<String> {
    if is_unc(&canonical.to_string_lossy()) {
        return Some("UNC".to_owned());
    }
    kind_of(&table()?, canonical).filter(|kind| is_remote(kind))
}

/// Kinds of mounts that lose their files with the machine or with the container.
const VOLATILE_KINDS: [&str; 5] = ["aufs", "fuse.fuse-overlayfs", "overlay", "ramfs", "tmpfs"];

/// The kind of the mount of a canonical path, if an fsync there does not survive a power failure or the container.
pub(crate) fn volatile_kind(canonical: &Path) -> Option<&'static str> {
    let kind = kind_of(&table()?, canonical)?;
    VOLATILE_KINDS.into_iter().find(|volatile| *volatile == kind)
}

fn table() -> Option<String> {
    let table = fs::read("/proc/self/mountinfo").ok()?;
    Some(String::from_utf8_lossy(&table).into_owned())
}

fn is_remote(kind: &str) -> bool {
    let is_fuse = kind.starts_with("fuse.");
    is_fuse && !LOCAL_FUSE_KINDS.contains(&kind) || REMOTE_KINDS.contains(&kind)
}

/// Whether a path of Windows names another machine: `\\\\server\\share`, also in its verbatim form.
fn is_unc(path: &str) -> bool {
    cfg!(windows) && is_unc_text(path)
}

fn is_unc_text(path: &str) -> bool {
    let Some(rest) = path.strip_prefix(r"\\") else { return false };
    let Some(verbatim) = rest.strip_prefix(r"?\") else { return !rest.starts_with(r".\") };
    verbatim.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(r"UNC\"))
}

/// The first of `paths` that is a mount point itself. `None` without `/proc`.
pub(crate) fn first_mount_point(paths: &[PathBuf]) -> Option<&Path> {
    let table = table()?;
    let points: Vec<PathBuf> = table.lines().filter_map(parse_line).map(|(point, _)| point).collect();
    paths.iter().map(PathBuf::as_path).find(|path| points.iter().any(|point| point == path))
}

/// The kind of the mount with the longest mount point above the path. Of two mounts on one point, the later hides the
/// earlier.
fn kind_of(table: &str, canonical: &Path) -> Option<String> {
    let mounts = table.lines().filter_map(parse_line);
    let above = mounts.filter(|(point, _)| canonical.starts_with(point));
    above.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind.to_owned())
}

/// `36 35 98:0 /root /mnt/point rw,noatime shared:1 - ext4 /dev/sda1 rw`: the fifth field and the one after `-`.
fn parse_line(line: &str) -> Option<(PathBuf, &str)> {
    let (mount, device) = line.split_once(" - ")?;
    let point = mount.split(' ').nth(4)?;
    Some((PathBuf::from(unescape(point)), device.split(' ').next()?))
}

/// Decodes the octal escapes that the kernel writes for blanks, tabs, line ends and backslashes.
fn unescape(field: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(field.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:40 / /srv/net rw shared:7 master:2 - nfs4 box:/export rw,vers=4.2
41 40 0:41 / /srv/net/local rw - xfs /dev/sdb rw
42 27 0:42 / /mnt/my\\040share rw - cifs //box/share rw
43 27 0:43 / /over rw - nfs box:/a rw
44 43 0:44 / /over rw - tmpfs tmpfs rw
broken line
45 27 0:45 / /vm rw - fuse.virtiofs mount0 rw
";

    #[test]
    fn the_longest_mount_point_decides() {
        let cases = [
            ("/home/me/idem.db", "ext4"),
            ("/srv/network.db", "ext4"),
            ("/srv/net/idem.db", "nfs4"),
            ("/srv/net/local/idem.db", "xfs"),
            ("/mnt/my share/idem.db", "cifs"),
            ("/over/idem.db", "tmpfs"),
            ("/vm/idem.db", "fuse.virtiofs"),
        ];
        for (path, kind) in cases {
            assert_eq!(kind_of(TABLE, Path::new(path)).as_deref(), Some(kind), "{path}");
        }
        assert_eq!(kind_of("", Path::new("/idem.db")), None);
    }

    #[test]
    fn mounts_of_other_machines_and_of_hosts_are_remote() {
        for kind in [
            "nfs4",
            "fakeowner",
            "fuse.grpcfuse",
            "fuse.osxfs",
            "osxfs",
            "vboxsf",
            "prl_fs",
            "vmhgfs",
            "gpfs",
            "davfs",
            "fuse.vmhgfs-fuse",
            "fuse.s3fs",
            "fuse.rclone",
            "fuse.unheard-of",
            "fuse",
        ] {
            assert!(is_remote(kind), "{kind}");
        }
        for kind in ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "fuse.gocryptfs"] {
            assert!(!is_remote(kind), "{kind}");
        }
    }

    #[test]
    fn unc_paths_name_another_machine() {
        for path in [r"\\box\share\idem.db", r"\\?\UNC\box\share\idem.db", r"\\?\unc\box\share"] {
            assert!(is_unc_text(path), "{path}");
        }
        for path in [r"C:\idem.db", r"\\?\C:\idem.db", r"\\.\pipe\idem", "/srv/idem.db", r"\idem.db"] {
            assert!(!is_unc_text(path), "{path}");
        }
    }

    #[test]
    fn a_temporary_folder_is_local() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(remote_kind(&folder.path().canonicalize().unwrap()), None);
    }
}
