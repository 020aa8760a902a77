//! Unix sockets: a name in the file system that is there while somebody listens, and no longer.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use socket2::{Domain, SockAddr, Socket, Type};

/// The listening socket's name. Dropped, it removes the name, unless that is somebody else's by now.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// Tells a file from another one of the same name. Numbers of inodes are used again at once, times are not.
type Identity = (u64, u64, Option<SystemTime>);

/// Binds a listening socket with the permissions `mode`. A name that a dead process has left behind is taken over.
///
/// # Errors
/// Somebody listens there, the name is that of a file that is no socket, or the folder is not there or not ours.
pub(super) fn bind(path: &Path, mode: u32, backlog: i32) -> io::Result<(UnixListener, SocketFile)> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(&fs::symlink_metadata(path)?) };
    // Before it listens, nobody can connect: at no time does it have other permissions.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(backlog)?;
    Ok((socket.into(), file))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket has this name"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "a running process listens there")),
        // Its process is gone: a listening socket that is full makes a client wait instead.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino(), metadata.created().ok())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|metadata| identity(&metadata) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the listening socket's file could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("walcast-unix-{:012x}", fastrand::u64(..) >> 16));
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_name_is_there_while_somebody_listens() {
        let folder = Folder::new();
        let path = folder.0.join("socket");
        let (listener, file) = bind(&path, 0o620, 1).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
        UnixStream::connect(&path).unwrap();
        let error = bind(&path, 0o620, 1).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string()),
            (io::ErrorKind::AddrInUse, "a running process listens there".into())
        );
        drop((listener, file));
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_left_is_taken_over_and_what_is_another_s_stays() {
        let folder = Folder::new();
        let path = folder.0.join("socket");
        let (listener, file) = bind(&path, 0o600, 1).unwrap();
        // As after kill -9: nobody listens, and the name is still there.
        drop(listener);
        let (_second, _second_file) = bind(&path, 0o600, 1).unwrap();
        drop(file);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn no_file_is_removed_that_is_no_socket() {
        let folder = Folder::new();
        let path = folder.0.join("notes.txt");
        fs::write(&path, "important").unwrap();
        assert_eq!(bind(&path, 0o600, 1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"important");
    }
}
