use std::{
    os::unix::fs::{chown, symlink},
    path::PathBuf,
};

use super::*;

fn current_user() -> u32 {
    Process::this().unwrap().user
}

/// The user with the fewest rights.
const NOBODY: u32 = 65_534;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn error_of<T>(outcome: io::Result<T>) -> String {
    outcome.map(drop).unwrap_err().to_string()
}

/// A world-writable directory. Only root can make one as root has it; other users take /tmp.
fn public_directory(folder: &Path) -> PathBuf {
    if current_user() != ROOT {
        return "/tmp".into();
    }
    let path = folder.join("public");
    fs::create_dir(&path).unwrap();
    set_mode(&path, 0o1777);
    path
}

/// A file of another user. Only root can give a file away; other users take one of root's.
fn foreign_file(folder: &Path) -> PathBuf {
    if current_user() != ROOT {
        return "/etc/passwd".into();
    }
    let path = folder.join("foreign");
    fs::write(&path, "theirs").unwrap();
    chown(&path, Some(NOBODY), None).unwrap();
    path
}

fn is_db(name: &str) -> bool {
    name == "orders.db"
}

#[test]
fn new_files_and_directories_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("a/b");
    directory(&made, is_db).unwrap();
    let (lock, draft, database) = (made.join("lock"), made.join("draft"), made.join("database"));
    create(&lock).unwrap();
    create_new(&draft).unwrap();
    prepare(&database).unwrap();
    for (path, expected) in [
        (folder.path().join("a"), 0o700),
        (made, 0o700),
        (lock, 0o600),
        (draft, 0o600),
        (database, 0o600),
    ] {
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
}

#[test]
fn links_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (target, hard) = (folder.path().join("target"), folder.path().join("hard"));
    fs::write(&target, "precious").unwrap();
    set_mode(&target, 0o600);
    let (link, dangling) = (folder.path().join("link"), folder.path().join("dangling"));
    symlink(&target, &link).unwrap();
    symlink(folder.path().join("nothing"), &dangling).unwrap();
    for link in [&link, &dangling] {
        for refused in [error_of(create(link)), error_of(prepare(link)), error_of(read(link))] {
            assert!(refused.contains("it is a link"), "{refused}");
        }
        assert_eq!(create_new(link).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
    fs::hard_link(&target, &hard).unwrap();
    for refused in [error_of(create(&hard)), error_of(prepare(&hard))] {
        assert!(refused.contains("a hard link"), "{refused}");
    }
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert!(!folder.path().join("nothing").exists());
}

#[test]
fn pipes_and_directories_are_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    for refused in [error_of(create(&pipe)), error_of(prepare(&pipe)), error_of(read(&pipe))] {
        assert!(refused.contains("no regular file"), "{refused}");
    }
    assert!(error_of(read(folder.path())).contains("no regular file"));
}

#[test]
fn a_file_of_another_user_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = foreign_file(folder.path());
    for refused in [error_of(prepare(&foreign)), error_of(read(&foreign))] {
        assert!(
            refused.contains("belongs to user") && refused.contains("chown"),
            "{refused}"
        );
    }
}

#[test]
fn an_open_key_is_refused_and_left_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "secret").unwrap();
    for loose in [0o666, 0o644, 0o604, 0o602] {
        set_mode(&key, loose);
        let refused = error_of(read(&key));
        assert!(
            refused.contains("others may read or write it") && refused.contains("chmod 600"),
            "{refused}"
        );
        assert_eq!(mode(&key), loose, "the file is left as it is");
    }
    set_mode(&key, 0o600);
    assert_eq!(read(&key).unwrap(), b"secret");
}

/// A directory with the setgid bit for a group of this process, like a volume, with a key in it.
fn volume(folder: &Path) -> (PathBuf, PathBuf) {
    let volume = folder.join("volume");
    fs::create_dir(&volume).unwrap();
    set_mode(&volume, 0o2770);
    let key = volume.join("key");
    fs::write(&key, "secret").unwrap();
    (volume, key)
}

/// Asserts that the key is refused and left unchanged.
fn assert_refused(key: &Path, who: &str) {
    let left = mode(key);
    let refused = error_of(read(key));
    assert!(
        refused.starts_with(who) && refused.contains("may read or write it") && refused.contains("chmod 600"),
        "{refused}"
    );
    assert_eq!(mode(key), left, "the file is left as it is");
}

#[test]
fn a_key_that_its_volume_opened_to_a_group_is_restricted_and_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let (volume, key) = volume(folder.path());
    for opened in [0o660, 0o640, 0o620] {
        set_mode(&key, opened);
        set_mode(&volume, 0o2770);
        // As before every read of a key: the directory is restricted, and stays a volume.
        directory(&volume, |name| name == "key").unwrap();
        assert_eq!(mode(&volume), 0o2700);
        assert_eq!(read(&key).unwrap(), b"secret");
        assert_eq!(mode(&key), 0o600);
    }
    // Only root may give a file to a group without being a member.
    if current_user() == ROOT {
        for path in [&volume, &key] {
            chown(path, None, Some(NOBODY)).unwrap();
        }
        set_mode(&volume, 0o2770);
        set_mode(&key, 0o660);
        assert_refused(&key, "group 65534, which this process is not in,");
    }
}

#[test]
fn a_key_open_to_a_group_outside_of_a_volume_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (volume, key) = volume(folder.path());
    let group = fs::metadata(&key).unwrap().gid();
    // Without the setgid bit, whatever the mode of the directory.
    for closed in [0o770, 0o700] {
        set_mode(&volume, closed);
        for opened in [0o660, 0o640, 0o620] {
            set_mode(&key, opened);
            assert_refused(&key, &format!("all of group {group} "));
        }
    }
    // With the setgid bit of a group other than the key's, or in a directory of another user. Only root can make these.
    if current_user() == ROOT {
        chown(&volume, None, Some(NOBODY)).unwrap();
        set_mode(&volume, 0o2770);
        assert_refused(&key, &format!("all of group {group} "));
        chown(&volume, Some(NOBODY), Some(group)).unwrap();
        set_mode(&volume, 0o2770);
        assert_refused(&key, &format!("all of group {group} "));
    }
    set_mode(&key, 0o600);
    assert_eq!(read(&key).unwrap(), b"secret");
}

#[test]
fn a_key_with_an_access_list_is_refused_on_a_volume_too() {
    let folder = tempfile::tempdir().unwrap();
    let (_, key) = volume(folder.path());
    // The format's version, and then kind, rights and id of each entry: owner, user 65534, group, mask, others.
    let none = u32::MAX;
    let entries = [(1, 6, none), (2, 4, NOBODY), (4, 0, none), (16, 4, none), (32, 0, none)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (kind, rights, id) in entries {
        list.extend([u16::to_le_bytes(kind), u16::to_le_bytes(rights)].concat());
        list.extend(id.to_le_bytes());
    }
    rustix::fs::setxattr(&key, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty()).unwrap();
    assert_eq!(mode(&key), 0o640, "the mask shows as the rights of the group");
    assert_refused(&key, "those in its access list");
    // The advice in the refusal, chmod 600, revokes what the list grants.
    set_mode(&key, 0o600);
    assert_eq!(read(&key).unwrap(), b"secret");
}

#[test]
fn an_open_file_is_restricted() {
    let folder = tempfile::tempdir().unwrap();
    let (lock, link) = (folder.path().join("lock"), folder.path().join("link"));
    fs::write(&lock, "").unwrap();
    set_mode(&lock, 0o644);
    create(&lock).unwrap();
    assert_eq!(mode(&lock), 0o600);
    set_mode(&lock, 0o666);
    symlink(&lock, &link).unwrap();
    restrict_existing(&link).unwrap();
    assert_eq!(mode(&lock), 0o666, "a link is not followed");
    restrict_existing(&lock).unwrap();
    assert_eq!(mode(&lock), 0o600);
    restrict_existing(&folder.path().join("gone")).unwrap();
}

#[test]
fn only_a_directory_of_the_shop_is_restricted() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, empty, home) = (
        folder.path().join("ours"),
        folder.path().join("empty"),
        folder.path().join("home"),
    );
    for (path, file) in [(&ours, Some("orders.db")), (&empty, None), (&home, Some("letters"))] {
        fs::create_dir(path).unwrap();
        set_mode(path, 0o755);
        if let Some(file) = file {
            fs::write(path.join(file), "").unwrap();
        }
    }
    for path in [&ours, &empty] {
        directory(path, is_db).unwrap();
        assert_eq!(mode(path), 0o700, "{}", path.display());
    }
    let refused = error_of(directory(&home, is_db));
    assert!(refused.contains("holds other things"), "{refused}");
    assert_eq!(mode(&home), 0o755, "the directory is left as it is");
    set_mode(&home, 0o700);
    directory(&home, is_db).unwrap();
    // As Kubernetes opens a volume to a group of this process.
    set_mode(&ours, 0o2770);
    directory(&ours, is_db).unwrap();
    assert_eq!(mode(&ours), 0o2700);
    set_mode(&home, 0o2770);
    directory(&home, is_db).unwrap();
    assert_eq!(mode(&home), 0o2770, "the directory is left as it is");
    // Without the setgid bit, other users may be in that group.
    set_mode(&home, 0o770);
    assert!(error_of(directory(&home, is_db)).contains("holds other things"));
    assert_eq!(mode(&home), 0o770, "the directory is left as it is");
    // Restricting a world-writable directory such as /tmp would lock others out.
    set_mode(&ours, 0o1777);
    assert!(error_of(directory(&ours, is_db)).contains("open to others"));
    assert_eq!(mode(&ours), 0o1777);
}

#[test]
fn a_world_writable_directory_is_refused_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let public = public_directory(folder.path());
    let refused = error_of(directory(&public, is_db));
    let advice = format!("DATA_DIR={}/shop", public.display());
    assert!(refused.contains(&advice), "{refused}");
    for wrong in ["chmod", "chown"] {
        assert!(!refused.contains(wrong), "{refused}");
    }
    assert_eq!(mode(&public), 0o1777);
}

#[test]
fn a_link_to_a_directory_must_belong_to_this_user() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, link) = (folder.path().join("ours"), folder.path().join("link"));
    directory(&ours, is_db).unwrap();
    symlink(&ours, &link).unwrap();
    directory(&link, is_db).unwrap();
    if current_user() == ROOT {
        std::os::unix::fs::lchown(&link, Some(NOBODY), None).unwrap();
        assert!(error_of(directory(&link, is_db)).contains("it is a link that belongs to user"));
        chown(&ours, Some(NOBODY), None).unwrap();
        assert!(error_of(directory(&ours, is_db)).contains("belongs to user"));
    } else {
        let root = Path::new("/etc");
        symlink(root, folder.path().join("etc")).unwrap();
        directory(&folder.path().join("etc"), is_db).unwrap();
        assert_ne!(mode(root), 0o700);
    }
}
